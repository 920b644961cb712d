"""Where this project is, a checkout or an installed wheel with conf inside, and what its process logs."""

from __future__ import annotations

import gc
import json
import logging
import os
import warnings
from functools import cache
from pathlib import Path
from typing import Any

from lakehouse_ml.errors import printable

_PACKAGE = Path(__file__).resolve().parent
INSTALLED = (_PACKAGE / "shipped_conf").is_dir()
# Relative paths start here. A wheel has no project folder: there it is the one that the process started in.
PROJECT = Path.cwd() if INSTALLED else _PACKAGE.parents[1]
CONF = _PACKAGE / "shipped_conf" if INSTALLED else PROJECT / "conf"
_UNACTIONABLE = ("register_new_resolver", "type hint", "ORJSONResponse is deprecated")
_SHOWN: list[Any] = []
# Python's default of 700 means 1,100 collections in a run that skips every step, a tenth of its time: imports create
# hundreds of thousands of objects that stay.
_NEW_OBJECTS_PER_COLLECTION = 50_000


def read_build() -> dict[str, str]:
    """Read what the installed wheel was built of: `git_sha`, and `sha256` of its contents. Empty in a checkout."""
    origin: dict[str, str] = json.loads((_PACKAGE / "build.json").read_text(encoding="utf-8")) if INSTALLED else {}
    return origin


def configure() -> None:
    """Configure Kedro in this process for this project."""
    from kedro.framework.project import configure_project
    from kedro.framework.startup import bootstrap_project

    if INSTALLED:
        configure_project(_PACKAGE.name)
    else:
        bootstrap_project(PROJECT)


def configure_logging() -> None:
    """Set up logging, hide warnings and notes of libraries that no user can act on, and set defaults of libraries."""
    _, *older = gc.get_threshold()
    gc.set_threshold(_NEW_OBJECTS_PER_COLLECTION, *older)
    for category in (DeprecationWarning, PendingDeprecationWarning, FutureWarning):
        warnings.filterwarnings("ignore", category=category)
    # MLflow undoes filters while it warns; what is shown in the end passes here.
    if warnings.showwarning is not _show_warning:
        _SHOWN.append(warnings.showwarning)
        warnings.showwarning = _show_warning
    # MLflow sets the level of its loggers itself, from here.
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "ERROR")
    # With a tracking server, MLflow would print the address of a run each time it ends.
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    # A waiting thread of OpenMP otherwise keeps its core busy, and a fit beside other work takes ten times as long.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    _configure_log()
    # Neither Kedro's nor MLflow's usage statistics leave the machine.
    os.environ.setdefault("DO_NOT_TRACK", "1")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")


def log_only_warnings() -> None:
    """Log no progress: the summary, which isn't logged, and warnings are left."""
    logging.getLogger(__package__).setLevel(logging.WARNING)


def _print_on_one_line(record: logging.LogRecord) -> bool:
    """Let no name in a message split or colour it; a library's own line ends stay."""
    message = record.getMessage()
    parts = [message] if record.name.split(".")[0] == __package__ else message.split("\n")
    record.msg, record.args = "\n".join(map(printable, parts)), None
    return True


@cache
def _configure_log() -> None:
    """Kedro looks for logging.yml in conf/ of the folder that one stands in, while it is imported; ours is set here.

    Raises:
        SystemExit: A mistake in conf/base/logging.yml.
    """
    import yaml

    log_conf = CONF / "base" / "logging.yml"
    if not log_conf.is_file():
        return
    if os.environ.setdefault("KEDRO_LOGGING_CONFIG", str(CONF / "logging.yml")) != str(CONF / "logging.yml"):
        return
    from kedro.framework.project import LOGGING

    try:
        LOGGING.configure(yaml.safe_load(log_conf.read_text(encoding="utf-8")))
        for handler in logging.getLogger().handlers:
            handler.addFilter(_print_on_one_line)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise SystemExit(f"Error: {log_conf}, line {line}: this is not valid YAML ({error.problem}).") from None
    except (AttributeError, TypeError, ValueError) as error:
        why = "; ".join(str(part) for part in (error, error.__cause__) if part)
        raise SystemExit(f"Error: {log_conf}: {why}.") from None


def _show_warning(message: Warning | str, *arguments: Any, **options: Any) -> None:
    if not any(part in str(message) for part in _UNACTIONABLE):
        _SHOWN[-1](message, *arguments, **options)
