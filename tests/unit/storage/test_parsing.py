"""Files to records of text: every record comes out, whole or with its text and the reason, under its number."""

from __future__ import annotations

import csv
import gzip
import io
import json
from pathlib import Path
from typing import Any

import deltalake
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lakehouse_ml.errors import LandingError, find
from lakehouse_ml.storage.parsing import (
    find_header_faults,
    read_head,
    read_header,
    read_records,
    read_sample,
)

SOURCES = {"thing_id": "thingID", "n_items": "items", "colour": "colour"}
HEADER = "thingID,items,colour\n"
EXPECTED = ["thingID", "items", "colour"]
Record = tuple[int, list[str | None]]


def write(folder: Path, content: str | bytes, name: str = "a.csv") -> str:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(path)


def records(path: str, format: str = "csv", delimiter: str = ",", version: str = "") -> list[dict[str, Any]]:
    batches = read_records(path, Path(path).name, format, delimiter, SOURCES, version)
    return sorted((row for batch in batches for row in batch.to_pylist()), key=lambda row: row["line_number"])


def whole_records(rows: list[dict[str, Any]]) -> list[Record]:
    """Number and values of the whole records."""
    return [(row["line_number"], [row[name] for name in SOURCES]) for row in rows if row["line_fault"] is None]


def broken_records(rows: list[dict[str, Any]]) -> list[tuple[int, str, str]]:
    """Number, text and fault of the broken records."""
    return [(row["line_number"], row["line_text"], row["line_fault"]) for row in rows if row["line_fault"] is not None]


# Headers


def test_a_header_in_another_order_has_no_fault() -> None:
    assert find_header_faults(["colour", "thingID", "items"], EXPECTED) == []


@pytest.mark.parametrize(
    ("header", "faults"),
    [
        (["thingID", "colour"], ["column items is missing"]),
        (["thingID", "items", "colour", "size"], ["column size isn't declared"]),
        (["Thing_ID", "items", "colour"], ["column thingID is written as Thing_ID"]),
        (["thingID", "items", "colour", "items"], ["column items appears twice"]),
        (["thingID", "number", "colour"], ["column items is missing", "column number isn't declared"]),
        ([], ["column thingID is missing", "column items is missing", "column colour is missing"]),
    ],
    ids=["missing", "extra", "renamed", "duplicated", "renamed beyond recognition", "empty"],
)
def test_each_fault_of_a_header_names_its_column(header: list[str], faults: list[str]) -> None:
    assert find_header_faults(header, EXPECTED) == faults


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.lists(st.text(min_size=1), unique=True, min_size=1, max_size=8), st.randoms(use_true_random=False))
def test_a_header_is_free_of_faults_exactly_if_it_holds_each_column_once(names: list[str], random: Any) -> None:
    shuffled = random.sample(names, len(names))
    assert find_header_faults(shuffled, names) == []
    assert len(find_header_faults(shuffled[1:], names)) == 1
    (fault,) = find_header_faults([*shuffled, names[0]], names)
    assert fault.endswith(" appears twice")
    assert fault.isprintable()


@pytest.mark.parametrize("content", [HEADER, "\ufeff" + HEADER, HEADER.replace("\n", "\r\n"), HEADER.strip()])
def test_a_csv_header_is_read_with_and_without_a_byte_order_mark_and_line_end(tmp_path: Path, content: str) -> None:
    assert read_header(write(tmp_path, content), "csv", ",", "a.csv") == ("thingID", "items", "colour")


def test_a_csv_header_is_read_with_the_declared_delimiter_and_without_its_quotes(tmp_path: Path) -> None:
    path = write(tmp_path, '"thingID";"items, all";colour\n')
    assert read_header(path, "csv", ";", "a.csv") == ("thingID", "items, all", "colour")


@pytest.mark.parametrize("format", ["csv", "jsonl"])
def test_an_empty_file_has_no_header(tmp_path: Path, format: str) -> None:
    assert read_header(write(tmp_path, b""), format, ",", "a") == ()


def test_the_header_of_json_lines_is_every_key_of_the_first_records(tmp_path: Path) -> None:
    path = write(tmp_path, '\n{"thingID": "A"}\n{"thingID": "B", "items": 2}\n')
    assert read_header(path, "jsonl", ",", "a.jsonl") == ("thingID", "items")


def test_a_json_record_with_an_undeclared_key_is_a_fault_of_its_line(tmp_path: Path) -> None:
    path = write(tmp_path, '{"thingID": "A"}\n{"thingId": "B"}\n')
    rows = [
        row for batch in read_records(path, "a.jsonl", "jsonl", ",", {"id": "thingID"}, "") for row in batch.to_pylist()
    ]
    assert [(row["id"], row["line_fault"]) for row in rows] == [("A", None), (None, "has undeclared keys: thingId")]


def test_json_lines_without_any_object_are_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(LandingError, match="no line is a JSON object"):
        read_header(write(tmp_path, "[1]\n5\n"), "jsonl", ",", "a.jsonl")


def test_the_header_of_parquet_and_delta_is_their_schema(tmp_path: Path) -> None:
    table = pa.table({"thingID": ["A"], "items": [1]})
    pq.write_table(table, tmp_path / "a.parquet")
    deltalake.write_deltalake(tmp_path / "table", table)
    assert read_header(str(tmp_path / "a.parquet"), "parquet", ",", "a") == ("thingID", "items")
    assert read_header(str(tmp_path / "table"), "delta", ",", "table") == ("thingID", "items")


@pytest.mark.parametrize(
    ("format", "content"),
    [("csv", b'"thingID,colour\n'), ("parquet", b"PAR1 and no more"), ("jsonl", b'{"thingID": \n')],
)
def test_a_header_that_cannot_be_read_is_a_sentence_that_names_the_file(
    tmp_path: Path, format: str, content: bytes
) -> None:
    with pytest.raises(LandingError, match=f"^june/odd can't be read as {format}: .*Is the file complete"):
        read_header(write(tmp_path, content), format, ",", "june/odd")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("thingID,coulé\n".encode("cp1252"), "line 1 has the byte 0xe9, which is 'é' in Windows-1252 (Latin-1), and"),
        (b"thingID,\x81\n", "line 1 has the byte 0x81. Save"),
        ("thingID,a\n".encode("utf-16"), "line 1 has the byte 0xff, with which files in UTF-16 begin. Save"),
        ("thingID,a\n".encode("utf-16-le"), "its header has zero bytes, as files in UTF-16 have. Save"),
        ("thingID,a\n".encode("utf-16-be"), "its header has zero bytes, as files in UTF-16 have. Save"),
        ("é,".encode() + b"coul\xe9\n", "line 1 has the byte 0xe9, and letters in UTF-8 before it: is the file"),
    ],
)
def test_a_header_that_is_not_utf8_is_a_sentence_with_what_it_seems_to_be(
    tmp_path: Path, content: bytes, reason: str
) -> None:
    with pytest.raises(LandingError) as caught:
        read_header(write(tmp_path, content), "csv", ",", "june/odd")
    assert str(caught.value).startswith(f"june/odd is not in UTF-8: {reason}")


def test_a_first_line_longer_than_a_header_may_be_is_refused_and_not_read_to_its_end(tmp_path: Path) -> None:
    whole = ",".join(["x" * 99] * 10_000)
    path = write(tmp_path, gzip.compress(whole.encode()), "a.csv.gz")
    assert len(read_header(path, "csv", ",", "a.csv.gz")) == 10_000
    # What isn't read to its end isn't seen to end early.
    cut = gzip.compress(b"x" * (64 << 20))[:-40]
    with pytest.raises(LandingError, match=r"^june/odd: its first line, the header, is longer than 1 MiB"):
        read_header(write(tmp_path, cut, "b.csv.gz"), "csv", ",", "june/odd")
    assert read_head(write(tmp_path, gzip.compress(b"a\n" + b"x" * (64 << 20))[:-40], "c.csv.gz"), "csv", ",", "c") == (
        ("a",),
        True,
    )
    assert len("".join(read_sample(str(tmp_path / "c.csv.gz")))) == 2


@pytest.mark.parametrize("line", [1, 2])
def test_a_json_record_longer_than_a_record_may_be_is_refused_and_not_read_to_its_end(
    tmp_path: Path, line: int
) -> None:
    cut = gzip.compress(b'{"thingID": "A"}\n' * (line - 1) + b"[" + b" " * (64 << 20))[:-40]
    message = rf"a\.jsonl\.gz: line {line} is longer than 8 MiB"
    with pytest.raises(LandingError, match=message):
        read_header(write(tmp_path, cut, "a.jsonl.gz"), "jsonl", ",", "a.jsonl.gz")
    with pytest.raises(ValueError, match=rf"refused: {message}"):
        records(str(tmp_path / "a.jsonl.gz"), "jsonl")


# CSV


def test_records_count_from_the_header_on_and_values_stay_the_text_that_they_are(tmp_path: Path) -> None:
    rows = records(write(tmp_path, HEADER + 'A,007," red "\nB,,\nC,NULL,NaN\n'))
    assert whole_records(rows) == [(2, ["A", "007", " red "]), (3, ["B", "", ""]), (4, ["C", "NULL", "NaN"])]
    assert broken_records(rows) == []


def test_columns_are_found_by_name_in_any_order(tmp_path: Path) -> None:
    assert whole_records(records(write(tmp_path, "colour,thingID,items\nred,A,1\n"))) == [(2, ["A", "1", "red"])]


@pytest.mark.parametrize(
    "content",
    [HEADER + "A,1,red\nB,2,blue\n", HEADER + "A,1,red\nB,2,blue", "\ufeff" + HEADER + "A,1,red\nB,2,blue\n",
     (HEADER + "A,1,red\nB,2,blue\n").replace("\n", "\r\n"), HEADER + '"A","1","red"\n"B",2,"blue"\n',
     HEADER + "A,1,red\n\nB,2,blue\n\n"],
    ids=["plain", "no last line end", "byte order mark", "CRLF", "quoted", "blank lines"],
)  # fmt: skip
def test_ways_to_write_the_same_csv_give_the_same_records(tmp_path: Path, content: str) -> None:
    assert whole_records(records(write(tmp_path, content))) == [(2, ["A", "1", "red"]), (3, ["B", "2", "blue"])]


def test_a_compressed_file_gives_the_same_records(tmp_path: Path) -> None:
    path = write(tmp_path, gzip.compress((HEADER + "A,1,red\nB\n").encode()), "a.csv.gz")
    assert read_header(path, "csv", ",", "a.csv.gz") == ("thingID", "items", "colour")
    assert whole_records(records(path)) == [(2, ["A", "1", "red"])]
    assert broken_records(records(path)) == [(3, "B", "has 1 field instead of 3")]


def test_a_record_with_line_breaks_and_quotes_inside_counts_once(tmp_path: Path) -> None:
    rows = records(write(tmp_path, HEADER + 'A,1,"red,\n""dark""\nor not"\nB,2,blue\n'))
    assert whole_records(rows) == [(2, ["A", "1", 'red,\n"dark"\nor not']), (3, ["B", "2", "blue"])]


def test_a_ragged_record_comes_out_with_its_text_and_number_and_costs_no_other(tmp_path: Path) -> None:
    rows = records(write(tmp_path, HEADER + "A,1\nB,2,blue\n\nC,3,red,4\nD,4,green\nE\n"))
    assert whole_records(rows) == [(3, ["B", "2", "blue"]), (5, ["D", "4", "green"])]
    assert broken_records(rows) == [
        (2, "A,1", "has 2 fields instead of 3"),
        (4, "C,3,red,4", "has 4 fields instead of 3"),
        (6, "E", "has 1 field instead of 3"),
    ]
    assert all(row[name] is None for row in rows if row["line_fault"] for name in SOURCES)


def test_a_file_of_ragged_records_only_loses_none(tmp_path: Path) -> None:
    assert broken_records(records(write(tmp_path, HEADER + "A\nB\n"))) == [
        (2, "A", "has 1 field instead of 3"),
        (3, "B", "has 1 field instead of 3"),
    ]


# The text with which an earlier reader marked the end, among sound records.
LOOKS_LIKE_THE_END = "".join([HEADER, "a,1,red\n" * 20, "\x03end of file\x03\n", "b,2,blue\n" * 20])


def test_nothing_that_stands_in_a_file_is_taken_for_its_end(tmp_path: Path) -> None:
    rows = records(write(tmp_path, LOOKS_LIKE_THE_END))
    assert [number for number, _ in whole_records(rows)] == [*range(2, 22), *range(23, 43)]
    assert [number for number, *_ in broken_records(rows)] == [22]


def test_nor_does_it_hide_a_quote_that_is_left_open_behind_it(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="never closed"):
        records(write(tmp_path, LOOKS_LIKE_THE_END + '"open'))


@pytest.mark.parametrize(
    ("lines", "n"),
    [
        ("", 0), ("\n\n\n", 0), ("a,1,red", 1), ("a,1,red\n\n\nb,2,blue\n\n", 2), ("a,1\n", 1),
        ("a,1,red\na\na\n\na", 4),
        ("a,1,red\r\n\r\nb,2,blue\r\n", 2), ("a\r\na,1,red\r\na,1", 3), ('a,1,"r\n\ne\nd"\na\n', 2),
    ],
)  # fmt: skip
def test_as_many_records_come_out_as_the_reader_counted(tmp_path: Path, lines: str, n: int) -> None:
    rows = records(write(tmp_path, HEADER + lines))
    assert len(rows) == n
    assert [row["line_number"] for row in rows] == list(range(2, n + 2))


def test_a_file_of_which_a_record_got_lost_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from lakehouse_ml.storage import parsing

    record_batch = parsing._record_batch
    monkeypatch.setattr(
        parsing,
        "_record_batch",
        lambda columns, sources, numbers: record_batch([c[1:] for c in columns], sources, numbers[1:]),
    )
    with pytest.raises(ValueError, match=r"a\.csv has 2 records after its header, and 1 were parsed"):
        records(write(tmp_path, HEADER + "a,1,red\nb,2,blue\n"))


@pytest.mark.parametrize(
    ("lines", "has_rows"),
    [("", False), ("\n \n\r\n", False), ("a", True), ("\n\na,1,red", True), ("\u00fc,1,red", True)],
)
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_a_file_has_rows_if_anything_stands_behind_its_header(
    tmp_path: Path, lines: str, end: str, has_rows: bool
) -> None:
    content = (HEADER + lines).replace("\n", end)
    assert read_head(write(tmp_path, content), "csv", ",", "a.csv") == (("thingID", "items", "colour"), has_rows)


def test_a_header_alone_has_no_records(tmp_path: Path) -> None:
    assert records(write(tmp_path, HEADER)) == []


def test_numbers_run_on_over_the_blocks_in_which_a_large_file_is_read(tmp_path: Path) -> None:
    wide = ("x" * 99 + "\n") * 3_000
    lines = [f"{n},ragged\n" if n % 7 == 0 else f'{n},1,"{wide}"\n' for n in range(2, 70)]
    rows = records(write(tmp_path, HEADER + "".join(lines)))
    assert [row["line_number"] for row in rows] == list(range(2, 70))
    assert whole_records(rows) == [(n, [str(n), "1", wide]) for n in range(2, 70) if n % 7]
    assert [(number, text) for number, text, _ in broken_records(rows)] == [(n, f"{n},ragged") for n in range(7, 70, 7)]


@pytest.mark.parametrize("bad_line", [0, 40_000], ids=["first", "late"])
def test_text_that_is_not_utf8_is_one_sentence_that_names_the_file(tmp_path: Path, bad_line: int) -> None:
    lines = [b"A,1,red\n"] * (bad_line + 1)
    lines[bad_line] = "A,1,rosé\n".encode("latin-1")
    path = write(tmp_path, HEADER.encode() + b"".join(lines))
    with pytest.raises(ValueError, match="refused") as caught:
        records(path)
    error = find(caught.value)
    assert isinstance(error, LandingError)
    assert str(error) == (
        f"a.csv is not in UTF-8: line {bad_line + 2} has the byte 0xe9, which is 'é' in Windows-1252 (Latin-1), and "
        f"the file seems to use that encoding. Save it in UTF-8 and run again."
    )


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_a_ragged_row_that_is_not_utf8_is_told_as_such_and_nothing_is_printed(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], end: str
) -> None:
    text = "A,1,red\nB,2,Müller, GmbH\n" + "C,3,blue\n" * 2_000_000
    path = write(tmp_path, (HEADER + text).replace("\n", end).encode("latin-1"))
    with pytest.raises(ValueError, match=r"a\.csv is not in UTF-8: line 3 has the byte 0xfc, which is 'ü'"):
        records(path)
    assert capfd.readouterr() == ("", "")


fields = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=8)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.lists(st.lists(fields, min_size=2, max_size=4), max_size=8))
def test_whatever_a_csv_writer_wrote_is_read_back_as_it_was_or_told(
    tmp_path_factory: pytest.TempPathFactory, table: list[list[str]]
) -> None:
    stream = io.StringIO()
    csv.writer(stream, quoting=csv.QUOTE_ALL, lineterminator="\n").writerows([EXPECTED, *table])
    path = tmp_path_factory.getbasetemp() / "written.csv"
    path.write_bytes(stream.getvalue().encode())
    rows = records(str(path))
    assert whole_records(rows) == [(number, row) for number, row in enumerate(table, 2) if len(row) == 3]
    assert [(number, fault.partition(" and spans")[0]) for number, _, fault in broken_records(rows)] == [
        (number, f"has {len(row)} fields instead of 3") for number, row in enumerate(table, 2) if len(row) != 3
    ]


# JSON lines


def test_json_lines_give_text_and_null_for_what_is_absent(tmp_path: Path) -> None:
    lines = [
        {"thingID": "A", "items": 1, "colour": "rosé"},
        {"thingID": "B", "items": 1.5, "colour": None},
        {"thingID": "C"},
        {"items": True, "thingID": "D", "colour": ["x"]},
    ]
    path = write(tmp_path, "".join(json.dumps(line) + "\n" for line in lines))
    assert whole_records(records(path, "jsonl")) == [
        (1, ["A", "1", "rosé"]),
        (2, ["B", "1.5", None]),
        (3, ["C", None, None]),
        (4, ["D", "true", '["x"]']),
    ]


def test_a_line_that_is_no_json_object_comes_out_with_its_text_and_number(tmp_path: Path) -> None:
    rows = records(write(tmp_path, '{"thingID": "A"}\n\n{"thingID": \n[1]\n{"thingID": "B"}'), "jsonl")
    assert whole_records(rows) == [(1, ["A", None, None]), (5, ["B", None, None])]
    assert broken_records(rows) == [(3, '{"thingID": ', "is not a JSON object"), (4, "[1]", "is not a JSON object")]


def test_json_lines_that_are_not_utf8_are_one_sentence_that_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="refused") as caught:
        records(write(tmp_path, b'{"thingID": "ros\xe9"}\n', "a.jsonl"), "jsonl")
    assert str(find(caught.value)).startswith("a.jsonl is not in UTF-8: line 1 has the byte 0xe9, which is 'é'")


def test_a_byte_order_mark_is_no_part_of_the_first_json_record(tmp_path: Path) -> None:
    path = write(tmp_path, '\ufeff{"thingID": "A"}\n', "a.jsonl")
    assert read_header(path, "jsonl", ",", "a.jsonl") == ("thingID",)
    assert whole_records(records(path, "jsonl")) == [(1, ["A", None, None])]


# Tables with types


TYPED = pa.table({
    "items": pa.array([1, None, 2], pa.int64()), "colour": ["red", None, ""], "thingID": ["A", "B", "C"],
    "unused": [1, 2, 3],
})  # fmt: skip
TEXT = [(1, ["A", "1", "red"]), (2, ["B", None, None]), (3, ["C", "2", ""])]


def test_parquet_gives_text_and_the_numbers_of_its_rows(tmp_path: Path) -> None:
    pq.write_table(TYPED, tmp_path / "a.parquet", row_group_size=2)
    assert whole_records(records(str(tmp_path / "a.parquet"), "parquet")) == TEXT


def test_whole_numbers_stored_as_floating_point_stay_whole_numbers(tmp_path: Path) -> None:
    floats = TYPED.set_column(0, "items", pa.array([1.0, None, 2.0]))
    pq.write_table(floats, tmp_path / "a.parquet")
    assert whole_records(records(str(tmp_path / "a.parquet"), "parquet")) == TEXT


def test_a_delta_table_is_read_at_the_version_that_was_listed(tmp_path: Path) -> None:
    deltalake.write_deltalake(tmp_path / "table", TYPED)
    deltalake.write_deltalake(tmp_path / "table", TYPED.slice(0, 1), mode="overwrite")
    read = {n: whole_records(records(str(tmp_path / "table"), "delta", version=f"version {n}")) for n in (0, 1)}
    assert read == {0: TEXT, 1: TEXT[:1]}


def read_all(path: str, name: str) -> None:
    read_header(path, "csv", ",", name)
    list(read_records(path, name, "csv", ",", {"a": "a", "b": "b"}, ""))


@pytest.mark.parametrize(
    ("name", "content"),
    [("cut.csv.gz", gzip.compress(b"a,b\n" + b"1,2\n" * 9_000)[:40]), ("no.csv.gz", b"a,b\n1,2\n")],
    ids=["ends early", "is none"],
)
def test_a_compressed_file_that_ends_early_or_is_none_is_one_sentence(
    tmp_path: Path, name: str, content: bytes
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises((LandingError, ValueError), match=name) as caught:
        read_all(str(tmp_path / name), name)
    assert find(caught.value) is not None
