"""Where the tables, files and models of a lake are, by its kind, and what an address or a name can be.

`lake_kind` in conf says what kind a lake has; no address is guessed at.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

LakeKind = Literal["path", "schema"]
_CATALOG_NAME = re.compile(r"[^\x00-\x20\x7f./\\`<>]{1,255}")
# What stands for a variable that nobody has set; no address or name can have it.
_UNSET = re.compile(r"<(\w+)>")


@dataclass(frozen=True)
class Lake:
    """Where a lake is, and everything in it.

    Attributes:
        kind: `path`, a folder or an address; `schema`, one of Unity Catalog.
        root: The absolute folder, the address, or `catalog.schema`.
        model_schema: The `catalog.schema` of its registered models; empty where their names stand alone.
    """

    kind: LakeKind
    root: str
    model_schema: str = ""

    def __post_init__(self) -> None:
        """Refuse a kind that nothing knows.

        Raises:
            ValueError: Names the kinds.
        """
        if self.kind not in get_args(LakeKind):
            raise ValueError(f"lake_kind can't be {self.kind!r}: it is {' or '.join(get_args(LakeKind))}")

    @classmethod
    def of_conf(
        cls, conf: Mapping[str, Any], runtime_parameters: Mapping[str, Any], resolve_address: Callable[[str], str]
    ) -> Lake:
        """The lake of a run.

        Args:
            conf: Values of globals.yml.
            runtime_parameters: Their `lake` and `models` take precedence. A schema has its models too, unless they are
                named beside it.
            resolve_address: Makes a folder absolute.

        Raises:
            ValueError: There is no such kind of lake.
        """
        kind, named = conf["lake_kind"], runtime_parameters.get("lake")
        text = str(named or conf["lake"] or mark_unset("lake"))
        if kind == "schema":
            return cls(kind, text, str(runtime_parameters.get("models") or named or conf["models"] or text))
        return cls(kind, resolve_address(text), str(runtime_parameters.get("models") or conf["models"]))

    @classmethod
    def of_table(cls, kind: LakeKind, location: str) -> Lake:
        """The lake that a table lies in: `table_location` the other way round."""
        return cls(kind, location.rsplit("/", 3)[0] if kind == "path" else location.rpartition(".")[0])

    @property
    def is_schema(self) -> bool:
        """Whether a catalog holds its tables: their own commits are then what keeps two runs apart."""
        return self.kind == "schema"

    @property
    def address(self) -> str | None:
        """Its address, by which a server that serves several lakes tells them apart; None for a folder or a schema."""
        return self.root if "://" in self.root else None

    def table_location(self, path: str) -> str:
        """Where a table is: below the root, or in the schema, without its layer.

        `01_raw/churn/raw_customers` is `catalog.schema.churn_raw_customers`.
        """
        if self.is_schema:
            return f"{self.root}.{'_'.join(path.split('/')[1:])}"
        return f"{self.root}/{path}"

    def table_name(self, location: str, use_case: str) -> str:
        """A table's own name, without layer and use case: `table_location` the other way round."""
        if self.is_schema:
            return location.rpartition(".")[2].removeprefix(f"{use_case}_")
        return location.rpartition("/")[2]

    def files_location(self, volume: str) -> str:
        """The folder of other files than tables': the root, or a Volume of the schema."""
        return f"/Volumes/{self.root.replace('.', '/')}/{volume}" if self.is_schema else self.root

    def model_name(self, use_case: str) -> str:
        """The registered model of a use case: `catalog.schema.name`, or its name alone."""
        return f"{self.model_schema}.{use_case}" if self.model_schema else use_case

    def shorten(self, address: str) -> str:
        """An address below the root as its path from there, so that the lake may be moved; any other as it is."""
        return address if self.is_schema else address.removeprefix(f"{self.root}/")

    def expand(self, text: str) -> str:
        """The address that `shorten` shortened."""
        return text if self.is_schema or text.startswith("/") or "://" in text else f"{self.root}/{text}"


def read_variable(name: str, default: str | None = None) -> str:
    """Return an environment variable's value or the default; without any, a mark that no run accepts."""
    return os.environ.get(name) or default or mark_unset(name)


def mark_unset(name: str) -> str:
    """Return the mark of a variable or parameter that is not set; no run accepts it."""
    return f"<{name}>"


def find_unset(value: object) -> list[str]:
    """Find the marks of `mark_unset` in a value of conf: the variables that are not set."""
    return _UNSET.findall(value) if isinstance(value, str) else []


def is_local(address: str) -> bool:
    """Whether an address is a folder of one machine alone."""
    return "://" not in address and not address.startswith("/Volumes/")


def is_schema_name(name: str) -> bool:
    """Whether a name can be a schema of Unity Catalog with its catalog."""
    return name.count(".") == 1 and all(_is_catalog_name(part) for part in name.split("."))


def is_table_name(name: str) -> bool:
    """Whether a name can be a table or a model of Unity Catalog, with its catalog and its schema."""
    return name.count(".") == 2 and all(_is_catalog_name(part) for part in name.split("."))


def _is_catalog_name(name: str) -> bool:
    """Whether Unity Catalog takes a name: at most 255 characters, none of them a blank, dot, slash or control."""
    return bool(_CATALOG_NAME.fullmatch(name)) and name == name.lower()
