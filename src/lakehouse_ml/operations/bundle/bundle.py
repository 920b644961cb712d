"""A bundle as one value: its jobs, tasks and compute for one target."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from lakehouse_ml.operations.bundle.resolve import USER, Resolver
from lakehouse_ml.operations.bundle.source import Source, load_source
from lakehouse_ml.preflight.conf import ADDRESSES


@dataclass(frozen=True)
class Task:
    """A task of a job.

    Attributes:
        job: Key of its job.
        key: Its own key, unique within the job.
        fields: What the file says, with values in place of references.
    """

    job: str
    key: str
    fields: Mapping[str, Any]

    @property
    def depends_on(self) -> tuple[str, ...]:
        """Keys of the tasks that it waits for."""
        return tuple(one.get("task_key", "") for one in self.fields.get("depends_on") or ())

    @property
    def entry_point(self) -> str:
        """Its entry point in the wheel; empty where it has none."""
        return str((self.fields.get("python_wheel_task") or {}).get("entry_point", ""))

    @property
    def named_parameters(self) -> dict[str, str]:
        """Its own arguments by name, without those of its job."""
        named = (self.fields.get("python_wheel_task") or {}).get("named_parameters") or {}
        return {name: str(value) for name, value in named.items()}

    @property
    def stage(self) -> str:
        """The pipeline that it runs; empty where it runs none."""
        return self.named_parameters.get("pipelines", "")

    @property
    def use_case(self) -> str:
        """The use case whose stage it runs; empty where it runs none."""
        return self.named_parameters.get("namespaces", "")

    @property
    def compute(self) -> str:
        """The key of its serverless environment or of its cluster."""
        return str(self.fields.get("environment_key") or self.fields.get("job_cluster_key") or "")

    @property
    def is_serverless(self) -> bool:
        """Whether it runs on serverless compute."""
        return "environment_key" in self.fields


@dataclass(frozen=True)
class Job:
    """A job of the bundle.

    Attributes:
        key: Its key in the files.
        fields: What the files say, with values in place of references.
    """

    key: str
    fields: Mapping[str, Any]

    @property
    def tasks(self) -> list[Task]:
        """Its tasks in the order of the file."""
        return [Task(self.key, str(one.get("task_key", "")), one) for one in self.fields.get("tasks") or ()]

    @property
    def parameters(self) -> dict[str, str]:
        """Its parameters with their defaults; it passes them on to each task."""
        return {str(one.get("name")): str(one.get("default", "")) for one in self.fields.get("parameters") or ()}

    @property
    def clusters(self) -> dict[str, Mapping[str, Any]]:
        """The clusters that its tasks may name, by key."""
        declared = self.fields.get("job_clusters") or ()
        return {str(one.get("job_cluster_key")): one.get("new_cluster") or {} for one in declared}

    @property
    def environments(self) -> dict[str, Mapping[str, Any]]:
        """The serverless environments that its tasks may name, by key."""
        declared = self.fields.get("environments") or ()
        return {str(one.get("environment_key")): one.get("spec") or {} for one in declared}


@dataclass(frozen=True)
class Bundle:
    """A bundle for one target, with values in place of references.

    Attributes:
        source: The merged files.
        resources: By kind and key.
        run_as: The identity of its jobs; empty: whoever deploys.
        permissions: Who else may do what with its resources.
        faults: References without a value, a message each.
        unset: Variables that have no value yet and stand for themselves.
        copy: Ends the names of an isolated copy; empty for the usual one.
    """

    source: Source
    resources: Mapping[str, Mapping[str, Any]]
    run_as: Mapping[str, str]
    permissions: tuple[Mapping[str, str], ...]
    faults: tuple[str, ...]
    unset: tuple[str, ...]
    copy: str = ""

    @cached_property
    def jobs(self) -> dict[str, Job]:
        """Its jobs by key."""
        return {key: Job(key, fields) for key, fields in (self.resources.get("jobs") or {}).items()}

    @property
    def addresses(self) -> dict[str, str]:
        """The addresses and names that its jobs pass on to stages; empty if no job runs one."""
        for job in self.jobs.values():
            if any(task.stage for task in job.tasks):
                return {name: job.parameters[name] for name in ADDRESSES if job.parameters.get(name)}
        return {}


def load_bundle(
    root: Path, target: str | None = None, variables: Mapping[str, str] | None = None, user: str = USER
) -> Bundle:
    """Read a bundle for a target.

    Args:
        root: The folder of `databricks.yml`.
        target: By default the one that the bundle declares as its default.
        variables: Values of variables, as `--var` names them.
        user: Who deploys.

    Raises:
        ConfError: The files can't be read or merged.
    """
    source = load_source(root, target)
    resolver = Resolver(source, variables or {}, user)
    resources = resolver.resolve_resources()
    run_as = resolver.resolve_section("run_as") or {}
    permissions = tuple(resolver.resolve_section("permissions") or ())
    copy = resolver.resolve_copy()
    faults, unset = tuple(dict.fromkeys(resolver.faults)), tuple(resolver.unset)
    return Bundle(source, resources, run_as, permissions, faults, unset, copy)
