"""`kedro run`, and the same command as a task of a job calls it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from typing import Any

import click
from kedro.framework.cli.project import run as kedro_run

from lakehouse_ml.cli.arguments import check_named, check_runner, parse_params, read_config
from lakehouse_ml.preflight.conf import RUNTIME
from lakehouse_ml.project import log_only_warnings

# Parameters of a job that choose what batch scoring scores.
DAYS = ("batch", "from_day", "to_day")


def _run(*, quiet: bool, **options: Any) -> Any:
    """Run the pipeline; what is up to date is skipped."""
    if quiet:
        log_only_warnings()
    check_named(options["params"])
    check_runner(options["runner"])
    return click.get_current_context().invoke(kedro_run, **options)


def _replace_parser(option: click.Parameter) -> click.Parameter:
    """Give an option of Kedro's this project's parser where Kedro's ends in a trace or another value."""
    parser = {"params": parse_params, "runner_params": parse_params, "config": read_config}.get(option.name or "")
    mine = copy(option)
    mine.callback = parser or option.callback
    return mine


run = click.Command(
    "run",
    callback=_run,
    help=_run.__doc__,
    params=[
        *map(_replace_parser, kedro_run.params),
        click.Option(["--quiet", "-q"], is_flag=True, help="Say only the summary and mistakes."),
    ],
)


def build_task_run() -> click.Command:
    """Build the command `run` with an option for each runtime parameter and day; an empty one counts as absent."""

    def with_named(**options: Any) -> None:
        params = options["params"] | {name: value for name in RUNTIME if (value := options.pop(name))}
        params = {name: value for name, value in params.items() if value or name not in RUNTIME}
        days = {name: value for name in DAYS if (value := options.pop(name))}
        options["params"] = _add_days(params, days, options["namespaces"])
        click.get_current_context().invoke(run, **options)

    named = [click.Option([f"--{name}"], help="As in --params.") for name in sorted(RUNTIME)]
    named += [click.Option([f"--{name}"], help="As in batch_scoring's part of conf.") for name in DAYS]
    return click.Command("run", callback=with_named, help=run.help, params=[*run.params, *named])


def _add_days(params: dict[str, Any], days: Mapping[str, str], namespaces: Sequence[str]) -> dict[str, Any]:
    """Add days to the parameters of the use case that a task runs.

    Raises:
        click.ClickException: The task runs several use cases, or none in particular.
    """
    if not days:
        return params
    if len(namespaces) != 1:
        raise click.ClickException(f"{' and '.join(days)}: name the use case that is meant, --namespaces=<use case>.")
    use_case = params.get(namespaces[0]) or {}
    scoring = {**(use_case.get("batch_scoring") or {}), **days}
    return {**params, namespaces[0]: {**use_case, "batch_scoring": scoring}}
