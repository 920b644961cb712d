"""A list that people open in a spreadsheet: none of its texts is taken for a formula there."""

from __future__ import annotations

import csv
from typing import Any

import pandas as pd
from kedro_datasets.pandas import CSVDataset

# Spreadsheets run a cell that begins so, whatever is quoted in the file.
_LIVE = ("=", "+", "-", "@", "\t", "\r")


class HandedList(CSVDataset):  # type: ignore[misc]
    """Kedro's CSV file, for hands outside: a text that would be a formula gets an apostrophe before it.

    The apostrophe is how a spreadsheet marks text and is not shown there. Numbers are written as they are, and what is
    stored in tables keeps its text: whoever joins on an id reads the table, not this list.

    Example:
        ```yaml
        "{use_case}.report_actions":
          type: lakehouse_ml.datasets.handed_list.HandedList
          filepath: data/07_model_output/{use_case}/actions.csv
        ```
    """

    def __init__(self, *, filepath: str, metadata: dict[str, Any] | None = None) -> None:
        """Nothing is opened before `load` or `save`."""
        # Every text in quotes: without them a lone carriage return would begin a line, and so a cell, of its own.
        super().__init__(
            filepath=filepath, save_args={"index": False, "quoting": csv.QUOTE_NONNUMERIC}, metadata=metadata
        )

    def save(self, data: pd.DataFrame) -> None:
        """Write the rows, each text in a form that stays text."""
        super().save(data.map(_as_text))


def _as_text(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value.startswith(_LIVE) else value
