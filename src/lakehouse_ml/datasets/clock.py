"""The time of a run, as an input like any other: no function asks the clock by itself."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, NoReturn

from kedro.io import AbstractDataset, DatasetError


class Clock(AbstractDataset[NoReturn, datetime]):
    """Loads the moment at which its catalog was made, so at which a run began (UTC, whole seconds); can't be saved.

    Example:
        ```yaml
        "{use_case}.clock":
          type: lakehouse_ml.datasets.clock.Clock
        ```
    """

    def __init__(self, *, metadata: dict[str, Any] | None = None) -> None:
        """Takes nothing but what Kedro gives every dataset."""
        self.metadata = metadata
        self._moment = datetime.now(UTC).replace(microsecond=0)

    def load(self) -> datetime:
        """The moment."""
        return self._moment

    def save(self, data: NoReturn) -> None:
        """Refused."""
        raise DatasetError(f"The clock can only be read, not set to {data}.")

    def token(self) -> str:
        """Always the same: audit times don't make a result another one."""
        return ""

    def _describe(self) -> dict[str, Any]:
        return {}
