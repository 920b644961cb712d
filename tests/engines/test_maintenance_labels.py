"""Labels of machines: which component fails in (t, t + h], and none where the horizon isn't over."""

from __future__ import annotations

import random
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest

from engines.maintenance import at, hours, spec, tables
from lakehouse_ml.errors import ContractError, TableError
from lakehouse_ml.use_cases.predictive_maintenance.contracts import label_machines
from lakehouse_ml.use_cases.predictive_maintenance.features import build_features
from lakehouse_ml.use_cases.predictive_maintenance.labels import build_labels
from lakehouse_ml.use_cases.predictive_maintenance.spec import MaintenanceSpec

QUIET = spec(telemetry=False)
# From hour 0 to hour 96 something is known.
ERRORS = [(at(0), 1, "error1"), (at(96), 1, "error1")]


def labels(history: Mapping[str, Any], conf: MaintenanceSpec = QUIET) -> dict[tuple[int, float, str], int]:
    rows = build_labels(**history, spec=conf).collect()
    by_key = {(row.machine_id, hours(row.predicted_at), row.component): row.label for row in rows}
    assert len(by_key) == len(rows)
    return by_key


def positive(labels: Mapping[tuple[int, float, str], int]) -> list[tuple[int, float, str]]:
    return sorted(key for key, label in labels.items() if label == 1)


def test_labels_have_the_columns_of_their_contract_and_a_row_per_component(spark: Any) -> None:
    history = tables(spark, errors=ERRORS, failures=[(at(30), 1, "comp1")])
    label_machines.validate(build_labels(**history, spec=QUIET))
    assert sorted(labels(history)) == [(1, hour, comp) for hour in range(0, 84, 12) for comp in ("comp1", "comp2")]


def test_a_failure_counts_from_its_horizon_before_it_until_just_before_it(spark: Any) -> None:
    # (t, t + 24 h]: at 24 the failure of hour 48 is exactly a horizon ahead, in; at 48 it has happened, out.
    assert positive(labels(tables(spark, errors=ERRORS, failures=[(at(48), 1, "comp1")]))) == [
        (1, 24, "comp1"),
        (1, 36, "comp1"),
    ]


def test_a_failure_a_microsecond_beyond_the_horizon_does_not_count(spark: Any) -> None:
    late = at(48) + timedelta(microseconds=1)
    assert positive(labels(tables(spark, errors=ERRORS, failures=[(late, 1, "comp1")]))) == [
        (1, 36, "comp1"),
        (1, 48, "comp1"),
    ]


def test_two_components_that_fail_at_once_are_both_kept(spark: Any) -> None:
    failures = [(at(40), 1, "comp1"), (at(40), 1, "comp2")]
    assert positive(labels(tables(spark, errors=ERRORS, failures=failures))) == [
        (1, hour, component) for hour in (24, 36) for component in ("comp1", "comp2")
    ]


def test_two_failures_of_a_component_within_a_horizon_are_one_label(spark: Any) -> None:
    failures = [(at(40), 1, "comp1"), (at(44), 1, "comp1"), (at(44), 1, "comp1")]
    assert positive(labels(tables(spark, errors=ERRORS, failures=failures))) == [(1, 24, "comp1"), (1, 36, "comp1")]


def test_a_row_whose_horizon_is_not_over_has_no_label_even_if_a_failure_is_known_by_then(spark: Any) -> None:
    history = tables(spark, errors=ERRORS, failures=[(at(90), 1, "comp1")])
    assert {hour for _, hour, _ in labels(history)} == {0, 12, 24, 36, 48, 60, 72}
    assert {hour for _, hour, _ in labels(history, spec(telemetry=False, horizon_hours=84))} == {0, 12}
    assert labels(history, spec(telemetry=False, horizon_hours=97)) == {}


def test_conf_says_until_when_failures_are_known_where_they_are_reported_late(spark: Any) -> None:
    history = tables(spark, errors=ERRORS, failures=[(at(10), 1, "comp1")])
    for until, last in ((59, 24), (60, 36), (200, 168)):
        by_key = labels(history, spec(telemetry=False, known_until=at(until)))
        assert max(hour for _, hour, _ in by_key) == last


def test_a_failure_is_knowledge_too(spark: Any) -> None:
    assert max(hour for _, hour, _ in labels(tables(spark, errors=ERRORS, failures=[(at(120), 1, "comp1")]))) == 96


def test_labels_and_features_have_the_same_times_as_far_as_there_are_labels(spark: Any) -> None:
    for conf in (QUIET, spec(telemetry=False, step_hours=8, phase_hours=3, starts_at=at(20), ends_at=at(60))):
        history = tables(spark, errors=ERRORS, failures=[(at(48), 1, "comp1")], maintenance=[(at(-500), 1, "comp1")])
        features = build_features(**{name: table for name, table in history.items() if name != "failures"}, spec=conf)
        times = {hours(row.predicted_at) for row in features.collect()}
        labelled = {hour for _, hour, _ in labels(history, conf)}
        assert labelled == {hour for hour in times if hour <= 72}
        assert labelled


@pytest.mark.parametrize("horizon", [24, 84, 7])
def test_labels_are_those_of_a_second_way(spark: Any, horizon: int) -> None:
    draw = random.Random(horizon)
    failures = [
        (
            at(draw.choice([draw.uniform(0, 300), draw.randrange(0, 300, 12)])),
            draw.choice([1, 2]),
            draw.choice(["comp1", "comp2"]),
        )
        for _ in range(30)
    ]
    machines = [(1, "model1", 7), (2, "model1", 7)]
    by_key = labels(
        tables(spark, failures=failures, machines=machines, errors=[(at(0), 1, "error1"), (at(300), 1, "error1")]),
        spec(telemetry=False, horizon_hours=horizon),
    )
    assert by_key == {
        (machine, hour, component): int(
            any((m, c) == (machine, component) and at(hour) < moment <= at(hour + horizon) for moment, m, c in failures)
        )
        for machine in (1, 2)
        for hour in range(0, 300 - horizon + 1, 12)
        for component in ("comp1", "comp2")
    }
    assert 0 < sum(by_key.values()) < len(by_key)


def test_a_machine_that_never_fails_is_labelled_and_an_unknown_machine_is_not(spark: Any) -> None:
    history = tables(spark, errors=ERRORS, failures=[(at(40), 9, "comp1")])
    by_key = labels(history)
    assert {machine for machine, _, _ in by_key} == {1}
    assert not any(by_key.values())


def test_a_failed_component_that_conf_does_not_name_is_refused_not_lost(spark: Any) -> None:
    with pytest.raises(ContractError, match=r"failures holds 'comp7', 'comp9'.*components are comp1, comp2"):
        labels(tables(spark, errors=ERRORS, failures=[(at(40), 1, "comp9"), (at(41), 1, "comp7")]))


def test_without_failures_and_without_events(spark: Any) -> None:
    assert sum(labels(tables(spark, errors=ERRORS)).values()) == 0
    assert labels(tables(spark)) == {}
    with pytest.raises(TableError, match="telemetry: false"):
        labels(tables(spark, errors=ERRORS), spec())
