"""Replace `${…}` in a bundle by values, as the Databricks CLI does, without a workspace."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

from lakehouse_ml.errors import suggest_name
from lakehouse_ml.operations.bundle.source import Source

# Stands for who deploys, whom only a workspace knows.
USER = "you@example.org"
_REFERENCE = re.compile(r"\$\{([A-Za-z][\w-]*(?:\.[\w-]+|\[\d+\])*)\}")
# Fields where an empty string is a value; elsewhere the CLI leaves such a field out.
_MAY_BE_EMPTY = frozenset({"default", "value"})


@dataclass
class Resolver:
    """The values of one target's references.

    Attributes:
        source: The merged files.
        variables: Values that were named for this call; they take precedence over `BUNDLE_VAR_<name>`, those over the
            user's file of values, and those over defaults.
        user: Who deploys.
        faults: Grows by a message for each reference without a value.
        unset: Grows by the variables without a value, which stand for themselves.
    """

    source: Source
    variables: Mapping[str, str]
    user: str = USER
    faults: list[str] = field(default_factory=list)
    unset: list[str] = field(default_factory=list)

    def resolve_resources(self) -> dict[str, dict[str, Any]]:
        """Return the resources with values in place of references, and with the names and pauses of the target."""
        text = self.source.sections.get("resources") or {}
        resources = {kind: self._resolve(entries, ("resources", kind)) or {} for kind, entries in text.items()}
        resources = {kind: entries for kind, entries in resources.items() if isinstance(entries, Mapping)}
        if self.source.mode == "development":
            _name_as_development(resources, _short_name(self.user))
        # Names of resources are known now, as the CLI has them after a target's prefix.
        resolved = _replace(resources, lambda name: self._look_up_resource(name, resources))
        return {kind: _drop_empty(entries) for kind, entries in resolved.items()}

    def resolve_section(self, name: str) -> Any:
        """Return another section with values in place of references."""
        return self._resolve(self.source.sections.get(name), (name,))

    def resolve_copy(self) -> str:
        """Return what ends the names of an isolated copy; empty for the usual one."""
        declared = self.source.sections.get("variables") or {}
        return str(self._resolve("${var.copy}", ("variables", "copy"))) if "copy" in declared else ""

    def _resolve(self, value: Any, key: tuple[str | int, ...], opened: tuple[str, ...] = ()) -> Any:
        def look_up(name: str) -> Any:
            if name.startswith("resources."):
                return None
            if name in opened:
                self._add_fault(key, f"${{{name}}} refers to itself.")
                return name
            try:
                value = self._look_up(name)
            except KeyError as error:
                self._add_fault(key, f"${{{name}}} is not known. {error.args[0]}")
                return name
            return self._resolve(value, key, (*opened, name))

        if isinstance(value, Mapping):
            return {name: self._resolve(one, (*key, name), opened) for name, one in value.items()}
        if isinstance(value, list):
            return [self._resolve(one, (*key, number), opened) for number, one in enumerate(value)]
        return _replace(value, look_up)

    def _add_fault(self, key: tuple[str | int, ...], text: str) -> None:
        self.faults.append(f"{self.source.where(*key)}: {text}")

    def _look_up(self, name: str) -> Any:
        head, *path = re.split(r"[.\[\]]+", name.rstrip("]"))
        if head == "var":
            value, path = self._look_up_variable(path[0]), path[1:]
        elif head == "bundle":
            value = self._bundle
        elif head == "workspace":
            value = self._workspace
        else:
            raise KeyError("References begin with var., bundle., workspace. or resources.")
        for part in path:
            if isinstance(value, Mapping) and part in value:
                value = value[part]
            elif isinstance(value, list) and part.isdigit() and int(part) < len(value):
                value = value[int(part)]
            else:
                raise KeyError(suggest_name(part, value if isinstance(value, Mapping) else ()))
        return value

    def _look_up_variable(self, name: str) -> Any:
        declared = self.source.sections.get("variables") or {}
        if name not in declared:
            raise KeyError(suggest_name(name, declared))
        entry, of_user = declared[name] or {}, self.source.overrides.get(name)
        for value in (self.variables.get(name), os.environ.get(f"BUNDLE_VAR_{name}"), of_user, entry.get("default")):
            if value is not None:
                return value
        if name not in self.unset:
            self.unset.append(name)
        return name

    @cached_property
    def _bundle(self) -> dict[str, Any]:
        own, root = self.source.sections.get("bundle") or {}, self.source.root
        return {
            "name": own.get("name", ""),
            "target": self.source.target,
            "environment": self.source.target,
            "mode": self.source.mode,
            "git": {
                "commit": _read_git(root, "rev-parse", "HEAD"),
                "branch": _read_git(root, "rev-parse", "--abbrev-ref", "HEAD"),
            },
        }

    @cached_property
    def _workspace(self) -> dict[str, Any]:
        own = self.source.sections.get("workspace") or {}
        short = _short_name(self.user)
        user = {"userName": self.user, "short_name": short, "domain_friendly_name": short}
        usual = "/Workspace/Users/${workspace.current_user.userName}/.bundle/${bundle.name}/${bundle.target}"
        root = own.get("root_path", usual)
        folders = {f"{kind}_path": f"{root}/{folder}" for kind, folder in _FOLDERS.items()}
        return {"current_user": user, "root_path": root, **folders, **own}

    @staticmethod
    def _look_up_resource(name: str, resources: Mapping[str, Any]) -> Any:
        value: Any = resources
        for part in name.split(".")[1:]:
            if not isinstance(value, Mapping) or part not in value:
                return f"<{name}>"  # an id, which the workspace gives
            value = value[part]
        return value


_FOLDERS = {"file": "files", "resource": "resources", "artifact": "artifacts", "state": "state"}


def _replace(value: Any, look_up: Callable[[str], Any]) -> Any:
    """Replace references in all texts of a value; one that stands alone keeps the type of what it refers to.

    Where `look_up` returns None, the reference stays.
    """
    if isinstance(value, Mapping):
        return {name: _replace(one, look_up) for name, one in value.items()}
    if isinstance(value, list):
        return [_replace(one, look_up) for one in value]
    if not isinstance(value, str):
        return value
    alone = _REFERENCE.fullmatch(value)
    if alone:
        whole = look_up(alone[1])
        return value if whole is None else whole

    def replace(match: re.Match[str]) -> str:
        part = look_up(match[1])
        return match[0] if part is None else _as_text(part)

    return _REFERENCE.sub(replace, value)


def _as_text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _drop_empty(value: Any, name: str = "") -> Any:
    """Leave out fields that are empty strings or null, as the CLI does since version 1.10."""
    if isinstance(value, Mapping):
        return {
            key: _drop_empty(one, key)
            for key, one in value.items()
            if one is not None and (one != "" or key in _MAY_BE_EMPTY or name in ("named_parameters", "tags"))
        }
    return [_drop_empty(one) for one in value] if isinstance(value, list) else value


def _name_as_development(resources: Mapping[str, Any], user: str) -> None:
    """Give jobs, clusters, experiments and dashboards the names and tags of development; pause what starts jobs."""
    prefix = f"[dev {user}] "
    for job in (resources.get("jobs") or {}).values():
        job["name"] = f"{prefix}{job.get('name', '')}"
        job["tags"] = {"dev": user} | (job.get("tags") or {})
        for start in ("schedule", "trigger", "continuous"):
            if isinstance(job.get(start), dict):
                job[start].setdefault("pause_status", "PAUSED")
    for cluster in (resources.get("clusters") or {}).values():
        cluster["cluster_name"] = f"{prefix}{cluster.get('cluster_name', '')}"
        cluster["custom_tags"] = {"dev": user} | (cluster.get("custom_tags") or {})
    for dashboard in (resources.get("dashboards") or {}).values():
        dashboard["display_name"] = f"{prefix}{dashboard.get('display_name', '')}"
    for experiment in (resources.get("experiments") or {}).values():
        path = PurePosixPath(experiment["name"])
        experiment["name"] = str(path.with_name(f"{prefix}{path.name}"))


def _short_name(user: str) -> str:
    return re.sub(r"\W+", "_", user.partition("@")[0]).lower()


def _read_git(folder: Path, *words: str) -> str:
    try:
        answer = subprocess.run(
            ["git", "-C", str(folder), *words], capture_output=True, text=True, check=True, timeout=10
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return answer.stdout.strip()
