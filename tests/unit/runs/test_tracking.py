"""What the tracking store shows of a run: its trials, what it was trained on, how it was judged, and who ran what."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import deltalake
import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from kedro.framework.hooks import hook_impl
from kedro.framework.hooks.manager import _create_hook_manager
from kedro.io import DataCatalog, MemoryDataset
from kedro.pipeline import Node, Pipeline
from kedro.runner import SequentialRunner

from lakehouse_ml.cli.commands import cli
from lakehouse_ml.datasets.delta_table import DeltaTable
from lakehouse_ml.modelling.card import Promotion
from lakehouse_ml.modelling.metrics import METRICS
from lakehouse_ml.runs import tracking
from lakehouse_ml.runs.hooks import TrackingHooks, _TrackedRun
from lakehouse_ml.storage.writes import Edition
from lakehouse_ml.use_cases.churn.contracts import clean_customers

# MLflow hooks into the import of scikit-learn by an old protocol.
pytestmark = pytest.mark.filterwarnings("ignore:_ImportHookChainedLoader:ImportWarning")

PROJECT = Path(__file__).resolve().parents[3]
JUDGED = ["data_ingestion", "data_quality", "feature_engineering", "training", "evaluation"]
TRIALS = [
    {"estimator": "logistic_regression", "params": {"C": 0.5}},
    {"estimator": "random_forest", "params": {"n_estimators": 5, "max_depth": 3}},
]
SMALL = {
    "training": {"trials": TRIALS, "folds": 2, "split": {"min_per_class": 5, "max_share_gap": 0.5}},
    "evaluation": {
        "floors": {"f1": 0.1, "roc_auc": 0.5},
        "policy": {"resamples": 200, "min_rows": 20, "min_positives": 5},
        "resamples": 100,
    },
}


@dataclass(frozen=True)
class Tracked:
    """A lake whose models were trained and judged once, on 500 simulated customers."""

    lake: Path

    def again(self, other: dict[str, Any] | None = None, only: list[str] | None = None) -> None:
        """Run the same over the same, or with other parameters."""
        from kedro.framework.project import settings

        parameters = {"lake": str(self.lake), "landing": str(self.lake / "landing"), "churn": SMALL, **(other or {})}
        with settings.SESSION_CLASS.create(PROJECT, runtime_params=parameters) as session:
            session.run(pipeline_names=only or JUDGED, namespaces=["churn"])

    def runs(self) -> list[Any]:
        """All runs that weren't deleted, newest first."""
        import mlflow

        return list(mlflow.search_runs(experiment_names=["lakehouse-ml"], output_format="list"))

    @property
    def parent(self) -> Any:
        return next(run for run in self.runs() if "mlflow.parentRunId" not in run.data.tags)

    @property
    def trials(self) -> list[Any]:
        nested = [run for run in self.runs() if run.data.tags.get("mlflow.parentRunId") == self.parent.info.run_id]
        return sorted(nested, key=lambda run: run.info.run_name)

    def artefact(self, name: str) -> Any:
        import mlflow

        return mlflow.artifacts.load_dict(f"runs:/{self.parent.info.run_id}/{name}")

    def table(self, path: str) -> pd.DataFrame:
        return DeltaTable(filepath=str(self.lake / path), frame="pandas").load()


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with an empty tracking store, which is the one in use."""
    import mlflow

    # Making a store's tables takes seconds: files of tests share an empty one.
    empty = tmp_path_factory.getbasetemp() / "mlflow.db"
    if not empty.exists():
        mlflow.MlflowClient(f"sqlite:///{empty}").search_experiments()
    folder = tmp_path_factory.mktemp("lake")
    shutil.copy(empty, folder / "mlflow.db")
    tracked_before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(f"sqlite:///{folder / 'mlflow.db'}")
    yield folder
    while mlflow.active_run() is not None:
        mlflow.end_run()
    mlflow.set_tracking_uri(tracked_before)


@pytest.fixture(scope="module")
def tracked(store: Path) -> Tracked:
    from kedro.framework.startup import bootstrap_project

    from lakehouse_ml.use_cases.churn.synthetic import write_csv

    bootstrap_project(PROJECT)
    write_csv(store / "landing" / "customers.csv", n=500)
    lake = Tracked(store)
    lake.again()
    return lake


# --- the trials


def test_each_trial_is_a_nested_run_with_its_parameters(tracked: Tracked) -> None:
    assert [run.info.run_name for run in tracked.trials] == ["1 logistic_regression", "2 random_forest"]
    assert [run.data.params for run in tracked.trials] == [
        {"estimator": "logistic_regression", "C": "0.5"},
        {"estimator": "random_forest", "n_estimators": "5", "max_depth": "3"},
    ]
    assert all(run.info.status == "FINISHED" for run in tracked.trials)


def test_each_trial_has_the_six_metrics_its_threshold_and_the_time_that_it_took(tracked: Tracked) -> None:
    table = tracked.table("06_models/churn/metrics_trials").sort_values("trial")

    names = [*METRICS, "threshold", "fit_seconds"]
    assert len(METRICS) == 6
    for run, row in zip(tracked.trials, table.to_dict("records"), strict=True):
        assert set(run.data.metrics) == set(names)
        assert run.data.metrics == pytest.approx({name: row[name] for name in names})
        assert run.data.metrics["fit_seconds"] > 0


def test_the_chosen_trial_is_tagged_and_is_the_one_with_the_best_f1(tracked: Tracked) -> None:
    chosen_trials = [run for run in tracked.trials if run.data.tags["chosen"] == "True"]

    assert len(chosen_trials) == 1
    assert chosen_trials[0].data.metrics["f1"] == max(run.data.metrics["f1"] for run in tracked.trials)
    assert {run.data.tags["use_case"] for run in tracked.trials} == {"churn"}


# --- the run


def test_the_run_says_what_ran_on_what_and_by_which_code(tracked: Tracked) -> None:
    tags = tracked.parent.data.tags

    assert tracked.parent.info.status == "FINISHED"
    assert tracked.parent.info.run_name == "churn: data_ingestion to evaluation"
    assert (tags["use_case"], tags["engine"], tags["environment"]) == ("churn", "sail", "local")
    assert tags["command"] == shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])
    assert tags["git_sha"]


def test_make_ui_prints_the_pages_of_a_lake_also_of_one_that_is_older(
    tracked: Tracked, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import mlflow

    from lakehouse_ml.cli import ui

    started: list[list[str]] = []
    monkeypatch.setattr("os.execv", lambda _, command: started.append(command))
    client, number = mlflow.MlflowClient(), tracked.parent.info.experiment_id
    tags = client.get_experiment(number).tags
    assert tags["mlflow.experimentKind"] == "custom_model_development"
    for key in tags:
        client.delete_experiment_tag(number, key)
    client.set_experiment_tag(number, "mlflow.note.content", "ours")

    ui.main(["--lake", str(tracked.lake)])

    assert client.get_experiment(number).tags == tags | {"mlflow.note.content": "ours"}
    printed = capsys.readouterr().out.splitlines()
    page = "http://127.0.0.1:5000/#/"
    runs = f"{page}experiments/{number}/runs?workflowType=machine_learning&viewStateShareKey=churn "
    assert printed[0].startswith(runs)
    assert printed[-1].startswith(f"{page}models/churn?workflowType=machine_learning ")
    assert started[0][2:6] == ["mlflow", "ui", "--backend-store-uri", f"sqlite:///{tracked.lake / 'mlflow.db'}"]


def test_no_tag_and_no_parameter_shows_an_object_or_a_guess(tracked: Tracked) -> None:
    for run in tracked.runs():
        for name, value in (run.data.tags | run.data.params).items():
            assert not re.search(r"object at 0x|<[\w.]+( |>)", value), (name, value)
        assert "kedro_command" not in run.data.tags
    assert tracked.parent.data.tags["runner"] == "UpToDateRunner"


def test_the_run_names_the_rows_that_the_model_was_trained_on_with_their_version(tracked: Tracked) -> None:
    assert len(tracked.parent.inputs.dataset_inputs) == 1
    dataset_input = tracked.parent.inputs.dataset_inputs[0]

    assert dataset_input.dataset.name == "churn.model_input_customers@v0"
    assert [tag.value for tag in dataset_input.tags] == ["training"]
    source = json.loads(dataset_input.dataset.source)
    assert source["path"] == str(tracked.lake / "05_model_input" / "churn" / "model_input_customers")


def test_the_run_has_cross_validated_and_hold_out_metrics_with_intervals(tracked: Tracked) -> None:
    metrics = tracked.parent.data.metrics
    held_out = tracked.table("06_models/churn/metrics_holdout")
    overall = held_out[held_out["segment"] == "all"].set_index("metric")

    best = max(tracked.trials, key=lambda run: run.data.metrics["f1"])
    assert {name: metrics[f"cv_{name}"] for name in METRICS} == pytest.approx(
        {name: best.data.metrics[name] for name in METRICS}
    )
    for name in METRICS:
        assert metrics[f"holdout_{name}"] == pytest.approx(overall.loc[name, "value"])
        assert metrics[f"holdout_{name}_low"] <= metrics[f"holdout_{name}"] <= metrics[f"holdout_{name}_high"]
    assert "holdout_expected_value" in metrics
    assert not any(name.startswith("incumbent_") for name in metrics)


def test_the_run_keeps_importances_and_the_metrics_of_segments(tracked: Tracked) -> None:
    importance = tracked.artefact("importance.json")
    segments = tracked.artefact("holdout_metrics.json")

    assert {"contract", "tenure_months", "monthly_charges"} <= set(importance)
    assert all(effect >= 0 for effect in importance.values())
    assert "segment" in segments["columns"]


def test_the_run_carries_the_verdict_and_so_does_the_version(tracked: Tracked) -> None:
    import mlflow

    tags = tracked.parent.data.tags
    verdict = tracked.table("06_models/churn/verdict_model").iloc[0]

    assert (tags["verdict"], tags["model_version"]) == ("approve", "1")
    assert tags["verdict_reason"] == verdict["reason"]
    version = mlflow.MlflowClient().get_model_version("churn", "1")
    assert version.run_id == tracked.parent.info.run_id
    assert version.tags["evidence"] == verdict["evidence"]
    assert tags["mlflow.note.content"] == f"Version 1 was promoted to champion. {verdict['reason']}"
    assert re.match(
        r"\w+ \(.*\), chosen by cross-validation \(f1 0\.\d+, .*Most important predictors: \w+", version.description
    )
    read = DeltaTable(filepath=str(tracked.lake / "05_model_input" / "churn" / "model_input_customers")).token()
    assert version.tags["input.churn.model_input_customers"] == read
    assert json.loads(verdict["made_of"])["churn.model_input_customers"] == read


def test_a_stored_table_names_its_run_and_code_and_tells_what_its_contract_says(tracked: Tracked) -> None:
    address = tracked.lake / "03_primary" / "churn" / "clean_customers"
    commit = next(DeltaTable(filepath=str(address)).commits())
    assert (commit["run"], commit["git"]) == (tracked.parent.info.run_id, tracked.parent.data.tags["git_sha"])
    assert commit["node"] == "churn.data_quality.release_customers"

    stored = deltalake.DeltaTable(address)
    comments = {field.name: field.metadata.get("comment") for field in stored.schema().fields}
    assert stored.metadata().description == clean_customers.grain
    assert comments == {column.name: column.doc for column in clean_customers.columns}


def test_a_score_of_a_lake_is_traced_to_its_file_by_a_command(tracked: Tracked) -> None:
    result = CliRunner().invoke(cli, ["lineage", "churn.model_input_customers", "--lake", str(tracked.lake)])
    assert result.exit_code == 0, result.output
    assert f"by churn.training.assemble_rows, run {tracked.parent.info.run_id}, git " in result.output
    assert f" of file customers.csv of {tracked.lake / 'landing'}, SHA-256 " in result.output

    wrong = CliRunner().invoke(cli, ["lineage", "churn.model_input_customers", "9", "--lake", str(tracked.lake)])
    assert (wrong.exit_code, wrong.output.count("\n")) == (1, 1)
    assert "has no version 9; its newest version is 0" in wrong.output


def test_a_run_in_which_nothing_was_new_leaves_no_trace(tracked: Tracked) -> None:
    before = [run.info.run_id for run in tracked.runs()]

    tracked.again()

    import mlflow

    assert [run.info.run_id for run in tracked.runs()] == before
    assert mlflow.active_run() is None


def test_a_run_that_fails_is_marked_as_failed(tracked: Tracked) -> None:
    import click

    delta_log = tracked.lake / "05_model_input" / "churn" / "model_input_customers" / "_delta_log"
    log_content = (delta_log / "00000000000000000000.json").read_bytes()
    (delta_log / "00000000000000000000.json").write_text("{cut off")
    before = len(tracked.runs())
    try:
        with pytest.raises(click.ClickException, match="model_input_customers is damaged and can't be read"):
            tracked.again()
    finally:
        (delta_log / "00000000000000000000.json").write_bytes(log_content)

    # Set here, it would outlive this run and send the next lake's models into this one's registry.
    assert "MLFLOW_REGISTRY_URI" not in os.environ
    assert len(tracked.runs()) == before + 1
    failed = tracked.runs()[0]
    assert failed.info.status == "FAILED"
    import mlflow

    mlflow.delete_run(failed.info.run_id)


def test_a_run_that_was_open_before_stays_its_owners_when_ours_fails(tracked: Tracked) -> None:
    import click
    import mlflow
    from kedro.framework.project import settings

    with mlflow.start_run(run_name="a notebook's") as theirs:
        with (
            settings.SESSION_CLASS.create(PROJECT, runtime_params={"lake": str(tracked.lake)}) as session,
            pytest.raises(click.ClickException, match="Unknown pipeline nothing"),
        ):
            session.run(pipeline_names=["nothing"])
        assert mlflow.active_run().info.run_id == theirs.info.run_id
    mlflow.delete_run(theirs.info.run_id)


# --- single pieces


def test_a_parameter_that_mlflow_would_cut_is_whole_in_a_file_and_a_long_tag_says_that_it_is_cut(
    tracked: Tracked, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow

    trials = [{"estimator": "logistic_regression", "params": {"C": 0.5 + n / 1_000}} for n in range(200)]
    long = {"churn": SMALL | {"training": SMALL["training"] | {"trials": trials}}}
    monkeypatch.setattr(sys, "argv", ["kedro", "run", "x" * 9_000])
    # Parameters are logged before the search begins.
    monkeypatch.setattr("lakehouse_ml.pipelines.training.nodes._cross_validate", None)
    with pytest.raises(TypeError, match="not callable"):
        tracked.again(long, only=["training"])
    run = tracked.runs()[0]
    name = "churn.training"
    whole = mlflow.artifacts.load_text(f"runs:/{run.info.run_id}/parameters/{name}.json")
    assert len(json.loads(whole)["trials"]) == 200
    assert run.data.tags[name] == f"{len(whole):,} characters, in the run's file parameters/{name}.json"
    for tag in ("command", "runtime_params"):
        assert run.data.tags[tag].endswith(" … (cut)")
    mlflow.delete_run(run.info.run_id)


def test_nothing_is_logged_without_an_open_run(store: Path) -> None:
    import mlflow

    before = len(mlflow.search_runs(search_all_experiments=True, output_format="list"))

    tracking.log_result("churn.report_drift", Edition({"status": "alarm"}), DataCatalog())

    assert mlflow.active_run() is None
    assert len(mlflow.search_runs(search_all_experiments=True, output_format="list")) == before


class Unsaved(MemoryDataset):
    """Where a process dies before it has saved."""

    def save(self, data: Any) -> None:
        raise KeyboardInterrupt


def test_a_result_is_logged_before_it_is_saved_for_a_later_run_skips_what_is_stored(store: Path) -> None:
    import mlflow

    hooks = TrackingHooks()
    catalog = DataCatalog({"churn.report_drift": Unsaved()})
    manager = _create_hook_manager()
    manager.register(hooks)
    node = Node(lambda: Edition({"status": "alarm"}), None, "report_drift", name="measure_drift")

    with mlflow.start_run(experiment_id=experiment_of(store)) as run:
        hooks._run = _TrackedRun(run.info.run_id, catalog)
        with pytest.raises(KeyboardInterrupt):
            SequentialRunner().run(Pipeline([node], namespace="churn"), catalog, manager)

    assert mlflow.get_run(run.info.run_id).data.tags["drift"] == "alarm"


class Opened(BaseException):
    """A process dies as soon as its run is open."""


class OpensARun:
    """What kedro-mlflow does first; its tags come later."""

    def __init__(self, experiment: str) -> None:
        self.experiment, self.run_id = experiment, ""

    @hook_impl
    def before_pipeline_run(self) -> None:
        import mlflow

        self.run_id = mlflow.start_run(experiment_id=self.experiment).info.run_id
        raise Opened


def test_a_run_whose_process_dies_while_it_is_opened_is_ended_by_the_next(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow

    experiment = mlflow.create_experiment("opened", artifact_location=str(store / "opened"))
    manager, opens = _create_hook_manager(), OpensARun(experiment)
    for hooks in (opens, TrackingHooks()):
        manager.register(hooks)
    monkeypatch.setenv("MLFLOW_RUN_CONTEXT", '{"team": "risk"}')

    with pytest.raises(Opened):
        manager.hook.before_pipeline_run(
            run_params={"project_path": str(PROJECT)}, pipeline=Pipeline([]), catalog=DataCatalog()
        )
    mlflow.end_run("RUNNING")
    with mlflow.start_run(experiment_id=experiment) as following:
        tracking.end_abandoned(following)

    assert mlflow.get_run(opens.run_id).info.status == "KILLED"
    assert mlflow.get_run(opens.run_id).data.tags["team"] == "risk"
    assert "project_path" not in mlflow.get_run(following.info.run_id).data.tags
    assert os.environ["MLFLOW_RUN_CONTEXT"] == '{"team": "risk"}'


def log_dataset(store: Path, dataset: str, data: Any) -> Any:
    """The run to which something was logged, in an experiment beside the project's."""
    return log_datasets(store, {dataset: data})


def log_datasets(store: Path, saved: dict[str, Any], *, is_shared: bool = False) -> Any:
    """The same of several datasets."""
    import mlflow

    with mlflow.start_run(experiment_id=experiment_of(store)) as run:
        for dataset, data in saved.items():
            tracking.log_result(dataset, data, DataCatalog(), is_shared=is_shared)
    return mlflow.get_run(run.info.run_id)


def experiment_of(store: Path) -> str:
    """An experiment beside the project's."""
    import mlflow

    experiment = mlflow.get_experiment_by_name("pieces")
    return (
        experiment.experiment_id
        if experiment
        else mlflow.create_experiment("pieces", artifact_location=str(store / "pieces"))
    )


def test_in_a_run_of_two_use_cases_each_keeps_its_own_metrics_tags_and_files(store: Path) -> None:
    import mlflow

    columns = ["model", "segment", "metric", "value", "low", "high"]
    saved: dict[str, Any] = {}
    for use_case, f1 in (("churn", 0.6), ("predictive_maintenance", 0.9)):
        saved[f"{use_case}.metrics_holdout"] = pd.DataFrame([("candidate", "all", "f1", f1, 0, 1)], columns=columns)
        saved[f"{use_case}.promotion_model"] = Promotion("3", None, "approve", f"F1 {f1}.", "")
        saved[f"{use_case}.report_drift"] = Edition({"status": "stable", "use_case": use_case})

    run = log_datasets(store, saved, is_shared=True)

    assert run.data.metrics["churn.holdout_f1"] == 0.6
    assert run.data.metrics["predictive_maintenance.holdout_f1"] == 0.9
    assert {"churn.verdict", "churn.drift", "predictive_maintenance.model_version"} <= run.data.tags.keys()
    assert run.data.tags["mlflow.note.content"] == (
        "churn: Version 3 was promoted to champion. F1 0.6.\n\n"
        "predictive_maintenance: Version 3 was promoted to champion. F1 0.9."
    )
    for use_case in ("churn", "predictive_maintenance"):
        drift = mlflow.artifacts.load_dict(f"runs:/{run.info.run_id}/{use_case}/drift.json")
        assert drift["use_case"] == use_case


def test_both_contenders_metrics_stand_beside_each_other_and_a_number_that_is_none_is_left_out(store: Path) -> None:
    metrics = pd.DataFrame(
        [
            ("candidate", "all", "f1", 0.6, 0.5, 0.7),
            ("incumbent", "all", "f1", 0.5, np.nan, np.nan),
            ("candidate", "all", "roc_auc", np.nan, np.nan, np.nan),
            ("candidate", "contract=monthly", "f1", 0.9, np.nan, np.nan),
        ],
        columns=["model", "segment", "metric", "value", "low", "high"],
    )

    run = log_dataset(store, "churn.metrics_holdout", metrics)

    assert run.data.metrics == {
        "holdout_f1": 0.6,
        "holdout_f1_low": 0.5,
        "holdout_f1_high": 0.7,
        "incumbent_holdout_f1": 0.5,
    }


def test_drift_is_a_tag_and_an_artefact(store: Path) -> None:
    import mlflow

    run = log_dataset(store, "churn.report_drift", Edition({"status": "alarm", "batch": "2024-12-31"}))

    assert run.data.tags["drift"] == "alarm"
    assert mlflow.artifacts.load_dict(f"runs:/{run.info.run_id}/drift.json")["batch"] == "2024-12-31"


def test_other_datasets_are_not_logged(store: Path) -> None:
    run = log_dataset(store, "churn.metrics_live", pd.DataFrame({"f1": [0.5]}))

    assert (run.data.metrics, run.data.params) == ({}, {})


def test_on_a_server_that_lakes_share_only_runs_of_the_same_lake_are_ended(store: Path) -> None:
    import mlflow

    from lakehouse_ml.runs.tracking import end_abandoned

    client = mlflow.MlflowClient()
    shared = client.create_experiment("shared")

    def left_open(lake: str | None, **tags: str) -> str:
        all_tags = {"use_case": "churn"} | ({"lake": lake} if lake else {}) | tags
        return str(client.create_run(shared, tags=all_tags).info.run_id)

    mine, theirs, unnamed = (left_open(lake) for lake in ("s3://a/lake", "s3://b/lake", None))
    trials = {run: left_open(None, **{"mlflow.parentRunId": run}) for run in (mine, theirs)}
    active = client.create_run(shared, tags={"use_case": "churn", "lake": "s3://a/lake"})
    end_abandoned(active, "s3://a/lake")

    statuses = {run: client.get_run(run).info.status for run in (mine, trials[mine], theirs, trials[theirs], unnamed)}
    assert list(statuses.values()) == ["KILLED", "KILLED", "RUNNING", "RUNNING", "RUNNING"]
    assert client.get_run(active.info.run_id).info.status == "RUNNING"


# --- a task of a job, broken off and repaired


def test_a_repaired_task_registers_nothing_twice_and_stands_for_its_first_attempt(tracked: Tracked) -> None:
    """It breaks off after its model was registered: the table that comes next can't be written."""
    import click
    import mlflow

    trials = tracked.lake / "06_models" / "churn" / "metrics_trials"
    kept = trials.rename(trials.with_name("kept"))
    trials.write_text("in the way", encoding="utf-8")
    other = {"churn": SMALL | {"training": SMALL["training"] | {"folds": 3}}, "job_run": "4711"}
    try:
        with pytest.raises(click.ClickException, match="metrics_trials"):
            tracked.again(other, only=["training"])
        broken_off = tracked.runs()
    finally:
        trials.unlink()
        kept.rename(trials)
    tracked.again(other, only=["training"])

    job = next(run for run in tracked.runs() if run.data.tags.get("job_run") == "4711")
    tasks = [run for run in tracked.runs() if run.data.tags.get("mlflow.parentRunId") == job.info.run_id]
    repair, first = tasks
    assert [run.info.status for run in (repair, first, job)] == ["FINISHED", "FAILED", "FINISHED"]
    assert first.data.tags["superseded_by"] == repair.info.run_id
    assert "superseded_by" not in repair.data.tags
    assert next(run for run in broken_off if run.info.run_id == job.info.run_id).info.status == "FAILED"
    versions = mlflow.MlflowClient().search_model_versions("name = 'churn'")
    assert sorted(int(version.version) for version in versions) == [1, 2]
    tracked.again(other, only=["evaluation"])
    assert mlflow.MlflowClient().get_model_version("churn", "2").tags["verdict"]
    assert not tracked.table("06_models/churn/verdict_model").duplicated(["model", "version"]).any()
