"""Temporary files of a run: in one folder that goes with it, and what a killed run left is removed by the next one."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

# joblib prefers shared memory over the temporary folder for what its workers share; its semaphores are always there.
_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - where joblib and loky write
_PREFIX = "lakehouse-ml"


def new_folder() -> tempfile.TemporaryDirectory[str]:
    """A temporary folder, not within a run's, that carries the number of this process."""
    return tempfile.TemporaryDirectory(prefix=f"{_PREFIX}-{os.getpid()}-", dir=temporary_folder())


def temporary_folder() -> Path:
    """The system's temporary folder, within a run's too."""
    folder = Path(tempfile.gettempdir())
    return folder.parent if folder.name.startswith(f"{_PREFIX}-") else folder


@contextmanager
def run_folder() -> Iterator[None]:
    """Let this process, its libraries included, put temporary files into a folder that is removed afterwards."""
    before = tempfile.tempdir
    with new_folder() as folder:
        tempfile.tempdir = folder
        try:
            yield
        finally:
            tempfile.tempdir = before


def remove_leftovers(process: int) -> None:
    """Remove what a process that has ended left in shared memory and in the temporary folder; nothing of a live one.

    Semaphores and shared arrays of joblib's workers and folders of `new_folder` carry the process's number. What
    belongs to somebody else stays.
    """
    if _is_alive(process):
        return
    own = re.compile(rf"(sem\.loky-|joblib_memmapping_folder_|{_PREFIX}-){process}[-_].*")
    for folder in {_SHARED_MEMORY, temporary_folder()}:
        for path in folder.iterdir() if folder.is_dir() else ():
            if own.fullmatch(path.name):
                _remove(path)


def _is_alive(process: int) -> bool:
    """Whether a process still works; a killed one stays a zombie until its parent, or its last thread, has ended."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    status = Path(f"/proc/{process}/stat")
    with suppress(OSError):
        return status.read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    return True


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(PermissionError):
            path.unlink(missing_ok=True)
