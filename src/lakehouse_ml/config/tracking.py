"""Where runs, models and their files are recorded: `tracking` of globals.yml."""

from __future__ import annotations

from dataclasses import dataclass

from lakehouse_ml.config.lake import Lake

LAKE, WORKSPACE = "lake", "workspace"


@dataclass(frozen=True)
class TrackingStore:
    """The stores of MLflow.

    Attributes:
        uri: Of runs.
        registry_uri: Of models; None: that of runs.
        artifacts: The folder of a new experiment's files; None: the server's own.
    """

    uri: str
    registry_uri: str | None = None
    artifacts: str | None = None

    @classmethod
    def of_conf(cls, tracking: str, lake: Lake) -> TrackingStore:
        """The stores that conf names.

        Args:
            tracking: `lake`, `workspace`, or the address of a server.
            lake: The run's; a lake contains its own store.
        """
        if tracking == WORKSPACE:
            return cls("databricks", "databricks-uc")
        if tracking == LAKE:
            # Absolute, because SQLite resolves a relative address against the working folder.
            return cls(f"sqlite:///{lake.root}/mlflow.db", artifacts=f"{lake.root}/mlflow-artifacts")
        return cls(tracking)
