"""Decisions about machines are counted by component, machine, visit and failure as their definitions say."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError
from sklearn import metrics as reference

from lakehouse_ml.use_cases.predictive_maintenance.measures import (
    MEASURES,
    OVER_TIME,
    MeasuresSpec,
    drawn_over_time,
    measure,
)

REAL = Path(__file__).resolve().parents[4] / "shared" / "data" / "pdm_telemetry_20"
SPEC = MeasuresSpec(capacity_per_day=1, missed_failure_cost=1_000.0, visit_cost=100.0)
STEP = 12
MONDAY = pd.Timestamp("2026-03-02", tz="UTC")

Series = tuple[int, str, str, str]  # machine, component, labels, decisions: one sign per step, "." is no row


def long_rows(*series: Series, start: pd.Timestamp = MONDAY, step: int = STEP) -> pd.DataFrame:
    """Rows with decision and probability: "x" is decided and 0.9, a digit is decided from 5 on and as many tenths."""
    return pd.DataFrame(
        [
            {
                "machine_id": machine,
                "predicted_at": start + pd.Timedelta(hours=step * i),
                "component": component,
                "label": int(label),
                "decision": sign == "x" or (sign.isdigit() and int(sign) >= 5),
                "probability": 0.9 if sign == "x" else int(sign) / 10 if sign.isdigit() else 0.1,
            }
            for machine, component, labels, signs in series
            for i, (label, sign) in enumerate(zip(labels, signs, strict=True))
            if label != "."
        ],
        columns=["machine_id", "predicted_at", "component", "label", "decision", "probability"],
    )


def measure_rows(rows: pd.DataFrame, spec: MeasuresSpec = SPEC, step: int = STEP) -> pd.DataFrame:
    table = measure(rows, rows["decision"].to_numpy(), rows["probability"].to_numpy(), spec, step)
    assert tuple(table.columns) == MEASURES
    assert [str(table[name].dtype) for name in MEASURES[2:]] == ["float64", "int64", "int64"]
    assert not table.duplicated(["segment", "metric"]).any()
    return table


def values(table: pd.DataFrame, segment: str) -> dict[str, float]:
    chosen = table[table["segment"] == segment]
    return dict(zip(chosen["metric"], chosen["value"], strict=True))


def sizes(table: pd.DataFrame, segment: str) -> set[tuple[int, int]]:
    chosen = table[table["segment"] == segment]
    return set(zip(chosen["n_rows"], chosen["n_positives"], strict=True))


def scores(precision: float, recall: float, f1: float) -> Any:
    return pytest.approx({"precision": precision, "recall": recall, "f1": f1}, nan_ok=True)


def value(rows: pd.DataFrame, segment: str, metric: str, spec: MeasuresSpec = SPEC) -> float:
    return values(measure_rows(rows, spec), segment)[metric]


NAN = float("nan")


# --- components, their mean, and machines


def test_each_component_is_measured_over_its_own_rows() -> None:
    table = measure_rows(
        long_rows((1, "comp1", "0011", " x x"), (1, "comp2", "1000", "x   "), (2, "comp1", "0001", "    "))
    )

    assert values(table, "component=comp1") == scores(1 / 2, 1 / 3, 2 / 5)
    assert values(table, "component=comp2") == scores(1.0, 1.0, 1.0)
    assert sizes(table, "component=comp1") == {(8, 3)}
    assert sizes(table, "component=comp2") == {(4, 1)}
    assert values(table, "macro") == scores(3 / 4, 2 / 3, 7 / 10)
    assert sizes(table, "macro") == {(12, 4)}


def test_a_component_without_failures_and_decisions_says_nothing_and_is_left_out_of_the_mean() -> None:
    table = measure_rows(long_rows((1, "comp1", "0110", " xx "), (1, "comp2", "0000", "    ")))

    assert values(table, "component=comp2") == scores(NAN, NAN, NAN)
    assert values(table, "macro") == scores(1.0, 1.0, 1.0)


def test_false_alarms_about_a_component_without_failures_lower_the_mean_of_precision_and_f1_only() -> None:
    table = measure_rows(long_rows((1, "comp1", "0110", " xx "), (1, "comp2", "0000", "x   ")))

    assert values(table, "component=comp2") == scores(0.0, NAN, 0.0)
    assert values(table, "macro") == scores(1 / 2, 1.0, 1 / 2)


def test_silence_about_a_component_that_fails_does_not_raise_the_mean() -> None:
    table = measure_rows(long_rows((1, "comp1", "0110", " xx "), (1, "comp2", "0110", "    ")))

    assert values(table, "component=comp2") == scores(NAN, 0.0, 0.0)
    assert values(table, "macro") == scores(1 / 2, 1 / 2, 1 / 2)


def test_a_machine_at_a_time_is_right_if_any_component_is_decided_and_any_fails() -> None:
    # The wrong component at the second time, nothing at the third, a false alarm at the fourth.
    table = measure_rows(
        long_rows((1, "comp1", "0110", "    "), (1, "comp2", "0000", " x x"), (2, "comp1", "0000", "    "))
    )

    assert values(table, "any") == scores(1 / 2, 1 / 2, 1 / 2)
    assert sizes(table, "any") == {(8, 2)}


def test_scores_of_drawn_rows_equal_those_of_scikit_learn() -> None:
    rows = draw_rows(np.random.default_rng(4), machines=9, times=40)
    any_component = rows.groupby(["machine_id", "predicted_at"])[["label", "decision"]].max()
    by_name = dict(list(rows.groupby("component"))) | {"any": any_component}

    table = measure_rows(rows)

    for name, part in by_name.items():
        label, decision = part["label"].to_numpy(dtype=int), part["decision"].to_numpy(dtype=int)
        expected = reference.precision_recall_fscore_support(label, decision, average="binary")[:3]
        assert values(table, name if name == "any" else f"component={name}") == scores(*expected), name


# --- capacity


def test_only_the_machine_with_the_highest_probability_of_a_day_is_visited() -> None:
    # Two days of two times. Machine 2 heads the first by its second time and component, machine 1 the second one.
    rows = long_rows(
        (1, "comp1", "0000", "5588"),
        (2, "comp1", "0011", "1111"),
        (2, "comp2", "0100", "1711"),
        (3, "comp1", "0000", "2222"),
    )

    table = measure_rows(rows)

    assert values(table, "capacity") == pytest.approx({"precision": 1 / 2, "caught_share": 1 / 2})
    # Of six machines on a day two have positive rows, and there are two failures.
    assert sizes(table, "capacity") == {(6, 2)}


def test_a_failure_is_caught_on_any_day_of_its_run() -> None:
    rows = long_rows((1, "comp1", "0000", "8811"), (2, "comp1", "0111", "1122"))

    # Machine 1 is visited on the first day, machine 2 on the second.
    assert value(rows, "capacity", "caught_share") == 1.0
    assert value(rows, "capacity", "precision") == 1 / 2


@pytest.mark.parametrize(("failing", "caught"), [(1, 1.0), (2, 1.0), (3, 0.0)])
def test_a_capacity_of_two_leaves_the_third(failing: int, caught: float) -> None:
    rows = long_rows(*((i, "comp1", "11" if i == failing else "00", f"{9 - 2 * i}{9 - 2 * i}") for i in (3, 1, 2)))

    assert value(rows, "capacity", "caught_share", SPEC.model_copy(update={"capacity_per_day": 2})) == caught


@pytest.mark.parametrize(("failing", "precision"), [(1, 1.0), (2, 0.0)])
def test_of_machines_with_the_same_probability_the_one_with_the_lower_id_is_visited(
    failing: int, precision: float
) -> None:
    rows = long_rows(
        (2, "comp1", "11" if failing == 2 else "00", "77"), (1, "comp1", "11" if failing == 1 else "00", "77")
    )

    assert value(rows, "capacity", "precision") == precision


def test_with_more_capacity_than_machines_each_is_visited_every_day() -> None:
    rows = long_rows((1, "comp1", "0011", "1111"), (2, "comp1", "0000", "9999"))
    many = SPEC.model_copy(update={"capacity_per_day": 5})

    assert value(rows, "capacity", "precision", many) == 1 / 4
    assert value(rows, "capacity", "caught_share", many) == 1.0


def test_capacity_is_used_up_whatever_was_decided() -> None:
    assert value(long_rows((1, "comp1", "0011", "1111")), "capacity", "precision") == 1 / 2


# --- cost


def test_missed_failures_and_needless_visits_are_paid() -> None:
    # Machine 1: a failure that is seen (needed visit on day 2), a needless visit on day 1. Machine 2: one missed.
    rows = long_rows((1, "comp1", "0011", "x x "), (2, "comp1", "0110", "    "))

    table = measure_rows(rows)

    assert values(table, "cost") == pytest.approx(
        {
            "n_failures": 2,
            "n_missed_failures": 1,
            "n_visits": 2,
            "n_needless_visits": 1,
            "cost_of_decisions": 1_100.0,
            "cost_of_every_visit": 1_200.0,
            "cost_of_nothing": 2_000.0,
            "cost_of_decisions_per_day": 550.0,
            "cost_of_every_visit_per_day": 600.0,
            "cost_of_nothing_per_day": 1_000.0,
        }
    )
    assert sizes(table, "cost") == {(4, 2)}


def test_a_machine_is_visited_once_a_day_however_much_is_decided() -> None:
    rows = long_rows((1, "comp1", "0000", "xx  "), (1, "comp2", "0000", "x   "))

    assert value(rows, "cost", "n_visits") == 1


def test_a_visit_for_the_wrong_component_is_not_needless_but_the_failure_is_missed() -> None:
    cost = values(measure_rows(long_rows((1, "comp1", "11", "  "), (1, "comp2", "00", "xx"))), "cost")

    assert (cost["n_needless_visits"], cost["n_missed_failures"]) == (0, 1)


def test_a_decision_after_the_failure_on_the_same_day_does_not_see_it() -> None:
    cost = values(measure_rows(long_rows((1, "comp1", "10", " x"))), "cost")

    assert (cost["n_needless_visits"], cost["n_missed_failures"]) == (0, 1)


def test_a_day_ends_at_midnight_utc_whatever_the_offset_of_the_times() -> None:
    rows = long_rows((1, "comp1", "00", "xx"), start=MONDAY + pd.Timedelta(hours=12))
    assert value(rows, "cost", "n_visits") == 2

    rows["predicted_at"] = rows["predicted_at"].dt.tz_convert("America/New_York")
    assert value(rows, "cost", "n_visits") == 2


# --- failures and how early they are seen


@pytest.mark.parametrize(
    ("series", "failures"),
    [
        ([(1, "comp1", "0110", "    ")], 1),
        ([(1, "comp1", "0101", "    ")], 2),
        ([(1, "comp1", "1100", "    ")], 1),
        ([(1, "comp1", "0011", "    ")], 1),
        ([(1, "comp1", "1111", "    ")], 1),
        ([(1, "comp1", "1001", "    ")], 2),
        ([(1, "comp1", "11.1", "    ")], 2),
        ([(1, "comp1", "0110", "    "), (1, "comp2", "0110", "    ")], 2),
        ([(1, "comp1", "1100", "    "), (2, "comp1", "0011", "    ")], 2),
        ([(1, "comp1", "1100", "    "), (1, "comp2", "0011", "    ")], 2),
        ([(1, "comp1", "0000", "    ")], 0),
    ],
    ids=[
        "a run", "two runs", "cut by the start", "cut by the end", "cut by both", "cut by either", "a row is missing",
        "two components at once", "one machine's ends a step before the next one's begins", "one component's does",
        "none",
    ],
)  # fmt: skip
def test_a_failure_is_a_run_of_positive_rows_of_one_machine_and_component(
    series: Iterable[Series], failures: int
) -> None:
    table = measure_rows(long_rows(*series))

    assert values(table, "cost")["n_failures"] == failures
    assert {positives for _, positives in sizes(table, "hours_ahead")} == {failures}


def test_hours_ahead_run_from_the_first_decided_row_to_the_last_row_of_the_run() -> None:
    # 36 hours, 12 hours, none: the last row is at most one step before the failure, and promises nothing.
    rows = long_rows((1, "comp1", "01111", " x x "), (2, "comp1", "01111", "   x "), (3, "comp1", "01111", "    x"))

    table = measure_rows(rows)

    assert values(table, "hours_ahead") == {"median_at_least": 12.0, "quantile_10_at_least": 0.0, "seen_share": 1.0}
    assert sizes(table, "hours_ahead") == {(15, 3)}


def test_hours_ahead_never_exceed_the_true_ones_and_fall_short_by_at_most_a_step() -> None:
    rng = np.random.default_rng(8)
    for _ in range(50):
        failed_at = MONDAY + pd.Timedelta(hours=float(rng.uniform(24, 72)))
        times = pd.date_range(MONDAY, periods=8, freq="12h")
        label = ((times < failed_at) & (times >= failed_at - pd.Timedelta(hours=24))).astype(int)
        # A decided row per run, and a range that may end before the failure does.
        decided = rng.choice(np.flatnonzero(label))
        last = rng.integers(decided, 8)
        rows = long_rows(
            (1, "comp1", "".join(map(str, label)), "".join("x" if i == decided else " " for i in range(8)))
        )

        all_rows, first_rows = (
            values(measure_rows(part), "hours_ahead")["median_at_least"] for part in (rows, rows[: last + 1])
        )

        true_hours = (failed_at - times[decided]).total_seconds() / 3_600
        assert true_hours - STEP <= all_rows < true_hours
        assert 0 <= first_rows <= all_rows


def test_nine_tenths_and_half_of_the_seen_failures_were_seen_as_early_as_said() -> None:
    ahead = [0, 1, 2, 2, 2, 2, 3, 3, 4, 4, 5, 5]
    rows = long_rows(
        *((i, "comp1", "111111", "".join("x" if k == 5 - n else " " for k in range(6))) for i, n in enumerate(ahead))
    )

    metrics = values(measure_rows(rows), "hours_ahead")

    assert metrics == {"median_at_least": 24.0, "quantile_10_at_least": 12.0, "seen_share": 1.0}
    assert np.mean([n * STEP >= metrics["quantile_10_at_least"] for n in ahead]) >= 0.9
    assert np.mean([n * STEP >= metrics["median_at_least"] for n in ahead]) >= 0.5


def test_failures_that_were_not_seen_count_in_the_share_but_have_no_hours() -> None:
    rows = long_rows((1, "comp1", "0110", " x  "), (2, "comp1", "0110", "x  x"), (2, "comp2", "0110", " xx "))

    assert values(measure_rows(rows), "hours_ahead") == {
        "median_at_least": 12.0,
        "quantile_10_at_least": 12.0,
        "seen_share": pytest.approx(2 / 3),
    }


def test_nothing_decided_is_seen_at_no_hours() -> None:
    ahead = values(measure_rows(long_rows((1, "comp1", "0110", "    "))), "hours_ahead")

    assert ahead == pytest.approx({"median_at_least": NAN, "quantile_10_at_least": NAN, "seen_share": 0.0}, nan_ok=True)


# --- rows as they may come


@pytest.mark.filterwarnings("error")
def test_no_rows_have_no_ratios_and_cost_nothing() -> None:
    none = long_rows()

    for rows in (none, none.astype({"predicted_at": "datetime64[us, UTC]", "label": "Int64", "machine_id": "int64"})):
        table = measure_rows(rows)
        assert set(table["segment"]) == {"macro", "any", "capacity", "cost", "hours_ahead"}
        assert (table[["n_rows", "n_positives"]] == 0).all(axis=None)
        undefined = table["metric"].str.endswith("_per_day") | (table["segment"] != "cost")
        assert table.loc[undefined, "value"].isna().all()
        assert (table.loc[~undefined, "value"] == 0.0).all()
        over_time = drawn_over_time(rows, [], [])
        assert (tuple(over_time.columns), len(over_time)) == (OVER_TIME, 0)


def test_the_order_of_rows_and_how_their_times_are_written_change_nothing() -> None:
    rows = draw_rows(np.random.default_rng(6), machines=7, times=30)
    expected, over_time = measure_rows(rows), drawn_over_time(rows, rows["decision"], rows["probability"])
    times = rows["predicted_at"]

    naive, elsewhere = times.dt.tz_localize(None), times.dt.tz_convert("Asia/Tokyo")

    for written in (times, naive, elsewhere, times.astype("datetime64[us, UTC]"), times.astype(object)):
        mixed = rows.assign(predicted_at=written).sample(frac=1, random_state=3)
        before = mixed.copy()

        pd.testing.assert_frame_equal(measure_rows(mixed), expected)
        pd.testing.assert_frame_equal(drawn_over_time(mixed, mixed["decision"], mixed["probability"]), over_time)
        pd.testing.assert_frame_equal(mixed, before)


def test_machines_may_be_named_by_text_and_labels_be_nullable() -> None:
    rows = draw_rows(np.random.default_rng(6), machines=7, times=30)
    named = rows.assign(machine_id=rows["machine_id"].map("press-{:03d}".format), label=rows["label"].astype("Int64"))

    pd.testing.assert_frame_equal(measure_rows(named), measure_rows(rows))


@pytest.mark.parametrize(
    ("column", "bad", "complaint"),
    [
        ("probability", [0.2, NAN], "1 of 2 probabilities are missing or outside"),
        ("probability", [1.1, -0.1], "2 of 2 probabilities are missing or outside"),
        ("decision", [0.4, 1], "1 of 2 values of decision are neither 0 nor 1"),
        ("label", [2, 0], "1 of 2 values of label are neither 0 nor 1"),
        ("label", [None, 0], "1 of 2 values of label are neither 0 nor 1"),
        ("machine_id", [None, 1], "1 of 2 rows have no machine_id"),
        ("component", ["comp1", None], "1 of 2 rows have no component"),
        ("predicted_at", [MONDAY, pd.NaT], "1 of 2 rows have no predicted_at"),
        ("predicted_at", [MONDAY, MONDAY], "1 of 2 rows repeat the machine, time and component"),
    ],
)
def test_rows_that_cannot_be_measured_are_refused_with_a_sentence(
    column: str, bad: Sequence[object], complaint: str
) -> None:
    rows = long_rows((1, "comp1", "01", " x")).assign(**{column: bad})

    with pytest.raises(ValueError, match=complaint):
        measure_rows(rows)
    with pytest.raises(ValueError, match=complaint):
        drawn_over_time(rows, rows["decision"], rows["probability"])


def test_a_decision_or_probability_per_row_is_needed() -> None:
    rows = long_rows((1, "comp1", "01", " x"))

    with pytest.raises(ValueError, match=r"one decision per row: 2 rows, but shape \(1,\)"):
        measure(rows, [1], [0.1, 0.2], SPEC, STEP)
    with pytest.raises(ValueError, match=r"one probability per row: 2 rows, but shape \(2, 1\)"):
        measure(rows, [1, 0], [[0.1], [0.2]], SPEC, STEP)


@pytest.mark.parametrize(("step", "complaint"), [(24, "1 of 3 rows aren't a whole number of 24"), (0, "0 hours")])
def test_times_off_the_grid_are_refused(step: int, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        measure_rows(long_rows((1, "comp1", "011", "   ")), step=step)


@pytest.mark.parametrize(
    ("name", "bad"),
    [("capacity_per_day", 0), ("capacity_per_day", True), ("missed_failure_cost", -1), ("visit_cost", float("inf"))],
)
def test_a_capacity_of_nothing_and_negative_costs_are_refused(name: str, bad: object) -> None:
    with pytest.raises(ValidationError, match=name):
        MeasuresSpec(**(SPEC.model_dump() | {name: bad}))


# --- over time


def test_days_are_drawn_by_machines_at_a_time() -> None:
    rows = long_rows(
        (1, "comp1", "010000", " x    "), (1, "comp2", "010001", "x     "), (2, "comp1", "000..0", "      ")
    )

    table = drawn_over_time(rows, rows["decision"], rows["probability"])

    assert tuple(table.columns) == OVER_TIME
    assert table["day"].tolist() == [date(2026, 3, 2), date(2026, 3, 3), date(2026, 3, 4)]
    assert table[["n_rows", "n_positives"]].to_numpy().tolist() == [[4, 1], [3, 0], [3, 1]]
    expected = [[1 / 2, 1.0, 2 / 3], [NAN, NAN, NAN], [NAN, 0.0, 0.0]]
    np.testing.assert_allclose(table[["precision", "recall", "f1"]].to_numpy(), expected)


def test_a_day_without_rows_is_not_drawn() -> None:
    rows = long_rows((1, "comp1", "0....1", "      "))

    assert drawn_over_time(rows, rows["decision"], rows["probability"])["day"].tolist() == [
        date(2026, 3, 2),
        date(2026, 3, 4),
    ]


# --- at size, and real machines


def draw_rows(rng: np.random.Generator, machines: int, times: int) -> pd.DataFrame:
    """Rows of four components with positive rows in pairs, decided by a noisy look at them."""
    shape = (machines, 4, times)
    label = (rng.random(shape) < 0.05).astype(int)
    label[..., 1:] |= label[..., :-1]
    probability = np.clip(0.6 * label + rng.normal(0.2, 0.2, shape), 0, 1).ravel()
    machine, component, moment = (index.ravel() for index in np.indices(shape))
    return pd.DataFrame(
        {
            "machine_id": machine + 1,
            "predicted_at": pd.date_range(MONDAY, periods=times, freq=f"{STEP}h")[moment],
            "component": np.array(["comp1", "comp2", "comp3", "comp4"], dtype=object)[component],
            "label": label.ravel(),
            "decision": probability >= 0.5,
            "probability": probability,
        }
    )


def test_a_million_rows_are_measured_within_seconds() -> None:
    rows = draw_rows(np.random.default_rng(1), machines=1_000, times=250)

    began = time.process_time()
    table = measure_rows(rows)
    over_time = drawn_over_time(rows, rows["decision"], rows["probability"])

    assert time.process_time() - began < 10
    assert values(table, "cost")["n_failures"] > 10_000
    assert over_time["n_rows"].sum() == 250_000


def test_real_failures_are_counted_one_by_one_and_seen_a_day_ahead_by_who_knows_them() -> None:
    if not REAL.is_dir():
        pytest.skip(f"the real failures aren't at {REAL}: only beside the project's own checkout")
    failures = pd.read_csv(REAL / "PdM_failures.csv", parse_dates=["datetime"])
    times = pd.date_range("2015-01-01 12:00", "2015-03-31", freq="12h")
    grid = pd.MultiIndex.from_product(
        [range(1, 21), ["comp1", "comp2", "comp3", "comp4"], times], names=["machine_id", "component", "predicted_at"]
    )
    rows = grid.to_frame(index=False).merge(
        failures, how="left", left_on=["machine_id", "component"], right_on=["machineID", "failure"]
    )
    ahead = rows["datetime"] - rows["predicted_at"]
    rows["label"] = ((ahead > pd.Timedelta(0)) & (ahead <= pd.Timedelta(hours=24))).astype(int)
    rows = rows.groupby(grid.names, as_index=False)["label"].max()

    table = measure_rows(rows.assign(decision=rows["label"], probability=rows["label"].astype(float)))

    inside = failures[(failures["datetime"] > times[0])]
    assert values(table, "cost")["n_failures"] == len(inside)
    assert values(table, "any") == scores(1.0, 1.0, 1.0)
    assert values(table, "cost")["cost_of_decisions"] == 0.0
    # At 06:00 a component fails: 18 and 6 hours before, of which the rows promise 12.
    assert values(table, "hours_ahead") == {"median_at_least": 12.0, "quantile_10_at_least": 12.0, "seen_share": 1.0}
