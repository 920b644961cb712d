"""What becomes of bad landing files: a good end with every row accounted for, or one sentence and nothing changed."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from bad_input import PROJECT, Case, Place, groups, text

from lakehouse_ml.use_cases.churn.synthetic import HEADER, customers
from warm import warm

TITLE = "Landing files"
PAGE = PROJECT / "docs" / "bad-input.md"
BAD = "customers_2025-01-31.csv"
LIFE_TO_TRAINING = ("data_ingestion", "data_quality", "feature_engineering", "training")
DECLARED = ", ".join(HEADER)
NO_NUMBER = "The rows are refused: it is not a number. The fields are kept as JSON, the value as text."
Rows = list[dict[str, str]]
Counts = tuple[int, int, int, int]


def good(n: int = 40, seed: int = 1) -> Rows:
    table = customers(n, seed=seed)
    return [
        dict(zip(HEADER, map(str, row), strict=True)) for row in zip(*(table[name] for name in HEADER), strict=True)
    ]


def as_text(rows: Rows, **how: Any) -> str:
    stream = io.StringIO()
    writer = csv.DictWriter(stream, list(HEADER), **{"lineterminator": "\n", **how})
    writer.writeheader()
    writer.writerows(rows)
    return stream.getvalue()


GOOD = as_text(good())
LINES = GOOD.splitlines()


def cells(column: str, value: str, n: int = 40, every: int = 1) -> str:
    """The good file with another value in a column of its first `n` rows, or of every so manieth of them."""
    return as_text([row | ({column: value} if i < n and i % every == 0 else {}) for i, row in enumerate(good())])


def file(content: str | bytes, name: str = BAD) -> Callable[[Path], None]:
    """Something that puts a file into a landing folder."""

    def put(landing: Path) -> None:
        path = landing / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())

    return put


def both(*puts: Callable[[Path], None]) -> Callable[[Path], None]:
    return lambda landing: [put(landing) for put in puts] and None


@contextmanager
def growing(landing: Path) -> Iterator[None]:
    """Somebody who writes to the file all the time."""
    stop = threading.Event()

    def write() -> None:
        with (landing / BAD).open("a", encoding="utf-8") as stream:
            while not stop.is_set():
                stream.write(LINES[1] + "\n")
                stream.flush()
                time.sleep(0.001)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        yield
    finally:
        stop.set()
        writer.join()


@dataclass(frozen=True)
class Rest:
    """What is left of one file in the tables that hold its rows."""

    place: Place
    file: str

    def rows(self, table: str) -> list[dict[str, Any]]:
        return [row for row in self.place.rows(table) if row["source_file"] == self.file]

    def counts(self, table: str) -> Counts:
        (book,) = self.rows(f"manifest_{table}")
        names = ("quarantine_lines", "raw", "clean", "quarantine")
        refused, raw, clean, n_quarantined = (len(self.rows(f"{name}_{table}")) for name in names)
        assert (book["n_quarantined"], book["n_raw"]) == (refused, raw)
        assert book["n_lines"] == raw + refused
        assert raw == clean + n_quarantined
        return book["n_lines"], refused, clean, n_quarantined


def holds(**values: Any) -> Callable[[Rest], None]:
    """A check that some clean row has these values."""

    def check(rest: Rest) -> None:
        assert any(all(row[k] == v for k, v in values.items()) for row in rest.rows("clean_customers"))

    return check


def refused_for(column: str | None, reason: str, value: str | None = None) -> Callable[[Rest], None]:
    """A check that a refused line says what is wrong with it, and keeps its text, or its fields as JSON."""

    def check(rest: Rest) -> None:
        lines = rest.rows("quarantine_lines_customers")
        problems = [problem for row in lines for problem in row["problems"]]
        assert any((p["column"], p["reason"]) == (column, reason) for p in problems), problems
        assert value is None or any(p["text"] == value for p in problems), problems
        assert all(row["line_text"] for row in lines)
        if column and value is not None:
            assert any(value in json.loads(row["line_text"]).values() for row in lines)

    return check


def lacks(rest: Rest, column: str) -> None:
    """A check that no clean row has a value in a column."""
    assert {row[column] for row in rest.rows("clean_customers")} == {None}


def quarantined_for(rule: str) -> Callable[[Rest], None]:
    """A check that some quarantined row says by which rule."""

    def check(rest: Rest) -> None:
        assert rule in {reason for row in rest.rows("quarantine_customers") for reason in row["quarantine_reasons"]}

    return check


@dataclass(frozen=True, eq=False)
class Ends(Case):
    """A file with which a run ends well; two equal ones are two cases.

    Attributes:
        content: What stands in it.
        counts: Lines, refused lines, clean rows, quarantined rows.
        check: What else holds of its rows.
        table: Which landing table it belongs to.
        called: The file's name, with the day of its rows to be filled in.
    """

    content: str | bytes
    counts: Counts
    check: Callable[[Rest], None] = field(default=lambda _: None)
    table: str = "customers"
    called: str = "customers_{}.csv"

    @property
    def file(self) -> str:
        """Its name, with a day of its own: no row of another file has the same key."""
        return self.called.format(date(2024, 1, 1) + timedelta(days=ENDS.index(self)))


@dataclass(frozen=True)
class Stops(Case):
    """A file with which a run stops.

    Attributes:
        put: Makes it, in a landing folder.
        changed: Tables that may have another version afterwards.
        meanwhile: What happens during the run.
        alone: Whether there is no other file and no table before.
        stages: What is run.
    """

    put: Callable[[Path], None]
    changed: tuple[str, ...] = ()
    meanwhile: Callable[[Path], Any] = field(default=lambda _: nullcontext())
    alone: bool = False
    stages: tuple[str, ...] = ("data_ingestion", "data_quality")


ENDS = [
    Ends("a header and nothing else", "The file counts as read, with no rows.", LINES[0] + "\n", (0, 0, 0, 0)),
    Ends("a byte order mark at the beginning", "It is not part of the first column's name.",
         "\ufeff" + GOOD, (40, 0, 40, 0)),
    Ends("lines that end in CR LF", "Read like any other.", GOOD.replace("\n", "\r\n"), (40, 0, 40, 0),
         holds(churn="No")),
    Ends("lines that end in CR alone", "Read like any other.", GOOD.replace("\n", "\r"), (40, 0, 40, 0)),
    Ends("a value in quotes with line breaks and quotes inside", "The value is kept; the record counts once.",
         cells("PaymentMethod", 'Bank\ntransfer "auto"', n=1), (40, 0, 40, 0),
         holds(payment_method='Bank\ntransfer "auto"')),
    Ends("a ragged row in the middle", "It is refused with its text; no other row is affected.",
         "\n".join([*LINES[:10], "a,b,c", *LINES[10:]]) + "\n", (41, 1, 40, 0),
         refused_for(None, "has 3 fields instead of 21", "a,b,c")),
    Ends("an open quote that a later quote closes",
         "The text between them is one refused record, stored with its whole text and the lines that it spans.",
         "\n".join([*LINES[:10], '"' + LINES[10], LINES[11], LINES[12] + '"', *LINES[13:]]) + "\n",
         (38, 1, 37, 0),
         refused_for(None, "has 1 field instead of 21 and spans 3 lines: is a quote left open in it?")),
    Ends("empty lines between rows", "They are not records.",
         "\n".join([*LINES[:10], "", "", *LINES[10:], "", ""]), (40, 0, 40, 0)),
    Ends("a field of 10 MB", "It is kept.", cells("PaymentMethod", "x" * 10_000_000, n=1), (40, 0, 40, 0),
         holds(payment_method="x" * 10_000_000)),
    Ends("duplicate ids", "The last row is kept, the others are quarantined as `duplicate_key`.",
         GOOD + "\n".join(LINES[1:6]) + "\n", (45, 0, 40, 5), quarantined_for("duplicate_key")),
    Ends("a blank TotalCharges", "Allowed for customers in their first month; other rows are quarantined by its rule.",
         as_text([row | {"TotalCharges": " "} | ({"tenure": "0"} if i < 10 else {"tenure": "5"})
                       for i, row in enumerate(good())]),
         (40, 0, 10, 30), quarantined_for("total_charge_fits_tenure")),
    Ends("cells of tabs and blanks", "They count as empty.", cells("PaymentMethod", "\t \u00a0 \t"),
         (40, 0, 40, 0), holds(payment_method=None)),
    Ends("ids of tabs and blanks", "An id is required: the rows are refused.",
         cells("customerID", "\t  ", n=3), (40, 3, 37, 0), refused_for("customerID", "is empty", "\t  ")),
    *[
        Ends(name, NO_NUMBER, cells("TotalCharges", number, n=2), (40, 2, 38, 0),
             refused_for("TotalCharges", "is not of type double", number))
        for name, number in {
            'numbers with thousands separators, "1,234.50"': "1,234.50", "a control character beside a number": "\x011",
            "the number inf": "inf", "the number 1e999": "1e999",
        }.items()
    ],
    Ends("whole numbers such as 39.0", "Read as whole numbers.", cells("tenure", "39.0"), (40, 0, 40, 0),
         holds(tenure_months=39)),
    Ends("the words N/A, ?, - and null", "`missing_words` in conf lists them: the values are missing.",
         as_text([row | {"PaymentMethod": ["N/A", "?", "-", "null"][i % 4]} for i, row in enumerate(good())]),
         (40, 0, 40, 0), lambda rest: lacks(rest, "payment_method")),
    Ends("the number nan", "`missing_words` in conf lists it, so the value is missing: the rule of the column decides.",
         cells("MonthlyCharges", "nan", n=2), (40, 0, 38, 2)),
    Ends("a category that a rule does not allow", "The rows are quarantined by that rule.",
         cells("Contract", "Weekly", n=4), (40, 0, 36, 4), quarantined_for("contract_is_known")),
    Ends("a new category in a column without a rule", "It is kept, and a model treats it as unknown.",
         cells("PaymentMethod", "Barter", n=4), (40, 0, 40, 0), holds(payment_method="Barter")),
    Ends("an empty column", "It is kept as nulls.", cells("gender", ""), (40, 0, 40, 0),
         holds(gender=None)),
    Ends("no labels", "The rows are kept: their outcome is unknown.", cells("Churn", ""), (40, 0, 40, 0)),
    *[
        Ends(f"the id {formula}", "Tables keep it as it is; in the offer list an apostrophe precedes it, and in the "
             "report it is text.", cells("customerID", formula, n=1), (40, 0, 40, 0),
             holds(customer_id=formula))
        for formula in ("=cmd|'/c calc'!A1", "+1", "-1", "@x")
    ],
    Ends("a compressed file, customers.csv.gz", "Read like the uncompressed file.",
         gzip.compress(GOOD.encode()), (40, 0, 40, 0), called="customers_{}.csv.gz"),
    Ends("a ragged row among the outcomes", "It is refused with its text.",
         "customerID,Churn\nA,Yes,no\nB,No\n",
         (2, 1, 1, 0), table="outcomes", called="outcomes/outcomes_{}.csv"),
    Ends("an outcome that is neither Yes nor No, or appears twice", "Quarantined; of duplicates the last row is kept.",
         "customerID,Churn\nA,maybe\nB,No\nB,Yes\n",
         (3, 0, 1, 2), table="outcomes", called="outcomes/outcomes_{}.csv"),
    Ends("two concatenated files, each with a byte order mark", "The second mark is not part of the id after it.",
         "\n".join(["\ufeff" + LINES[0], *LINES[1:5], "\ufeff" + LINES[5], *LINES[6:]]) + "\n", (40, 0, 40, 0),
         holds(customer_id=LINES[5].split(",")[0])),
    Ends("a zero byte in a cell", "It is kept.", cells("PaymentMethod", "a\0b", n=1), (40, 0, 40, 0),
         holds(payment_method="a\0b")),
    Ends("a line with control characters", "It is refused with its text; no other row is affected.",
         "\n".join([*LINES[:10], "\x03end of file\x03", *LINES[10:]]) + "\n", (41, 1, 40, 0),
         refused_for(None, "has 1 field instead of 21", "\x03end of file\x03")),
    *[
        Ends("equal outcomes of two days", "Both are read: they are rows of different days.",
             "customerID,Churn\nA,No\nB,No\nC,Yes\n", (3, 0, 3, 0), table="outcomes",
             called="outcomes/outcomes_{}.csv")
        for _ in range(2)
    ],
    *[
        Ends("an outcome file without rows", "The file counts as read, with no rows.",
             "customerID,Churn\n", (0, 0, 0, 0), table="outcomes", called="outcomes/outcomes_{}.csv")
        for _ in range(2)
    ],
]  # fmt: skip

STOPS = [
    Stops("an empty file", "Nothing is read.", file(""),
          sentence=f"{BAD} in <landing> is empty: it has no header line."),
    Stops("only files with other names", "Nothing is read.", file(GOOD, "notes.txt"), alone=True,
          sentence="No file named *.csv in <landing>. Put the table's files there, name their folder with "
          "LANDING=, or let `make run` write a generated sample."),
    Stops("an empty folder", "Nothing is read.", lambda landing: landing.mkdir(), alone=True,
          sentence="The landing folder <landing> is empty. Put the table's files there, name their folder with "
          "LANDING=, or let `make run` write a generated sample."),
    Stops("no folder", "Nothing is read.", lambda _: None, alone=True,
          sentence="The landing folder <landing> does not exist. Put the table's files there, name their folder with "
          "LANDING=, or let `make run` write a generated sample."),
    Stops("a file instead of the folder", "Nothing is read.", lambda landing: file(GOOD, landing.name)(landing.parent),
          alone=True, sentence="<landing> is a file. Set LANDING to its folder."),
    Stops("a folder that is named like a file", "Nothing is read.", file(GOOD, f"{BAD}/part.csv"),
          sentence=f"{BAD} in <landing> is named like a file, but is a folder or a broken link. Move its "
          "files up beside it under names of their own, or rename it."),
    Stops("a missing column, and an undeclared one", "Nothing is read.",
          file(GOOD.replace("Contract", "Agreement")),
          sentence=f"{BAD} in <landing>: column Contract is missing; column Agreement isn't declared. The table "
          f"declares 21 columns: {DECLARED}."),
    Stops("no header", "Nothing is read.", file("\n".join(LINES[1:]) + "\n"),
          sentence=f"{BAD} in <landing>: its header has none of the declared columns. Add a first line that "
          f"names them: {DECLARED}."),
    Stops("another delimiter", "Nothing is read.", file(GOOD.replace(",", ";")),
          sentence=f"{BAD} in <landing>: its header is a single field, and ';' seems to be the delimiter; "
          "the catalog declares ','. Set `delimiter` of this table in the catalog of conf, or save the file with the "
          "declared one."),
    Stops("more than a fifth of a file's rows refused",
          "The refused lines are stored with their reasons; nothing else of the file is used.",
          file(cells("tenure", "39.5", every=4)), changed=("parsed_customers", "quarantine_lines_customers"),
          sentence=f"More than the tolerated 20% of rows can't be read: {BAD} (10 of 40), in <landing>. Most frequent "
          f"problem in {BAD}: tenure is not of type int (10 rows, first in line 2). Nothing of such a file is "
          "used. Correct it and run again, or raise tolerated_refused_share (data_ingestion in parameters.yml). All "
          "refused lines, with their reasons, are in the table quarantine_lines_customers."),
    Stops("Latin-1", "Nothing is read.", file(cells("PaymentMethod", "Überweisung", n=1).encode("latin-1")),
          sentence=f"{BAD} is not in UTF-8: line 2 has the byte 0xdc, which is 'Ü' in Windows-1252 (Latin-1), and the "
          "file seems to use that encoding. Save it in UTF-8 and run again."),
    Stops("Latin-1, and an unquoted comma in a name", "Nothing is read.",
          file("\n".join([*LINES[:3], LINES[3] + ",Müller", *LINES[4:]]).encode("latin-1")),
          sentence=f"{BAD} is not in UTF-8: line 4 has the byte 0xfc, which is 'ü' in Windows-1252 (Latin-1), and the "
          "file seems to use that encoding. Save it in UTF-8 and run again."),
    Stops("UTF-16", "Nothing is read.", file(GOOD.encode("utf-16")),
          sentence=f"{BAD} is not in UTF-8: line 1 has the byte 0xff, with which files in UTF-16 begin. Save it in "
          "UTF-8 and run again."),
    Stops("UTF-16 without a byte order mark", "Nothing is read.", file(GOOD.encode("utf-16-le")),
          sentence=f"{BAD} is not in UTF-8: its header has zero bytes, as files in UTF-16 have. Save it in UTF-8 and "
          "run again."),
    Stops("a first line of 2 MB", "Nothing is read.", file(gzip.compress(b"x" * 2_000_000), f"{BAD}.gz"),
          sentence=f"{BAD}.gz: its first line, the header, is longer than 1 MiB. Add a first line that "
          "names the columns, and end each record with a line end."),
    Stops("a name that is not UTF-8, as from older shares and archives", "Nothing is read.",
          file(GOOD, os.fsdecode(b"kunden_\xfc.csv")),
          sentence="The name 'kunden_\\xfc.csv' in <landing> is not UTF-8; names from older shares and archives may "
          "not be. Rename the file, then run again."),
    Stops("a line end and a colour code in a name", "Nothing is read.", file("", "a\nError: all is well\x1b[32m.csv"),
          sentence="a\\nError: all is well\\x1b[32m.csv in <landing> is empty: it has no header line."),
    Stops("a quote that is never closed", "Nothing is read.",
          file("\n".join([*LINES[:10], '"' + LINES[10], *LINES[11:]]) + "\n"),
          sentence=f"{BAD}: a quote that opens in record 11 is never closed, and the rest of the file is "
          "inside it. Close it and run again."),
    Stops("such a quote in the last field of a row", "Nothing is read.",
          file("\n".join([*LINES[:10], LINES[10].rpartition(",")[0] + ',"No', *LINES[11:]]) + "\n"),
          sentence=f"{BAD}: a quote that opens in record 11 is never closed, and the rest of the file is "
          "inside it. Close it and run again."),
    Stops("such a quote in the header", "Nothing is read.", file('"' + GOOD),
          sentence=f"{BAD} can't be read as csv: a quote in its header is left open. Is the file complete?"),
    Stops("a field of 30 MB", "Nothing is read.", file(cells("PaymentMethod", "x" * 30_000_000, n=1)),
          sentence=f"{BAD}: a record after record 1 is longer than 8 MiB. Is a quote left open there? Correct it "
          "and run again."),
    Stops("a tenure below zero in a third of the rows",
          "The rows are recorded and quarantined; the clean table stays as it was.",
          file(cells("tenure", "-3", every=2)),
          changed=("parsed_customers", "raw_customers", "manifest_customers", "checked_customers",
                   "quarantine_lines_customers", "quarantine_customers", "metrics_columns_customers",
                   "metrics_rules_customers"),
          sentence="customers: rule tenure_is_mostly_sound (tenure_months >= 0) is broken by 20 of 80 rows (25.0%, "
          f"tolerated: 20.0%), for example {BAD} line 2 (tenure_months -3); {BAD} line 4 (tenure_months -3); {BAD} "
          "line 6 (tenure_months -3). Correct the file, or the rule in conf. No later step has used this "
          "data; the refused rows are in quarantine_customers."),
    Stops("a file that changes while it is read", "Nothing of it is recorded.", file(GOOD), meanwhile=growing,
          sentence=f"{BAD} changed while it was read: nothing of it was recorded. Run again when it is complete."),
    Stops("the same file under two names", "Nothing is read.", both(file(GOOD, "a.csv"), file(GOOD, "b.csv")),
          sentence="b.csv in <landing> has the same content as a.csv: its rows would count twice. Remove one of "
          "the two (a corrected file keeps its name)."),
    Stops("a truncated compressed file", "Nothing is read.",
          file(gzip.compress(GOOD.encode())[:-20], f"{BAD}.gz"),
          sentence=f"{BAD}.gz can't be read as csv: Compressed file ended before the end-of-stream marker was "
          "reached. Is the file complete?"),
    Stops("a name with an invalid date", "Nothing is read.", file(GOOD, "customers_2025-02-30.csv"),
          sentence="The name of customers_2025-02-30.csv has no valid day for its rows: …"),
    *[
        Stops(f"a file dated {day}, a placeholder", "Nothing is read.", file(GOOD, f"customers_{day}.csv"),
              sentence=f"customers_{day}.csv in <landing> is dated {day}: days before 1970-01-02 and more than 50 "
              "years ahead are placeholders. Rename it with the day that its rows describe, then run again.")
        for day in ("9999-12-31", "2099-12-31", "1970-01-01", "0001-01-01")
    ],
    Stops("outcomes with other columns", "Nothing of them is read.",
          file("customerID,Left\nA,Yes\n", "outcomes/outcomes_2024-12-31.csv"),
          sentence="outcomes/outcomes_2024-12-31.csv in <landing>: column Churn is missing; column Left "
          "isn't declared. The table declares 2 columns: customerID, Churn."),
    Stops("no labels, but a model is to be trained", "The rows are kept; no model is trained.",
          file(cells("Churn", "")), alone=True, stages=LIFE_TO_TRAINING,
          sentence="The train part has 0 rows with label 0; at least 20 are needed. Land more labelled rows, or lower "
          "min_per_class in conf."),
    Stops("labels of one class only", "The rows are kept; no model is trained.", file(cells("Churn", "No")), alone=True,
          stages=LIFE_TO_TRAINING,
          sentence="The train part has 0 rows with label 1; at least 20 are needed. Land more labelled rows, or lower "
          "min_per_class in conf."),
    *[
        Stops(f"{n} rows", "The rows are kept; no model is trained.", file(as_text(good(n))), alone=True,
              stages=LIFE_TO_TRAINING,
              sentence="The train part has … rows with label …; at least 20 are needed. Land more labelled rows, or "
              "lower min_per_class in conf.")
        for n in (10, 30)
    ],
]  # fmt: skip

# Each has a test of its own name.
LETTERS = Case(
    "spaces and non-ASCII letters in the paths of file, folder and lake",
    "They are ordinary paths.",
)
SIGNS = Case(
    "`::`, `file:`, `*`, `[`, `#`, `?`, `%41`, `{}`, a line end and the like in the names of files and of their folder",
    "They are ordinary names, not interpreted as a file system, pattern or escape.",
)
MARKUP = Case(
    "HTML in a category",
    "The report shows it as text.",
)

CASES: list[Case] = [*ENDS, LETTERS, SIGNS, MARKUP, *STOPS]


@pytest.fixture(scope="module")
def settled(tmp_path_factory: pytest.TempPathFactory, spark: Any) -> Place:
    """A lake with the rows of one good file, which the bad ones come to."""
    folder = tmp_path_factory.mktemp("settled")
    place = Place(folder / "landing", folder / "lake")
    file(as_text(good(seed=2)), "customers.csv")(place.landing)
    assert place.run() == ""
    return place


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory, spark: Any) -> Place:
    """A lake after one run with all the files that a run ends well with."""
    folder = tmp_path_factory.mktemp("ended")
    place = Place(folder / "landing", folder / "lake")
    for case in ENDS:
        file(case.content, case.file)(place.landing)
    # Some of these files hold little but what is refused.
    assert place.run(data_ingestion={"tolerated_refused_share": 1.0}) == ""
    return place


@pytest.mark.slow
@pytest.mark.parametrize("case", ENDS, ids=lambda case: case.name)
def test_a_run_ends_well_with_every_row_accounted_for(case: Ends, ended: Place) -> None:
    rest = Rest(ended, case.file)
    assert rest.counts(case.table) == case.counts
    case.check(rest)


@pytest.mark.slow
@pytest.mark.parametrize("case", [case for case in STOPS if not case.alone], ids=lambda case: case.name)
def test_a_run_stops_with_one_sentence_and_the_next_one_goes_on(case: Stops, settled: Place) -> None:
    versions_before = settled.versions()
    lying = {path: path.read_bytes() for path in settled.landing.glob("*.csv")}
    case.put(settled.landing)
    with case.meanwhile(settled.landing):
        message = settled.run(*case.stages)
    assert case.matches(message, settled.names), message
    versions_after = settled.versions()
    assert {name for name in versions_after if versions_before.get(name) != versions_after[name]} == set(case.changed)
    if case.changed:
        file(as_text(good(seed=3)))(settled.landing)
        assert settled.run() == ""
        settled.counts()
    else:
        _put_back(settled.landing, lying)
        assert settled.run() == ""
        assert settled.versions() == versions_before


@pytest.mark.parametrize(
    "case",
    # What goes as far as training takes four seconds.
    [pytest.param(case, marks=[pytest.mark.slow] * (len(case.stages) > 2)) for case in STOPS if case.alone],
    ids=lambda case: case.name,
)
def test_a_first_run_stops_with_one_sentence_and_the_next_one_goes_on(case: Stops, tmp_path: Path, spark: Any) -> None:
    place = Place(tmp_path / "landing", tmp_path / "lake")
    case.put(place.landing)
    message = place.run(*case.stages)
    assert case.matches(message, place.names), message
    assert {name for name in place.versions() if name.startswith("metrics_trials")} == set()
    if place.landing.is_file():
        place.landing.unlink()
    file(as_text(good(seed=3)))(place.landing)
    assert place.run() == ""
    place.counts()


@pytest.mark.slow
def test_after_all_that_a_new_good_file_completes(settled: Place) -> None:
    count_before = settled.counts()[0]
    file(as_text(good(n=25, seed=9)), "customers_2025-03-31.csv")(settled.landing)
    assert settled.run() == ""
    assert settled.counts()[0] == count_before + 25


def test_blanks_and_letters_beyond_ascii_in_the_paths_of_file_folder_and_lake(tmp_path: Path, spark: Any) -> None:
    place = Place(tmp_path / "Müller & Söhne 客户" / "landing zone", tmp_path / "der See")
    file(GOOD, "Kunden März.csv")(place.landing)
    assert place.run() == ""
    assert place.counts() == (40, 0, 40, 0)


def test_signs_of_libraries_and_shells_in_the_names_of_files_and_of_their_folder(tmp_path: Path, spark: Any) -> None:
    names = [
        "a::b.csv",
        "zip::z.csv",
        "file:x.csv",
        "s3:y.csv",
        "-n.csv",
        "~root.csv",
        "a%41.csv",
        "a{b}.csv",
        "a*.csv",
        "[x].csv",
        "a#b.csv",
        "a?b.csv",
        "b .csv",
        "it's.csv",
        "a\\b.csv",
        "a`b`.csv",
        "$HOME.csv",
        "a\nb.csv",
        "a\x1b[31mb.csv",
        f"{'x' * 240}.csv",
    ]
    place = Place(tmp_path / "a::b*{c}[d]%41#e?" / "file:~", tmp_path / "lake", table="customers")
    for seed, name in enumerate(names):
        file(as_text(good(3, seed=seed)), name)(place.landing)
    assert place.run("data_ingestion") == ""
    assert {book["source_file"]: book["n_raw"] for book in place.rows("manifest_customers")} == dict.fromkeys(names, 3)


@pytest.mark.slow
def test_formulas_and_markup_are_live_neither_in_the_list_nor_in_the_report(tmp_path: Path) -> None:
    place = Place(tmp_path / "Müller & Söhne" / "landing zone", tmp_path / "der See 客户")
    live = ("=cmd|'/c calc'!A1", "+1", "-1", "@x")
    script = "<script>alert(1)</script>"
    rows = [
        row | {"customerID": f"{live[i % 4]}{i}", "gender": ""} | ({"PaymentMethod": script} if i % 3 else {})
        for i, row in enumerate(good(1_500))
    ]
    file(as_text(rows), "Kunden März.csv")(place.landing)
    call = [
        sys.executable,
        "-m",
        "lakehouse_ml.cli.make_run",
        "--landing",
        str(place.landing),
        "--lake",
        str(place.lake),
    ]
    process = subprocess.run(warm(call), capture_output=True, text=True, timeout=600, check=False)
    assert process.returncode == 0, process.stderr
    with (place.lake / "07_model_output/churn/actions.csv").open(encoding="utf-8", newline="") as stream:
        listed = [row["customer_id"] for row in csv.DictReader(stream)]
    assert listed
    assert all(customer.startswith(tuple(f"'{beginning}" for beginning in live)) for customer in listed)
    stored = {row["customer_id"] for row in place.rows("score_customers")}
    assert {customer.removeprefix("'") for customer in listed} <= stored
    assert script not in (place.lake / "08_reporting/churn/report.html").read_text(encoding="utf-8")


def test_the_page_is_what_the_cases_are() -> None:
    assert PAGE.read_text(encoding="utf-8") == text(groups()), "docs/bad-input.md stayed behind: make docs"


def test_the_page_stays_behind_as_soon_as_a_case_changes() -> None:
    cases_by_title = {title: list(cases) for title, cases in groups().items()}
    cases_by_title[TITLE].append(Case("a file of clay", "Nothing is read.", sentence="It is of clay | and <heavy>."))
    page = text(cases_by_title)
    assert page != PAGE.read_text(encoding="utf-8")
    assert "| a file of clay | Nothing is read. | It is of clay \\| and &lt;heavy>. |" in page


def test_neighbours_that_differ_in_their_names_only_share_a_row() -> None:
    page = text(
        {"Wine": [Case("red", "Drunk."), Case("red", "Drunk."), Case("white", "Drunk."), Case("rosé", "Kept.")]}
    )
    assert [line for line in page.splitlines() if line.startswith("| r")] == [
        "| red; white | Drunk. |",
        "| rosé | Kept. |",
    ]


def test_a_message_that_is_not_the_whole_sentence_is_another_one(tmp_path: Path) -> None:
    case = Case("", "", sentence="<landing> has … rows.")
    assert case.matches(f"{tmp_path} has 3 rows.", {"<landing>": tmp_path})
    assert not case.matches(f"{tmp_path} has 3 rows. And more.", {"<landing>": tmp_path})
    assert not case.matches("elsewhere has 3 rows.", {"<landing>": tmp_path})


def _put_back(landing: Path, files: dict[Path, bytes]) -> None:
    shutil.rmtree(landing)
    landing.mkdir()
    for path, content in files.items():
        path.write_bytes(content)
