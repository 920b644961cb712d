"""Files of all kinds, drawn at random: a run ends well with every row accounted for, or with one sentence.

`LAKEHOUSE_ML_FUZZ=1000 pytest tests/e2e/test_fuzz_landing.py -m slow` tries as many.
"""

from __future__ import annotations

import csv
import gzip
import io
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from bad_input import Place
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from lakehouse_ml.use_cases.churn.synthetic import HEADER, customers

N = int(os.environ.get("LAKEHOUSE_ML_FUZZ", "50"))
MOST_ROWS = 200
_TABLE = customers(MOST_ROWS, seed=5)
ROWS = [list(map(str, row)) for row in zip(*(_TABLE[name] for name in HEADER), strict=True)]
ODD = (
    "", " ", "\t", "\u00a0", "\0", "NULL", "nan", "inf", "-1", "1e999", "1,5", "1,234.50", "9" * 30, "0x10", "=1+1",
    "'", '"', '""', 'a"b', "a\nb", "a\r\nb", "\r", "é", "客户", "\u2028", "\ufeff", "😀", "x" * 5_000, "Yes", "No", "0",
)  # fmt: skip


@dataclass(frozen=True)
class Drawn:
    """A file: its name and its bytes."""

    name: str
    content: bytes


@st.composite
def files(draw: st.DrawFn) -> Drawn:
    """Mostly sound files, with something wrong in some of their properties."""
    header, rows = list(HEADER), [list(row) for row in ROWS[: draw(_mostly(40, st.integers(0, MOST_ROWS)))]]
    _spoil_columns(draw, header, rows)
    text = _written(draw, header, rows)
    content = text.encode(draw(_mostly("utf-8", st.sampled_from(["utf-8-sig", "latin-1", "utf-16"]))), "replace")
    for at, junk in draw(_mostly([], st.lists(st.tuples(st.floats(0, 1), st.binary(max_size=3)), max_size=3))):
        place = int(at * len(content))
        content = content[:place] + junk + content[place:]
    content = content[: int(draw(_mostly(1.0, st.floats(0, 1))) * len(content))]
    if draw(_mostly(False, st.just(True))):
        packed = gzip.compress(content, mtime=0)
        return Drawn("customers.csv.gz", packed[: int(draw(_mostly(1.0, st.floats(0, 1))) * len(packed))])
    return Drawn("customers.csv", content)


def _mostly(usual: Any, other: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """The usual value three times out of four."""
    return st.integers(0, 3).flatmap(lambda n: other if n == 3 else st.just(usual))


def _spoil_columns(draw: st.DrawFn, header: list[str], rows: list[list[str]]) -> None:
    order = draw(_mostly(range(len(header)), st.permutations(range(len(header)))))
    for line in (header, *rows):
        line[:] = [line[i] for i in order]
    what, at = (
        draw(_mostly("nothing", st.sampled_from(["drop", "rename", "repeat", "empty"]))),
        draw(st.integers(0, 20)),
    )
    if what == "drop":
        for line in (header, *rows):
            del line[at]
    elif what == "rename":
        header[at] = draw(st.sampled_from([header[at].lower(), "x", "", " " + header[at]]))
    elif what == "repeat":
        for line in (header, *rows):
            line.append(line[at])
    elif what == "empty":
        for row in rows:
            row[at] = ""
    if rows:
        cells = st.tuples(st.integers(0, len(rows) - 1), st.integers(0, 20), st.sampled_from(ODD) | st.text(max_size=5))
        for row, column, value in draw(_mostly([], st.lists(cells, max_size=20))):
            rows[row][column % len(rows[row])] = value
        lengths = st.tuples(st.integers(0, len(rows) - 1), st.sampled_from([-3, -1, 1, 2]))
        for row, by in draw(_mostly([], st.lists(lengths, max_size=3))):
            rows[row] = rows[row][:by] if by < 0 else [*rows[row], *["x"] * by]


def _written(draw: st.DrawFn, header: list[str], rows: list[list[str]]) -> str:
    delimiter = draw(_mostly(",", st.sampled_from(";\t|")))
    end = draw(_mostly("\n", st.sampled_from(["\r\n", "\r"])))
    if draw(_mostly(False, st.just(True))):  # as programs write that know nothing of quotes
        text = "".join(delimiter.join(line) + end for line in (header, *rows))
    else:
        quoting = draw(st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]))
        stream = io.StringIO()
        csv.writer(stream, delimiter=delimiter, lineterminator=end, quoting=quoting).writerows([header, *rows])
        text = stream.getvalue()
    for at in draw(_mostly([], st.lists(st.floats(0, 1), max_size=2))):
        text = text[: int(at * len(text))] + '"' + text[int(at * len(text)) :]
    return text.encode("utf-8", "replace").decode()


@pytest.mark.slow
@settings(
    max_examples=N, deadline=None, derandomize=True, database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.function_scoped_fixture],
)  # fmt: skip
@given(drawn=files())
def test_any_file_ends_in_rows_accounted_for_or_in_one_sentence(drawn: Drawn, spark: Any) -> None:
    with tempfile.TemporaryDirectory() as folder:
        place = Place(Path(folder) / "landing", Path(folder) / "lake", "_customers")
        place.landing.mkdir()
        (place.landing / drawn.name).write_bytes(drawn.content)
        message = place.run(data_ingestion={"tolerated_refused_share": 1.0})
        place.versions()
        if message:
            event("told: " + " ".join(message.replace(str(place.landing), "").split()[:7]))
            assert message.isprintable(), message
            assert drawn.name in message
            assert len(message) < 1_500
            # Either nothing of the file is recorded, or all of it is and a rule has stopped the run.
            assert place.rows("manifest_customers") == [] or message.startswith("customers: rule")
        else:
            lines, refused, _, out = place.counts()
            event(f"ended well, refused {bool(refused)}, quarantined {bool(out)}, rows {bool(lines)}")
