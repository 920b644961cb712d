"""Mistakes in a bundle that neither `bundle validate` nor a deployment reports, or that cost a run to find.

Each check is a function of `Facts` that yields messages; `CHECKS` lists them.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from lakehouse_ml.config.lake import is_schema_name, is_table_name
from lakehouse_ml.errors import suggest_name
from lakehouse_ml.operations.bundle import policies
from lakehouse_ml.operations.bundle.bundle import Bundle, Job, Task
from lakehouse_ml.operations.bundle.schedules import find_schedule_faults
from lakehouse_ml.operations.bundle.source import FILE
from lakehouse_ml.preflight.checks import find_secret_lines

PACKAGE = "lakehouse_ml"
PRODUCTION = "prod"
_TASK_TYPES = re.compile(r"\w+_task")
# Names of jobs are free; these become parts of addresses.
_PLAIN_NAME = re.compile(r"[\w@. -]{1,100}")


@dataclass(frozen=True)
class Facts:
    """A bundle, and what its tasks can name.

    Attributes:
        bundle: For one target.
        options: Arguments that each entry point of the wheel takes, by its name.
        stage_order: Stages whose results each stage reads, by use case and stage.
        environments: Folders of conf/.
        policies: Cluster policies by name.
    """

    bundle: Bundle
    options: Mapping[str, frozenset[str]]
    stage_order: Mapping[str, Mapping[str, frozenset[str]]]
    environments: frozenset[str]
    policies: Mapping[str, Mapping[str, Any]]

    @property
    def jobs(self) -> list[Job]:
        """All jobs."""
        return list(self.bundle.jobs.values())

    @cached_property
    def tasks(self) -> list[Task]:
        """The tasks of all jobs."""
        return [task for job in self.jobs for task in job.tasks]

    def at(self, job: str, *key: str | int) -> str:
        """Where a job, or a part of it, is declared, and its name."""
        return f"{self.bundle.source.where('resources', 'jobs', job, *key)}: {job}"

    def at_task(self, task: Task) -> str:
        """Where a task's job is declared, and both names."""
        return f"{self.at(task.job, 'tasks')}, task {task.key}"


def find_faults(facts: Facts) -> list[str]:
    """Find all mistakes, a message each with the file, the line and the remedy."""
    faults = list(facts.bundle.faults)
    for check in CHECKS:
        faults += check(facts)
    return list(dict.fromkeys(faults))


def _check_task_keys(facts: Facts) -> Iterator[str]:
    for job in facts.jobs:
        for key, count in Counter(task.key for task in job.tasks).items():
            if count > 1:
                yield f"{facts.at(job.key, 'tasks')} has {count} tasks with the key {key!r}: rename one of them."


def _check_order(facts: Facts) -> Iterator[str]:
    """Find dependencies on tasks that are not there, and tasks that wait for each other."""
    for job in facts.jobs:
        waits = {task.key: set(task.depends_on) for task in job.tasks}
        for task in job.tasks:
            for other in task.depends_on:
                if other not in waits:
                    yield (
                        f"{facts.at_task(task)} depends on {other}, which is no task of this job. "
                        f"{suggest_name(other, waits)}"
                    )
        waits = {key: {other for other in others if other in waits} for key, others in waits.items()}
        while ready := [key for key, others in waits.items() if not others]:
            for key in ready:
                del waits[key]
            for others in waits.values():
                others.difference_update(ready)
        if waits:
            yield f"{facts.at(job.key, 'tasks')}: the tasks {', '.join(waits)} wait for each other."


def _check_stage_order(facts: Facts) -> Iterator[str]:
    """Find stages that start before a stage of the same job whose results they read, or wait for one they don't."""
    for job in facts.jobs:
        stages = {task.key: task for task in job.tasks if task.stage in facts.stage_order.get(task.use_case, ())}
        waits = {task.key: task.depends_on for task in job.tasks}
        before = {key: _find_reachable(key, waits) for key in stages}
        for key, task in stages.items():
            of_job = {other.stage: other.key for other in stages.values() if other.use_case == task.use_case}
            order = facts.stage_order[task.use_case]
            needed = {of_job[stage] for stage in order[task.stage] if stage in of_job}
            for missing in sorted(needed - before[key]):
                yield (
                    f"{facts.at_task(task)} reads results of {missing} and does not wait for it: add "
                    f"depends_on: [{{task_key: {missing}}}]."
                )
            waited_for = {stages[one].stage for one in before[key] if one in stages}
            for stage in sorted(waited_for - _find_reachable(task.stage, order)):
                yield f"{facts.at_task(task)} waits for {stage}, whose results it does not use."


def _find_reachable(start: str, edges: Mapping[str, Iterable[str]]) -> set[str]:
    """Find all that can be reached from a start, itself left out."""
    reached, open_ends = set[str](), list(edges.get(start, ()))
    while open_ends:
        one = open_ends.pop()
        if one not in reached:
            reached.add(one)
            open_ends += edges.get(one, ())
    return reached


def _check_task_types(facts: Facts) -> Iterator[str]:
    for task in facts.tasks:
        types = [name for name in task.fields if _TASK_TYPES.fullmatch(name)]
        if len(types) != 1:
            yield f"{facts.at_task(task)} has {' and '.join(types) or 'no type'}: a task has exactly one type."


def _check_compute(facts: Facts) -> Iterator[str]:
    """Find tasks without compute, with two kinds of it, or whose compute is declared nowhere."""
    for job in facts.jobs:
        declared = {"environment_key": job.environments, "job_cluster_key": job.clusters}
        for task in job.tasks:
            named = [name for name in declared if task.fields.get(name)]
            if len(named) != 1 and not task.fields.get("existing_cluster_id") and not task.fields.get("new_cluster"):
                yield f"{facts.at_task(task)} names {' and '.join(named) or 'no compute'}: it takes one kind."
            for name in named:
                key = str(task.fields[name])
                if key not in declared[name]:
                    yield (
                        f"{facts.at_task(task)}: {name} is {key}, which this job does not declare. "
                        f"{suggest_name(key, declared[name])}"
                    )
            libraries = task.fields.get("libraries") or []
            if task.is_serverless and libraries:
                yield f"{facts.at_task(task)} has libraries, which serverless compute takes from its environment only."
            if "job_cluster_key" in named and not any("whl" in library for library in libraries):
                yield f"{facts.at_task(task)} runs on a cluster without the wheel: add it to libraries."
        for key, environment in job.environments.items():
            dependencies = environment.get("dependencies") or []
            if not any(str(one).endswith(".whl") for one in dependencies):
                yield f"{facts.at(job.key, 'environments')}: the environment {key} lacks the wheel among dependencies."
            if not environment.get("environment_version"):
                yield f"{facts.at(job.key, 'environments')}: the environment {key} has no environment_version."


def _check_clusters(facts: Facts) -> Iterator[str]:
    """Find clusters that can't be made, or that break their policy."""
    clusters = {
        (facts.at(job.key, "job_clusters"), key): (cluster, "job", policies.JOBS)
        for job in facts.jobs
        for key, cluster in job.clusters.items()
    }
    for key, cluster in (facts.bundle.resources.get("clusters") or {}).items():
        place = facts.bundle.source.where("resources", "clusters", key)
        clusters[f"{place}: clusters", key] = (cluster, "all-purpose", policies.NOTEBOOKS)
    for (place, key), (cluster, kind, policy) in clusters.items():
        scale = cluster.get("autoscale") or {}
        low, high = scale.get("min_workers", 0), scale.get("max_workers", 0)
        if low > high:
            yield f"{place}: the cluster {key} has min_workers {low}, more than max_workers {high}."
        if cluster.get("is_single_node") and scale:
            yield f"{place}: the cluster {key} is a single node, which can't have autoscale."
        if kind == "all-purpose" and not cluster.get("autotermination_minutes"):
            yield f"{place}: the cluster {key} has no autotermination_minutes: it would never stop."
        for clause in policies.find_violations(cluster, kind, facts.policies.get(policy) or {}):
            yield f"{place}: the cluster {key} breaks the policy {policies.FOLDER / policy}.json: {clause}."


def _check_starts(facts: Facts) -> Iterator[str]:
    """Find schedules that can't be one, and whatever starts jobs by itself outside of production."""
    for job in facts.jobs:
        starts = [name for name in ("schedule", "trigger", "continuous") if job.fields.get(name)]
        if len(starts) > 1:
            yield f"{facts.at(job.key)} has {' and '.join(starts)}: a job takes one of them."
        for name in starts:
            start = job.fields[name]
            if name == "schedule":
                for clause in find_schedule_faults(start):
                    yield f"{facts.at(job.key, name)}: {clause}."
            if start.get("pause_status", "UNPAUSED") != "PAUSED" and facts.bundle.source.target != PRODUCTION:
                yield (
                    f"{facts.at(job.key, name)}: its {name} is active, and only {PRODUCTION} starts jobs by itself: "
                    f"set pause_status: ${{var.schedules}}."
                )


def _check_care(facts: Facts) -> Iterator[str]:
    """Find jobs that may run twice at once or for ever, and in production those that fail unseen or as a person."""
    is_production = facts.bundle.source.target == PRODUCTION
    unseen = [job.key for job in facts.jobs if is_production and not _is_failure_reported(job)]
    if unseen:
        yield (
            f"{facts.bundle.source.where('targets', PRODUCTION, 'variables')}: nobody is told when {', '.join(unseen)} "
            f"{'fails' if len(unseen) == 1 else 'fail'}: name an address, --var alerts=<e-mail address>, or set "
            f"webhook_notifications."
        )
    for job in facts.jobs:
        if job.fields.get("max_concurrent_runs", 1) != 1:
            yield f"{facts.at(job.key)}: max_concurrent_runs is not 1: two runs on one lake refuse each other."
        for task in job.tasks:
            if is_production and not task.fields.get("timeout_seconds"):
                yield f"{facts.at_task(task)} has no timeout_seconds: it may run for ever."
            if is_production and "max_retries" not in task.fields:
                yield f"{facts.at_task(task)} has no max_retries: say how often it is tried again, 0 for never."
    if is_production and not facts.bundle.run_as.get("service_principal_name"):
        place = facts.bundle.source.where("targets", PRODUCTION, "run_as")
        yield (
            f"{place}: the jobs of {PRODUCTION} run as whoever deploys: name a service principal, "
            f"--var service_principal=<application id>."
        )


def _is_failure_reported(job: Job) -> bool:
    receivers = (job.fields.get(name) or {} for name in ("email_notifications", "webhook_notifications"))
    return any(any(one.get("on_failure") or ()) for one in receivers)


def _check_calls(facts: Facts) -> Iterator[str]:
    """Find entry points, arguments, stages, use cases and environments that do not exist."""
    stages = {stage for order in facts.stage_order.values() for stage in order}
    for job in facts.jobs:
        for task in job.tasks:
            wheel = task.fields.get("python_wheel_task")
            if not wheel:
                continue
            if wheel.get("package_name") != PACKAGE:
                yield f"{facts.at_task(task)}: package_name is {wheel.get('package_name')}, and the wheel is {PACKAGE}."
            if task.entry_point not in facts.options:
                yield (
                    f"{facts.at_task(task)}: the wheel has no entry point {task.entry_point!r}. "
                    f"{suggest_name(task.entry_point, facts.options)}"
                )
                continue
            options = facts.options[task.entry_point]
            for name in sorted({*task.named_parameters, *job.parameters} - options):
                yield (
                    f"{facts.at_task(task)}: the entry point {task.entry_point} takes no parameter {name}. "
                    f"{suggest_name(name, options)}"
                )
            for name, names in (("pipelines", stages), ("namespaces", facts.stage_order)):
                for one in filter(None, task.named_parameters.get(name, "").split(",")):
                    if one not in names:
                        yield f"{facts.at_task(task)}: {name} has no {one}. {suggest_name(one, names)}"
            environment = task.named_parameters.get("env", "base")
            if environment not in facts.environments:
                yield (
                    f"{facts.at_task(task)}: conf/ has no environment {environment}. "
                    f"{suggest_name(environment, facts.environments)}"
                )


def _check_names(facts: Facts) -> Iterator[str]:
    """Find names that Unity Catalog refuses, and jobs of one target that use different lakes."""
    for kind, name_of in _CATALOG_NAMES.items():
        for key, fields in (facts.bundle.resources.get(kind) or {}).items():
            name = name_of(fields)
            is_valid = is_schema_name(name) if kind == "schemas" else is_table_name(name)
            if not is_valid:
                place = facts.bundle.source.where("resources", kind, key)
                yield f"{place}: Unity Catalog has no name {name!r}: lower case, without blanks, dots and slashes."
    for name in ("lake", "models", "experiment"):
        values = {job.parameters[name] for job in facts.jobs if name in job.parameters}
        if len(values) > 1:
            yield f"{FILE}: jobs of one target name more than one {name}: {', '.join(sorted(values))}."
        for value in values:
            if name != "experiment" and not is_schema_name(value):
                yield f"{FILE}: {name} can't be {value!r}: it is <catalog>.<schema>, in lower case."


_CATALOG_NAMES: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "schemas": lambda one: f"{one.get('catalog_name')}.{one.get('name')}",
    "volumes": lambda one: f"{one.get('catalog_name')}.{one.get('schema_name')}.{one.get('name')}",
}


def _check_dashboards(facts: Facts) -> Iterator[str]:
    """Find dashboards whose file is missing or no dashboard, and in production those without a warehouse."""
    for key, fields in (facts.bundle.resources.get("dashboards") or {}).items():
        source = facts.bundle.source
        place = f"{source.where('resources', 'dashboards', key)}: the dashboard {key}"
        folder = source.folder_of("resources", "dashboards", key)
        file = folder / str(fields.get("file_path", ""))
        if not file.is_file():
            shown = fields.get("file_path", "no file")
            yield f"{place} shows {shown}, which is not in {folder.relative_to(source.root)}/."
        else:
            yield from _find_dashboard_faults(file, place)
        if source.target == PRODUCTION and not fields.get("warehouse_id"):
            yield f"{place} has no warehouse: name one, --var warehouse=<id>."


def _find_dashboard_faults(file: Path, place: str) -> Iterator[str]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        yield f"{place}: {file.name}, line {error.lineno} is not valid JSON ({error.msg})."
        return
    missing = [part for part in ("datasets", "pages") if not isinstance(content, dict) or not content.get(part)]
    if missing:
        yield f"{place}: {file.name} has no {' and no '.join(missing)}: it would show nothing."


def _check_secrets(facts: Facts) -> Iterator[str]:
    for file in facts.bundle.source.files:
        for line in find_secret_lines(file):
            yield (
                f"{file.relative_to(facts.bundle.source.root)}, line {line}: looks like a hard-coded secret: put it "
                f"into a secret scope and name it, {{{{secrets/<scope>/<key>}}}}."
            )


CHECKS: tuple[Callable[[Facts], Iterator[str]], ...] = (
    _check_task_keys,
    _check_order,
    _check_stage_order,
    _check_task_types,
    _check_compute,
    _check_clusters,
    _check_starts,
    _check_care,
    _check_calls,
    _check_names,
    _check_dashboards,
    _check_secrets,
)
