"""A lake's tracking store appears whole or not at all, also where a killed process left half of one."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from lakehouse_ml import tracking_store

# Creates a store as MLflow does, and dies after so many of its migrations.
DIE = """
import os, signal, sys
from alembic.runtime.migration import HeadMaintainer
from mlflow import MlflowClient
left, update = int(sys.argv[2]), HeadMaintainer.update_to_step
def dying(self, step):
    global left
    left -= 1
    if left < 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return update(self, step)
HeadMaintainer.update_to_step = dying
MlflowClient("sqlite:///" + sys.argv[1]).search_experiments()
"""


def address(path: Path) -> str:
    return f"sqlite:///{path}"


def experiments(path: Path) -> list[str]:
    from mlflow import MlflowClient

    return [one.name for one in MlflowClient(address(path)).search_experiments()]


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with tables and nothing in them."""
    path = tmp_path_factory.mktemp("empty") / "mlflow.db"
    tracking_store.build(path)
    return path


@pytest.fixture
def copied(empty: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """New stores are copies of that one, as in an environment that make has set up."""
    monkeypatch.setattr(tracking_store, "template", lambda: empty)
    yield
    assert not tracking_store._is_whole(empty)


def test_a_new_store_is_a_copy_that_mlflow_takes_for_its_own(copied: None, tmp_path: Path) -> None:
    store = tmp_path / "mlflow.db"
    tracking_store.create(address(store))
    assert experiments(store) == ["Default"]
    assert [path.name for path in tmp_path.iterdir()] == ["mlflow.db"]


def test_without_one_to_copy_it_is_built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracking_store, "template", lambda: tmp_path / "nowhere.db")
    store = tmp_path / "lake" / "mlflow.db"
    store.parent.mkdir()
    tracking_store.create(address(store))
    assert experiments(store) == ["Default"]


@pytest.mark.parametrize("migrations", [0, 1, 30])
def test_what_a_killed_process_left_of_a_store_is_replaced_by_a_whole_one(
    copied: None, tmp_path: Path, migrations: int
) -> None:
    store = tmp_path / "mlflow.db"
    killed = subprocess.run(
        [sys.executable, "-c", DIE, str(store), str(migrations)], capture_output=True, text=True, check=False,
        env={**os.environ, "MLFLOW_LOGGING_LEVEL": "ERROR"},
    )  # fmt: skip
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert store.stat().st_size > 0
    (tmp_path / ".mlflow.db.1.part").touch()

    tracking_store.create(address(store))

    assert experiments(store) == ["Default"]
    assert [path.name for path in tmp_path.iterdir()] == ["mlflow.db"]


def test_a_store_with_something_in_it_stays_as_it_is(copied: None, tmp_path: Path) -> None:
    store = tmp_path / "mlflow.db"
    tracking_store.create(address(store))
    experiments(store)
    before = store.read_bytes()
    tracking_store.create(address(store))
    assert store.read_bytes() == before


def test_a_database_of_somebody_else_is_not_lost(copied: None, tmp_path: Path) -> None:
    store = tmp_path / "mlflow.db"
    with closing(sqlite3.connect(store)) as other:
        other.executescript("create table mine (n int); insert into mine values (1)")
    before = store.read_bytes()
    tracking_store.create(address(store))
    assert store.read_bytes() == before


def test_what_can_not_be_read_is_left_to_whoever_opens_it(copied: None, tmp_path: Path) -> None:
    damaged, folder, locked = tmp_path / "damaged.db", tmp_path / "folder.db", tmp_path / "locked.db"
    damaged.write_bytes(b"no database at all, but long enough to be taken for one" * 20)
    folder.mkdir()
    tracking_store.create(address(damaged))
    tracking_store.create(address(folder))
    assert damaged.read_bytes().startswith(b"no database")
    assert folder.is_dir()
    with closing(sqlite3.connect(locked, isolation_level=None)) as other:
        other.execute("create table mine (n int)")
        other.execute("begin exclusive")
        tracking_store.create(address(locked))


@pytest.mark.parametrize("elsewhere", ["http://127.0.0.1:5000", "databricks", ""])
def test_of_a_store_that_is_no_file_nothing_is_created(
    copied: None, tmp_path: Path, elsewhere: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    tracking_store.create(elsewhere)
    assert list(tmp_path.iterdir()) == []


def test_where_there_is_no_lake_none_is_begun(copied: None, tmp_path: Path) -> None:
    tracking_store.create(address(tmp_path / "nowhere" / "mlflow.db"))
    assert list(tmp_path.iterdir()) == []
