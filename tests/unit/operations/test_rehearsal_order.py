"""Tasks run as the platform runs them: in order, side by side, again, or not at all."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from lakehouse_ml.operations.bundle.bundle import Job, Task
from lakehouse_ml.operations.rehearsal.references import UnknownReferenceError, build_arguments, list_values, substitute
from lakehouse_ml.operations.rehearsal.schedule import Ended, State, TaskRun, combine, run_tasks

Attempt = Callable[[Task, int], Ended]


def job(*tasks: dict[str, Any]) -> Job:
    return Job("one", {"tasks": list(tasks)})


def task(key: str, *depends_on: str, **fields: Any) -> dict[str, Any]:
    return {"task_key": key, "depends_on": [{"task_key": one} for one in depends_on], **fields}


def outcomes(**states: State) -> Attempt:
    """Attempts that end as chosen; all others succeed."""
    return lambda one, _: Ended(states.get(one.key, State.SUCCESS))


def states(chosen: Job, attempt: Attempt, **options: Any) -> dict[str, str]:
    return {run.key: run.state.value for run in run_tasks(chosen, attempt, longest_pause=0, **options)}


CHAIN = job(task("a"), task("b", "a"), task("c", "b"))


def test_tasks_run_in_the_order_of_their_dependencies_whatever_the_file_says() -> None:
    begun: list[str] = []

    def attempt(one: Task, _: int) -> Ended:
        begun.append(one.key)
        return Ended(State.SUCCESS)

    run_tasks(job(task("c", "b"), task("b", "a"), task("a")), attempt)
    assert begun == ["a", "b", "c"]


def test_independent_tasks_run_side_by_side() -> None:
    meeting = threading.Barrier(2, timeout=20)

    def attempt(one: Task, _: int) -> Ended:
        if one.key != "a":
            meeting.wait()
        return Ended(State.SUCCESS)

    assert set(states(job(task("a"), task("b", "a"), task("c", "a")), attempt).values()) == {"SUCCESS"}


def test_a_failed_task_fails_the_job_and_what_depends_on_it_does_not_run() -> None:
    chosen = job(task("a"), task("b", "a"), task("c", "b"), task("d", "a"))
    runs = run_tasks(chosen, outcomes(b=State.FAILED))
    assert [(run.key, run.state.value, run.attempts) for run in runs] == [
        ("a", "SUCCESS", 1),
        ("b", "FAILED", 1),
        ("c", "UPSTREAM_FAILED", 0),
        ("d", "SUCCESS", 1),
    ]
    assert runs[2].message == "b failed"
    assert combine(runs, chosen) == State.FAILED


def test_a_job_whose_last_task_succeeds_succeeds_though_another_failed() -> None:
    chosen = job(task("a"), task("clean_up", "a", run_if="ALL_DONE"))
    assert combine(run_tasks(chosen, outcomes(a=State.FAILED)), chosen) == State.SUCCESS


@pytest.mark.parametrize(
    ("run_if", "ends", "state"),
    [
        ("ALL_SUCCESS", {}, "SUCCESS"),
        ("ALL_SUCCESS", {"a": State.FAILED}, "UPSTREAM_FAILED"),
        ("ALL_SUCCESS", {"a": State.CANCELED}, "UPSTREAM_CANCELED"),
        ("ALL_SUCCESS", {"a": State.TIMED_OUT}, "UPSTREAM_FAILED"),
        ("AT_LEAST_ONE_SUCCESS", {"a": State.FAILED}, "SUCCESS"),
        ("AT_LEAST_ONE_SUCCESS", {"a": State.FAILED, "b": State.FAILED}, "EXCLUDED"),
        ("NONE_FAILED", {"a": State.CANCELED}, "SUCCESS"),
        ("NONE_FAILED", {"a": State.FAILED}, "UPSTREAM_FAILED"),
        ("ALL_DONE", {"a": State.FAILED, "b": State.FAILED}, "SUCCESS"),
        ("AT_LEAST_ONE_FAILED", {}, "EXCLUDED"),
        ("AT_LEAST_ONE_FAILED", {"a": State.FAILED}, "SUCCESS"),
        ("ALL_FAILED", {"a": State.FAILED}, "EXCLUDED"),
        ("ALL_FAILED", {"a": State.FAILED, "b": State.TIMED_OUT}, "SUCCESS"),
    ],
)
def test_run_if_decides_by_the_tasks_before(run_if: str, ends: dict[str, State], state: str) -> None:
    chosen = job(task("a"), task("b"), task("c", "a", "b", run_if=run_if))
    assert states(chosen, outcomes(**ends))["c"] == state


def test_a_task_is_tried_again_as_often_as_it_may() -> None:
    tried: list[int] = []

    def attempt(_: Task, number: int) -> Ended:
        tried.append(number)
        return Ended(State.SUCCESS if number == 2 else State.FAILED, "not yet")

    (run,) = run_tasks(job(task("a", max_retries=2, min_retry_interval_millis=60_000)), attempt, longest_pause=0)
    assert (tried, run.state, run.attempts) == ([0, 1, 2], State.SUCCESS, 3)
    tried.clear()
    (run,) = run_tasks(job(task("a", max_retries=1)), attempt, longest_pause=0)
    assert (tried, run.state, run.message) == ([0, 1], State.FAILED, "not yet")


def test_a_task_that_took_too_long_is_tried_again_only_where_that_is_wanted() -> None:
    for fields, attempts in (({}, 1), ({"retry_on_timeout": True}, 3)):
        (run,) = run_tasks(job(task("a", max_retries=2, **fields)), outcomes(a=State.TIMED_OUT), longest_pause=0)
        assert (run.state, run.attempts) == (State.TIMED_OUT, attempts)


def test_after_a_cancellation_nothing_begins() -> None:
    cancelled = threading.Event()

    def attempt(one: Task, _: int) -> Ended:
        cancelled.set()
        return Ended(State.CANCELED)

    runs = run_tasks(CHAIN, attempt, cancelled=cancelled)
    assert [run.state.value for run in runs] == ["CANCELED"] * 3
    assert combine(runs, CHAIN) == State.CANCELED


def test_a_repair_runs_only_what_did_not_succeed() -> None:
    begun: list[str] = []

    def attempt(one: Task, _: int) -> Ended:
        begun.append(one.key)
        return Ended(State.SUCCESS)

    runs = run_tasks(CHAIN, attempt, done={"a": TaskRun("a", State.SUCCESS, 1)})
    assert begun == ["b", "c"]
    assert combine(runs, CHAIN) == State.SUCCESS


# --- parameters


def test_a_job_s_parameters_reach_a_task_by_name_and_count_more_than_its_own() -> None:
    values = list_values("churn_score", "17", "a", 0, {"lake": "main.x", "job_run": "{{job.run_id}}"})
    parameters = {"lake": "main.x", "job_run": "{{job.run_id}}"}
    assert build_arguments({"pipelines": "training", "lake": "other"}, (), parameters, values) == [
        "--pipelines=training",
        "--lake=main.x",
        "--job_run=17",
    ]


def test_a_task_with_a_list_gets_the_list_alone() -> None:
    values = list_values("churn_score", "17", "a", 0, {"lake": "main.x"})
    listed = ("--lake", "{{job.parameters.lake}}", "{{ task.name }}")
    assert build_arguments({}, listed, {"lake": "main.x"}, values) == ["--lake", "main.x", "a"]


def test_a_reference_without_a_value_is_refused() -> None:
    with pytest.raises(UnknownReferenceError, match=r"\{\{job\.runid\}\} is no reference"):
        substitute("{{job.runid}}", list_values("j", "1", "t", 0, {}))
