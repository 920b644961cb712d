"""The grid of prediction times, in whole microseconds since 1970 UTC: no session's time zone can move it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import reduce

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from lakehouse_ml.errors import ContractError, TableError
from lakehouse_ml.storage.writes import collect
from lakehouse_ml.use_cases.predictive_maintenance.spec import MaintenanceSpec

HOUR = 3_600_000_000
DAY = 24 * HOUR
AT = "predicted_us"
MACHINE = "machine_id"
_TIMES = {
    "telemetry": "observed_at", "errors": "logged_at", "maintenance": "replaced_at", "failures": "failed_at",
}  # fmt: skip
_NAMES = {"errors": "error_id", "maintenance": "component", "failures": "component"}


@dataclass(frozen=True)
class Range:
    """Prediction times from `first` to `last`, both on the grid and in microseconds; none if `last` lies earlier."""

    first: int
    last: int


def next_time(moment: Column, spec: MaintenanceSpec) -> Column:
    """The first prediction time at or after a moment; both in microseconds."""
    return moment + F.pmod(F.lit(spec.phase_hours * HOUR) - moment, F.lit(spec.step_hours * HOUR))


def each_time(first: Column, last: Column, spec: MaintenanceSpec) -> Column:
    """A row per prediction time from `first`, which is one, to `last`; a single one where `last` lies earlier."""
    # An engine refuses a sequence that ends before it begins, and may look at a branch that isn't taken.
    return F.explode(F.sequence(first, F.greatest(first, last), F.lit(spec.step_hours * HOUR)))


def prediction_range(tables: Mapping[str, DataFrame | None], spec: MaintenanceSpec, ahead_hours: int = 0) -> Range:
    """Which prediction times the data and conf allow.

    They begin with the first row of telemetry; without telemetry with the first error, without errors with the first
    replacement. They end `ahead_hours` before `known_until`. Conf's range can only narrow that: one that reaches into
    the future gives what is known by now, one outside the data gives none.

    Args:
        tables: Some of telemetry, errors, maintenance and failures, by name.
        spec: Grid and range.
        ahead_hours: How long after a prediction time the tables must be complete.

    Raises:
        ContractError: A table holds a kind of error or a component that conf doesn't name.
        TableError: Telemetry is on, and there is none.
    """
    surveys = _survey({name: table for name, table in tables.items() if table is not None and _is_read(name, spec)})
    if spec.telemetry and "telemetry" not in surveys:
        raise TableError(
            "There is no telemetry to make features of: the table is missing or empty. Land telemetry, or set "
            "`telemetry: false` among the features of predictive_maintenance in conf."
        )
    for name, survey in surveys.items():
        _check_names(name, survey.names, spec)
    begins_at = next((surveys[name].first for name in _TIMES if name in surveys and name != "failures"), None)
    known_until = (
        _micros(spec.known_until) if spec.known_until else max((s.last for s in surveys.values()), default=None)
    )
    if begins_at is None or known_until is None:
        return Range(0, -1)
    step, phase = spec.step_hours * HOUR, spec.phase_hours * HOUR
    first = max(begins_at, _micros(spec.starts_at) if spec.starts_at else begins_at)
    last = known_until - ahead_hours * HOUR
    last = min(last, _micros(spec.ends_at) if spec.ends_at else last)
    return Range(first + (phase - first) % step, last - (last - phase) % step)


def prediction_times(machines: DataFrame, times: Range, spec: MaintenanceSpec) -> DataFrame:
    """Each machine at each prediction time of a range: machine_id, predicted_us."""
    first, last = (F.lit(us).cast("bigint") for us in (times.first, times.last))
    rows = machines.select(MACHINE, each_time(first, last, spec).alias(AT))
    return rows.where(F.col(AT) <= last)


@dataclass(frozen=True)
class _Seen:
    first: int
    last: int
    names: tuple[str, ...]


def _survey(tables: Mapping[str, DataFrame]) -> dict[str, _Seen]:
    """First and last event of each table that has any, and the kinds in it: one question to the engine for all."""
    if not tables:
        return {}
    queries = [_ask(name, table) for name, table in tables.items()]
    rows = collect(reduce(DataFrame.union, queries)).dropna(subset=["first"])
    return {str(row.table): _Seen(int(row.first), int(row.last), tuple(sorted(row.names))) for row in rows.itertuples()}


def _ask(name: str, table: DataFrame) -> DataFrame:
    moment = F.unix_micros(_TIMES[name])
    kinds = F.collect_set(_NAMES[name]) if name in _NAMES else F.expr("cast(array() as array<string>)")
    return table.agg(
        F.lit(name).alias("table"), F.min(moment).alias("first"), F.max(moment).alias("last"), kinds.alias("names")
    )


def _is_read(name: str, spec: MaintenanceSpec) -> bool:
    return name != "telemetry" or spec.telemetry


def _check_names(table: str, names: tuple[str, ...], spec: MaintenanceSpec) -> None:
    key, column = ("errors", "error_id") if table == "errors" else ("components", "component")
    expected = spec.errors if table == "errors" else spec.components
    unknown = sorted(set(names) - set(expected))
    if unknown:
        raise ContractError(
            f"Table {table} holds {', '.join(map(repr, unknown))} in {column}, which conf doesn't name: {key} are "
            f"{', '.join(expected) or 'none'}. Add it to `{key}` among the features of predictive_maintenance in conf, "
            f"or drop such rows by a quality rule."
        )


def _micros(moment: datetime) -> int:
    seconds = int(moment.replace(microsecond=0).timestamp())
    return seconds * 1_000_000 + moment.microsecond
