"""How Kedro finds conf, session and hooks of this project."""

from typing import Any

from lakehouse_ml.config import lake, results
from lakehouse_ml.config.loader import ProjectConfigLoader, resolve_address
from lakehouse_ml.project import CONF, INSTALLED, configure_logging
from lakehouse_ml.runs.hooks import EngineHooks, SummaryHooks, TrackingHooks
from lakehouse_ml.runs.session import ProjectSession

configure_logging()

HOOKS = (EngineHooks(), TrackingHooks(), SummaryHooks())
SESSION_CLASS = ProjectSession
CONF_SOURCE = str(CONF) if INSTALLED else CONF.name
CONFIG_LOADER_CLASS = ProjectConfigLoader
CONFIG_LOADER_ARGS: dict[str, Any] = {
    "base_env": "base",
    # A wheel carries nobody's own conf.
    "default_run_env": "base" if INSTALLED else "local",
    "config_patterns": {"spark": ["spark*"], "mlflow": ["mlflow*"], "prices": ["prices*"]},
    # The default drops the siblings of every key that an environment changes.
    "merge_strategy": {"parameters": "soft", "globals": "soft", "spark": "soft", "mlflow": "soft", "prices": "soft"},
    # Those that ask the run's lake are the loader's own.
    "custom_resolvers": {
        "address": resolve_address,
        "variable": lake.read_variable,
        "actions_of": results.actions_of,
        "list_of": results.list_of,
        "reports_of": results.reports_of,
    },
}
