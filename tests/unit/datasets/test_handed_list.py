"""The list that is handed on opens in a spreadsheet as what it is: text and numbers."""

from __future__ import annotations

import csv
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lakehouse_ml.datasets.handed_list import HandedList


def write_and_read(folder: Path, rows: pd.DataFrame) -> list[dict[str, str]]:
    path = folder / "list.csv"
    HandedList(filepath=str(path)).save(rows)
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.mark.parametrize("text", ["=cmd|'/c calc'!A1", "+1", "-1", "@x", "\tx", "\rx"])
def test_a_text_that_a_spreadsheet_would_run_gets_an_apostrophe(tmp_path: Path, text: str) -> None:
    assert write_and_read(tmp_path, pd.DataFrame({"id": [text]})) == [{"id": f"'{text}"}]


def test_other_texts_numbers_days_and_gaps_stay_as_they_are(tmp_path: Path) -> None:
    rows = pd.DataFrame(
        {
            "id": ["a=1", "1-2", None],
            "n": np.array([-1, 0, 1], np.int32),
            "x": [-0.5, 1e-9, float("nan")],
            "on": [date(2024, 1, 31)] * 3,
        }
    )
    plain = list(csv.DictReader(rows.to_csv(index=False).splitlines()))
    assert write_and_read(tmp_path, rows) == plain


def test_a_line_break_of_any_kind_inside_a_text_begins_no_cell(tmp_path: Path) -> None:
    texts = ["x\r=1", "x\n=1", "x\r\n=1", 'x",=1']
    assert [row["id"] for row in write_and_read(tmp_path, pd.DataFrame({"id": texts}))] == texts


def test_the_frame_that_is_saved_keeps_its_texts(tmp_path: Path) -> None:
    rows = pd.DataFrame({"id": ["=1"]})
    write_and_read(tmp_path, rows)
    assert rows["id"].tolist() == ["=1"]


def test_an_empty_list_has_its_columns(tmp_path: Path) -> None:
    assert write_and_read(tmp_path, pd.DataFrame({"id": pd.Series([], dtype=str)})) == []
    assert (tmp_path / "list.csv").read_text(encoding="utf-8") == '"id"\n'
