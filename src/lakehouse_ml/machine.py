"""What the disk, the tracking store and a damaged file can do to a run, each told in a sentence with its remedy.

Engines and stores hand back the operating system's words inside errors of their own, so it is by those words that the
state is recognised, wherever it came up.
"""

from __future__ import annotations

import logging
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from lakehouse_ml.config import locations
from lakehouse_ml.engine.temporary_files import remove_leftovers, temporary_folder
from lakehouse_ml.errors import BusyError, LakehouseError, chain, is_utf8, printable

T = TypeVar("T")
log = logging.getLogger(__name__)

# What some library takes for a sign of its own in a lake's path, each tried: delta-rs takes it for an address (and `~`
# for `%7E`), SQLAlchemy ends it at `?`, and Kedro fills in what stands in braces.
_NOT_IN_A_PATH = re.compile(r"::|[\[\]\\^|?~{}\x00-\x1f\x7f]|%[0-9A-Fa-f]{2}")
# What a run writes in a lake: lock, tracking store, artefacts, and the layers' folders.
_OWN_NAMES = re.compile(r"\.lock|mlflow.*|\d\d_.*")
_STORE = "the tracking store {lake}/mlflow.db"
# What an object store says of itself, in the words of delta-rs, Sail and Hadoop.
_NO_BUCKET = r"NoSuchBucket|bucket does not exist"
_NOT_ALLOWED = (
    r"AccessDenied|InvalidAccessKeyId|SignatureDoesNotMatch|ExpiredToken|[Nn]o credentials|Status Code: 403|"
    r"Unable to load credentials|CredentialsNotLoaded|latest/(api/token|meta-data)|403 Forbidden"
)
_BROKEN_OFF = (
    r"SlowDown|Service Unavailable|Generic S3 error|HTTP error|error sending request|response body error|"
    r"Unable to execute HTTP request|AWSServiceIOException|AWSClientIOException|AWSServiceThrottled|"
    r"Premature end of Content-Length"
)
_FULL = r"No space left on device|database or disk is full|Disk quota exceeded"
_DISK = rf"{_FULL}|Read-only file system|Permission denied|Operation not permitted|Input/output error"
_TRIES = 6
_STATES = {
    _NO_BUCKET: "There is no bucket at {place}: name another address, or create it.",
    _NOT_ALLOWED: (
        "The store refuses {place}: credentials are missing, expired, or don't allow it (a policy may ask for "
        "encryption, too). They are taken from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or from the machine's role."
    ),
    _BROKEN_OFF: (
        "The store of {place} doesn't answer as it should, although it was asked again and again. What was finished "
        "is kept; run again later."
    ),
    _FULL: (
        "The disk is full: {place} could not be written. What was finished is kept; free some space, then run again."
    ),
    r"Read-only file system|attempt to write a readonly database": (
        "{place} is read-only: nothing can be written there. Make it writable, or name another lake: LAKE=<folder>."
    ),
    r"Permission denied|Operation not permitted": (
        "{place} may not be read or written by this user. Change its permissions, or name another lake: LAKE=<folder>."
    ),
    r"File name too long": (
        "{place} is longer than a path may be on this disk. Name another folder: LAKE=<folder>, or LANDING=<folder>."
    ),
    r"Is a directory|is a directory": (
        "{place} is a folder, and a file must be written there. Move the folder away, then run again."
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
    r"Missing commit file|Object at location \S+ not found|FAILED_READ_FILE|Parquet error|"
    r"Parquet file size is|Invalid Parquet file": (
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


def explain(error: BaseException, lake: str) -> str | None:
    """The sentence for a state of the machine that an exception tells of; None for any other exception."""
    for seen in chain(error):
        for words, sentence in _STATES.items():
            found = re.search(words, str(seen))
            if found:
                named = {"found": "unknown", "expected": "another"} | {k: v for k, v in found.groupdict().items() if v}
                return printable(sentence.format_map({"place": _place(error, lake), "lake": lake, **named}))
    return None


def is_the_stores(error: BaseException) -> bool:
    """Whether something failed by how an object store answered, and not by what lies there."""
    return _mentions(error, f"{_NO_BUCKET}|{_NOT_ALLOWED}|{_BROKEN_OFF}")


def is_the_disks(error: BaseException) -> bool:
    """Whether something could not be read or written for a reason of the disk: no space, no permission, a fault."""
    return _mentions(error, _DISK)


def is_full(error: BaseException) -> bool:
    """Whether something could not be written for want of space."""
    return _mentions(error, _FULL)


def _mentions(error: BaseException, pattern: str) -> bool:
    """Whether an error, or one behind it, has a text that matches."""
    return any(re.search(pattern, str(seen)) for seen in chain(error))


def full_temporary_folder() -> LakehouseError:
    """The sentence for temporary files that found no space; the engine's own error doesn't say where."""
    return LakehouseError(
        f"The disk of temporary files is full: {temporary_folder()} could not be written, and a table's rows are kept "
        f"there before they are stored. Free some space there, or name another folder: TMPDIR=<folder>."
    )


def asked_again(work: Callable[[], T]) -> T:
    """What `work` gives, which is done anew where an object store's answer broke off.

    The libraries' own retries repeat a request that wasn't answered, and not one whose answer began.
    """
    for pause in range(1, _TRIES):
        try:
            return work()
        except Exception as error:
            told = " ".join(str(seen) for seen in chain(error))
            if re.search(f"{_NO_BUCKET}|{_NOT_ALLOWED}", told) or not re.search(_BROKEN_OFF, told):
                raise
            log.info("  the store's answer broke off: asked again")
            time.sleep(pause)
    return work()


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
def held(lake: str) -> Iterator[None]:
    """Have a lake for oneself: of two runs at once, the second is refused. The system lets go of it when a run dies.

    At an address (`s3://…`) there is no such system: see `object_store.held`; a Volume can't be held, there the
    tables' own commits decide.

    Raises:
        BusyError: Another run has it.
        LakehouseError: No lake can be there.
    """
    if "://" in lake:
        from lakehouse_ml import object_store

        with object_store.held(lake):
            yield
        return
    if not locations.is_local(lake):
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


def _place(error: BaseException, lake: str) -> str:
    for seen in chain(error):
        if isinstance(seen, OSError) and seen.filename:
            return str(seen.filename)
    texts = [str(seen) for seen in chain(error)]
    for words in _PLACES:
        for text in texts:
            found = re.search(words, text)
            if found:
                return _whole_path(found[1], lake)
    return lake


def _whole_path(path: str, lake: str) -> str:
    """A path as an error names it, from the root: datasets name the last parts of theirs, and Sail omits the root."""
    if path.startswith("/") or "://" in path or "/" not in path:
        return path
    return f"/{path}" if Path(f"/{path}").parent.exists() else f"{lake}/{path}"
