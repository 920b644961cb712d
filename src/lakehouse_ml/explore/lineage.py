"""Lineage: from a table back to the landing files, from the metadata of its commits."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from lakehouse_ml.datasets.delta_table import DeltaTable
from lakehouse_ml.datasets.landing_files import LandingFiles
from lakehouse_ml.datasets.registered_model import RegisteredModel
from lakehouse_ml.errors import LakehouseError, suggest_name
from lakehouse_ml.explore.notebook import list_tables

if TYPE_CHECKING:
    from kedro.io import DataCatalog


def trace_table(catalog: DataCatalog, name: str, at: str | None = None) -> Iterator[str]:
    """Trace a table back through its inputs to landing files, as indented lines.

    Args:
        catalog: The lake's catalog.
        name: Name of the table in the catalog.
        at: A version (digits) or a batch; by default the newest version.

    Raises:
        LakehouseError: No such table, version or batch.
    """
    table = catalog.get(name)
    if not isinstance(table, DeltaTable) or not table.exists():
        raise LakehouseError(f"This lake has no table named {name!r}. {suggest_name(name, list_tables(catalog))}")
    version = int(at) if at is not None and at.isdigit() else None
    batch = at if version is None else None
    origins = table.origin_commits(version, batch)
    newest = next(table.commits())["version"]
    if not origins or (version is not None and version > newest):
        raise LakehouseError(
            f"{name} at {table.address} has no {'batch' if version is None else 'version'} {at}; its newest version is "
            f"{newest}, which holds {_list_batches(table) or 'no batches'}."
        )
    writer = _LineageWriter(catalog)
    # A version that was asked for is shown as such; for a batch, its commit has the version.
    shown = version if version is not None else origins[0]["version"]
    yield f"{name} v{shown}" + (f", batch {batch}" if batch else "")
    for origin in origins:
        yield from writer.write_commit(name, origin, 1)


class _LineageWriter:
    """Writes each state of a dataset once; a repeated one refers to the first."""

    def __init__(self, catalog: DataCatalog) -> None:
        self._catalog = catalog
        self._written: set[tuple[str, str]] = set()

    def write_commit(self, name: str, origin: Mapping[str, Any], depth: int) -> Iterator[str]:
        scope = origin.get("scope") or []
        details = [f"{origin['at']:%Y-%m-%d %H:%M:%S} UTC"]
        details += [
            f"{word} {origin[key]}" for key, word in (("node", "by"), ("run", "run"), ("git", "git")) if origin.get(key)
        ]
        version = f"v{origin['version']} " if "version" in origin else ""
        unknown = "" if "inputs" in origin else ", by somebody who didn't say of what"
        if (name, commit := f"commit {origin['at']}") in self._written:
            yield _indent(depth, f"{version}see above")
            return
        self._written.add((name, commit))
        verb = "removed" if str(origin.get("node", "")).startswith("withdraw ") else "made"
        yield _indent(depth, f"{version}{verb} {', '.join(details)}{unknown}")
        inputs = dict(origin.get("inputs") or {})
        files = [one for one in inputs if isinstance(self._find_dataset(one), LandingFiles)]
        if scope and not files:
            yield _indent(depth + 1, f"holds {_join_some(scope)}")
        params = sorted(one.removeprefix("params:") for one in inputs if one.startswith("params:"))
        if params:
            yield _indent(depth + 1, f"with parameters {', '.join(params)}")
        for one in sorted(set(inputs) - set(files), key=lambda each: (each.startswith("params:"), each)):
            if not one.startswith("params:"):
                yield from self._write_input(one, inputs[one], depth + 1)
        for one in files:
            yield from self._write_files(one, scope, depth + 1)

    def _write_input(self, name: str, token: str, depth: int) -> Iterator[str]:
        dataset = self._find_dataset(name)
        if not token:
            return
        if (name, token) in self._written:
            yield _indent(depth, f"of {name} {_version(token)}, see above")
            return
        self._written.add((name, token))
        yield _indent(depth, f"of {name} {_version(token)}")
        if isinstance(dataset, DeltaTable):
            match = re.fullmatch(r"v(\d+) of (\w+)", token)
            now = dataset.token() if match else None
            if match is None or now is None or not now.endswith(match[2]):
                yield _indent(depth + 1, "of a table that was removed since")
                return
            for origin in dataset.origin_commits(int(match[1])):
                yield from self.write_commit(name, origin, depth + 1)
        elif isinstance(dataset, RegisteredModel) and token != "version None":  # noqa: S105 - a version's, no secret
            yield from self.write_commit(name, dataset.origin(token.removeprefix("version ")), depth + 1)

    def _write_files(self, name: str, scope: list[str], depth: int) -> Iterator[str]:
        hashes, folder = self._find_dataset(name).read_manifest()
        if not scope:
            yield _indent(depth, f"of files of {folder}")
        for file in scope:
            fingerprint = f", SHA-256 {hashes[file][:16]}… as it was read last" if file in hashes else ""
            yield _indent(depth, f"of file {file} of {folder}{fingerprint}")

    def _find_dataset(self, name: str) -> Any:
        return self._catalog.get(name) if not name.startswith("params:") and name in self._catalog else None


def _version(token: str) -> str:
    return token.split(" of ", maxsplit=1)[0]


def _list_batches(table: DeltaTable) -> str:
    return _join_some(sorted({one for origin in table.origin_commits() for one in origin.get("scope", [])}))


def _join_some(names: list[str], most: int = 8) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _indent(depth: int, text: str) -> str:
    return "  " * depth + text
