"""Sessions in a Databricks workspace: that of a job, and a remote one by Databricks Connect."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
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


@dataclass(frozen=True)
class SignIn:
    """How the SDK signs in, by variables and profiles.

    Attributes:
        host: Address of the workspace; empty if none is named.
        method: How, such as `personal token`.
        profile: Name of the profile; empty without one.
        config_file: The file with profiles.
        secrets: Tokens and the like, which no message may show.
    """

    host: str
    method: str
    profile: str
    config_file: Path
    secrets: frozenset[str] = field(repr=False)

    @property
    def origin(self) -> str:
        """What names the workspace, for messages."""
        return f"profile {self.profile} of {self.config_file}" if self.profile else "DATABRICKS_HOST"


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
    try:
        read_sign_in(profile)
    except EngineError as error:
        yield str(error)


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
    try:
        sign_in = read_sign_in(profile)
    except EngineError:
        return f"profile {profile} of {_config_file()}"
    return f"profile {profile} of {sign_in.config_file} ({sign_in.host or 'no host'}, {sign_in.method})"


def read_sign_in(profile: str | None = None) -> SignIn:
    """Read how the SDK would sign in; neither a network nor a program is used.

    Args:
        profile: A profile; by default the one that variables or the file choose, if any.

    Raises:
        EngineError: There is no such profile, or variables and file contradict each other.
    """
    from databricks.sdk.config import Config
    from databricks.sdk.credentials_provider import CredentialsStrategy

    class Method(CredentialsStrategy):
        """Says how it would sign in, and does not."""

        name = ""

        def auth_type(self) -> str:
            return self.name

        def __call__(self, config: Config) -> Any:
            self.name = _describe_method(config)
            return dict

    class Settings(Config):
        """Variables and profiles alone."""

        def _resolve_host_metadata(self) -> None:
            """Ask no host."""

    file = _config_file()
    if profile and not file.is_file():
        raise EngineError(_describe_unknown_profile(profile, file))
    # Found in the class that is asked first: the subclass has none.
    attributes = list(Config.attributes())
    method = Method()
    try:
        config = Settings(credentials_strategy=method, profile=profile)
    except Exception as error:
        wanted = profile or os.environ.get(_PROFILE) or ""
        if f"has no {wanted} profile" in str(error):
            raise EngineError(_describe_unknown_profile(wanted, file)) from error
        why = first_line(error).partition(" Config: ")[0].removeprefix("validate: ").rstrip(".")
        raise EngineError(f"{file} or variables DATABRICKS_… can't be used: {why}.") from error
    secrets = {str(getattr(config, one.name) or "") for one in attributes if one.sensitive}
    return SignIn(config.host or "", method.name, config.profile or "", file, frozenset(secrets - {""}))


def is_server(address: str) -> bool:
    """Whether this is the address of a Spark Connect server, and not compute of a workspace."""
    return address.startswith("sc://")


def _config_file() -> Path:
    return Path(os.environ.get("DATABRICKS_CONFIG_FILE") or "~/.databrickscfg").expanduser()


def _describe_unknown_profile(profile: str, file: Path) -> str:
    return f"{file} has no profile {profile}, which {_PROFILE} names: databricks auth login --profile {profile}"


def _describe_method(config: Any) -> str:
    if config.auth_type:
        return str(config.auth_type)
    return "personal token" if config.token else "OAuth"
