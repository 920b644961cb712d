"""The start time of a run as a dataset, so that no function reads the system clock."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, NoReturn

from kedro.io import AbstractDataset, DatasetError


class Clock(AbstractDataset[NoReturn, datetime]):
    """Loads the time at which its catalog was created, the start of a run (UTC, whole seconds). Cannot be saved.

    Example:
        ```yaml
        "{use_case}.clock":
          type: lakehouse_ml.datasets.clock.Clock
        ```
    """

    def __init__(self, *, metadata: dict[str, Any] | None = None) -> None:
        """Read the system clock once."""
        self.metadata = metadata
        self._started_at = datetime.now(UTC).replace(microsecond=0)

    def load(self) -> datetime:
        """The start of the run."""
        return self._started_at

    def save(self, data: NoReturn) -> None:
        """Refuse to save."""
        raise DatasetError(f"The clock can only be read, not set to {data}.")

    def token(self) -> str:
        """Always the same: a later run time is no change of the input."""
        return ""

    def _describe(self) -> dict[str, Any]:
        return {}
