"""A run does what is left to do and nothing twice; what a user can mend ends in a sentence."""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import deltalake
import pandas as pd
import pytest
from kedro.io import DataCatalog, DatasetError, MemoryDataset
from kedro.pipeline import Node, Pipeline
from kedro.runner import ParallelRunner, SequentialRunner, ThreadRunner
from kedro_datasets.pandas import CSVDataset

from lakehouse_ml.datasets.delta_table import DeltaTable
from lakehouse_ml.datasets.handed_list import HandedList
from lakehouse_ml.errors import QualityError
from lakehouse_ml.runs.runner import UpToDateRunner
from lakehouse_ml.storage import provenance
from lakehouse_ml.storage.writes import Edition, ReplaceBatch

PROJECT = Path(__file__).resolve().parents[3]


def multiply(source: pd.DataFrame, factor: int) -> pd.DataFrame:
    return source.assign(n=source["n"] * factor)


def add_up(product: pd.DataFrame, bonus: int = 0) -> pd.DataFrame:
    return pd.DataFrame({"total": [product["n"].sum() + bonus]})


MULTIPLY = Node(multiply, {"source": "source", "factor": "params:factor"}, "product", name="multiply")
ADD_UP = Node(add_up, {"product": "product", "bonus": "params:bonus"}, "total", name="add_up")
BOTH = Pipeline([MULTIPLY, ADD_UP])


def table(folder: Path, name: str) -> DeltaTable:
    return DeltaTable(filepath=str(folder / name), frame="pandas")


def run(folder: Path, pipeline: Pipeline = BOTH, *, factor: int = 2, bonus: int = 0, **others: Any) -> UpToDateRunner:
    """Run over the tables of a folder, in a catalog of its own as every process has it."""
    tables = {name: table(folder, name) for name in ("source", "product", "total")}
    params = {"params:factor": MemoryDataset(factor), "params:bonus": MemoryDataset(bonus)}
    runner = UpToDateRunner()
    runner.run(pipeline, DataCatalog(tables | params | others))
    return runner


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A lake with the one table that is not made by a node."""
    table(tmp_path, "source").save(pd.DataFrame({"n": [1, 2]}))
    return tmp_path


def total(folder: Path) -> int:
    return int(table(folder, "total").load()["total"].item())


def versions(folder: Path) -> list[str | None]:
    return [table(folder, name).token() for name in ("product", "total")]


# --- what is done, and what is not done again


def test_a_first_run_runs_every_node_and_times_it(folder: Path) -> None:
    runner = run(folder)

    assert list(runner.seconds) == ["multiply", "add_up"]
    assert all(seconds > 0 for seconds in runner.seconds.values())
    assert runner.skipped == []
    assert total(folder) == 6


def test_a_second_run_does_nothing(folder: Path) -> None:
    run(folder)
    before = versions(folder)

    runner = run(folder)

    assert runner.skipped == ["multiply", "add_up"]
    assert runner.seconds == {}
    assert versions(folder) == before


def test_ctrl_c_is_one_even_where_it_comes_out_as_an_error_of_what_it_broke_off(folder: Path) -> None:
    def stop(product: pd.DataFrame) -> pd.DataFrame:
        try:
            raise KeyboardInterrupt
        finally:
            raise RuntimeError("release unlocked lock")  # as a lock of the standard library does

    with pytest.raises(KeyboardInterrupt):
        run(folder, Pipeline([MULTIPLY, Node(stop, {"product": "product"}, "total", name="stop")]))


def test_a_changed_input_is_worked_through_to_the_end(folder: Path) -> None:
    run(folder)
    table(folder, "source").save(pd.DataFrame({"n": [5]}))

    runner = run(folder)

    assert runner.skipped == []
    assert total(folder) == 10


def test_a_changed_parameter_is_worked_through_to_the_end(folder: Path) -> None:
    run(folder)

    runner = run(folder, factor=3)

    assert runner.skipped == []
    assert total(folder) == 9


@pytest.mark.slow
def test_changed_code_is_run_again(folder: Path) -> None:
    """In a process of its own, over a copy of the package that is edited between two runs."""
    package = folder / "lakehouse_ml"
    shutil.copytree(provenance.PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__"))
    script = f"""
        import sys
        from pathlib import Path
        sys.path.insert(0, {str(folder)!r})
        sys.path.append({str(Path(__file__).parent)!r})
        from test_session import run
        from lakehouse_ml.storage import provenance
        folder = Path({str(folder)!r})
        assert provenance.__file__.startswith(str(folder))
        for edit in ("", "", "# a comment"):
            with (folder / "lakehouse_ml" / "storage/landing.py").open("a") as source:
                source.write(edit)
            provenance._hash.cache_clear()
            provenance._read_sources.cache_clear()
            print(sorted(run(folder).seconds))
    """
    lines = "\n".join(line.removeprefix(" " * 8) for line in script.splitlines())

    process = subprocess.run(
        [sys.executable, "-c", lines], capture_output=True, text=True, check=True, env={**os.environ}
    )

    assert process.stdout.splitlines() == ["['add_up', 'multiply']", "[]", "['add_up', 'multiply']"]


def test_a_lake_of_an_earlier_version_runs_every_step_once_again_and_says_why(
    folder: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as earlier:
        earlier.setattr(provenance, "SCHEME", "")
        run(folder)

    with caplog.at_level(logging.INFO, logger="lakehouse_ml"):
        assert list(run(folder).seconds) == ["multiply", "add_up"]
        assert run(folder).seconds == {}
        assert run(folder, factor=3).skipped == []

    assert [line for line in caplog.messages if "earlier version" in line] == [
        "An earlier version of lakehouse-ml made this lake. Its fingerprints covered code that makes no result and "
        "can't be compared, so every step runs once again; later runs skip unchanged steps."
    ]


def test_only_what_a_change_reaches_is_run_again(folder: Path) -> None:
    run(folder)

    runner = run(folder, bonus=100)

    assert runner.skipped == ["multiply"]
    assert total(folder) == 106


def test_a_table_that_somebody_else_has_overwritten_is_made_again(folder: Path) -> None:
    run(folder)
    table(folder, "product").save(pd.DataFrame({"n": [100]}))

    runner = run(folder)

    assert runner.skipped == []
    assert total(folder) == 6


def test_a_run_after_a_failure_does_what_is_left(folder: Path) -> None:
    def stumble(product: pd.DataFrame) -> pd.DataFrame:
        raise ZeroDivisionError

    broken = Pipeline([MULTIPLY, Node(stumble, {"product": "product"}, "total", name="add_up")])
    with pytest.raises(ZeroDivisionError):
        run(folder, broken)

    runner = run(folder)

    assert runner.skipped == ["multiply"]
    assert list(runner.seconds) == ["add_up"]
    assert total(folder) == 6


def test_a_deleted_output_is_made_again(folder: Path) -> None:
    run(folder)
    shutil.rmtree(folder / "product")

    runner = run(folder)

    assert "multiply" in runner.seconds
    assert list(table(folder, "product").load()["n"]) == [2, 4]
    assert total(folder) == 6


def test_a_table_that_was_deleted_and_made_anew_is_not_taken_for_the_old_one(folder: Path) -> None:
    run(folder)
    shutil.rmtree(folder / "product")
    table(folder, "source").save(pd.DataFrame({"n": [5]}))

    run(folder)

    assert total(folder) == 10


# --- when nobody can know whether a result is current


def test_a_node_whose_outputs_keep_no_provenance_always_runs(folder: Path) -> None:
    export = Pipeline([Node(add_up, {"product": "source"}, "report", name="export")])
    report = CSVDataset(filepath=str(folder / "report.csv"), save_args={"index": False})

    for _ in range(2):
        assert list(run(folder, export, report=report).seconds) == ["export"]


def test_a_node_with_an_input_of_unknown_state_always_runs(folder: Path) -> None:
    from_memory = Pipeline([Node(add_up, {"product": "anything"}, "total", name="add_up")])

    for _ in range(2):
        runner = run(folder, from_memory, anything=MemoryDataset(pd.DataFrame({"n": [1]})))
        assert list(runner.seconds) == ["add_up"]


def twice(source: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    return source, source


def test_a_missing_file_beside_a_table_is_made_again(folder: Path) -> None:
    both = Pipeline([Node(twice, {"source": "source"}, ["product", "report"], name="twice")])
    report = HandedList(filepath=str(folder / "report.csv"))
    run(folder, both, report=report)
    assert run(folder, both, report=report).skipped == ["twice"]

    (folder / "report.csv").unlink()

    assert list(run(folder, both, report=report).seconds) == ["twice"]
    assert (folder / "report.csv").exists()


def test_a_file_that_could_not_be_written_after_its_table_is_made_by_the_next_run(folder: Path) -> None:
    both = Pipeline([Node(twice, {"source": "source"}, ["product", "report"], name="twice")])
    report = HandedList(filepath=str(folder / "report.csv"))
    run(folder, both, report=report)
    table(folder, "source").save(pd.DataFrame({"n": [7]}))
    (folder / "report.csv").unlink()
    (folder / "report.csv").mkdir()
    with pytest.raises(DatasetError, match=r"report\.csv"):
        run(folder, both, report=report)
    assert table(folder, "product").load()["n"].tolist() == [7]
    (folder / "report.csv").rmdir()

    assert list(run(folder, both, report=report).seconds) == ["twice"]
    assert report.load()["n"].tolist() == [7]


def test_a_file_about_an_earlier_batch_leaves_the_newest_ones_as_it_is(folder: Path) -> None:
    def listed(source: pd.DataFrame, day: str) -> tuple[ReplaceBatch, Edition]:
        rows = source.assign(batch=day)
        return ReplaceBatch(rows, "batch", (day,)), Edition(rows, day, day == "2024-07-31")

    report = HandedList(filepath=str(folder / "report.csv"))
    node = Node(listed, {"source": "source", "day": "params:day"}, ["product", "report"], name="listed")
    days = ("2024-07-31", "2024-06-30")
    skipped = [
        run(folder, Pipeline([node]), report=report, **{"params:day": MemoryDataset(day)}).skipped for day in days * 2
    ]
    assert skipped == [[], [], ["listed"], ["listed"]]
    assert set(report.load()["batch"]) == {"2024-07-31"}
    assert set(HandedList(filepath=str(folder / "report_2024-06-30.csv")).load()["batch"]) == {"2024-06-30"}


def test_a_node_runs_again_when_one_of_its_tables_was_changed_by_another(folder: Path) -> None:
    both = Pipeline([Node(twice, {"source": "source"}, ["product", "total"], name="twice")])
    run(folder, both)
    table(folder, "total").save(pd.DataFrame({"n": [7]}))

    assert list(run(folder, both).seconds) == ["twice"]


def test_each_commit_names_node_inputs_and_fingerprint(folder: Path) -> None:
    run(folder)

    commit = json.loads(deltalake.DeltaTable(str(folder / "product")).history(1)[0]["userMetadata"])

    assert commit["node"] == "multiply"
    assert commit["inputs"] == {"source": table(folder, "source").token(), "params:factor": "2"}
    assert table(folder, "product").has_fingerprint(commit["fingerprint"])


# --- what the user sees


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Any]]:
    """Runs the project over a lake of its own."""
    import mlflow
    from kedro.framework.project import settings
    from kedro.framework.startup import bootstrap_project

    # Making a store's tables takes seconds: files of tests share an empty one.
    empty = tmp_path_factory.getbasetemp() / "mlflow.db"
    if not empty.exists():
        mlflow.MlflowClient(f"sqlite:///{empty}").search_experiments()
    lake = tmp_path_factory.mktemp("lake")
    shutil.copy(empty, lake / "mlflow.db")
    (lake / "landing").mkdir()
    (lake / ".lock").touch()  # as of a run
    (lake / "files").mkdir()
    (lake / "files" / "customers.csv").touch()
    tracked_before = mlflow.get_tracking_uri()
    bootstrap_project(PROJECT)

    def run_project(*, env: str | None = None, conf: dict[str, Any] | None = None, **how: Any) -> Any:
        folder = "files" if isinstance(how.get("runner"), Failing) else "landing"
        parameters = {"lake": str(lake), "landing": str(lake / folder)} | (conf or {})
        with settings.SESSION_CLASS.create(PROJECT, env=env, runtime_params=parameters) as opened:
            return opened.run(**how)

    yield run_project
    while mlflow.active_run() is not None:
        mlflow.end_run()
    mlflow.set_tracking_uri(tracked_before)


class Failing(SequentialRunner):
    """A runner that ends in an error before its first node."""

    error: Exception

    def _run(self, *arguments: Any, **options: Any) -> None:
        raise self.error


def failing(error: Exception) -> Failing:
    runner = Failing()
    runner.error = error
    return runner


def sentence(start: Callable[..., Any], **how: Any) -> str:
    """What the user reads when a run ends in their mistake."""
    with pytest.raises(click.ClickException) as caught:
        start(**how)
    assert caught.value.exit_code == 1
    return caught.value.format_message()


def test_a_mistake_of_the_user_ends_in_its_sentence(start: Callable[..., Any]) -> None:
    message = sentence(start, pipeline_names=["data_ingestion"])

    assert re.fullmatch(r"The landing folder /.+/landing is empty\. Put the table's files there, .+", message)


@pytest.mark.parametrize(
    ("stage", "expected"),
    [
        ("data_ingestion", "The landing folder /…/landing is empty. Put the table's files there, …"),
        ("monitoring", "churn has no table feature_customers in this lake yet (/…/feature_customers). Run all stages "
         "of the use case first: make run LANDING=… LAKE=…"),
    ],
)  # fmt: skip
def test_what_a_run_would_read_and_is_not_there_is_named_and_no_failed_run_is_recorded(
    start: Callable[..., Any], stage: str, expected: str
) -> None:
    import mlflow

    message = sentence(start, pipeline_names=[stage], namespaces=["churn"])

    assert re.fullmatch(re.escape(expected).replace("…", ".*"), message), message
    recorded = mlflow.search_runs(search_all_experiments=True, output_format="list")
    assert [run for run in recorded if stage in run.info.run_name] == []


def test_a_stage_on_a_lake_that_is_not_there_begins_none(start: Callable[..., Any], tmp_path: Path) -> None:
    message = sentence(start, conf={"lake": str(tmp_path / "gone")}, pipeline_names=["monitoring"])

    assert message == f"No lake found in {tmp_path / 'gone'}. Run all stages first, or name the folder of a lake."
    assert not (tmp_path / "gone").exists()


@pytest.mark.parametrize("lake", ["file", "file/below/it"])
def test_a_lake_that_is_a_file_or_lies_below_one_is_told(start: Callable[..., Any], tmp_path: Path, lake: str) -> None:
    (tmp_path / "file").touch()

    message = sentence(start, conf={"lake": str(tmp_path / lake)}, namespaces=["churn"])

    assert message == f"{tmp_path / 'file'} is a file: a lake is a folder. Name another one: LAKE=<folder>."


@pytest.mark.parametrize(
    ("runner", "option"),
    [
        (ThreadRunner(), "--runner ThreadRunner"),
        (ParallelRunner(), "--runner ParallelRunner"),
        (SequentialRunner(is_async=True), "--async"),
    ],
)
def test_threads_processes_and_asynchronous_loads_are_refused_before_anything_starts(
    start: Callable[..., Any], runner: Any, option: str
) -> None:
    assert sentence(start, runner=runner).startswith(f"{option} is not supported: each node may see only finished")


def test_a_mistake_that_a_framework_has_wrapped_ends_in_its_sentence_too(start: Callable[..., Any]) -> None:
    wrapped = RuntimeError("the engine gave up")
    wrapped.__cause__ = QualityError("customers: 7 rows break a rule.")

    message = sentence(start, pipeline_names=["data_ingestion"], namespaces=["churn"], runner=failing(wrapped))
    assert message == "customers: 7 rows break a rule."


@pytest.mark.parametrize(
    "error", [ZeroDivisionError("our own defect"), ValueError("ours too"), ImportError("and this")]
)
def test_a_defect_of_ours_keeps_its_trace(start: Callable[..., Any], error: Exception) -> None:
    with pytest.raises(type(error), match=str(error)):
        start(pipeline_names=["data_ingestion"], namespaces=["churn"], runner=failing(error))


@pytest.mark.parametrize(
    ("conf", "named"),
    [
        ({"churn": {"training": {"fodls": 3}}}, "fodls"),
        ({"churn": {"training": {"folds": "several"}}}, "folds"),
        ({"churn": {"evaluation": {"floors": {"f2": 0.5}}}}, "f2"),
        ({"churn": {"economics": {"action_cost": -1.0}}}, "action_cost"),
    ],
    ids=["an unknown key", "another type", "an unknown floor", "a value out of range"],
)
def test_a_mistake_in_conf_is_named_before_anything_runs(
    start: Callable[..., Any], conf: dict[str, Any], named: str
) -> None:
    message = sentence(start, conf=conf, pipeline_names=["training", "evaluation"], runner=failing(AssertionError()))

    assert named in message


@pytest.mark.parametrize(
    ("conf", "expected"),
    [
        ({"lkae": "x"}, "lkae is not a known key. Did you mean lake?"),
        ({"churn": {"trainig": {"folds": 3}}}, "churn.trainig is not a known key. Did you mean churn.training?"),
        ({"churn": {"training": {"fodls": 3}}},
         "churn.training.fodls is not a known key. Did you mean churn.training.folds?"),
        ({"churn": {"training": {"folds": "several"}}}, "churn.training.folds can't be 'several': …"),
        ({"churn": {"training": {"library": "mllib"}}}, "churn.training.library is mllib, which computes with …"),
        ({"predictive_maintenance": {"training": 3}}, "predictive_maintenance.training can't be 3: it has keys."),
    ],
)  # fmt: skip
def test_what_is_typed_for_a_run_is_not_blamed_on_a_file(
    start: Callable[..., Any], conf: dict[str, Any], expected: str
) -> None:
    message = sentence(start, conf=conf, pipeline_names=["training"], runner=failing(AssertionError()))

    assert re.fullmatch(re.escape(f"--params: {expected}").replace("…", ".*"), message), message


@pytest.mark.parametrize(
    ("conf", "named"),
    [
        ({"results_table": "Trial"}, "--params: results_table can't be 'Trial': a table's name"),
        ({"results_table": "score_actions"}, "scores or actions of score_{table}, the table that conf names, lie"),
        ({"churn": {"batch_scoring": {"batch": "2024-02-30"}}}, "batch_scoring.batch can't be '2024-02-30'"),
        ({"predictive_maintenance": {"batch_scoring": {"from_day": "soon"}}}, "batch_scoring.from_day can't be 'soon'"),
        ({"predictive_maintenance": {"batch_scoring": {"to_day": "2015-01-01"}}}, "ends a range that from_day has to"),
    ],
    ids=[
        "no name of a table", "another table's name", "no day", "no first day",
        "an end without a beginning",
    ],
)  # fmt: skip
def test_what_scoring_cannot_be_told_is_named_before_anything_runs(
    start: Callable[..., Any], conf: dict[str, Any], named: str
) -> None:
    assert named in sentence(start, conf=conf, pipeline_names=["batch_scoring"], runner=failing(AssertionError()))


@pytest.mark.parametrize(
    ("how", "named"),
    [
        ({"pipeline_names": ["trainig"]}, "trainig"),
        ({"namespaces": ["chrun"]}, "chrun"),
        ({"pipeline_names": ["training"], "node_names": ["serach"]}, "serach"),
        ({"env": "prodd"}, "prodd"),
    ],
    ids=["pipeline", "namespace", "node", "environment"],
)
def test_a_name_that_does_not_exist_ends_in_a_sentence(
    start: Callable[..., Any], how: dict[str, Any], named: str
) -> None:
    assert named in sentence(start, runner=failing(AssertionError()), **how)
