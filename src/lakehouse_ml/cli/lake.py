"""`kedro smoke` and `kedro maintenance`: commands on a lake that jobs call, too."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from lakehouse_ml.cli.opening import add_environment_options, open_session
from lakehouse_ml.errors import printable

# Parameters of a job that say where a lake and its parts are.
_ADDRESSES = {
    "lake": "Folder, address or schema of another lake than that of conf.",
    "models": "Schema of the registered models.",
    "volume": "Volume for files that are not tables.",
    "landing": "Folder in which files arrive.",
    "experiment": "MLflow's experiment.",
}


def _add_address_options(command: Callable[..., None]) -> Callable[..., None]:
    for name, text in _ADDRESSES.items():
        command = click.option(f"--{name}", help=text)(command)
    return add_environment_options(command)


def _take_addresses(options: dict[str, Any]) -> dict[str, str]:
    """Take the addresses out of a command's options; an empty one counts as absent."""
    return {name: value for name in _ADDRESSES if (value := options.pop(name))}


@click.command()
@_add_address_options
def smoke(env: str | None, conf_source: str | None, **options: Any) -> None:
    """Write and read one of each: table, file, run, model.

    What it writes it removes. For what fails it names the missing right and who grants it.
    """
    from lakehouse_ml.operations.smoke import try_everything

    runtime = _take_addresses(options)
    with open_session(env, conf_source, runtime) as session, session.lock_context(may_begin=True) as context:
        loader: Any = context.config_loader
        attempts = try_everything(loader)
    for attempt in attempts:
        click.echo(f"{attempt.name:<11}{'failed' if attempt.error else 'ok':<8}{printable(attempt.address)}")
    reasons = [printable(f"{one.name} failed: {one.error.rstrip('.')}. {one.remedy}") for one in attempts if one.error]
    if reasons:
        raise click.ClickException("\n".join(reasons))


@click.command()
@click.option("--retention_hours", type=int, default=168, show_default=True, help="Table versions to keep, in hours.")
@click.option("--readers", help="A group that may read scores, verdicts and reports, in Unity Catalog.")
@_add_address_options
def maintenance(
    env: str | None, conf_source: str | None, retention_hours: int, readers: str | None, **options: Any
) -> None:
    """Compact tables and remove files of old versions.

    In Unity Catalog it also collects statistics, and lets readers read scores, verdicts and reports. A table that fails
    stops no other.
    """
    from kedro.framework.project import pipelines

    from lakehouse_ml.operations.maintenance import maintain

    runtime = _take_addresses(options)
    with open_session(env, conf_source, runtime) as session, session.lock_context() as context:
        loader: Any = context.config_loader
        catalog: Any = context.catalog
        done = maintain(catalog, pipelines["__default__"], loader.lake, retention_hours, readers or "")
    for name, error in done.failed.items():
        click.echo(printable(f"{name}: {error}"))
    grants = f", {done.granted} readable for {readers}" if readers else ""
    click.echo(f"{done.tables - len(done.failed)} of {done.tables} tables maintained{grants}.")
    if done.failed:
        raise click.ClickException(f"{len(done.failed)} tables failed; the lines above say why.")
