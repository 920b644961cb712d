"""Which components fail within the horizon after each prediction time."""

from __future__ import annotations

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from lakehouse_ml.use_cases.predictive_maintenance.prediction_times import (
    AT,
    HOUR,
    MACHINE,
    each_time,
    next_time,
    prediction_range,
    prediction_times,
)
from lakehouse_ml.use_cases.predictive_maintenance.spec import MaintenanceSpec


def build_labels(
    failures: DataFrame,
    telemetry: DataFrame | None,
    errors: DataFrame,
    maintenance: DataFrame,
    machines: DataFrame,
    spec: MaintenanceSpec,
) -> DataFrame:
    """Label each component at each prediction time t whose horizon h is over: 1 if it fails in (t, t + h].

    The horizon is over where t + h lies at or before `known_until`, or the newest event of any table if conf names no
    such moment; later rows have no label. A row has a label per component: of two that fail at once neither is lost.

    Args:
        failures: One row per (machine_id, failed_at, component).
        telemetry: Tells like the next two only which times the data allow; see `build_features`.
        errors: One row per (machine_id, logged_at, error_id).
        maintenance: One row per (machine_id, replaced_at, component).
        machines: One row per machine_id.
        spec: Prediction times, horizon, components.

    Returns:
        One row per (machine_id, predicted_at, component), columns as in the contract `label_machines`.

    Raises:
        ContractError: A table holds a kind of error or a component that conf doesn't name.
        TableError: Telemetry is on, and there is none.
    """
    tables = {"telemetry": telemetry, "errors": errors, "maintenance": maintenance, "failures": failures}
    times = prediction_range(tables, spec, ahead_hours=spec.horizon_hours)
    components = F.explode(F.array(*map(F.lit, spec.components))).alias("component")
    rows = prediction_times(machines, times, spec).select(MACHINE, AT, components)
    key = [MACHINE, AT, "component"]
    label = F.coalesce("label", F.lit(0)).cast("int")
    return rows.join(_ahead_of(failures, spec), key, "left").select(
        MACHINE,
        F.timestamp_micros(AT).alias("predicted_at"),
        "component",
        label.alias("label"),
        F.timestamp_micros(F.col(AT) + spec.horizon_hours * HOUR).alias("known_at"),
    )


def _ahead_of(failures: DataFrame, spec: MaintenanceSpec) -> DataFrame:
    """Prediction times t with failed_at in (t, t + h], that is t in [failed_at - h, failed_at)."""
    failed = failures.select(MACHINE, "component", F.unix_micros("failed_at").alias("failed_us"))
    first = next_time(F.col("failed_us") - spec.horizon_hours * HOUR, spec)
    times = failed.select("*", each_time(first, F.col("failed_us") - 1, spec).alias(AT))
    return (
        times.where(F.col(AT) < F.col("failed_us")).select(MACHINE, AT, "component", F.lit(1).alias("label")).distinct()
    )
