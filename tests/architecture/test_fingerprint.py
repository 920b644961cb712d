"""Everything that a stage imports is part of its fingerprint, except modules that change no result."""

from __future__ import annotations

from collections.abc import Iterator

import grimp
import pytest

from lakehouse_ml.pipelines import STAGES
from lakehouse_ml.storage.provenance import list_sources

# Messages, the list of use cases, of which a node gets its own alone, and the report's words, which monitoring has.
MAKES_NO_RESULT = {"lakehouse_ml.errors", "lakehouse_ml.use_cases", "lakehouse_ml.use_cases.wording"}
GRAPH = grimp.build_graph("lakehouse_ml", exclude_type_checking_imports=True)


def imported(start: str, parts: tuple[str, ...]) -> Iterator[str]:
    """Modules that a module imports, and in turn the imports of those that these parts cover."""
    todo, visited = [start], {start}
    while todo:
        for name in sorted(GRAPH.find_modules_directly_imported_by(todo.pop()) - visited):
            visited.add(name)
            if covers(parts, name):
                todo.append(name)
            yield name


def covers(parts: tuple[str, ...], module: str) -> bool:
    path = module.removeprefix("lakehouse_ml.").replace(".", "/")
    return any(f"{path}/".startswith(f"{part.removesuffix('.py')}/") for part in parts)


@pytest.mark.parametrize("stage", STAGES)
def test_a_fingerprint_covers_all_that_the_nodes_of_a_stage_import(stage: str) -> None:
    parts = list_sources(f"churn.{stage}.node") + list_sources(f"predictive_maintenance.{stage}.node")

    modules = set(imported(f"lakehouse_ml.pipelines.{stage}.nodes", parts))

    assert {name for name in modules if not covers(parts, name)} <= MAKES_NO_RESULT


def test_the_fingerprint_of_the_search_covers_all_but_what_reaches_it_through_its_rows() -> None:
    parts = list_sources("churn.training.search")

    modules = set(imported("lakehouse_ml.pipelines.training.nodes", parts))

    assert {name for name in modules if not covers(parts, name)} <= {*MAKES_NO_RESULT, "lakehouse_ml.storage.writes"}


def test_an_import_that_is_not_covered_is_found() -> None:
    modules = set(imported("lakehouse_ml.pipelines.training.nodes", ("pipelines/training",)))

    assert "lakehouse_ml.modelling.card" in modules
    assert not covers(("pipelines/training",), "lakehouse_ml.modelling.card")
    assert not covers(("pipelines/training",), "lakehouse_ml.pipelines.training_more")
