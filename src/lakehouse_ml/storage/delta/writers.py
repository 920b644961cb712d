"""Who reads a Delta table's log and who commits to it: delta-rs or Spark, with one meaning and the same sentences."""

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

# The key under which Spark keeps, and DESCRIBE HISTORY shows, what a commit says of itself. delta-rs writes it too.
SAYS = "userMetadata"


@dataclass(frozen=True)
class Snapshot:
    """One version of a table, as its log tells it.

    Attributes:
        version: Its number.
        id: Of the table: one that was removed and made anew has another.
        schema: Its columns, each type as it is stored.
        features: What a reader has to know of besides Parquet files.
        properties: Of the table, its constraints among them.
        comment: What it says of its rows.
    """

    version: int
    id: str
    schema: pa.Schema
    features: frozenset[str]
    properties: Mapping[str, str]
    comment: str


@dataclass(frozen=True)
class Commit:
    """One commit: its version, when it was (UTC), its operation in Delta's words, and what it says of itself."""

    version: int
    at: datetime
    operation: str
    says: str | None


@dataclass(frozen=True)
class Layout:
    """What a table gets when it is made; its comments when it is overwritten, too.

    Attributes:
        comment: What a row is; kept with the table, for those who find it by SQL.
        comments: What each column holds; kept with the columns.
        partition_by: Columns whose values part its files.
        properties: Delta's, by their names.
        constraints: Conditions that each row has to meet, by name.
    """

    comment: str = ""
    comments: Mapping[str, str] = field(default_factory=dict)
    partition_by: tuple[str, ...] = ()
    properties: Mapping[str, str] = field(default_factory=dict)
    constraints: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Write:
    """How rows go into a table.

    Attributes:
        mode: `overwrite` replaces rows and columns, `replace` the rows of `batch`.
        schema: Names and types of what is written, in this order.
        says: What the commit says of itself.
        layout: Of a table that isn't there yet.
        makes: Whether it isn't.
        adds: Whether the table gets new columns by it.
        batch: Which rows may be among them.
        once: Who appends, and the number of what he appends.
    """

    mode: Literal["append", "overwrite", "replace"]
    schema: pa.Schema
    says: str
    layout: Layout
    makes: bool
    adds: bool = False
    batch: ReplaceBatch | None = None
    once: tuple[str, int] | None = None


class Log(Protocol):
    """What is known of a table."""

    def exists(self) -> bool:
        """Whether a table is there; what can't be told is an error."""

    def snapshot(self, version: int | None = None) -> Snapshot:
        """The newest version, or another one."""

    def commits(self, most: int) -> list[Commit]:
        """The last so many, newest first."""

    def rows(self, version: int | None, limit: int | None = None) -> pa.Table:
        """Rows of a version, in memory."""

    def count(self, version: int | None, column: str, value: str) -> int:
        """How many rows have a text in a column."""

    def appended(self, writer: str) -> int | None:
        """The number of what a writer appended last; None if the log can't tell it."""


class Rows(Protocol):
    """What a committer was handed, in the form that it takes."""

    @property
    def schema(self) -> pa.Schema:
        """Its columns."""


class Committer(Protocol):
    """Puts rows into a table, each call one atomic commit."""

    def taken(self, data: Any) -> AbstractContextManager[Any]:
        """A Spark or pandas frame as `Rows`."""

    def repeats(self, rows: Any, keys: Sequence[str]) -> int:
        """How many rows have a key that another row has."""

    def write(self, rows: Any, how: Write) -> None:
        """Append, overwrite or replace."""

    def merge(self, rows: Any, keys: Sequence[str], how: Write) -> None:
        """Update rows of equal keys (null equals null), insert the others."""

    def restore(self, version: int, says: str) -> None:
        """Make an older version the newest."""

    def optimise(self, says: str) -> None:
        """Put small files together."""

    def vacuum(self, hours: int) -> None:
        """Remove files that no version of the last so many hours needs."""


def outside(strangers: int, batch: ReplaceBatch, address: str) -> TableError:
    """The refusal of rows that aren't of the batch which they came with."""
    return TableError(
        f"{strangers} rows lie outside the batch {batch.predicate} that is to be replaced in {address}: nothing was "
        f"written."
    )


def lost_race(address: str, error: BaseException) -> TableError:
    """The refusal of whoever comes second."""
    return TableError(
        f"Another run wrote to {address} at the same time and was first; nothing of this one was written. Run again. "
        f"({first_line(error)})"
    )


def violated(address: str, snapshot: Snapshot, error: BaseException) -> TableError:
    """The refusal of rows that a condition of the table isn't true of."""
    prefix = "delta.constraints."
    held = [f"{k.removeprefix(prefix)}: {v}" for k, v in snapshot.properties.items() if k.startswith(prefix)]
    held += [f"{one.name} is not null" for one in snapshot.schema if not one.nullable]
    return TableError(
        f"Some rows for {address} break what holds for each of its rows ({'; '.join(held)}): nothing was written. "
        f"({first_line(error)})"
    )


def unwritten(address: str, error: BaseException) -> TableError:
    """Any other reason for which a commit wasn't made."""
    return TableError(
        f"Table {address} could not be written ({first_line(error)}). If its columns changed with the code, start a "
        f"new lake: LAKE=<folder>."
    )


def damaged(address: str, why: str) -> TableError:
    """A table that is there and can't be read."""
    return TableError(
        f"The table at {address} is damaged and can't be read ({why}). Restore this folder from a copy, or start a "
        f"new lake from the same files: LAKE=<folder>."
    )


def nowhere(address: str, why: str) -> TableError:
    """A name in a catalog that the engine doesn't know."""
    catalog = address.partition(".")[0]
    return TableError(
        f"Table {address}: this engine has no catalog {catalog} ({why}). Name one that it has (lake in globals.yml), "
        f"or another environment (--env)."
    )


def misread(address: str, features: str) -> TableError:
    """A table that this engine would read other values from than its writer wrote."""
    return TableError(f"The table at {address} uses {features}, which this engine would misread.")


def storable(schema: pa.Schema, comments: Mapping[str, str] | None = None) -> pa.Schema:
    """Timestamps in UTC and every column nullable, so that the same rows always have the same schema."""
    import pyarrow as pa

    def stored(kind: pa.DataType) -> pa.DataType:
        if pa.types.is_timestamp(kind):
            return pa.timestamp("us", tz="UTC")
        if pa.types.is_null(kind) or pa.types.is_large_string(kind):
            return pa.string()
        if pa.types.is_list(kind):
            return pa.list_(stored(kind.value_type))
        if pa.types.is_struct(kind):
            return pa.struct([pa.field(one.name, stored(one.type)) for one in kind.fields])
        return kind

    said = comments or {}
    return pa.schema(
        [
            pa.field(one.name, stored(one.type), metadata={"comment": said[one.name]} if said.get(one.name) else None)
            for one in schema
        ]
    )
