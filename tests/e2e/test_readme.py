"""Every command that README tells people to type, typed in a copy of the checkout."""

from __future__ import annotations

import csv
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

import pytest

from lakehouse_ml.use_cases.churn.synthetic import write_csv

PROJECT = Path(__file__).resolve().parents[2]
README = (PROJECT / "README.md").read_text(encoding="utf-8")

# What each command of README shows when it works: a pattern of its output, or of a server's first page.
SHOWS = {
    "make run": r"champion +version 1\n",
    "make test": r"\d+ passed",
    "make run LANDING=<folder> LAKE=data/mine": r"customers: 2,000 rows in 2 files.+\n.+outcomes: 400 rows in 1 file",
    ".venv/bin/kedro run": r"nothing was new",
    ".venv/bin/kedro run --pipelines training --namespaces churn": r"churn\n  time .+nothing was new",
    ".venv/bin/kedro run --only-missing-outputs": r"nothing was new",
    ".venv/bin/kedro run --params landing=<folder>,lake=data/mine": r"customers: 2,000 rows in 2 files",
    ".venv/bin/kedro registry list": r"- __default__\n- batch_scoring\n",
    ".venv/bin/kedro catalog describe-datasets": r"churn\.clean_customers",
    "(cd notebooks && ../.venv/bin/kedro run --pipelines monitoring)": r"churn\n  drift .+\n  time .+nothing was new",
    "make -C <project> run": r"nothing was new",
    "make ui": r"<title>MLflow</title>",
    "make viz": r"<title>Kedro-Viz</title>",
}
SERVERS = {"make ui", "make viz"}
QUICK = {".venv/bin/kedro registry list"}
# Where `make test` is typed inside of the tests, it passes a few of them: all of them are running already.
A_FEW_TESTS = "tests/architecture/test_flow.py"


def commands(markdown: str) -> list[str]:
    """Lines of the fenced `sh` blocks, without comments, in order and each once."""
    blocks = re.findall(r"^```sh\n(.*?)^```$", markdown, re.MULTILINE | re.DOTALL)
    lines = (line.split(" # ")[0].strip() for block in blocks for line in block.splitlines())
    return list(dict.fromkeys(line for line in lines if line and not line.startswith("#")))


def _each() -> list[object]:
    return [pytest.param(name, marks=[] if name in QUICK else [pytest.mark.slow]) for name in commands(README)]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of this checkout as they are now, with an environment that sees the packages of this one's."""
    copy = tmp_path_factory.mktemp("readme") / "project"
    for name in _call("git ls-files -z --cached --others --exclude-standard", PROJECT).stdout.split("\0"):
        if (PROJECT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(PROJECT / name, copy / name)
    _environment(copy, Path(sys.prefix))
    return copy


def _environment(copy: Path, installed: Path) -> None:
    """An environment as make would make it, without installing anything: its code is the copy's."""
    packages = Path(sysconfig.get_path("purelib"))
    own = copy / ".venv" / packages.relative_to(installed)
    own.mkdir(parents=True)
    (own / "checkout.pth").write_text(f"{copy / 'src'}\n{packages}\n", encoding="utf-8")
    shutil.copy2(installed / "pyvenv.cfg", copy / ".venv")
    (copy / ".venv" / "bin").mkdir()
    for program in (installed / "bin").iterdir():
        target = copy / ".venv" / "bin" / program.name
        if program.is_symlink() or program.read_bytes()[:2] != b"#!":
            target.symlink_to(program)
        else:
            target.write_text(program.read_text(encoding="utf-8").replace(f"{installed}", f"{copy / '.venv'}"))
            target.chmod(0o755)
    (copy / ".make").mkdir()
    for stamp in (".make/uv", ".venv/made", ".venv/run", ".venv/dev"):
        (copy / stamp).touch()


@pytest.fixture(scope="module")
def landing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's folder: a month whose outcomes are known, the next one, and what became of some of its customers."""
    folder = tmp_path_factory.mktemp("mine")
    write_csv(folder / "customers_2025-01-31.csv", n=1_600)
    with (folder / "customers_2025-01-31.csv").open(newline="", encoding="utf-8") as file:
        stayed = [row for row in csv.DictReader(file) if row["Churn"] == "No"][:400]
    _write(folder / "customers_2025-02-28.csv", [{**row, "Churn": ""} for row in stayed])
    later = [{"customerID": row["customerID"], "Churn": "Yes" if n % 5 == 0 else "No"} for n, row in enumerate(stayed)]
    _write(folder / "outcomes" / "outcomes_2025-02-28.csv", later)
    return folder


def _write(path: Path, rows: list[dict[str, str]]) -> None:
    path.parent.mkdir(exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


@pytest.fixture(scope="module")
def first_run(checkout: Path) -> str:
    """What `make run` shows in a fresh checkout; what README names after it finds a lake there."""
    return _shown("make run", checkout)


def _variables() -> dict[str, str]:
    told = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "PYTHON", "MLFLOW_"))}
    return {**told, "BROWSER": "true", "PYTEST_ADDOPTS": A_FEW_TESTS}


def _call(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    call = ["sh", "-c", command]
    return subprocess.run(call, cwd=folder, env=_variables(), capture_output=True, text=True, timeout=600, check=False)


def _shown(command: str, folder: Path) -> str:
    done = _call(command, folder)
    assert done.returncode == 0, f"{command} failed:\n{done.stdout}\n{done.stderr}"
    assert "Warning" not in done.stderr, f"{command} warns of what nobody can mend:\n{done.stderr}"
    return done.stdout


@pytest.mark.parametrize("command", _each())
def test_readme_command(command: str, checkout: Path, request: pytest.FixtureRequest) -> None:
    before = request.getfixturevalue("first_run") if command not in QUICK else ""
    if command in SERVERS:
        shown = _first_page(command, checkout)
    elif command == "make run":
        shown = before
    else:
        landing = request.getfixturevalue("landing") if "<folder>" in command else ""
        shown = _shown(command.replace("<folder>", str(landing)).replace("<project>", str(checkout)), checkout)
    assert re.search(SHOWS[command], shown), f"{command} shows nothing like {SHOWS[command]}:\n{shown}"


def _first_page(command: str, checkout: Path) -> str:
    """Start a server, as typed, on a port that nobody uses; fetch its first page, and stop it as Ctrl-C does."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    mine = checkout / "conf" / "local" / "mlflow.yml"
    mine.write_text(f"ui: {{port: '{port}'}}\n", encoding="utf-8")
    log = checkout / "server.log"
    with log.open("wb") as output:
        server = subprocess.Popen(
            ["sh", "-c", command], cwd=checkout, env=_variables(), stdout=output, stderr=output, start_new_session=True
        )
    try:
        return next(_pages(server, log))
    finally:
        _stop(server)
        mine.unlink()


def _pages(server: subprocess.Popen[bytes], log: Path) -> Iterator[str]:
    deadline = time.monotonic() + 300
    while server.poll() is None and time.monotonic() < deadline:
        told = re.findall(r"http://(?:127\.0\.0\.1|localhost):(\d+)", log.read_text(encoding="utf-8"))
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{told[-1]}/", timeout=10) as answer:
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


def test_every_command_of_readme_is_run_by_a_test() -> None:
    assert set(commands(README)) == set(SHOWS)


def test_no_command_hides_in_a_block_that_is_not_run() -> None:
    fences = re.findall(r"^```(.*)$", README, re.MULTILINE)
    assert set(fences[1::2]) == {""}
    assert set(fences[::2]) <= {"sh", "text", "yaml"}
    others = "\n".join(re.findall(r"^```(?:text|yaml)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL))
    assert re.findall(r"^(?:[$%] |\.venv/|make |kedro ).*", others, re.MULTILINE) == []
    prose = re.sub(r"^```.*?^```$", "", README, flags=re.MULTILINE | re.DOTALL)
    assert set(re.findall(r"`((?:\.venv/bin/|kedro |make )[^`]+)`", prose)) <= set(SHOWS)


def test_commands_are_the_lines_of_sh_blocks_without_comments() -> None:
    page = "Type:\n\n```sh\nmake run    # everything\n\n# then\nmake test\n```\n\n```text\nmake tea\n```\n"
    assert commands(page + "```sh\nmake run\n```\n") == ["make run", "make test"]


def test_every_make_target_in_the_texts_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (PROJECT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    texts = [PROJECT / "README.md", PROJECT / "CONTRIBUTING.md", *(PROJECT / "docs").rglob("*.md")]
    named = {name for text in texts for name in re.findall(r"`make ([a-z-]+)", text.read_text(encoding="utf-8"))}
    assert named - targets == set()


def test_every_link_in_the_texts_leads_somewhere() -> None:
    texts = [PROJECT / "README.md", PROJECT / "CONTRIBUTING.md", *(PROJECT / "docs").rglob("*.md")]
    dead = [
        f"{text.relative_to(PROJECT)}: {link}"
        for text in texts
        for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text.read_text(encoding="utf-8"))
        if not (text.parent / link).exists()
    ]
    assert dead == []


def test_every_decision_is_in_the_index() -> None:
    folder = PROJECT / "docs" / "decisions"
    listed = re.findall(r"^\| \[\d{4}\]\((.+?)\)", (folder / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert listed == sorted(path.name for path in folder.glob("0*.md"))
