"""What decisions about machines are worth: per component, machine, visit and failure. Pure functions of pandas rows.

The words, as they are counted everywhere here:

- A **long row** is a machine, a prediction time and a component; it is positive (label 1) if that component fails
  within the horizon after that time. Rows lie on a grid of `step_hours`.
- A **failure** is a run of consecutive positive rows of one machine and component: its first row may be cut off by the
  start of the rows and its last by their end, and it counts all the same, seen or not by the rows that are left. A
  missing row within a run makes two failures of it. A second failure of the same component whose horizon touches the
  first one's is counted with it as one, and one that falls between two prediction times with a horizon shorter than
  a step has no row and can't be counted. Two components that fail at once are two failures.
- A failure is **seen** if a row of its own run is decided: the right component, before it failed. Else it is missed.
- A **visit** is a machine and a day (UTC) on which at least one row is decided, whatever the component and however
  often. It is **needless** if the machine has no positive row on that day.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from pydantic import ConfigDict, Field

from lakehouse_ml.config.spec import Spec

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Booleans = NDArray[np.bool_]
# Segment, metric, value, number of rows and of positives.
Line = tuple[str, str, float, int, int]

MEASURES = ("segment", "metric", "value", "n_rows", "n_positives")
OVER_TIME = ("day", "n_rows", "n_positives", "precision", "recall", "f1")

_HOURS_A_DAY = 24
_HOUR = 3_600_000_000
_DAY = _HOURS_A_DAY * _HOUR


class MeasuresSpec(Spec):
    """What can be done in a day, and what it costs; all money in one currency.

    Attributes:
        capacity_per_day: Machines that can be visited a day, >= 1.
        missed_failure_cost: What a failure costs that nothing announced, beyond the planned repair that would have
            taken its place, >= 0.
        visit_cost: Cost of sending somebody to one machine on one day, >= 0.
    """

    model_config = ConfigDict(strict=True)

    capacity_per_day: int = Field(ge=1)
    missed_failure_cost: float = Field(ge=0)
    visit_cost: float = Field(ge=0)


def measure(
    rows: pd.DataFrame, decision: ArrayLike, probability: ArrayLike, spec: MeasuresSpec, step_hours: int
) -> pd.DataFrame:
    """Measure decisions about held-out rows in the units in which somebody acts on them.

    A ratio with nothing in its denominator is NaN, and so is an average over nothing; counts and sums are 0 then. The
    segments, and what `n_rows` and `n_positives` count there:

    - `component=<name>`, one per component in order of name: precision, recall, f1 over its long rows. Long rows;
      positive ones.
    - `macro`: each of the three as a plain mean over components. A component without failures has no recall and is
      left out of that mean; it counts with a precision and f1 of 0 as soon as something is decided about it, for that
      is a false alarm, and not at all if nothing is. A component that fails and is never decided counts with a
      precision of 0: silence must not raise the mean. Long rows; positive ones.
    - `any`: precision, recall, f1 of machines at a time; positive if any component is, decided if any component is.
      Machines at a time; positive ones.
    - `capacity`: on each day only the `capacity_per_day` machines with the highest probability (over components and
      that day's prediction times) are visited, whatever was decided; of equal ones those with the lower id, and all
      machines where there are no more. `precision` is the share of those visits on machines with a positive row that
      day. Machines on a day; those with a positive row. `caught_share` is the share of failures whose machine was
      visited on a day that holds a row of their run: at best, since the component isn't looked at and the hour
      of the visit isn't known; it may lie after the failure. Machines on a day; failures.
    - `cost`: `n_failures`, `n_missed_failures`, `n_visits` and `n_needless_visits` are counts. In units of currency, of
      all machines and days together: `cost_of_decisions` is missed failures plus needless visits (a needed
      visit replaces one that had to be paid anyway), `cost_of_every_visit` is missed failures plus all visits, and
      `cost_of_nothing` is all failures missed. Each again as `…_per_day`, divided by the number of days with rows.
      Machines on a day; failures.
    - `hours_ahead`: `seen_share` is the share of failures that were seen. For each seen one, the hours from the first
      decided row of its run to the last row of the run; `median_at_least` and `quantile_10_at_least` are such
      hours as half, or nine tenths, of the seen failures reach. The failure lies after the last row, by at most one
      step: one step more is the upper bound. The lower one is given because a warning must not come later than said,
      and because it holds for runs that are cut off as well, which the upper one doesn't. A failure seen only by its
      last row counts 0. Long rows; failures.

    Args:
        rows: One row per (machine_id, predicted_at, component), in any order, with label 0 or 1; predicted_at without
            an offset is UTC.
        decision: Shape (n,), 1 or true where the component is taken to fail.
        probability: Shape (n,), in [0, 1].
        spec: Capacity and costs.
        step_hours: From one prediction time to the next.

    Returns:
        One row per segment and metric: columns `MEASURES`.

    Raises:
        ValueError: Rows, decisions and probabilities don't match in length; a value is missing or out of range; a row
            occurs twice; or predicted_at isn't on a grid of `step_hours`.
    """
    sorted_rows = _Rows.of(rows, decision, probability)
    step = step_hours * _HOUR
    _check_grid(sorted_rows.at, step, step_hours)
    days = _Units.of(sorted_rows, sorted_rows.day)
    failures = _Failures.of(sorted_rows, step)
    lines = [
        *_component_lines(sorted_rows),
        *_any_lines(_Units.of(sorted_rows, sorted_rows.at)),
        *_capacity_lines(days, failures, spec.capacity_per_day),
        *_cost_lines(days, failures, spec),
        *_ahead_lines(failures, sorted_rows.at.size),
    ]
    return pd.DataFrame(lines, columns=list(MEASURES))


def worth_of_decisions(
    rows: pd.DataFrame, probability: Floats, threshold: float, visit_cost: float, failure_cost: float, capacity: int
) -> pd.DataFrame:
    """`measure` at a threshold; the grid is that of the rows."""
    times = pd.DatetimeIndex(rows["predicted_at"]).unique().sort_values()
    step = int((times[1:] - times[:-1]).min() / pd.Timedelta(hours=1)) if len(times) > 1 else _HOURS_A_DAY
    spec = MeasuresSpec(capacity_per_day=capacity, missed_failure_cost=failure_cost, visit_cost=visit_cost)
    return measure(rows, probability >= threshold, probability, spec, step)


def drawn_over_time(rows: pd.DataFrame, decision: ArrayLike, probability: ArrayLike) -> pd.DataFrame:
    """Precision, recall and f1 of machines at a time, day by day (UTC): segment `any` of `measure`, for a plot.

    Args:
        rows: As for `measure`.
        decision: As for `measure`.
        probability: As for `measure`; only checked.

    Returns:
        One row per day that has rows, in order: columns `OVER_TIME`. `day` is a date; `n_rows` and `n_positives` count
        machines at a time; a ratio with nothing in its denominator is NaN.

    Raises:
        ValueError: As for `measure`, but for the grid.
    """
    sorted_rows = _Rows.of(rows, decision, probability)
    moments = _Units.of(sorted_rows, sorted_rows.at)
    days, day = np.unique(moments.time // _DAY, return_inverse=True)
    count = _Count.of(moments.positive, moments.decided, day, days.size)
    table = {
        "day": days.astype("datetime64[D]").astype(object),
        "n_rows": count.rows,
        "n_positives": count.positives,
        **count.scores(),
    }
    return pd.DataFrame(table, columns=list(OVER_TIME))


@dataclass(frozen=True, eq=False)
class _Rows:
    """Long rows by component, machine and time: shape (n,) each.

    Attributes:
        components: Names, which `component` numbers.
        component: Number of the component.
        machine: Number of the machine, in order of id.
        at: Microseconds since 1970 UTC.
        positive: Label.
        decided: Decision.
        probability: Probability.
    """

    components: tuple[str, ...]
    component: Integers
    machine: Integers
    at: Integers
    positive: Booleans
    decided: Booleans
    probability: Floats

    @classmethod
    def of(cls, rows: pd.DataFrame, decision: ArrayLike, probability: ArrayLike) -> _Rows:
        component, components = _number_values(rows, "component")
        machine, _ = _number_values(rows, "machine_id")
        at = _microseconds(rows)
        label = _zero_or_one(rows["label"].to_numpy(dtype=np.float64, na_value=np.nan), "label", len(rows))
        decided = _zero_or_one(decision, "decision", len(rows))
        score = _column(probability, "probability", len(rows))
        if bad := np.count_nonzero(~((score >= 0) & (score <= 1))):
            raise ValueError(f"{bad} of {score.size} probabilities are missing or outside [0, 1].")
        order = np.lexsort((at, machine, component))
        table = cls(
            tuple(map(str, components)),
            component[order],
            machine[order],
            at[order],
            label[order],
            decided[order],
            score[order],
        )
        if twice := np.count_nonzero(table.follows(np.arange(at.size), by=0)):
            raise ValueError(f"{twice} of {at.size} rows repeat the machine, time and component of another one.")
        return table

    @property
    def day(self) -> Integers:
        """Days since 1970 UTC."""
        return self.at // _DAY

    def follows(self, places: NDArray[np.intp], by: int) -> Booleans:
        """Of each row but the first at these places, whether it is `by` microseconds after the one before it."""
        same_series = (np.diff(self.component[places]) == 0) & (np.diff(self.machine[places]) == 0)
        follows: Booleans = same_series & (np.diff(self.at[places]) == by)
        return follows


@dataclass(frozen=True, eq=False)
class _Units:
    """Machines at a time or on a day, by that time and then machine: shape (units,) each but for `of_row`.

    Attributes:
        time: The time or day, in the numbers given.
        positive: Whether any of its rows is.
        decided: Whether any of its rows is.
        probability: The highest of its rows.
        of_row: Shape (n,), the unit of each row.
    """

    time: Integers
    positive: Booleans
    decided: Booleans
    probability: Floats
    of_row: NDArray[np.intp]

    @classmethod
    def of(cls, rows: _Rows, time: Integers) -> _Units:
        times, number = np.unique(time, return_inverse=True)
        machines = int(rows.machine.max(initial=0)) + 1
        codes, unit = np.unique(number * machines + rows.machine, return_inverse=True)
        return cls(
            times[codes // machines],
            np.bincount(unit[rows.positive], minlength=codes.size) > 0,
            np.bincount(unit[rows.decided], minlength=codes.size) > 0,
            pd.Series(rows.probability).groupby(unit).max().to_numpy(dtype=np.float64),
            unit,
        )

    def visited(self, capacity: int) -> Booleans:
        """The `capacity` units of each time with the highest probability; of equal ones the first machines."""
        order = np.lexsort((-self.probability, self.time))  # stable: machines stay in order
        _, starts, sizes = np.unique(self.time, return_index=True, return_counts=True)
        visited = np.zeros(order.size, dtype=bool)
        visited[order] = np.arange(order.size) - np.repeat(starts, sizes) < capacity
        return visited


@dataclass(frozen=True, eq=False)
class _Failures:
    """Runs of consecutive positive rows of one machine and component.

    Attributes:
        rows: Shape (positives,), the places of positive rows.
        starts: Shape (failures,), where each run begins among those.
        seen: Shape (failures,), whether a row of the run is decided.
        hours_ahead: Shape (failures seen,), from the first decided row to the last one of the run.
    """

    rows: NDArray[np.intp]
    starts: NDArray[np.intp]
    seen: Booleans
    hours_ahead: Floats

    @classmethod
    def of(cls, rows: _Rows, step: int) -> _Failures:
        places = np.flatnonzero(rows.positive)
        begins = np.ones(places.size, dtype=bool)
        begins[1:] = ~rows.follows(places, by=step)
        starts = np.flatnonzero(begins)
        seen = np.logical_or.reduceat(rows.decided[places], starts)
        at = rows.at[places]
        never = np.iinfo(np.int64).max
        first = np.minimum.reduceat(np.where(rows.decided[places], at, never), starts)
        last = np.maximum.reduceat(at, starts)
        return cls(places, starts, seen, (last[seen] - first[seen]) / _HOUR)

    def on(self, days: _Units, visited: Booleans) -> Booleans:
        """Shape (failures,), whether one of the visited units holds a row of the run."""
        caught: Booleans = np.logical_or.reduceat(visited[days.of_row[self.rows]], self.starts)
        return caught


@dataclass(frozen=True, eq=False)
class _Count:
    """Rows, decided ones, positive ones, and those that are both: shape (groups,) each."""

    rows: Integers
    decided: Integers
    positives: Integers
    hits: Integers

    @classmethod
    def of(cls, positive: Booleans, decided: Booleans, group: NDArray[Any], groups: int) -> _Count:
        chosen = (slice(None), decided, positive, positive & decided)
        return cls(*(np.bincount(group[which], minlength=groups) for which in chosen))

    def scores(self) -> dict[str, Floats]:
        """Precision, recall and f1, NaN where the denominator is empty."""
        return {
            "precision": _ratio(self.hits, self.decided),
            "recall": _ratio(self.hits, self.positives),
            "f1": _ratio(2 * self.hits, self.decided + self.positives),
        }


def _component_lines(rows: _Rows) -> list[Line]:
    count = _Count.of(rows.positive, rows.decided, rows.component, len(rows.components))
    scores = count.scores()
    lines: list[Line] = [
        (f"component={name}", metric, float(values[i]), int(count.rows[i]), int(count.positives[i]))
        for i, name in enumerate(rows.components)
        for metric, values in scores.items()
    ]
    silent = (count.positives > 0) & (count.decided == 0)
    scores["precision"] = np.where(silent, 0.0, scores["precision"])
    everything = (rows.at.size, int(count.positives.sum()))
    return lines + [("macro", metric, _mean(values), *everything) for metric, values in scores.items()]


def _any_lines(moments: _Units) -> list[Line]:
    count = _Count.of(moments.positive, moments.decided, np.zeros(moments.time.size, dtype=np.int64), 1)
    sizes = (int(count.rows[0]), int(count.positives[0]))
    return [("any", metric, float(values[0]), *sizes) for metric, values in count.scores().items()]


def _capacity_lines(days: _Units, failures: _Failures, capacity: int) -> list[Line]:
    visited = days.visited(capacity)
    caught = failures.on(days, visited)
    return [
        ("capacity", "precision", _mean(days.positive[visited]), days.time.size, int(days.positive.sum())),
        ("capacity", "caught_share", _mean(caught), days.time.size, caught.size),
    ]


def _cost_lines(days: _Units, failures: _Failures, spec: MeasuresSpec) -> list[Line]:
    missed = int(np.count_nonzero(~failures.seen))
    visits = int(np.count_nonzero(days.decided))
    needless = int(np.count_nonzero(days.decided & ~days.positive))
    costs = {
        "cost_of_decisions": missed * spec.missed_failure_cost + needless * spec.visit_cost,
        "cost_of_every_visit": missed * spec.missed_failure_cost + visits * spec.visit_cost,
        "cost_of_nothing": failures.seen.size * spec.missed_failure_cost,
    }
    n_days = np.unique(days.time).size
    values = {
        "n_failures": failures.seen.size,
        "n_missed_failures": missed,
        "n_visits": visits,
        "n_needless_visits": needless,
        **costs,
        **{f"{name}_per_day": cost / n_days if n_days else np.nan for name, cost in costs.items()},
    }
    return [("cost", metric, float(value), days.time.size, failures.seen.size) for metric, value in values.items()]


def _ahead_lines(failures: _Failures, n_rows: int) -> list[Line]:
    # Not interpolated: "nine tenths were seen so early" must be true of the failures that there were.
    ahead = failures.hours_ahead
    low, middle = np.quantile(ahead, (0.1, 0.5), method="inverted_cdf") if ahead.size else (np.nan, np.nan)
    values = {"median_at_least": middle, "quantile_10_at_least": low, "seen_share": _mean(failures.seen)}
    return [("hours_ahead", metric, float(value), n_rows, failures.seen.size) for metric, value in values.items()]


def _ratio(numerator: Integers, denominator: Integers) -> Floats:
    ratio = np.full(denominator.shape, np.nan)
    np.divide(numerator, denominator, out=ratio, where=denominator > 0)
    return ratio


def _mean(values: NDArray[Any]) -> float:
    present = values[~np.isnan(values)]
    return float(present.mean()) if present.size else float("nan")


def _number_values(rows: pd.DataFrame, column: str) -> tuple[Integers, pd.Index]:
    """The number of each row's value, in order of values, and the values."""
    numbers, values = pd.factorize(rows[column], sort=True)
    if missing := np.count_nonzero(numbers < 0):
        raise ValueError(f"{missing} of {len(rows)} rows have no {column}.")
    return numbers.astype(np.int64), values


def _microseconds(rows: pd.DataFrame) -> Integers:
    moments = pd.to_datetime(rows["predicted_at"], utc=True)
    if missing := int(moments.isna().sum()):
        raise ValueError(f"{missing} of {len(rows)} rows have no predicted_at.")
    microseconds: Integers = moments.dt.tz_localize(None).to_numpy().astype("datetime64[us]").astype(np.int64)
    return microseconds


def _check_grid(times: Integers, step: int, step_hours: int) -> None:
    if step <= 0:
        raise ValueError(f"A step of {step_hours} hours leads nowhere; it must be at least 1.")
    if times.size and (off := np.count_nonzero((times - times[0]) % step)):
        raise ValueError(f"{off} of {times.size} rows aren't a whole number of {step_hours} hours from the first one.")


def _column(values: ArrayLike, name: str, n_rows: int) -> Floats:
    column = np.asarray(values, dtype=np.float64)
    if column.shape != (n_rows,):
        raise ValueError(f"Need one {name} per row: {n_rows} rows, but shape {column.shape}.")
    return column


def _zero_or_one(values: ArrayLike, name: str, n_rows: int) -> Booleans:
    column = _column(values, name, n_rows)
    if strange := np.count_nonzero(~np.isin(column, (0, 1))):
        raise ValueError(f"{strange} of {n_rows} values of {name} are neither 0 nor 1.")
    return column.astype(np.bool_)
