"""Temporary files of a run, in one folder that is removed with it; the next run removes those of a killed one."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

# joblib prefers shared memory to the temporary folder for arrays of its workers; its semaphores are always there.
_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - where joblib and loky write
_PREFIX = "lakehouse-ml"


def create_folder() -> tempfile.TemporaryDirectory[str]:
    """Create a temporary folder outside of a run's, with the id of this process in its name."""
    return tempfile.TemporaryDirectory(prefix=f"{_PREFIX}-{os.getpid()}-", dir=temporary_folder())


def temporary_folder() -> Path:
    """The temporary folder of the system, even inside of a run."""
    folder = Path(tempfile.gettempdir())
    return folder.parent if folder.name.startswith(f"{_PREFIX}-") else folder


@contextmanager
def use_run_folder() -> Iterator[None]:
    """Make this process and its libraries put temporary files into one folder, which is removed afterwards."""
    previous = tempfile.tempdir
    with create_folder() as folder:
        tempfile.tempdir = folder
        try:
            yield
        finally:
            tempfile.tempdir = previous


def remove_leftovers(process: int) -> None:
    """Remove files of an ended process in shared memory and in the temporary folder; keep those of a live one.

    Semaphores and shared arrays of joblib's workers and folders of `create_folder` have the process id in their names.
    Files of other users stay.
    """
    if _is_alive(process):
        return
    pattern = re.compile(rf"(sem\.loky-|joblib_memmapping_folder_|{_PREFIX}-){process}[-_].*")
    for folder in {_SHARED_MEMORY, temporary_folder()}:
        for path in folder.iterdir() if folder.is_dir() else ():
            if pattern.fullmatch(path.name):
                _remove(path)


def _is_alive(process: int) -> bool:
    """Whether a process is alive. A killed one stays a zombie until its parent or its last thread has ended."""
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
