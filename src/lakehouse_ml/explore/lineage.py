"""From a table back to the landing files, by what each commit says of itself."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from lakehouse_ml.datasets.delta_table import DeltaTable
from lakehouse_ml.datasets.landing_files import LandingFiles
from lakehouse_ml.datasets.registered_model import RegisteredModel
from lakehouse_ml.errors import LakehouseError, suggest_name
from lakehouse_ml.explore.notebook import stored

if TYPE_CHECKING:
    from kedro.io import DataCatalog


def lines(catalog: DataCatalog, name: str, at: str | None = None) -> Iterator[str]:
    """What a table was made of, and that of what, down to files, as indented text.

    Args:
        catalog: Of the lake.
        name: The table's in the catalog.
        at: A version (digits), or the batch that is meant; by default the newest version.

    Raises:
        LakehouseError: No such table, version or batch.
    """
    table = catalog.get(name)
    if not isinstance(table, DeltaTable) or not table.exists():
        raise LakehouseError(f"This lake has no table named {name!r}. {suggest_name(name, stored(catalog))}")
    version = int(at) if at is not None and at.isdigit() else None
    batch = at if version is None else None
    makers = table.origin_commits(version, batch)
    newest = next(table.commits())["version"]
    if not makers or (version is not None and version > newest):
        raise LakehouseError(
            f"{name} at {table.address} has no {'batch' if version is None else 'version'} {at}; its newest version is "
            f"{newest}, which holds {_listed(table) or 'no batches'}."
        )
    walk = _Walk(catalog)
    # What is asked for by its version is shown with it; else the commit that made it tells.
    shown = version if version is not None else makers[0]["version"]
    yield f"{name} v{shown}" + (f", batch {batch}" if batch else "")
    for maker in makers:
        yield from walk.maker(name, maker, 1)


class _Walk:
    """Tells each state of a dataset once: what comes a second time is above."""

    def __init__(self, catalog: DataCatalog) -> None:
        self._catalog = catalog
        self._told: set[tuple[str, str]] = set()

    def maker(self, name: str, maker: Mapping[str, Any], depth: int) -> Iterator[str]:
        scope = maker.get("scope") or []
        made = [f"{maker['at']:%Y-%m-%d %H:%M:%S} UTC"]
        made += [
            f"{word} {maker[key]}" for key, word in (("node", "by"), ("run", "run"), ("git", "git")) if maker.get(key)
        ]
        version = f"v{maker['version']} " if "version" in maker else ""
        nobody = "" if "inputs" in maker else ", by somebody who didn't say of what"
        if (name, commit := f"commit {maker['at']}") in self._told:
            yield _indented(depth, f"{version}see above")
            return
        self._told.add((name, commit))
        verb = "removed" if str(maker.get("node", "")).startswith("withdraw ") else "made"
        yield _indented(depth, f"{version}{verb} {', '.join(made)}{nobody}")
        inputs = dict(maker.get("inputs") or {})
        files = [one for one in inputs if isinstance(self._get(one), LandingFiles)]
        if scope and not files:
            yield _indented(depth + 1, f"holds {_some(scope)}")
        params = sorted(one.removeprefix("params:") for one in inputs if one.startswith("params:"))
        if params:
            yield _indented(depth + 1, f"with parameters {', '.join(params)}")
        for one in sorted(set(inputs) - set(files), key=lambda each: (each.startswith("params:"), each)):
            if not one.startswith("params:"):
                yield from self._input(one, inputs[one], depth + 1)
        for one in files:
            yield from self._files(one, scope, depth + 1)

    def _input(self, name: str, token: str, depth: int) -> Iterator[str]:
        dataset = self._get(name)
        if not token:
            return
        if (name, token) in self._told:
            yield _indented(depth, f"of {name} {_version(token)}, see above")
            return
        self._told.add((name, token))
        yield _indented(depth, f"of {name} {_version(token)}")
        if isinstance(dataset, DeltaTable):
            found = re.fullmatch(r"v(\d+) of (\w+)", token)
            now = dataset.token() if found else None
            if found is None or now is None or not now.endswith(found[2]):
                yield _indented(depth + 1, "of a table that was removed since")
                return
            for maker in dataset.origin_commits(int(found[1])):
                yield from self.maker(name, maker, depth + 1)
        elif isinstance(dataset, RegisteredModel) and token != "version None":  # noqa: S105 - a version's, no secret
            yield from self.maker(name, dataset.origin(token.removeprefix("version ")), depth + 1)

    def _files(self, name: str, scope: list[str], depth: int) -> Iterator[str]:
        hashes, folder = self._get(name).read_manifest()
        if not scope:
            yield _indented(depth, f"of files of {folder}")
        for file in scope:
            known = f", SHA-256 {hashes[file][:16]}… as it was read last" if file in hashes else ""
            yield _indented(depth, f"of file {file} of {folder}{known}")

    def _get(self, name: str) -> Any:
        return self._catalog.get(name) if not name.startswith("params:") and name in self._catalog else None


def _version(token: str) -> str:
    return token.split(" of ", maxsplit=1)[0]


def _listed(table: DeltaTable) -> str:
    return _some(sorted({one for maker in table.origin_commits() for one in maker.get("scope", [])}))


def _some(names: list[str], most: int = 8) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _indented(depth: int, text: str) -> str:
    return "  " * depth + text
