"""What nodes return besides plain frames: batches to replace, idempotent appends, editions of a file."""

from __future__ import annotations

from dataclasses import dataclass
from posixpath import splitext
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd
    from pyspark.sql import DataFrame


@dataclass(frozen=True)
class ReplaceBatch:
    """Rows that replace all stored rows whose `column` has one of `values`.

    Without values nothing is replaced, and only a commit records that there was nothing. Values without rows remove
    the stored rows. Without a frame nothing is written.

    Attributes:
        rows: The frame.
        column: Column that names the batch of a row.
        values: Batches to replace.
        number: Position of this batch in the result of a node, from 1.
        count: Number of batches in that result. The result is complete when the last one is stored.
        keeps_stored: Whether rows of these batches that are stored already stay as they are. Then only a commit is
            recorded.
    """

    rows: Any
    column: str
    values: tuple[str, ...]
    number: int = 1
    count: int = 1
    keeps_stored: bool = False

    @property
    def predicate(self) -> str:
        """The batches as an SQL condition."""
        literals = ", ".join("'" + value.replace("'", "''") + "'" for value in self.values)
        return f"{self.column} IN ({literals})"


@dataclass(frozen=True)
class IdempotentAppend:
    """Rows that are appended exactly once, however often they are saved.

    Attributes:
        rows: The frame.
        writer: Unique name of the writer in the table.
        number: Sequence number, increasing by writer. Rows are skipped if the table has this number or a higher one.
    """

    rows: Any
    writer: str
    number: int


# Suffix of the stem of a file about an earlier batch.
EDITION = r"_\d{4}-\d\d-\d\d"


@dataclass(frozen=True)
class Edition:
    """Content of a file about one batch. For the newest batch the file keeps its name, else the name has the batch.

    Attributes:
        content: Content of the file.
        batch: The batch; None for a file that is about none.
        is_newest: Whether no newer batch is scored.
    """

    content: Any
    batch: str | None = None
    is_newest: bool = True

    def address(self, address: str) -> str:
        """Address of this edition of the file at `address`: `actions.csv`, or `actions_2024-11-30.csv`."""
        if self.is_newest:
            return address
        stem, suffix = splitext(address)
        return f"{stem}_{self.batch}{suffix}"


def unwrap_rows(data: Any) -> Any:
    """The frame itself, or that of a batch or append.

    Checks classes, not attributes: on Databricks a frame seems to have any attribute.
    """
    return data.rows if isinstance(data, ReplaceBatch | IdempotentAppend) else data


def shorten_address(address: str, parts: int = 3) -> str:
    """Shorten an address for logs and tags: without the folders of this machine above the lake.

    Args:
        address: A folder, a file, or an address with a scheme, which stays as it is.
        parts: Number of last names to keep: layer, use case and name identify a dataset in any lake.
    """
    return address if "://" in address else "/".join(address.split("/")[-parts:])


def collect(frame: DataFrame) -> pd.DataFrame:
    """Bring a few rows into memory: counts, samples bounded by conf, lists with a limit; never a whole table."""
    rows: pd.DataFrame = frame.toPandas()
    return rows
