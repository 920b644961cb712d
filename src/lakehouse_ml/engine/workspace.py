"""Sessions of a Databricks workspace: the one that a job has, and one from here through Databricks Connect."""

from __future__ import annotations

import os
from collections.abc import Iterator
from configparser import ConfigParser, Error
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lakehouse_ml.errors import EngineError, first_line

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

_PROFILE = "DATABRICKS_CONFIG_PROFILE"
# They would be mixed with the profile's, by rules that differ from library to library.
_BESIDE_PROFILE = ("DATABRICKS_HOST", "DATABRICKS_TOKEN", "DATABRICKS_CLIENT_SECRET", "DATABRICKS_CLUSTER_ID")

# Spark's own.
_LARGEST_LOCAL_BYTES = 3 * 2**30


def compute() -> str | None:
    """`classic` or `serverless`, what this process runs on as the platform tells it; None outside of Databricks."""
    runtime = os.environ.get("DATABRICKS_RUNTIME_VERSION")
    if os.environ.get("DATABRICKS_ENV_VERSION") or (runtime or "").startswith("client."):
        return "serverless"
    return "classic" if runtime else None


def missing_for_job(wanted: str) -> Iterator[str]:
    """What keeps a run from being the job that conf means, each as a sentence."""
    found = compute()
    if found is None:
        yield (
            "engine: databricks computes with the session of a Databricks job, and this process is none: run it there "
            "(from here, --env connect reaches a workspace)."
        )
    elif found != wanted:
        yield (
            f"conf says compute: {wanted}, and this job runs on {found} compute "
            f"({os.environ.get('DATABRICKS_RUNTIME_VERSION', 'serverless')}): change spark.yml or the job."
        )


def job_session() -> SparkSession:
    """The session that the job's compute has.

    Raises:
        EngineError: It has none.
    """
    from pyspark.sql import SparkSession

    try:
        return SparkSession.active()
    except Exception as error:
        raise EngineError(
            "This Databricks job has no Spark session, and none is made in its place: use the compute of a job with "
            "Spark, and a task of type Python wheel."
        ) from error


def missing_for_connect(where: str) -> Iterator[str]:
    """What keeps Databricks Connect from starting here, each with the way to get it; nothing is contacted."""
    if not (find_spec("databricks") and find_spec("databricks.connect")):
        yield (
            "engine: connect needs databricks-connect, which goes with no other pyspark: make connect sets up an "
            "environment for it, then .connect/bin/kedro run --env connect"
        )
    if is_server(where):
        return
    profile = os.environ.get(_PROFILE)
    if not profile:
        yield (
            f"Which workspace is meant? Set {_PROFILE} to a profile of {_config_file()}; databricks auth login "
            f"--profile <name> makes one."
        )
        return
    beside = [name for name in _BESIDE_PROFILE if os.environ.get(name)]
    if beside:
        yield f"Beside {_PROFILE}, {', '.join(beside)} is set, and it is open which counts: unset it."
    if profile not in _profiles():
        yield (
            f"{_config_file()} has no profile {profile}, which {_PROFILE} names: databricks auth login --profile "
            f"{profile}"
        )


def connect_session(where: str) -> SparkSession:
    """A session on remote compute.

    Args:
        where: `serverless`, the id of a cluster, or the address of a Spark Connect server (`sc://host:port`).

    Raises:
        EngineError: What Databricks Connect said.
    """
    from databricks.connect import DatabricksSession

    builder: Any = DatabricksSession.builder
    if is_server(where):
        builder = builder.remote(where)
    else:
        builder = builder.profile(os.environ[_PROFILE])
        builder = builder.serverless(enabled=True) if where == "serverless" else builder.clusterId(where)
    try:
        session: SparkSession = builder.getOrCreate()
        session.range(1).count()
        if is_server(where):
            # Apache Spark tells this size with its unit, and Databricks' client reads a number.
            session.conf.set("spark.sql.session.localRelationSizeLimit", _LARGEST_LOCAL_BYTES)
    except Exception as error:
        raise EngineError(
            f"Databricks Connect doesn't reach {where} ({first_line(error)}). kedro engine check --env connect tells "
            f"how it is configured; databricks auth login signs in again."
        ) from error
    return session


def identity(kind: str) -> str:
    """Who a run is in the workspace, as far as that is known without asking it."""
    if kind == "databricks":
        return "whom the job runs as" if compute() else "nobody: this is no job"
    profile = os.environ.get(_PROFILE)
    if not profile:
        return f"nobody: {_PROFILE} isn't set"
    return f"profile {profile} of {_config_file()}{_profiles().get(profile, '')}"


def is_server(where: str) -> bool:
    """Whether it is the address of a Spark Connect server, which may be any, and no compute of a workspace."""
    return where.startswith("sc://")


def _config_file() -> Path:
    return Path(os.environ.get("DATABRICKS_CONFIG_FILE") or "~/.databrickscfg").expanduser()


def _profiles() -> dict[str, str]:
    """Profiles by name, each with its workspace and its way to sign in; never with what it signs in by."""
    parser = ConfigParser(default_section="\0", interpolation=None)
    try:
        parser.read(_config_file(), encoding="utf-8")
    except (Error, OSError, UnicodeDecodeError):
        return {}
    told = {}
    for name in parser.sections():
        own = parser[name]
        sign_in = own.get("auth_type") or ("personal token" if "token" in own else "OAuth")
        told[name] = f" ({own.get('host', 'no host')}, {sign_in})"
    return told
