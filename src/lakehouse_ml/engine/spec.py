"""Which engine an environment computes with, and what keeps it from starting here."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Literal

from pydantic import Field, ValidationInfo, field_validator

from lakehouse_ml.config.spec import Spec
from lakehouse_ml.engine import workspace


class EngineSpec(Spec):
    """`conf/<env>/spark.yml`: which engine an environment computes with.

    Attributes:
        engine: `sail` is Spark Connect without a JVM; `spark` is Apache Spark with Delta's jars, on a JVM; `connect` is
            remote compute of Databricks; `databricks` is the session of the Databricks job that the run is.
        master: Where `spark` computes: `local[*]`, a cluster's `spark://host:port`, or `sc://host:port`, the Spark
            Connect server of a cluster, which has Delta's jars itself.
        compute: What `databricks` has to find, `classic` or `serverless`; what `connect` asks for, `serverless`, the id
            of a cluster, or a Spark Connect server (`sc://host:port`).
        settings: Spark's own, by their names.
    """

    engine: Literal["sail", "spark", "connect", "databricks"]
    master: str = "local[*]"
    compute: str | None = Field(default=None, validate_default=True)
    settings: dict[str, str | int | float | bool] = Field(default_factory=dict)

    @property
    def serves(self) -> bool:
        """Whether `spark` is a server elsewhere, and no JVM of this process."""
        return workspace.is_server(self.master)

    @property
    def in_workspace(self) -> bool:
        """Whether it computes in a workspace of Databricks: folders of this machine are none of its own."""
        return self.engine in ("connect", "databricks") and not workspace.is_server(str(self.compute))

    @field_validator("compute")
    @classmethod
    def _is_of_the_engine(cls, given: str | None, info: ValidationInfo) -> str | None:
        engine = info.data.get("engine")
        if engine == "databricks" and given not in ("classic", "serverless"):
            raise ValueError("for the engine databricks it is classic or serverless")
        if engine == "connect" and not given:
            raise ValueError("for the engine connect it is serverless, the id of a cluster, or sc://host:port")
        if engine in ("sail", "spark") and given:
            raise ValueError(f"the engine {engine} computes here")
        return given


def missing(spec: EngineSpec) -> list[str]:
    """What keeps an engine from starting here, each with the way to get it; nothing is started or contacted."""
    if spec.engine == "sail":
        lacks = [name for name in ("pysail", "pyspark") if not find_spec(name)]
        return [f"engine: sail needs {' and '.join(lacks)}, not installed here: make run sets that up"] if lacks else []
    if spec.engine == "spark":
        from lakehouse_ml.engine import jars

        return [] if spec.serves else jars.missing()
    if spec.engine == "connect":
        return list(workspace.missing_for_connect(str(spec.compute)))
    return list(workspace.missing_for_job(str(spec.compute)))
