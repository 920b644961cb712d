"""What a node hands to a stored table when it replaces a part of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Batch:
    """Rows that take the place of all stored rows whose `column` holds one of `values`.

    No values: nothing is replaced and nothing is written. Values without rows: the old rows go.
    """

    rows: Any
    column: str
    values: tuple[str, ...]

    @property
    def predicate(self) -> str:
        """The replaced part as an SQL condition."""
        listed = ", ".join("'" + value.replace("'", "''") + "'" for value in self.values)
        return f"{self.column} IN ({listed})"
