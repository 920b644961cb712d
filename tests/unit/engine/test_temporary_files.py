"""Temporary files go with their run; what a killed run left is removed by the next, and nothing of anybody else."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from lakehouse_ml.engine import temporary_files
from lakehouse_ml.storage.lock import lake_lock


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A temporary folder and a folder of shared memory in one."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setattr(temporary_files, "_SHARED_MEMORY", folder)
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def ended() -> int:
    """The number of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def leave(folder: Path, process: int) -> list[Path]:
    """What a killed search leaves."""
    shared = folder / f"joblib_memmapping_folder_{process}_ab12_cd34"
    semaphore = folder / f"sem.loky-{process}-x7_y"
    run = folder / f"lakehouse-ml-{process}-k2x"
    for path in (shared, run):
        path.mkdir()
        (path / "part").touch()
    semaphore.touch()
    return [shared, semaphore, run]


def test_what_a_dead_process_left_is_removed_and_nothing_of_another(temporary: Path) -> None:
    process = ended()
    leftovers = leave(temporary, process)
    stays = [*leave(temporary, os.getpid()), *leave(temporary, int(f"{process}1"))]
    (temporary / f"sem.other-{process}-1").touch()

    temporary_files.remove_leftovers(process)

    assert not any(path.exists() for path in leftovers)
    assert all(path.exists() for path in stays)
    assert (temporary / f"sem.other-{process}-1").exists()


def test_what_a_killed_process_left_is_removed_while_its_parent_has_not_asked_for_its_end(temporary: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    leftovers = leave(temporary, process.pid)
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)

    temporary_files.remove_leftovers(process.pid)

    assert not any(path.exists() for path in leftovers)
    process.communicate()


def test_nothing_of_a_live_process_is_removed(temporary: Path) -> None:
    stays = leave(temporary, os.getpid())
    temporary_files.remove_leftovers(os.getpid())
    assert all(path.exists() for path in stays)


def test_a_link_is_removed_and_not_what_it_leads_to(temporary: Path, tmp_path: Path) -> None:
    process = ended()
    (tmp_path / "kept").mkdir()
    (temporary / f"lakehouse-ml-{process}-link").symlink_to(tmp_path / "kept")
    temporary_files.remove_leftovers(process)
    assert (tmp_path / "kept").is_dir()
    assert list(temporary.iterdir()) == []


def test_temporary_files_of_a_run_lie_in_a_folder_that_goes_with_it(temporary: Path) -> None:
    with temporary_files.use_run_folder():
        (Path(tempfile.mkdtemp()) / "file").touch()
        (folder,) = temporary.iterdir()
        assert folder.name.startswith(f"lakehouse-ml-{os.getpid()}-")
        with temporary_files.create_folder() as own:
            assert Path(own).parent == temporary
    assert list(temporary.iterdir()) == []
    assert tempfile.gettempdir() == str(temporary)


def test_the_next_run_on_a_lake_removes_what_a_killed_one_left(temporary: Path, tmp_path: Path) -> None:
    lake = tmp_path / "lake"
    code = (
        "import os, signal, tempfile\n"
        "from lakehouse_ml.storage.lock import lake_lock; from lakehouse_ml.engine import temporary_files\n"
        f"tempfile.tempdir = {str(temporary)!r}\n"
        f"with lake_lock({str(lake)!r}), temporary_files.use_run_folder():\n"
        "    tempfile.mkdtemp()\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    killed = subprocess.run([sys.executable, "-c", code], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert len(list(temporary.iterdir())) == 1

    with lake_lock(str(lake)):
        assert list(temporary.iterdir()) == []
