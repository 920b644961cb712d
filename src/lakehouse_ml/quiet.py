"""Keeps from the terminal what libraries say to each other; named as Kedro's `init` entry point, so it comes first."""

from __future__ import annotations

import os
import warnings


def hide_what_nobody_can_act_on() -> None:
    """Deprecations inside libraries, and MLflow's notes: no user of the project can act on them."""
    for category in (DeprecationWarning, PendingDeprecationWarning, FutureWarning):
        warnings.filterwarnings("ignore", category=category)
    warnings.filterwarnings("ignore", message=r"(?s).*(register_new_resolver|Add type hints to the `predict`)")
    # MLflow sets the level of its loggers itself, from here.
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "ERROR")
    # Neither Kedro's nor MLflow's usage statistics leave the machine.
    os.environ.setdefault("DO_NOT_TRACK", "1")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
