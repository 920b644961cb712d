"""The grid: seven stages, filled once per use case, each cell with an address."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from kedro.framework.project import pipelines
from kedro.framework.startup import bootstrap_project
from kedro.pipeline import Node, Pipeline

from lakehouse_ml import use_cases
from lakehouse_ml.pipelines import SEARCH, STAGES
from lakehouse_ml.pipelines.grid import fill_stage
from lakehouse_ml.use_cases.base import UseCase
from lakehouse_ml.use_cases.churn import CHURN

PROJECT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module", autouse=True)
def _project() -> None:
    bootstrap_project(PROJECT)


def test_the_registry_has_the_seven_stages_and_all_of_them_as_default() -> None:
    assert set(pipelines.keys()) == {*STAGES, "__default__"}
    assert set(pipelines["__default__"].nodes) == {node for stage in STAGES for node in pipelines[stage].nodes}


@pytest.mark.parametrize("stage", STAGES)
def test_every_node_is_named_by_use_case_and_stage(stage: str) -> None:
    names = {use_case.name for use_case in use_cases.USE_CASES}
    for node in pipelines[stage].nodes:
        use_case, own_stage, _ = node.name.split(".")
        assert (use_case in names, own_stage) == (True, stage)


def test_a_second_use_case_fills_the_same_shape(monkeypatch: pytest.MonkeyPatch) -> None:
    other = UseCase(**{**CHURN.__dict__, "name": "other_case"})
    monkeypatch.setattr(use_cases, "USE_CASES", (CHURN, other))

    def shape(use_case: UseCase) -> Pipeline:
        return Pipeline(
            [Node(len, inputs=f"raw_{use_case.entity_plural}", outputs=f"clean_{use_case.entity_plural}", name="count")]
        )

    grid = fill_stage("counting", shape)
    assert {node.name for node in grid.nodes} == {"churn.counting.count", "other_case.counting.count"}
    assert {node.name for node in grid.filter(node_namespaces=["other_case"]).nodes} == {"other_case.counting.count"}
    assert "other_case.clean_customers" in grid.datasets()


def test_every_node_says_what_it_does() -> None:
    silent = [node.name for node in pipelines["__default__"].nodes if not (node.func.__doc__ or "").strip()]
    assert silent == []


def test_inputs_of_every_node_are_in_the_order_of_its_arguments() -> None:
    """Kedro finds a parameter's type by position, even where inputs are named."""
    import inspect

    for node in pipelines["__default__"].nodes:
        inputs = list(node._inputs)
        parameters = inspect.signature(node.func).parameters
        parameter_inputs = [name for name in parameters if name in inputs]
        assert inputs[: len(parameter_inputs)] == parameter_inputs, node.name
        # What a node takes by any name (its ** argument) comes after what it takes by name.
        open_ended = any(argument.kind is argument.VAR_KEYWORD for argument in parameters.values())
        assert open_ended or len(inputs) == len(parameter_inputs), node.name


def test_the_verdict_comes_before_scoring_in_the_graph() -> None:
    order = [node.name for node in pipelines["__default__"].nodes]
    assert order.index("churn.evaluation.promote") < order.index("churn.batch_scoring.score_rows")


def test_one_stage_alone_imports_only_its_own_pipeline() -> None:
    code = (
        "import sys; from kedro.framework.startup import bootstrap_project; bootstrap_project(sys.argv[1]);"
        "from kedro.framework.project import pipelines; pipelines.set_requested(['data_quality']);"
        "pipelines['data_quality']; print([m for m in sys.modules if m.startswith('lakehouse_ml.pipelines.')])"
    )
    call = [sys.executable, "-c", code, str(PROJECT)]
    out = subprocess.run(call, capture_output=True, text=True, check=True).stdout
    assert "lakehouse_ml.pipelines.data_quality.pipeline" in out
    assert "training" not in out


def test_listing_the_pipelines_imports_neither_engine_nor_estimators() -> None:
    code = (
        "import sys; from kedro.framework.startup import bootstrap_project; bootstrap_project(sys.argv[1]);"
        "from kedro.framework.project import pipelines; list(pipelines.keys()); pipelines['__default__'];"
        "print([m for m in ('sklearn', 'pysail', 'scipy', 'mlflow', 'skops', 'deltalake') if m in sys.modules])"
    )
    call = [sys.executable, "-c", code, str(PROJECT)]
    assert subprocess.run(call, capture_output=True, text=True, check=True).stdout.strip() == "[]"


def test_the_node_that_fits_models_is_the_one_that_workers_are_started_for() -> None:
    names = {node.name for node in pipelines["__default__"].nodes}
    assert {f"{use_case.name}.{SEARCH}" for use_case in use_cases.USE_CASES} <= names
