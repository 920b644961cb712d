"""A fingerprint changes with the node, its inputs and the code, and with nothing else."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lakehouse_ml.datasets.clock import Clock
from lakehouse_ml.pipelines import STAGES
from lakehouse_ml.storage.provenance import (
    PACKAGE,
    HasFingerprint,
    HasToken,
    Provenance,
    attach_provenance,
    code_hash,
    describe,
    get_provenance,
    list_sources,
)
from lakehouse_ml.use_cases import USE_CASES

INPUTS = {"churn.raw": "v3", "params:churn.quality": '{"top_values": 5}'}


def package(folder: Path, **sources: str) -> Path:
    """A package of modules, each with its text."""
    for name, text in sources.items():
        (folder / name.replace("__", "/")).parent.mkdir(parents=True, exist_ok=True)
        (folder / f"{name.replace('__', '/')}.py").write_text(text)
    return folder


def test_the_same_node_inputs_and_code_give_the_same_fingerprint() -> None:
    turned = dict(reversed(INPUTS.items()))

    assert describe("check", INPUTS) == describe("check", turned)
    assert describe("check", INPUTS).inputs == INPUTS


@pytest.mark.parametrize(
    ("node", "inputs"),
    [
        ("release", INPUTS),
        ("check", INPUTS | {"churn.raw": "v4"}),
        ("check", INPUTS | {"params:churn.quality": '{"top_values": 6}'}),
        ("check", INPUTS | {"churn.clock": ""}),
        ("check", {"churn.raw": "v3"}),
    ],
    ids=["node", "data", "parameters", "an input more", "an input less"],
)
def test_another_node_or_other_inputs_give_another_fingerprint(node: str, inputs: dict[str, str]) -> None:
    assert describe(node, inputs).fingerprint != describe("check", INPUTS).fingerprint


SEARCH, ASSEMBLE, EVALUATE = "churn.training.search", "churn.training.assemble_rows", "churn.evaluation.evaluate"


@pytest.fixture
def edited(tmp_path: Path) -> Callable[[str, str], bool]:
    """Whether a fingerprint of the node changes when a line is added to a file of the package."""

    def is_changed(node: str, file: str) -> bool:
        root = tmp_path / f"{len(list(tmp_path.iterdir()))}"
        shutil.copytree(PACKAGE, root / "before", ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copytree(root / "before", root / "after")
        with (root / "after" / file).open("a", encoding="utf-8") as source:
            source.write("# a comment\n")
        return code_hash(node, root / "before") != code_hash(node, root / "after")

    return is_changed


@pytest.mark.parametrize(
    "file",
    [
        "cli/commands.py", "cli/make_run.py", "runs/session.py", "runs/runner.py", "runs/hooks.py",
        "runs/summary.py", "runs/tracking.py",
        "tooling/drafting/plan.py", "report/sections.py", "report/page.html.j2",
        "use_cases/predictive_maintenance/features.py",
        "use_cases/__init__.py", "use_cases/churn/synthetic.py", "pipelines/monitoring/nodes.py",
        "registry/artefact.py", "modelling/gates.py",
    ],
)  # fmt: skip
def test_code_that_makes_no_result_of_training_leaves_its_fingerprints_alone(
    edited: Callable[[str, str], bool], file: str
) -> None:
    assert not edited(ASSEMBLE, file)
    assert not edited(SEARCH, file)


@pytest.mark.parametrize(
    ("node", "file"),
    [
        (ASSEMBLE, "use_cases/churn/features.py"),
        (ASSEMBLE, "pipelines/training/nodes.py"),
        (ASSEMBLE, "datasets/delta_table.py"),
        (SEARCH, "pipelines/training/nodes.py"),
        (SEARCH, "modelling/estimators/sklearn.py"),
        (EVALUATE, "modelling/gates.py"),
        ("predictive_maintenance.evaluation.evaluate", "use_cases/predictive_maintenance/measures.py"),
        ("churn.feature_engineering.build_features", "use_cases/churn/features.py"),
        ("churn.monitoring.write_report", "report/page.html.j2"),
    ],
)
def test_code_that_makes_a_result_changes_its_fingerprint(
    edited: Callable[[str, str], bool], node: str, file: str
) -> None:
    assert edited(node, file)


def test_a_feature_function_reaches_a_model_only_through_its_rows(edited: Callable[[str, str], bool]) -> None:
    assert not edited(SEARCH, "use_cases/churn/features.py")


def test_renamed_and_new_sources_change_a_fingerprint(tmp_path: Path) -> None:
    before = code_hash(SEARCH, package(tmp_path / "before", pipelines__training__nodes="x = 1"))
    renamed = code_hash(SEARCH, package(tmp_path / "renamed", pipelines__training__laws="x = 1"))
    longer = code_hash(SEARCH, package(tmp_path / "longer", pipelines__training__nodes="x = 1", modelling__card=""))

    assert len({before, renamed, longer}) == 3


def test_files_that_are_no_code_do_not_change_a_fingerprint(tmp_path: Path) -> None:
    before = code_hash(SEARCH, package(tmp_path / "before", pipelines__training__nodes="x = 1"))
    package(tmp_path / "after", pipelines__training__nodes="x = 1")
    folder = tmp_path / "after" / "pipelines" / "training"
    (folder / "notes.txt").write_text("text")
    (folder / "__pycache__").mkdir()
    (folder / "__pycache__" / "nodes.pyc").write_bytes(b"compiled")

    assert code_hash(SEARCH, tmp_path / "after") == before


def test_a_node_outside_of_the_grid_is_made_of_the_whole_package(edited: Callable[[str, str], bool]) -> None:
    assert edited("multiply", "cli/commands.py")


def test_each_named_source_exists() -> None:
    named = {
        part for stage in STAGES for use_case in USE_CASES for part in list_sources(f"{use_case.name}.{stage}.node")
    }

    assert [part for part in (*named, *list_sources(SEARCH)) if not (PACKAGE / part).exists()] == []


@pytest.mark.parametrize("value", ["contract", ("contract", "tenure"), None, True])
def test_a_value_that_the_use_case_binds_to_a_node_is_part_of_its_fingerprint(value: Any) -> None:
    bound = describe(SEARCH, INPUTS, {"categorical": value})

    assert bound == describe(SEARCH, INPUTS, {"categorical": value})
    assert bound.fingerprint != describe(SEARCH, INPUTS, {"categorical": ("other",)}).fingerprint
    assert bound.fingerprint != describe(SEARCH, INPUTS).fingerprint


def test_a_bound_function_counts_by_its_code_and_not_by_its_place_in_memory() -> None:
    bound = [describe(EVALUATE, INPUTS, {"measures": lambda: None}).fingerprint for _ in range(2)]

    assert bound[0] == bound[1] == describe(EVALUATE, INPUTS).fingerprint


def test_what_is_saved_inside_carries_the_provenance_and_what_is_saved_after_does_not() -> None:
    outer, inner = describe("outer", {}), describe("inner", {})

    assert get_provenance() is None
    with attach_provenance(outer):
        with attach_provenance(inner):
            assert get_provenance() is inner
        assert get_provenance() is outer
        with attach_provenance(None):
            assert get_provenance() is None
    assert get_provenance() is None


def test_a_node_that_fails_leaves_no_provenance_behind() -> None:
    with pytest.raises(ZeroDivisionError), attach_provenance(describe("failing", {})):
        raise ZeroDivisionError

    assert get_provenance() is None


def test_provenance_is_one_line_of_json() -> None:
    line = Provenance("check", {"churn.raw": "v3"}, "f00d").to_json()

    assert "\n" not in line
    assert json.loads(line) == {"node": "check", "inputs": {"churn.raw": "v3"}, "fingerprint": "f00d"}


def test_the_clock_has_a_token_that_never_changes_and_records_nothing() -> None:
    clock = Clock()

    assert isinstance(clock, HasToken)
    assert not isinstance(clock, HasFingerprint)
    assert clock.token() == Clock().token() == ""
    assert clock.load() == clock.load()
    assert clock.load().utcoffset().total_seconds() == 0
