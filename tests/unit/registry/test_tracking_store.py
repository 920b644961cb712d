"""A lake's tracking store appears whole or not at all, and its addresses follow a lake that is moved or copied."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from lakehouse_ml.errors import ConfError
from lakehouse_ml.registry import tracking_store
from lakehouse_ml.registry.tracking_store import Experiment

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
    monkeypatch.setattr(tracking_store, "template_path", lambda: empty)
    yield
    assert not tracking_store._is_whole(empty)


def test_a_new_store_is_a_copy_that_mlflow_takes_for_its_own(copied: None, tmp_path: Path) -> None:
    store = tmp_path / "mlflow.db"
    tracking_store.create(address(store))
    assert experiments(store) == ["Default"]
    assert [path.name for path in tmp_path.iterdir()] == ["mlflow.db"]


def test_without_one_to_copy_it_is_built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracking_store, "template_path", lambda: tmp_path / "nowhere.db")
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
        [sys.executable, "-c", DIE, str(store), str(migrations)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "MLFLOW_LOGGING_LEVEL": "ERROR"},
    )
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


# --- a lake that was moved or copied


TYPED = "kedro run --params lake="


def experiment(lake: Path) -> Experiment:
    """The one that conf names, with its artefacts in the lake."""
    return Experiment("lakehouse-ml", str(lake / "mlflow-artifacts"))


def fill(lake: Path) -> None:
    """Everything whose address MLflow stores: an experiment, a run, a model and its version, a dataset, a trace."""
    import mlflow

    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(address(lake / "mlflow.db"))
    client = mlflow.MlflowClient()
    number = client.create_experiment("lakehouse-ml", artifact_location=(lake / "mlflow-artifacts").as_uri())
    run = client.create_run(number, tags={"use_case": "churn", "command": f"{TYPED}{lake}"})
    model = client.create_logged_model(number, source_run_id=run.info.run_id)
    client.create_registered_model("churn")
    client.create_model_version("churn", f"models:/{model.model_id}", model_id=model.model_id, run_id=run.info.run_id)
    client.create_model_version("churn", f"{run.info.artifact_uri}/model")
    client.create_experiment("mine", artifact_location="file:///srv/mine/mlflow-artifacts")
    client.create_experiment("in a bucket", artifact_location="s3://bucket/lake/mlflow-artifacts")
    source = json.dumps({"path": f"{lake}/05_model_input/churn/rows", "delta_table_version": 3})
    with closing(sqlite3.connect(lake / "mlflow.db")) as store, store:
        store.execute(
            "insert into datasets values ('d', ?, 'rows', 'x', 'delta_table', ?, null, null)", [number, source]
        )
        store.execute(
            "insert into datasets select 'e', experiment_id, 'mine', 'x', 'local', 'no JSON', '', '' from datasets"
        )
        store.execute(
            "insert into trace_info (request_id, experiment_id, timestamp_ms, status) values ('t', ?, 0, 'OK')",
            [number],
        )
        store.execute(
            "insert into trace_tags values ('mlflow.artifactLocation', ?, 't'), ('typed', ?, 't')",
            [(lake / "mlflow-artifacts" / "traces").as_uri(), str(lake)],
        )
    mlflow.set_tracking_uri(before)


def rows(lake: Path) -> list[str]:
    with closing(sqlite3.connect(lake / "mlflow.db")) as store:
        return [line for line in store.iterdump() if line.startswith("INSERT INTO")]


@pytest.fixture
def lake(copied: None, tmp_path: Path) -> Path:
    """A lake at its first place, whose path has letters that an address quotes."""
    lake = tmp_path / "first #1 & a"
    lake.mkdir()
    tracking_store.create(address(lake / "mlflow.db"))
    fill(lake)
    return lake


def relocate(lake: Path) -> None:
    tracking_store.relocate(address(lake / "mlflow.db"), experiment(lake))


def former(lake: Path) -> set[Path]:
    return tracking_store.find_former_folders(address(lake / "mlflow.db"), experiment(lake))


def test_every_address_of_a_moved_lake_names_its_present_folder(lake: Path, tmp_path: Path) -> None:
    before = rows(lake)
    moved = lake.rename(tmp_path / "second ü b")
    assert former(moved) == {lake}

    relocate(moved)

    def as_moved(row: str) -> str:
        in_json = json.dumps(str(moved))[1:-1]
        return row.replace(lake.as_uri(), moved.as_uri()).replace(str(lake), in_json)

    typed = [row for row in before if TYPED in row or "'typed'" in row]
    assert rows(moved) == [row if row in typed else as_moved(row) for row in before]
    assert len(typed) == 2
    assert sum(moved.as_uri() in row for row in rows(moved)) == 6
    assert former(moved) == set()


def test_a_lake_that_was_not_moved_is_not_written(lake: Path) -> None:
    before = (lake / "mlflow.db").read_bytes()
    assert former(lake) == set()
    relocate(lake)
    assert (lake / "mlflow.db").read_bytes() == before


def test_the_store_of_the_original_of_a_copy_stays_byte_for_byte(lake: Path, tmp_path: Path) -> None:
    before = (lake / "mlflow.db").read_bytes()
    copy = Path(shutil.copytree(lake, tmp_path / "copy"))
    relocate(copy)
    assert (lake / "mlflow.db").read_bytes() == before
    assert lake.as_uri() not in "".join(rows(copy))


def test_a_lake_may_be_copied_into_itself_and_out_again(lake: Path) -> None:
    inner = lake / "backup"
    shutil.copytree(lake, inner, ignore=shutil.ignore_patterns("backup"))
    relocate(inner)
    assert "".join(rows(inner)).count(lake.as_uri()) == "".join(rows(inner)).count(inner.as_uri()) > 0

    shutil.copy(inner / "mlflow.db", lake / "mlflow.db")
    relocate(lake)
    assert inner.as_uri() not in "".join(rows(lake))


def test_an_experiment_that_conf_named_before_moves_along(lake: Path, tmp_path: Path) -> None:
    moved = lake.rename(tmp_path / "second")
    renamed = Experiment("another", str(moved / "mlflow-artifacts"))
    tracking_store.relocate(address(moved / "mlflow.db"), renamed)
    assert lake.as_uri() not in "".join(rows(moved))


def test_a_relocation_that_fails_half_way_leaves_every_address_as_it_was(lake: Path, tmp_path: Path) -> None:
    moved = lake.rename(tmp_path / "second")
    with closing(sqlite3.connect(moved / "mlflow.db")) as store, store:
        store.execute(
            "create trigger t before update on datasets begin select raise(abort, 'No space left on device'); end"
        )
    before = rows(moved)

    with pytest.raises(sqlite3.Error, match="No space left"):
        relocate(moved)

    assert rows(moved) == before
    with closing(sqlite3.connect(moved / "mlflow.db")) as store, store:
        store.execute("drop trigger t")
    relocate(moved)
    assert lake.as_uri() not in "".join(rows(moved))


def test_a_process_that_is_killed_within_a_relocation_leaves_it_to_the_next(lake: Path, tmp_path: Path) -> None:
    moved = lake.rename(tmp_path / "second")
    code = (
        "import os, signal, sys\nfrom lakehouse_ml.registry import tracking_store\n"
        "tracking_store._move_source = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
        "tracking_store.relocate(sys.argv[1], tracking_store.Experiment('lakehouse-ml', sys.argv[2]))"
    )
    arguments = [address(moved / "mlflow.db"), str(moved / "mlflow-artifacts")]
    killed = subprocess.run([sys.executable, "-c", code, *arguments], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert former(moved) == {lake}

    relocate(moved)

    assert lake.as_uri() not in "".join(rows(moved))


@pytest.mark.parametrize(
    ("store", "artifacts"),
    [
        ("http://127.0.0.1:5000", "{moved}/mlflow-artifacts"),
        ("databricks", None),
        ("sqlite:///{moved}/mlflow.db", None),
        ("sqlite:///{moved}/mlflow.db", "s3://bucket/artifacts"),
        ("sqlite:///{moved}/mlflow.db", "/srv/artifacts"),
        ("sqlite:///{moved}/nowhere.db", "{moved}/mlflow-artifacts"),
    ],
)
def test_a_server_and_a_store_that_may_serve_several_lakes_keep_their_addresses(
    lake: Path, tmp_path: Path, store: str, artifacts: str | None
) -> None:
    moved = lake.rename(tmp_path / "second")
    before = rows(moved)
    conf = Experiment("lakehouse-ml", artifacts and artifacts.format(moved=moved))
    assert tracking_store.find_former_folders(store.format(moved=moved), conf) == set()
    tracking_store.relocate(store.format(moved=moved), conf)
    assert rows(moved) == before
    assert not (moved / "nowhere.db").exists()


@pytest.mark.parametrize("where", ["/etc", "s3://bucket/x", "http://127.0.0.1:9/x", "relative", "file://host/x"])
def test_an_experiment_that_would_write_outside_of_the_lake_is_refused(lake: Path, where: str) -> None:
    with closing(sqlite3.connect(lake / "mlflow.db")) as store, store:
        store.execute("update experiments set artifact_location = ? where name = 'lakehouse-ml'", [where])
    with pytest.raises(
        ConfError, match=rf"The experiment lakehouse-ml in .* writes its artefacts to '{where}', outside"
    ):
        relocate(lake)


def test_a_store_of_an_older_mlflow_and_a_database_of_somebody_else_are_left_to_mlflow(tmp_path: Path) -> None:
    lake = tmp_path / "lake"
    lake.mkdir()
    with closing(sqlite3.connect(lake / "mlflow.db")) as store, store:
        store.execute("create table experiments (experiment_id, name, artifact_location)")
        store.execute("create table runs (run_uuid, experiment_id, artifact_uri)")
        store.execute("create table tags (run_uuid, key)")
        store.execute("insert into experiments values (1, 'lakehouse-ml', 'file:///old/mlflow-artifacts')")
    relocate(lake)
    assert former(lake) == set()
    (lake / "mlflow.db").unlink()
    with closing(sqlite3.connect(lake / "mlflow.db")) as store, store:
        store.execute("create table mine (n int)")
    relocate(lake)
    assert former(lake) == set()


def test_of_a_store_that_can_not_be_read_a_reader_learns_nothing_and_a_run_learns_why(
    lake: Path, tmp_path: Path
) -> None:
    moved = lake.rename(tmp_path / "second")
    (moved / "mlflow.db").write_bytes(b"no database at all, but long enough to be taken for one" * 20)
    assert former(moved) == set()
    with pytest.raises(sqlite3.DatabaseError, match="file is not a database"):
        relocate(moved)
