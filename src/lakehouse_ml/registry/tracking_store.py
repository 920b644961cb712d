"""The tracking store of a lake: an SQLite file of MLflow's that appears whole or not at all.

MLflow creates a store by some 60 migrations, each of which it commits; a process that is killed meanwhile leaves a file
that no later one can open. So the tables are created elsewhere, and the file is put in its place when it has them all.

MLflow stores absolute addresses of artefacts, and makes relative ones absolute. A lake is one folder that may be moved
or copied: `relocate` rewrites the addresses below its former folder.

    python -m lakehouse_ml.registry.tracking_store   # what `make` runs once: the empty store that new lakes copy
"""

from __future__ import annotations

import functools
import json
import logging
import os
import sqlite3
import sys
import tempfile
from contextlib import closing
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from urllib.parse import unquote, urlsplit

from lakehouse_ml.errors import ConfError
from lakehouse_ml.project import configure_logging
from lakehouse_ml.storage.files import replace_atomically

log = logging.getLogger(__name__)

_SQLITE = "sqlite:///"
# Where MLflow stores addresses of files: table, column, and how it is rewritten by the functions of `relocate`.
_ADDRESSES = (
    ("experiments", "artifact_location", "update experiments set artifact_location = moved(artifact_location)"),
    ("runs", "artifact_uri", "update runs set artifact_uri = moved(artifact_uri)"),
    ("logged_models", "artifact_location", "update logged_models set artifact_location = moved(artifact_location)"),
    ("model_versions", "source", "update model_versions set source = moved(source)"),
    ("model_versions", "storage_location", "update model_versions set storage_location = moved(storage_location)"),
    ("trace_tags", "value", "update trace_tags set value = moved(value) where key = 'mlflow.artifactLocation'"),
    ("datasets", "dataset_source", "update datasets set dataset_source = moved_source(dataset_source)"),
)
# The experiment that conf names, and each one that has a run of this project.
_OWN_EXPERIMENTS = """
    select distinct artifact_location from experiments where name = ? or experiment_id in (
        select experiment_id from runs join tags using (run_uuid) where tags.key = 'use_case')
"""
# The rows that creation itself leaves.
_SEEDED = ('INSERT INTO "alembic_version"', 'INSERT INTO "workspaces"')


@dataclass(frozen=True)
class Experiment:
    """The experiment that conf names.

    Attributes:
        name: In the store.
        artifacts: The folder or address that its artefacts go to; None where a server decides.
    """

    name: str
    artifacts: str | None


def template() -> Path:
    """Where this environment keeps an empty store of its MLflow's version."""
    return Path(sys.prefix) / "share" / "lakehouse_ml" / f"mlflow-{version('mlflow')}.db"


def create(address: str) -> None:
    """Create the store where there is none, or one whose creation was interrupted; leave any other as it is.

    Call it with the lake locked: of two at once, one would replace what the other has opened.

    Args:
        address: Of a tracking store; of those that are no file, nothing has to be created.
    """
    path = Path(address.removeprefix(_SQLITE))
    if not address.startswith(_SQLITE) or not path.parent.is_dir() or _is_whole(path):
        return
    for left in path.parent.glob(f".{path.name}.*.part*"):
        left.unlink()
    with replace_atomically(path) as partial:
        _copy(template(), partial) if template().is_file() else build(partial)
        _remove_journals(path)


def file_of(address: str) -> Path | None:
    """The file of a store that is one."""
    return Path(address.removeprefix(_SQLITE)) if address.startswith(_SQLITE) else None


def local_path(address: str) -> Path | None:
    """The path that an address of artefacts names, without `..`; None for one that is no folder of this machine."""
    if address.startswith("/"):
        return Path(os.path.normpath(address))
    parts = urlsplit(address)
    is_local = parts.scheme == "file" and parts.netloc in ("", "localhost") and parts.path.startswith("/")
    return Path(os.path.normpath(unquote(parts.path))) if is_local else None


def former_folders(address: str, experiment: Experiment) -> set[Path]:
    """The folders in which a lake lay before it was moved or copied, by the addresses in its store.

    Only a store that lies in the lake, beside its artefacts, is looked at: any other one may serve several lakes. One
    that can't be read has none; whoever opens it tells what is wrong.
    """
    path = _store_of_lake(address, experiment)
    if path is None or not path.is_file():
        return set()
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", timeout=0, uri=True)) as store:
            return _former_folders(store, path.parent, experiment)
    except sqlite3.Error:
        return set()


def relocate(address: str, experiment: Experiment) -> None:
    """Rewrite the addresses below the lake's former folders to its present one, in one transaction.

    Addresses elsewhere stay as they are, and so does what was typed (tags). Call it with the lake locked.

    Raises:
        ConfError: The experiment's artefacts would be written somewhere else than conf says.
        sqlite3.Error: The store can't be read or written.
    """
    path = _store_of_lake(address, experiment)
    if path is None or not path.is_file():
        return
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True)) as store, store:
        if not _columns(store, "experiments"):
            return
        for former in _former_folders(store, path.parent, experiment):
            store.create_function("moved", 1, functools.partial(_moved, former, path.parent))
            store.create_function("moved_source", 1, functools.partial(_moved_source, former, path.parent))
            for table, column, rewrite in _ADDRESSES:
                if column in _columns(store, table):
                    store.execute(rewrite)
            log.info("The lake was moved or copied from %s: its tracking store now names %s.", former, path.parent)
        _check_artifacts(store, path, experiment)


def build(path: Path) -> None:
    """Write a store that has all tables of this MLflow's version and nothing in them."""
    from mlflow import MlflowClient

    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder) / "mlflow.db"
        MlflowClient(f"{_SQLITE}{scratch}").search_experiments()
        with closing(sqlite3.connect(scratch)) as store:
            # MLflow's own first experiment keeps its artefacts in the folder that it was created from.
            store.execute("delete from experiments")
            store.commit()
        _copy(scratch, path)


def _store_of_lake(address: str, experiment: Experiment) -> Path | None:
    """The store's file, if the experiment's artefacts lie in the same folder."""
    path, artifacts = file_of(address), local_path(experiment.artifacts or "")
    return path if path and artifacts and artifacts.is_relative_to(path.parent) else None


def _former_folders(store: sqlite3.Connection, lake: Path, experiment: Experiment) -> set[Path]:
    artifacts = local_path(experiment.artifacts or "")
    if artifacts is None or not _columns(store, "experiments"):
        return set()
    below = artifacts.relative_to(lake).parts
    found = (local_path(location) for (location,) in store.execute(_OWN_EXPERIMENTS, [experiment.name]))
    own = (path for path in found if path and len(path.parts) > len(below) + 1 and path.parts[-len(below) :] == below)
    return {path.parents[len(below) - 1] for path in own} - {lake}


def _columns(store: sqlite3.Connection, table: str) -> set[str]:
    """A table's columns; none where the store, of another version of MLflow, has no such table."""
    return {name for (name,) in store.execute("select name from pragma_table_info(?)", [table])}


def _moved(former: Path, now: Path, address: str | None) -> str | None:
    path = local_path(address or "")
    return (now / path.relative_to(former)).as_uri() if path and path.is_relative_to(former) else address


def _moved_source(former: Path, now: Path, source: str | None) -> str | None:
    """The address of a table that a model was trained on, which is a path in JSON."""
    try:
        described = json.loads(source or "")
        path = Path(described["path"])
    except (ValueError, KeyError, TypeError):
        return source
    if not path.is_relative_to(former):
        return source
    return json.dumps({**described, "path": str(now / path.relative_to(former))})


def _check_artifacts(store: sqlite3.Connection, path: Path, experiment: Experiment) -> None:
    """Raises a sentence where the experiment would write its artefacts somewhere else."""
    for (location,) in store.execute("select artifact_location from experiments where name = ?", [experiment.name]):
        if local_path(location) != local_path(experiment.artifacts or ""):
            raise ConfError(
                f"The experiment {experiment.name} in {path} writes its artefacts to {location!r}, outside of the "
                f"lake. Restore {path.name} from a copy, or name another experiment in globals.yml (experiment)."
            )


def _copy(source: Path, target: Path) -> None:
    with closing(sqlite3.connect(source)) as whole, closing(sqlite3.connect(target)) as copy:
        whole.backup(copy)
    with target.open("rb") as written:
        os.fsync(written.fileno())


def _is_whole(path: Path) -> bool:
    """Whether anything was written after the tables: MLflow's first experiment comes as soon as they stand.

    A file that can't be read (damaged, locked, a folder) counts as whole: opening it tells what is wrong.
    """
    if not path.exists():
        return False
    try:
        # Not read-only: SQLite first takes back what a killed process left half written.
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", timeout=0, uri=True)) as store:
            rows = (line for line in store.iterdump() if line.startswith("INSERT INTO"))
            return any(not row.startswith(_SEEDED) for row in rows)
    except sqlite3.Error:
        return True


def _remove_journals(path: Path) -> None:
    """What an interrupted process left beside its file would be played back into the new one."""
    for suffix in ("-journal", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


if __name__ == "__main__":
    configure_logging()
    template().parent.mkdir(parents=True, exist_ok=True)
    with replace_atomically(template()) as partial:
        build(partial)
