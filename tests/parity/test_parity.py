"""Every Spark node of both use cases answers alike wherever it runs: Sail, Spark, a cluster, Databricks Connect."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import pytest

from lakehouse_ml.use_cases import USE_CASES
from parity.answers import variants
from parity.cases import VARIANTS
from parity.compared import differences
from parity.engines import ENGINES, ask, missing

CASES = {name: names for use_case in USE_CASES for name, names in variants(use_case.name).items()}
OTHERS = [pytest.param(name, marks=[getattr(pytest.mark, name), pytest.mark.jvm]) for name in ENGINES if name != "sail"]
Answers = Callable[[str], dict[str, Any]]


@pytest.fixture(scope="module")
def ask_engine(tmp_path_factory: pytest.TempPathFactory) -> Answers:
    """The answers of an engine, asked for once."""
    folder = tmp_path_factory.mktemp("parity")

    @cache
    def of(engine: str) -> dict[str, Any]:
        if lacks := missing(engine):
            pytest.skip(lacks)
        return ask(engine, folder / engine)

    return of


def rows(answer: Any) -> int:
    """How much an answer holds: rows of its tables, letters of its texts."""
    if isinstance(answer, dict):
        return 0 if "refused" in answer or "error" in answer else sum(map(rows, answer.values()))
    return len(answer) if isinstance(answer, list | str) else 0


@pytest.mark.slow
def test_every_node_has_an_answer_with_something_in_it_and_all_of_its_variants(ask_engine: Answers) -> None:
    answers = ask_engine("sail")["answers"]
    assert {name: tuple(by_variant) for name, by_variant in answers.items()} == CASES
    assert set().union(*CASES.values()) == set(VARIANTS)
    assert {name for name, by_variant in answers.items() if not any(map(rows, by_variant["many"].values()))} == set()
    assert {
        name for name, by_variant in answers.items() for variant in by_variant.values() if "error" in variant
    } == set()


@pytest.mark.parametrize("node", CASES)
@pytest.mark.parametrize("engine", OTHERS)
def test_a_node_answers_as_on_sail(ask_engine: Answers, engine: str, node: str) -> None:
    expected, actual = (ask_engine(each)["answers"][node] for each in ("sail", engine))
    differing = {variant: differences(expected[variant], actual[variant]) for variant in CASES[node]}
    assert {variant: places for variant, places in differing.items() if places} == {}


def test_differences_are_seen() -> None:
    nan, table = float("nan"), {"types": [["a", "int"]], "rows": [[1, 0.5, None]]}
    assert differences(table, {"types": [["a", "int"]], "rows": [[1, 0.5 + 4e-10, None]]}) == []
    assert differences([nan, -0.0, 1e300], [nan, 0.0, 1e300]) == []
    for one, other in [
        (nan, None),
        (0.5, 0.5 + 2e-9),
        (1, 1.0),
        (1e-3, nan),
        ("a", "b"),
        ([1], [1, 1]),
        ({"a": 1}, {"b": 1}),
        (True, 1),
        ("at 1", "at 2"),
        (None, 0),
    ]:
        assert len(differences([one], [other])) == 1
