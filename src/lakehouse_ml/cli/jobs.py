"""`kedro jobs`: the jobs on Databricks, checked and priced on this machine, and their cluster policies."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import click

from lakehouse_ml.cli.opening import add_environment_options, open_session
from lakehouse_ml.errors import LakehouseError, printable
from lakehouse_ml.project import INSTALLED, PROJECT

if TYPE_CHECKING:
    from lakehouse_ml.operations.bundle.bundle import Bundle


@click.group(name="jobs")
def jobs() -> None:
    """Check the jobs of Databricks, and apply their policies."""


def parse_variables(_context: click.Context, option: click.Parameter, values: Sequence[str]) -> dict[str, str]:
    """Values of the bundle's variables, from `name=value`.

    Raises:
        click.ClickException: A part without `=`.
    """
    pairs = [value.partition("=") for value in values]
    for name, equals, _ in pairs:
        if not equals:
            raise click.ClickException(f"--{option.name}: {name!r} has no =. Variables are NAME=VALUE.")
    return {name.strip(): value for name, _, value in pairs}


def add_target_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options that name a target of the bundle and its variables."""
    target = click.option("--target", "-t", help="A target of databricks.yml; by default its default one.")
    return target(add_variables_option(command))


def add_variables_option(command: Callable[..., None]) -> Callable[..., None]:
    """Add the option for variables of the bundle."""
    return click.option("--var", callback=parse_variables, multiple=True, help="A variable of the bundle, NAME=VALUE.")(
        command
    )


@jobs.command(name="check")
@add_target_options
def check_jobs(target: str | None, var: Mapping[str, str]) -> None:
    """Check the jobs of a target.

    Finds what `databricks bundle validate` does not: dependencies, compute, schedules, entry points and parameters that
    do not exist, broken policies and missing care. Needs neither a network nor the Databricks CLI.
    """
    try:
        bundle = load(target, var)
        faults = judge(bundle)
    except LakehouseError as error:
        raise click.ClickException(str(error)) from error
    for fault in faults:
        click.echo(printable(fault))
    if faults:
        raise SystemExit(1)
    n_tasks = sum(len(job.tasks) for job in bundle.jobs.values())
    click.echo(f"{bundle.source.target}: no problems found in {len(bundle.jobs)} jobs with {n_tasks} tasks.")
    if bundle.unset:
        names = " and ".join(bundle.unset)
        click.echo(f"Checked without a value of {names}: a deployment needs --var {bundle.unset[0]}=<value>.")


@jobs.command(name="cost")
@add_target_options
@add_environment_options
def estimate_cost(target: str | None, var: Mapping[str, str], env: str | None, conf_source: str | None) -> None:
    """Estimate what the jobs of a target cost, per run and per month.

    Prices and assumptions are those of prices.yml in conf. Needs neither a network nor the Databricks CLI.
    """
    from lakehouse_ml.operations.bundle.cost import estimate_clusters, estimate_jobs

    with open_session(env, conf_source) as session:
        prices = session.prices()
        bundle = load(target, var)
        costs = sorted(estimate_jobs(bundle, prices), key=lambda one: one.month or 0, reverse=True)
        clusters = estimate_clusters(bundle, prices)
    click.echo(f"{bundle.source.target}: estimated cost in US dollars")
    click.echo(f"{'job':<38}{'a run':>8}{'runs a month':>14}{'a month':>9}")
    for one in costs:
        runs, month = ("by hand", "") if one.month is None else (f"{one.monthly_runs:.1f}", f"{one.month:.2f}")
        click.echo(f"{printable(one.job):<38}{one.run:>8.2f}{runs:>14}{month:>9}")
    click.echo(f"{'all jobs that start by themselves':<60}{sum(one.month or 0 for one in costs):>9.2f}")
    for name, dollars in clusters.items():
        click.echo(printable(f"notebook cluster {name}: {dollars:.2f} an hour"))
    minutes = ", ".join(f"{task} {number:g}" for task, number in prices.minutes.items())
    click.echo(
        f"Assumed: minutes of a task: {minutes}; {prices.start_minutes:g} minutes to start a cluster; "
        f"{prices.serverless_dbus:g} DBUs an hour of serverless; clusters in the middle between fewest and most "
        f"workers; spot at {prices.spot_share:.0%} of the price on demand; no retries.\n"
        f"Not counted: storage, network, SQL warehouses. Prices and assumptions: conf/base/prices.yml."
    )


@jobs.command(name="apply-policies")
@add_target_options
def apply_policies(target: str | None, var: Mapping[str, str]) -> None:
    """Create or change the cluster policies of a target.

    They are the files of resources/policies. Needs a workspace administrator, and not the Databricks CLI. Run again, it
    changes nothing.
    """
    from lakehouse_ml.operations.bundle.policies import load_policies
    from lakehouse_ml.operations.connection.client import connect
    from lakehouse_ml.operations.connection.policies import apply_policy

    try:
        bundle = load(target, var)
        policies = load_policies(PROJECT)
        connection = connect()
        for stem, definition in policies.items():
            click.echo(printable(str(apply_policy(connection, bundle, stem, definition))))
    except LakehouseError as error:
        raise click.ClickException(str(error)) from error


def load(target: str | None, variables: Mapping[str, str], user: str | None = None) -> Bundle:
    """Read the bundle of this checkout.

    Args:
        target: A target of it; by default its default one.
        variables: Values of its variables.
        user: Who deploys, where a workspace has said so.

    Raises:
        LakehouseError: This is an installed wheel, which carries no bundle; or its files can't be read.
    """
    from lakehouse_ml.operations.bundle.bundle import load_bundle
    from lakehouse_ml.operations.bundle.resolve import USER

    if INSTALLED:
        raise LakehouseError("Jobs are checked in a checkout of the project; this is an installed wheel.")
    return load_bundle(PROJECT, target, variables, user or USER)


def load_all() -> dict[str, Bundle]:
    """Read the bundle of this checkout for each of its targets; there is none in an installed wheel.

    Raises:
        LakehouseError: Its files can't be read.
    """
    from lakehouse_ml.operations.bundle.source import list_targets

    return {} if INSTALLED else {target: load(target, {}) for target in list_targets(PROJECT)}


def is_target(env: str | None, variables: Mapping[str, str]) -> bool:
    """Whether an environment is a target of the bundle.

    Raises:
        click.ClickException: It is none, and has no variables.
    """
    from lakehouse_ml.operations.bundle.source import list_targets

    if not INSTALLED and env in list_targets(PROJECT):
        return True
    if variables:
        raise click.ClickException(f"--var: {env or 'local'} is no target of databricks.yml, and has no variables.")
    return False


def judge(bundle: Bundle) -> list[str]:
    """Find mistakes in a bundle, with what tasks can name in this checkout."""
    from kedro.framework.project import pipelines

    from lakehouse_ml.operations.bundle.checks import Facts, find_faults
    from lakehouse_ml.operations.bundle.policies import load_policies
    from lakehouse_ml.operations.bundle.stage_order import find_stage_order

    environments = frozenset(path.name for path in (PROJECT / "conf").iterdir() if path.is_dir())
    order = find_stage_order(pipelines["__default__"])
    return find_faults(Facts(bundle, list_options(), order, environments, load_policies(PROJECT)))


def list_options() -> dict[str, frozenset[str]]:
    """List the named parameters of each entry point of this checkout; one without any takes a list of arguments."""
    from lakehouse_ml.cli.lake import maintenance, smoke
    from lakehouse_ml.cli.run import build_task_run

    commands = {"run": build_task_run(), "smoke": smoke, "maintenance": maintenance}
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    options: dict[str, frozenset[str]] = {}
    for name in project["entry-points"]["lakehouse_ml.tasks"]:
        params = commands[name].params if name in commands else []
        options[name] = frozenset(spelling.lstrip("-") for option in params for spelling in option.opts)
    return options
