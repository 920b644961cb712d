"""Explain the state of the machine or the store that stopped a run, with its remedy."""

from __future__ import annotations

import re
from pathlib import Path

from lakehouse_ml.errors import chain, printable
from lakehouse_ml.storage.failures import BROKEN_OFF, FULL, NO_BUCKET, NOT_ALLOWED

_STORE = "the tracking store {lake}/mlflow.db"
_STATES = {
    NO_BUCKET: "There is no bucket at {place}: name another address, or create it.",
    NOT_ALLOWED: (
        "The store refuses {place}: credentials are missing, expired, or don't allow it (a policy may ask for "
        "encryption, too). They are taken from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or from the machine's role."
    ),
    BROKEN_OFF: (
        "The store of {place} doesn't answer as it should, although it was asked again and again. What was finished "
        "is kept; run again later."
    ),
    FULL: (
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
# Where an error's text names the place; the first match counts.
_PLACES = (
    r"location (/\S+) not found",
    r"file:? (/?\S+\.parquet)",
    r"filepath='([^']+)'",
    r"'(/[^']+)'",
    r"[dD]ataset '([^']+)'",
)


def explain(error: BaseException, lake: str) -> str | None:
    """Return the sentence for a state of the machine that caused an exception; None for any other exception."""
    for cause in chain(error):
        for words, sentence in _STATES.items():
            match = re.search(words, str(cause))
            if match:
                named = {"found": "unknown", "expected": "another"} | {k: v for k, v in match.groupdict().items() if v}
                return printable(sentence.format_map({"place": _find_place(error, lake), "lake": lake, **named}))
    return None


def _find_place(error: BaseException, lake: str) -> str:
    for cause in chain(error):
        if isinstance(cause, OSError) and cause.filename:
            return str(cause.filename)
    texts = [str(cause) for cause in chain(error)]
    for words in _PLACES:
        for text in texts:
            match = re.search(words, text)
            if match:
                return _complete_path(match[1], lake)
    return lake


def _complete_path(path: str, lake: str) -> str:
    """Complete a path of an error from the root: datasets name the last parts of theirs, and Sail omits the root."""
    if path.startswith("/") or "://" in path or "/" not in path:
        return path
    return f"/{path}" if Path(f"/{path}").parent.exists() else f"{lake}/{path}"
