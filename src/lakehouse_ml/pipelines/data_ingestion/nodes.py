"""Nodes of ingestion: select files, parse them into typed rows and refused lines, and record them in the manifest."""

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
from lakehouse_ml.storage.landing import IngestionSpec, Landing, LandingFile, Selection, check_content, select_files
from lakehouse_ml.storage.parsing import content_hash, find_header_faults, guess_delimiter, read_records
from lakehouse_ml.storage.writes import ReplaceBatch, collect
from lakehouse_ml.use_cases.columns import AUDIT, LINES
from lakehouse_ml.use_cases.contracts import Column, Table
from lakehouse_ml.use_cases.sql import string_literal

if TYPE_CHECKING:
    import pyarrow as pa

log = logging.getLogger(__name__)

_SHOWN_FILES = 3
# Other systems use days outside this range as placeholders: 0001-01-01, 1899-12-30, 1970-01-01, 2099-12-31, 9999-12-31.
# A nearer day in the future is read, with a warning.
_FIRST_DAY = date(1970, 1, 2)
_YEARS_AHEAD = 50

# Explicit types, because the first manifest may be empty.
_MANIFEST = {
    "source_file": "string",
    "file_sha256": "string",
    "landing": "string",
    "n_lines": "int64",
    "n_raw": "int64",
    "n_quarantined": "int64",
    "ingested_at": "datetime64[us, UTC]",
}
# Characters around a value that are no part of it, such as a byte order mark in a file joined from two. Plain `trim`
# removes spaces only.
_TRIMMED = "trim(both ' \t\r\n\u00a0\ufeff' from `{name}`)"
# Each engine's casts accept other malformed values: control characters around a number, Java's 1d, 2f and 0x1p3.
# Therefore a value may only have the characters of its type. pandas writes whole numbers as 39.0 as soon as one value
# of their column is empty.
_WHOLE = (
    "case when {text} rlike '^[+-]?[0-9]+$' then {cast} "
    "when {text} rlike '^[+-]?[0-9]+[.]0+$' then try_cast(substring_index({text}, '.', 1) as {type}) end"
)
# Infinite numbers parse, but they break every statistic: they count as values that do not parse.
_FINITE = (
    "case when {text} rlike '^[-+.eE0-9]+$' and abs(try_cast({text} as double)) < double('infinity') then {cast} end"
)
_TIME_CHARACTERS = "{text} rlike '^[-+:./_ 0-9A-Za-z]+$'"
# The day of a timestamp; not every engine casts text with a T to a date.
_DAY = "substring_index({text}, 'T', 1)"
_DATE = f"case when {_TIME_CHARACTERS} then {{cast}} end"
# A cast would complete a time without a date by the current day.
_DATED = (
    f"case when {_TIME_CHARACTERS} and ({{text}} not like '%:%' or substring_index({{text}}, ':', 1) like '%-%') "
    "then {cast} end"
)
_CAST_BY_TYPE = {
    "int": _WHOLE,
    "bigint": _WHOLE,
    "double": _FINITE,
    "float": _FINITE,
    "timestamp": _DATED,
    "date": _DATE,
}

_NO_PROBLEMS = "cast(array() as array<struct<column:string,text:string,reason:string>>)"


def parse_files(landing: Landing, clock: datetime, spec: IngestionSpec, contract: Table) -> DataFrame:
    """Read new and changed files into one row per record: typed, or with its problems.

    Args:
        landing: The landing folder of the table, beside its manifest.
        clock: Time of the run, UTC.
        spec: How a file name gives its day.
        contract: Columns of the table, with their names in the file.

    Returns:
        Columns of the contract, `AUDIT` and `LINES`. A record with problems has its text in `line_text`. A value that
        does not parse is null in its column and has its text in `problems`.

    Raises:
        LandingError: The day of a file is a placeholder, a header differs from the declared one, or as for
            `landing.select_files` and `landing.check_content`.
    """
    selection = select_files(landing)
    check_days(landing, selection, spec, clock.date())
    check_headers(landing, selection, contract)
    # Rows with a time of their own are the same rows, whatever day the file name has.
    by_day = "snapshot_on" in contract.key
    for warning in check_content(
        landing, selection, lambda name: parse_snapshot_day(name, spec) if by_day else date.min, clock.date()
    ):
        log.warning("%s", warning)
    for name in selection.orphaned_names:
        log.warning(
            "%s was read by a run that did not finish, and is no longer in %s: its rows are removed.",
            name,
            landing.address,
        )
    for file in selection.files:
        if (day := parse_snapshot_day(file.name, spec)) > clock.date():
            log.warning(
                "%s is dated %s, in the future: that day stays the newest until then. If the date is wrong, correct "
                "the name, then: kedro withdraw file %s",
                file.name,
                day,
                shell_word(file.name),
            )
    return type_records(_read_text(landing, selection, spec, contract), contract, clock, spec.missing_words)


def check_days(landing: Landing, selection: Selection, spec: IngestionSpec, today: date) -> None:
    """Refuse files whose day is a placeholder such as 9999-12-31, which would stay the newest day forever.

    Raises:
        LandingError: Names the file and its day.
    """
    for file in selection.files:
        day = parse_snapshot_day(file.name, spec)
        if day < _FIRST_DAY or day.year > today.year + _YEARS_AHEAD:
            raise LandingError(
                f"{file.name} in {landing.address} is dated {day}: days before {_FIRST_DAY} and more than "
                f"{_YEARS_AHEAD} years ahead are placeholders. Rename it with the day that its rows describe, then "
                f"run again."
            )


def check_headers(landing: Landing, selection: Selection, contract: Table) -> None:
    """Refuse files whose columns differ from the declared ones.

    Raises:
        LandingError: Names the file and the columns.
    """
    expected = [column.landing_name for column in contract.columns]
    for file in selection.files:
        if not file.header:
            raise LandingError(f"{file.name} in {landing.address} is empty: it has no header line.")
        if delimiter := guess_delimiter(file.header, landing.delimiter):
            raise LandingError(
                f"{file.name} in {landing.address}: its header is a single field, and {delimiter!r} seems to be the "
                f"delimiter; the catalog declares {landing.delimiter!r}. Set `delimiter` of this table in the catalog "
                f"of conf, or save the file with the declared one."
            )
        if not set(expected) & set(file.header):
            raise LandingError(
                f"{file.name} in {landing.address}: its header has none of the declared columns. Add a first line that "
                f"names them: {', '.join(expected)}."
            )
        faults = find_header_faults(file.header, expected)
        if faults:
            raise LandingError(
                f"{file.name} in {landing.address}: {'; '.join(faults)}. The table declares {len(expected)} columns: "
                f"{', '.join(expected)}."
            )


def type_records(records: DataFrame, contract: Table, clock: datetime, missing_words: Sequence[str]) -> DataFrame:
    """Cast the text of each column to its declared type. A value that does not parse becomes a problem.

    Blanks and missing words become null, which is a problem only in columns that must have a value.
    """
    values = {column.name: _value_sql(column, missing_words) for column in contract.columns}
    column_problems = (_problem_sql(column, values[column.name], missing_words) for column in contract.columns)
    all_problems = f"filter(array({', '.join([_line_problem_sql(), *column_problems])}), p -> p is not null)"
    # Most records have every value: skip the search for problems there.
    may_have_problems = ["line_fault is not null", *(f"({value}) is null" for value in values.values())]
    problems = F.expr(f"case when {' or '.join(may_have_problems)} then {all_problems} else {_NO_PROBLEMS} end")
    typed_columns = [F.expr(value).alias(name) for name, value in values.items()]
    text = F.coalesce("line_text", F.to_json(F.struct(*[F.col(name) for name in contract.names])))
    return records.withColumn("_problems", problems).select(
        *typed_columns,
        "snapshot_on",
        "source_file",
        "file_sha256",
        "line_number",
        F.lit(clock).cast("timestamp").alias("ingested_at"),
        F.when(F.size("_problems") > 0, text).alias("line_text"),
        F.col("_problems").alias("problems"),
    )


def keep_rows(
    parsed: DataFrame, landing: Landing, refused_lines: DataFrame, spec: IngestionSpec, contract: Table
) -> ReplaceBatch:
    """Keep the rows without problems; they replace earlier rows of their files.

    `refused_lines` is an input so that they are stored, and can be inspected, before the run
    stops.

    Returns:
        The columns of the contract and `AUDIT`.

    Raises:
        LandingError: More rows of a file are refused than tolerated.
    """
    _check_refused(parsed, refused_lines, landing, spec.tolerated_refused_share, contract.name.removeprefix("landing_"))
    names = [*contract.names, *(column.name for column in AUDIT)]
    return _replace_files(parsed.where(F.size("problems") == 0).select(*names), landing)


def refuse_lines(parsed: DataFrame, landing: Landing) -> ReplaceBatch:
    """Store the records with problems as refused lines; they replace earlier ones of their files.

    Returns:
        The columns `AUDIT` and `LINES`.
    """
    names = [column.name for column in (*AUDIT, *LINES)]
    return _replace_files(parsed.where(F.size("problems") > 0).select(*names), landing)


def record_files(
    parsed: DataFrame, landing: Landing, clock: datetime, raw: DataFrame, quarantine: DataFrame
) -> ReplaceBatch:
    """Record each file in the manifest, after its rows.

    `raw` and `quarantine` are inputs so that they are stored first.

    Returns:
        One row per file: source_file, file_sha256, landing, n_lines, n_raw, n_quarantined, ingested_at.
    """
    files = select_files(landing).files
    n_lines, n_raw, n_quarantined = (_count_per_file(table, files) for table in (parsed, raw, quarantine))
    rows = []
    for file in files:
        counts = {
            "n_lines": n_lines.get(file.name, 0),
            "n_raw": n_raw.get(file.name, 0),
            "n_quarantined": n_quarantined.get(file.name, 0),
        }
        if counts["n_lines"] != counts["n_raw"] + counts["n_quarantined"]:
            raise TableError(
                f"Row counts do not reconcile for {file.name} ({counts}): the file is not recorded as read."
            )
        rows.append(
            {
                "source_file": file.name,
                "file_sha256": file.sha256,
                "landing": landing.manifest_address,
                "ingested_at": clock,
            }
            | counts
        )
    table = pd.DataFrame(rows, columns=list(_MANIFEST)).astype(_MANIFEST)
    return ReplaceBatch(table, "source_file", select_files(landing).replaced_names)


def _check_refused(parsed: DataFrame, refused_lines: DataFrame, landing: Landing, tolerated: float, table: str) -> None:
    """Stop if more of a file is refused than tolerated: the remaining rows would not represent its day."""
    n_refused = F.sum((F.size("problems") > 0).cast("int")).alias("n_refused")
    files = collect(parsed.groupBy("source_file").agg(F.count(F.lit(1)).alias("n_rows"), n_refused))
    files = files[files["n_refused"] > tolerated * files["n_rows"]].sort_values("source_file")
    if files.empty:
        return
    counts = [f"{row.source_file} ({row.n_refused:,} of {row.n_rows:,})" for row in files.itertuples()]
    more = f" and {len(counts) - _SHOWN_FILES} more files" if len(counts) > _SHOWN_FILES else ""
    raise LandingError(
        f"More than the tolerated {tolerated:.0%} of rows can't be read: {', '.join(counts[:_SHOWN_FILES])}{more}, in "
        f"{landing.address}. {_describe_most_frequent_problem(refused_lines, files['source_file'].iloc[0])} Nothing of "
        f"such a file is used. Correct it and run again, or raise tolerated_refused_share (data_ingestion in "
        f"parameters.yml). All refused lines, with their reasons, are in the table quarantine_lines_{table}."
    )


def _describe_most_frequent_problem(refused_lines: DataFrame, file: str) -> str:
    """The most frequent problem of the refused lines of a file, and the first line that has it."""
    problems = refused_lines.where(F.col("source_file") == F.lit(file)).select(
        "line_number", F.explode("problems").alias("problem")
    )
    grouped = problems.groupBy("problem.column", "problem.reason").agg(
        F.count(F.lit(1)).alias("n"), F.min("line_number").alias("line")
    )
    most = collect(grouped.orderBy(F.desc("n"), "line").limit(1)).iloc[0]
    column = f"{most['column']} " if most["column"] else ""
    rows = "1 row" if most["n"] == 1 else f"{most['n']:,} rows"
    return f"Most frequent problem in {file}: {column}{most['reason']} ({rows}, first in line {most['line']})."


def _count_per_file(table: DataFrame, files: Sequence[LandingFile]) -> dict[str, int]:
    selected = table.where(F.col("source_file").isin([file.name for file in files]))
    counts = collect(selected.groupBy("source_file").agg(F.count(F.lit(1)).alias("n")))
    return {str(name): int(n) for name, n in zip(counts["source_file"], counts["n"], strict=True)}


def _replace_files(rows: DataFrame, landing: Landing) -> ReplaceBatch:
    return ReplaceBatch(rows, "source_file", select_files(landing).replaced_names)


def _read_text(landing: Landing, selection: Selection, spec: IngestionSpec, contract: Table) -> DataFrame:
    """Read every record of the selected files as text, one task per file."""
    sources = {column.name: column.landing_name for column in contract.columns}
    kind, delimiter = landing.format, landing.delimiter

    def records(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for files in batches:
            for file in files.to_pylist():
                args = (file["path"], file["source_file"], kind, delimiter, sources, file["file_sha256"])
                fault: Exception | None = None
                try:
                    for batch in read_records(*args):
                        yield _add_file_columns(batch, file)
                except Exception as error:
                    fault = error
                if kind != "delta":
                    _check_unchanged(file)  # before `fault`: a file that changes meanwhile may fail in any way
                if fault:
                    raise fault

    rows = [
        (file.path, file.name, file.sha256, parse_snapshot_day(file.name, spec).isoformat()) for file in selection.files
    ]
    names = "path string, source_file string, file_sha256 string, snapshot_on string"
    tasks = SparkSession.active().createDataFrame(rows, names)
    text = ", ".join(f"`{name}` string" for name in contract.names)
    record = "line_number bigint, line_text string, line_fault string"
    schema = f"{text}, {record}, source_file string, file_sha256 string, snapshot_on date"
    return tasks.repartition(max(len(rows), 1)).mapInArrow(records, schema)


def parse_snapshot_day(name: str, spec: IngestionSpec) -> date:
    """The day that the rows of a file describe, from its name.

    Raises:
        LandingError: The name has an invalid day.
    """
    match = re.search(spec.snapshot_pattern, name)
    if not match:
        return spec.snapshot_default
    try:
        return date.fromisoformat(match.group(1))
    except ValueError as error:
        raise LandingError(f"The name of {name} has no valid day for its rows: {error}.") from error


def _check_unchanged(file: dict[str, str]) -> None:
    """Refuse a file whose content changed after it was listed."""
    if content_hash(file["path"]) != file["file_sha256"]:
        raise refusal(
            f"{file['source_file']} changed while it was read: nothing of it was recorded. "
            f"Run again when it is complete."
        )


def _add_file_columns(batch: pa.RecordBatch, file: dict[str, str]) -> pa.RecordBatch:
    import pyarrow as pa

    origin = [pa.repeat(pa.scalar(file[name]), batch.num_rows) for name in ("source_file", "file_sha256")]
    day = pa.repeat(pa.scalar(date.fromisoformat(file["snapshot_on"]), pa.date32()), batch.num_rows)
    names = [*batch.schema.names, "source_file", "file_sha256", "snapshot_on"]
    return pa.RecordBatch.from_arrays([*batch.columns, *origin, day], names=names)


def _value_sql(column: Column, missing_words: Sequence[str]) -> str:
    text = _TRIMMED.format(name=column.name)
    if column.type == "string":
        value = text
    else:
        plain = column.format.plain_sql(text) if column.format else text
        cast = f"try_cast({_DAY.format(text=plain) if column.type == 'date' else plain} as {column.type})"
        value = _CAST_BY_TYPE.get(column.type, "{cast}").format(text=plain, cast=cast, type=column.type)
    return f"case when not ({_is_missing_sql(column, missing_words)}) then {value} end"


def _is_missing_sql(column: Column, missing_words: Sequence[str]) -> str:
    """SQL: whether a record has no value in a column; never null."""
    words = dict.fromkeys(word.lower() for word in (*missing_words, *(column.format.missing if column.format else ())))
    literals = ", ".join(map(string_literal, ("", *words)))
    return f"lower(coalesce({_TRIMMED.format(name=column.name)}, '')) in ({literals})"


def _problem_sql(column: Column, value: str, missing_words: Sequence[str]) -> str:
    missing = _is_missing_sql(column, missing_words)
    # A header is untrusted text: as a literal it can't become code, nor a field of the format below.
    header = string_literal(column.landing_name)
    problem = f"named_struct('column', {header}, 'text', `{column.name}`, 'reason', '{{reason}}')"
    unparsed = (
        f"when not ({missing}) and ({value}) is null then {problem.format(reason=f'is not of type {column.type}')}"
    )
    empty = "" if column.nullable else f"when {missing} then {problem.format(reason='is empty')}"
    return f"case when line_fault is not null then null {unparsed} {empty} end"


def _line_problem_sql() -> str:
    problem = "named_struct('column', cast(null as string), 'text', line_text, 'reason', line_fault)"
    return f"case when line_fault is not null then {problem} end"
