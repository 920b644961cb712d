"""Ingestion: files in a folder become typed rows and refused lines, and the row counts reconcile."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import deltalake
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kedro.io import DataCatalog, MemoryDataset
from pydantic import ValidationError

from lakehouse_ml.datasets.clock import Clock
from lakehouse_ml.datasets.delta_table import DeltaTable
from lakehouse_ml.datasets.landing_files import Format, LandingFiles
from lakehouse_ml.errors import LandingError, TableError, find
from lakehouse_ml.pipelines.data_ingestion.nodes import (
    keep_rows,
    parse_files,
    parse_snapshot_day,
    record_files,
    refuse_lines,
    type_records,
)
from lakehouse_ml.pipelines.data_ingestion.pipeline import table_pipeline
from lakehouse_ml.runs.runner import UpToDateRunner
from lakehouse_ml.storage.landing import IngestionSpec, Landing
from lakehouse_ml.use_cases.churn.contracts import landing_customers, raw_customers
from lakehouse_ml.use_cases.columns import AUDIT, LINES
from lakehouse_ml.use_cases.contracts import Column, Table
from lakehouse_ml.use_cases.formats import DateFormat, NumberFormat

LANDING = Table(
    "landing_things",
    "one row per thing and snapshot",
    ("thing_id", "snapshot_on"),
    (Column("thing_id", "string", "thingID", nullable=False), Column("n_items", "int", "items"),
     Column("price", "double", "price"), Column("sold_on", "date", "soldOn"), Column("colour", "string", "colour")),
)  # fmt: skip
RAW = LANDING.extended("raw_things", "one row per record that parsed", *AUDIT)
PARSED = RAW.extended("parsed_things", "one row per record of the last files", *LINES)
REFUSED = Table("quarantine_lines_things", "one row per refused record", (), (*AUDIT, *LINES))
HEADER = "thingID,items,price,soldOn,colour\n"
DAYS = {"snapshot_pattern": r"(\d{4}-\d{2}-\d{2})", "snapshot_default": "2024-12-31"}
SPEC = IngestionSpec.model_validate(DAYS | {"missing_words": (), "tolerated_refused_share": 1})
FIRST, SECOND = datetime(2025, 1, 2, 3, 4, 5, tzinfo=UTC), datetime(2025, 2, 2, tzinfo=UTC)
NOT_INT, NOT_DOUBLE = "is not of type int", "is not of type double"


@dataclass(frozen=True)
class Place:
    """A landing folder and a lake, with the four nodes of ingestion between them."""

    folder: Path
    lake: Path
    format: Format = "csv"

    def put(self, name: str, content: str | bytes) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())

    def listed(self, **changes: Any) -> LandingFiles:
        settings = {"files": "*", "format": self.format} | changes
        return LandingFiles(filepath=str(self.folder), manifest=str(self.lake / "manifest"), **settings)

    def parse(self, clock: datetime = FIRST) -> list[dict[str, Any]]:
        """Every record, typed or with its problems, by file and number."""
        parsed = parse_files(self.listed().load(), clock, SPEC, LANDING)
        rows = parsed.orderBy("source_file", "line_number").collect()
        return [row.asDict(recursive=True) for row in rows]

    def ingest(self, clock: datetime = FIRST) -> None:
        """All four nodes, each result stored before the next one reads it."""
        landing: Landing = self.listed().load()
        tables = {name: self.table(name) for name in ("parsed", "raw", "refused", "manifest")}
        tables["parsed"].save(parse_files(landing, clock, SPEC, LANDING))
        parsed = tables["parsed"].load()
        tables["refused"].save(refuse_lines(parsed, landing))
        tables["raw"].save(keep_rows(parsed, landing, tables["refused"].load(), SPEC, LANDING))
        stored = tables["raw"].load(), tables["refused"].load()
        tables["manifest"].save(record_files(parsed, landing, clock, *stored))

    def table(self, name: str) -> DeltaTable:
        return DeltaTable(filepath=str(self.lake / name), frame="pandas" if name == "manifest" else "spark")

    def raw(self) -> list[tuple[str, str, int | None]]:
        """Thing, file and number of items of every raw row."""
        rows = self.table("raw").load().select("thing_id", "source_file", "n_items").collect()
        return sorted(tuple(row) for row in rows)

    def manifest(self) -> pd.DataFrame:
        return self.table("manifest").load().set_index("source_file").sort_index()


@pytest.fixture
def place(tmp_path: Path, spark: Any) -> Place:
    (tmp_path / "drop").mkdir()
    return Place(tmp_path / "drop", tmp_path / "lake")


def values(row: dict[str, Any]) -> list[Any]:
    return [row[name] for name in LANDING.names]


def problems(row: dict[str, Any]) -> list[tuple[str | None, str, str]]:
    return [(problem["column"], problem["text"], problem["reason"]) for problem in row["problems"]]


def message_of(act: Callable[[], object]) -> str:
    """The sentence in which an act is refused, however deep it was wrapped."""
    with pytest.raises(Exception, match=r".") as refused:
        act()
    sentence = find(refused.value)
    assert isinstance(sentence, LandingError)
    return str(sentence)


# Kinds of sources

TYPED = pa.table({
    "colour": ["red", None, "light, blue"], "thingID": ["A", "B", "C"], "items": pa.array([1, None, 3], pa.int32()),
    "price": [1.5, 2.0, None], "soldOn": pa.array([date(2024, 1, 31), None, date(2024, 2, 29)]),
})  # fmt: skip
SAME = [
    ["A", 1, 1.5, date(2024, 1, 31), "red"],
    ["B", None, 2.0, None, None],
    ["C", 3, None, date(2024, 2, 29), "light, blue"],
]


def as_csv(folder: Path) -> None:
    (folder / "t.csv").write_text(HEADER + 'A,1,1.5,2024-01-31,red\nB,,2,,\nC,3,,2024-02-29,"light, blue"\n')


def as_parquet(folder: Path) -> None:
    pq.write_table(TYPED, folder / "t.parquet")


def as_json_lines(folder: Path) -> None:
    lines = [json.dumps(row, default=str) for row in TYPED.to_pylist()]
    (folder / "t.jsonl").write_text("\n".join(lines))


def as_delta(folder: Path) -> None:
    deltalake.write_deltalake(folder, TYPED)


@pytest.mark.parametrize(
    ("format", "write"), [("csv", as_csv), ("parquet", as_parquet), ("jsonl", as_json_lines), ("delta", as_delta)]
)
def test_every_kind_of_source_gives_the_same_rows(place: Place, format: Format, write: Callable[[Path], None]) -> None:
    write(place.folder)
    rows = Place(place.folder, place.lake, format).parse()
    assert [values(row) for row in rows] == SAME
    assert [row["problems"] for row in rows] == [[], [], []]
    assert [row["line_number"] for row in rows] == ([2, 3, 4] if format == "csv" else [1, 2, 3])


def test_a_new_version_of_a_landing_delta_table_replaces_the_old_one(place: Place) -> None:
    table = Place(place.folder, place.lake, "delta")
    as_delta(place.folder)
    table.ingest()
    assert table.manifest().file_sha256.to_dict() == {"drop": "version 0"}
    assert table.parse() == []
    deltalake.write_deltalake(place.folder, TYPED.slice(2), mode="overwrite")
    table.ingest(SECOND)
    assert table.raw() == [("C", "drop", 3)]
    assert table.manifest().file_sha256.to_dict() == {"drop": "version 1"}


def test_parsed_rows_fulfil_their_contract_and_so_do_their_parts(place: Place) -> None:
    place.put("t.csv", HEADER + "A,1,1.5,2024-01-31,red\nB\n")
    landing = place.listed().load()
    parsed = parse_files(landing, FIRST, SPEC, LANDING)
    PARSED.validate(parsed)
    RAW.validate(keep_rows(parsed, landing, refuse_lines(parsed, landing).rows, SPEC, LANDING))
    REFUSED.validate(refuse_lines(parsed, landing))


def test_churns_own_file_becomes_raw_customers(place: Place) -> None:
    place.put(
        "Telco.csv",
        "customerID,gender,SeniorCitizen,Partner,Dependents,tenure,PhoneService,MultipleLines,InternetService,"
        "OnlineSecurity,OnlineBackup,DeviceProtection,TechSupport,StreamingTV,StreamingMovies,Contract,"
        "PaperlessBilling,PaymentMethod,MonthlyCharges,TotalCharges,Churn\n"
        "7590-VHVEG,Female,0,Yes,No,1,No,No phone service,DSL,No,Yes,No,No,No,No,Month-to-month,Yes,"
        "Electronic check,29.85,29.85,No\n"
        "4472-LVYGI,Female,0,Yes,Yes,0,No,No phone service,DSL,Yes,No,Yes,Yes,Yes,No,Two year,Yes,"
        "Bank transfer (automatic),52.55, ,No\n",
    )
    landing = place.listed(files="*.csv").load()
    parsed = parse_files(landing, FIRST, SPEC, landing_customers)
    raw = keep_rows(parsed, landing, refuse_lines(parsed, landing).rows, SPEC, landing_customers)
    raw_customers.validate(raw)
    rows = raw.rows.select("customer_id", "tenure_months", "monthly_charges", "total_charges", "churn")
    assert sorted(tuple(row) for row in rows.collect()) == [
        ("4472-LVYGI", 0, 52.55, None, "No"),
        ("7590-VHVEG", 1, 29.85, 29.85, "No"),
    ]


# Headers


def test_columns_in_another_order_are_no_error(place: Place) -> None:
    place.put("t.csv", "colour,soldOn,price,items,thingID\nred,2024-01-31,1.5,1,A\n")
    assert [values(row) for row in place.parse()] == SAME[:1]


@pytest.mark.parametrize(
    ("header", "fault"),
    [
        ("thingID,items,price,colour", "column soldOn is missing"),
        ("thingID,items,price,soldOn,colour,size", "column size isn't declared"),
        ("thingID,items,price,sold_on,colour", "column soldOn is written as sold_on"),
        ("thingID,items,price,soldOn,colour,price", "column price appears twice"),
    ],
    ids=["missing", "extra", "renamed", "duplicated"],
)
def test_a_column_that_is_not_as_declared_is_named_with_the_file(place: Place, header: str, fault: str) -> None:
    place.put("good.csv", HEADER)
    place.put("odd.csv", f"{header}\n1,2,3\n")
    sentence = message_of(place.parse)
    assert sentence == (
        f"odd.csv in {place.folder}: {fault}. The table declares 5 columns: thingID, items, price, soldOn, colour."
    )


@pytest.mark.parametrize("format", ["parquet", "jsonl", "delta"])
def test_a_missing_column_is_named_for_the_other_kinds_of_source_as_well(place: Place, format: Format) -> None:
    incomplete_rows = TYPED.drop_columns(["price"])
    source = Place(place.folder, place.lake, format)
    match format:
        case "parquet":
            pq.write_table(incomplete_rows, place.folder / "t")
        case "jsonl":
            source.put("t", json.dumps(incomplete_rows.slice(0, 1).to_pylist()[0], default=str))
        case _:
            deltalake.write_deltalake(place.folder, incomplete_rows)
    assert f"in {place.folder}: column price is missing." in message_of(source.parse)


# Values


def test_a_value_that_does_not_parse_is_reported_with_text_column_and_reason_and_is_no_silent_null(
    place: Place,
) -> None:
    place.put("t.csv", HEADER + "A,one,1.5,2024-02-30,red\n")
    (row,) = place.parse()
    assert problems(row) == [("items", "one", NOT_INT), ("soldOn", "2024-02-30", "is not of type date")]
    assert values(row) == ["A", None, 1.5, None, "red"]
    assert json.loads(row["line_text"]) == {
        "thing_id": "A",
        "n_items": "one",
        "price": "1.5",
        "sold_on": "2024-02-30",
        "colour": "red",
    }


def test_a_number_that_is_not_finite_or_not_plain_is_a_problem(place: Place) -> None:
    texts = ["1,234.5", "1 234", "inf", "-Infinity", "1e999", "NaN", "12 EUR", "0x10", "--1", "1d", "2f", "0x1p3"]
    place.put("t.csv", HEADER + "".join(f'A,1,"{text}",,red\n' for text in texts))
    rows = place.parse()
    assert [problems(row) for row in rows] == [[("price", text, NOT_DOUBLE)] for text in texts]
    assert {row["price"] for row in rows} == {None}


def test_a_day_may_stand_in_a_moment(place: Place) -> None:
    moments = ["2024-01-31T23:30:00-05:00", "2024-01-31 23:30:00", " 2024-01-31T", "2024-1-31"]
    place.put("t.csv", HEADER + "".join(f"A,1,1,{moment},red\n" for moment in moments))
    assert [values(row)[3] for row in place.parse()] == [date(2024, 1, 31)] * 4


def test_a_time_without_its_day_is_no_moment(spark: Any) -> None:
    texts = ["12:30", "T12:30:00", "12:30:00-05:00", "2024-01-31 12:30", "2024-01-31"]
    names = "told_at string, line_fault string, line_text string, snapshot_on date, source_file string, "
    rows = [(text, None, None, date(2024, 1, 31), "t.csv", "1", line) for line, text in enumerate(texts, 2)]
    records = spark.createDataFrame(rows, names + "file_sha256 string, line_number bigint")
    contract = Table("landing_told", "one row per moment", ("told_at",), (Column("told_at", "timestamp"),))
    typed = type_records(records, contract, FIRST, ()).orderBy("line_number").collect()
    assert [row.told_at is None for row in typed] == [True, True, True, False, False]
    assert [len(row.problems) for row in typed] == [1, 1, 1, 0, 0]


def test_a_count_that_is_not_a_whole_number_is_a_problem(place: Place) -> None:
    texts = ["1.5", "2147483648", "1e3", "true", "1,000"]
    place.put("t.csv", HEADER + "".join(f'A,"{text}",1,,red\n' for text in texts))
    assert [problems(row) for row in place.parse()] == [[("items", text, NOT_INT)] for text in texts]


def test_a_whole_number_may_be_written_as_a_floating_one(place: Place) -> None:
    """As pandas writes a column of whole numbers in which one value is empty."""
    texts = ["39.0", "-7.000", "+0.0", "0039.0", "2147483647.0", ""]
    place.put("t.csv", HEADER + "".join(f"A,{text},1,,red\n" for text in texts))
    rows = place.parse()
    assert [values(row)[1] for row in rows] == [39, -7, 0, 39, 2147483647, None]
    assert [row["problems"] for row in rows] == [[]] * 6


@pytest.mark.parametrize("text", ["39.5", "39.01", ".0", "39.", "3 9.0", "2147483648.0", "39.0.0", "1e2.0", "39,0"])
def test_a_value_that_is_no_whole_number_is_refused_in_any_notation(place: Place, text: str) -> None:
    place.put("t.csv", HEADER + f'A,"{text}",1,,red\n')
    (row,) = place.parse()
    assert problems(row) == [("items", text, NOT_INT)]


@pytest.mark.parametrize("sign", ["\f", "\v", "\x01", "\x1f", "\x7f", "\u2003"])
@pytest.mark.parametrize("column", ["items", "price", "soldOn"])
def test_a_value_with_a_control_character_beside_it_does_not_parse(place: Place, column: str, sign: str) -> None:
    names = HEADER.strip().split(",")
    row = dict(zip(names, ["A", "5", "5", "2024-01-31", "red"], strict=True))
    row[column] += sign
    place.put("t.csv", HEADER + ",".join(row.values()) + "\n")
    (record,) = place.parse()
    ((name, text, _),) = problems(record)
    assert (name, text) == (column, row[column])


def test_numbers_parse_with_sign_exponent_and_space_around(place: Place) -> None:
    place.put("t.csv", HEADER + "A, -7 , 1.5e-3 ,2024-01-31,red\nB,007,-.5,,red\n")
    rows = place.parse()
    assert [values(row)[1:3] for row in rows] == [[-7, 0.0015], [7, -0.5]]
    assert [row["problems"] for row in rows] == [[], []]


def test_blank_is_null_in_every_column_that_may_be_null(place: Place) -> None:
    place.put("t.csv", HEADER + "".join(f"A,{blank},{blank},{blank},{blank}\n" for blank in ("", " ", "   ")))
    rows = place.parse()
    assert [values(row) for row in rows] == [["A", None, None, None, None]] * 3
    assert [(row["problems"], row["line_text"]) for row in rows] == [([], None)] * 3


def test_text_loses_the_space_around_it_and_nothing_else(place: Place) -> None:
    place.put("t.csv", HEADER + "A,,,, dark  Red \nB,,,,NULL\nC,,,,N/A\n")
    assert [row["colour"] for row in place.parse()] == ["dark  Red", "NULL", "N/A"]


def test_a_record_without_its_key_is_refused(place: Place) -> None:
    place.put("t.csv", HEADER + ",1,1.5,2024-01-31,red\n  ,2,2.5,,blue\n")
    assert [problems(row) for row in place.parse()] == [[("thingID", text, "is empty")] for text in ("", "  ")]


# Formats


def typed(spark: Any, texts: list[str], column: Column, words: tuple[str, ...] = ()) -> list[Any]:
    """What becomes of each text in a column: its value, or the reason why it is none."""
    names = f"{column.name} string, line_fault string, line_text string, snapshot_on date, source_file string, "
    rows = [(text, None, None, date(2024, 1, 31), "t.csv", "1", line) for line, text in enumerate(texts, 2)]
    records = spark.createDataFrame(rows, names + "file_sha256 string, line_number bigint")
    table = Table("landing_t", "one row per text", (), (column,))
    read = type_records(records, table, FIRST, words).orderBy("line_number").collect()
    return [row.problems[0].reason if row.problems else row[column.name] for row in read]


@pytest.mark.parametrize(
    ("number", "text", "value"),
    [
        (NumberFormat(",", "."), "1.234,5", 1234.5),
        (NumberFormat(",", "."), "-1.234.567,25", -1234567.25),
        (NumberFormat(",", "."), "1234,5", 1234.5),
        (NumberFormat(",", "."), "1.23,5", NOT_DOUBLE),
        (NumberFormat(","), "44,79", 44.79),
        (NumberFormat(","), "44.79", NOT_DOUBLE),
        (NumberFormat(grouping=",", unit="$"), "$1,234.50", 1234.5),
        (NumberFormat(grouping=",", unit="$"), "-$ 1,234.50", -1234.5),
        (NumberFormat(grouping=",", unit="$"), "$-0.5", -0.5),
        (NumberFormat(grouping=",", unit="$"), "1,234.50", NOT_DOUBLE),
        (NumberFormat(unit="%"), "5 %", 5.0),
        (NumberFormat(unit="%"), "5.5%", 5.5),
        (NumberFormat(unit="%"), "5", NOT_DOUBLE),
        (NumberFormat(unit="EUR"), "EUR 5", 5.0),
        (NumberFormat(unit="R"), "R5", NOT_DOUBLE),
        (NumberFormat(grouping=" ", decimal=",", unit="EUR"), "1 234\u202f567,5\u00a0EUR", 1234567.5),
        (NumberFormat(grouping="'"), "1'234.5", 1234.5),
        (NumberFormat(missing=("unknown", "-999")), "Unknown", None),
        (NumberFormat(missing=("unknown", "-999")), "-999", None),
        (NumberFormat(missing=("unknown",)), "unknwon", NOT_DOUBLE),
        (NumberFormat(missing=("it's \\",)), "it's \\", None),
    ],
)
def test_a_number_is_read_as_its_columns_format_says(spark: Any, number: NumberFormat, text: str, value: Any) -> None:
    assert typed(spark, [text], Column("amount", "double", format=number)) == [value]
    if isinstance(value, float):
        assert re.fullmatch(number.pattern, text)
        assert float(number.plain(text)) == value
    elif value:
        assert not re.fullmatch(number.pattern, text)


def test_a_whole_number_may_have_thousands_and_a_unit(spark: Any) -> None:
    column = Column("amount", "int", format=NumberFormat(grouping=",", unit="kg"))
    assert typed(spark, ["1,234 kg", "12 kg", "12.5 kg", "3,000,000,000 kg"], column) == [1234, 12, NOT_INT, NOT_INT]


@pytest.mark.parametrize(
    ("order", "texts"),
    [
        ("D-M-Y", ["31.12.2024", "31/12/2024 23:59", "31-12-2024 11:59:59 PM", "31.12.2024T08:00"]),
        ("M-D-Y", ["12/31/2024", "12-31-2024 8:05"]),
        ("Y-M-D", ["2024/12/31", "2024.12.31"]),
        ("YMD", ["20241231"]),
    ],
)
def test_a_day_is_read_as_its_columns_format_says(spark: Any, order: Any, texts: list[str]) -> None:
    form = DateFormat(order, missing=("never",))
    assert typed(spark, texts, Column("on", "date", format=form)) == [date(2024, 12, 31)] * len(texts)
    assert [form.plain(text) for text in texts] == ["2024-12-31"] * len(texts)
    assert all(re.fullmatch(form.pattern, text) for text in texts)
    wrong = ["31.31.2024", "20241331", "24-12-31", "2024-12-31-1", "x"]
    assert typed(spark, wrong, Column("on", "date", format=form)) == ["is not of type date"] * len(wrong)
    assert (
        typed(spark, ["Never", "1.2.2024"][: 1 + (order == "D-M-Y")], Column("on", "date", format=form))
        == ([None, date(2024, 2, 1)][: 1 + (order == "D-M-Y")])
    )


@pytest.mark.parametrize(
    "wrong", [{"decimal": ",", "grouping": ","}, {"unit": "'"}, {"unit": "]"}, {"unit": "5"}, {"unit": "\\"}]
)
def test_an_ambiguous_format_is_refused(wrong: Any) -> None:
    with pytest.raises(ValueError, match=r"another mark|can be one"):
        NumberFormat(**wrong)


def test_the_same_words_mean_missing_in_every_column(spark: Any) -> None:
    texts, words = ["N/A", "n/a", " NA ", "None", "no"], ("NA", "n/a", "none")
    assert typed(spark, texts, Column("a", "string"), words) == [None, None, None, None, "no"]
    assert typed(spark, texts, Column("a", "int"), words) == [None, None, None, None, NOT_INT]
    assert typed(spark, texts[:1], Column("a", "date"), words) == [None]
    assert typed(spark, texts[:1], Column("a", "string", nullable=False), words) == ["is empty"]


def test_a_column_may_have_no_name_in_the_file(place: Place) -> None:
    place.put("t.csv", ",n\n0,5\n")
    table = Table("landing_t", "one row per line", (), (Column("row", "int", ""), Column("n", "int")))
    (row,) = parse_files(place.listed().load(), FIRST, SPEC, table).collect()
    assert (row.row, row.n, row.problems) == (0, 5, [])


# Records


def test_a_ragged_row_goes_to_quarantine_with_its_text_and_number_and_costs_no_other(place: Place) -> None:
    place.put("t.csv", HEADER + "A,1,1.5,2024-01-31,red\nB,2\nC,3,1,,x,y\nD,4,,,red\n")
    place.ingest()
    refused = place.table("refused").load().orderBy("line_number").collect()
    assert [(row.line_number, row.line_text, problems(row.asDict(recursive=True))) for row in refused] == [
        (3, "B,2", [(None, "B,2", "has 2 fields instead of 5")]),
        (4, "C,3,1,,x,y", [(None, "C,3,1,,x,y", "has 6 fields instead of 5")]),
    ]
    assert place.raw() == [("A", "t.csv", 1), ("D", "t.csv", 4)]


PLAIN = HEADER + 'A,1,1.5,2024-01-31,red\nB,,2,,\nC,3,,2024-02-29,"light, blue"\n'


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("t.csv", "\ufeff" + PLAIN),
        ("t.csv", PLAIN.replace("\n", "\r\n")),
        ("t.csv", PLAIN.rstrip("\n")),
        ("t.csv.gz", gzip.compress(PLAIN.encode())),
    ],
    ids=["byte order mark", "CRLF", "no last line end", "gzip"],
)
def test_ways_to_write_a_file_make_no_difference(place: Place, name: str, content: str | bytes) -> None:
    place.put(name, content)
    rows = place.parse()
    assert [values(row) for row in rows] == SAME
    assert [row["line_number"] for row in rows] == [2, 3, 4]
    assert [row["problems"] for row in rows] == [[], [], []]


def test_a_line_break_inside_quotes_belongs_to_the_value(place: Place) -> None:
    place.put("t.csv", HEADER + 'A,1,1.5,,"red\nand ""blue"""\nB,2,,,x\n')
    assert [(row["line_number"], row["colour"]) for row in place.parse()] == [(2, 'red\nand "blue"'), (3, "x")]


@pytest.mark.parametrize("sound_lines", [0, 30_000], ids=["in the first lines", "far below"])
def test_text_that_is_not_utf8_is_one_sentence_that_names_the_file(place: Place, sound_lines: int) -> None:
    place.put("good.csv", HEADER + "B,1,1.5,,red\n")
    place.put("odd.csv", (HEADER + "A,1,1.5,,red\n" * sound_lines + "A,1,1.5,,rosé\n").encode("latin-1"))
    sentence = message_of(place.parse)
    assert sentence.startswith("odd.csv is not in UTF-8: ")
    assert "\n" not in sentence


@pytest.mark.parametrize("content", ["", "\n"])
def test_an_empty_file_is_one_sentence_that_names_the_file(place: Place, content: str) -> None:
    place.put("empty.csv", content)
    assert message_of(place.parse) == f"empty.csv in {place.folder} is empty: it has no header line."


def test_a_file_with_only_a_header_has_no_rows_and_is_in_the_manifest(place: Place) -> None:
    place.put("t.csv", HEADER)
    place.ingest()
    assert place.raw() == []
    assert place.manifest()[["n_lines", "n_raw", "n_quarantined"]].to_numpy().tolist() == [[0, 0, 0]]


# Where a row came from


def test_each_row_carries_file_hash_line_and_time_and_the_day_that_it_describes(place: Place) -> None:
    place.put("things_2024-03-31.csv", HEADER + "A,1,1.5,,red\nB\n")
    place.put("undated.csv", HEADER + "C,1,1.5,,red\n")
    listed = {file.name: file.sha256 for file in place.listed().load().files}
    rows = place.parse()
    assert [(row["source_file"], row["line_number"], row["snapshot_on"]) for row in rows] == [
        ("things_2024-03-31.csv", 2, date(2024, 3, 31)),
        ("things_2024-03-31.csv", 3, date(2024, 3, 31)),
        ("undated.csv", 2, date(2024, 12, 31)),
    ]
    assert [row["file_sha256"] for row in rows] == [listed[row["source_file"]] for row in rows]
    assert {row["ingested_at"].replace(tzinfo=UTC) for row in rows} == {FIRST}


def test_a_files_hash_is_that_of_its_bytes(place: Place) -> None:
    place.put("t.csv", "abc")
    (file,) = place.listed()._list()
    assert file.sha256 == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_a_name_with_what_looks_like_a_day_and_is_none_is_refused() -> None:
    with pytest.raises(LandingError, match=r"june_2024-06-31\.csv has no valid day for its rows: day"):
        parse_snapshot_day("june_2024-06-31.csv", SPEC)


def test_a_pattern_without_a_group_for_the_day_is_refused() -> None:
    with pytest.raises(ValidationError, match="needs a group in parentheses"):
        IngestionSpec(
            snapshot_pattern=r"\d{4}", snapshot_default=date(2024, 12, 31), missing_words=(), tolerated_refused_share=1
        )


# The folder


def test_only_the_tables_own_files_are_listed_and_hidden_ones_are_not(place: Place) -> None:
    for name in ("b.csv", "a.csv", ".hidden.csv", "_started.csv", "notes.txt", "outcomes/o.csv"):
        place.put(name, HEADER)
    assert [file.name for file in place.listed(files="*.csv")._list()] == ["a.csv", "b.csv"]
    assert [file.name for file in place.listed(files="outcomes/*.csv")._list()] == ["outcomes/o.csv"]


def test_a_folder_without_the_tables_files_is_refused_unless_they_are_optional(place: Place) -> None:
    place.put("notes.txt", "x")
    assert message_of(place.listed(files="*.csv").load).startswith(f"No file named *.csv in {place.folder}.")
    assert place.listed(files="*.csv", optional=True).load().files == ()
    assert place.listed(files="outcomes/*.csv", optional=True).load().files == ()


def test_a_missing_folder_and_a_file_in_its_place_are_refused(place: Place, tmp_path: Path) -> None:
    missing = LandingFiles(filepath=str(tmp_path / "nowhere"), manifest=str(tmp_path / "manifest"))
    assert "nowhere" in message_of(missing.load)
    place.put("t.csv", HEADER)
    file = LandingFiles(filepath=str(place.folder / "t.csv"), manifest=str(tmp_path / "manifest"))
    assert message_of(file.load) == f"{place.folder / 't.csv'} is a file. Set LANDING to its folder."


# Over time


def test_files_arrive_over_time_and_each_is_read_once(place: Place) -> None:
    place.put("1.csv", HEADER + "A,1,,,\n")
    place.ingest(FIRST)
    place.put("2.csv", HEADER + "B,2,,,\n")
    assert [row["source_file"] for row in place.parse(SECOND)] == ["2.csv"]
    place.ingest(SECOND)
    assert place.raw() == [("A", "1.csv", 1), ("B", "2.csv", 2)]
    assert [time.to_pydatetime() for time in place.manifest().ingested_at] == [FIRST, SECOND]


def test_without_new_files_nothing_is_read_or_replaced(place: Place) -> None:
    place.put("1.csv", HEADER + "A,1,,,\nB\n")
    place.ingest(FIRST)
    manifest = place.manifest()
    place.ingest(SECOND)
    assert place.raw() == [("A", "1.csv", 1)]
    assert [row.line_text for row in place.table("refused").load().collect()] == ["B"]
    pd.testing.assert_frame_equal(place.manifest(), manifest)
    assert place.parse(SECOND) == []


def test_a_corrected_file_takes_the_place_of_its_rows_and_refused_lines_and_touches_no_other(place: Place) -> None:
    place.put("1.csv", HEADER + "A,1,,,\nB,x,,,\nC\n")
    place.put("2.csv", HEADER + "D,4,,,\nE\n")
    place.ingest(FIRST)
    place.put("1.csv", HEADER + "A,10,,,\nB,2,,,\n")
    place.ingest(SECOND)
    assert place.raw() == [("A", "1.csv", 10), ("B", "1.csv", 2), ("D", "2.csv", 4)]
    assert [row.line_text for row in place.table("refused").load().collect()] == ["E"]
    counts = place.manifest()[["n_lines", "n_raw", "n_quarantined"]]
    assert counts.to_numpy().tolist() == [[2, 2, 0], [2, 1, 1]]


def test_a_corrected_file_without_rows_takes_its_rows_away(place: Place) -> None:
    place.put("1.csv", HEADER + "A,1,,,\n")
    place.ingest(FIRST)
    place.put("1.csv", HEADER)
    place.ingest(SECOND)
    assert place.raw() == []


def test_the_rows_of_a_file_that_went_away_stay(place: Place) -> None:
    place.put("1.csv", HEADER + "A,1,,,\n")
    place.put("2.csv", HEADER + "B,2,,,\n")
    place.ingest(FIRST)
    (place.folder / "1.csv").unlink()
    place.ingest(SECOND)
    assert place.raw() == [("A", "1.csv", 1), ("B", "2.csv", 2)]


def test_a_file_that_was_read_under_another_name_is_refused_and_nothing_is_written(place: Place) -> None:
    place.put("1.csv", HEADER + "A,1,,,\n")
    place.ingest(FIRST)
    place.put("copy.csv", HEADER + "A,1,,,\n")
    assert "copy.csv" in message_of(place.ingest)
    assert place.raw() == [("A", "1.csv", 1)]


def test_another_landing_folder_is_refused_by_a_lake_that_holds_rows(place: Place, tmp_path: Path) -> None:
    place.put("1.csv", HEADER + "A,1,,,\n")
    place.ingest(FIRST)
    other = Place(tmp_path / "other", place.lake)
    other.put("2.csv", HEADER + "B,2,,,\n")
    sentence = message_of(other.parse)
    assert str(place.folder) in sentence
    assert f"make run LANDING={other.folder} LAKE=" in sentence


# Books

cells = st.sampled_from(["1", "x", "", "2.5", '"a\nb"', "A"])
files = st.lists(st.lists(cells, min_size=3, max_size=6).map(",".join), max_size=6).map("\n".join)


@settings(max_examples=4, deadline=None, derandomize=True)
@given(contents=st.lists(files, min_size=1, max_size=3, unique=True))
def test_the_lines_of_every_file_are_its_raw_and_its_refused_rows(
    spark: Any, tmp_path_factory: pytest.TempPathFactory, contents: list[str]
) -> None:
    root = tmp_path_factory.mktemp("books")
    place = Place(root / "drop", root / "lake")
    for number, content in enumerate(contents):
        place.put(f"{number}.csv", HEADER + content)
    place.ingest()
    stored = {
        name: place.table(name).load().groupBy("source_file").count().toPandas().set_index("source_file")["count"]
        for name in ("raw", "refused")
    }
    manifest = place.manifest()
    for number, content in enumerate(contents):
        # Line breaks inside quotes don't end a record.
        n_lines = len(content.replace("a\nb", "").splitlines())
        counted = manifest.loc[f"{number}.csv"]
        assert counted.n_lines == n_lines == counted.n_raw + counted.n_quarantined
        assert (counted.n_raw, counted.n_quarantined) == tuple(
            stored[name].get(f"{number}.csv", 0) for name in ("raw", "refused")
        )


def test_a_file_whose_rows_are_not_all_stored_does_not_count_as_read(place: Place) -> None:
    place.put("1.csv", HEADER + "A,1,,,\nB,2,,,\nC\n")
    landing = place.listed().load()
    parsed = parse_files(landing, FIRST, SPEC, LANDING)
    refused = refuse_lines(parsed, landing).rows
    raw = keep_rows(parsed, landing, refused, SPEC, LANDING).rows
    with pytest.raises(
        TableError, match=r"Row counts do not reconcile for 1\.csv .*'n_lines': 3, 'n_raw': 1, 'n_quarantined': 1"
    ):
        record_files(parsed, landing, FIRST, raw.where("thing_id = 'A'"), refused)
    (written,) = record_files(parsed, landing, FIRST, raw, refused).rows.to_dict("records")
    assert (written["n_lines"], written["n_raw"], written["n_quarantined"]) == (3, 2, 1)


def test_in_the_pipeline_the_manifest_waits_for_the_rows() -> None:
    from lakehouse_ml.pipelines.data_ingestion.pipeline import shape
    from lakehouse_ml.use_cases.churn import CHURN

    nodes = {node.short_name: node for node in shape(CHURN).nodes}
    for table in CHURN.sources:
        assert {f"raw_{table}", f"quarantine_lines_{table}"} <= set(nodes[f"record_{table}"].inputs)


# A run that did not finish


@dataclass(frozen=True)
class Ingestion:
    """The nodes of ingestion as a run has them: skipped if nothing is new, and stopped after some of them."""

    folder: Path
    lake: Path

    def table(self, name: str) -> DeltaTable:
        return DeltaTable(filepath=str(self.lake / name), frame="pandas" if name.startswith("manifest") else "spark")

    def run(self, *nodes: str) -> list[str]:
        """Run the named nodes, or all; returns those that were not skipped."""
        tables = ("parsed_things", "raw_things", "quarantine_lines_things", "manifest_things")
        landing = LandingFiles(
            filepath=str(self.folder), files="*.csv", manifest=str(self.lake / "manifest_things"), optional=True
        )
        others = {"landing_things": landing, "clock": Clock(), "params:data_ingestion": MemoryDataset(SPEC)}
        catalog = DataCatalog({name: self.table(name) for name in tables} | others)
        pipeline = table_pipeline("things", LANDING)
        runner = UpToDateRunner()
        runner.run(pipeline.only_nodes(*nodes) if nodes else pipeline, catalog)
        return list(runner.seconds)

    def put(self, name: str, things: str) -> Path:
        """A file with a row per letter, and a refused line."""
        path = self.folder / name
        path.write_text(HEADER + "".join(f"{thing},1,,,\n" for thing in things) + "ragged\n", encoding="utf-8")
        return path

    def die_before_the_manifest(self) -> None:
        self.run("parse_things", "refuse_things", "keep_things")

    def stored(self) -> dict[str, list[tuple[str, str]]]:
        """Things of raw rows and texts of refused lines with their files, and lines of each recorded file."""
        raw, refused = (self.table(name).load() for name in ("raw_things", "quarantine_lines_things"))
        manifest = self.table("manifest_things").load()
        return {
            "raw": sorted(tuple(row) for row in raw.select("source_file", "thing_id").collect()),
            "refused": sorted(tuple(row) for row in refused.select("source_file", "line_text").collect()),
            "manifest": sorted(zip(manifest["source_file"], manifest["n_lines"].astype(str), strict=True)),
        }


@pytest.fixture
def ingestion(tmp_path: Path, spark: Any) -> Ingestion:
    (tmp_path / "drop").mkdir()
    return Ingestion(tmp_path / "drop", tmp_path / "lake")


def test_skipped_steps_that_share_an_input_look_up_its_version_once(
    ingestion: Ingestion, monkeypatch: pytest.MonkeyPatch
) -> None:
    ingestion.put("a.csv", "ab")
    ingestion.run()
    token = DeltaTable.token
    asked: list[str] = []
    monkeypatch.setattr(DeltaTable, "token", lambda table: asked.append(table.address) or token(table))
    assert ingestion.run() == []
    assert len(asked) == len(set(asked)) > 0


def test_a_file_of_an_unfinished_run_that_was_renamed_is_stored_once(ingestion: Ingestion) -> None:
    path = ingestion.put("a.csv", "XY")
    ingestion.die_before_the_manifest()
    path.rename(ingestion.folder / "b.csv")
    ingestion.run()
    assert ingestion.stored() == {
        "raw": [("b.csv", "X"), ("b.csv", "Y")],
        "refused": [("b.csv", "ragged")],
        "manifest": [("b.csv", "3")],
    }
    assert ingestion.run() == []


def test_rows_of_an_unfinished_run_whose_file_is_gone_are_withdrawn_and_reported(
    ingestion: Ingestion, caplog: pytest.LogCaptureFixture
) -> None:
    ingestion.put("a.csv", "X")
    ingestion.run()
    path = ingestion.put("b.csv", "Y")
    ingestion.die_before_the_manifest()
    path.unlink()
    ingestion.run()
    assert ingestion.stored() == {
        "raw": [("a.csv", "X")],
        "refused": [("a.csv", "ragged")],
        "manifest": [("a.csv", "2")],
    }
    assert "b.csv was read by a run that did not finish, and is no longer in" in caplog.text
    assert ingestion.run() == []


def test_refused_lines_alone_are_withdrawn_as_well(ingestion: Ingestion) -> None:
    path = ingestion.put("a.csv", "X")
    ingestion.run("parse_things", "refuse_things")
    path.unlink()
    ingestion.put("b.csv", "Y")
    ingestion.run()
    assert ingestion.stored()["refused"] == [("b.csv", "ragged")]


def test_a_correction_that_an_unfinished_run_read_and_that_was_undone_is_undone(ingestion: Ingestion) -> None:
    ingestion.put("a.csv", "X")
    ingestion.run()
    ingestion.put("a.csv", "XYZ")
    ingestion.die_before_the_manifest()
    ingestion.put("a.csv", "X")
    ingestion.run()
    assert ingestion.stored()["raw"] == [("a.csv", "X")]
    assert ingestion.stored()["manifest"] == [("a.csv", "2")]
    assert ingestion.run() == []


def test_a_file_that_goes_and_comes_back_unchanged_makes_no_work_and_no_commit(ingestion: Ingestion) -> None:
    path = ingestion.put("a.csv", "X")
    ingestion.put("b.csv", "Y")
    ingestion.run()
    version_before = deltalake.DeltaTable(str(ingestion.lake / "raw_things")).version()
    content = path.read_text(encoding="utf-8")
    path.unlink()
    assert ingestion.run() == []
    path.write_text(content, encoding="utf-8")
    assert ingestion.run() == []
    assert deltalake.DeltaTable(str(ingestion.lake / "raw_things")).version() == version_before


def test_after_a_finished_run_nothing_is_unrecorded(ingestion: Ingestion) -> None:
    for name in ("a.csv", "b.csv"):
        ingestion.put(name, "X" if name == "a.csv" else "Y")
        ingestion.run()
    ingestion.put("a.csv", "Z")
    ingestion.run()
    landing = LandingFiles(filepath=str(ingestion.folder), manifest=str(ingestion.lake / "manifest_things")).load()
    assert landing.unrecorded_names == frozenset()
    assert set(landing.recorded_hashes) == {"a.csv", "b.csv"}


# Too many refused rows


def ingest_tolerating(place: Place, share: float) -> None:
    landing, spec = place.listed().load(), SPEC.model_copy(update={"tolerated_refused_share": share})
    parsed = parse_files(landing, FIRST, spec, LANDING)
    keep_rows(parsed, landing, refuse_lines(parsed, landing).rows, spec, LANDING)


def test_a_file_of_which_more_than_the_tolerated_share_is_refused_stops_the_run_with_the_cause(place: Place) -> None:
    place.put("good.csv", HEADER + "A,1,,,\n" * 9)
    place.put("bad.csv", HEADER + "A,1.5,,,\nB,2.5,,,\nC,,,,\n\nD,,,soon,\n" + "E,1,,,\n" * 6)
    assert message_of(lambda: ingest_tolerating(place, 0.2)) == (
        f"More than the tolerated 20% of rows can't be read: bad.csv (3 of 10), in {place.folder}. Most frequent "
        f"problem in bad.csv: items is not of type int (2 rows, first in line 2). Nothing of such a file is used. "
        f"Correct it and run again, or raise tolerated_refused_share (data_ingestion in parameters.yml). All refused "
        f"lines, with their reasons, are in the table quarantine_lines_things."
    )
    ingest_tolerating(place, 0.3)


def test_three_of_many_refused_files_are_named(place: Place) -> None:
    for number in range(5):
        place.put(f"{number}.csv", HEADER + f"ragged {number}\n")
    sentence = message_of(lambda: ingest_tolerating(place, 0.2))
    assert "0.csv (1 of 1), 1.csv (1 of 1), 2.csv (1 of 1) and 2 more files, in" in sentence
    assert "Most frequent problem in 0.csv: " in sentence


def test_a_file_without_rows_is_not_too_much_refused(place: Place) -> None:
    place.put("empty.csv", HEADER)
    ingest_tolerating(place, 0.0)


@pytest.mark.parametrize(
    "header", ["Customer's age", "age\\", "x'||version()||'y", "{reason}", "a`b", "größe", "\u2028"]
)
def test_a_header_is_quoted_verbatim_and_is_never_evaluated(place: Place, header: str) -> None:
    contract = Table(
        "landing_things",
        "one row per thing",
        ("n_items",),
        (Column("n_items", "int", header), Column("colour", "string")),
    )
    place.put("1.csv", f"{header},colour\n1,red\nmany,red\n")
    parsed = parse_files(place.listed().load(), FIRST, SPEC, contract).orderBy("line_number").collect()
    assert [row.n_items for row in parsed] == [1, None]
    assert [problem.column for problem in parsed[1].problems] == [header]


def test_a_file_that_changed_since_it_was_listed_is_named_as_that_whatever_else_seems_wrong(
    spark: Any, tmp_path: Path
) -> None:
    file = tmp_path / "things_2025-01-31.csv"
    file.write_text(HEADER + "a,1,1.0,2025-01-01,red\n", encoding="utf-8")
    listed = LandingFiles(filepath=str(tmp_path), manifest=str(tmp_path / "lake" / "manifest_things"), files="*.csv")
    landing = listed.load()
    file.write_text(HEADER + 'a,1,1.0,2025-01-01,"red\n', encoding="utf-8")

    with pytest.raises(Exception, match="changed while it was read") as caught:
        parse_files(landing, FIRST, SPEC, LANDING).collect()
    assert str(find(caught.value)).startswith(f"{file.name} changed while it was read: nothing of it was recorded.")
