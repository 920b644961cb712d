"""A list that people open in a spreadsheet: none of its texts is taken for a formula there."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, Any, cast

import pandas as pd

from lakehouse_ml.datasets.recorded_file import RecordedFile

if TYPE_CHECKING:
    from kedro_datasets._typing import TablePreview

# Spreadsheets run a cell that begins so, whatever is quoted in the file.
_LIVE = ("=", "+", "-", "@", "\t", "\r")


class HandedList(RecordedFile):
    """A CSV file, for hands outside: a text that would be a formula gets an apostrophe before it.

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
        self._address = filepath
        self.metadata = metadata

    def encode(self, content: pd.DataFrame) -> str:
        """The rows as CSV, each text in a form that stays text."""
        # Every text in quotes: without them a lone carriage return would begin a line, and so a cell, of its own.
        return str(content.map(_as_text).to_csv(index=False, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\n"))

    def decode(self, text: str) -> pd.DataFrame:
        """The rows as a spreadsheet reads them."""
        return pd.read_csv(io.StringIO(text))

    def preview(self, nrows: int = 10) -> TablePreview:
        """The first rows as kedro-viz shows them."""
        return cast("TablePreview", self.decode(self.text()).head(nrows).to_dict(orient="split"))


def _as_text(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value.startswith(_LIVE) else value
