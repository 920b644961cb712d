"""A rehearsal: jobs of the bundle, run on this machine from the wheel to the table of their tasks."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Event
from typing import Self

from lakehouse_ml.errors import LakehouseError, suggest_name
from lakehouse_ml.operations.bundle.bundle import Bundle, Job
from lakehouse_ml.operations.rehearsal.cluster import Cluster, read_settings, start_connect_server, write_conf
from lakehouse_ml.operations.rehearsal.host import Host, build_wheel, find_shipped_conf, install, list_dependencies
from lakehouse_ml.operations.rehearsal.schedule import State, TaskRun, combine, run_tasks


@dataclass(frozen=True)
class JobRun:
    """A rehearsed run of a job.

    Attributes:
        job: Key of the job.
        id: Of the run; a repair keeps it.
        state: Of the job.
        tasks: In the order of the file.
        folder: With the logs of the tasks.
    """

    job: str
    id: str
    state: State
    tasks: Sequence[TaskRun]
    folder: Path

    @property
    def lines(self) -> Iterator[str]:
        """The run as a table, with the reason below a task that did not succeed."""
        width = max(len(task.key) for task in self.tasks)
        yield f"{self.job}, run {self.id}: {self.state}"
        yield f"  {'task':<{width}}  {'state':<17}  attempts  seconds"
        for task in self.tasks:
            yield f"  {task.key:<{width}}  {task.state:<17}  {task.attempts:>8}  {task.seconds:>7.1f}"
            if task.message:
                yield f"  {'':<{width}}  {task.message}"


def choose_jobs(bundle: Bundle, names: Sequence[str]) -> list[Job]:
    """The jobs of these names; without one, those that need no choice of days, training before scoring.

    Raises:
        LakehouseError: There is no such job.
    """
    if not names:
        order = ("smoke", "_train", "_score", "maintenance")
        return [job for end in order for job in bundle.jobs.values() if job.key.endswith(end)]
    for name in names:
        if name not in bundle.jobs:
            raise LakehouseError(f"The bundle has no job {name}. {suggest_name(name, bundle.jobs)}")
    return [bundle.jobs[name] for name in names]


def localise(job: Job, lake: Path, landing: Path) -> dict[str, str]:
    """A job's parameters with places on this machine instead of a catalog's."""
    places = {"lake": str(lake), "models": "", "landing": str(landing)}
    names = {"experiment": job.parameters.get("experiment", "").rpartition("/")[2]}
    return {name: {**places, **names}.get(name, value) for name, value in job.parameters.items()}


class Rehearsal:
    """What the jobs of a rehearsal share: the wheel, environments, and the cluster on which tasks compute.

    A context: its end stops the cluster.
    """

    def __init__(self, bundle: Bundle, folder: Path, engine: str = "sail") -> None:
        """Nothing is built or started before the first job.

        Args:
            bundle: A bundle without mistakes.
            folder: Of rehearsals: environments, the lake, and a folder for each run.
            engine: `sail`, or `spark` for Apache Spark in a JVM.
        """
        self._bundle = bundle
        self._folder = folder
        self._engine = engine
        self._wheel: Path | None = None
        self._clusters: dict[Path, Cluster] = {}
        self._servers = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._servers.close()

    def run(
        self,
        job: Job,
        landing: Path,
        *,
        repair: str | None = None,
        cancelled: Event | None = None,
        report: Callable[[TaskRun], None] = lambda _: None,
    ) -> JobRun:
        """Build the wheel, install it as the job's tasks have it installed, and run them.

        Args:
            job: A job of the bundle.
            landing: Files of the job's use case.
            repair: Id of a run of which only what did not succeed is run again.
            cancelled: Once set, the run ends.
            report: Called with each task that has ended.

        Raises:
            LakehouseError: The wheel can't be built or installed, there is no run to repair, or the engine is
                unavailable.
        """
        folder = self._folder
        self._wheel = self._wheel or build_wheel(self._bundle)
        python = install(list_dependencies(job), self._bundle, self._wheel, folder)
        run_id, done = (repair, _load(folder, job, repair)) if repair else (_next_id(folder), {})
        place = folder / "runs" / run_id
        place.mkdir(parents=True, exist_ok=True)
        lake = folder / self._bundle.source.target / "lake"
        cancelled = cancelled or Event()
        cluster = None if self._engine == "sail" else self._find_cluster(python, place)
        host = Host(python, place, run_id, localise(job, lake, landing), cancelled, cluster)
        tasks = run_tasks(job, host.attempt, done=done, cancelled=cancelled, report=report)
        run = JobRun(job.key, run_id, combine(tasks, job), tasks, place)
        (place / "run.json").write_text(
            json.dumps({"job": job.key, "tasks": [asdict(task) for task in tasks]}, indent=2), encoding="utf-8"
        )
        return run

    def _find_cluster(self, python: Path, place: Path) -> Cluster:
        """The cluster whose tasks run an environment's Python; the first job that needs it starts it."""
        if python not in self._clusters:
            shipped = find_shipped_conf(python)
            server = start_connect_server(place / "cluster", str(python), settings=read_settings(shipped))
            address = self._servers.enter_context(server)
            conf = place / "conf"
            shutil.rmtree(conf, ignore_errors=True)  # a repaired run's, with another address
            write_conf(shipped, conf, address)
            self._clusters[python] = Cluster(address, conf)
        return self._clusters[python]


def _next_id(folder: Path) -> str:
    runs = [int(path.name) for path in (folder / "runs").glob("*") if path.name.isdigit()]
    return str(max(runs, default=0) + 1)


def _load(folder: Path, job: Job, run_id: str) -> dict[str, TaskRun]:
    """The tasks of a run that succeeded.

    Raises:
        LakehouseError: There is no such run of that job.
    """
    file = folder / "runs" / run_id / "run.json"
    stored = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    if stored.get("job") != job.key:
        raise LakehouseError(f"There is no run {run_id} of {job.key} in {folder}.")
    tasks = [TaskRun(**{**task, "state": State(task["state"])}) for task in stored["tasks"]]
    return {task.key: task for task in tasks if task.state in (State.SUCCESS, State.EXCLUDED)}
