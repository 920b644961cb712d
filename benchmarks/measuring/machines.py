"""The real files of predictive maintenance, as clean tables of the engine and as rows for a model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from lakehouse_ml.use_cases.base import Table
from lakehouse_ml.use_cases.predictive_maintenance.contracts import (
    landing_errors,
    landing_failures,
    landing_machines,
    landing_maintenance,
    landing_telemetry,
)
from lakehouse_ml.use_cases.predictive_maintenance.features import CATEGORICAL, build_features, numeric
from lakehouse_ml.use_cases.predictive_maintenance.labels import build_labels
from lakehouse_ml.use_cases.predictive_maintenance.spec import MaintenanceSpec

if TYPE_CHECKING:
    import numpy as np

_DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
EVENTS = _DATA / "pdm_events_1000"
TELEMETRY = _DATA / "pdm_telemetry_20"
COMPONENTS = ("comp1", "comp2", "comp3", "comp4")
CONF: dict[str, Any] = {
    "step_hours": 12, "phase_hours": 0, "horizon_hours": 24, "telemetry": False, "window_hours": (3, 24),
    "error_window_hours": 24, "errors": ("error1", "error2", "error3", "error4", "error5"), "components": COMPONENTS,
}  # fmt: skip
_FILES = {
    "telemetry": ("telemetry", landing_telemetry),
    "errors": ("errors", landing_errors),
    "maintenance": ("maint", landing_maintenance),
    "failures": ("failures", landing_failures),
    "machines": ("machines", landing_machines),
}


@dataclass(frozen=True)
class Rows:
    """What a model sees of each machine and prediction time, and which components fail.

    Attributes:
        machine: Of each row, shape (n_rows,).
        at: Prediction times, UTC, shape (n_rows,).
        x: Predictors, shape (n_rows, n_predictors); the model of a machine is a small integer, unknown is NaN.
        y: Whether each component fails within the horizon, 0 or 1, shape (n_rows, n_components).
    """

    machine: np.ndarray
    at: pd.Series
    x: pd.DataFrame
    y: np.ndarray

    def where(self, chosen: pd.Series) -> Rows:
        """Some of the rows."""
        keep = chosen.to_numpy()
        return Rows(self.machine[keep], self.at[keep], self.x[keep], self.y[keep])


def tables(folder: Path, prefix: str = "") -> dict[str, Any]:
    """The tables of a folder, by name; None for a file that isn't there."""
    paths = {name: (folder / f"{prefix}{file}.csv", table) for name, (file, table) in _FILES.items()}
    return {name: _table(path, table) if path.exists() else None for name, (path, table) in paths.items()}


def rows(history: Mapping[str, Any], spec: MaintenanceSpec) -> Rows:
    """Features and labels of all prediction times whose horizon is over, made by the engine."""
    known = {name: table for name, table in history.items() if name != "failures"}
    made = build_features(**known, spec=spec).toPandas()
    label = build_labels(**history, spec=spec).toPandas()
    key = ["machine_id", "predicted_at"]
    wide = label.pivot(index=key, columns="component", values="label")[list(spec.components)]
    joined = made.set_index(key).join(wide, how="inner").sort_index().reset_index()
    x = joined[[*CATEGORICAL, *numeric(spec)]].assign(model=joined["model"].astype("category").cat.codes)
    at = pd.to_datetime(joined["predicted_at"], utc=True)
    return Rows(joined["machine_id"].to_numpy(), at, x.astype("float64"), joined[list(spec.components)].to_numpy())


def _table(path: Path, table: Table) -> Any:
    from lakehouse_ml.spark import ENGINE

    types = {column.name: column.type for column in table.columns}
    frame = pd.read_csv(path).rename(columns={column.source: column.name for column in table.columns})
    times = {name: pd.to_datetime(frame[name], utc=True) for name, type_ in types.items() if type_ == "timestamp"}
    return ENGINE.session().createDataFrame(frame.assign(**times)[list(types)], table.ddl)
