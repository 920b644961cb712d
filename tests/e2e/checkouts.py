"""A copy of the checkout as it is now, and what people type there."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import warm

PROJECT = Path(__file__).resolve().parents[2]
# Where `make test` is typed inside of the tests, it passes a few of them: all of them are running already.
A_FEW_TESTS = "tests/architecture/test_flow.py"
# One quick trial instead of two, half of the prediction times, and a bar that so small a plant can reach.
QUICK_PLANT = """\
predictive_maintenance:
  features: {step_hours: 6, window_hours: [6, 24]}
  training:
    folds: 2
    trials:
      - {estimator: gradient_boosting, params: {learning_rate: 0.1, max_iter: 40, max_depth: 3, min_samples_leaf: 20}}
  evaluation:
    floors: {f1: 0.1, roc_auc: 0.5}
    resamples: 100
    policy: {resamples: 200}
"""
# The same for both use cases: one quick trial of churn, too.
QUICK_SEARCH = f"""\
churn:
  training:
    trials:
      - {{estimator: logistic_regression, params: {{C: 1.0}}}}
{QUICK_PLANT}"""


def commands(markdown: str) -> list[str]:
    """Lines of the fenced `sh` blocks, without comments, in order and each once."""
    blocks = re.findall(r"^```sh\n(.*?)^```$", markdown, re.MULTILINE | re.DOTALL)
    lines = (line.split(" # ")[0].strip() for block in blocks for line in block.splitlines())
    return list(dict.fromkeys(line for line in lines if line and not line.startswith("#")))


def files() -> list[str]:
    """Every file that git knows or would know, as a path from the project."""
    listed = _call("git ls-files -z --cached --others --exclude-standard", PROJECT).stdout.split("\0")
    return [name for name in listed if (PROJECT / name).is_file()]


def copied(copy: Path) -> Path:
    """Copy the checkout, with an environment that sees the packages of this one's, and return where to."""
    restore(copy)
    _environment(copy, Path(sys.prefix))
    return copy


def restore(copy: Path) -> None:
    """Every file of a copy as it is in the checkout."""
    for name in files():
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(PROJECT / name, copy / name)


def _environment(copy: Path, installed: Path) -> None:
    """An environment as make would make it, without installing anything: its code is the copy's."""
    packages = Path(sysconfig.get_path("purelib"))
    copied_packages = copy / ".venv" / packages.relative_to(installed)
    copied_packages.mkdir(parents=True)
    (copied_packages / "checkout.pth").write_text(f"{copy / 'src'}\n{packages}\n", encoding="utf-8")
    shutil.copy2(installed / "pyvenv.cfg", copy / ".venv")
    (copy / ".venv" / "bin").mkdir()
    for program in (installed / "bin").iterdir():
        target = copy / ".venv" / "bin" / program.name
        if program.is_symlink() or program.read_bytes()[:2] != b"#!":
            target.symlink_to(program)
        else:
            target.write_text(program.read_text(encoding="utf-8").replace(f"{installed}", f"{copy / '.venv'}"))
            target.chmod(0o755)
    warm.install(copy / ".venv" / "bin")
    (copy / ".venv" / "share").symlink_to(installed / "share", target_is_directory=True)
    (copy / ".make" / "bin").mkdir(parents=True)
    (copy / ".make" / "bin" / "uv").symlink_to(installed.parent / ".make" / "bin" / "uv")
    for stamp in (".make/uv", ".venv/made", ".venv/run", ".venv/dev"):
        (copy / stamp).touch()
    if (installed / "spark").exists():
        (copy / ".venv" / "spark").touch()
    if (PROJECT / ".jars").is_dir():
        (copy / ".jars").symlink_to(PROJECT / ".jars", target_is_directory=True)


def _variables() -> dict[str, str]:
    # Nor does `make`, which may have started these tests, tell the one that is started here what it was told itself.
    ours = ("PYTEST_", "PYTHON", "MLFLOW_", "KEDRO_", "MAKE", "MFLAGS")
    variables = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return {**variables, "BROWSER": "true", "PYTEST_ADDOPTS": A_FEW_TESTS}


def _call(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    call = ["sh", "-c", command]
    return subprocess.run(call, cwd=folder, env=_variables(), capture_output=True, text=True, timeout=600, check=False)


def shown(command: str, folder: Path) -> str:
    """What a command prints that works and warns of nothing; from the second on with the libraries imported before."""
    process = _call(command, folder)
    warm.serve(folder / ".venv" / "bin")
    assert process.returncode == 0, f"{command} failed:\n{process.stdout}\n{process.stderr}"
    assert "Warning" not in process.stderr, f"{command} warns of what nobody can mend:\n{process.stderr}"
    return process.stdout


def python(source: str, folder: Path) -> str:
    """The output of a script that the checkout's own Python runs."""
    script = folder.parent / "typed.py"
    script.write_text(source, encoding="utf-8")
    return shown(f"PYTHONPATH= .venv/bin/python - < {script}", folder)


def first_page(command: str, checkout: Path) -> str:
    """Start a server, as typed, on a port that nobody uses; fetch its first page, and stop it as Ctrl-C does."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    mine = checkout / "conf" / "local" / "mlflow.yml"
    mine.write_text(f"ui: {{port: '{port}'}}\n", encoding="utf-8")
    log = checkout / "server.log"
    with log.open("wb") as output:
        server = subprocess.Popen(
            ["sh", "-c", command],
            cwd=checkout,
            env={**_variables(), "COLD": "1"},
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        return next(_pages(server, log))
    finally:
        _stop(server)
        mine.unlink()


def _pages(server: subprocess.Popen[bytes], log: Path) -> Iterator[str]:
    deadline = time.monotonic() + 300
    while server.poll() is None and time.monotonic() < deadline:
        ports = re.findall(r"http://(?:127\.0\.0\.1|localhost):(\d+)", log.read_text(encoding="utf-8"))
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{ports[-1]}/", timeout=10) as answer:
                assert answer.status == 200
                yield answer.read().decode()
        except (IndexError, OSError):
            time.sleep(0.5)
    raise AssertionError(f"The server did not answer:\n{log.read_text(encoding='utf-8')}")


def _stop(server: subprocess.Popen[bytes]) -> None:
    for number in (signal.SIGINT, signal.SIGKILL):
        try:
            os.killpg(server.pid, number)
            server.wait(20)
        except (ProcessLookupError, subprocess.TimeoutExpired):
            continue
