"""How Kedro finds conf, session and hooks of this project."""

from pathlib import Path
from typing import Any

from lakehouse_ml import results
from lakehouse_ml.hooks import ProjectHooks
from lakehouse_ml.quiet import hide_what_nobody_can_act_on
from lakehouse_ml.session import ProjectSession

_PROJECT = Path(__file__).resolve().parents[2]

hide_what_nobody_can_act_on()


def _address(text: str) -> str:
    """An address as it is, a folder as an absolute path; a relative one is meant from the project."""
    return text if "://" in text else str((_PROJECT / text).resolve())


HOOKS = (ProjectHooks(),)
SESSION_CLASS = ProjectSession
CONFIG_LOADER_ARGS: dict[str, Any] = {
    "base_env": "base",
    "default_run_env": "local",
    "config_patterns": {"spark": ["spark*"], "mlflow": ["mlflow*"]},
    # The default drops the siblings of every key that an environment changes.
    "merge_strategy": {"parameters": "soft", "globals": "soft", "spark": "soft", "mlflow": "soft"},
    "custom_resolvers": {
        "address": _address,
        "actions_of": results.actions_of,
        "list_of": results.list_of,
        "reports_of": results.reports_of,
    },
}
