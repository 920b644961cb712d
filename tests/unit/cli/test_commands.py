"""What is said on a terminal, where it is none, and to those who want to hear less."""

from __future__ import annotations

import logging
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result
from kedro.framework.cli.cli import KedroCLI
from kedro.framework.cli.project import run as kedro_run

from lakehouse_ml.cli.commands import cli, viz
from lakehouse_ml.project import log_only_warnings
from lakehouse_ml.runs import hooks
from lakehouse_ml.runs.runner import log_heartbeat

PROJECT = Path(__file__).resolve().parents[3]


@pytest.fixture
def ours() -> Any:
    """The project's logger, as it was afterwards."""
    logger = logging.getLogger("lakehouse_ml")
    level = logger.level
    yield logger
    logger.setLevel(level)


def test_quiet_silences_progress_and_keeps_what_somebody_must_act_on(
    ours: logging.Logger, caplog: pytest.LogCaptureFixture
) -> None:
    ours.setLevel(logging.INFO)
    log_only_warnings()
    logging.getLogger("lakehouse_ml.runs.runner").info("[ 1/30] a node")
    logging.getLogger("lakehouse_ml.runs.runner").warning("a refusal")
    assert [record.message for record in caplog.records] == ["a refusal"]


def test_run_takes_what_kedros_own_takes_and_quiet_besides() -> None:
    own = {option.name for option in cli.commands["run"].params}
    assert own - {option.name for option in kedro_run.params} == {"quiet"}


def test_quiet_reaches_the_run_as_nothing_but_less_said(monkeypatch: pytest.MonkeyPatch, ours: logging.Logger) -> None:
    arguments: dict[str, Any] = {}
    monkeypatch.setattr(kedro_run, "callback", arguments.update)
    result = CliRunner().invoke(cli, ["run", "--quiet", "--pipelines", "training"])
    assert (result.exit_code, result.output) == (0, "")
    assert arguments["pipelines"] == ["training"]
    assert "quiet" not in arguments
    assert ours.level == logging.WARNING


def test_a_node_that_works_long_says_so_now_and_then(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "lakehouse_ml")
    with log_heartbeat("churn.batch_scoring.score_rows", seconds=0.01):
        while len(caplog.records) < 2:
            pass
    n_records = len(caplog.records)
    assert caplog.records[0].message.startswith("  churn.batch_scoring.score_rows has been running for ")
    with log_heartbeat("quick", seconds=60):
        pass
    assert len(caplog.records) == n_records


@pytest.mark.parametrize(
    ("terminal", "no_color", "coloured"), [(True, "", True), (True, "1", False), (False, "", False)]
)
def test_colours_are_for_a_terminal_whose_owner_wants_them(
    monkeypatch: pytest.MonkeyPatch, terminal: bool, no_color: str, coloured: bool
) -> None:
    monkeypatch.setenv("NO_COLOR", no_color)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal, raising=False)
    assert hooks._should_colour() is coloured


@pytest.fixture
def kedro() -> Callable[..., Result]:
    """Types a command line of Kedro's in this project."""
    commands = KedroCLI(PROJECT)
    return lambda *words: CliRunner().invoke(commands, words, prog_name="kedro", catch_exceptions=False)


def test_help_lists_each_command_once_and_in_one_line(kedro: Callable[..., Result]) -> None:
    commands = re.findall(
        r"^  ([a-z-]+)  +(\S.*)$", kedro("--help").output.partition("Global commands")[2], re.MULTILINE
    )
    names = [name for name, _ in commands]
    assert sorted(set(names)) == sorted(names)
    help_lines = {name: line for name, line in commands if name in cli.commands}
    assert set(help_lines) == set(cli.commands)
    groups = [group for group in (cli, *cli.commands.values()) if isinstance(group, click.Group)]
    shown = {name: group.commands[name].get_short_help_str(64) for group in groups for name in group.commands}
    assert [name for name, line in shown.items() if line.endswith("...") and name not in ("lab", "notebook")] == []


@pytest.mark.parametrize(
    ("words", "package", "sentence"),
    [
        ("ipython", "IPython", "kedro ipython needs IPython. Install the development packages: make .venv/dev"),
        ("jupyter setup", "ipykernel", "kedro jupyter setup needs ipykernel. Install the development packages: make "),
        ("jupyter lab --port 1", "jupyterlab", "kedro jupyter lab needs jupyterlab. Install it: .make/bin/uv pip "),
        ("jupyter notebook", "notebook", "kedro jupyter notebook needs notebook. Install it: .make/bin/uv pip "),
    ],
)
def test_a_package_that_is_not_installed_is_named_with_how_to_get_it(
    kedro: Callable[..., Result], monkeypatch: pytest.MonkeyPatch, words: str, package: str, sentence: str
) -> None:
    monkeypatch.setattr("lakehouse_ml.cli.commands.find_spec", lambda name: None if name == package else object())
    done = kedro(*words.split())
    assert done.exit_code == 1
    assert re.search(rf"^Error: {re.escape(sentence)}", done.output, re.MULTILINE), done.output


@pytest.mark.parametrize("words", ["", "run --port 3", "--help"])
def test_without_its_package_kedro_viz_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch, words: str) -> None:
    monkeypatch.setattr("lakehouse_ml.cli.commands.find_spec", lambda name: None)
    done = CliRunner().invoke(viz, words, prog_name="kedro viz")
    assert done.exit_code == 1
    assert "kedro viz needs kedro-viz. Install the development packages: make .venv/dev" in done.output


def test_programs_that_kedro_calls_by_name_are_those_of_this_environment() -> None:
    assert shutil.which("mlflow") == str(Path(sys.executable).parent / "mlflow")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("run --pipeline training --pipelines training", "Options '--pipeline' and '--pipelines' cannot be"),
        ("run --load-versions x", "Expected the form of 'load_versions' to be"),
    ],
)
def test_a_refusal_of_kedros_is_read_as_its_sentence(kedro: Callable[..., Result], words: str, sentence: str) -> None:
    result = kedro(*words.split())
    assert result.exit_code == 1
    assert f"Error: {sentence}" in result.output
    assert "NoneType" not in result.output


def test_an_address_that_is_not_utf_8_is_refused() -> None:
    done = CliRunner().invoke(cli, ["run", "--params", "lake=/tmp/\udcfc"])
    assert done.exit_code == 1
    assert "lake=/tmp/\\xfc is not UTF-8" in done.output


def test_an_address_in_quotes_is_taken_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    arguments: dict[str, Any] = {}
    monkeypatch.setattr(kedro_run, "callback", arguments.update)
    result = CliRunner().invoke(cli, ["run", "--params", 'lake="/tmp/a #b", landing=x,job_run=7'])
    assert (result.exit_code, arguments["params"]) == (0, {"lake": "/tmp/a #b", "landing": "x", "job_run": "7"})


def test_no_name_splits_or_colours_a_log_line_and_a_librarys_own_line_ends_stay() -> None:
    code = (
        "import logging, lakehouse_ml.project as project; project.configure_logging(); "
        "[logging.getLogger(name).warning('%s', 'a\\nb\\x1b[1m') for name in ('lakehouse_ml.x', 'kedro.x')]"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == "a\\nb\\x1b[1m\na\nb\\x1b[1m\n"


def test_start_up_spends_no_time_on_collecting_what_imports_made() -> None:
    code = (
        "import gc, lakehouse_ml.project as project; project.configure_logging(); before = gc.get_stats(); "
        "import pandas, kedro.framework.cli; "
        "print(sum(now['collections'] - was['collections'] for now, was in zip(gc.get_stats(), before)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 20
