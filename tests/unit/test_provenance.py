"""A fingerprint changes with the node, its inputs and the code, and with nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lakehouse_ml.datasets.clock import Clock
from lakehouse_ml.provenance import Provenance, Recorded, Tokened, code_hash, current, describe, recording

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


def test_changed_code_gives_another_fingerprint(tmp_path: Path) -> None:
    before = code_hash(package(tmp_path / "before", nodes="x = 1", deep__rules="y = 1"))
    same = code_hash(package(tmp_path / "same", nodes="x = 1", deep__rules="y = 1"))
    changed = code_hash(package(tmp_path / "changed", nodes="x = 1", deep__rules="y = 2"))
    renamed = code_hash(package(tmp_path / "renamed", nodes="x = 1", deep__laws="y = 1"))
    longer = code_hash(package(tmp_path / "longer", nodes="x = 1", deep__rules="y = 1", new=""))

    assert before == same
    assert len({before, changed, renamed, longer}) == 4


def test_templates_are_code(tmp_path: Path) -> None:
    before = code_hash(package(tmp_path / "before", nodes="x = 1"))
    folder = package(tmp_path / "after", nodes="x = 1")
    (folder / "page.html.j2").write_text("{{ title }}")

    assert code_hash(folder) != before


def test_files_that_are_no_code_do_not_change_the_fingerprint(tmp_path: Path) -> None:
    before = code_hash(package(tmp_path / "before", nodes="x = 1"))
    package(tmp_path / "after", nodes="x = 1")
    (tmp_path / "after" / "notes.txt").write_text("text")
    (tmp_path / "after" / "__pycache__").mkdir()
    (tmp_path / "after" / "__pycache__" / "nodes.pyc").write_bytes(b"compiled")

    assert code_hash(tmp_path / "after") == before


def test_the_fingerprint_covers_the_code_of_this_package() -> None:
    import lakehouse_ml

    assert code_hash() == code_hash(Path(lakehouse_ml.__file__).parent)


def test_what_is_saved_inside_carries_the_provenance_and_what_is_saved_after_does_not() -> None:
    outer, inner = describe("outer", {}), describe("inner", {})

    assert current() is None
    with recording(outer):
        with recording(inner):
            assert current() is inner
        assert current() is outer
        with recording(None):
            assert current() is None
    assert current() is None


def test_a_node_that_fails_leaves_no_provenance_behind() -> None:
    with pytest.raises(ZeroDivisionError), recording(describe("failing", {})):
        raise ZeroDivisionError

    assert current() is None


def test_provenance_is_one_line_of_json() -> None:
    line = Provenance("check", {"churn.raw": "v3"}, "f00d").to_json()

    assert "\n" not in line
    assert json.loads(line) == {"node": "check", "inputs": {"churn.raw": "v3"}, "fingerprint": "f00d"}


def test_the_clock_has_a_token_that_never_changes_and_records_nothing() -> None:
    clock = Clock()

    assert isinstance(clock, Tokened)
    assert not isinstance(clock, Recorded)
    assert clock.token() == Clock().token() == ""
    assert clock.load() == clock.load()
    assert clock.load().utcoffset().total_seconds() == 0
