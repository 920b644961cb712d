"""How a task ends that a platform calls in a process of its own: it returns, or raises a sentence."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import pytest
from kedro.framework.cli.project import run as kedro_run
from kedro.io import DataCatalog, MemoryDataset
from kedro.pipeline import Pipeline, node

from lakehouse_ml.cli import tasks
from lakehouse_ml.cli.tasks import TaskError
from lakehouse_ml.errors import LandingError
from lakehouse_ml.runs.runner import UpToDateRunner


@pytest.fixture
def set_parameters(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Parameters of a task, where a platform puts them; what the task sets in the environment is undone."""
    for name in ("NO_COLOR", "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"):
        monkeypatch.setenv(name, "")
    return lambda *parameters: monkeypatch.setattr(sys, "argv", ["lakehouse_ml", *parameters])


@pytest.fixture
def arguments_of_run(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What reaches Kedro's own command."""
    seen: dict[str, Any] = {}
    monkeypatch.setattr(kedro_run, "callback", seen.update)
    return seen


def test_a_jobs_parameters_are_the_runs_and_empty_ones_are_none(
    set_parameters: Callable[..., None], arguments_of_run: dict[str, Any]
) -> None:
    set_parameters(
        "--pipelines=training", "--landing=s3://bucket/raw", "--lake=", "--params=results_table=,churn.economics.a="
    )
    tasks.run()
    assert arguments_of_run["pipelines"] == ["training"]
    assert arguments_of_run["params"].keys() == {"landing", "churn"}
    assert arguments_of_run["params"]["landing"] == "s3://bucket/raw"


def test_what_a_task_names_itself_wins_over_params(
    set_parameters: Callable[..., None], arguments_of_run: dict[str, Any]
) -> None:
    set_parameters("--lake=mine", "--params=lake=other")
    tasks.run()
    assert arguments_of_run["params"] == {"lake": "mine"}


def test_days_of_a_job_are_those_of_the_task_s_use_case(
    set_parameters: Callable[..., None], arguments_of_run: dict[str, Any]
) -> None:
    set_parameters("--namespaces=churn", "--from_day=2026-01-01", "--to_day=", "--params=churn.batch_scoring.actions=5")
    tasks.run()
    assert arguments_of_run["params"] == {"churn": {"batch_scoring": {"actions": 5, "from_day": "2026-01-01"}}}


def test_days_without_a_use_case_are_refused(set_parameters: Callable[..., None]) -> None:
    for namespaces in ((), ("--namespaces=churn,predictive_maintenance",)):
        set_parameters("--batch=2026-01-01", *namespaces)
        with pytest.raises(TaskError, match="batch: name the use case that is meant, --namespaces=<use case>"):
            tasks.run()


@pytest.mark.parametrize("entry", [tasks.run, tasks.command, tasks.smoke, tasks.maintenance])
def test_an_unknown_argument_raises_a_sentence(set_parameters: Callable[..., None], entry: Callable[[], None]) -> None:
    set_parameters("--leak=lake")
    with pytest.raises(TaskError, match=r"No such option '?--leak"):
        entry()


def test_a_command_that_is_done_returns(
    set_parameters: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    set_parameters("use-case", "--help")
    tasks.command()
    assert "new" in capsys.readouterr().out


@pytest.mark.parametrize(("code", "fails"), [(0, False), (None, False), (3, True), ("Error: why", True)])
def test_an_exit_is_no_failure_unless_it_says_so(
    set_parameters: Callable[..., None], monkeypatch: pytest.MonkeyPatch, code: Any, fails: bool
) -> None:
    def leave(**_: Any) -> None:
        raise SystemExit(code)

    monkeypatch.setattr(kedro_run, "callback", leave)
    set_parameters()
    if fails:
        with pytest.raises(TaskError, match=str(code)):
            tasks.run()
    else:
        tasks.run()


def test_the_message_ends_in_the_node_that_failed() -> None:
    def refuse(_: int) -> int:
        raise LandingError("customers.csv is empty: land it again.")

    pipeline = Pipeline([node(refuse, "given", "made", name="churn.data_ingestion.parse")])
    catalog = DataCatalog({"given": MemoryDataset(1)})
    with pytest.raises(LandingError) as caught:
        UpToDateRunner().run(pipeline, catalog)
    assert tasks._describe_error(caught.value) == (
        "LandingError: customers.csv is empty: land it again. Node churn.data_ingestion.parse failed."
    )
