"""Keeps from the terminal what libraries say to each other; named as Kedro's `init` entry point, so it comes first."""

from __future__ import annotations

import os
import warnings
from typing import Any

_UNACTIONABLE = ("register_new_resolver", "type hint", "ORJSONResponse is deprecated")


def hide_what_nobody_can_act_on() -> None:
    """Deprecations inside libraries, and MLflow's notes: no user of the project can act on them."""
    for category in (DeprecationWarning, PendingDeprecationWarning, FutureWarning):
        warnings.filterwarnings("ignore", category=category)
    # MLflow undoes filters while it warns; what is shown in the end passes here.
    if warnings.showwarning is not _show:
        _SHOWN.append(warnings.showwarning)
        warnings.showwarning = _show
    # MLflow sets the level of its loggers itself, from here.
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "ERROR")
    # Neither Kedro's nor MLflow's usage statistics leave the machine.
    os.environ.setdefault("DO_NOT_TRACK", "1")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")


_SHOWN: list[Any] = []


def _show(message: Warning | str, *told: Any, **more: Any) -> None:
    if not any(part in str(message) for part in _UNACTIONABLE):
        _SHOWN[-1](message, *told, **more)
