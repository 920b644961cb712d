"""The contract of a table: its grain, key and columns, and what breaks it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from lakehouse_ml.errors import ContractError
from lakehouse_ml.storage.writes import unwrap_rows
from lakehouse_ml.use_cases.formats import Format


@dataclass(frozen=True)
class Column:
    """One column of a table.

    Attributes:
        name: Its name in our tables.
        type: Spark SQL type.
        source: Its name in the landing file, if that differs; it may be empty.
        nullable: Whether a value may be missing.
        doc: What it means.
        format: How the landing file writes its numbers or days, if not in the standard way.
    """

    name: str
    type: str
    source: str | None = None
    nullable: bool = True
    doc: str = ""
    format: Format | None = None

    @property
    def landing_name(self) -> str:
        """Its name in the landing file."""
        return self.name if self.source is None else self.source


@dataclass(frozen=True)
class Table:
    """The contract of a table: grain, key and columns, in order. Kedro's `validator:` calls `validate`."""

    name: str
    grain: str
    key: tuple[str, ...]
    columns: tuple[Column, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Column names in order."""
        return tuple(column.name for column in self.columns)

    @property
    def ddl(self) -> str:
        """The schema as Spark SQL text, for creating an empty frame."""
        return ", ".join(f"`{column.name}` {column.type}" for column in self.columns)

    def meaning(self, name: str) -> str:
        """What a column holds, in words; empty for a column that isn't declared."""
        return next((column.doc for column in self.columns if column.name == name), "")

    def extended(self, name: str, grain: str, *columns: Column) -> Table:
        """Copy this table under another name, with further columns at its end."""
        return Table(name, grain, self.key, (*self.columns, *columns))

    def validate(self, data: object) -> object:
        """Return a frame (or a batch of one) unchanged if its columns and types are the declared ones.

        Raises:
            ContractError: Names each missing, unexpected or differently typed column.
        """
        frame = unwrap_rows(data)
        if frame is None:
            return data
        declared = {column.name: column.type for column in self.columns}
        # Types of a pandas frame are decided when it is stored; until then only names can differ.
        actual = (
            dict(frame.dtypes) if hasattr(frame, "sparkSession") else {n: declared.get(n, "") for n in frame.columns}
        )
        differences = _differences(declared, actual)
        if differences:
            raise ContractError(f"{self.name} breaks its contract: {'; '.join(differences)}.")
        return data


def _differences(declared: Mapping[str, str], actual: Mapping[str, str]) -> list[str]:
    missing = [f"column {name} is missing" for name in declared if name not in actual]
    unexpected = [f"column {name} is not declared" for name in actual if name not in declared]
    retyped = [
        f"column {name} is {actual[name]}, declared {type_}"
        for name, type_ in declared.items()
        if name in actual and actual[name] != type_
    ]
    return missing + unexpected + retyped
