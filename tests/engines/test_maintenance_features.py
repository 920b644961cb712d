"""Features of machines: by hand at the edges of windows, by a second way, and blind to what comes later."""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from engines.maintenance import CONF, at, hourly, hours, spec, tables
from lakehouse_ml.errors import ContractError, TableError
from lakehouse_ml.use_cases.predictive_maintenance.contracts import SENSORS, clean_telemetry, feature_machines
from lakehouse_ml.use_cases.predictive_maintenance.features import CATEGORICAL, build_features, numeric
from lakehouse_ml.use_cases.predictive_maintenance.spec import MaintenanceSpec

Row = dict[str, Any]
QUIET = spec(telemetry=False)


def build(history: Mapping[str, Any], conf: MaintenanceSpec) -> Any:
    return build_features(**{name: table for name, table in history.items() if name != "failures"}, spec=conf)


def features(history: Mapping[str, Any], conf: MaintenanceSpec) -> dict[tuple[int, float], Row]:
    """Rows by machine and hours since the start."""
    rows = [row.asDict() for row in build(history, conf).collect()]
    by_key = {(row["machine_id"], hours(row["predicted_at"])): row for row in rows}
    assert len(by_key) == len(rows)
    return by_key


def test_features_have_the_columns_of_their_contract_and_those_that_the_spec_announces(spark: Any) -> None:
    history = tables(spark, telemetry=hourly([1.0] * 30))
    for conf in (spec(), spec(telemetry=False), spec(window_hours=(5,), errors=(), components=("pump",))):
        frame = build(history, conf)
        feature_machines.validate(frame)
        assert set(frame.columns) == {"machine_id", "predicted_at", *CATEGORICAL, *numeric(conf)}


def test_a_column_of_no_family_breaks_the_contract(spark: Any) -> None:
    frame = build(tables(spark, errors=[(at(1), 1, "error1")]), QUIET)
    with pytest.raises(ContractError, match="column volt_median_3h is not declared"):
        feature_machines.validate(frame.withColumnRenamed("days_since_comp1", "volt_median_3h"))
    with pytest.raises(ContractError, match="days_since_comp1 is string, declared double"):
        feature_machines.validate(frame.withColumn("days_since_comp1", frame.model))
    with pytest.raises(ContractError, match="column model is missing"):
        feature_machines.validate(frame.drop("model"))


def test_a_clean_table_is_the_landing_table_and_where_its_rows_came_from() -> None:
    audit = {"snapshot_on", "source_file", "file_sha256", "line_number", "ingested_at"}
    assert set(clean_telemetry.names) == {"observed_at", "machine_id", *SENSORS} | audit


# --- windows over telemetry


def test_a_window_ends_at_the_prediction_time_and_begins_after_the_hour_that_lies_its_width_before(spark: Any) -> None:
    # Hours 1 to 36 read 1 to 36: at hour 24 a window of 3 hours holds 22, 23 and 24, and not 21 or 25.
    row = features(tables(spark, telemetry=hourly([float(n) for n in range(1, 37)])), spec())[1, 24]
    assert [row[f"volt_{name}_3h"] for name in ("mean", "sd", "min", "max")] == [23.0, 1.0, 22.0, 24.0]
    assert [row[f"volt_{name}_24h"] for name in ("mean", "min", "max")] == [12.5, 1.0, 24.0]


def test_an_event_a_microsecond_inside_or_outside_a_window_is_in_or_out(spark: Any) -> None:
    tick = timedelta(microseconds=1)
    rows = [(at(0), 1), (at(0) + tick, 2), (at(24), 4), (at(24) + tick, 8), (at(36), 16)]
    history = tables(spark, telemetry=[(moment, 1, *[float(value)] * 4) for moment, value in rows])
    by_key = features(history, spec(window_hours=(24,)))
    assert {key[1]: row["volt_mean_24h"] for key, row in by_key.items()} == {0: 1.0, 12: 1.5, 24: 3.0, 36: 28 / 3}


@pytest.mark.parametrize(
    ("step", "phase", "windows"),
    [
        (3, 0, (3, 24)),
        (12, 0, (12, 24, 36)),
        (12, 6, (3, 5, 29, 36)),
        (24, 3, (36, 23, 49)),
        (1, 0, (2, 7)),
        (2, 1, (11, 13)),
    ],
)
def test_windows_of_any_width_on_any_grid_are_those_of_a_second_way(
    spark: Any, step: int, phase: int, windows: tuple[int, ...]
) -> None:
    draw = random.Random(step)
    telemetry = [
        (
            at(n + draw.choice([0, 0, 0.25])),
            machine,
            *(None if draw.random() < 0.2 else draw.gauss(100, 9) for _ in SENSORS),
        )
        for machine in (1, 2)
        for n in range(80)
        if draw.random() < 0.7
    ]
    conf = spec(step_hours=step, phase_hours=phase, window_hours=windows)
    machines = [(1, "model1", 7), (2, "model2", 8)]
    rows = features(tables(spark, telemetry=telemetry, machines=machines), conf)
    assert len(rows) > 2
    for (machine, hour), row in rows.items():
        assert (hour - phase) % step == 0
        for name, expected in second_way(telemetry, machine, hour, windows):
            assert row[name] == (None if expected is None else pytest.approx(expected, rel=1e-9, abs=1e-9)), (
                hour,
                name,
            )


def second_way(telemetry: list[Any], machine: int, hour: float, windows: tuple[int, ...]) -> Iterator[tuple[str, Any]]:
    for width in windows:
        in_window = [row[2:] for row in telemetry if row[1] == machine and at(hour - width) < row[0] <= at(hour)]
        for number, name in enumerate(SENSORS):
            values = [row[number] for row in in_window if row[number] is not None]
            yield f"{name}_mean_{width}h", statistics.fmean(values) if values else None
            yield f"{name}_sd_{width}h", statistics.stdev(values) if len(values) > 1 else None
            yield f"{name}_min_{width}h", min(values, default=None)
            yield f"{name}_max_{width}h", max(values, default=None)


@pytest.mark.parametrize("value", [171.3, 0.1, 1e12, 0.0])
def test_a_sensor_that_is_stuck_has_no_deviation_at_all(spark: Any, value: float) -> None:
    # Of parts with two and with three values: the mean of three times 0.1 is not quite 0.1.
    conf = spec(step_hours=3, window_hours=(3, 5))
    row = features(tables(spark, telemetry=hourly([value] * 48)), conf)[1, 48]
    assert [row["volt_sd_3h"], row["volt_sd_5h"], row["volt_min_5h"], row["volt_max_5h"]] == [0.0, 0.0, value, value]
    assert row["volt_mean_5h"] == pytest.approx(value, rel=1e-12)


def test_the_deviation_of_a_sensor_that_hardly_moves_far_from_zero_is_kept(spark: Any) -> None:
    values = [1e6 + n % 2 * 1e-3 for n in range(48)]
    row = features(tables(spark, telemetry=hourly(values)), spec())[1, 48]
    assert row["volt_sd_24h"] == pytest.approx(statistics.stdev(values[-24:]), rel=1e-6)


@pytest.mark.parametrize("missing", [None, math.nan])
def test_a_sensor_without_values_gives_null_and_leaves_the_others_alone(spark: Any, missing: float | None) -> None:
    telemetry = [(at(n), 1, missing, 5.0, missing if n > 2 else 7.0, 1.0) for n in range(1, 25)]
    row = features(tables(spark, telemetry=telemetry), spec())[1, 24]
    means = {name: row[f"{name}_mean_24h"] for name in SENSORS}
    assert means == {"volt": None, "rotate": 5.0, "pressure": 7.0, "vibration": 1.0}
    assert [row[f"volt_{name}_24h"] for name in ("sd", "min", "max")] == [None, None, None]
    assert [row[f"pressure_{name}_3h"] for name in ("mean", "sd", "min", "max")] == [None] * 4


def test_a_single_value_has_a_mean_and_no_deviation(spark: Any) -> None:
    row = features(tables(spark, telemetry=[(at(12), 1, 5.0, 5.0, 5.0, 5.0)]), spec())[1, 12]
    assert (row["volt_mean_24h"], row["volt_sd_24h"]) == (5.0, None)


def test_a_window_wider_than_the_history_describes_what_there_is(spark: Any) -> None:
    row = features(tables(spark, telemetry=hourly([1.0, 2.0, 3.0], first=10)), spec(window_hours=(24 * 365,)))[1, 12]
    assert [row[f"volt_{name}_8760h"] for name in ("mean", "sd", "min", "max")] == [2.0, 1.0, 1.0, 3.0]


def test_telemetry_is_switched_off_by_one_line_and_then_not_looked_at(spark: Any) -> None:
    history = tables(spark, errors=[(at(1), 1, "error1"), (at(30), 1, "error2")], telemetry=hourly([1.0] * 99))
    off = features(history, QUIET)
    assert not [name for name in off[1, 12] if name.startswith(SENSORS)]
    assert off == features(history | {"telemetry": None}, QUIET)
    assert [hour for _, hour in sorted(off)] == [12, 24]


@pytest.mark.parametrize("telemetry", ["none", "empty"])
def test_missing_telemetry_is_reported_with_the_line_of_conf_that_switches_it_off(spark: Any, telemetry: str) -> None:
    history = tables(spark, errors=[(at(1), 1, "error1")])
    with pytest.raises(TableError, match=r"telemetry.*missing or empty.*`telemetry: false`"):
        build(history | ({"telemetry": None} if telemetry == "none" else {}), spec())


# --- events


def test_an_error_counts_from_the_prediction_time_on_which_it_falls_until_its_window_is_over(spark: Any) -> None:
    errors = [(at(12), 1, "error1"), (at(12), 1, "error2"), (at(13), 1, "error1"), (at(60), 1, "error2")]
    rows = features(tables(spark, errors=errors), QUIET)
    counts = {hour: (row["error1_count_24h"], row["error2_count_24h"]) for (_, hour), row in rows.items()}
    # At 36 the two of hour 12 lie exactly 24 hours back: out. That of hour 13 is in until 36, and 60 counts itself.
    assert counts == {12: (1, 1), 24: (2, 1), 36: (1, 0), 48: (0, 0), 60: (0, 1)}


def test_an_error_between_prediction_times_that_are_wider_apart_than_its_window_counts_nowhere(spark: Any) -> None:
    errors = [(at(0), 1, "error1"), (at(10), 1, "error1"), (at(23), 1, "error1"), (at(48), 1, "error2")]
    rows = features(tables(spark, errors=errors), spec(telemetry=False, step_hours=24, error_window_hours=2))
    assert {hour: row["error1_count_2h"] for (_, hour), row in rows.items()} == {0: 1, 24: 1, 48: 0}


def test_days_since_a_replacement_are_those_since_the_last_one_however_long_before_the_range(spark: Any) -> None:
    replaced = [(at(-2400), 1, "comp1"), (at(-240), 1, "comp1"), (at(18), 1, "comp1"), (at(24), 1, "comp2")]
    history = tables(spark, maintenance=replaced, errors=[(at(1), 1, "error1"), (at(48), 1, "error1")])
    for conf in (QUIET, spec(telemetry=False, starts_at=at(24))):
        rows = features(history, conf)
        days = {hour: (row["days_since_comp1"], row["days_since_comp2"]) for (_, hour), row in rows.items()}
        assert days == {
            hour: pair
            for hour, pair in {12: (10.5, None), 24: (0.25, 0.0), 36: (0.75, 0.5), 48: (1.25, 1.0)}.items()
            if conf.starts_at is None or at(hour) >= conf.starts_at
        }


def test_a_machine_without_any_event_has_rows_that_say_so_and_machines_do_not_mix(spark: Any) -> None:
    history = tables(
        spark,
        machines=[(1, "model1", 7), (2, None, None)],
        telemetry=hourly([1.0] * 24),
        errors=[(at(12), 1, "error1")],
        maintenance=[(at(0), 1, "comp1")],
    )
    rows = features(history, spec())
    assert sorted(rows) == [(1, 12), (1, 24), (2, 12), (2, 24)]
    filled = {name: value for name, value in rows[2, 24].items() if value is not None}
    filled.pop("predicted_at")
    assert filled == {"machine_id": 2, "error1_count_24h": 0, "error2_count_24h": 0}
    assert (rows[1, 24]["model"], rows[1, 24]["age_years"], rows[1, 24]["days_since_comp1"]) == ("model1", 7, 1.0)


def test_rows_come_in_the_order_of_time_so_that_those_of_a_day_lie_together(spark: Any) -> None:
    history = tables(spark, machines=[(n, "model1", 7) for n in range(1, 9)], telemetry=hourly([1.0] * 96))
    times = [row.predicted_at for row in build(history, spec()).collect()]
    assert len(times) == 8 * 8
    assert times == sorted(times)


def test_events_of_a_machine_that_the_table_of_machines_does_not_name_are_left_out(spark: Any) -> None:
    history = tables(spark, errors=[(at(12), 1, "error1"), (at(12), 9, "error1")], telemetry=hourly([1.0] * 24, 9))
    assert {machine for machine, _ in features(history, spec())} == {1}


@pytest.mark.parametrize(
    ("table", "row", "message"),
    [
        ("errors", (at(1), 1, "error9"), r"errors holds 'error9' in error_id.*errors are error1, error2\. Add it"),
        ("maintenance", (at(1), 1, "comp9"), r"maintenance holds 'comp9' in component.*components are comp1, comp2"),
    ],
)
def test_a_name_that_conf_does_not_know_is_refused_with_those_it_knows(
    spark: Any, table: str, row: tuple[Any, ...], message: str
) -> None:
    with pytest.raises(ContractError, match=message):
        build(tables(spark, **{table: [row]}), QUIET)


# --- prediction times and point in time


def test_prediction_times_begin_with_the_first_row_and_end_with_the_newest_event(spark: Any) -> None:
    history = tables(
        spark, telemetry=hourly([1.0] * 24, first=7), maintenance=[(at(-99), 1, "comp1"), (at(47), 1, "comp1")]
    )
    assert [hour for _, hour in sorted(features(history, spec()))] == [12, 24, 36]
    assert [hour for _, hour in sorted(features(history, spec(known_until=at(26))))] == [12, 24]


def test_the_grid_starts_at_its_phase_after_midnight_in_utc_whatever_the_sessions_zone(spark: Any) -> None:
    # On 2024-03-31 clocks in Berlin skip an hour: a grid in local time would move from there on.
    days = [30 * 24 + n * 6.0 for n in range(8)]
    history = tables(spark, errors=[(at(day), 1, "error1") for day in days], maintenance=[(at(0), 1, "comp1")])
    conf = spec(telemetry=False, phase_hours=6)
    expected = build(history, conf).selectExpr("unix_micros(predicted_at)", "error1_count_24h", "days_since_comp1")
    expected = sorted(map(tuple, expected.collect()))
    assert [(us // 3_600_000_000 - 6) % 12 for us, *_ in expected] == [0, 0, 0, 0]
    session_zone = spark.conf.get("spark.sql.session.timeZone")
    spark.conf.set("spark.sql.session.timeZone", "Europe/Berlin")
    try:
        again = build(history, conf).selectExpr("unix_micros(predicted_at)", "error1_count_24h", "days_since_comp1")
        assert sorted(map(tuple, again.collect())) == expected
    finally:
        spark.conf.set("spark.sql.session.timeZone", session_zone)


def test_times_in_conf_are_instants_and_without_an_offset_they_are_utc() -> None:
    summer = timezone(timedelta(hours=2))
    conf = spec(starts_at="2024-03-31T12:00", ends_at=datetime(2024, 4, 1, 14, tzinfo=summer), known_until="2024-05-01")
    assert (conf.starts_at, conf.ends_at, conf.known_until) == (
        datetime(2024, 3, 31, 12, tzinfo=UTC),
        datetime(2024, 4, 1, 12, tzinfo=UTC),
        datetime(2024, 5, 1, tzinfo=UTC),
    )


def random_history(seed: int) -> dict[str, list[tuple[Any, ...]]]:
    """Ninety hours of two machines; every kind of event falls on grid points and window edges now and then."""
    draw = random.Random(seed)
    moments = [at(draw.choice([draw.uniform(0, 90), draw.randrange(0, 90, 3)])) for _ in range(40)]
    return {
        "machines": [(1, "model1", 7), (2, "model2", 3)],
        "telemetry": [row for machine in (1, 2) for row in hourly([draw.gauss(9, 2) for _ in range(90)], machine)],
        "errors": [(m, draw.choice([1, 2]), draw.choice(["error1", "error2"])) for m in moments[:20]],
        "maintenance": [(m, draw.choice([1, 2]), draw.choice(["comp1", "comp2"])) for m in moments[20:]],
    }


# An example takes seconds, and shrinking one minutes.
@settings(max_examples=3, deadline=None, derandomize=True, phases=[Phase.generate])
@given(seed=st.integers(0, 10_000), cut=st.integers(4, 29), step=st.sampled_from([3, 12]))
def test_deleting_everything_after_a_prediction_time_leaves_its_features_as_they_were(
    spark: Any, seed: int, cut: int, step: int
) -> None:
    conf, end = spec(step_hours=step, window_hours=(3, 24, 7)), at(3 * cut)
    history = random_history(seed)
    until_then = {
        name: rows if name == "machines" else [r for r in rows if r[0] <= end] for name, rows in history.items()
    }
    features_before = {key: row for key, row in features(tables(spark, **history), conf).items() if at(key[1]) <= end}
    assert features(tables(spark, **until_then), conf) == features_before
    assert len(features_before) == 2 * len({hour for _, hour in features_before}) > 0


@pytest.mark.parametrize("telemetry", [True, False])
def test_a_range_gives_back_some_of_the_rows_and_changes_none(spark: Any, telemetry: bool) -> None:
    history = tables(spark, **random_history(1))
    whole = features(history, spec(telemetry=telemetry, step_hours=3, window_hours=(3, 24, 7)))
    for start, end in ((40, 70), (39, 39), (-50, 12), (80, 9999)):
        conf = spec(telemetry=telemetry, step_hours=3, window_hours=(3, 24, 7), starts_at=at(start), ends_at=at(end))
        some = features(history, conf)
        assert some == {key: row for key, row in whole.items() if start <= key[1] <= end}
        assert some


@pytest.mark.parametrize(
    ("start", "end"), [(200, 300), (-300, -200), (1, 2)], ids=["in the future", "before the data", "between two times"]
)
def test_a_range_without_a_prediction_time_gives_no_rows_and_all_columns(spark: Any, start: int, end: int) -> None:
    history = tables(spark, **random_history(1))
    frame = build(history, spec(starts_at=at(start), ends_at=at(end)))
    feature_machines.validate(frame)
    assert frame.count() == 0


def test_a_range_that_ends_in_the_future_ends_with_what_is_known(spark: Any) -> None:
    history = tables(spark, errors=[(at(1), 1, "error1"), (at(30), 1, "error1")])
    assert [hour for _, hour in sorted(features(history, spec(telemetry=False, ends_at=at(1000))))] == [12, 24]


def test_no_events_at_all_give_no_rows(spark: Any) -> None:
    assert features(tables(spark), QUIET) == {}
    assert features(tables(spark, machines=[], errors=[(at(12), 1, "error1")]), QUIET) == {}


# --- conf


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"step_hours": 5}, "5 hours don't divide a day.*take one of 1, 2, 3, 4, 6, 8, 12, 24"),
        ({"step_hours": 0}, "0 hours don't divide a day"),
        ({"step_hours": 48}, "48 hours don't divide a day"),
        ({"step_hours": 1.5}, "valid integer"),
        ({"phase_hours": 12}, r"phase_hours \(12\) must lie from 0 to below step_hours \(12\)"),
        ({"phase_hours": -1}, r"phase_hours \(-1\)"),
        ({"horizon_hours": 0}, "horizon_hours\n.*0 hours hold no event"),
        ({"error_window_hours": -3}, "-3 hours hold no event"),
        ({"window_hours": ()}, "telemetry is on, but window_hours names no window"),
        ({"window_hours": (3, 0)}, "a window of 0 hours holds no row"),
        ({"window_hours": (3, 24, 3)}, "3 is named twice"),
        ({"components": ()}, "at least one component"),
        ({"components": ("comp1", "comp1")}, "comp1 is named twice"),
        ({"components": ("Comp 1",)}, "'Comp 1' can't be part of a column's name"),
        ({"errors": ("error-1",)}, "'error-1' can't be part of a column's name"),
        ({"starts_at": at(2), "ends_at": at(1)}, "starts_at .2024-03-01 02:00. lies after ends_at .2024-03-01 01:00."),
        ({"horizont_hours": 24}, "Extra inputs are not permitted"),
    ],
)
def test_meaningless_conf_is_refused_with_a_reason(change: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValidationError, match=f"(?s){reason}"):
        MaintenanceSpec(**(CONF | change))
