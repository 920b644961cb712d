"""A lake's lock: one run at a time writes to a lake."""

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

# What some library takes for a sign of its own in a lake's path, each tried: delta-rs takes it for an address (and `~`
# for `%7E`), SQLAlchemy ends it at `?`, and Kedro fills in what stands in braces.
_NOT_IN_A_PATH = re.compile(r"::|[\[\]\\^|?~{}\x00-\x1f\x7f]|%[0-9A-Fa-f]{2}")
# What a run writes in a lake: lock, tracking store, artefacts, and the layers' folders.
_OWN_NAMES = re.compile(r"\.lock|mlflow.*|\d\d_.*")


def check_path(lake: str) -> None:
    """Refuse a path for a lake, as it was typed or in full, that a library would read as another one.

    Raises:
        LakehouseError: Names the path and what in it is not allowed.
    """
    if not is_utf8(lake):
        raise LakehouseError(
            f"The path of a lake must be UTF-8, and '{lake}' isn't: choose another folder, LAKE=<folder>."
        )
    found = None if "://" in lake else _NOT_IN_A_PATH.search(lake)
    if found:
        raise LakehouseError(
            f"The path of a lake can't contain {found[0]!r}, and {lake!r} does: choose another folder, LAKE=<folder>."
        )


@contextmanager
def lake_lock(lake: str) -> Iterator[None]:
    """Have a lake for oneself: of two runs at once, the second is refused. The system lets go of it when a run dies.

    At an address (`s3://…`) there is no such system: see `object_store.lake_lock`; a Volume can't be held, there the
    tables' own commits decide.

    Raises:
        BusyError: Another run has it.
        LakehouseError: No lake can be there.
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
    _check_no_file(folder)
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
                f"Another run is at work on the lake {lake} ({lock.read().strip() or 'just started'}). "
                f"Run again when it is done, or name another lake: LAKE=<folder>."
            ) from error
        lock.seek(0)
        before = re.match(r"process (\d+)", lock.read())
        if before:
            remove_leftovers(int(before[1]))
        lock.truncate(0)
        lock.write(f"process {os.getpid()}, since {datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC")
        lock.flush()
        yield


def _check_no_file(folder: Path) -> None:
    """Refuse a lake that is a file, or lies below one.

    Raises:
        LakehouseError: Names the file.
    """
    nearest = next((path for path in (folder, *folder.parents) if path.exists()), folder)
    if nearest.exists() and not nearest.is_dir():
        raise LakehouseError(f"{nearest} is a file: a lake is a folder. Name another one: LAKE=<folder>.")


def _check_links(lake: Path) -> None:
    """Refuse a lake with links inside, by which a run would write outside of it, and a copy of it into the original.

    The lake's own path may lead through links, and so may landing files.

    Raises:
        LakehouseError: Names the link.
    """
    for link in _links(lake, _OWN_NAMES):
        raise LakehouseError(
            f"{link!r} is a link: a lake is one folder, and a run would write outside of it. Put what the link leads "
            f"to in its place."
        )


def _links(folder: str | Path, names: re.Pattern[str] | None = None) -> Iterator[str]:
    """Paths of links below a folder; of its own entries only those with such names are looked at."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if names and not names.fullmatch(entry.name):
                continue
            if entry.is_symlink():
                yield entry.path
            elif entry.is_dir():
                yield from _links(entry.path)
