"""A mapping for machines, as a JSON file."""

from __future__ import annotations

from typing import Any

from kedro_datasets.json import JSONDataset

from lakehouse_ml.tables import shown


class JsonFile(JSONDataset):  # type: ignore[misc]
    """Kedro's JSON file, which doesn't tell others in which folder of this machine it lies.

    Example:
        ```yaml
        "{use_case}.report_drift":
          type: lakehouse_ml.datasets.json_file.JsonFile
          filepath: data/08_reporting/{use_case}/drift.json
        ```
    """

    def _describe(self) -> dict[str, Any]:
        return {"filepath": shown(str(self._filepath))}
