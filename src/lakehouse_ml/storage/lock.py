"""The lock of a lake: one run at a time writes to it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from lakehouse_ml.config.lake import is_local
from lakehouse_ml.engine.temporary_files import remove_leftovers
from lakehouse_ml.errors import BusyError, LakehouseError, is_utf8

# Characters that a library treats as syntax in the path of a lake (each was tried): delta-rs parses the path as a URL
# (and `~` as `%7E`), SQLAlchemy ends it at `?`, and Kedro fills in names in braces.
_FORBIDDEN_IN_PATH = re.compile(r"::|[\[\]\\^|?~{}\x00-\x1f\x7f]|%[0-9A-Fa-f]{2}")
# Entries that a run writes in a lake: lock, tracking store, artefacts, and the folders of the layers.
_OWN_NAMES = re.compile(r"\.lock|mlflow.*|\d\d_.*")


def check_path(lake: str) -> None:
    """Refuse a path for a lake, as typed or absolute, that a library would resolve to another one.

    Raises:
        LakehouseError: Names the path and the forbidden characters.
    """
    if not is_utf8(lake):
        raise LakehouseError(
            f"The path of a lake must be UTF-8, and '{lake}' isn't: choose another folder, LAKE=<folder>."
        )
    match = None if "://" in lake else _FORBIDDEN_IN_PATH.search(lake)
    if match:
        raise LakehouseError(
            f"The path of a lake can't contain {match[0]!r}, and {lake!r} does: choose another folder, LAKE=<folder>."
        )


@contextmanager
def lake_lock(lake: str) -> Iterator[None]:
    """Lock a lake: of two runs at once, the second is refused. The operating system frees the lock of a dead process.

    For a lake in an object store (`s3://…`) see `object_store.lake_lock`. A Volume cannot be locked: there the commits
    of the tables decide races.

    Raises:
        BusyError: Another run has the lock.
        LakehouseError: The path cannot be a lake.
    """
    if "://" in lake:
        from lakehouse_ml.storage import object_store

        with object_store.lake_lock(lake):
            yield
        return
    if not is_local(lake):
        yield
        return
    import fcntl

    folder = Path(lake)
    check_path(str(folder.absolute()))
    _check_is_folder(folder)
    if (folder / "mlflow.db").is_dir():
        raise LakehouseError(f"{lake}/mlflow.db is a folder: the tracking store is a file. Move the folder away.")
    folder.mkdir(parents=True, exist_ok=True)
    _check_links(folder)
    with (folder / ".lock").open("a+", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            lock.seek(0)
            raise BusyError(
                f"Another run is using the lake {lake} ({lock.read().strip() or 'just started'}). "
                f"Run again when it is done, or name another lake: LAKE=<folder>."
            ) from error
        lock.seek(0)
        previous = re.match(r"process (\d+)", lock.read())
        if previous:
            remove_leftovers(int(previous[1]))
        lock.truncate(0)
        lock.write(f"process {os.getpid()}, since {datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC")
        lock.flush()
        yield


def _check_is_folder(folder: Path) -> None:
    """Refuse a lake that is a file or below one.

    Raises:
        LakehouseError: Names the file.
    """
    nearest = next((path for path in (folder, *folder.parents) if path.exists()), folder)
    if nearest.exists() and not nearest.is_dir():
        raise LakehouseError(f"{nearest} is a file: a lake is a folder. Name another one: LAKE=<folder>.")


def _check_links(lake: Path) -> None:
    """Refuse links inside a lake: a run would write outside of it, and a run in a copy into the original.

    The path of the lake itself may contain links, and landing files may be links.

    Raises:
        LakehouseError: Names the link.
    """
    for link in _find_links(lake, _OWN_NAMES):
        raise LakehouseError(
            f"{link!r} is a link: a lake is one folder, and a run would write outside of it. Replace the link "
            f"by its target."
        )


def _find_links(folder: str | Path, names: re.Pattern[str] | None = None) -> Iterator[str]:
    """Find links below a folder; of its direct entries, only those whose names match."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if names and not names.fullmatch(entry.name):
                continue
            if entry.is_symlink():
                yield entry.path
            elif entry.is_dir():
                yield from _find_links(entry.path)
