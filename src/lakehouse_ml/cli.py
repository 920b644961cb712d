"""The project's own words on Kedro's command line."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click
from kedro.framework.cli.project import run as kedro_run

from lakehouse_ml.errors import LakehouseError, find
from lakehouse_ml.place import INSTALLED, PROJECT
from lakehouse_ml.quiet import say_only_the_summary

if TYPE_CHECKING:
    from lakehouse_ml.session import ProjectSession
    from lakehouse_ml.withdraw import Withdrawal


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


@cli.command()
def package() -> None:
    """Refused: `make wheel` builds the wheel."""
    raise click.ClickException(
        "make wheel builds the wheel, with the shipped conf inside. Kedro's own way would put the whole of conf/ into "
        "an archive, conf/local and credentials too."
    )


@cli.command()
@click.argument("table")
@click.argument("at", required=False, metavar="[VERSION|KEY]")
@click.option("--lake", help="Folder or address of another lake than the one of conf.")
@click.option("--env", "-e", help="A folder of conf/.")
def lineage(table: str, at: str | None, lake: str | None, env: str | None) -> None:
    """Say what a table was made of, down to the landing files: its newest version, another one, or one batch (KEY)."""
    from lakehouse_ml import explore
    from lakehouse_ml import lineage as walk

    try:
        for line in walk.lines(explore.catalog(lake, env), table, at):
            click.echo(line)
    except Exception as error:
        told = find(error)
        if told is None:
            raise
        raise click.ClickException(str(told)) from error


@cli.group()
def withdraw() -> None:
    """Remove a landing file or a scored batch from a lake, with everything made of it."""


def _lake_options(command: Callable[..., None]) -> Callable[..., None]:
    """Options of a command that removes rows from a lake."""
    for option in (
        click.option("--env", "-e", help="A folder of conf/; local by default."),
        click.option("--conf-source", help="Another folder of conf."),
        click.option("--lake", help="Folder or address of another lake than the one in conf."),
        click.option("--use-case", help="Search this use case only; all of them by default."),
        click.option("--yes", is_flag=True, help="Remove without asking."),
    ):
        command = option(command)
    return command


@withdraw.command(name="file")
@click.argument("name")
@_lake_options
def withdraw_file(name: str, **given: Any) -> None:
    """Remove a landing file's rows and everything made of them; first take the file out of its folder.

    NAME is its path below the landing folder, as the run's summary and the report show it.
    """
    from lakehouse_ml import withdraw as withdrawing

    _withdraw(withdrawing.plan_file, name, **given)


@withdraw.command(name="batch")
@click.argument("day")
@_lake_options
def withdraw_batch(day: str, **given: Any) -> None:
    """Remove the scores of a DAY (YYYY-MM-DD), with their list of actions, drift and real performance."""
    from lakehouse_ml import withdraw as withdrawing

    _withdraw(withdrawing.plan_batch, day, **given)


def _withdraw(
    plan: Callable[..., Withdrawal], what: str, *, env: str | None, conf_source: str | None, lake: str | None,
    use_case: str | None, yes: bool,
) -> None:  # fmt: skip
    """Show what is to be removed, ask, and remove it."""
    from lakehouse_ml import withdraw as withdrawing
    from lakehouse_ml.hooks import code_version
    from lakehouse_ml.use_cases import USE_CASES

    chosen = [one for one in USE_CASES if use_case in (None, one.name)]
    if not chosen:
        raise click.ClickException(f"Unknown use case {use_case}. Known: {', '.join(one.name for one in USE_CASES)}.")
    runtime = {"lake": lake} if lake else None
    with _session(env, conf_source, runtime) as session, session.holding() as catalog:
        planned = plan(catalog, chosen, what)
        click.echo("\n".join(planned.lines))
        if not yes and not click.confirm("Remove?"):
            click.echo("Nothing was removed.")
            raise SystemExit(1)
        withdrawing.carry_out(catalog, planned, code_version(str(PROJECT))["git_sha"])
    click.echo(f"Removed. Now run {planned.use_case} again.")


@cli.group(name="use-case")
def use_case() -> None:
    """Prediction problems that the pipelines serve."""


@use_case.command(name="new")
@click.argument("name")
@click.option("--from", "file", required=True, type=Path, help="A CSV with one row for each prediction.")
@click.option("--label", required=True, help="Column that is predicted; empty where it isn't known yet.")
@click.option("--key", help="Column that names what a row is about; by default one that is different in each row.")
@click.option("--positive", help="Of two values of the label, the one to predict; by default yes, true or 1.")
@click.option("--time", help="Column with the row's day, where rows are states of the same thing over time.")
def new_use_case(name: str, file: Path, label: str, key: str | None, positive: str | None, time: str | None) -> None:
    """Draft a use case from a CSV, such that its whole life runs; all of it or, on a mistake, nothing."""
    from lakehouse_ml.drafting.plan import DraftRequest
    from lakehouse_ml.drafting.project import draft_use_case

    if INSTALLED:
        raise click.ClickException("A use case is drafted in a checkout of the project; this is an installed wheel.")
    try:
        told = draft_use_case(PROJECT, DraftRequest(name, label, key, positive, time), file)
    except LakehouseError as error:
        raise click.ClickException(str(error)) from error
    click.echo("\n".join([*told, f"Run it: make run USE_CASE={name}"]))


def _of_environment(command: Callable[..., None]) -> Callable[..., None]:
    """Options that name an environment."""
    env = click.option("--env", "-e", help="A folder of conf/; by default local.")
    return env(click.option("--conf-source", help="Another folder of conf.")(command))


@contextmanager
def _session(
    env: str | None, conf_source: str | None, runtime: dict[str, str] | None = None
) -> Iterator[ProjectSession]:
    """A session that runs nothing; a user's mistake ends in its sentence."""
    from lakehouse_ml.session import ProjectSession

    try:
        session = ProjectSession.create(PROJECT, env=env, conf_source=conf_source, runtime_params=runtime)
        yield cast("ProjectSession", session)
    except Exception as error:
        told = find(error)
        if told is None:
            raise
        raise click.ClickException(str(told)) from error


@cli.command(name="check")
@_of_environment
def check(env: str | None, conf_source: str | None) -> None:
    """Say what is wrong with an environment's conf, before anything runs: no engine, no network."""
    with _session(env, conf_source) as session:
        faults = session.preflight()
    for fault in faults:
        click.echo(fault)
    if faults:
        raise SystemExit(1)
    click.echo(f"{env or 'local'}: conf is sound.")


@cli.group(name="engine")
def engine() -> None:
    """What an environment computes with."""


@engine.command(name="check")
@_of_environment
def check_engine(env: str | None, conf_source: str | None) -> None:
    """Say which engine, lake, registry and identity an environment uses, and what is missing; start nothing."""
    with _session(env, conf_source) as session:
        told = session.environment()
    for word, what in told.lines.items():
        click.echo(f"{word:<11}{what}")
    for what in told.missing:
        click.echo(f"{'missing':<11}{what}")
    if told.missing:
        raise SystemExit(1)
