"""What was known of each machine at each prediction time. One function for training, testing and scoring."""

from __future__ import annotations

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from lakehouse_ml.use_cases.predictive_maintenance.contracts import SENSORS, STATISTICS
from lakehouse_ml.use_cases.predictive_maintenance.prediction_times import (
    AT,
    DAY,
    HOUR,
    MACHINE,
    Range,
    each_time,
    next_time,
    prediction_range,
    prediction_times,
)
from lakehouse_ml.use_cases.predictive_maintenance.spec import MaintenanceSpec
from lakehouse_ml.use_cases.predictive_maintenance.telemetry_windows import (
    steps_before,
    telemetry_parts,
    window_columns,
    with_windows,
)

CATEGORICAL = ("model",)


def numeric(spec: MaintenanceSpec) -> tuple[str, ...]:
    """Names of the numeric features that `build_features` gives under a spec, in order."""
    windows = [
        f"{name}_{statistic}_{hours}h"
        for hours in (spec.window_hours if spec.telemetry else ())
        for name in SENSORS
        for statistic in STATISTICS
    ]
    errors = [f"{name}_count_{spec.error_window_hours}h" for name in spec.errors]
    return ("age_years", *windows, *errors, *(f"days_since_{name}" for name in spec.components))


def build_features(
    telemetry: DataFrame | None, errors: DataFrame, maintenance: DataFrame, machines: DataFrame, spec: MaintenanceSpec
) -> DataFrame:
    """Describe each machine at each prediction time t, from what happened at or before t: nothing later can leak in.

    The range in conf only chooses which rows are given back; replacements count from their first, however long before.
    Windows that reach before the first telemetry describe the rows there are. Events of machines that the table of
    machines doesn't name are left out.

    Args:
        telemetry: One row per (machine_id, observed_at); missing values are null or NaN. Not looked at, and None if you
            like, where `telemetry` is off.
        errors: One row per (machine_id, logged_at, error_id).
        maintenance: One row per (machine_id, replaced_at, component).
        machines: One row per machine_id.
        spec: Prediction times, windows, names.

    Returns:
        One row per (machine_id, predicted_at), columns as in the contract `feature_machines`: of each sensor and window
        e.g. volt_mean_24h, volt_sd_24h, volt_min_24h, volt_max_24h (null without values, sd with fewer than 2); of each
        kind of error error1_count_24h; of each component days_since_comp1, in days since it was last replaced (null if
        never). A machine without any event has rows all the same.

    Raises:
        ContractError: A table holds a kind of error or a component that conf doesn't name.
        TableError: Telemetry is on, and there is none.
    """
    times = prediction_range({"telemetry": telemetry, "errors": errors, "maintenance": maintenance}, spec)
    # Steps before the first time that is given back: their telemetry is part of its windows.
    grid = Range(times.first - steps_before(spec) * spec.step_hours * HOUR, times.last)
    rows = prediction_times(machines, grid, spec)
    parts = [_error_counts(errors, spec), _replacements(maintenance, grid, spec)]
    if spec.telemetry and telemetry is not None:
        parts.append(telemetry_parts(telemetry, times, spec))
    for part in parts:
        rows = rows.join(part, [MACHINE, AT], "left")
    order = Window.partitionBy(MACHINE).orderBy(AT)
    so_far = order.rowsBetween(Window.unboundedPreceding, Window.currentRow)
    rows = rows.withColumns({f"last_{name}": F.max(f"replaced_{name}").over(so_far) for name in spec.components})
    rows = with_windows(rows, order, spec).where(F.col(AT) >= times.first)
    rows = rows.join(machines.select(MACHINE, "model", "age_years"), MACHINE)
    # In the order of time, so that whoever reads a day of the stored table skips the others.
    return rows.orderBy(AT).select(
        MACHINE,
        F.timestamp_micros(AT).alias("predicted_at"),
        "model",
        "age_years",
        *window_columns(spec),
        *(_count_errors(name, spec) for name in spec.errors),
        *(((F.col(AT) - F.col(f"last_{name}")) / DAY).alias(f"days_since_{name}") for name in spec.components),
    )


def _error_counts(errors: DataFrame, spec: MaintenanceSpec) -> DataFrame:
    """Errors are few: each is counted at every prediction time t whose window (t - w, t] holds it."""
    logged = F.unix_micros("logged_at")
    last = F.col("logged_us") + (spec.error_window_hours * HOUR - 1)
    rows = errors.select(MACHINE, "error_id", logged.alias("logged_us"))
    errors_by_time = rows.select("*", each_time(next_time(F.col("logged_us"), spec), last, spec).alias(AT)).where(
        F.col(AT) <= last
    )
    counts = [F.count(F.when(F.col("error_id") == name, 1)).alias(f"count_{name}") for name in spec.errors]
    return errors_by_time.groupBy(MACHINE, AT).agg(F.count(F.lit(1)).alias("count"), *counts)


def _count_errors(name: str, spec: MaintenanceSpec) -> Column:
    count = F.coalesce(F.col(f"count_{name}"), F.lit(0)).cast("int")
    return count.alias(f"{name}_count_{spec.error_window_hours}h")


def _replacements(maintenance: DataFrame, grid: Range, spec: MaintenanceSpec) -> DataFrame:
    """The last replacement of each component per step of the grid; all before the grid count in its first step."""
    replaced = F.unix_micros("replaced_at")
    step = F.greatest(next_time(replaced, spec), F.lit(grid.first))
    last = [F.max(F.when(F.col("component") == name, replaced)).alias(f"replaced_{name}") for name in spec.components]
    return maintenance.groupBy(MACHINE, step.alias(AT)).agg(*last)
