"""What could lead a run to other stores than conf names: variables left in the shell, and secrets inside addresses."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from lakehouse_ml.errors import ConfError

log = logging.getLogger(__name__)

# MLflow obeys these where a call names no store, run or workspace; conf names stores, and each run is a new one.
OF_MLFLOW = (
    "MLFLOW_REGISTRY_URI", "MLFLOW_RUN_ID", "MLFLOW_ACTIVE_MODEL_ID",
    "_MLFLOW_ACTIVE_MODEL_ID", "MLFLOW_WORKSPACE", "MLFLOW_ENABLE_WORKSPACES", "MLFLOW_WORKSPACE_STORE_URI",
    "MLFLOW_TRACKING_DIR", "MLFLOW_REGISTRY_DIR", "MLFLOW_TRACING_DESTINATION", "MLFLOW_TRACING_SQL_WAREHOUSE_ID",
    "MLFLOW_READ_REPLICA_BACKEND_STORE_URI", "MLFLOW_S3_ENDPOINT_URL",
)  # fmt: skip
# A service's own variable goes before AWS_ENDPOINT_URL, in some libraries and not in others.
OF_S3 = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT")
# Another session or another installation of Spark than conf's.
OF_SPARK = ("SPARK_REMOTE", "SPARK_LOCAL_REMOTE")
OF_JVM = ("SPARK_HOME", "PYSPARK_SUBMIT_ARGS", "PYSPARK_GATEWAY_PORT", "PYSPARK_GATEWAY_SECRET")
# User and password (or a token) before the host, or a signature behind the path.
_SECRET = re.compile(
    r"^[\w+.-]+://[^/?#]*@|^[\w+.-]+://.*[?&#][^=&]*(sig|token|password|secret|key)[^=&]*=", re.IGNORECASE
)
# `abfss://container@account…` names no user.
_CONTAINER = re.compile(r"^abfss?://[^/:@]+@[^/@]+(/[^?#]*)?$")


def ignore_variables(names: Iterable[str] = (*OF_MLFLOW, *OF_S3)) -> None:
    """Remove variables from this process's environment that would lead elsewhere than conf, and name them."""
    ignored = [name for name in names if os.environ.pop(name, "")]
    if ignored:
        log.warning("Ignored, since conf says where to read and write: %s", ", ".join(ignored))


def check_addresses(kind: str, values: Mapping[str, Any]) -> None:
    """Refuse an address with a secret inside: it would stand in logs, tags and tables.

    Args:
        kind: What the values are: `globals`, `--params` …
        values: By name, nested or not.

    Raises:
        ConfError: Names the value, and doesn't show it.
    """
    for name, text in _texts(values):
        if _SECRET.search(text) and not _CONTAINER.match(text):
            raise ConfError(
                f"{name} ({kind}) is an address with a user name, password or token inside. Remove it from the "
                f"address, for addresses are logged and stored. MLflow takes MLFLOW_TRACKING_USERNAME and "
                f"MLFLOW_TRACKING_PASSWORD, S3 takes AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."
            )


def _texts(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, value in values.items():
        if isinstance(value, str):
            yield f"{prefix}{name}", value
        elif isinstance(value, Mapping):
            yield from _texts(value, f"{prefix}{name}.")
