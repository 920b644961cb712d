"""What passes between nodes, engine and tables besides plain frames."""

from __future__ import annotations

from dataclasses import dataclass
from posixpath import splitext
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd
    from pyspark.sql import DataFrame


@dataclass(frozen=True)
class ReplaceBatch:
    """Rows that take the place of all stored rows whose `column` holds one of `values`.

    No values: nothing is replaced, and only the commit tells that there was nothing. Values without rows: the old rows
    go. No frame at all: nothing is written.

    Attributes:
        rows: The frame.
        column: Tells which batch a row belongs to.
        values: The batches that are replaced.
        number: Which of the batches of one node's result this is, counted from 1.
        of: How many there are. Until the last is stored, the result isn't complete.
        keeps_stored: Whether stored rows of these batches stay as they are; then only the commit tells that they do.
    """

    rows: Any
    column: str
    values: tuple[str, ...]
    number: int = 1
    of: int = 1
    keeps_stored: bool = False

    @property
    def predicate(self) -> str:
        """The replaced part as an SQL condition."""
        listed = ", ".join("'" + value.replace("'", "''") + "'" for value in self.values)
        return f"{self.column} IN ({listed})"


@dataclass(frozen=True)
class IdempotentAppend:
    """Rows that are appended unless they were: a writer numbers what it appends, each time higher.

    Attributes:
        rows: The frame.
        writer: Who appends, by a name of its own in the table.
        number: Of these rows; they and all that have a lower one are there already if it is known.
    """

    rows: Any
    writer: str
    number: int


# What the name of a file about an earlier batch has after its stem.
EDITION = r"_\d{4}-\d\d-\d\d"


@dataclass(frozen=True)
class Edition:
    """What a file says of a batch. About the newest batch it has the file's own name, else a name with the batch.

    Attributes:
        content: What is written.
        batch: Which batch it is about; None where it is about none.
        is_newest: Whether no newer batch is scored.
    """

    content: Any
    batch: str | None = None
    is_newest: bool = True

    def address(self, address: str) -> str:
        """Where it is written, if the file's own address is the given one: `actions.csv`, `actions_2024-11-30.csv`."""
        if self.is_newest:
            return address
        stem, suffix = splitext(address)
        return f"{stem}_{self.batch}{suffix}"


def unwrap_rows(data: Any) -> Any:
    """The frame itself, or that of a batch; on Databricks any name is an attribute of a frame, so none is asked for."""
    return data.rows if isinstance(data, ReplaceBatch | IdempotentAppend) else data


def shorten_address(address: str, parts: int = 3) -> str:
    """An address as it may be shown to others: without the folders of this machine that it lies in.

    Args:
        address: A folder, a file, or an address with a scheme, which is shown as it is.
        parts: How many of its last names are shown: layer, use case and name tell where something lies in any lake.
    """
    return address if "://" in address else "/".join(address.split("/")[-parts:])


def collect(frame: DataFrame) -> pd.DataFrame:
    """Rows in memory: of counts, of samples that conf bounds, of lists with a limit; never of a whole table."""
    rows: pd.DataFrame = frame.toPandas()
    return rows
