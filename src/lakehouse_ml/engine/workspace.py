"""Sessions in a Databricks workspace: that of a job, and a remote one by Databricks Connect."""

from __future__ import annotations

import os
from collections.abc import Iterator
from configparser import ConfigParser, Error
from contextlib import nullcontext
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lakehouse_ml.engine.retries import retry_for_seconds
from lakehouse_ml.errors import EngineError, first_line

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

_PROFILE = "DATABRICKS_CONFIG_PROFILE"
# Libraries mix these with the profile, each by other rules.
_CONFLICTING = ("DATABRICKS_HOST", "DATABRICKS_TOKEN", "DATABRICKS_CLIENT_SECRET", "DATABRICKS_CLUSTER_ID")

# Spark's default.
_LARGEST_LOCAL_BYTES = 3 * 2**30


def detect_compute() -> str | None:
    """The compute of this process, `classic` or `serverless`; None outside of Databricks."""
    runtime = os.environ.get("DATABRICKS_RUNTIME_VERSION")
    if os.environ.get("DATABRICKS_ENV_VERSION") or (runtime or "").startswith("client."):
        return "serverless"
    return "classic" if runtime else None


def find_missing_for_job(expected: str | None) -> Iterator[str]:
    """Why this process is not the job that conf describes, each reason as a message; None expects any compute."""
    actual = detect_compute()
    if actual is None:
        yield (
            "engine: databricks needs the session of a Databricks job, and this process is not one: run it as a job, "
            "or reach a workspace from here by --env connect."
        )
    elif expected and actual != expected:
        yield (
            f"conf says compute: {expected}, and this job runs on {actual} compute "
            f"({os.environ.get('DATABRICKS_RUNTIME_VERSION', 'serverless')}): change spark.yml or the job."
        )


def job_session() -> SparkSession:
    """The Spark session of the job.

    Raises:
        EngineError: The job has none.
    """
    from pyspark.sql import SparkSession

    try:
        return SparkSession.active()
    except Exception as error:
        raise EngineError(
            "This Databricks job has no Spark session: use compute with Spark, and a task of type Python wheel."
        ) from error


def find_missing_for_connect(compute: str) -> Iterator[str]:
    """What Databricks Connect lacks here, each with its remedy; contacts nothing."""
    if not (find_spec("databricks") and find_spec("databricks.connect")):
        yield (
            "engine: connect needs databricks-connect, which conflicts with pyspark: make connect creates an "
            "environment for it, then .connect/bin/kedro run --env connect"
        )
    if is_server(compute):
        return
    profile = os.environ.get(_PROFILE)
    if not profile:
        yield (
            f"{_PROFILE} is not set: set it to a profile of {_config_file()}. databricks auth login --profile <name> "
            f"creates one."
        )
        return
    conflicting = [name for name in _CONFLICTING if os.environ.get(name)]
    if conflicting:
        yield f"{_PROFILE} conflicts with {', '.join(conflicting)}: unset the latter."
    if profile not in _profiles():
        yield (
            f"{_config_file()} has no profile {profile}, which {_PROFILE} names: databricks auth login --profile "
            f"{profile}"
        )


def connect_session(compute: str) -> SparkSession:
    """A session on remote compute.

    Args:
        compute: `serverless`, the id of a cluster, or the address of a Spark Connect server (`sc://host:port`).

    Raises:
        EngineError: Databricks Connect failed; with its message.
    """
    from databricks.connect import DatabricksSession

    builder: Any = DatabricksSession.builder
    if is_server(compute):
        builder = builder.remote(compute)
    else:
        builder = builder.profile(os.environ[_PROFILE])
        builder = builder.serverless(enabled=True) if compute == "serverless" else builder.clusterId(compute)
    try:
        session: SparkSession = builder.getOrCreate()
        # Compute of a workspace may have to start first, a server runs.
        with retry_for_seconds(session) if is_server(compute) else nullcontext():
            session.range(1).count()
        if is_server(compute):
            # Apache Spark reports this size with a unit, but the client of Databricks expects a number.
            session.conf.set("spark.sql.session.localRelationSizeLimit", _LARGEST_LOCAL_BYTES)
    except Exception as error:
        raise EngineError(
            f"Databricks Connect can't reach {compute} ({first_line(error)}). kedro engine check --env connect shows "
            f"its configuration; databricks auth login signs in again."
        ) from error
    return session


def describe_identity(engine: str) -> str:
    """The identity of a run in the workspace, as far as it is known without a request."""
    if engine == "databricks":
        return "that of the job" if detect_compute() else "none (not inside a Databricks job)"
    profile = os.environ.get(_PROFILE)
    if not profile:
        return f"none ({_PROFILE} is not set)"
    return f"profile {profile} of {_config_file()}{_profiles().get(profile, '')}"


def is_server(address: str) -> bool:
    """Whether this is the address of a Spark Connect server, and not compute of a workspace."""
    return address.startswith("sc://")


def _config_file() -> Path:
    return Path(os.environ.get("DATABRICKS_CONFIG_FILE") or "~/.databrickscfg").expanduser()


def _profiles() -> dict[str, str]:
    """Profiles by name, each with its workspace and authentication type, without any secret."""
    parser = ConfigParser(default_section="\0", interpolation=None)
    try:
        parser.read(_config_file(), encoding="utf-8")
    except (Error, OSError, UnicodeDecodeError):
        return {}
    profiles = {}
    for name in parser.sections():
        section = parser[name]
        sign_in = section.get("auth_type") or ("personal token" if "token" in section else "OAuth")
        profiles[name] = f" ({section.get('host', 'no host')}, {sign_in})"
    return profiles
