"""What is said on a terminal, where it is none, and to those who want to hear less."""

from __future__ import annotations

import logging
import sys
from typing import Any

import pytest
from click.testing import CliRunner
from kedro.framework.cli.project import run as kedro_run

from lakehouse_ml import hooks
from lakehouse_ml.cli import cli
from lakehouse_ml.quiet import say_only_the_summary
from lakehouse_ml.session import _heartbeat


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
    say_only_the_summary()
    logging.getLogger("lakehouse_ml.session").info("[ 1/30] a node")
    logging.getLogger("lakehouse_ml.session").warning("a refusal")
    assert [record.message for record in caplog.records] == ["a refusal"]


def test_run_takes_what_kedros_own_takes_and_quiet_besides() -> None:
    own = {option.name for option in cli.commands["run"].params}
    assert own - {option.name for option in kedro_run.params} == {"quiet"}


def test_quiet_reaches_the_run_as_nothing_but_less_said(monkeypatch: pytest.MonkeyPatch, ours: logging.Logger) -> None:
    given: dict[str, Any] = {}
    monkeypatch.setattr(kedro_run, "callback", given.update)
    done = CliRunner().invoke(cli, ["run", "--quiet", "--pipelines", "training"])
    assert (done.exit_code, done.output) == (0, "")
    assert given["pipelines"] == ["training"]
    assert "quiet" not in given
    assert ours.level == logging.WARNING


def test_a_node_that_works_long_says_so_now_and_then(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "lakehouse_ml")
    with _heartbeat("churn.batch_scoring.score_rows", seconds=0.01):
        while len(caplog.records) < 2:
            pass
    said = len(caplog.records)
    assert caplog.records[0].message.startswith("  churn.batch_scoring.score_rows works since ")
    with _heartbeat("quick", seconds=60):
        pass
    assert len(caplog.records) == said


@pytest.mark.parametrize(
    ("terminal", "no_color", "coloured"), [(True, "", True), (True, "1", False), (False, "", False)]
)
def test_colours_are_for_a_terminal_whose_owner_wants_them(
    monkeypatch: pytest.MonkeyPatch, terminal: bool, no_color: str, coloured: bool
) -> None:
    monkeypatch.setenv("NO_COLOR", no_color)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal, raising=False)
    assert hooks._coloured() is coloured
