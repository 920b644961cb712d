"""The files of a bundle, merged for one target as the Databricks CLI merges them; references are still in the text.

The rules are those of https://docs.databricks.com/dev-tools/bundles/settings and of the CLI, version 1.13.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from lakehouse_ml.errors import ConfError, suggest_name
from lakehouse_ml.preflight.conf import LOADER, compose, line_of, line_within

FILE = "databricks.yml"
# Where the CLI looks for a user's own values of variables, as JSON.
OVERRIDES = ".databricks/bundle/{target}/variable-overrides.json"
# Sections of a target that replace or extend the same sections of the bundle.
_OF_TARGET = ("artifacts", "bundle", "permissions", "presets", "resources", "run_as", "sync", "workspace")
# Lists whose entries have a name are merged by it; of all others the entries are joined.
_NAMES = {
    "tasks": "task_key",
    "job_clusters": "job_cluster_key",
    "environments": "environment_key",
    "parameters": "name",
}


@dataclass(frozen=True)
class Source:
    """A bundle for one target.

    Attributes:
        root: The folder of `databricks.yml`.
        target: Its name.
        mode: `development`, `production`, or empty.
        sections: The merged sections, among them `variables` (with `default`) and `resources`.
        files: The files that were read, `databricks.yml` first.
        overrides: Values of variables that the user keeps beside the checkout, in `OVERRIDES`.
    """

    root: Path
    target: str
    mode: str
    sections: Mapping[str, Any]
    files: Sequence[Path]
    overrides: Mapping[str, Any]

    def where(self, *key: str | int) -> str:
        """Find the file and line of a key, or of as much of the key as a file has; the target's own part is first."""
        file, line = self._find(key)
        return f"{file.relative_to(self.root)}, line {line}" if line else FILE

    def folder_of(self, *key: str | int) -> Path:
        """The folder of the file that has a key, from which its paths are relative."""
        return self._find(key)[0].parent

    def _find(self, key: tuple[str | int, ...]) -> tuple[Path, int]:
        """The file and line of as much of a key as a file has; line 0 if none has any."""
        for length in range(len(key), 1, -1):
            for prefix in (("targets", self.target), ()):
                for file, node in self._nodes.items():
                    line = line_within(node, (*prefix, *key[:length]))
                    if line:
                        return file, line
        return self.root / FILE, 0

    @cached_property
    def _nodes(self) -> dict[Path, yaml.Node | None]:
        return {file: compose(file) for file in self.files}


def list_targets(root: Path) -> list[str]:
    """List the targets of the bundle in a folder; empty where there is none."""
    if not (root / FILE).is_file():
        return []
    targets: dict[str, None] = {}
    for file in _list_files(root):
        targets |= dict.fromkeys(_read(file).get("targets") or {})
    return list(targets)


def load_source(root: Path, target: str | None = None) -> Source:
    """Read and merge the files of a bundle.

    Args:
        root: The folder of `databricks.yml`.
        target: By default the one that the bundle declares as its default.

    Raises:
        ConfError: A file is missing or no valid YAML, a resource is declared twice, or there is no such target.
    """
    if not (root / FILE).is_file():
        raise ConfError(f"There is no {FILE} in {root}: start from the project's folder.")
    files = _list_files(root)
    sections: dict[str, Any] = {}
    owners: dict[str, tuple[str, Path]] = {}
    for file in files:
        read = _read(file)
        for kind, resources in (read.get("resources") or {}).items():
            for name in resources if isinstance(resources, Mapping) else ():
                other_kind, other = owners.setdefault(name, (kind, file))
                if (other_kind, other) != (kind, file):
                    raise ConfError(
                        f"{file.relative_to(root)}, line {line_of(file, ('resources', kind, name))}: {name} is "
                        f"declared twice, also among {other_kind} of {other.relative_to(root)}. Rename one of them."
                    )
        sections = merge(sections, read)
    targets = sections.pop("targets", None) or {}
    name = target or next((name for name, one in targets.items() if (one or {}).get("default")), "")
    if name not in targets:
        raise ConfError(f"{FILE} has no target {name or 'that is the default'}. {suggest_name(name, targets)}")
    chosen = targets[name] or {}
    for section in _OF_TARGET:
        if section in chosen:
            sections[section] = merge(sections.get(section), chosen[section])
    for variable, value in (chosen.get("variables") or {}).items():
        declared = sections.setdefault("variables", {}).setdefault(variable, {}) or {}
        default = value["default"] if isinstance(value, Mapping) and "default" in value else value
        sections["variables"][variable] = {**declared, "default": default}
    return Source(root, name, chosen.get("mode") or "", sections, files, _read_overrides(root, name))


def merge(one: Any, other: Any, name: str = "") -> Any:
    """Merge two values: maps by key, lists of named entries by name, other lists one after the other.

    Args:
        one: The value of lower precedence.
        other: The value that replaces or extends it.
        name: The key of both.
    """
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return {key: merge(one.get(key), other[key], key) if key in other else one[key] for key in {**one, **other}}
    if isinstance(one, list) and isinstance(other, list):
        key = _NAMES.get(name)
        if key is None:
            return [*one, *other]
        entries: dict[Any, Any] = {}
        for number, entry in enumerate([*one, *other]):
            own = entry.get(key, number) if isinstance(entry, Mapping) else number
            entries[own] = merge(entries.get(own), entry)
        return list(entries.values())
    return one if other is None else other


def _read_overrides(root: Path, target: str) -> dict[str, Any]:
    file = root / OVERRIDES.format(target=target)
    try:
        values = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    except json.JSONDecodeError as error:
        raise ConfError(f"{file}, line {error.lineno}: this is not valid JSON ({error.msg}).") from error
    return dict(values)


def _list_files(root: Path) -> list[Path]:
    included = _read(root / FILE).get("include") or []
    return [root / FILE, *(file for pattern in included for file in sorted(root.glob(pattern)))]


def _read(file: Path) -> dict[str, Any]:
    try:
        values = yaml.load(file.read_text(encoding="utf-8"), Loader=LOADER)  # noqa: S506 - the linter can't see that this one is safe
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        raise ConfError(
            f"{file}{line}: this is not valid YAML ({getattr(error, 'problem', None) or error})."
        ) from error
    if not isinstance(values, Mapping):
        raise ConfError(f"{file}: this is no part of a bundle: it has no sections.")
    return dict(values)
