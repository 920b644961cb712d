"""Mean, standard deviation, min and max of each sensor over windows that end at prediction times.

Telemetry is read once and summed up per step of the grid; a window is put together from whole steps and, where it is no
multiple of the step, from the last hours of the step before them. So a row of telemetry is touched once, however many
windows hold it. Parts are joined by counts, means and sums of squared deviations (Chan, Golub and LeVeque, 1983):
sums of squares would lose the deviation of a sensor that hardly moves.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pyspark.sql import Column, DataFrame, WindowSpec
from pyspark.sql import functions as F

from lakehouse_ml.use_cases.predictive_maintenance.contracts import SENSORS
from lakehouse_ml.use_cases.predictive_maintenance.prediction_times import AT, HOUR, MACHINE, Range, next_time
from lakehouse_ml.use_cases.predictive_maintenance.spec import MaintenanceSpec

_MOMENTS = ("n", "mean", "m2", "low", "high")


@dataclass(frozen=True)
class _Window:
    """A window as whole steps and the last hours of the step before them."""

    hours: int
    steps: int
    rest: int


def steps_before(spec: MaintenanceSpec) -> int:
    """How many steps before a prediction time its widest window reaches into."""
    return max((window.steps + 1 for window in _windows(spec)), default=0)


def telemetry_parts(telemetry: DataFrame, times: Range, spec: MaintenanceSpec) -> DataFrame:
    """Telemetry summed up per machine and step of the grid, as far as the windows that end in a range reach.

    Values that aren't finite count as missing.

    Returns:
        One row per machine and step with telemetry: machine_id, predicted_us (the step's end), and moments.
    """
    moment = F.unix_micros("observed_at")
    widest = max(spec.window_hours) * HOUR
    reached = (moment > times.first - widest) & (moment <= times.last)
    rows = telemetry.where(reached).select(
        MACHINE, moment.alias("observed_us"), next_time(moment, spec).alias(AT), *map(_finite, SENSORS)
    )
    parts = [moments for rest in sorted(_rests(spec)) for name in SENSORS for moments in _sum_rest(name, rest)]
    return rows.groupBy(MACHINE, AT).agg(*parts)


def with_windows(grid: DataFrame, order: WindowSpec, spec: MaintenanceSpec) -> DataFrame:
    """Put the windows together.

    Args:
        grid: A row per machine and prediction time without gaps, with the columns of `telemetry_parts`, null where a
            step has no telemetry. Rows whose windows reach before the first one see less than there is.
        order: Rows of a machine in their order.
        spec: The windows.

    Returns:
        The grid with the moments of each window; `window_columns` makes features of them.
    """
    built_steps = {1}
    for window in _windows(spec):
        grid = _of_steps(grid, window.steps, order, built_steps) if window.steps else grid
        if window.steps and window.rest:
            grid = _join(grid, _steps(window.steps), _rest(window.rest), window.steps, _hours(window.hours), order)
    return grid


def window_columns(spec: MaintenanceSpec) -> Iterator[Column]:
    """Features of the windows, e.g. volt_mean_24h; null where a window holds no value, sd where it holds fewer than 2.

    sd is that of a sample (n - 1), and exactly 0 where the sensor is stuck.
    """
    for window in _windows(spec):
        tag = _tag(window)
        for name in SENSORS:
            n, mean, m2, low, high = (F.col(f"{name}_{moment}_{tag}") for moment in _MOMENTS)
            sd = F.when(low == high, F.lit(0.0)).otherwise(F.sqrt(m2 / (n - 1)))
            yield F.when(n > 0, mean).alias(f"{name}_mean_{window.hours}h")
            yield F.when(n > 1, sd).alias(f"{name}_sd_{window.hours}h")
            yield low.alias(f"{name}_min_{window.hours}h")
            yield high.alias(f"{name}_max_{window.hours}h")


def _windows(spec: MaintenanceSpec) -> list[_Window]:
    if not spec.telemetry:
        return []
    return [_Window(hours, *divmod(hours, spec.step_hours)) for hours in spec.window_hours]


def _rests(spec: MaintenanceSpec) -> set[int]:
    """Parts of a step that are needed, in hours before its end; 0 is all of it."""
    windows = _windows(spec)
    return {window.rest for window in windows if window.rest} | {0 for window in windows if window.steps}


def _steps(n: int) -> str:
    return f"{n}s"


def _rest(hours: int) -> str:
    return f"rest{hours}" if hours else _steps(1)


def _hours(hours: int) -> str:
    return f"{hours}w"


def _tag(window: _Window) -> str:
    if not window.steps:
        return _rest(window.rest)
    return _hours(window.hours) if window.rest else _steps(window.steps)


def _finite(name: str) -> Column:
    return F.when(F.abs(F.col(name)) < float("inf"), F.col(name)).alias(name)


def _sum_rest(name: str, rest: int) -> Iterator[Column]:
    value = F.when(F.col("observed_us") > F.col(AT) - rest * HOUR, F.col(name)) if rest else F.col(name)
    count = F.count(value)
    sums = (count, F.avg(value), F.var_pop(value) * count, F.min(value), F.max(value))
    for moment, column in zip(_MOMENTS, sums, strict=True):
        yield column.alias(f"{name}_{moment}_{_rest(rest)}")


def _of_steps(grid: DataFrame, steps: int, order: WindowSpec, built_steps: set[int]) -> DataFrame:
    """Moments of the last so many steps, by doubling: 56 steps take 8 joins, not 55."""
    if steps in built_steps:
        return grid
    nearer_steps = steps // 2 if steps % 2 == 0 else steps - 1
    grid = _of_steps(grid, nearer_steps, order, built_steps)
    built_steps.add(steps)
    return _join(grid, _steps(nearer_steps), _steps(steps - nearer_steps), nearer_steps, _steps(steps), order)


def _join(grid: DataFrame, near: str, far: str, steps: int, into: str, order: WindowSpec) -> DataFrame:
    """Join each row's `near` moments with the `far` ones of so many steps earlier."""
    earlier = {
        f"_{name}_{moment}": F.lag(f"{name}_{moment}_{far}", steps).over(order)
        for name in SENSORS
        for moment in _MOMENTS
    }
    joined = {column: value for name in SENSORS for column, value in _join_sensor(name, near, into).items()}
    return grid.withColumns(earlier).withColumns(joined).drop(*earlier)


def _join_sensor(name: str, near: str, into: str) -> dict[str, Column]:
    n, mean, m2, low, high = (F.col(f"{name}_{moment}_{near}") for moment in _MOMENTS)
    n_, mean_, m2_, low_, high_ = (F.col(f"_{name}_{moment}") for moment in _MOMENTS)
    has_both = (n > 0) & (n_ > 0)
    delta, total = mean_ - mean, n + n_
    values = (
        F.coalesce(n, F.lit(0)) + F.coalesce(n_, F.lit(0)),
        F.when(has_both, mean + delta * n_ / total).otherwise(F.coalesce(mean, mean_)),
        F.when(has_both, m2 + m2_ + delta * delta * n * n_ / total).otherwise(F.coalesce(m2, m2_)),
        F.least(low, low_),
        F.greatest(high, high_),
    )
    return {f"{name}_{moment}_{into}": value for moment, value in zip(_MOMENTS, values, strict=True)}
