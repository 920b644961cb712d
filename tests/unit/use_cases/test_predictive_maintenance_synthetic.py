"""Simulated machines look like the real files, repeat exactly whatever else is asked for, and say what they are."""

from __future__ import annotations

import csv
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

from lakehouse_ml.errors import LandingError
from lakehouse_ml.use_cases.predictive_maintenance.synthetic import (
    COMPONENTS,
    SENSORS,
    Plant,
    main,
    read_plant,
    simulate,
    telemetry,
    write,
)

REAL = Path(__file__).resolve().parents[4] / "shared" / "data"
ERRORS_BEFORE = {"comp1": ["error1"], "comp2": ["error2", "error3"], "comp3": ["error4"], "comp4": ["error5"]}
DUE_DAYS = {"comp1": 45, "comp2": 30, "comp3": 45, "comp4": 45}
COLUMNS = {
    "machines": "machineID,model,age",
    "maintenance": "datetime,machineID,comp",
    "errors": "datetime,machineID,errorID",
    "failures": "datetime,machineID,failure",
    "telemetry": "datetime,machineID,volt,rotate,pressure,vibration",
}
HOUR, DAY = np.timedelta64(1, "h"), np.timedelta64(1, "D")
Table = dict[str, NDArray[Any]]
Event = tuple[int, np.datetime64, str]


@pytest.fixture(scope="module")
def plant() -> Plant:
    """A thousand machines for as long as the real files go."""
    return simulate(1_000, 366, seed=7)


@pytest.fixture(scope="module")
def calm() -> Plant:
    """A hundred machines for a quarter, without quirks."""
    return simulate(100, 90, seed=3, quirks=False)


@pytest.fixture(scope="module")
def readings(calm: Plant) -> Table:
    """Its telemetry: sensors of shape (machines, hours)."""
    days = [telemetry(calm, day) for day in range(calm.days)]
    return {name: np.hstack([day[name].reshape(100, 24) for day in days]) for name in days[0]}


@pytest.fixture(scope="module")
def real_events() -> dict[str, Table]:
    folder = REAL / "pdm_events_1000"
    if not folder.is_dir():
        pytest.skip(f"the real event files aren't at {folder}: only beside the project's own checkout")
    files = {"machines": "machines", "maintenance": "maint", "errors": "errors", "failures": "failures"}
    return {table: columns_of(folder / f"{file}.csv") for table, file in files.items()}


@pytest.fixture(scope="module")
def real_telemetry() -> Path:
    folder = REAL / "pdm_telemetry_20"
    if not folder.is_dir():
        pytest.skip(f"the real telemetry isn't at {folder}: only beside the project's own checkout")
    return folder


def columns_of(path: Path) -> Table:
    """Times as times, whole numbers as such, sensors as floats."""
    with path.open(newline="") as file:
        header, *rows = csv.reader(file)
    kinds = {"datetime": "datetime64[s]", "machineID": np.int64, "age": np.int64} | dict.fromkeys(SENSORS, np.float64)
    return {
        name: np.array([row[index] for row in rows]).astype(kinds.get(name, np.str_))
        for index, name in enumerate(header)
    }


def events(table: Table) -> list[Event]:
    what = next(name for name in table if name not in {"datetime", "machineID"})
    return list(zip(table["machineID"].tolist(), table["datetime"], table[what].tolist(), strict=True))


def shares(names: NDArray[Any]) -> dict[str, float]:
    values, counts = np.unique(names, return_counts=True)
    return dict(zip(values.tolist(), (counts / len(names)).tolist(), strict=True))


def share_of_double_failures(failures: Table) -> float:
    _, components = np.unique(
        [failures["machineID"], failures["datetime"].astype(np.int64)], axis=1, return_counts=True
    )
    return float(np.mean(components > 1))


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def write_files(folder: Path, **files: str) -> Path:
    folder.mkdir()
    for name, text in files.items():
        (folder / f"{name}.csv").write_text(text)
    return folder


# --- events


def test_as_many_things_happen_to_a_thousand_machines_as_in_the_real_files(
    plant: Plant, real_events: dict[str, Table]
) -> None:
    for name, table in real_events.items():
        rows = len(plant.tables[name]["machineID"])
        assert rows == pytest.approx(len(table["machineID"]), rel=0.04), name


@pytest.mark.parametrize(
    ("table", "column"),
    [("machines", "model"), ("maintenance", "comp"), ("errors", "errorID"), ("failures", "failure")],
)
def test_values_are_as_frequent_as_in_the_real_files(
    plant: Plant, real_events: dict[str, Table], table: str, column: str
) -> None:
    expected = shares(real_events[table][column])
    assert shares(plant.tables[table][column]) == pytest.approx(expected, abs=0.05 if table == "machines" else 0.02)


def test_two_components_fail_at_once_as_often_as_in_the_real_file(plant: Plant, real_events: dict[str, Table]) -> None:
    assert share_of_double_failures(real_events["failures"]) == pytest.approx(358 / 6_368)
    assert share_of_double_failures(plant.tables["failures"]) == pytest.approx(0.056, abs=0.009)


def law_of_failures(tables: dict[str, Table]) -> dict[str, float]:
    """Shares of the failures at 06:00 that the law's sentences hold for."""
    logged, replaced = set(events(tables["errors"])), events(tables["maintenance"])
    machines = tables["machines"]
    model = dict(zip(machines["machineID"].tolist(), machines["model"].tolist(), strict=True))
    age = dict(zip(machines["machineID"].tolist(), machines["age"].tolist(), strict=True))
    dates: dict[tuple[int, str], list[np.datetime64]] = {}
    for machine, time, component in replaced:
        dates.setdefault((machine, component), []).append(time)
    failures_at_six = [
        event for event in events(tables["failures"]) if event[1].astype("datetime64[h]").astype(int) % 24 == 6
    ]
    announced = [all((m, t - 24 * HOUR, e) in logged for e in ERRORS_BEFORE[c]) for m, t, c in failures_at_six]
    due = []
    for machine, time, component in failures_at_six:
        before = [earlier for earlier in dates[machine, component] if earlier < time]
        frail = {"comp3": model[machine] in {"model1", "model2"}, "comp4": age[machine] >= 14}.get(component, True)
        due.append(frail and (time - max(before)) / DAY >= DUE_DAYS[component])
    return {
        "announced": float(np.mean(announced)),
        "replaced": len(set(failures_at_six) & set(replaced)) / len(failures_at_six),
        "due": float(np.mean(due)),
        "at_six": len(failures_at_six) / len(tables["failures"]["failure"]),
    }


def test_failures_follow_the_law_that_the_real_files_follow(plant: Plant, real_events: dict[str, Table]) -> None:
    assert law_of_failures(real_events) == pytest.approx(
        {"announced": 1.0, "replaced": 1.0, "due": 6_504 / 6_540, "at_six": 6_540 / 6_726}
    )
    law = law_of_failures(dict(plant.tables))
    assert law == {"announced": 1.0, "replaced": 1.0, "due": 1.0, "at_six": pytest.approx(0.972, abs=0.006)}


def test_each_machine_is_visited_every_fifteen_days(plant: Plant) -> None:
    table = plant.tables["maintenance"]
    since = (table["datetime"] - np.datetime64(plant.start, "s")) // HOUR
    assert set((since % 24).tolist()) == {6}
    days, machine = since[since > 0] // 24, table["machineID"][since > 0]
    first = {number: days[machine == number].min() for number in range(1, 1_001)}
    assert all((day - first[number]) % 15 == 0 for day, number in zip(days.tolist(), machine.tolist(), strict=True))
    assert min(days) == 1


def test_each_component_was_replaced_once_in_the_seven_months_before(plant: Plant) -> None:
    table = plant.tables["maintenance"]
    before = table["datetime"] < np.datetime64(plant.start)
    pairs = set(zip(table["machineID"][before].tolist(), table["comp"][before].tolist(), strict=True))
    assert len(pairs) == before.sum() == 4_000
    dates = np.datetime64("2014-06-01T06:00:00") + np.arange(15) * 15 * DAY
    assert set(table["datetime"][before].tolist()) == set(dates.astype("datetime64[s]").tolist())


def test_rows_are_in_order_and_none_stands_twice(plant: Plant) -> None:
    for name in ("maintenance", "errors", "failures"):
        rows = events(plant.tables[name])
        assert rows == sorted(set(rows)), name


def test_no_event_lies_after_the_last_day() -> None:
    plant = simulate(200, 30, start=date(2020, 2, 1), seed=1)
    for name in ("maintenance", "errors", "failures"):
        last = plant.tables[name]["datetime"].max()
        assert np.datetime64("2020-03-01") < last < np.datetime64("2020-03-02"), name


# --- telemetry


def test_every_machine_has_a_row_for_every_hour(readings: Table) -> None:
    assert ",".join(readings) == COLUMNS["telemetry"]
    hours = np.datetime64("2015-01-01T00:00:00") + np.arange(90 * 24) * HOUR
    assert np.array_equal(readings["datetime"], np.tile(hours, (100, 1)))
    assert np.array_equal(readings["machineID"], np.tile(np.arange(1, 101)[:, None], 90 * 24))


@pytest.mark.parametrize(
    ("sensor", "mean", "deviation"),
    [("volt", 171.0, 15.6), ("rotate", 446.0, 53.3), ("pressure", 100.6, 10.7), ("vibration", 40.3, 5.3)],
)
def test_sensors_have_the_mean_and_the_spread_of_the_real_ones(
    readings: Table, real_telemetry: Path, sensor: str, mean: float, deviation: float
) -> None:
    real = columns_of(real_telemetry / "PdM_telemetry.csv")[sensor]
    assert (real.mean(), real.std()) == (pytest.approx(mean, abs=0.051), pytest.approx(deviation, abs=0.051))
    assert readings[sensor].mean() == pytest.approx(mean, abs=0.015 * deviation)
    assert readings[sensor].std() == pytest.approx(deviation, rel=0.015)


def mean_before_failures(failures: Table, tables: Table, start: np.datetime64, hours: range) -> NDArray[np.float64]:
    """Of each component's sensor, over the hours relative to its failures; tables hold (machines, hours)."""
    means = []
    for component, sensor in zip(COMPONENTS, SENSORS, strict=True):
        values = []
        for machine, time, name in events(failures):
            at = int((time - start) / HOUR)
            if name == component and at + hours.start >= 0 and at + hours.stop <= tables[sensor].shape[1]:
                values.append(tables[sensor][machine - 1, at + hours.start : at + hours.stop].mean())
        means.append(np.mean(values))
    return np.array(means)


def test_a_sensor_shifts_two_days_before_the_failure_as_much_as_in_the_real_file(
    readings: Table, calm: Plant, real_telemetry: Path
) -> None:
    rows = columns_of(real_telemetry / "PdM_telemetry.csv")
    real = {name: column.reshape(20, 90 * 24) for name, column in rows.items()}
    real_failures, start = columns_of(real_telemetry / "PdM_failures.csv"), rows["datetime"][0]
    ours = (calm.tables["failures"], readings, np.datetime64("2015-01-01", "s"))
    deviations = np.array([15.0, 50.0, 10.0, 5.0])
    for hours, moved in ((range(-48, 1), [1.33, -1.6, 2.5, 2.0]), (range(-60, -48), [0] * 4), (range(1, 13), [0] * 4)):
        expected = mean_before_failures(real_failures, real, start, hours)
        got = mean_before_failures(*ours, hours)
        assert (got - [170, 450, 100, 40]) / deviations == pytest.approx(moved, abs=0.25)
        assert (got - expected) / deviations == pytest.approx([0] * 4, abs=0.55)


def test_the_shift_begins_and_ends_with_the_hour(calm: Plant, readings: Table) -> None:
    for hour, shifted in ((-49, False), (-48, True), (0, True), (1, False)):
        means = mean_before_failures(
            calm.tables["failures"], readings, np.datetime64("2015-01-01"), range(hour, hour + 1)
        )
        moved = np.abs(means - [170, 450, 100, 40]) / [15, 50, 10, 5]
        assert np.all(moved > 0.9) if shifted else np.all(moved < 0.65), hour


def test_shifts_without_a_failure_are_three_times_as_many(plant: Plant) -> None:
    shifts, failures = len(plant.shifts.hour), len(plant.tables["failures"]["failure"])
    assert failures / shifts == pytest.approx(6.7 / 26.7, abs=0.02)


def test_readings_depend_on_the_hour_before_no_more_than_the_shifts_of_the_real_file_make_them(
    readings: Table, real_telemetry: Path
) -> None:
    real = columns_of(real_telemetry / "PdM_telemetry.csv")
    for sensor in SENSORS:
        expected, got = (
            np.mean([np.corrcoef(row[:-1], row[1:])[0, 1] for row in table])
            for table in (real[sensor].reshape(20, -1), readings[sensor])
        )
        assert got == pytest.approx(expected, abs=0.04), sensor


def test_machines_do_not_repeat_each_other(readings: Table) -> None:
    for sensor in SENSORS:
        alike = np.corrcoef(readings[sensor])[np.triu_indices(100, 1)]
        assert np.abs(alike).max() < 0.3
        assert alike.mean() == pytest.approx(0, abs=0.003)


def test_machines_drawn_in_two_parts_are_those_drawn_at_once(plant: Plant) -> None:
    whole, parts = telemetry(plant, 40), [telemetry(plant, 40, 0, 300), telemetry(plant, 40, 300)]
    for name, column in whole.items():
        assert np.array_equal(column, np.concatenate([part[name] for part in parts]))


# --- the same again, and more of it


@pytest.mark.parametrize("format", ["csv", "parquet"])
def test_the_same_seed_writes_the_same_bytes_and_another_one_others(tmp_path: Path, format: Any) -> None:
    for name, seed in (("a", 5), ("b", 5), ("c", 6)):
        write(tmp_path / name, simulate(30, 10, seed=seed), format)
    first, again, other = (files_of(tmp_path / name) for name in "abc")
    assert first == again
    assert first.keys() == other.keys()
    assert not [name for name in first if first[name] == other[name]]


def test_more_machines_change_nothing_for_the_others() -> None:
    few, many = simulate(30, 40, seed=2), simulate(90, 40, seed=2)
    for name, table in few.tables.items():
        kept = many.tables[name]["machineID"] <= 30
        assert all(np.array_equal(column, many.tables[name][key][kept]) for key, column in table.items()), name
    for day in (0, 1, 20, 39):
        assert all(
            np.array_equal(column, telemetry(many, day, 0, 30)[key]) for key, column in telemetry(few, day).items()
        )


def test_more_days_change_no_earlier_file(tmp_path: Path) -> None:
    write(tmp_path, simulate(40, 20, seed=2))
    before = files_of(tmp_path)
    write(tmp_path, simulate(40, 60, seed=2))
    after = files_of(tmp_path)
    assert len(after) == len(before) + 40
    assert all(after[name] == content for name, content in before.items() if name.startswith("telemetry/"))
    for name in ("maintenance", "errors", "failures"):
        lines = before[f"{name}_simulated.csv"].decode().splitlines()
        assert set(lines) < set(after[f"{name}_simulated.csv"].decode().splitlines())


# --- files


def test_every_file_says_that_it_is_simulated_and_has_the_columns_of_the_real_one(tmp_path: Path) -> None:
    write(tmp_path, simulate(3, 2, seed=9))
    names = [f"{name}_simulated.csv" for name in COLUMNS if name != "telemetry"]
    days = [f"telemetry/telemetry_2015-01-0{day}_simulated.csv" for day in (1, 2)]
    written = files_of(tmp_path)
    assert sorted(written) == sorted(["SIMULATED.md", *names, *days])
    for name, content in written.items():
        if name.endswith(".csv"):
            table = name.split("/")[-1].split("_")[0]
            assert content.decode().splitlines()[0] == COLUMNS[table]
    notice = written["SIMULATED.md"].decode()
    assert "No machine\never did this" in notice
    assert all(f"| {line} |" in notice for line in ("seed | 9", "days | 2 from 2015-01-01", "quirks | put in"))


def test_a_parquet_file_says_so_in_its_metadata_and_holds_the_rows_of_the_csv_file(tmp_path: Path) -> None:
    write(tmp_path / "csv", simulate(3, 1, seed=9))
    write(tmp_path / "parquet", simulate(3, 1, seed=9), "parquet")
    file = pq.ParquetFile(tmp_path / "parquet" / "telemetry" / "telemetry_2015-01-01_simulated.parquet")
    metadata = file.schema_arrow.metadata
    assert (metadata[b"simulated"], metadata[b"seed"]) == (b"true", b"9")
    assert metadata[b"simulated_by"] == b"lakehouse_ml.use_cases.predictive_maintenance.synthetic"
    expected = columns_of(tmp_path / "csv" / "telemetry" / "telemetry_2015-01-01_simulated.csv")
    assert file.schema_arrow.names == list(expected)
    assert all(
        np.array_equal(file.read()[name].to_numpy().astype(column.dtype), column) for name, column in expected.items()
    )


def test_machines_beyond_one_batch_are_all_written(tmp_path: Path) -> None:
    plant = simulate(4_001, 1, seed=1, quirks=False)
    write(tmp_path / "csv", plant)
    write(tmp_path / "parquet", plant, "parquet")
    lines = (tmp_path / "csv" / "telemetry" / "telemetry_2015-01-01_simulated.csv").read_text().splitlines()
    assert len(lines) == 1 + 4_001 * 24
    assert lines[-1].startswith("2015-01-01 23:00:00,4001,")
    path = tmp_path / "parquet" / "telemetry" / "telemetry_2015-01-01_simulated.parquet"
    assert pq.ParquetFile(path).metadata.num_rows == 4_001 * 24


def test_nothing_asked_for_are_tables_of_no_rows(tmp_path: Path) -> None:
    write(tmp_path / "no_machines", simulate(0, 1, quirks=False))
    for name, content in files_of(tmp_path / "no_machines").items():
        if name.endswith(".csv"):
            assert content.decode().splitlines() == [COLUMNS[name.split("/")[-1].split("_")[0]]]
    write(tmp_path / "no_days", simulate(5, 0))
    assert list((tmp_path / "no_days" / "telemetry").iterdir()) == []


def test_a_file_that_fails_leaves_no_part_and_the_others_whole(tmp_path: Path) -> None:
    (tmp_path / "telemetry" / "telemetry_2015-01-02_simulated.csv").mkdir(parents=True)
    with pytest.raises(OSError, match="2015-01-02"):
        write(tmp_path, simulate(2, 3, quirks=False))
    names = sorted(path.name for path in (tmp_path / "telemetry").iterdir())
    assert names == ["telemetry_2015-01-01_simulated.csv", "telemetry_2015-01-02_simulated.csv"]
    assert len((tmp_path / "telemetry" / names[0]).read_text().splitlines()) == 49


def test_telemetry_of_another_simulation_is_not_mixed_with(tmp_path: Path) -> None:
    write(tmp_path, simulate(2, 3))
    before = files_of(tmp_path)
    with pytest.raises(LandingError, match=r"telemetry_2015-01-03_simulated\.csv.*don't mix"):
        write(tmp_path, simulate(2, 2))
    with pytest.raises(LandingError, match="Name another folder"):
        write(tmp_path, simulate(2, 3), "parquet")
    assert files_of(tmp_path) == before


# --- quirks


def test_quirks_are_few_doubles_gaps_and_errors_of_a_machine_that_is_not_there(plant: Plant) -> None:
    doubles, gaps, longest = 0, 0, 0
    for day in range(0, 366, 6):
        table = telemetry(plant, day)
        hours = ((table["datetime"] - table["datetime"].min()) / HOUR).astype(int)
        times = np.zeros((1_000, 24), dtype=int)
        np.add.at(times, (table["machineID"] - 1, hours), 1)
        doubles += int((times == 2).sum())
        gaps += int((times == 0).any(axis=1).sum())
        longest = max(longest, int((times == 0).sum(axis=1).max()))
        assert times.max() <= 2
    machine_days = 61_000
    assert doubles / machine_days == pytest.approx(0.002, abs=0.0007)
    assert gaps / machine_days == pytest.approx(0.002, abs=0.0007)
    assert longest == 6
    assert 1 <= int((plant.tables["errors"]["machineID"] == 0).sum()) < 20


def test_failures_of_the_second_day_come_without_error_and_replacement(
    plant: Plant, real_events: dict[str, Table]
) -> None:
    early = np.datetime64("2015-01-02T03:00:00")
    for tables in (plant.tables, real_events):
        failures = [event for event in events(tables["failures"]) if event[1] == early]
        assert len(failures) == pytest.approx(186, abs=40)
        assert not set(failures) & set(events(tables["maintenance"]))
        assert not [e for e in events(tables["errors"]) if e[1] == early - 24 * HOUR]


def test_without_quirks_the_rest_stays_as_it_is() -> None:
    plain, quirky = (simulate(100, 120, seed=4, quirks=quirks) for quirks in (False, True))
    assert set(events(plain.tables["errors"])) < set(events(quirky.tables["errors"]))
    assert set(events(plain.tables["failures"])) < set(events(quirky.tables["failures"]))
    assert set(plain.tables["errors"]["machineID"].tolist()) <= set(range(1, 101))
    for day in (50, 51, 52):
        one, other = (set(zip(*telemetry(plant, day).values(), strict=True)) for plant in (plain, quirky))
        assert other <= one
        assert len(one) == 2_400


# --- given files


def test_telemetry_follows_the_failures_of_real_files(tmp_path: Path, real_telemetry: Path) -> None:
    real = columns_of(real_telemetry / "PdM_telemetry.csv")
    failures = columns_of(real_telemetry / "PdM_failures.csv")
    plant = read_plant(real_telemetry, days=91, quirks=False)
    days = [telemetry(plant, day) for day in range(91)]
    ours = {name: np.hstack([day[name].reshape(20, 24) for day in days]) for name in SENSORS}
    got = mean_before_failures(failures, ours, np.datetime64("2015-01-01"), range(-48, 1))
    theirs = {name: real[name].reshape(20, -1) for name in SENSORS}
    expected = mean_before_failures(failures, theirs, real["datetime"][0], range(-48, 1))
    assert (got - expected) / [15, 50, 10, 5] == pytest.approx([0] * 4, abs=0.5)


def test_from_given_files_only_telemetry_is_written_since_the_events_are_not_simulated(tmp_path: Path) -> None:
    events_folder = write_files(
        tmp_path / "given",
        PdM_machines="machineID,model,age\n7,model3,18\n3,model1,2\n",
        PdM_failures="datetime,machineID,failure\n2015-01-03 06:00:00,7,comp3\n",
    )
    write(tmp_path / "out", read_plant(events_folder, days=4))
    files = files_of(tmp_path / "out")
    assert sorted(files) == [
        "SIMULATED.md",
        *(f"telemetry/telemetry_2015-01-0{i}_simulated.csv" for i in range(1, 5)),
    ]
    assert "2, read from files that were given" in files["SIMULATED.md"].decode()
    pressure = [
        line.split(",")[4]
        for name in sorted(files)[1:]
        for line in files[name].decode().splitlines()[1:]
        if line.split(",")[1] == "7"
    ]
    shifted = np.array(pressure, dtype=float)
    assert shifted[6:55].mean() == pytest.approx(125, abs=5)
    assert shifted[55:].mean() == pytest.approx(100, abs=5)


def test_the_events_that_were_written_give_the_telemetry_that_was_written_with_them(tmp_path: Path) -> None:
    plant = simulate(50, 60, seed=8)
    write(tmp_path, plant)
    again = read_plant(tmp_path, days=60, seed=8)
    for day in range(58):  # A failure after the end, which isn't in the files, shifts the last two days.
        first, second = telemetry(plant, day), telemetry(again, day)
        assert all(np.array_equal(first[name], second[name]) for name in first), day


def test_of_given_machines_the_first_ones_can_be_taken(real_events: dict[str, Table]) -> None:
    plant = read_plant(REAL / "pdm_events_1000", machines=10, days=2)
    assert plant.machine_ids.tolist() == list(range(1, 11))
    assert plant.shifts.machine.max() < 10


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "has none of machines.csv, machines_simulated.csv, PdM_machines.csv"),
        ({"machines": "machineID\n1\n", "PdM_machines": "machineID\n1\n"}, "has more than one of machines.csv"),
        ({"machines": "machineID\n1\n"}, "has none of failures.csv"),
        ({"machines": "id,model\n1,model1\n"}, "machines.csv has no column machineID"),
        ({"machines": "machineID\none\n"}, "machines.csv, line 2: machineID is 'one', not a whole number"),
        ({"machines": "machineID\n1\n", "failures": "datetime,machineID\n"}, "failures.csv has no column failure"),
        (
            {"machines": "machineID\n1\n", "failures": "datetime,machineID,failure\n2015-01-01 06:00:00,2,comp1\n"},
            "line 2: machineID is '2', not one of the machines",
        ),
        (
            {"machines": "machineID\n1\n", "failures": "datetime,machineID,failure\n2015-01-01 06:00:00,1,comp5\n"},
            "failure is 'comp5', not one of comp1, comp2, comp3, comp4",
        ),
        (
            {"machines": "machineID\n1\n", "failures": "datetime,machineID,failure\nyesterday,1,comp1\n"},
            "datetime is 'yesterday', not a time such as 2015-01-31 06:00:00",
        ),
        (
            {"machines": "machineID\n1\n", "failures": "failure,machineID,datetime\ncomp1,1\n"},
            "line 2: datetime is None, not a time",
        ),
        (
            {"machines": "machineID\n1\n", "failures": "datetime,machineID,failure\n2015-01-01T06:00Z,1,comp1\n"},
            "datetime is '2015-01-01T06:00Z', not a time",
        ),
    ],
)
def test_a_given_file_that_cannot_be_read_is_named_in_one_sentence_with_exit_code_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], files: dict[str, str], message: str
) -> None:
    events_folder = write_files(tmp_path / "given", **files)
    assert main([str(tmp_path / "out"), "--events", str(events_folder)]) == 1
    stderr = capsys.readouterr().err
    assert message in stderr
    assert len(stderr.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_a_file_that_is_not_text_is_refused(tmp_path: Path) -> None:
    events_folder = write_files(tmp_path / "given", machines="")
    (events_folder / "machines.csv").write_bytes("machineID,model\n1,Modèle\n".encode("latin-1"))
    with pytest.raises(LandingError, match=r"machines\.csv can't be read as CSV in UTF-8"):
        read_plant(events_folder)


def test_a_file_in_place_of_the_folder_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "out").write_text("mine")
    assert main([str(tmp_path / "out"), "--machines", "1", "--days", "1"]) == 1
    assert "out is a file. Name a folder to write to." in capsys.readouterr().err
    assert (tmp_path / "out").read_text() == "mine"


# --- the command


def test_the_command_writes_what_the_functions_write(tmp_path: Path) -> None:
    options = ["--machines", "4", "--days", "3", "--start", "2024-02-28", "--seed", "11", "--format", "parquet"]
    assert main([str(tmp_path / "command"), *options, "--no-quirks"]) == 0
    write(tmp_path / "function", simulate(4, 3, date(2024, 2, 28), 11, quirks=False), "parquet")
    assert files_of(tmp_path / "command") == files_of(tmp_path / "function")
    assert (tmp_path / "command" / "telemetry" / "telemetry_2024-03-01_simulated.parquet").is_file()


@pytest.mark.parametrize("option", [["--days", "-1"], ["--start", "2015-02-30"], ["--seed", "x"], ["--format", "json"]])
def test_an_option_that_makes_no_sense_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], option: list[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main([str(tmp_path / "out"), *option])
    assert stopped.value.code == 2
    assert option[0] in capsys.readouterr().err


def test_negative_numbers_are_refused(tmp_path: Path) -> None:
    for wrong in ({"machines": -1}, {"days": -1}, {"seed": -1}):
        with pytest.raises(ValueError, match="must not be negative"):
            simulate(**wrong)  # type: ignore[arg-type]


def test_the_default_sample_has_failures_of_every_component_in_each_month() -> None:
    failures = simulate().tables["failures"]
    month = ((failures["datetime"] - np.datetime64("2015-01-01", "s")) / (30 * DAY)).astype(int)
    for part in range(4):
        assert min(np.sum(failures["failure"][month == part] == component) for component in COMPONENTS) >= 4
