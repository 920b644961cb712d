"""A CSV file that is safe to open in a spreadsheet: no text runs as a formula."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, Any, cast

import pandas as pd

from lakehouse_ml.datasets.recorded_file import RecordedFile

if TYPE_CHECKING:
    from kedro_datasets._typing import TablePreview

# Spreadsheets run a cell with such a first character as a formula, even if it is quoted.
_FORMULA_PREFIXES = ("=", "+", "-", "@", "\t", "\r")


class HandedList(RecordedFile):
    """A CSV file to hand on: a text that a spreadsheet would run as a formula gets an apostrophe before it.

    A spreadsheet reads the apostrophe as a mark of text and hides it. Numbers are written as they are. Tables keep the
    original text: to join on an id, read the table, not this list.

    Example:
        ```yaml
        "{use_case}.report_actions":
          type: lakehouse_ml.datasets.handed_list.HandedList
          filepath: data/07_model_output/{use_case}/actions.csv
        ```
    """

    def __init__(self, *, filepath: str, metadata: dict[str, Any] | None = None) -> None:
        """Configure the file. Nothing is opened before `load` or `save`."""
        self._address = filepath
        self.metadata = metadata

    def encode(self, content: pd.DataFrame) -> str:
        """The rows as CSV, with formulas escaped."""
        # Quote every text: a lone carriage return outside quotes would start a new line, and with it a new cell.
        return str(content.map(_escape_formula).to_csv(index=False, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\n"))

    def decode(self, text: str) -> pd.DataFrame:
        """The rows as a spreadsheet reads them."""
        return pd.read_csv(io.StringIO(text))

    def preview(self, nrows: int = 10) -> TablePreview:
        """The first rows as kedro-viz shows them."""
        return cast("TablePreview", self.decode(self.read_text()).head(nrows).to_dict(orient="split"))


def _escape_formula(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA_PREFIXES) else value
