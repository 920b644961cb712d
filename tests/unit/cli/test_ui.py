"""The pages that `make ui` opens: trained models' mode, a view of runs per use case, and what a run calls itself."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from kedro.pipeline import node, pipeline

from lakehouse_ml.cli import ui
from lakehouse_ml.pipelines import STAGES
from lakehouse_ml.runs.experiment import experiment_tags
from lakehouse_ml.runs.hooks import build_run_name, rebuild_command
from lakehouse_ml.use_cases import USE_CASES

SERVER = "http://127.0.0.1:5000"


def test_the_page_is_that_of_trained_models_and_has_a_view_per_use_case() -> None:
    tags = experiment_tags(["churn"], created=7)
    view = json.loads(tags["mlflow.sharedViewState.churn"])
    state = json.loads(view["state"])
    assert tags["mlflow.experimentKind"] == "custom_model_development"
    assert (view["name"], view["createdAt"]) == ("Runs of churn", 7)
    assert state["searchFilter"] == "tags.use_case LIKE '%churn%'"
    assert {"metrics.`holdout_f1`", "tags.`verdict`", "tags.`model_version`"} <= set(state["selectedColumns"])
    assert list(state["columnWidths"]) == state["columnOrder"]
    assert all(len(value) < 5_000 for value in tags.values())  # MLflow's longest value of an experiment's tag


def test_addresses_name_the_mode_the_view_and_the_models() -> None:
    pages = ui.list_addresses(SERVER, "3", {"churn": "main.lakehouse.churn"})
    runs = f"{SERVER}/#/experiments/3/runs?workflowType=machine_learning&viewStateShareKey="
    assert pages == [
        *((f"{runs}{use_case.name}", f"runs of {use_case.name}") for use_case in USE_CASES),
        (f"{SERVER}/#/models/main.lakehouse.churn?workflowType=machine_learning", "the registered model of churn"),
    ]


def test_where_there_are_no_runs_a_sentence_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.execv", lambda *_: pytest.fail("a server was started"))
    with pytest.raises(SystemExit, match=r"^Error: No lake found in .*nowhere. Run all stages first"):
        ui.main(["--lake", str(tmp_path / "nowhere")])
    (tmp_path / ".lock").touch()
    with pytest.raises(SystemExit, match=r"^Error: No runs found in .*: mlflow.db is missing. Run `make run`"):
        ui.main(["--lake", str(tmp_path)])
    assert not (tmp_path / "mlflow.db").exists()


def _named(*stages: str, use_cases: tuple[str, ...] = ("churn",)) -> str:
    nodes = [
        node(lambda rows: rows, f"{use_case}_{stage}_in", f"{use_case}_{stage}_out", name=f"{use_case}.{stage}.n")
        for stage in stages
        for use_case in use_cases
    ]
    return build_run_name(use_cases, pipeline(nodes))


def test_the_name_of_a_run_is_short_enough_to_be_read() -> None:
    assert _named(*STAGES) == "churn: whole life"
    assert _named("training") == "churn: training"
    assert _named("training", "evaluation") == "churn: training, evaluation"
    assert _named("feature_engineering", "training", "evaluation") == "churn: feature_engineering to evaluation"
    assert _named("data_quality", "training", "monitoring") == "churn: 3 stages"
    assert _named("training", use_cases=("a", "b")) == "a and b: training"
    assert _named("training", use_cases=("a", "b", "c")) == "3 use cases: training"


@pytest.mark.parametrize(
    ("argv", "typed"),
    [
        (
            [
                "/p/lakehouse_ml/cli/make_run.py",
                "--use-case",
                "all",
                "--landing",
                "",
                "--lake",
                "a b",
                "--env",
                "",
                "--quiet",
                "",
            ],
            "make run USE_CASE=all 'LAKE=a b'",
        ),
        (
            [
                "/p/lakehouse_ml/cli/make_run.py",
                "--pipelines",
                "monitoring",
                "--quiet",
                "1",
                "--lake",
                "x",
                "--env",
                "",
            ],
            "make report LAKE=x",
        ),
        (["/p/lakehouse_ml/__main__.py", "--params", "lake=x y"], "python -m lakehouse_ml --params 'lake=x y'"),
        (["/p/.venv/bin/kedro", "run", "--env", "spark"], "kedro run --env spark"),
    ],
)
def test_the_command_is_what_was_typed(argv: list[str], typed: str) -> None:
    assert rebuild_command(argv) == typed
