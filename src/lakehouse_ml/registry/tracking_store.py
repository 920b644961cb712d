"""The tracking store of a lake: MLflow's SQLite file, created atomically.

MLflow creates a store by some 60 migrations and commits each; a process that is killed in between leaves a file that no
later process can open. The tables are therefore created elsewhere, and the file is moved into place when complete.

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
# The experiment that conf names, and each experiment with a run of this project.
_OWN_EXPERIMENTS = """
    select distinct artifact_location from experiments where name = ? or experiment_id in (
        select experiment_id from runs join tags using (run_uuid) where tags.key = 'use_case')
"""
# Rows that creation itself writes.
_SEEDED = ('INSERT INTO "alembic_version"', 'INSERT INTO "workspaces"')


@dataclass(frozen=True)
class Experiment:
    """The experiment that conf names.

    Attributes:
        name: In the store.
        artifacts: Folder or address of its artefacts; None if a server decides.
    """

    name: str
    artifacts: str | None


def template_path() -> Path:
    """Path of the empty store that this environment keeps for its version of MLflow."""
    return Path(sys.prefix) / "share" / "lakehouse_ml" / f"mlflow-{version('mlflow')}.db"


def create(address: str) -> None:
    """Create the store if it is missing or its creation was interrupted; leave any other unchanged.

    Call it with the lake locked: a second process would replace the file that the first one has opened.

    Args:
        address: Address of a tracking store; only a file needs to be created.
    """
    path = Path(address.removeprefix(_SQLITE))
    if not address.startswith(_SQLITE) or not path.parent.is_dir() or _is_whole(path):
        return
    for leftover in path.parent.glob(f".{path.name}.*.part*"):
        leftover.unlink()
    with replace_atomically(path) as partial:
        _copy(template_path(), partial) if template_path().is_file() else build(partial)
        _remove_journals(path)


def find_file(address: str) -> Path | None:
    """Path of a store that is a file; None for any other address."""
    return Path(address.removeprefix(_SQLITE)) if address.startswith(_SQLITE) else None


def to_local_path(address: str) -> Path | None:
    """Convert an address of artefacts to a path without `..`; None if it is not on this machine."""
    if address.startswith("/"):
        return Path(os.path.normpath(address))
    parts = urlsplit(address)
    is_local = parts.scheme == "file" and parts.netloc in ("", "localhost") and parts.path.startswith("/")
    return Path(os.path.normpath(unquote(parts.path))) if is_local else None


def find_former_folders(address: str, experiment: Experiment) -> set[Path]:
    """Find the folders of a lake before it was moved or copied, by the addresses in its store.

    Only a store inside the lake, beside its artefacts, is read: any other may serve several lakes. An unreadable store
    has none; opening it reports the fault.
    """
    path = _find_store(address, experiment)
    if path is None or not path.is_file():
        return set()
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", timeout=0, uri=True)) as store:
            return _read_former_folders(store, path.parent, experiment)
    except sqlite3.Error:
        return set()


def relocate(address: str, experiment: Experiment) -> None:
    """Rewrite the addresses below the lake's former folders to its present one, in one transaction.

    Other addresses stay unchanged, and so do tags. Call it with the lake locked.

    Raises:
        ConfError: The experiment would write its artefacts to another place than conf says.
        sqlite3.Error: The store can't be read or written.
    """
    path = _find_store(address, experiment)
    if path is None or not path.is_file():
        return
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True)) as store, store:
        if not _list_columns(store, "experiments"):
            return
        for former in _read_former_folders(store, path.parent, experiment):
            store.create_function("moved", 1, functools.partial(_move_address, former, path.parent))
            store.create_function("moved_source", 1, functools.partial(_move_source, former, path.parent))
            for table, column, rewrite in _ADDRESSES:
                if column in _list_columns(store, table):
                    store.execute(rewrite)
            log.info("The lake was moved or copied from %s: its tracking store now names %s.", former, path.parent)
        _check_artifacts(store, path, experiment)


def build(path: Path) -> None:
    """Write an empty store with all tables of this version of MLflow."""
    from mlflow import MlflowClient

    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder) / "mlflow.db"
        MlflowClient(f"{_SQLITE}{scratch}").search_experiments()
        with closing(sqlite3.connect(scratch)) as store:
            # MLflow's own first experiment keeps its artefacts in the folder that it was created from.
            store.execute("delete from experiments")
            store.commit()
        _copy(scratch, path)


def _find_store(address: str, experiment: Experiment) -> Path | None:
    """Path of the store, if the experiment's artefacts are in the same folder."""
    path, artifacts = find_file(address), to_local_path(experiment.artifacts or "")
    return path if path and artifacts and artifacts.is_relative_to(path.parent) else None


def _read_former_folders(store: sqlite3.Connection, lake: Path, experiment: Experiment) -> set[Path]:
    artifacts = to_local_path(experiment.artifacts or "")
    if artifacts is None or not _list_columns(store, "experiments"):
        return set()
    below = artifacts.relative_to(lake).parts
    locations = (to_local_path(location) for (location,) in store.execute(_OWN_EXPERIMENTS, [experiment.name]))
    paths = (
        path for path in locations if path and len(path.parts) > len(below) + 1 and path.parts[-len(below) :] == below
    )
    return {path.parents[len(below) - 1] for path in paths} - {lake}


def _list_columns(store: sqlite3.Connection, table: str) -> set[str]:
    """List the columns of a table; none if the store, of another version of MLflow, lacks the table."""
    return {name for (name,) in store.execute("select name from pragma_table_info(?)", [table])}


def _move_address(former: Path, now: Path, address: str | None) -> str | None:
    path = to_local_path(address or "")
    return (now / path.relative_to(former)).as_uri() if path and path.is_relative_to(former) else address


def _move_source(former: Path, moved_to: Path, source: str | None) -> str | None:
    """Move the address of a table that a model was trained on, which is a path in JSON."""
    try:
        described = json.loads(source or "")
        path = Path(described["path"])
    except (ValueError, KeyError, TypeError):
        return source
    if not path.is_relative_to(former):
        return source
    return json.dumps({**described, "path": str(moved_to / path.relative_to(former))})


def _check_artifacts(store: sqlite3.Connection, path: Path, experiment: Experiment) -> None:
    """Refuse an experiment that writes its artefacts to another place."""
    for (location,) in store.execute("select artifact_location from experiments where name = ?", [experiment.name]):
        if to_local_path(location) != to_local_path(experiment.artifacts or ""):
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
    """Whether rows were written after the tables: MLflow adds its first experiment as soon as the tables exist.

    An unreadable file (damaged, locked, a folder) counts as complete: opening it reports the fault.
    """
    if not path.exists():
        return False
    try:
        # Not read-only: SQLite first rolls back what a killed process left half written.
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", timeout=0, uri=True)) as store:
            rows = (line for line in store.iterdump() if line.startswith("INSERT INTO"))
            return any(not row.startswith(_SEEDED) for row in rows)
    except sqlite3.Error:
        return True


def _remove_journals(path: Path) -> None:
    """Remove an interrupted process's journals, which SQLite would apply to the new file."""
    for suffix in ("-journal", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


if __name__ == "__main__":
    configure_logging()
    template_path().parent.mkdir(parents=True, exist_ok=True)
    with replace_atomically(template_path()) as partial:
        build(partial)
