"""A test that fails by chance is run again, alone, and named; one that fails twice has failed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

AGAIN = Path(__file__).resolve().parents[1] / "again.py"
# Fails a number of times, counted in a file.
TESTS = """\
from pathlib import Path
import pytest
def count(name, failures):
    times = Path(name).read_text() if Path(name).exists() else ""
    Path(name).write_text(times + "x")
    assert len(times) >= failures, "by chance"
def test_sound(): count("sound", 0)
@pytest.mark.parametrize("which", ["a b", "c"])
def test_of_chance(which): count(which, {chance} if which == "c" else 0)
"""


def again(folder: Path, *how: str, failures: int, text: str = TESTS) -> tuple[int, str]:
    (folder / "test_some.py").write_text(text.replace("{chance}", str(failures)), encoding="utf-8")
    (folder / "pytest.ini").write_text("[pytest]\naddopts = -q\n", encoding="utf-8")
    call = [sys.executable, str(AGAIN), *how, "test_some.py"]
    environment = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTEST_PLUGINS": "xdist.plugin"}
    process = subprocess.run(
        call, cwd=folder, capture_output=True, text=True, timeout=120, check=False, env=environment
    )
    return process.returncode, process.stdout


def times(folder: Path) -> dict[str, int]:
    return {name: len((folder / name).read_text(encoding="utf-8")) for name in ("sound", "a b", "c")}


def test_passing_tests_are_run_once(tmp_path: Path) -> None:
    code, output = again(tmp_path, failures=0)
    assert (code, times(tmp_path)) == (0, {"sound": 1, "a b": 1, "c": 1})
    assert "FLAKY" not in output


def test_a_test_that_fails_by_chance_is_run_again_alone_and_named(tmp_path: Path) -> None:
    code, output = again(tmp_path, "-n", "2", "--dist", "loadfile", failures=1)
    assert (code, times(tmp_path)) == (0, {"sound": 1, "a b": 1, "c": 2})
    assert output.endswith("FLAKY: test_some.py::test_of_chance[c] failed, and passed when it was run again.\n")


def test_a_test_that_fails_again_has_failed(tmp_path: Path) -> None:
    code, output = again(tmp_path, failures=2)
    assert (code, times(tmp_path)["c"]) == (1, 2)
    assert "FLAKY" not in output


def test_many_failures_are_not_run_again(tmp_path: Path) -> None:
    text = "import pytest\n@pytest.mark.parametrize('n', range(5))\ndef test_broken(n): assert False\n"
    code, output = again(tmp_path, failures=0, text=text)
    assert code == 1
    assert "Once more" not in output
