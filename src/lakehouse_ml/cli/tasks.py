"""Entry points of the installed wheel that the tasks of a job call: `run`, `command`, `smoke` and `maintenance`.

A platform calls them in a process of its own, where a session may be running already, with the task's parameters in
`sys.argv`. To return is success; whatever is raised is failure, a `SystemExit` of 0 too.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from lakehouse_ml import errors, project

if TYPE_CHECKING:
    import click


class TaskError(Exception):
    """A task has failed; the message says why, and in which node."""


def run() -> None:
    """Run pipelines: arguments as those of `kedro run`; a job's parameters may be named too, as in `--lake=<address>`.

    Raises:
        TaskError: An argument is unknown, or a mistake, a state of the world or a defect has stopped a node.
    """
    _call(_find_run)


def command() -> None:
    """Run one of the project's commands: arguments as those that follow the word `kedro`.

    Raises:
        TaskError: There is no such command, or it has failed.
    """
    _call(_find_commands)


def smoke() -> None:
    """Write and read one of each: a job's parameters are arguments, as in `--lake=<address>`.

    Raises:
        TaskError: Something can't be written or read; the message names the missing right.
    """
    _call(_find_smoke)


def maintenance() -> None:
    """Compact the tables of a lake, and remove files of old versions.

    Raises:
        TaskError: An argument is unknown, or a table could not be maintained.
    """
    _call(_find_maintenance)


def _call(find_command: Callable[[], click.Command]) -> None:
    # What a job logs is read as text: no colours, and no bars that move.
    os.environ |= {"NO_COLOR": "1", "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false"}
    project.configure_logging()  # before Kedro, whose import decides what is logged
    project.configure()
    try:
        find_command().main(args=sys.argv[1:], prog_name="lakehouse_ml", standalone_mode=False)
    except SystemExit as error:
        if error.code not in (None, 0):
            raise TaskError(str(error.code)) from error
    except Exception as error:
        raise TaskError(_describe_error(error)) from error


def _find_run() -> click.Command:
    from lakehouse_ml.cli.run import build_task_run

    return build_task_run()


def _find_smoke() -> click.Command:
    from lakehouse_ml.cli.lake import smoke

    return smoke


def _find_maintenance() -> click.Command:
    from lakehouse_ml.cli.lake import maintenance

    return maintenance


def _find_commands() -> click.Command:
    from lakehouse_ml.cli.commands import cli

    return cli


def _describe_error(error: Exception) -> str:
    """Return an error's message and node; for an unforeseen one also its type, which may be all that it says."""
    import click

    what = error.format_message() if isinstance(error, click.ClickException) else f"{type(error).__name__}: {error}"
    return " ".join([what, *(note for seen in errors.chain(error) for note in getattr(seen, "__notes__", ()))])
