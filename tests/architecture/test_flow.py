"""docs/flow.md shows the registered pipelines, and a changed pipeline makes these tests fail."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from kedro.pipeline import Node, Pipeline

from lakehouse_ml.pipelines.grid import fill_stage
from lakehouse_ml.pipelines.training.pipeline import shape
from lakehouse_ml.tooling import flow
from lakehouse_ml.use_cases.base import UseCase

PAGE = Path(__file__).resolve().parents[2] / "docs" / "flow.md"


def _halve(rows: object, *others: object) -> object:
    """Half of the rows | and the other half."""
    return rows


def _undocumented(rows: object) -> object:
    return rows


def _cell(stage: str, *nodes: Node) -> Pipeline:
    return Pipeline(Pipeline(nodes, namespace=stage, prefix_datasets_with_namespace=False), namespace="wine")


def _added(use_case: UseCase) -> Pipeline:
    return shape(use_case) + Pipeline([Node(_halve, inputs="metrics_trials", outputs="metrics_half", name="halve")])


def _renamed(use_case: UseCase) -> Pipeline:
    return Pipeline(shape(use_case), outputs={"metrics_trials": "metrics_attempts"})


def _with_another_search(use_case: UseCase) -> Pipeline:
    def search(model_input: object, spec: object) -> tuple[object, object]:
        """Something else than before."""
        return model_input, spec

    nodes = {node.name: node for node in shape(use_case).nodes}
    replaced = nodes.pop("search")
    return Pipeline([*nodes.values(), Node(search, inputs=replaced.inputs, outputs=replaced.outputs, name="search")])


def test_the_page_is_what_the_pipelines_are() -> None:
    assert PAGE.read_text(encoding="utf-8") == flow.render_page(flow.load_stages()), (
        "docs/flow.md stayed behind: make docs"
    )


@pytest.mark.parametrize("changed", [_added, _renamed, _with_another_search])
def test_the_page_stays_behind_as_soon_as_a_node_changes(changed: Callable[[UseCase], Pipeline]) -> None:
    stages = flow.load_stages()
    assert flow.render_page({**stages, "training": fill_stage("training", shape)}) == PAGE.read_text(encoding="utf-8")
    assert flow.render_page({**stages, "training": fill_stage("training", changed)}) != PAGE.read_text(encoding="utf-8")


def test_the_page_of_a_small_graph_is_complete() -> None:
    stages = {
        "pressing": _cell("pressing", Node(_halve, inputs="grapes", outputs="must", name="press")),
        "ageing": _cell("ageing", Node(_halve, inputs={"rows": "must"}, outputs=["wine", "lees"], name="age")),
        "tasting": _cell("tasting", Node(_halve, inputs=["must", "params:glasses"], outputs="notes", name="taste")),
    }
    drawn = re.findall(r'<text class="(\w+)"[^>]*>([^<]*)</text>', flow.draw_stages(stages))
    assert drawn == [
        ("name", "1. pressing"),
        ("reads", "grapes"),
        ("writes", "must"),
        ("name", "2. ageing"),
        ("reads", "must"),
        ("writes", "lees, wine"),
        ("name", "3. tasting"),
        ("reads", "must"),
        ("writes", "notes"),
    ]
    page = flow.render_page(stages)
    assert page.partition("](flow.svg)\n")[2] == (
        "\n"
        "## 1. pressing\n"
        "\n"
        "### wine\n"
        "\n"
        "| node | what it does | reads | writes |\n"
        "|---|---|---|---|\n"
        "| `press` | Half of the rows \\| and the other half. | `grapes` | `must` |\n"
        "\n"
        "## 2. ageing\n"
        "\n"
        "### wine\n"
        "\n"
        "| node | what it does | reads | writes |\n"
        "|---|---|---|---|\n"
        "| `age` | Half of the rows \\| and the other half. | `must` | `wine`, `lees` |\n"
        "\n"
        "## 3. tasting\n"
        "\n"
        "### wine\n"
        "\n"
        "| node | what it does | reads | writes |\n"
        "|---|---|---|---|\n"
        "| `taste` | Half of the rows \\| and the other half. | `must`, `params:glasses` | `notes` |\n"
    )


def test_a_node_without_a_docstring_has_no_place_on_the_page() -> None:
    silent = _cell("pressing", Node(_undocumented, inputs="grapes", outputs="must", name="press"))
    with pytest.raises(ValueError, match=r"wine\.pressing\.press has no docstring"):
        flow.render_page({"pressing": silent})


def test_the_page_is_written_to_the_path_argument(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flow.main([str(tmp_path / "flow.md")])
    flow.main([])
    assert (tmp_path / "flow.md").read_text(encoding="utf-8") == PAGE.read_text(encoding="utf-8")
    assert capsys.readouterr().out == PAGE.read_text(encoding="utf-8")
