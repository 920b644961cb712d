"""Predicates of row rules, parsed before anything runs: one deterministic expression over a row's own columns."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sqlglot import exp

# Functions whose answer isn't told by the row: of chance, of the session, of files, and of code outside of SQL.
_NOT_OF_THE_ROW = frozenset({
    "rand", "random", "randn", "uuid", "shuffle", "randstr", "uniform", "monotonically_increasing_id",
    "spark_partition_id",
    "input_file_name", "input_file_block_start", "input_file_block_length", "current_user", "session_user", "user",
    "current_catalog", "current_database", "current_schema", "version", "java_method", "reflect", "try_reflect",
    "raise_error", "assert_true", "read_files", "secret", "try_secret", "ai_query", "current_timezone",
    "current_date", "current_timestamp", "current_time", "current_datetime", "localtimestamp", "now", "curdate",
})  # fmt: skip
# What Spark reads as a moment of the run where a text is made a time.
_MOMENTS = frozenset({"now", "today", "tomorrow", "yesterday"})


def check_predicate(predicate: str) -> None:
    """Refuse what isn't one deterministic expression over a row.

    Raises:
        ValueError: Says what in it is not allowed, or why it can't be parsed.
    """
    from sqlglot import exp

    expression = _parse(predicate)
    if any(node.comments for node in expression.walk()):
        raise ValueError("a comment can't be part of a predicate: remove it")
    if expression.find(exp.DDL, exp.Command, exp.Drop, exp.Set, exp.Use, exp.Alter):
        raise ValueError(f"{type(expression).__name__} is a statement: a predicate is an expression")
    if expression.find(exp.Query):
        raise ValueError(
            "a subquery can't be part of a predicate: a rule with refers_to and by looks into other tables"
        )
    if expression.find(exp.AggFunc, exp.Window):
        raise ValueError("a predicate is about one row: aggregates and windows look at several")
    if expression.find(exp.Parameter, exp.Placeholder):
        raise ValueError("a predicate has no parameters: write the value in its place")
    for name in _functions(expression):
        if name in _NOT_OF_THE_ROW:
            raise ValueError(f"{name} gives the same row different answers, or answers of more than the row")
    for cast in expression.find_all(exp.Cast, exp.TryCast):
        if cast.this.is_string and cast.this.name.strip().lower() in _MOMENTS:
            raise ValueError(f"{cast.this.name!r} as a time asks the clock: compare with ingested_at")


def columns_of(predicate: str) -> list[str]:
    """The columns that a valid predicate names, each once, by name."""
    from sqlglot import exp

    return sorted({column.parts[0].name for column in _parse(predicate).find_all(exp.Column)})


def _parse(predicate: str) -> exp.Expr:
    import sqlglot
    from sqlglot.errors import SqlglotError

    try:
        statements = sqlglot.parse(predicate, read="spark")
    except SqlglotError as error:
        details = getattr(error, "errors", None) or [{}]
        where = f" at {details[0]['highlight']!r}" if details[0].get("highlight") else ""
        raise ValueError(f"this is not an expression of Spark SQL{where}") from error
    if len(statements) != 1 or statements[0] is None:
        raise ValueError("a predicate is one expression, and this is none or several")
    return statements[0]


def _functions(expression: exp.Expr) -> Iterator[str]:
    """Names of the functions that are called, in lower case."""
    from sqlglot import exp

    for call in expression.find_all(exp.Func):
        yield from (
            [call.name.lower()] if isinstance(call, exp.Anonymous) else [name.lower() for name in call.sql_names()]
        )
