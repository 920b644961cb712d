"""Nodes of ingestion: select files, parse them into typed rows and refused lines, keep books."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import date, datetime
from typing import TYPE_CHECKING

import pandas as pd
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from lakehouse_ml.errors import LandingError, TableError, refusal, shell_word
from lakehouse_ml.storage.landing import IngestionSpec, Landing, LandingFile, Selection, check_content, select
from lakehouse_ml.storage.parsing import content_hash, header_faults, other_delimiter, read_records
from lakehouse_ml.storage.writes import ReplaceBatch, collect
from lakehouse_ml.use_cases.columns import AUDIT, LINES
from lakehouse_ml.use_cases.contracts import Column, Table
from lakehouse_ml.use_cases.sql import string_literal

if TYPE_CHECKING:
    import pyarrow as pa

log = logging.getLogger(__name__)

_SHOWN_FILES = 3
# Days outside are placeholders of other systems: 0001-01-01, 1899-12-30, 1970-01-01, 2099-12-31, 9999-12-31. A nearer
# day in the future is warned of and read.
_FIRST_DAY = date(1970, 1, 2)
_YEARS_AHEAD = 50

# A table that begins empty has its types all the same.
_MANIFEST = {
    "source_file": "string", "file_sha256": "string", "landing": "string", "n_lines": "int64", "n_raw": "int64",
    "n_quarantined": "int64", "ingested_at": "datetime64[us, UTC]",
}  # fmt: skip
# What stands around a value without being part of it, as a byte order mark in a file joined from two; plain `trim`
# takes spaces only.
_TRIMMED = "trim(both ' \t\r\n\u00a0\ufeff' from `{name}`)"
# Casts forgive what no number or day has, each engine something else: control characters around it, Java's 1d, 2f and
# 0x1p3. So a value may consist of the characters of its type alone.
# pandas writes whole numbers as 39.0 as soon as one value of their column is empty.
_WHOLE = (
    "case when {text} rlike '^[+-]?[0-9]+$' then {cast} "
    "when {text} rlike '^[+-]?[0-9]+[.]0+$' then try_cast(substring_index({text}, '.', 1) as {type}) end"
)
# Numbers that aren't finite parse, but no statistic survives them: they count as text that doesn't.
_FINITE = (
    "case when {text} rlike '^[-+.eE0-9]+$' and abs(try_cast({text} as double)) < double('infinity') then {cast} end"
)
_OF_TIME = "{text} rlike '^[-+:./_ 0-9A-Za-z]+$'"
# Of a moment its day; behind a T not every engine looks for one.
_DAY = "substring_index({text}, 'T', 1)"
_DATE = f"case when {_OF_TIME} then {{cast}} end"
# A time alone would be one of the day on which it is read.
_DATED = (
    f"case when {_OF_TIME} and ({{text}} not like '%:%' or substring_index({{text}}, ':', 1) like '%-%') "
    "then {cast} end"
)
_ONLY = {
    "int": _WHOLE, "bigint": _WHOLE, "double": _FINITE, "float": _FINITE, "timestamp": _DATED, "date": _DATE,
}  # fmt: skip

_NO_PROBLEMS = "cast(array() as array<struct<column:string,text:string,reason:string>>)"


def parse_files(landing: Landing, clock: datetime, spec: IngestionSpec, contract: Table) -> DataFrame:
    """Read new and corrected files; one row per record, typed, or with its problems.

    Args:
        landing: The table's folder and what is known of it.
        clock: Time of the run, UTC.
        spec: How files tell their day.
        contract: Columns of the table, with their names in the file.

    Returns:
        Columns of the contract, `AUDIT` and `LINES`. A record with problems has its text in `line_text`; the values
        that did not parse are null in their columns and stand in `problems` as they were.

    Raises:
        LandingError: A file's day is a placeholder, a header isn't the declared one, or as `landing.select` and
            `landing.check_content` say.
    """
    selection = select(landing)
    check_days(landing, selection, spec, clock.date())
    check_headers(landing, selection, contract)
    # Rows that tell their time themselves are the same ones whatever the name says.
    by_day = "snapshot_on" in contract.key
    for warning in check_content(
        landing, selection, lambda name: snapshot_of(name, spec) if by_day else date.min, clock.date()
    ):
        log.warning("%s", warning)
    for name in selection.taken_back:
        log.warning(
            "%s was read by a run that did not finish, and is not in %s any more: its rows are removed.",
            name, landing.address,
        )  # fmt: skip
    for file in selection.files:
        if (day := snapshot_of(file.name, spec)) > clock.date():
            log.warning(
                "%s is dated %s, which lies in the future: its day stays the newest until then. If the date is wrong, "
                "correct the name, then: kedro withdraw file %s", file.name, day, shell_word(file.name),
            )  # fmt: skip
    return type_records(_read(landing, selection, spec, contract), contract, clock, spec.missing_words)


def check_days(landing: Landing, selection: Selection, spec: IngestionSpec, today: date) -> None:
    """Refuse files whose day is a placeholder such as 9999-12-31: it would be the newest for ever, or the oldest.

    Raises:
        LandingError: Names the file and its day.
    """
    for file in selection.files:
        day = snapshot_of(file.name, spec)
        if day < _FIRST_DAY or day.year > today.year + _YEARS_AHEAD:
            raise LandingError(
                f"{file.name} in {landing.address} is dated {day}: days before {_FIRST_DAY} and more than "
                f"{_YEARS_AHEAD} years ahead are placeholders. Rename it with the day that its rows describe, then "
                f"run again."
            )


def check_headers(landing: Landing, selection: Selection, contract: Table) -> None:
    """Refuse files whose columns aren't the declared ones.

    Raises:
        LandingError: Names file and columns.
    """
    expected = [column.landing_name for column in contract.columns]
    for file in selection.files:
        if not file.header:
            raise LandingError(f"{file.name} in {landing.address} is empty: not even a header stands in it.")
        if found := other_delimiter(file.header, landing.delimiter):
            raise LandingError(
                f"{file.name} in {landing.address}: its header is a single field, and {found!r} seems to separate "
                f"what stands in it; declared is {landing.delimiter!r}. Set `delimiter` of this table in the catalog "
                f"of conf, or save the file with the declared one."
            )
        if not set(expected) & set(file.header):
            raise LandingError(
                f"{file.name} in {landing.address}: none of the declared columns stands in its header. Put a first "
                f"line on top that names them: {', '.join(expected)}."
            )
        faults = header_faults(file.header, expected)
        if faults:
            raise LandingError(
                f"{file.name} in {landing.address}: {'; '.join(faults)}. Declared are {len(expected)} columns: "
                f"{', '.join(expected)}."
            )


def type_records(records: DataFrame, contract: Table, clock: datetime, missing_words: Sequence[str]) -> DataFrame:
    """Cast the text of each column to its declared type; what doesn't parse becomes a problem, not a null.

    Blanks and missing words are null, which is a problem only where a column must have a value.
    """
    values = {column.name: _value(column, missing_words) for column in contract.columns}
    in_columns = (_problem(column, values[column.name], missing_words) for column in contract.columns)
    found = f"filter(array({', '.join([_line_problem(), *in_columns])}), p -> p is not null)"
    # Most records have every value: they aren't searched for problems.
    lacks = ["line_fault is not null", *(f"({value}) is null" for value in values.values())]
    problems = F.expr(f"case when {' or '.join(lacks)} then {found} else {_NO_PROBLEMS} end")
    typed = [F.expr(value).alias(name) for name, value in values.items()]
    text = F.coalesce("line_text", F.to_json(F.struct(*[F.col(name) for name in contract.names])))
    return records.withColumn("_problems", problems).select(
        *typed,
        "snapshot_on",
        "source_file",
        "file_sha256",
        "line_number",
        F.lit(clock).cast("timestamp").alias("ingested_at"),
        F.when(F.size("_problems") > 0, text).alias("line_text"),
        F.col("_problems").alias("problems"),
    )


def keep_rows(
    parsed: DataFrame, landing: Landing, refused: DataFrame, spec: IngestionSpec, contract: Table
) -> ReplaceBatch:  # fmt: skip
    """The rows without problems, in place of what their files gave before. Columns: contract and `AUDIT`.

    `refused`, the table of refused lines, is an input so that they are stored, and can be looked at, before anything
    stops.

    Raises:
        LandingError: Too many rows of a file were refused.
    """
    _check_refused(parsed, refused, landing, spec.tolerated_refused_share, contract.name.removeprefix("landing_"))
    names = [*contract.names, *(column.name for column in AUDIT)]
    return _batch(parsed.where(F.size("problems") == 0).select(*names), landing)


def refuse_lines(parsed: DataFrame, landing: Landing) -> ReplaceBatch:
    """The records with problems, in place of what their files gave before. Columns: `AUDIT` and `LINES`."""
    names = [column.name for column in (*AUDIT, *LINES)]
    return _batch(parsed.where(F.size("problems") > 0).select(*names), landing)


def record_files(
    parsed: DataFrame, landing: Landing, clock: datetime, raw: DataFrame, quarantine: DataFrame
) -> ReplaceBatch:
    """What was read of each file, written only after its rows: `raw` and `quarantine` come first by being inputs.

    Returns:
        One row per file: source_file, file_sha256, landing, n_lines, n_raw, n_quarantined, ingested_at.
    """
    files = select(landing).files
    lines, kept, refused = (_per_file(table, files) for table in (parsed, raw, quarantine))
    rows = []
    for file in files:
        counts = {
            "n_lines": lines.get(file.name, 0),
            "n_raw": kept.get(file.name, 0),
            "n_quarantined": refused.get(file.name, 0),
        }
        if counts["n_lines"] != counts["n_raw"] + counts["n_quarantined"]:
            raise TableError(f"The books of {file.name} don't balance ({counts}): its rows are not recorded as read.")
        rows.append(
            {"source_file": file.name, "file_sha256": file.sha256, "landing": landing.recorded_as, "ingested_at": clock}
            | counts
        )
    table = pd.DataFrame(rows, columns=list(_MANIFEST)).astype(_MANIFEST)
    return ReplaceBatch(table, "source_file", select(landing).replaced)


def _check_refused(parsed: DataFrame, refused: DataFrame, landing: Landing, tolerated: float, table: str) -> None:
    """Stop where more of a file is refused than is tolerated: what is left of it says nothing about its day."""
    n_refused = F.sum((F.size("problems") > 0).cast("int")).alias("n_refused")
    files = collect(parsed.groupBy("source_file").agg(F.count(F.lit(1)).alias("n_rows"), n_refused))
    files = files[files["n_refused"] > tolerated * files["n_rows"]].sort_values("source_file")
    if files.empty:
        return
    counts = [f"{row.source_file} ({row.n_refused:,} of {row.n_rows:,})" for row in files.itertuples()]
    more = f" and {len(counts) - _SHOWN_FILES} more files" if len(counts) > _SHOWN_FILES else ""
    raise LandingError(
        f"More than the tolerated {tolerated:.0%} of rows can't be read: {', '.join(counts[:_SHOWN_FILES])}{more}, in "
        f"{landing.address}. {_most_frequent(refused, files['source_file'].iloc[0])} Nothing of a file like that is "
        f"used. Correct it and run again, or raise tolerated_refused_share (data_ingestion in parameters.yml). All "
        f"refused lines, with their reasons, are in the table quarantine_lines_{table}."
    )


def _most_frequent(refused: DataFrame, file: str) -> str:
    """The most frequent problem of a file's refused lines, with the first line that has it."""
    problems = refused.where(F.col("source_file") == F.lit(file)).select(
        "line_number", F.explode("problems").alias("problem")
    )
    grouped = problems.groupBy("problem.column", "problem.reason").agg(
        F.count(F.lit(1)).alias("n"), F.min("line_number").alias("line")
    )
    most = collect(grouped.orderBy(F.desc("n"), "line").limit(1)).iloc[0]
    column = f"{most['column']} " if most["column"] else ""
    rows = "1 row" if most["n"] == 1 else f"{most['n']:,} rows"
    return f"Most frequent problem in {file}: {column}{most['reason']} ({rows}, first in line {most['line']})."


def _per_file(table: DataFrame, files: Sequence[LandingFile]) -> dict[str, int]:
    chosen = table.where(F.col("source_file").isin([file.name for file in files]))
    counted = collect(chosen.groupBy("source_file").agg(F.count(F.lit(1)).alias("n")))
    return {str(name): int(n) for name, n in zip(counted["source_file"], counted["n"], strict=True)}


def _batch(rows: DataFrame, landing: Landing) -> ReplaceBatch:
    return ReplaceBatch(rows, "source_file", select(landing).replaced)


def _read(landing: Landing, selection: Selection, spec: IngestionSpec, contract: Table) -> DataFrame:
    """Every record of the selected files as text, one task a file."""
    sources = {column.name: column.landing_name for column in contract.columns}
    kind, delimiter = landing.format, landing.delimiter

    def records(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for files in batches:
            for file in files.to_pylist():
                args = (file["path"], file["source_file"], kind, delimiter, sources, file["file_sha256"])
                fault: Exception | None = None
                try:
                    for batch in read_records(*args):
                        yield _of_file(batch, file)
                except Exception as error:
                    fault = error
                if kind != "delta":
                    _check_unchanged(file)  # first: a file that changed may seem wrong in any way
                if fault:
                    raise fault

    rows = [(file.path, file.name, file.sha256, snapshot_of(file.name, spec).isoformat()) for file in selection.files]
    names = "path string, source_file string, file_sha256 string, snapshot_on string"
    listed = SparkSession.active().createDataFrame(rows, names)
    text = ", ".join(f"`{name}` string" for name in contract.names)
    record = "line_number bigint, line_text string, line_fault string"
    schema = f"{text}, {record}, source_file string, file_sha256 string, snapshot_on date"
    return listed.repartition(max(len(rows), 1)).mapInArrow(records, schema)


def snapshot_of(name: str, spec: IngestionSpec) -> date:
    """The day that a file's rows describe.

    Raises:
        LandingError: The name holds what looks like a day but is none.
    """
    found = re.search(spec.snapshot_pattern, name)
    if not found:
        return spec.snapshot_default
    try:
        return date.fromisoformat(found.group(1))
    except ValueError as error:
        raise LandingError(f"The name of {name} should tell the day of its rows, but {error}.") from error


def _check_unchanged(file: dict[str, str]) -> None:
    """Refuse a file that is no longer the one that was listed."""
    if content_hash(file["path"]) != file["file_sha256"]:
        raise refusal(
            f"{file['source_file']} changed while it was read: nothing of it was recorded. "
            f"Run again when it is written to its end."
        )


def _of_file(batch: pa.RecordBatch, file: dict[str, str]) -> pa.RecordBatch:
    import pyarrow as pa

    same = [pa.repeat(pa.scalar(file[name]), batch.num_rows) for name in ("source_file", "file_sha256")]
    day = pa.repeat(pa.scalar(date.fromisoformat(file["snapshot_on"]), pa.date32()), batch.num_rows)
    names = [*batch.schema.names, "source_file", "file_sha256", "snapshot_on"]
    return pa.RecordBatch.from_arrays([*batch.columns, *same, day], names=names)


def _value(column: Column, missing_words: Sequence[str]) -> str:
    text = _TRIMMED.format(name=column.name)
    if column.type == "string":
        value = text
    else:
        plain = column.format.plain_sql(text) if column.format else text
        cast = f"try_cast({_DAY.format(text=plain) if column.type == 'date' else plain} as {column.type})"
        value = _ONLY.get(column.type, "{cast}").format(text=plain, cast=cast, type=column.type)
    return f"case when not ({_missing(column, missing_words)}) then {value} end"


def _missing(column: Column, missing_words: Sequence[str]) -> str:
    """Whether a record has no value of a column: never null."""
    words = dict.fromkeys(word.lower() for word in (*missing_words, *(column.format.missing if column.format else ())))
    listed = ", ".join(map(string_literal, ("", *words)))
    return f"lower(coalesce({_TRIMMED.format(name=column.name)}, '')) in ({listed})"


def _problem(column: Column, value: str, missing_words: Sequence[str]) -> str:
    missing = _missing(column, missing_words)
    # A header is somebody else's text: as a literal it can't become code, nor a field of the format below.
    header = string_literal(column.landing_name)
    told = f"named_struct('column', {header}, 'text', `{column.name}`, 'reason', '{{reason}}')"
    unparsed = f"when not ({missing}) and ({value}) is null then {told.format(reason=f'is not of type {column.type}')}"
    empty = "" if column.nullable else f"when {missing} then {told.format(reason='is empty')}"
    return f"case when line_fault is not null then null {unparsed} {empty} end"


def _line_problem() -> str:
    told = "named_struct('column', cast(null as string), 'text', line_text, 'reason', line_fault)"
    return f"case when line_fault is not null then {told} end"
