"""`kedro jobs`: the jobs on Databricks, judged on this machine."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import click

from lakehouse_ml.errors import LakehouseError, printable
from lakehouse_ml.project import INSTALLED, PROJECT

if TYPE_CHECKING:
    from lakehouse_ml.operations.bundle.bundle import Bundle


@click.group(name="jobs")
def jobs() -> None:
    """Check the jobs that Databricks runs."""


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


@jobs.command(name="check")
@click.option("--target", "-t", help="A target of databricks.yml; by default its default one.")
@click.option("--var", callback=parse_variables, multiple=True, help="A variable of the bundle, NAME=VALUE.")
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


def load(target: str | None, variables: Mapping[str, str]) -> Bundle:
    """Read the bundle of this checkout.

    Raises:
        LakehouseError: This is an installed wheel, which carries no bundle; or its files can't be read.
    """
    from lakehouse_ml.operations.bundle.bundle import load_bundle

    if INSTALLED:
        raise LakehouseError("Jobs are checked in a checkout of the project; this is an installed wheel.")
    return load_bundle(PROJECT, target, variables)


def load_all() -> dict[str, Bundle]:
    """Read the bundle of this checkout for each of its targets; there is none in an installed wheel.

    Raises:
        LakehouseError: Its files can't be read.
    """
    from lakehouse_ml.operations.bundle.source import list_targets

    return {} if INSTALLED else {target: load(target, {}) for target in list_targets(PROJECT)}


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
