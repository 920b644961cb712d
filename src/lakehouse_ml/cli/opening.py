"""Sessions of commands that run no pipeline."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, cast

import click

from lakehouse_ml.errors import find
from lakehouse_ml.project import PROJECT

if TYPE_CHECKING:
    from lakehouse_ml.runs.session import ProjectSession


def add_environment_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options that name an environment."""
    env = click.option("--env", "-e", help="A folder of conf/; by default local.")
    return env(click.option("--conf-source", help="Another folder of conf.")(command))


@contextmanager
def open_session(
    env: str | None, conf_source: str | None, runtime: Mapping[str, str] | None = None
) -> Iterator[ProjectSession]:
    """Open a session that runs nothing; a user's mistake ends in its sentence."""
    from lakehouse_ml.runs.session import ProjectSession

    try:
        params = dict(runtime) if runtime else None
        session = ProjectSession.create(PROJECT, env=env, conf_source=conf_source, runtime_params=params)
        yield cast("ProjectSession", session)
    except Exception as error:
        mistake = find(error)
        if mistake is None:
            raise
        raise click.ClickException(str(mistake)) from error
