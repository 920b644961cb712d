"""What the disk, the tracking store and a damaged file can do to a run, each told in a sentence with its remedy.

Engines and stores hand back the operating system's words inside errors of their own, so it is by those words that the
state is recognised, wherever it came up.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from lakehouse_ml.errors import LakehouseError, chain

# What delta-rs, which takes a path for an address, can't write to; each was tried.
_ALIEN = re.compile(r"[\[\]\\^|]|%[0-9A-Fa-f]{2}")
_STORE = "the tracking store {lake}/mlflow.db"
_STATES = {
    r"No space left on device|database or disk is full|Disk quota exceeded": (
        "The disk is full: {place} could not be written. What was finished is kept; free some space, then run again."
    ),
    r"Read-only file system|attempt to write a readonly database": (
        "{place} is read-only: nothing can be written there. Make it writable, or name another lake: LAKE=<folder>."
    ),
    r"Permission denied|Operation not permitted": (
        "{place} may not be read or written by this user. Change its permissions, or name another lake: LAKE=<folder>."
    ),
    r"Input/output error|disk I/O error": (
        "The disk failed to read or write {place}. Check the disk, then run again; what was finished is kept."
    ),
    r"database is locked": (
        "Another process holds " + _STORE + ". Wait until it is done, or end it (`make ui` too), then run again."
    ),
    r"file is not a database|database disk image is malformed": (
        "The file of " + _STORE + " is damaged. Restore it from a copy, or start a new lake: LAKE=<folder>."
    ),
    r"unable to open database file": (
        "There can be no file for " + _STORE + ". Look at what lies there, or name another lake: LAKE=<folder>."
    ),
    r"out-of-date database schema \(found version (?P<found>\w+), but expected (?P<expected>\w+)\)|"
    r"Can't locate revision identified by '(?P<revision>\w+)'": (
        "Another version of MLflow wrote " + _STORE + " (its schema is {found}, this MLflow's {expected}). Use that "
        "version; if it was an older one, copy the file and run: mlflow db upgrade sqlite:///{lake}/mlflow.db"
    ),
    r"Missing commit file|Object at location \S+ not found|Parquet error|Parquet file size is|Invalid Parquet file": (
        "A table's file is damaged or gone: {place}. Restore the table's folder from a copy, or start a new lake from "
        "the same files: LAKE=<folder>."
    ),
}
# Where an error's text names the place; the first that is found counts.
_PLACES = (
    r"location (/\S+) not found",
    r"file:? (/?\S+\.parquet)",
    r"filepath='([^']+)'",
    r"'(/[^']+)'",
    r"[dD]ataset '([^']+)'",
)


class BusyError(LakehouseError):
    """Another run works on the same lake."""


def explain(error: BaseException, lake: str) -> str | None:
    """The sentence for a state of the machine that an exception tells of; None for any other exception."""
    for seen in chain(error):
        for words, sentence in _STATES.items():
            found = re.search(words, str(seen))
            if found:
                named = {"found": "unknown", "expected": "another"} | {k: v for k, v in found.groupdict().items() if v}
                return sentence.format_map({"place": _place(error, lake), "lake": lake, **named})
    return None


@contextmanager
def held(lake: str) -> Iterator[None]:
    """Have a lake for oneself: of two runs at once, the second is refused. The system lets go of it when a run dies.

    A lake at an address (`s3://…`) can't be held: there the tables' own commits decide.

    Raises:
        BusyError: Another run has it.
        LakehouseError: No lake can be there.
    """
    if "://" in lake:
        yield
        return
    import fcntl

    folder = Path(lake)
    alien = _ALIEN.search(str(folder.absolute()))
    if alien:
        raise LakehouseError(f"{folder.absolute()} has {alien[0]} in it, where Delta tables can't lie: LAKE=<folder>.")
    if not folder.is_dir() and folder.exists():
        raise LakehouseError(f"{lake} is a file: a lake is a folder. Name another one: LAKE=<folder>.")
    if (folder / "mlflow.db").is_dir():
        raise LakehouseError(f"{lake}/mlflow.db is a folder: the tracking store is a file. Move the folder away.")
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("a+", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            lock.seek(0)
            raise BusyError(
                f"Another run is at work on the lake {lake} ({lock.read().strip() or 'just started'}). "
                f"Run again when it is done, or name another lake: LAKE=<folder>."
            ) from error
        lock.truncate(0)
        lock.write(f"process {os.getpid()}, since {datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC")
        lock.flush()
        yield


def _place(error: BaseException, lake: str) -> str:
    for seen in chain(error):
        if isinstance(seen, OSError) and seen.filename:
            return str(seen.filename)
    texts = [str(seen) for seen in chain(error)]
    for words in _PLACES:
        for text in texts:
            found = re.search(words, text)
            if found:
                return found[1] if found[1].startswith("/") or "/" not in found[1] else "/" + found[1]
    return lake
