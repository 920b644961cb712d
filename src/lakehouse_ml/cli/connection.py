"""`kedro engine check --connect`: what an environment needs, asked of the workspace."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import click

from lakehouse_ml.cli.jobs import is_target, load
from lakehouse_ml.cli.opening import open_session
from lakehouse_ml.errors import LakehouseError, printable

if TYPE_CHECKING:
    from lakehouse_ml.operations.bundle.bundle import Bundle
    from lakehouse_ml.preflight.environment import Environment


def check_workspace(env: str | None, conf_source: str | None, variables: Mapping[str, str]) -> None:
    """Ask a workspace for everything that an environment needs, and print a line for each.

    Raises:
        click.ClickException: The environment is in no workspace, or nobody can sign in to it.
        SystemExit: Something is missing.
    """
    from lakehouse_ml.operations.connection.asking import Interview
    from lakehouse_ml.operations.connection.client import Connection, connect
    from lakehouse_ml.operations.connection.judging import judge
    from lakehouse_ml.operations.connection.needs import list_needs

    has_target = is_target(env, variables)
    bundle = load(env, variables) if has_target else None
    _refuse_unset(bundle)
    environment = _describe(env, conf_source, bundle)
    if not environment.addresses:
        raise click.ClickException(
            f"{env or 'local'} is in no workspace, so --connect has nothing to ask. kedro engine check without it "
            f"describes this environment."
        )
    try:
        connection: Connection = connect()
        if has_target:
            # Names of a target may contain the user's, who is known now.
            bundle = load(env, variables, connection.user.name)
            environment = _describe(env, conf_source, bundle)
        needs = list_needs(environment.addresses, environment.compute, bundle, variables)
        findings = judge(needs, Interview(connection, needs).ask_everything())
    except LakehouseError as error:
        raise click.ClickException(str(error)) from error
    where = f"{connection.user.name} at {connection.sign_in.host} ({connection.sign_in.method})"
    click.echo(f"{'identity':<11}{printable(where)}")
    for finding in findings:
        click.echo(printable(str(finding)))
    if any(finding.is_missing for finding in findings):
        raise SystemExit(1)


def _describe(env: str | None, conf_source: str | None, bundle: Bundle | None) -> Environment:
    with open_session(env, conf_source, bundle.addresses if bundle else None) as session:
        environment: Environment = session.environment()
    for text in environment.faults:
        click.echo(f"{'missing':<11}{printable(text)}")
    if environment.faults:
        raise SystemExit(1)
    return environment


def _refuse_unset(bundle: Bundle | None) -> None:
    if bundle and bundle.unset:
        options = " ".join(f"--var {name}=<{name}>" for name in bundle.unset)
        raise click.ClickException(
            f"{bundle.source.target}: {' and '.join(bundle.unset)} is not set. Add {options}, or set "
            f"{', '.join(f'BUNDLE_VAR_{name}' for name in bundle.unset)}."
        )
