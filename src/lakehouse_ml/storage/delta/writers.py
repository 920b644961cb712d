"""Interfaces for a Delta table's log and its writers (delta-rs, Spark), and the error messages that both share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, Protocol

from lakehouse_ml.errors import TableError, first_line
from lakehouse_ml.storage.writes import ReplaceBatch

if TYPE_CHECKING:
    import pyarrow as pa

# The key under which Spark keeps free text of a commit, and DESCRIBE HISTORY shows it. delta-rs writes it too.
COMMIT_METADATA = "userMetadata"


class Snapshot(Protocol):
    """One version of a table, as its log describes it. In a catalog each property may be a query."""

    @property
    def version(self) -> int:
        """Version number."""

    @property
    def id(self) -> str:
        """Id of the table. A table that was removed and created again has another one."""

    @property
    def schema(self) -> pa.Schema:
        """Columns with their stored types."""

    @property
    def features(self) -> frozenset[str]:
        """Table features that a reader must support to read the Parquet files correctly."""

    @property
    def properties(self) -> Mapping[str, str]:
        """Table properties, constraints included."""

    @property
    def comment(self) -> str:
        """What a row is."""


@dataclass(frozen=True)
class Commit:
    """One commit: version, time (UTC), operation in Delta's words, and the metadata (JSON) that its writer added."""

    version: int
    timestamp: datetime
    operation: str
    metadata: str | None


@dataclass(frozen=True)
class Layout:
    """What a new table is created with. An overwrite updates the comments too.

    Attributes:
        comment: What a row is; stored with the table, for people who find it by SQL.
        comments: What each column contains; stored with the columns.
        partition_by: Partition columns.
        properties: Delta's table properties by name.
        constraints: CHECK constraints by name.
    """

    comment: str = ""
    comments: Mapping[str, str] = field(default_factory=dict)
    partition_by: tuple[str, ...] = ()
    properties: Mapping[str, str] = field(default_factory=dict)
    constraints: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class WritePlan:
    """How a writer commits rows.

    Attributes:
        mode: `overwrite` replaces all rows and the schema, `replace` the rows of `batch`.
        schema: Names and types of the written columns, in this order.
        commit_metadata: JSON that is stored with the commit.
        layout: What the table is created with, if it does not exist.
        creates_table: Whether the table does not exist yet.
        adds_columns: Whether the rows have columns that the table lacks.
        batch: The batch that every row must belong to.
        transaction: Writer id and sequence number of an idempotent append.
    """

    mode: Literal["append", "overwrite", "replace"]
    schema: pa.Schema
    commit_metadata: str
    layout: Layout
    creates_table: bool
    adds_columns: bool = False
    batch: ReplaceBatch | None = None
    transaction: tuple[str, int] | None = None


class TableLog(Protocol):
    """Reads versions, commits and rows of one table."""

    def exists(self) -> bool:
        """Whether the table exists. Raises an error if that cannot be determined."""

    def read_snapshot(self, version: int | None = None) -> Snapshot:
        """The given version, by default the newest."""

    def read_commits(self, limit: int) -> list[Commit]:
        """At most `limit` commits, newest first."""

    def read_rows(self, version: int | None, limit: int | None = None) -> pa.Table:
        """Rows of a version, in memory."""

    def count_rows(self, version: int | None, column: str, value: str) -> int:
        """Number of rows whose text column has this value."""

    def last_transaction(self, writer: str) -> int | None:
        """Sequence number of a writer's last idempotent append; None if it has none, or the log cannot be asked."""


class PreparedRows(Protocol):
    """Rows in the form that a writer commits."""

    @property
    def schema(self) -> pa.Schema:
        """Their columns."""


class TableWriter(Protocol):
    """Commits to one table. Each call is one atomic commit."""

    def prepare(self, data: Any) -> AbstractContextManager[Any]:
        """Turn a Spark or pandas frame into `PreparedRows`."""

    def count_duplicate_keys(self, rows: Any, keys: Sequence[str]) -> int:
        """Number of rows that repeat the key of another row."""

    def write(self, rows: Any, plan: WritePlan) -> None:
        """Append, overwrite or replace."""

    def merge(self, rows: Any, keys: Sequence[str], plan: WritePlan) -> None:
        """Update rows with equal keys (null equals null) and insert the others."""

    def restore(self, version: int, commit_metadata: str) -> None:
        """Make an older version the newest."""

    def optimise(self, commit_metadata: str) -> None:
        """Compact small files."""

    def vacuum(self, hours: int) -> None:
        """Remove files that no version of the last `hours` hours needs."""


def rows_outside_batch_error(count: int, batch: ReplaceBatch, address: str) -> TableError:
    """Error for rows that do not belong to the batch that they were saved with."""
    return TableError(
        f"{count} rows lie outside the batch {batch.predicate} that is to be replaced in {address}: nothing was "
        f"written."
    )


def lost_race_error(address: str, error: BaseException) -> TableError:
    """Error for a commit that a concurrent commit made invalid."""
    return TableError(
        f"Another run wrote to {address} at the same time and was first; nothing of this one was written. Run again. "
        f"({first_line(error)})"
    )


def broken_constraint_error(address: str, snapshot: Snapshot, error: BaseException) -> TableError:
    """Error for rows that violate a constraint of the table; lists all of its constraints."""
    prefix = "delta.constraints."
    constraints = [f"{k.removeprefix(prefix)}: {v}" for k, v in snapshot.properties.items() if k.startswith(prefix)]
    constraints += [f"{one.name} is not null" for one in snapshot.schema if not one.nullable]
    return TableError(
        f"Some rows for {address} violate its constraints ({'; '.join(constraints)}): nothing was written. "
        f"({first_line(error)})"
    )


def failed_write_error(address: str, error: BaseException) -> TableError:
    """Error for a commit that failed for any other reason."""
    return TableError(
        f"Table {address} could not be written ({first_line(error)}). If its columns changed with the code, start a "
        f"new lake: LAKE=<folder>."
    )


def damaged_table_error(address: str, reason: str) -> TableError:
    """Error for a table that exists and cannot be read."""
    return TableError(
        f"The table at {address} is damaged and can't be read ({reason}). Restore this folder from a copy, or start a "
        f"new lake from the same files: LAKE=<folder>."
    )


def unknown_catalog_error(address: str, reason: str) -> TableError:
    """Error for a table name whose catalog the engine does not have."""
    catalog = address.partition(".")[0]
    return TableError(
        f"Table {address}: this engine has no catalog {catalog} ({reason}). Name a catalog that it has (lake in "
        f"globals.yml), or another environment (--env)."
    )


def unsupported_feature_error(address: str, features: str) -> TableError:
    """Error for a table whose features this engine does not support: it would read wrong values."""
    return TableError(f"The table at {address} uses {features}, which this engine would misread.")


def normalise_schema(schema: pa.Schema, comments: Mapping[str, str] | None = None) -> pa.Schema:
    """Make timestamps UTC and every column nullable, so that equal rows always have an equal schema."""
    import pyarrow as pa

    def normalise_type(kind: pa.DataType) -> pa.DataType:
        if pa.types.is_timestamp(kind):
            return pa.timestamp("us", tz="UTC")
        if pa.types.is_null(kind) or pa.types.is_large_string(kind):
            return pa.string()
        if pa.types.is_list(kind):
            return pa.list_(normalise_type(kind.value_type))
        if pa.types.is_struct(kind):
            return pa.struct([pa.field(one.name, normalise_type(one.type)) for one in kind.fields])
        return kind

    def describe_column(name: str) -> dict[str, str] | None:
        comment = (comments or {}).get(name)
        return {"comment": comment} if comment else None

    return pa.schema(
        [pa.field(one.name, normalise_type(one.type), metadata=describe_column(one.name)) for one in schema]
    )
