"""What becomes of odd files that a use case is drafted from: a draft that says how it reads them, or one sentence."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from bad_input import PROJECT, Case

from lakehouse_ml.errors import LakehouseError
from lakehouse_ml.tooling.drafting.plan import DraftRequest
from lakehouse_ml.tooling.drafting.project import draft_use_case

TITLE = "Files that a use case is drafted from"
HEADER = "LoanID,Income,Since,Grade,Defaulted"
REFUSED = "Nothing is written."
READ = "The use case is drafted; the draft says how it reads them."


def rows(**columns: Callable[[int], str]) -> list[str]:
    """Lines of 200 loans; a function of the row's number gives the cells of a column instead."""
    usual = {
        "LoanID": lambda i: f"L{i:04}",
        "Income": lambda i: f"{1000 + 7 * i}",
        "Since": lambda i: f"2020-01-{i % 28 + 1:02}",
        "Grade": lambda i: "ABC"[i % 3],
        "Defaulted": lambda i: ["yes", "no", ""][i % 3],
    }
    return [",".join({**usual, **columns}[name](i) for name in HEADER.split(",")) for i in range(200)]


def text(*lines: str) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode()


def table(**columns: Callable[[int], str]) -> bytes:
    return text(HEADER, *rows(**columns))


@dataclass(frozen=True)
class Draft(Case):
    """A file that a use case is drafted from.

    Attributes:
        content: The file, named loans.csv.
        options: Of `kedro use-case new`, in place of `--key LoanID --label Defaulted`.
    """

    content: bytes
    options: dict[str, str | None] = field(default_factory=dict)


def drafted(name: str, content: bytes, sentence: str, happens: str = READ, **options: str | None) -> Draft:
    return Draft(name, happens, content, options, sentence=sentence)


ENDS = [
    drafted("no `--key`, and a column with distinct values", table(),
            "LoanID is different in each row and becomes the key; --key names another column.",
            "That column becomes the key.", key=None),
    drafted("no `--key`, and no column with distinct values", table(LoanID=lambda i: f"L{i % 9}"),
            "No column names each row, so file and line are the key: row_id, such as loans.csv:2. …",
            "File and line become the key.", key=None),
    drafted("a few cells that are not numbers in a column of numbers",
            table(Income=lambda i: "unknown" if i == 15 else f"{1000 + i}"),
            "Income: 199 of 200 values are numbers; 'unknown' in line 17 is read as missing.",
            "The column is still read as numbers."),
    drafted("amounts with a currency and thousands separators", table(Income=lambda i: f'"$1,{i:03}.50"'),
            "Income: '$1,000.50' is read as 1000.5."),
    drafted("numbers with a decimal comma and a unit", table(Income=lambda i: f'"{i % 9},5 %"'),
            "Income: '0,5 %' is read as 0.5."),
    drafted("days such as 31.12.2024", table(Since=lambda i: f"{i % 28 + 1:02}.01.2020"),
            "Since: '01.01.2020' is read as 2020-01-01.", time="Since"),
    drafted("words that mean missing, in the label too", table(Defaulted=lambda i: ["yes", "no", "N/A", ""][i % 4]),
            "Defaulted is unknown in 100 rows: 50 say 'N/A', 50 are empty (missing_words in conf/base/globals.yml).",
            "They are missing values: such a row is scored and does not train the model."),
    drafted("a record with too few fields", text(HEADER, *rows()[:19], "a,b", *rows()[19:]),
            "1 of 201 records will be refused when the file lands: line 21 has 2 fields instead of 5.",
            "The use case is drafted from the other records."),
]  # fmt: skip
STOPS = [
    drafted("a workbook", b"PK\x03\x04" + b"x" * 99,
            "loans.csv is a workbook or an archive: open it, export the sheet, save it as CSV in UTF-8 and draft from "
            "that.", REFUSED),
    drafted("UTF-16", table().decode().encode("utf-16"),
            "loans.csv is in UTF-16, as Excel's Unicode text: save it as CSV in UTF-8 and draft from that.", REFUSED),
    drafted("a first line `sep=,`", text("sep=,", HEADER, *rows()),
            "loans.csv: the first line, 'sep=,', is a note for Excel and not the header. Remove it.", REFUSED),
    drafted("values instead of names in the first line", text("5.1,3.5,setosa", "4.9,3.0,setosa"),
            "loans.csv: its first line seems to hold values and no names (5.1, 3.5, setosa). Put a line on top that "
            "names each of the 3 columns.", REFUSED),
    drafted("one more field in each record than in the header",
            text(HEADER, *(f"{i},{row}" for i, row in enumerate(rows()))),
            "loans.csv: every record is refused: the first one, in line 2, has 6 fields instead of 5. The header lacks "
            "a name, mostly the first one (R writes it so): put one on top of each column.", REFUSED),
    drafted("a trailing delimiter in each record", text(HEADER, *(f"{row}," for row in rows())),
            "loans.csv: every record is refused: the first one, in line 2, has 6 fields instead of 5. Each record ends "
            "in a delimiter too many: remove it, or add one to the header.", REFUSED),
    drafted("descriptions of the columns in the second row",
            text(HEADER, "Number of the loan,Yearly,First day,Letter,Outcome", *rows()),
            "loans.csv: line 2 describes the columns (Income: 'Yearly'; Since: 'First day') and is no record. Remove "
            "it.", REFUSED),
    drafted("a line of totals at the end", text(HEADER, *rows(), "Total,99000,,,"),
            "loans.csv: line 202, the last one, seems to sum up the others (LoanID: 'Total') and to be no record. "
            "Remove it.", REFUSED),
    drafted("a key with duplicates", table(LoanID=lambda i: f"{i // 2}"),
            "LoanID has duplicates: '0' is in 2 rows, as 100 keys do in several. If they are its states over time, "
            "name the column of their day with --time; if not, remove them, name another --key, or leave --key out: "
            "file and line are the key then.", REFUSED),
    drafted("dates that may have the day or the month first",
            table(Since=lambda i: f"0{i % 9 + 1}/02/2024"),
            "--time: Since holds days such as '01/02/2024', and nothing tells whether the day or the month comes "
            "first. Write them as YYYY-MM-DD.", REFUSED, time="Since"),
    drafted("too few rows of a class", table(Defaulted=lambda i: "yes" if i < 9 else "no"),
            "Defaulted = yes is in 9 rows with a key of their own: too few. …", REFUSED),
    drafted("an amount as the label", table(), "Income has 200 different values (…): the stages predict which of at "
            "most 20 classes a row is of, and no amounts. Put a column of classes into the file, such as high and low.",
            REFUSED, label="Income"),
]  # fmt: skip
CASES: list[Case] = [*ENDS, *STOPS]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """As much of a checkout as a draft is written into."""
    package = (
        "__init__",
        "use_cases/__init__",
        "use_cases/base",
        "use_cases/columns",
        "use_cases/contracts",
        "use_cases/formats",
        "use_cases/wording",
    )
    copied = tmp_path / "project"
    for name in ("conf/base/globals.yml", *(f"src/lakehouse_ml/{module}.py" for module in package)):
        (copied / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(PROJECT / name, copied / name)
    return copied


def draft(case: Draft, project: Path) -> list[str]:
    file = project.parent / "loans.csv"
    file.write_bytes(case.content)
    wish: dict[str, Any] = {"key": "LoanID", "label": "Defaulted", **case.options}
    return draft_use_case(project, DraftRequest("loans", **wish), file)


@pytest.mark.parametrize("case", ENDS, ids=lambda case: case.name)
def test_a_draft_says_how_it_reads_an_odd_file(case: Draft, project: Path) -> None:
    lines = draft(case, project)
    assert any(case.matches(line, {}) for line in lines), lines
    assert (project / "data/landing/loans/loans.csv").read_bytes() == case.content


@pytest.mark.parametrize("case", STOPS, ids=lambda case: case.name)
def test_a_file_that_cannot_be_drafted_from_is_refused_with_its_cause(case: Draft, project: Path) -> None:
    paths_before = sorted(project.rglob("*"))
    with pytest.raises(LakehouseError) as refused:
        draft(case, project)
    assert case.matches(str(refused.value), {}), refused.value
    assert sorted(project.rglob("*")) == paths_before
