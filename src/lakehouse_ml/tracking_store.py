"""The tracking store of a lake: an SQLite file of MLflow's that appears whole or not at all.

MLflow creates a store by some 60 migrations, each of which it commits; a process that is killed meanwhile leaves a file
that no later one can open. So the tables are created elsewhere, and the file is put in its place when it has them all.

    python -m lakehouse_ml.tracking_store   # what `make` runs once: the empty store that new lakes copy
"""

from __future__ import annotations

import os
import sqlite3
import sys
import tempfile
from contextlib import closing
from importlib.metadata import version
from pathlib import Path

from lakehouse_ml.files import complete
from lakehouse_ml.quiet import hide_what_nobody_can_act_on

_SQLITE = "sqlite:///"
# The rows that creation itself leaves.
_SEEDED = ('INSERT INTO "alembic_version"', 'INSERT INTO "workspaces"')


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
    with complete(path) as partial:
        _copy(template(), partial) if template().is_file() else build(partial)
        _remove_journals(path)


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
    hide_what_nobody_can_act_on()
    template().parent.mkdir(parents=True, exist_ok=True)
    with complete(template()) as partial:
        build(partial)
