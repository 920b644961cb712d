"""Small histories of machines, as clean tables: what the tests of predictive maintenance have in common."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from lakehouse_ml.use_cases.predictive_maintenance.contracts import (
    landing_errors,
    landing_failures,
    landing_machines,
    landing_maintenance,
    landing_telemetry,
)
from lakehouse_ml.use_cases.predictive_maintenance.spec import MaintenanceSpec

START = datetime(2024, 3, 1, tzinfo=UTC)
CONTRACTS = {
    "telemetry": landing_telemetry,
    "errors": landing_errors,
    "maintenance": landing_maintenance,
    "failures": landing_failures,
    "machines": landing_machines,
}
CONF: dict[str, Any] = {
    "step_hours": 12, "phase_hours": 0, "horizon_hours": 24, "telemetry": True, "window_hours": (3, 24),
    "error_window_hours": 24, "errors": ("error1", "error2"), "components": ("comp1", "comp2"),
}  # fmt: skip


def spec(**changes: Any) -> MaintenanceSpec:
    return MaintenanceSpec(**(CONF | changes))


def at(hours: float) -> datetime:
    """So many hours after 2024-03-01 00:00 UTC."""
    return START + timedelta(hours=hours)


def hours(moment: datetime) -> float:
    """The way back, for a time as the client gives it: without a zone it is UTC."""
    return (moment.replace(tzinfo=moment.tzinfo or UTC) - START) / timedelta(hours=1)


def tables(spark: Any, **rows: Sequence[tuple[Any, ...]]) -> dict[str, Any]:
    """Clean tables; those that aren't named are empty, and there is one machine, 1."""
    rows = {"machines": [(1, "model1", 7)]} | rows
    return {name: spark.createDataFrame(list(rows.get(name, ())), table.ddl) for name, table in CONTRACTS.items()}


def hourly(values: Sequence[float | None], machine: int = 1, first: float = 1) -> list[tuple[Any, ...]]:
    """Telemetry whose four sensors read these values, hour by hour from `first` on."""
    return [(at(first + n), machine, *[value] * 4) for n, value in enumerate(values)]
