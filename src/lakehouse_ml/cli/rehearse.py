"""`make rehearse`: the jobs of the bundle on this machine, as the platform would run them."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any

from lakehouse_ml import project
from lakehouse_ml.errors import LakehouseError, printable
from lakehouse_ml.project import PROJECT

if TYPE_CHECKING:
    from lakehouse_ml.operations.bundle.bundle import Job

FOLDER = PROJECT / ".make" / "rehearsal"
ENGINES = ("sail", "spark")


def main(argv: Sequence[str] | None = None) -> int:
    """Rehearse, and return the exit code; a mistake is one sentence on stderr."""
    project.configure_logging()
    project.configure()
    cancelled = Event()
    signal.signal(signal.SIGINT, lambda *_: cancelled.set())
    try:
        return _rehearse(_arguments(argv), cancelled)
    except LakehouseError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1


def _rehearse(options: argparse.Namespace, cancelled: Event) -> int:
    from lakehouse_ml.cli import jobs
    from lakehouse_ml.operations.rehearsal.run import Rehearsal, choose_jobs
    from lakehouse_ml.operations.rehearsal.schedule import State, TaskRun

    engine = options.engine or ENGINES[0]
    if engine not in ENGINES:
        raise LakehouseError(f"ENGINE can't be {engine}. It is {' or '.join(ENGINES)}.")
    bundle = jobs.load(options.target, {})
    chosen = choose_jobs(bundle, options.job.split(",") if options.job else [])
    faults = jobs.judge(bundle)
    for fault in faults:
        print(printable(fault), file=sys.stderr)
    if faults:
        raise LakehouseError("The bundle has mistakes, so nothing was run.")

    def report(task: TaskRun) -> None:
        print(f"  {task.key}: {task.state}, {task.seconds:.1f} s", file=sys.stderr, flush=True)

    states = []
    with Rehearsal(bundle, FOLDER, engine) as rehearsal:
        for job in chosen:
            print(f"{bundle.source.target}: {job.key}", file=sys.stderr, flush=True)
            landing = _find_landing(job, options.landing, is_alone=len(chosen) == 1)
            run = rehearsal.run(job, landing, repair=options.repair, cancelled=cancelled, report=report)
            print("\n".join(map(printable, run.lines)), flush=True)
            if run.state != State.SUCCESS:
                print(f"  logs: {run.folder}; run again: make rehearse JOB={job.key} REPAIR={run.id}", flush=True)
            states.append(run.state)
            if cancelled.is_set():
                return 130
    return 0 if all(state == State.SUCCESS for state in states) else 1


def _find_landing(job: Job, folder: str | None, *, is_alone: bool) -> Path:
    """The folder of a job's files: that of its use case, or that of all use cases for a job of the whole lake.

    Args:
        job: A job of the bundle.
        folder: With the files of the only job, or with a folder of each use case; None: files are generated.
        is_alone: Whether it is the only job.
    """
    names = {task.use_case for task in job.tasks} - {""}
    if folder and is_alone:
        return Path(folder).resolve()
    root = Path(folder).resolve() if folder else _make_landing(names)
    return root / names.pop() if len(names) == 1 else root


def _make_landing(use_cases: set[str]) -> Path:
    """The folder of generated files; those of each use case are made once."""
    folder = FOLDER / "landing"
    folder.mkdir(parents=True, exist_ok=True)
    for name in use_cases:
        if not (folder / name).is_dir():
            synthetic: Any = import_module(f"lakehouse_ml.use_cases.{name}.synthetic")
            synthetic.write_sample(folder / name)
    return folder


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make rehearse", description=__doc__)
    parser.add_argument("--target", default=None, help="a target of databricks.yml; by default its default one")
    parser.add_argument(
        "--job", default=None, help="jobs, with commas; by default smoke, training, scoring, maintenance"
    )
    parser.add_argument(
        "--landing", default=None, help="folder with the job's files, or, for several jobs, one for each use case"
    )
    parser.add_argument("--engine", default=None, help="sail (the default), or spark: Apache Spark in a JVM")
    parser.add_argument("--repair", default=None, help="id of a run, of which only what failed is run again")
    options = parser.parse_args(argv)
    # An empty JOB= on make's command line means none.
    return argparse.Namespace(**{key: value or None for key, value in vars(options).items()})


if __name__ == "__main__":
    sys.exit(main())
