"""The engine of an environment, and why it may be unavailable here."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Literal

from pydantic import Field, ValidationInfo, field_validator

from lakehouse_ml.config.spec import Spec
from lakehouse_ml.engine import workspace


class EngineSpec(Spec):
    """`conf/<env>/spark.yml`: the engine of an environment.

    Attributes:
        engine: `sail` is Spark Connect without a JVM; `spark` is Apache Spark with Delta's jars, on a JVM; `connect` is
            remote compute of Databricks; `databricks` is the session of the Databricks job that the run is.
        master: Where `spark` computes: `local[*]`, a cluster (`spark://host:port`), or the Spark Connect server of a
            cluster (`sc://host:port`), which must have Delta's jars.
        compute: For `databricks` the compute that the job's task must have, `classic` or `serverless`; null: whichever
            it has. For `connect` the compute to use: `serverless`, the id of a cluster, or a Spark Connect server
            (`sc://host:port`).
        settings: Spark settings by name.
    """

    engine: Literal["sail", "spark", "connect", "databricks"]
    master: str = "local[*]"
    compute: str | None = Field(default=None, validate_default=True)
    settings: dict[str, str | int | float | bool] = Field(default_factory=dict)

    @property
    def is_remote_server(self) -> bool:
        """Whether `spark` is a Spark Connect server rather than a JVM of this process."""
        return workspace.is_server(self.master)

    @property
    def is_in_workspace(self) -> bool:
        """Whether the engine computes in a Databricks workspace, where folders of this machine do not exist."""
        return self.engine in ("connect", "databricks") and not workspace.is_server(str(self.compute))

    @field_validator("compute")
    @classmethod
    def _check_compute(cls, compute: str | None, info: ValidationInfo) -> str | None:
        engine = info.data.get("engine")
        if engine == "databricks" and compute not in (None, "classic", "serverless"):
            raise ValueError("for the engine databricks it is classic or serverless, or left out")
        if engine == "connect" and not compute:
            raise ValueError("for the engine connect it is serverless, the id of a cluster, or sc://host:port")
        if engine in ("sail", "spark") and compute:
            raise ValueError(f"the engine {engine} takes no compute")
        return compute


def find_missing(spec: EngineSpec) -> list[str]:
    """List what an engine lacks here, each with its remedy; starts and contacts nothing."""
    if spec.engine == "sail":
        packages = [name for name in ("pysail", "pyspark") if not find_spec(name)]
        return (
            [f"engine: sail needs {' and '.join(packages)}, not installed here: make run sets that up"]
            if packages
            else []
        )
    if spec.engine == "spark":
        from lakehouse_ml.engine import jars

        return [] if spec.is_remote_server else jars.find_missing()
    if spec.engine == "connect":
        return list(workspace.find_missing_for_connect(str(spec.compute)))
    return list(workspace.find_missing_for_job(spec.compute))
