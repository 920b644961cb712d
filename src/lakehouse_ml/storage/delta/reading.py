"""Rows of a Delta table, read by delta-rs itself.

Not by its pyarrow dataset: that reads through a file system written in Python, and pyarrow's threads, which nobody can
wait for, may let go of its buffers while the interpreter is taken down, which aborts the process.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import deltalake
    import pyarrow as pa


def schema(table: deltalake.DeltaTable) -> pa.Schema:
    """Names and types of a table's columns."""
    import pyarrow as pa

    return pa.schema(table.schema().to_arrow())


def rows(table: deltalake.DeltaTable, columns: Sequence[str] = (), limit: int | None = None) -> pa.RecordBatchReader:
    """The rows of a table in the order of its files, as a stream, with the table's own types.

    Args:
        table: An opened table.
        columns: Those to read, in this order; all of them if none is named.
        limit: How many rows at most; all of them if there is no limit.
    """
    import pyarrow as pa

    own = schema(table)
    wanted = pa.schema([own.field(name) for name in columns]) if columns else own
    names = ", ".join(map(_quoted, wanted.names))
    first = "" if limit is None else f" LIMIT {limit:d}"
    return _query(table, f"SELECT {names} FROM stored{first}").cast(wanted)  # noqa: S608 - the names are quoted


def count(table: deltalake.DeltaTable, column: str, value: str) -> int:
    """How many rows have a text in a column."""
    text = "'" + value.replace("'", "''") + "'"
    counted = f"SELECT count(*) AS n FROM stored WHERE {_quoted(column)} = {text}"  # noqa: S608 - both are quoted
    return int(_query(table, counted).read_all()["n"][0].as_py())


def _query(table: deltalake.DeltaTable, statement: str) -> pa.RecordBatchReader:
    """What an SQL query says of a table, which it knows as `stored`; text comes as Arrow's view type."""
    import pyarrow as pa
    from deltalake import QueryBuilder

    context: Any = QueryBuilder().register("stored", table)
    # More than one would hand the rows of several files over in any order.
    context.execute("SET datafusion.execution.target_partitions = 1")
    return pa.RecordBatchReader.from_stream(context.execute(statement))


def _quoted(name: str) -> str:
    """A column's name as SQL takes it literally."""
    return '"' + name.replace('"', '""') + '"'
