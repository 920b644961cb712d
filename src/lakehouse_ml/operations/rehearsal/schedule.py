"""The order in which a job's tasks run, and what becomes of each: dependencies, `run_if`, retries, cancel and repair.

States and rules are those of https://docs.databricks.com/jobs/run-if and of the Jobs API.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from enum import StrEnum
from threading import Event

from lakehouse_ml.operations.bundle.bundle import Job, Task


class State(StrEnum):
    """What became of a task or a job."""

    SUCCESS = "SUCCESS"
    FAILED = "FAILED"
    TIMED_OUT = "TIMEDOUT"
    CANCELED = "CANCELED"
    EXCLUDED = "EXCLUDED"  # `run_if` was not met; counts as a success
    UPSTREAM_FAILED = "UPSTREAM_FAILED"
    UPSTREAM_CANCELED = "UPSTREAM_CANCELED"


_GOOD = frozenset({State.SUCCESS, State.EXCLUDED})
_BAD = frozenset({State.FAILED, State.TIMED_OUT, State.UPSTREAM_FAILED})


@dataclass(frozen=True)
class Ended:
    """How an attempt at a task ended.

    Attributes:
        state: SUCCESS, FAILED, TIMED_OUT or CANCELED.
        message: The last thing that a failed attempt said.
    """

    state: State
    message: str = ""


@dataclass(frozen=True)
class TaskRun:
    """A task of a run.

    Attributes:
        key: Of the task.
        state: What became of it.
        attempts: How often it was tried.
        seconds: How long all attempts took.
        message: Why it failed, or did not run.
    """

    key: str
    state: State
    attempts: int = 0
    seconds: float = 0.0
    message: str = ""


def run_tasks(
    job: Job,
    attempt: Callable[[Task, int], Ended],
    *,
    done: Mapping[str, TaskRun] | None = None,
    cancelled: Event | None = None,
    report: Callable[[TaskRun], None] = lambda _: None,
    longest_pause: float = 1.0,
) -> list[TaskRun]:
    """Run the tasks of a job: each once those that it depends on have ended, independent ones side by side.

    Args:
        job: A job without mistakes in its order.
        attempt: Runs a task and returns how that ended; its second argument counts the attempts, from 0.
        done: Tasks of an earlier run that a repair does not repeat.
        cancelled: Once set, no task begins any more.
        report: Called with each task that has ended.
        longest_pause: Longest pause before another attempt, in seconds.

    Returns:
        The tasks in the order of the file.
    """
    cancelled = cancelled or Event()
    ended: dict[str, TaskRun] = dict(done or {})
    waiting = [task for task in job.tasks if task.key not in ended]
    running: dict[Future[TaskRun], str] = {}
    with ThreadPoolExecutor(max(1, len(waiting))) as pool:
        while waiting or running:
            for task in [task for task in waiting if all(one in ended for one in task.depends_on)]:
                waiting.remove(task)
                blocked = _find_block(task, ended, is_cancelled=cancelled.is_set())
                if blocked:
                    ended[task.key] = blocked
                    report(blocked)
                else:
                    running[pool.submit(_try, task, attempt, cancelled, longest_pause)] = task.key
            if not running:
                continue
            finished, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in finished:
                ended[running.pop(future)] = future.result()
                report(future.result())
    return [ended[task.key] for task in job.tasks]


def combine(runs: Sequence[TaskRun], job: Job) -> State:
    """The state of a job: that of its last tasks, those that no other depends on."""
    depended_on = {key for task in job.tasks for key in task.depends_on}
    last = {run.state for run in runs if run.key not in depended_on}
    if State.CANCELED in last or State.UPSTREAM_CANCELED in last:
        return State.CANCELED
    return State.FAILED if last & _BAD else State.SUCCESS


def _find_block(task: Task, ended: Mapping[str, TaskRun], *, is_cancelled: bool) -> TaskRun | None:
    """Why a task does not run though all others that it waits for have ended; None if it runs."""
    before = [ended[key] for key in task.depends_on]
    if is_cancelled:
        return TaskRun(task.key, State.CANCELED, message="the run was cancelled")
    condition = str(task.fields.get("run_if") or "ALL_SUCCESS")
    if _CONDITIONS[condition](before):
        return None
    blocking = [run for run in before if run.state not in _GOOD]
    if not blocking or condition not in ("ALL_SUCCESS", "NONE_FAILED"):
        return TaskRun(task.key, State.EXCLUDED, message=f"run_if {condition} is not met")
    names = ", ".join(run.key for run in blocking)
    if all(run.state in (State.CANCELED, State.UPSTREAM_CANCELED) for run in blocking):
        return TaskRun(task.key, State.UPSTREAM_CANCELED, message=f"{names} was cancelled")
    return TaskRun(task.key, State.UPSTREAM_FAILED, message=f"{names} failed")


_CONDITIONS: Mapping[str, Callable[[Sequence[TaskRun]], bool]] = {
    "ALL_SUCCESS": lambda before: all(run.state in _GOOD for run in before),
    "AT_LEAST_ONE_SUCCESS": lambda before: not before or any(run.state == State.SUCCESS for run in before),
    "NONE_FAILED": lambda before: (
        all(run.state in _GOOD for run in before)
        or (not any(run.state in _BAD for run in before) and any(run.state == State.SUCCESS for run in before))
    ),
    "ALL_DONE": lambda _: True,
    "AT_LEAST_ONE_FAILED": lambda before: any(run.state in _BAD for run in before),
    "ALL_FAILED": lambda before: bool(before) and all(run.state in _BAD for run in before),
}


def _try(task: Task, attempt: Callable[[Task, int], Ended], cancelled: Event, longest_pause: float) -> TaskRun:
    """Try a task as often as it may be tried."""
    retries = int(task.fields.get("max_retries") or 0)
    pause = min(longest_pause, float(task.fields.get("min_retry_interval_millis") or 0) / 1000)
    start, number = time.monotonic(), 0
    while True:
        result = attempt(task, number)
        number += 1
        run = TaskRun(task.key, result.state, number, time.monotonic() - start, result.message)
        if result.state == State.TIMED_OUT and not task.fields.get("retry_on_timeout"):
            return run
        if result.state in (State.SUCCESS, State.CANCELED) or (0 <= retries < number):
            return run
        if cancelled.wait(pause):
            return replace(run, state=State.CANCELED, message="the run was cancelled")
