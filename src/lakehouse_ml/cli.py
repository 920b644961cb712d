"""The project's own words on Kedro's command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from kedro.framework.cli.project import run as kedro_run

from lakehouse_ml.errors import LakehouseError
from lakehouse_ml.quiet import say_only_the_summary

PROJECT = Path(__file__).resolve().parents[2]


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


@cli.group(name="use-case")
def use_case() -> None:
    """Prediction problems that the pipelines serve."""


@use_case.command(name="new")
@click.argument("name")
@click.option("--from", "file", required=True, type=Path, help="A CSV with one row for each prediction.")
@click.option("--key", required=True, help="Column that names what a row is about.")
@click.option("--label", required=True, help="Column that is predicted; empty where it isn't known yet.")
@click.option("--positive", help="Of two values of the label, the one to predict; by default yes, true or 1.")
@click.option("--time", help="Column with the row's day, where rows are states of the same thing over time.")
def new_use_case(name: str, file: Path, key: str, label: str, positive: str | None, time: str | None) -> None:
    """Draft a use case from a CSV, such that its whole life runs; all of it or, on a mistake, nothing."""
    from lakehouse_ml import drafting

    try:
        told = drafting.write(PROJECT, drafting.Wish(name, key, label, positive, time), file)
    except LakehouseError as error:
        raise click.ClickException(str(error)) from error
    click.echo("\n".join([*told, f"Run it: make run USE_CASE={name}"]))
