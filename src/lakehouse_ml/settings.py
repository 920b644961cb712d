"""How Kedro finds conf, session and hooks of this project."""

from typing import Any

from lakehouse_ml.config import locations, results
from lakehouse_ml.config.loader import ReadOnceConfigLoader
from lakehouse_ml.project import CONF, INSTALLED, PROJECT, configure_logging
from lakehouse_ml.runs.hooks import ProjectHooks
from lakehouse_ml.runs.session import ProjectSession

configure_logging()


def _address(text: str) -> str:
    """An address as it is, a folder as an absolute path; a relative one is meant from the project."""
    return text if "://" in text else str((PROJECT / text).resolve())


def _lake(kind: str, text: str) -> str:
    """Where a lake is, by its kind."""
    return locations.lake(kind, text, _address(text))


def _table(path: str, *, _root_: Any) -> str:
    """Where a table of the catalog's lake is; `path` is where it lies below a folder."""
    return locations.table(_root_._kind, _root_._lake, path)  # noqa: SLF001 - the catalog's own hidden keys


def _model(name: str, *, _root_: Any) -> str:
    """The full name of a model of the catalog's registry."""
    return locations.model(_root_._models, name)  # noqa: SLF001


HOOKS = (ProjectHooks(),)
SESSION_CLASS = ProjectSession
CONF_SOURCE = str(CONF) if INSTALLED else CONF.name
CONFIG_LOADER_CLASS = ReadOnceConfigLoader
CONFIG_LOADER_ARGS: dict[str, Any] = {
    "base_env": "base",
    # A wheel carries nobody's own conf.
    "default_run_env": "base" if INSTALLED else "local",
    "config_patterns": {"spark": ["spark*"], "mlflow": ["mlflow*"]},
    # The default drops the siblings of every key that an environment changes.
    "merge_strategy": {"parameters": "soft", "globals": "soft", "spark": "soft", "mlflow": "soft"},
    "custom_resolvers": {
        "address": _address,
        "lake": _lake,
        "table": _table,
        "files": locations.files,
        "models": locations.models,
        "model": _model,
        "variable": locations.variable,
        "actions_of": results.actions_of,
        "list_of": results.list_of,
        "reports_of": results.reports_of,
    },
}
