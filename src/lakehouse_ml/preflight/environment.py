"""Describe what an environment uses: engine, lake, stores and identity. Nothing is started."""

from __future__ import annotations

import getpass
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from lakehouse_ml.engine import workspace
from lakehouse_ml.engine.spec import EngineSpec, find_missing
from lakehouse_ml.errors import first_line

if TYPE_CHECKING:
    from lakehouse_ml.config.loader import ProjectConfigLoader
    from lakehouse_ml.preflight.conf import Conf

_PACKAGE = {"sail": "pysail", "spark": "pyspark", "connect": "databricks-connect", "databricks": "pyspark"}


@dataclass(frozen=True)
class Environment:
    """An environment as its conf describes it.

    Attributes:
        lines: What it uses, by label.
        missing: What prevents a run here, a sentence each.
        faults: What of it is in conf, and prevents a run anywhere.
        addresses: Lake, models (the schema of either), files, landing and experiment in a workspace; empty elsewhere.
        compute: The compute that conf names.
    """

    lines: dict[str, str]
    missing: tuple[str, ...]
    faults: tuple[str, ...] = ()
    addresses: dict[str, str] = field(default_factory=dict)
    compute: str | None = None


def describe(conf: Conf, loader: ProjectConfigLoader) -> Environment:
    """Describe what an environment would use on this machine.

    Args:
        conf: The environment's files.
        loader: Reads them.

    Raises:
        Exception: Conf can't be read; `conf.explain` tells why.
    """
    faults = list(conf.faults(loader))
    if any(fault.startswith(conf.where("spark", ("engine",))) for fault in faults):
        return Environment({}, tuple(faults), tuple(faults))
    server = loader["mlflow"]["server"]
    spec = EngineSpec.model_validate(loader["spark"])
    lake, tracking = loader.lake, str(server["mlflow_tracking_uri"])
    compute = spec.master if spec.engine == "spark" else spec.compute or "the compute of the job's task"
    lines = {
        "engine": spec.engine,
        "runs": "in this process" if spec.engine == "sail" else f"on {compute}",
        "version": _find_version(spec.engine),
        "lake": lake.root + (" (a schema of Unity Catalog)" if lake.is_schema else ""),
        "files": loader.files,
        "landing": loader.named("landing"),
        "tracking": tracking,
        "registry": str(server.get("mlflow_registry_uri") or tracking),
        "experiment": loader.named("experiment"),
        "models": lake.model_name("<use case>"),
        "identity": _describe_identity(spec, lake.root),
    }
    if _is_unmounted(lines["files"]):
        lines["note"] = "no Volume is mounted on this machine: stages that read or write files there run only in a job"
    missing = (*faults, *find_missing(spec), *_find_missing_file_systems(lines["files"], lines["landing"]))
    addresses: dict[str, str] = {}
    if spec.is_in_workspace and lake.is_schema:
        addresses = {name: lines[name] for name in ("files", "landing", "experiment")}
        addresses |= {"lake": lake.root, "models": lake.model_schema}
    return Environment(lines, missing, tuple(faults), addresses, spec.compute)


def _find_version(engine: str) -> str:
    runtime = os.environ.get("DATABRICKS_RUNTIME_VERSION")
    try:
        installed = f"{_PACKAGE[engine]} {version(_PACKAGE[engine])}"
    except PackageNotFoundError:
        installed = f"{_PACKAGE[engine]} of the platform" if workspace.detect_compute() else "not installed"
    return f"Databricks Runtime {runtime}, {installed}" if engine == "databricks" and runtime else installed


def _describe_identity(spec: EngineSpec, lake: str) -> str:
    if spec.is_in_workspace:
        return workspace.describe_identity(spec.engine)
    if not lake.startswith("s3"):
        return f"{getpass.getuser()}, on this machine"
    if os.environ.get("AWS_PROFILE"):
        return f"AWS profile {os.environ['AWS_PROFILE']}"
    if os.environ.get("AWS_ACCESS_KEY_ID"):
        return "the AWS access key of the environment"
    return "the default AWS credentials: neither AWS_PROFILE nor AWS_ACCESS_KEY_ID is set"


def _is_unmounted(folder: str) -> bool:
    return folder.startswith("/Volumes/") and not Path("/Volumes").is_dir()


def _find_missing_file_systems(*addresses: str) -> Iterator[str]:
    """Name the packages that fsspec lacks for an address."""
    import fsspec

    for protocol in sorted({address.split("://")[0] for address in addresses if "://" in address}):
        try:
            fsspec.get_filesystem_class(protocol)
        except (ImportError, ValueError) as error:
            yield f"{protocol}://… can't be read as files here: {first_line(error)}"
