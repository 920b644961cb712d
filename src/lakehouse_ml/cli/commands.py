"""The project's commands on Kedro's command line."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from copy import copy
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click
from kedro.framework.cli.cli import project_commands
from kedro.framework.cli.jupyter import jupyter
from kedro.framework.cli.project import ipython
from kedro.framework.cli.utils import KedroCliError

from lakehouse_ml.cli.connection import check_workspace
from lakehouse_ml.cli.jobs import add_variables_option, is_target, jobs, judge, load, load_all
from lakehouse_ml.cli.lake import maintenance, smoke
from lakehouse_ml.cli.opening import add_environment_options, open_session
from lakehouse_ml.cli.run import run
from lakehouse_ml.errors import LakehouseError, find, printable
from lakehouse_ml.project import INSTALLED, PROJECT

if TYPE_CHECKING:
    from lakehouse_ml.runs.withdraw import Withdrawal


# Kedro prints its own errors from `sys.exc_info()`, which click 8.5 has cleared by then: `NoneType: None`.
KedroCliError.show = click.ClickException.show  # type: ignore[method-assign]
# Kedro's help lists a command of its own beside the project's of the same name.
for _replaced in ("run", "package", "ipython", "jupyter"):
    project_commands.lazy_subcommands.pop(_replaced, None)

# Kedro and its plugins call programs by name: those of this environment, which need not be active.
os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])


@click.group(name="lakehouse-ml")
def cli() -> None:
    """Run the pipelines of lakehouse-ml, and maintain a lake."""


cli.add_command(run)
cli.add_command(jobs)
cli.add_command(smoke)
cli.add_command(maintenance)


def _with_package(command: click.Command, package: str) -> click.Command:
    """Wrap a command of Kedro's so that it says how to install the package it needs."""
    call = cast("Callable[..., Any]", command.callback)

    def with_package(*args: Any, **options: Any) -> Any:
        if find_spec(package.replace("-", "_")) is None:
            path = click.get_current_context().command_path
            raise click.ClickException(f"{path} needs {package}. {_suggest_install(package)}")
        return call(*args, **options)

    mine = copy(command)
    mine.callback = with_package
    return mine


def _suggest_install(package: str) -> str:
    """Say how to install a package that this environment lacks."""
    if INSTALLED:
        return f"Install it: pip install {package}"
    if package in ("IPython", "ipykernel", "kedro-viz"):
        return "Install the development packages: make .venv/dev"
    return (
        f"Install it: .make/bin/uv pip install --python {Path(sys.prefix).name} {package}; or open notebooks/ in an "
        f"editor, see docs/how-to/notebooks.md."
    )


cli.add_command(_with_package(ipython, "IPython"))
_JUPYTER = {"setup": "ipykernel", "notebook": "notebook", "lab": "jupyterlab"}
cli.add_command(
    click.Group(
        "jupyter",
        commands={name: _with_package(jupyter.commands[name], package) for name, package in _JUPYTER.items()},
        help="Open notebooks with catalog, context and session loaded.",
    )
)
viz = _with_package(
    click.Command(
        "viz",
        callback=lambda **_: None,
        add_help_option=False,
        help="Show the pipelines as a picture (not installed).",
        params=[click.Argument(["args"], nargs=-1, type=click.UNPROCESSED)],
        context_settings={"ignore_unknown_options": True},
    ),
    "kedro-viz",
)
if find_spec("kedro_viz") is None:
    cli.add_command(viz)


@cli.command()
def package() -> None:
    """Say how the wheel is built: make wheel."""
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
    """Trace a table back to its landing files.

    Its newest version; another VERSION; or the rows of one KEY, such as the day of a batch.
    """
    from lakehouse_ml import explore
    from lakehouse_ml.explore.lineage import trace_table

    try:
        for line in trace_table(explore.catalog(lake, env), table, at):
            click.echo(printable(line))
    except Exception as error:
        mistake = find(error)
        if mistake is None:
            raise
        raise click.ClickException(str(mistake)) from error


@cli.group()
def withdraw() -> None:
    """Remove a landing file or a scored batch from a lake."""


def _add_lake_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options of a command that removes rows from a lake."""
    for option in (
        click.option("--env", "-e", help="A folder of conf/; by default local."),
        click.option("--conf-source", help="Another folder of conf."),
        click.option("--lake", help="Folder or address of another lake than the one in conf."),
        click.option("--use-case", help="Search this use case only; all of them by default."),
        click.option("--yes", is_flag=True, help="Remove without asking."),
    ):
        command = option(command)
    return command


@withdraw.command(name="file")
@click.argument("name")
@_add_lake_options
def withdraw_file(name: str, **options: Any) -> None:
    """Remove a landing file's rows and everything made of them.

    First take the file out of its folder. NAME is its path below the landing folder, as the run's summary and the
    report show it.
    """
    from lakehouse_ml.runs import withdraw as withdrawing

    _withdraw(withdrawing.plan_file, name, **options)


@withdraw.command(name="batch")
@click.argument("day")
@_add_lake_options
def withdraw_batch(day: str, **options: Any) -> None:
    """Remove the scores of a DAY and what was made of them.

    A DAY is YYYY-MM-DD. Made of its scores are the list of actions, drift and the comparison with real outcomes.
    """
    from lakehouse_ml.runs import withdraw as withdrawing

    _withdraw(withdrawing.plan_batch, day, **options)


def _withdraw(
    plan: Callable[..., Withdrawal],
    what: str,
    *,
    env: str | None,
    conf_source: str | None,
    lake: str | None,
    use_case: str | None,
    yes: bool,
) -> None:
    """Show what is to be removed, ask, and remove it."""
    from lakehouse_ml.runs import withdraw as withdrawing
    from lakehouse_ml.runs.hooks import find_code_version
    from lakehouse_ml.use_cases import USE_CASES

    use_cases = [one for one in USE_CASES if use_case in (None, one.name)]
    if not use_cases:
        raise click.ClickException(f"Unknown use case {use_case}. Known: {', '.join(one.name for one in USE_CASES)}.")
    runtime = {"lake": lake} if lake else None
    with open_session(env, conf_source, runtime) as session, session.lock_context() as context:
        catalog: Any = context.catalog
        withdrawal = plan(catalog, use_cases, what)
        click.echo("\n".join(map(printable, withdrawal.lines)))
        if not yes and not click.confirm("Remove?"):
            click.echo("Nothing was removed.")
            raise SystemExit(1)
        withdrawing.carry_out(catalog, withdrawal, find_code_version(str(PROJECT))["git_sha"])
    click.echo(f"Removed. Now run {withdrawal.use_case} again.")


@cli.group(name="use-case")
def use_case() -> None:
    """Add a prediction problem to the project."""


@use_case.command(name="new")
@click.argument("name")
@click.option("--from", "file", required=True, type=Path, help="A CSV with one row for each prediction.")
@click.option("--label", required=True, help="Column that is predicted; empty where it isn't known yet.")
@click.option("--key", help="Column that names what a row is about; by default one that is different in each row.")
@click.option("--positive", help="Of two values of the label, the one to predict; by default yes, true or 1.")
@click.option("--time", help="Column with the row's day, where rows are states of the same thing over time.")
def new_use_case(name: str, file: Path, label: str, key: str | None, positive: str | None, time: str | None) -> None:
    """Draft a use case from a CSV file.

    Afterwards all its stages run. On a mistake nothing is written.
    """
    from lakehouse_ml.tooling.drafting.plan import DraftRequest
    from lakehouse_ml.tooling.drafting.project import draft_use_case

    if INSTALLED:
        raise click.ClickException("A use case is drafted in a checkout of the project; this is an installed wheel.")
    try:
        sentences = draft_use_case(PROJECT, DraftRequest(name, label, key, positive, time), file)
    except LakehouseError as error:
        raise click.ClickException(str(error)) from error
    click.echo("\n".join(map(printable, [*sentences, f"Run it: make run USE_CASE={name}"])))


@cli.command(name="check")
@add_environment_options
def check(env: str | None, conf_source: str | None) -> None:
    """Check the configuration of an environment, together with the jobs of its target in databricks.yml.

    Every mistake is named with its file and line. Neither an engine nor the network is used.
    """
    with open_session(env, conf_source) as session:
        bundles = load_all()
        faults = session.preflight({name: bundle.addresses for name, bundle in bundles.items()})
        faults += judge(bundles[env]) if env in bundles else []
    for fault in faults:
        click.echo(printable(fault))
    if faults:
        raise SystemExit(1)
    click.echo(f"{env or 'local'}: no problems found.")


@cli.group(name="engine")
def engine() -> None:
    """Show the engine of an environment."""


@engine.command(name="check")
@add_environment_options
@click.option("--connect", is_flag=True, help="Sign in to the workspace, and ask what is there and who may use it.")
@add_variables_option
def check_engine(env: str | None, conf_source: str | None, connect: bool, var: Mapping[str, str]) -> None:  # noqa: FBT001 - a flag of the command line
    """Show engine, lake, registry and identity, and what is missing.

    Nothing is started. With --connect, nothing is changed either: the workspace is asked for catalog, schema, Volumes,
    experiment, registry, compute and rights, and for what is missing the command that mends it is shown.
    """
    if connect:
        check_workspace(env, conf_source, var)
        return
    addresses = load(env, var).addresses if is_target(env, var) else None
    with open_session(env, conf_source, addresses) as session:
        environment = session.environment()
    for label, text in environment.lines.items():
        click.echo(f"{label:<11}{printable(text)}")
    for text in environment.missing:
        click.echo(f"{'missing':<11}{printable(text)}")
    if environment.missing:
        raise SystemExit(1)
