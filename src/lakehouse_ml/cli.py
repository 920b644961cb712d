"""The project's own words on Kedro's command line."""

from __future__ import annotations

from typing import Any

import click
from kedro.framework.cli.project import run as kedro_run

from lakehouse_ml.quiet import say_only_the_summary


@click.group(name="lakehouse-ml")
def cli() -> None:
    """Commands of this project; Kedro finds them by the name of this group."""


def _run(*, quiet: bool, **given: Any) -> Any:
    """Run the pipeline; what is up to date is skipped."""
    if quiet:
        say_only_the_summary()
    return click.get_current_context().invoke(kedro_run, **given)


run = click.Command(
    "run",
    callback=_run,
    help=_run.__doc__,
    params=[
        *kedro_run.params,
        click.Option(["--quiet", "-q"], is_flag=True, help="Say only the summary and mistakes."),
    ],
)
cli.add_command(run)
