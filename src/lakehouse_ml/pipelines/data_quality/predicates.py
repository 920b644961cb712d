"""Check predicates of row rules before a run: one deterministic expression over the columns of a row."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sqlglot import exp

# Functions that do not depend on the row alone: random, of the session, of files, or of code outside of SQL.
_NOT_ROW_FUNCTIONS = frozenset(
    {
        "rand",
        "random",
        "randn",
        "uuid",
        "shuffle",
        "randstr",
        "uniform",
        "monotonically_increasing_id",
        "spark_partition_id",
        "input_file_name",
        "input_file_block_start",
        "input_file_block_length",
        "current_user",
        "session_user",
        "user",
        "current_catalog",
        "current_database",
        "current_schema",
        "version",
        "java_method",
        "reflect",
        "try_reflect",
        "raise_error",
        "assert_true",
        "read_files",
        "secret",
        "try_secret",
        "ai_query",
        "current_timezone",
        "current_date",
        "current_timestamp",
        "current_time",
        "current_datetime",
        "localtimestamp",
        "now",
        "curdate",
    }
)
# Texts that Spark casts to the current time.
_CURRENT_TIMES = frozenset({"now", "today", "tomorrow", "yesterday"})


def check_predicate(predicate: str) -> None:
    """Refuse a predicate that is not one deterministic expression over a row.

    Raises:
        ValueError: Says which part is not allowed, or why the predicate can't be parsed.
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
    for name in _function_names(expression):
        if name in _NOT_ROW_FUNCTIONS:
            raise ValueError(
                f"{name} does not depend on the row alone: the same row could be judged differently in another run"
            )
    for cast in expression.find_all(exp.Cast, exp.TryCast):
        if cast.this.is_string and cast.this.name.strip().lower() in _CURRENT_TIMES:
            raise ValueError(f"{cast.this.name!r} as a time depends on the current time: compare with ingested_at")


def columns_of(predicate: str) -> list[str]:
    """The columns that a valid predicate names, sorted and without repetition."""
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
        raise ValueError("a predicate is exactly one expression")
    return statements[0]


def _function_names(expression: exp.Expr) -> Iterator[str]:
    """Names of the called functions, in lower case."""
    from sqlglot import exp

    for call in expression.find_all(exp.Func):
        yield from (
            [call.name.lower()] if isinstance(call, exp.Anonymous) else [name.lower() for name in call.sql_names()]
        )
