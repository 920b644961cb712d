"""Read rows of a Delta table by delta-rs's own query engine.

Its pyarrow dataset reads through a file system written in Python: pyarrow's threads, which cannot be joined, may
release its buffers while the interpreter shuts down, which aborts the process.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import deltalake
    import pyarrow as pa


def read_schema(table: deltalake.DeltaTable) -> pa.Schema:
    """Names and types of the columns of a table."""
    import pyarrow as pa

    return pa.schema(table.schema().to_arrow())


def read_rows(
    table: deltalake.DeltaTable, columns: Sequence[str] = (), limit: int | None = None
) -> pa.RecordBatchReader:
    """The rows of a table in the order of its files, as a stream, with the table's own types.

    Args:
        table: An opened table.
        columns: Columns to read, in this order; by default all.
        limit: Maximum number of rows; by default all.
    """
    import pyarrow as pa

    table_schema = read_schema(table)
    schema = pa.schema([table_schema.field(name) for name in columns]) if columns else table_schema
    names = ", ".join(map(_quote, schema.names))
    limit_clause = "" if limit is None else f" LIMIT {limit:d}"
    statement = f"SELECT {names} FROM stored{limit_clause}"  # noqa: S608 - the names are quoted
    return _run_query(table, statement).cast(schema)


def count_rows(table: deltalake.DeltaTable, column: str, value: str) -> int:
    """Number of rows whose text column has this value."""
    text = "'" + value.replace("'", "''") + "'"
    statement = f"SELECT count(*) AS n FROM stored WHERE {_quote(column)} = {text}"  # noqa: S608 - both are quoted
    return int(_run_query(table, statement).read_all()["n"][0].as_py())


def _run_query(table: deltalake.DeltaTable, statement: str) -> pa.RecordBatchReader:
    """Run an SQL query on a table, which it calls `stored`; text comes as Arrow's view type."""
    import pyarrow as pa
    from deltalake import QueryBuilder

    context: Any = QueryBuilder().register("stored", table)
    # With more partitions, rows of several files come in any order.
    context.execute("SET datafusion.execution.target_partitions = 1")
    return pa.RecordBatchReader.from_stream(context.execute(statement))


def _quote(name: str) -> str:
    """Quote a column name for SQL."""
    return '"' + name.replace('"', '""') + '"'
