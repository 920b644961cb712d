"""Where the tables, files and models of a lake are, by what kind of lake it is: nothing is guessed from an address."""

from __future__ import annotations

import os
import re
from typing import Literal, get_args

LakeKind = Literal["path", "schema"]
# What stands for a variable that nobody has set; no address or name can have it.
_CATALOG_NAME = re.compile(r"[^\x00-\x20\x7f./\\`<>]{1,255}")
_UNSET = re.compile(r"<(\w+)>")


def variable(name: str, otherwise: str | None = None) -> str:
    """An environment variable's value, or the other one; without any, a mark that `unset` finds and no run accepts."""
    return os.environ.get(name) or otherwise or f"<{name}>"


def unset(value: object) -> list[str]:
    """The variables that a value of conf waits for."""
    return _UNSET.findall(value) if isinstance(value, str) else []


def is_local(address: str) -> bool:
    """Whether an address is a folder of one machine alone."""
    return "://" not in address and not address.startswith("/Volumes/")


def is_schema(name: str) -> bool:
    """Whether a name can be a schema of Unity Catalog with its catalog."""
    return name.count(".") == 1 and all(fits_catalog(part) for part in name.split("."))


def is_table(name: str) -> bool:
    """Whether a name can be a table or a model of Unity Catalog, with its catalog and its schema."""
    return name.count(".") == 2 and all(fits_catalog(part) for part in name.split("."))


def fits_catalog(name: str) -> bool:
    """Whether Unity Catalog takes a name: at most 255 characters, none of them a blank, dot, slash or control."""
    return bool(_CATALOG_NAME.fullmatch(name)) and name == name.lower()


def lake(kind: str, text: str, address: str) -> str:
    """The lake itself: its `catalog.schema` as conf has it, or its address."""
    return text if _known(kind) == "schema" else address


def table(kind: str, lake: str, path: str) -> str:
    """Where a table is: below the lake's address, or in its schema, without its layer.

    `01_raw/churn/raw_customers` is `catalog.schema.churn_raw_customers`.
    """
    if _known(kind) == "path":
        return f"{lake}/{path}"
    return f"{lake}.{'_'.join(path.split('/')[1:])}"


def name(kind: str, address: str, use_case: str) -> str:
    """A table's own name, without its lake, layer and use case: of `table` the other way round."""
    if _known(kind) == "path":
        return address.rsplit("/", 1)[-1]
    return address.rsplit(".", 1)[-1].removeprefix(f"{use_case}_")


def lake_of(kind: str, address: str) -> str | None:
    """The lake that a table at a path lies in: of `table` the other way round. None in a schema."""
    return address.rsplit("/", 3)[0] if _known(kind) == "path" else None


def below(lake: str | None, address: str) -> str:
    """An address that lies in a lake as its path below the lake, so that the lake may be moved; else as it is."""
    return address.removeprefix(f"{lake}/") if lake else address


def above(lake: str | None, address: str) -> str:
    """The address that `below` shortened."""
    return address if not lake or address.startswith("/") or "://" in address else f"{lake}/{address}"


def files(kind: str, lake: str, volume: str) -> str:
    """The folder of what is no table: the lake's address, or a Volume of its schema."""
    return lake if _known(kind) == "path" else f"/Volumes/{lake.replace('.', '/')}/{volume}"


def models(kind: str, given: str, own: str) -> str:
    """The schema of registered models: conf's own, or that of the schema which a run is given as its lake."""
    return given if given and _known(kind) == "schema" else own


def model(schema: str, name: str) -> str:
    """The registered model of a use case: its name, or `catalog.schema.name`."""
    return f"{schema}.{name}" if schema else name


def _known(kind: str) -> str:
    if kind not in get_args(LakeKind):
        raise ValueError(f"lake_kind can't be {kind!r}: it is {' or '.join(get_args(LakeKind))}")
    return kind
