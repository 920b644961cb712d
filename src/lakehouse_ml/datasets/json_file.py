"""A mapping as a JSON file with a fingerprint, for other programs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, cast

from lakehouse_ml.datasets.recorded_file import RecordedFile

if TYPE_CHECKING:
    from kedro_datasets._typing import JSONPreview


class JsonFile(RecordedFile):
    """A JSON document at an address.

    Example:
        ```yaml
        "{use_case}.report_drift":
          type: lakehouse_ml.datasets.json_file.JsonFile
          filepath: data/08_reporting/{use_case}/drift.json
        ```
    """

    def __init__(self, *, filepath: str, metadata: dict[str, Any] | None = None) -> None:
        """Configure the file. Nothing is opened before `load` or `save`."""
        self._address = filepath
        self.metadata = metadata

    def encode(self, content: Any) -> str:
        """The mapping as indented JSON, because people read it too."""
        return json.dumps(content, indent=2)

    def decode(self, text: str) -> Any:
        """The mapping."""
        return json.loads(text)

    def preview(self) -> JSONPreview:
        """The document as kedro-viz shows it."""
        return cast("JSONPreview", self.read_text())
