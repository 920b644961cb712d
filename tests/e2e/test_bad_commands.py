"""What becomes of arguments that can't be run, leftover variables, and lakes that were copied, moved or half begun."""

from __future__ import annotations

import hashlib
import shutil
import sqlite3
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from bad_input import Case
from kedro.runner import ParallelRunner, SequentialRunner, ThreadRunner
from test_bad_state import REFUSED, sentence, statuses

TITLE = "Commands, variables and copies of a lake"
ALONE = (
    "is not supported: each node may see only finished results of those before it, and the engine uses all cores for "
    "one node already. Leave the option out."
)


@dataclass(frozen=True)
class Stops(Case):
    """Arguments of a run that is refused, as Kedro's session takes them."""

    options: Callable[[], Mapping[str, Any]]


@dataclass(frozen=True)
class Ends(Case):
    """Something that a run copes with, and says in the log.

    Attributes:
        prepare: Makes it of a lake, and returns the lake to run on.
        variables: Environment variables during the run.
    """

    prepare: Callable[[Path], Path] = field(default=lambda lake: lake)
    variables: Mapping[str, str] = field(default_factory=dict)


def copied(lake: Path) -> Path:
    return Path(shutil.copytree(lake, lake.parent / "copy"))


def moved(lake: Path) -> Path:
    return lake.rename(lake.parent / "elsewhere")


def half_begun(lake: Path) -> Path:
    """A lake of which a killed run left half a tracking store."""
    begun = lake.parent / "begun"
    begun.mkdir()
    with closing(sqlite3.connect(begun / "mlflow.db")) as store, store:
        store.execute("create table experiments (experiment_id integer)")
    return begun


STOPS = [
    Stops("`--runner ParallelRunner`", REFUSED, lambda: {"runner": ParallelRunner()},
          sentence=f"--runner … {ALONE}"),
    Stops("`--runner ThreadRunner`", REFUSED, lambda: {"runner": ThreadRunner()},
          sentence=f"--runner … {ALONE}"),
    Stops("`--async`", REFUSED, lambda: {"runner": SequentialRunner(is_async=True)}, sentence=f"--async {ALONE}"),
    Stops("an unknown pipeline", REFUSED, lambda: {"pipeline_names": ["data_qualty"]},
          sentence="Unknown pipeline data_qualty: the pipelines are data_ingestion, data_quality, …"),
    Stops("an unknown node", REFUSED, lambda: {"node_names": ["churn.data_quality.chek_customers"]},
          sentence="--nodes: no node is named 'churn.data_quality.chek_customers'. Did you mean "
          "churn.data_quality.check_customers?"),
    Stops("an unknown namespace", REFUSED, lambda: {"namespaces": ["chrun"]},
          sentence="--namespaces: no namespace is named 'chrun'. Did you mean churn?"),
]  # fmt: skip
ENDS = [
    Ends("variables of the shell that point to other stores", "They are ignored, and the log names them.",
         variables={"MLFLOW_REGISTRY_URI": "http://127.0.0.1:9", "AWS_ENDPOINT_URL_S3": "http://127.0.0.1:9"},
         sentence="Ignored, since conf says where to read and write: MLFLOW_REGISTRY_URI, AWS_ENDPOINT_URL_S3"),
    Ends("a copied lake", "The copy is a separate lake: finished steps are skipped, and the original is not changed.",
         copied, sentence="The lake was moved or copied from <lake>: its tracking store now names <new>."),
    Ends("a moved lake", "Finished steps are skipped; nothing is written to the old place.",
         moved, sentence="The lake was moved or copied from <lake>: its tracking store now names <new>."),
    Ends("an incomplete tracking store of a run that was killed while it created a lake", "A complete one replaces it.",
         half_begun),
]  # fmt: skip
CASES: list[Case] = [*STOPS, *ENDS]


def content(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.mark.parametrize("case", STOPS, ids=lambda case: case.name)
def test_arguments_that_cannot_be_run_are_refused_before_anything_is_opened(
    start: Callable[..., Any], tmp_path: Path, case: Stops
) -> None:
    message = sentence(start, tmp_path / "lake", "data_quality", **case.options())
    assert case.matches(message, {}), message
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("case", ENDS, ids=lambda case: case.name)
def test_a_run_copes_and_says_so(
    start: Callable[..., Any],
    ingested: Path,
    tmp_path: Path,
    case: Ends,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    first = Path(shutil.copytree(ingested, tmp_path / "lake"))
    start(first, "data_ingestion", "data_quality")
    caplog.clear()
    lake = case.prepare(first)
    content_before = content(first)
    for name, value in case.variables.items():
        monkeypatch.setenv(name, value)

    start(lake, "data_ingestion", "data_quality")

    messages = [record.getMessage() for record in caplog.records]
    assert any(case.matches(line, {"<lake>": first, "<new>": lake}) for line in messages) or not case.sentence, messages
    assert lake == first or content(first) == content_before
    assert first.exists() == (case.prepare is not moved)
    assert set(statuses(lake)) == {"FINISHED"}
    assert [line for line in messages if line.startswith("[")] == [] or case.prepare is half_begun
