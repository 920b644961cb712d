"""What the platform does around a task: builds and installs the wheel, starts a process, ends it in time."""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Any

from lakehouse_ml.errors import LakehouseError
from lakehouse_ml.operations.bundle.bundle import Bundle, Job, Task
from lakehouse_ml.operations.rehearsal.cluster import Cluster
from lakehouse_ml.operations.rehearsal.references import UnknownReferenceError, build_arguments, list_values
from lakehouse_ml.operations.rehearsal.schedule import Ended, State

_WORKER = Path(__file__).with_name("worker.py")
# What Databricks Runtime brings, and the wheel must not: the client of Spark, and here an engine for it.
_OF_PLATFORM = ("pysail", "pyspark-client")
_POLL_SECONDS = 0.2
# Variables of this process that a platform's process would not have.
_FOREIGN = ("PYTHON", "MLFLOW", "KEDRO", "VIRTUAL_ENV", "LAKEHOUSE")


@dataclass(frozen=True)
class Host:
    """A machine on which the tasks of a run are executed.

    Attributes:
        python: Of an environment with the wheel and its pinned requirements.
        folder: The working folder of processes, with their logs.
        job_run: Id of the run of the job.
        parameters: Of the job.
        cancelled: Once set, processes are ended.
        cluster: On which tasks compute; None: each starts Sail.
    """

    python: Path
    folder: Path
    job_run: str
    parameters: Mapping[str, str]
    cancelled: Event
    cluster: Cluster | None = None

    def attempt(self, task: Task, number: int) -> Ended:
        """Run a task once in a process of its own."""
        wheel = task.fields.get("python_wheel_task") or {}
        try:
            values = list_values(task.job, self.job_run, task.key, number, self.parameters)
            listed = tuple(map(str, wheel.get("parameters") or ()))
            named = self.override(task)
            arguments = build_arguments(named, listed, self.parameters, values)
        except UnknownReferenceError as error:
            return Ended(State.FAILED, str(error))
        answer = self.folder / f"{task.key}_{number}.json"
        call = {
            "package": wheel.get("package_name"),
            "entry_point": task.entry_point,
            "arguments": arguments,
            "result": str(answer),
            "cluster": self.cluster.address if self.cluster else "",
        }
        log = self.folder / f"{task.key}_{number}.log"
        state = self._run(
            [str(self.python), "-P", str(_WORKER), json.dumps(call)], log, task.fields.get("timeout_seconds")
        )
        if state is not None:
            return state
        if not answer.is_file():
            return Ended(State.FAILED, f"the process ended without a result: {_last_line(log)}")
        failure: str | None = json.loads(answer.read_text(encoding="utf-8"))["error"]
        return Ended(State.SUCCESS) if failure is None else Ended(State.FAILED, failure)

    def override(self, task: Task) -> dict[str, str]:
        """A task's own parameters; the environment of conf is that of a laptop, or of the cluster."""
        if "env" not in task.named_parameters:
            return task.named_parameters
        if not self.cluster:
            return task.named_parameters | {"env": "base"}
        return task.named_parameters | {"env": "cluster", "conf-source": str(self.cluster.conf)}

    def _run(self, command: Sequence[str], log: Path, timeout: float | None) -> Ended | None:
        """Run a process; None once it has ended by itself."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith(_FOREIGN)}
        with log.open("wb") as output:
            process = subprocess.Popen(
                command,
                cwd=self.folder,
                env={**environment, "RUST_LOG": "error"},
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            waited = 0.0
            while process.poll() is None:
                if self.cancelled.is_set():
                    _end(process)
                    return Ended(State.CANCELED, "the run was cancelled")
                if timeout and waited >= timeout:
                    _end(process)
                    return Ended(State.TIMED_OUT, f"it ran longer than {timeout} s")
                try:
                    process.wait(_POLL_SECONDS)
                except subprocess.TimeoutExpired:
                    waited += _POLL_SECONDS
        return None


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a process and those that it has started."""
    os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _last_line(log: Path) -> str:
    lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    return lines[-1] if lines else "it said nothing"


def build_wheel(bundle: Bundle) -> Path:
    """Build the wheel by the command that the bundle names, and return it.

    Raises:
        LakehouseError: The command fails, or makes no such file or several.
    """
    root = bundle.source.root
    artifacts = bundle.source.sections.get("artifacts") or {}
    for name, artifact in artifacts.items():
        built = subprocess.run(
            shlex.split(artifact["build"]),
            cwd=root,
            capture_output=True,
            text=True,
            check=False,
            env=_variables_without_make(),
        )
        if built.returncode:
            reason = (built.stderr or built.stdout).strip().splitlines()[-1:]
            raise LakehouseError(f"{artifact['build']} failed for the artefact {name}: {' '.join(reason)}")
    wheels = [wheel for one in artifacts.values() for file in one["files"] for wheel in root.glob(file["source"])]
    if len(wheels) != 1:
        raise LakehouseError(f"The bundle's artefacts are {len(wheels)} files, and a rehearsal needs one wheel.")
    return wheels[0]


def _variables_without_make() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")}


def list_dependencies(job: Job) -> list[str]:
    """List what the tasks of a job have installed, in the words of the bundle.

    Raises:
        LakehouseError: Its tasks differ in that.
    """
    sets = set()
    for task in job.tasks:
        if task.is_serverless:
            sets.add(tuple(job.environments[task.compute].get("dependencies") or ()))
        else:
            libraries = task.fields.get("libraries") or ()
            sets.add(tuple(_as_dependency(library) for library in libraries))
    if len(sets) > 1:
        raise LakehouseError(f"{job.key}: its tasks have different libraries: {sorted(sets)}.")
    return list(sets.pop()) if sets else []


def _as_dependency(library: Mapping[str, Any]) -> str:
    kind, value = next(iter(library.items()))
    return f"-r {value}" if kind == "requirements" else str(value)


def install(dependencies: Sequence[str], bundle: Bundle, wheel: Path, folder: Path) -> Path:
    """Make an environment with the named dependencies and what the platform brings; return its Python.

    Neither requirements nor the wheel bring others along: what the lock lacks is missing in the environment.

    Raises:
        LakehouseError: A dependency can't be installed.
    """
    root = bundle.source.root
    uv, lock = root / ".make" / "bin" / "uv", root / "requirements" / "run.lock"
    named = [one.removeprefix("-r ") for one in dependencies if one.startswith("-r ")]
    requirements = [(root / "resources" / name).resolve() for name in named]
    wheels = [wheel] if any(one.endswith(".whl") for one in dependencies) else []
    parts = [file.read_bytes() for file in (*requirements, *wheels, lock)]
    identity = hashlib.sha256(b"\0".join([*parts, sys.version.encode()])).hexdigest()[:16]
    environment = folder / "environments" / identity
    python = environment / "bin" / "python"
    if (environment / "complete").is_file():
        return python
    steps: list[Sequence[str]] = [["venv", "-q", "--clear", "--python", sys.executable, str(environment)]]
    into = ["pip", "install", "-q", "--python", str(python)]
    steps += [[*into, *_OF_PLATFORM, "--no-verify-hashes", "-c", str(lock)]]
    steps += [[*into, "--no-deps", "-r", str(file)] for file in requirements]
    steps += [[*into, "--no-deps", str(file)] for file in wheels]
    for step in steps:
        done = subprocess.run([str(uv), *step], capture_output=True, text=True, check=False)
        if done.returncode:
            raise LakehouseError(f"uv {shlex.join(step[:2])} failed: {done.stderr.strip().splitlines()[-1]}")
    (environment / "complete").touch()
    return python


def find_shipped_conf(python: Path) -> Path:
    """Find the conf that the wheel of an environment carries.

    Raises:
        LakehouseError: It carries none.
    """
    shipped = sorted(python.parents[1].glob("lib/python*/site-packages/lakehouse_ml/shipped_conf"))
    if not shipped:
        raise LakehouseError("The wheel carries no conf.")
    return shipped[0]
