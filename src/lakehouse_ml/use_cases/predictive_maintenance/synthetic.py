"""Simulated machines, their sensors and their failures, in the shape of Microsoft's predictive maintenance files.

    python -m lakehouse_ml.use_cases.predictive_maintenance.synthetic FOLDER --machines 100 --days 120

writes into FOLDER, each name saying that its content is simulated:

    SIMULATED.md                                   what made them: version, seed, arguments
    machines_simulated.csv                         machineID, model, age in years
    maintenance_simulated.csv                      datetime, machineID, comp: replacements, seven months before too
    errors_simulated.csv                           datetime, machineID, errorID
    failures_simulated.csv                         datetime, machineID, failure: the component
    telemetry/telemetry_2015-01-01_simulated.csv   datetime, machineID, volt, rotate, pressure, vibration; one a day

With `--events` the machines and failures are those of files that are there, and only telemetry is written.

The law was read off the real files. Events, on 1,000 machines in 2015:

- Each machine is visited every 15 days at 06:00, the first time within 30 days. A visit replaces no component
  (10 %), one (60 %) or two (30 %; three in 15 visits of 25,121), each of the four as often. All 28,592 replacements
  of 2015 lie on such days. Before, each component had one, on one of 15 dates from 2014-06-01 on.
- A replaced component had failed if it was due: comp1 after 45 days in half of the cases, comp2 after 30 days in
  half, comp3 after 45 days in models 1 and 2, comp4 after 45 days in machines of 14 years and more. Of 6,540
  failures at a visit 36 don't fit, all in the first six weeks. More than one component fails in 358 of 6,368
  failure moments (5.6 %).
- 24 hours before, to the minute, comp1 logs error1, comp2 error2 and error3, comp3 error4, comp4 error5: always, in
  both sets of files. Other errors come at any hour, 2.9 a machine and year here, 32 in the files with telemetry.
- The 186 failures on the second day, at 03:00, have neither error nor replacement (a quirk, see below).

Telemetry, on 20 machines and 90 days: each hour is a normal draw of its own (autocorrelation below 0.02, no
daily rhythm, no difference between machines), and a failing component shifts one sensor, from 48 hours before its
failure to the hour of the failure, 49 readings, by the same amount throughout:

    =========  =====  =====  ====================  ========================  =============================
    sensor     mean   sd     shifts before         by, measured (se)         shifts without failure a year
    =========  =====  =====  ====================  ========================  =============================
    volt       170.0  15.0   13 failures of comp1  +20.3 (0.6), 1.4 sd       6.0
    rotate     450.4  50.1   15 failures of comp2  -81.5 (1.9), 1.6 sd       6.6
    pressure    99.9   9.9    6 failures of comp3  +25.7 (0.6), 2.6 sd       3.6
    vibration   40.0   5.0    8 failures of comp4  +10.7 (0.3), 2.1 sd       3.8
    =========  =====  =====  ====================  ========================  =============================

Means and sd are those of unshifted hours. A shift without a failure begins at any hour and lasts as long; overlapping
shifts add up, which the measured ones include. So a shift announces a failure in about every fourth case.

Here days run from midnight to midnight; the real telemetry begins and ends at 06:00.

Quirks, which can be left out: the failures of the second day, as in the real files (17 machines in 100); and, which
the real files don't have but landing files do, for 2 machine-days in 1,000 an hour that stands twice, for as many a
gap of one to six hours, and some errors of machine 0, which isn't among the machines.

What is drawn for a machine, and for a machine's day, depends on the seed, its number, the day since the start, and
on nothing else: more machines or days add rows and change none. Values are rounded to four decimals.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from lakehouse_ml import __version__
from lakehouse_ml.errors import LakehouseError, LandingError
from lakehouse_ml.storage.files import replace_atomically
from lakehouse_ml.use_cases.predictive_maintenance.contracts import SENSORS

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]
Table = dict[str, NDArray[Any]]
Format = Literal["csv", "parquet"]

COMPONENTS: Final = ("comp1", "comp2", "comp3", "comp4")
FIRST_DAY: Final = date(2015, 1, 1)

_MODELS: Final = ("model1", "model2", "model3", "model4")
_MODEL_SHARES: Final = (0.085, 0.186, 0.415, 0.314)
_OLDEST_YEARS: Final = 20

_DAYS_BETWEEN_VISITS: Final = 15
_FIRST_VISIT_WITHIN_DAYS: Final = 30
_VISIT_HOUR: Final = 6
_FIRST_REPLACEMENT_DAY: Final = -214
_DATES_BEFORE: Final = 15
_SHARE_WITHOUT_REPLACEMENT: Final = 0.1
_SHARE_WITH_TWO: Final = 0.3
# By component: when it is due, in which machines, and how often it had then failed.
_DUE_DAYS: Final = np.array([45, 30, 45, 45])
_FAILS_WHEN_DUE: Final = np.array([0.5, 0.5, 1.0, 1.0])
_FRAIL_MODELS: Final = 2
_FRAIL_FROM_YEARS: Final = 14

_ERRORS_BEFORE: Final = ((0,), (1, 2), (3,), (4,))
_HOURS_FROM_ERROR: Final = 24
_OTHER_ERRORS_A_YEAR: Final = 2.92
_ERROR_SHARES: Final = (0.30, 0.25, 0.20, 0.20, 0.05)

_MEANS: Final = np.array([170.0, 450.0, 100.0, 40.0])
_DEVIATIONS: Final = np.array([15.0, 50.0, 10.0, 5.0])
_SHIFTS: Final = np.array([20.0, -80.0, 25.0, 10.0])
_HOURS_SHIFTED_BEFORE: Final = 48
_FALSE_SHIFTS_A_YEAR: Final = 20.0
_FALSE_SHIFT_SHARES: Final = (0.30, 0.33, 0.18, 0.19)
_DECIMALS: Final = 4

_EARLY_FAILURE_HOUR: Final = 27
_EARLY_FAILURES: Final = np.array([0.046, 0.080, 0.074, 0.120])
_UNKNOWN_MACHINE: Final = 0
_ERRORS_OF_UNKNOWN_A_YEAR: Final = 6.0
_DAYS_WITH_GAP: Final = 0.002
_LONGEST_GAP_HOURS: Final = 6
_DAYS_WITH_DOUBLE: Final = 0.002

# What a stream of random numbers is for.
_TRAITS, _VISITS, _OTHER_ERRORS, _FALSE_SHIFTS, _READINGS = range(5)
_HOURS_A_DAY: Final = 24
_HOURS_A_YEAR: Final = 365 * _HOURS_A_DAY
_MACHINES_PER_BATCH: Final = 2_000


@dataclass(frozen=True)
class _Marks:
    """Things that happen to machines: arrays of shape (n,).

    Attributes:
        machine: Position of the machine.
        kind: Position among components, sensors or error types.
        hour: Hours since the start, negative before it.
    """

    machine: Ints
    kind: Ints
    hour: Ints

    def where(self, chosen: Flags) -> _Marks:
        return _Marks(self.machine[chosen], self.kind[chosen], self.hour[chosen])

    def before(self, hour: int) -> _Marks:
        return self.where(self.hour < hour)

    def __add__(self, other: _Marks) -> _Marks:
        return _Marks(
            np.concatenate([self.machine, other.machine]),
            np.concatenate([self.kind, other.kind]),
            np.concatenate([self.hour, other.hour]),
        )


@dataclass(frozen=True)
class Plant:
    """Machines and what is to happen to them: enough to draw any day of telemetry.

    Attributes:
        machine_ids: Shape (machines,), distinct.
        start: The first day.
        days: Number of days.
        seed: Of every draw.
        quirks: Whether the quirks named above are put in.
        tables: `machines`, `maintenance`, `errors`, `failures` as they stand in their files, of the days and, for
            maintenance, before; empty where files were given.
        shifts: What shifts a sensor, by its first hour.
    """

    machine_ids: Ints
    start: date
    days: int
    seed: int
    quirks: bool
    tables: Mapping[str, Table]
    shifts: _Marks


def simulate(
    machines: int = 100, days: int = 120, start: date = FIRST_DAY, seed: int = 0, *, quirks: bool = True
) -> Plant:
    """Draw machines and their events.

    Args:
        machines: Number of machines, whose ids count from 1.
        days: Number of days. The maintenance history begins 214 days before the first.
        start: The first day.
        seed: Seed, not negative.
        quirks: Whether to put in the quirks that the module names.

    Raises:
        ValueError: If machines, days or seed is negative.
    """
    _check(days, seed, machines)
    ids = np.arange(1, machines + 1)
    dice = _Dice(seed)
    traits = np.array([dice.of(number, _TRAITS).random(11) for number in ids.tolist()]).reshape(-1, 11)
    model = np.searchsorted(np.cumsum(_MODEL_SHARES)[:-1], traits[:, 0], side="right")
    age = (traits[:, 1] * (_OLDEST_YEARS + 1)).astype(np.int64)
    past = _FIRST_REPLACEMENT_DAY + _DAYS_BETWEEN_VISITS * (traits[:, 2:6] * _DATES_BEFORE).astype(np.int64)
    frail = np.ones((machines, len(COMPONENTS)), dtype=np.bool_)
    frail[:, 2] = model < _FRAIL_MODELS
    frail[:, 3] = age >= _FRAIL_FROM_YEARS

    first_visit = 1 + (traits[:, 6] * _FIRST_VISIT_WITHIN_DAYS).astype(np.int64)
    replacements, failures = _visits(dice, ids, days, first_visit, past, frail)
    errors = _errors_before(failures) + _arrivals(dice, ids, _OTHER_ERRORS, _OTHER_ERRORS_A_YEAR, _ERROR_SHARES, days)
    if quirks:
        early, component = np.nonzero((traits[:, 7:] < _EARLY_FAILURES) & frail)
        failures += _Marks(early, component, np.full_like(early, _EARLY_FAILURE_HOUR))
        errors += _errors_of_the_unknown(dice, days)
    end = days * _HOURS_A_DAY
    tables = {
        "machines": {"machineID": ids, "model": np.array(_MODELS)[model], "age": age},
        "maintenance": _table(replacements.before(end), ids, start, "comp", COMPONENTS),
        "errors": _table(errors.before(end), ids, start, "errorID", [f"error{i}" for i in range(1, 6)]),
        "failures": _table(failures.before(end), ids, start, "failure", COMPONENTS),
    }
    return Plant(ids, start, days, seed, quirks, tables, _shifts(dice, ids, failures, days))


def read_plant(
    events: Path,
    machines: int | None = None,
    days: int = 120,
    start: date = FIRST_DAY,
    seed: int = 0,
    *,
    quirks: bool = True,
) -> Plant:
    """Take machines and failures from files of the real layout; errors and maintenance shift no sensor.

    Args:
        events: Folder with machines.csv and failures.csv, whose names may begin with `PdM_` and end in `_simulated`.
        machines: How many of the machines, those with the lowest ids; None for all.
        days: Number of days of telemetry.
        start: The first day.
        seed: Seed, not negative.
        quirks: Whether to put in the quirks of telemetry that the module names.

    Raises:
        LandingError: A file is missing, lacks a column or holds a value that can't be read.
        ValueError: If machines, days or seed is negative.
    """
    _check(days, seed, machines or 0)
    source = _find(events, "machines")
    numbers = sorted({_parse_whole_number(source, line, row["machineID"]) for line, row in _rows(source, "machineID")})
    ids = np.array(numbers[:machines], dtype=np.int64)
    failures = _read_failures(_find(events, "failures"), numbers, start)
    return Plant(
        ids, start, days, seed, quirks, {}, _shifts(_Dice(seed), ids, failures.where(failures.machine < len(ids)), days)
    )


def telemetry(plant: Plant, day: int, first: int = 0, last: int | None = None) -> Table:
    """Draw a day of some machines.

    Args:
        plant: The machines.
        day: Days since the start.
        first: Position of the first machine.
        last: Position after the last machine; None for all.

    Returns:
        datetime (seconds, without zone), machineID and the four sensors, each of shape (rows,), by machine and hour:
        24 rows a machine, but for quirks.
    """
    ids = plant.machine_ids[first:last]
    readings, chances = _Dice(plant.seed).day(ids, day)
    values = (
        _MEANS[:, None]
        + _DEVIATIONS[:, None] * readings
        + _sum_shifts(plant.shifts, slice(first, first + len(ids)), day * _HOURS_A_DAY)
    )
    hours = np.datetime64(plant.start, "s") + np.arange(_HOURS_A_DAY) * 3600 + day * 86_400
    columns = np.round(values, _DECIMALS).transpose(1, 0, 2).reshape(len(SENSORS), -1)
    table = {"datetime": np.tile(hours, len(ids)), "machineID": np.repeat(ids, _HOURS_A_DAY)}
    table |= dict(zip(SENSORS, columns, strict=True))
    if not plant.quirks:
        return table
    rows = np.repeat(np.arange(len(ids) * _HOURS_A_DAY), _times_written(chances).ravel())
    return {name: column[rows] for name, column in table.items()}


def write(folder: Path, plant: Plant, format: Format = "csv") -> None:
    """Write the event tables, unless they were given, and a file of telemetry for each day.

    A file appears under its name only when it is complete. Memory grows neither with days nor with rows of a day.

    Args:
        folder: Folder to write to; it is made. Files of the same names are replaced.
        plant: What `simulate` or `read_plant` returned.
        format: Of telemetry. The event tables are CSV.

    Raises:
        LandingError: The folder holds telemetry of days or of a format that this plant doesn't have, or is a file.
    """
    days = [plant.start + timedelta(days=day) for day in range(plant.days)]
    if folder.exists() and not folder.is_dir():
        raise LandingError(f"{folder} is a file. Name a folder to write to.")
    paths = [folder / "telemetry" / f"telemetry_{day}_simulated.{format}" for day in days]
    _refuse_other_files(folder / "telemetry", {path.name for path in paths})
    (folder / "telemetry").mkdir(parents=True, exist_ok=True)
    with replace_atomically(folder / "SIMULATED.md") as partial:
        partial.write_text(_notice(plant, format), encoding="utf-8")
    for name, table in plant.tables.items():
        with replace_atomically(folder / f"{name}_simulated.csv") as partial:
            _write_csv(partial, iter([table]))
    for day, path in enumerate(paths):
        batches = (
            telemetry(plant, day, first, first + _MACHINES_PER_BATCH)
            for first in range(0, max(len(plant.machine_ids), 1), _MACHINES_PER_BATCH)
        )
        with replace_atomically(path) as partial:
            if format == "csv":
                _write_csv(partial, batches)
            else:
                _write_parquet(partial, batches, plant)


class _Dice:
    """A stream of random numbers for each machine and purpose: Philox, whose key and counter name the stream.

    To set the state of one generator takes 9 us; to make a generator from a SeedSequence takes 40 us.
    """

    def __init__(self, seed: int) -> None:
        key = np.array([np.random.SeedSequence(seed).generate_state(1, np.uint64)[0], 0], dtype=np.uint64)
        self._bits = np.random.Philox(key=key)
        self._state = self._bits.state
        self._generator = np.random.Generator(self._bits)

    def of(self, machine: int, purpose: int, day: int = 0) -> np.random.Generator:
        """The stream from its beginning; it is lost when the next one is asked for."""
        self._state["state"]["key"][1] = machine
        self._state["state"]["counter"][:] = (0, purpose, day, 0)
        self._bits.state = self._state
        return self._generator

    def day(self, ids: Ints, day: int) -> tuple[Floats, Floats]:
        """Standard normal readings (machines, sensors, 24 hours) and uniforms for quirks (machines, 5)."""
        readings, chances = np.empty((len(ids), len(SENSORS), _HOURS_A_DAY)), np.empty((len(ids), 5))
        for row, machine in enumerate(ids.tolist()):
            stream = self.of(machine, _READINGS, day)
            stream.standard_normal(out=readings[row])
            stream.random(out=chances[row])
        return readings, chances


def write_sample(folder: Path) -> None:
    """What `make run` begins with where there are no files: 100 machines and 120 days."""
    write(folder, simulate())


def _check(days: int, seed: int, machines: int) -> None:
    if min(days, seed, machines) < 0:
        raise ValueError(f"machines, days and seed must not be negative; they are {machines}, {days} and {seed}.")


def _visits(dice: _Dice, ids: Ints, days: int, first_visit: Ints, past: Ints, frail: Flags) -> tuple[_Marks, _Marks]:
    """Replacements, those of the past first, and failures, also those after the end that shift a sensor before it."""
    rounds = (days + _HOURS_SHIFTED_BEFORE // _HOURS_A_DAY) // _DAYS_BETWEEN_VISITS + 1
    draws = np.array([dice.of(number, _VISITS).random((rounds, 9)) for number in ids.tolist()]).reshape(-1, rounds, 9)
    two, none = 1.0 - _SHARE_WITH_TWO, _SHARE_WITHOUT_REPLACEMENT
    number = (draws[:, :, 0] >= none).astype(np.int64) + (draws[:, :, 0] >= two)
    replaces = draws[:, :, 1:5].argsort(axis=2).argsort(axis=2) < number[:, :, None]
    fails = np.zeros_like(replaces)
    last = past
    for visit in range(rounds):
        day = (first_visit + visit * _DAYS_BETWEEN_VISITS)[:, None]
        breaks = frail & (day - last >= _DUE_DAYS) & (draws[:, visit, 5:] < _FAILS_WHEN_DUE)
        fails[:, visit] = replaces[:, visit] & breaks
        last = np.where(replaces[:, visit], day, last)
    machine, component = np.nonzero(np.ones_like(past, dtype=np.bool_))
    history = _Marks(machine, component, past.ravel() * _HOURS_A_DAY + _VISIT_HOUR)
    return history + _at_visits(replaces, first_visit), _at_visits(fails, first_visit)


def _at_visits(happens: Flags, first_visit: Ints) -> _Marks:
    machine, visit, component = np.nonzero(happens)
    day = first_visit[machine] + visit * _DAYS_BETWEEN_VISITS
    return _Marks(machine, component, day * _HOURS_A_DAY + _VISIT_HOUR)


def _errors_before(failures: _Marks) -> _Marks:
    pairs = [(component, error) for component, errors in enumerate(_ERRORS_BEFORE) for error in errors]
    marks = _nothing()
    for component, error in pairs:
        of = failures.where(failures.kind == component)
        marks += _Marks(of.machine, np.full_like(of.kind, error), of.hour - _HOURS_FROM_ERROR)
    return marks


def _arrivals(
    dice: _Dice, ids: Ints, purpose: int, a_year: float, shares: Sequence[float], days: int, first_hour: int = 0
) -> _Marks:
    """A Poisson process for each machine, each of its points of one kind, until the last day."""
    parts = [_nothing()]
    end = days * _HOURS_A_DAY
    for position, number in enumerate(ids.tolist()):
        stream, hours = dice.of(number, purpose), [float(first_hour)]
        kinds: list[float] = []
        while hours[-1] < end:
            wait, kind = stream.random(2).tolist()
            hours.append(hours[-1] - np.log1p(-wait) * _HOURS_A_YEAR / a_year)
            kinds.append(kind)
        kind_of = np.searchsorted(np.cumsum(shares)[:-1], kinds, side="right")
        parts.append(_Marks(np.full(len(kinds), position), kind_of, np.floor(hours[1:]).astype(np.int64)).before(end))
    return _Marks(*(np.concatenate([getattr(part, name) for part in parts]) for name in ("machine", "kind", "hour")))


def _errors_of_the_unknown(dice: _Dice, days: int) -> _Marks:
    unknown = np.array([_UNKNOWN_MACHINE])
    logged = _arrivals(dice, unknown, _OTHER_ERRORS, _ERRORS_OF_UNKNOWN_A_YEAR, _ERROR_SHARES, days)
    return _Marks(np.full_like(logged.machine, -1), logged.kind, logged.hour)


def _nothing() -> _Marks:
    return _Marks(*(np.empty(0, dtype=np.int64) for _ in range(3)))


def _table(marks: _Marks, ids: Ints, start: date, column: str, names: Sequence[str]) -> Table:
    """Rows by machine, time and name, none twice; position -1 is the machine that isn't there."""
    machine = np.where(marks.machine < 0, _UNKNOWN_MACHINE, np.append(ids, _UNKNOWN_MACHINE)[marks.machine])
    rows = np.unique(np.stack([machine, marks.hour, marks.kind]), axis=1)
    return {
        "datetime": np.datetime64(start, "s") + rows[1] * 3600,
        "machineID": rows[0],
        column: np.array(names)[rows[2]],
    }


def _shifts(dice: _Dice, ids: Ints, failures: _Marks, days: int) -> _Marks:
    """First hours of all shifts: component i shifts sensor i."""
    lead = _HOURS_SHIFTED_BEFORE
    before_failures = _Marks(failures.machine, failures.kind, failures.hour - lead)
    false = _arrivals(dice, ids, _FALSE_SHIFTS, _FALSE_SHIFTS_A_YEAR, _FALSE_SHIFT_SHARES, days, -lead - 1)
    every = before_failures + false
    order = np.argsort(every.hour, kind="stable")
    return _Marks(every.machine[order], every.kind[order], every.hour[order])


def _sum_shifts(shifts: _Marks, machines: slice, first_hour: int) -> Floats:
    """Sum of the shifts of each reading of a day, shape (machines, sensors, 24)."""
    begin = np.searchsorted(shifts.hour, first_hour - _HOURS_SHIFTED_BEFORE)
    end = np.searchsorted(shifts.hour, first_hour + _HOURS_A_DAY)
    machine, sensor, hour = (part[begin:end] for part in (shifts.machine, shifts.kind, shifts.hour))
    in_range = (machine >= machines.start) & (machine < machines.stop)
    since = first_hour + np.arange(_HOURS_A_DAY) - hour[in_range, None]
    lasting = (since >= 0) & (since <= _HOURS_SHIFTED_BEFORE)
    total = np.zeros((machines.stop - machines.start, len(SENSORS), _HOURS_A_DAY))
    np.add.at(total, (machine[in_range] - machines.start, sensor[in_range]), lasting * _SHIFTS[sensor[in_range], None])
    return total


def _times_written(chances: Floats) -> Ints:
    """How often each hour of a day stands in the file: 0 in a gap, 2 once in a while, else 1; (machines, 24)."""
    hour = np.arange(_HOURS_A_DAY)
    first = np.floor(chances[:, 1:2] * _HOURS_A_DAY)
    length = 1 + np.floor(chances[:, 2:3] * _LONGEST_GAP_HOURS)
    missing = (chances[:, 0:1] < _DAYS_WITH_GAP) & (hour >= first) & (hour < first + length)
    double = (chances[:, 3:4] < _DAYS_WITH_DOUBLE) & (hour == np.floor(chances[:, 4:5] * _HOURS_A_DAY))
    return np.where(missing, 0, np.where(double, 2, 1))


def _find(folder: Path, table: str) -> Path:
    names = [f"{before}{table}{after}.csv" for before in ("", "PdM_") for after in ("", "_simulated")]
    paths = [folder / name for name in names if (folder / name).is_file()]
    if len(paths) != 1:
        state = "has none of" if not paths else "has more than one of"
        raise LandingError(f"{folder} {state} {', '.join(names)}: telemetry is drawn from one of them. Put one there.")
    return paths[0]


def _rows(path: Path, *needed: str) -> Iterator[tuple[int, dict[str, str]]]:
    """Line numbers and rows."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file)
        try:
            missing = [name for name in needed if name not in (reader.fieldnames or ())]
            if missing:
                raise LandingError(f"{path} has no column {', '.join(missing)}. Name its columns {', '.join(needed)}.")
            for row in reader:
                yield reader.line_num, row
        except (UnicodeDecodeError, csv.Error) as error:
            raise LandingError(f"{path} can't be read as CSV in UTF-8: {error}. Export it again.") from error


def _parse_whole_number(path: Path, line: int, text: str | None) -> int:
    try:
        return int(text or "")
    except ValueError:
        raise _unreadable(path, line, "machineID", text, "a whole number") from None


def _unreadable(path: Path, line: int, column: str, text: str | None, expected: str) -> LandingError:
    return LandingError(f"{path}, line {line}: {column} is {text!r}, not {expected}. Correct it.")


def _read_failures(path: Path, numbers: Sequence[int], start: date) -> _Marks:
    position = {number: index for index, number in enumerate(numbers)}
    marks = []
    for line, row in _rows(path, "datetime", "machineID", "failure"):
        machine = position.get(_parse_whole_number(path, line, row["machineID"]))
        if machine is None:
            raise _unreadable(path, line, "machineID", row["machineID"], "one of the machines")
        if row["failure"] not in COMPONENTS:
            raise _unreadable(path, line, "failure", row["failure"], f"one of {', '.join(COMPONENTS)}")
        hour = _hours_since(start, row["datetime"])
        if hour is None:
            raise _unreadable(path, line, "datetime", row["datetime"], "a time such as 2015-01-31 06:00:00")
        marks.append((machine, COMPONENTS.index(row["failure"]), hour))
    return _Marks(*np.array(marks, dtype=np.int64).reshape(-1, 3).T)


def _hours_since(start: date, text: str | None) -> int | None:
    """Full hours; None if the text isn't a time in ISO 8601, without zone."""
    try:
        return (datetime.fromisoformat(text or "") - datetime.combine(start, time())) // timedelta(hours=1)
    except (ValueError, TypeError):
        return None


def _refuse_other_files(folder: Path, names: set[str]) -> None:
    others = sorted(path.name for path in folder.glob("*") if path.name not in names and not path.name.startswith("."))
    if others:
        raise LandingError(
            f"{folder} holds {others[0]}, which isn't one of the files to write, and two simulations don't mix. "
            f"Name another folder, or remove what lies in this one."
        )


def _write_csv(path: Path, tables: Iterator[Table]) -> None:
    """Header and LF line ends, nothing quoted."""
    import pyarrow as pa
    import pyarrow.csv as pc

    plain = pc.WriteOptions(include_header=False, quoting_style="none")
    with path.open("wb") as file:
        for index, table in enumerate(tables):
            rows = pa.table(table)
            if index == 0:
                file.write((",".join(rows.column_names) + "\n").encode())
            pc.write_csv(rows, file, plain)


def _write_parquet(path: Path, tables: Iterator[Table], plant: Plant) -> None:
    """Its key-value metadata say `simulated`, by what, and from which seed."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    metadata = {"simulated": "true", "simulated_by": _module(), "seed": str(plant.seed)}
    schema = pa.schema(
        [("datetime", pa.timestamp("us")), ("machineID", pa.int64()), *((name, pa.float64()) for name in SENSORS)],
        metadata,
    )
    with pq.ParquetWriter(path, schema) as writer:
        for table in tables:
            writer.write_table(pa.table(table).cast(schema))


def _module() -> str:
    return __spec__.name


def _notice(plant: Plant, format: Format) -> str:
    origin = "simulated as well" if plant.tables else "read from files that were given"
    return f"""# Simulated data

The files here whose names end in `_simulated`, and all telemetry, were drawn by a random number generator. No machine
ever did this.

| | |
|---|---|
| made by | `python -m {_module()}`, lakehouse-ml {__version__} |
| seed | {plant.seed} |
| machines | {len(plant.machine_ids):,}, {origin} |
| days | {plant.days:,} from {plant.start} |
| format of telemetry | {format} |
| quirks | {"put in" if plant.quirks else "left out"} |

The docstring of that module says what the law was measured on, and what the quirks are.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Write files, and return the exit code; a user's mistake is one sentence on stderr."""
    parser = argparse.ArgumentParser(
        prog=f"python -m {_module()}", description="Write simulated machines, events and hourly telemetry."
    )
    parser.add_argument("folder", type=Path, help="folder to write to; it is made")
    parser.add_argument("--machines", type=_count, default=None, help="how many; 100, or all that are given")
    parser.add_argument("--days", type=_count, default=120, help="of telemetry (120)")
    parser.add_argument("--start", type=date.fromisoformat, default=FIRST_DAY, help=f"the first day ({FIRST_DAY})")
    parser.add_argument("--seed", type=_count, default=0, help="same seed and arguments, same bytes (0)")
    parser.add_argument("--events", type=Path, default=None, help="folder with the machines and failures to go by")
    parser.add_argument("--format", choices=["csv", "parquet"], default="csv", help="of telemetry (csv)")
    parser.add_argument("--no-quirks", action="store_true", help="no early failures, doubles, gaps, unknown machine")
    arguments = parser.parse_args(argv)
    law: dict[str, Any] = {
        "days": arguments.days,
        "start": arguments.start,
        "seed": arguments.seed,
        "quirks": not arguments.no_quirks,
    }
    try:
        if arguments.events is None:
            plant = simulate(100 if arguments.machines is None else arguments.machines, **law)
        else:
            plant = read_plant(arguments.events, arguments.machines, **law)
        write(arguments.folder, plant, arguments.format)
    except LakehouseError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def _count(text: str) -> int:
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError(f"{text} is negative")
    return number


if __name__ == "__main__":
    sys.exit(main())
