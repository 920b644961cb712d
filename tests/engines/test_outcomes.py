"""One set of labels: from the snapshots' own column and from outcomes that came later, and who is there on a day."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lakehouse_ml.modelling.population import PopulationSpec, find_newest_day, find_population, list_days, select_states
from lakehouse_ml.pipelines.feature_engineering.nodes import COUNT_COLUMNS, gather_outcomes
from lakehouse_ml.use_cases.churn import CHURN
from lakehouse_ml.use_cases.churn.contracts import clean_customers, clean_outcomes, label_customers
from lakehouse_ml.use_cases.churn.labels import build_labels
from lakehouse_ml.use_cases.columns import DUPLICATE

JAN, FEB, MARCH = date(2024, 1, 31), date(2024, 2, 29), date(2024, 3, 31)
FULL, CHANGES = (PopulationSpec(snapshots=kind, horizon_days=30) for kind in ("full", "changes"))
AUDIT = ("1", 2, datetime(2024, 5, 1, tzinfo=UTC))
Said = tuple[str, date, str | None]


def snapshots(spark: Any, rows: Sequence[Said]) -> Any:
    """Clean customers; only id, day and outcome matter."""
    names = [column.name for column in clean_customers.columns]
    values = {"source_file": "c.csv", "file_sha256": "1", "line_number": 2, "ingested_at": AUDIT[2]}
    cells = [
        tuple({**values, "customer_id": c, "snapshot_on": day, "churn": churn}.get(name) for name in names)
        for c, day, churn in rows
    ]
    return spark.createDataFrame(cells, clean_customers.ddl)


def outcomes(spark: Any, rows: Sequence[Said], reasons: Sequence[str] | None = None) -> Any:
    cells = [(c, churn, day, "outcomes/o.csv", *AUDIT) for c, day, churn in rows]
    if reasons is None:
        return spark.createDataFrame(cells, clean_outcomes.ddl)
    return spark.createDataFrame(
        [(*row, list(reasons)) for row in cells], f"{clean_outcomes.ddl}, quarantine_reasons array<string>"
    )


def gathered(
    spark: Any,
    own: Sequence[Said],
    later: Sequence[Said] = (),
    replaced: Sequence[Said] = (),
    spec: PopulationSpec = FULL,
    reasons: Sequence[str] = (DUPLICATE,),
) -> tuple[dict[tuple[str, date], tuple[int, date]], pd.DataFrame]:
    """Labels by customer and day, and the counts by day."""
    customers = snapshots(spark, own)
    labels, counts = gather_outcomes(
        customers,
        spec,
        outcomes(spark, later),
        outcomes(spark, replaced, reasons),
        key=CHURN.key,
        label_dimension=None,
        labels=build_labels,
        outcome_labels=build_labels,
        customers=customers,
    )
    label_customers.validate(labels)
    rows = labels.collect()
    assert list(counts.columns) == list(COUNT_COLUMNS)
    return {(r.customer_id, r.snapshot_on): (r.label, r.known_at) for r in rows}, counts.set_index("day")


def test_both_sources_are_labels_each_with_the_day_from_which_it_was_known(spark: Any) -> None:
    labels, counts = gathered(
        spark, [("A", JAN, "Yes"), ("B", JAN, "No"), ("C", JAN, None), ("D", JAN, None)], [("C", JAN, "Yes")]
    )
    assert labels == {
        ("A", JAN): (1, JAN),
        ("B", JAN): (0, JAN),
        ("C", JAN): (1, JAN + timedelta(days=30)),
    }
    assert counts.loc["2024-01-31"].to_dict() == {
        "n_snapshot": 2,
        "n_outcomes": 1,
        "n_labels": 3,
        "n_positives": 2,
        "n_contradicted": 0,
        "n_unknown": 0,
        "n_returned": 0,
    }


def test_an_outcome_that_came_later_counts_and_the_contradiction_is_counted(spark: Any) -> None:
    labels, counts = gathered(spark, [("A", JAN, "No"), ("B", JAN, "No")], [("A", JAN, "Yes"), ("B", JAN, "No")])
    assert labels == {("A", JAN): (1, date(2024, 3, 1)), ("B", JAN): (0, date(2024, 3, 1))}
    assert counts.loc["2024-01-31", ["n_labels", "n_contradicted"]].tolist() == [2, 1]


def test_files_that_say_different_things_are_a_contradiction_and_a_repetition_is_none(spark: Any) -> None:
    own = [("A", JAN, None), ("B", JAN, None)]
    later = [("A", JAN, "No"), ("B", JAN, "Yes")]
    _, counts = gathered(spark, own, later, [("A", JAN, "Yes"), ("A", JAN, "No"), ("B", JAN, "Yes")])
    assert counts["n_contradicted"].tolist() == [1]
    # What was refused for another reason says nothing.
    _, counts = gathered(spark, own, later, [("A", JAN, "Yes")], reasons=("churn_is_yes_or_no",))
    assert counts["n_contradicted"].tolist() == [0]


def test_an_outcome_of_an_unknown_customer_is_counted_and_not_used(spark: Any) -> None:
    own = [("A", JAN, None), ("A", MARCH, None)]
    later = [("A", FEB, "Yes"), ("X", JAN, "Yes"), ("A", JAN, "No")]
    labels, counts = gathered(spark, own, later)
    assert set(labels) == {("A", JAN)}
    assert counts["n_unknown"].to_dict() == {"2024-01-31": 1, "2024-02-29": 1}
    # After snapshots of changes, A had a state in February: that of January.
    labels, counts = gathered(spark, own, later, spec=CHANGES)
    assert set(labels) == {("A", JAN), ("A", FEB)}
    assert counts["n_unknown"].to_dict() == {"2024-01-31": 1, "2024-02-29": 0}


def test_a_customer_who_left_and_returned_is_counted(spark: Any) -> None:
    own = [("A", JAN, "Yes"), ("A", FEB, "No"), ("B", JAN, "Yes"), ("C", JAN, "No"), ("C", FEB, "No")]
    _, counts = gathered(spark, own)
    assert counts["n_returned"].to_dict() == {"2024-01-31": 1, "2024-02-29": 0}


def test_without_any_outcome_there_are_tables_with_their_columns(spark: Any) -> None:
    labels, counts = gathered(spark, [("A", JAN, None)])
    assert labels == {}
    assert counts.empty
    assert set(counts.dtypes.astype(str)) == {"int64"}


def test_a_use_case_whose_outcomes_never_come_later_gathers_its_own(spark: Any) -> None:
    customers = snapshots(spark, [("A", JAN, "Yes")])
    labels, counts = gather_outcomes(
        customers,
        FULL,
        key=CHURN.key,
        label_dimension=None,
        labels=build_labels,
        outcome_labels=None,
        customers=customers,
    )
    assert [tuple(row) for row in labels.collect()] == [("A", JAN, 1, JAN)]
    assert counts["n_labels"].tolist() == [1]


def test_the_entity_of_a_row_with_several_targets_is_counted_once(spark: Any) -> None:
    def classes(customers: Any) -> Any:
        return customers.selectExpr(
            "customer_id", "snapshot_on", "explode(array('red', 'blue')) AS colour", "int(churn = 'Yes') AS label"
        ).where("label is not null")

    customers = snapshots(spark, [("A", JAN, "Yes"), ("B", JAN, "No"), ("C", JAN, None)])
    labels, counts = gather_outcomes(
        customers,
        FULL,
        outcomes(spark, [("A", JAN, "No")]),
        outcomes(spark, [], (DUPLICATE,)),
        key=CHURN.key,
        label_dimension="colour",
        labels=classes,
        outcome_labels=classes,
        customers=customers,
    )
    assert labels.count() == 4
    assert counts[["n_snapshot", "n_outcomes", "n_labels", "n_contradicted"]].to_numpy().tolist() == [[2, 1, 2, 1]]


def test_the_state_of_a_day_is_its_own_or_after_changes_the_newest_by_then(spark: Any) -> None:
    states = spark.createDataFrame(
        [("A", JAN, 1), ("A", MARCH, 3), ("B", FEB, 2)], "customer_id string, snapshot_on date, n int"
    )
    keys = spark.createDataFrame(
        [(c, day) for c in "AB" for day in (JAN, FEB, MARCH)] * 2, "customer_id string, snapshot_on date"
    )

    def labels_by(spec: PopulationSpec) -> list[tuple[Any, ...]]:
        return sorted(tuple(row) for row in select_states(states, keys, spec, CHURN.key).collect())

    assert labels_by(FULL) == [("A", JAN, 1), ("A", MARCH, 3), ("B", FEB, 2)]
    assert labels_by(CHANGES) == [("A", JAN, 1), ("A", FEB, 1), ("A", MARCH, 3), ("B", FEB, 2), ("B", MARCH, 2)]


def test_the_days_of_states_are_listed_and_an_empty_table_has_no_newest_day(spark: Any) -> None:
    states = spark.createDataFrame([("A", MARCH), ("B", JAN), ("A", JAN)], "customer_id string, snapshot_on date")
    assert (list_days(states, "snapshot_on"), find_newest_day(states, "snapshot_on")) == ([JAN, MARCH], MARCH)
    assert (list_days(states.limit(0), "snapshot_on"), find_newest_day(states.limit(0), "snapshot_on")) == ([], None)


DAYS = (JAN, FEB, MARCH)
histories = st.fixed_dictionaries(
    {
        "states": st.sets(st.tuples(st.sampled_from("ABCDEF"), st.sampled_from(DAYS)), min_size=1),
        "own": st.dictionaries(st.tuples(st.sampled_from("ABCDEF"), st.sampled_from(DAYS)), st.booleans()),
        "later": st.dictionaries(st.tuples(st.sampled_from("ABCDEF"), st.sampled_from(DAYS)), st.booleans()),
        "day": st.sampled_from(DAYS),
    }
)


def find_present(history: dict[str, Any], kind: str) -> set[tuple[str, date]]:
    """Who is there on a day, in plain Python: (customer, day of the state)."""
    states, day = history["states"], history["day"]
    present = set()
    for customer in {c for c, _ in states}:
        days = [d for c, d in states if c == customer and (d == day if kind == "full" else d <= day)]
        if not days:
            continue
        state = max(days)
        has_left = False
        for at in (JAN, FEB, MARCH):
            has_state = any(c == customer and (d == at if kind == "full" else d <= at) for c, d in states)
            own, later = history["own"].get((customer, at)), history["later"].get((customer, at))
            own = own if (customer, at) in states else None
            outcome, known_on_the_day = (own, True) if later is None else (later, False)
            is_known = at < day or (at == day and known_on_the_day)
            has_left = has_left or bool(has_state and outcome and is_known and state <= at)
        if not has_left:
            present.add((customer, state))
    return present


@settings(max_examples=12, deadline=None, derandomize=True)
@given(histories)
def test_the_population_equals_that_of_plain_python(spark: Any, history: dict[str, Any]) -> None:
    words = {True: "Yes", False: "No", None: None}
    own = [(c, d, words[history["own"].get((c, d))]) for c, d in sorted(history["states"])]
    later = [(c, d, words[left]) for (c, d), left in history["later"].items()]
    customers = snapshots(spark, own)
    for spec in (FULL, CHANGES):
        labels, _ = gather_outcomes(
            customers,
            spec,
            outcomes(spark, later),
            outcomes(spark, [], (DUPLICATE,)),
            key=CHURN.key,
            label_dimension=None,
            labels=build_labels,
            outcome_labels=build_labels,
            customers=customers,
        )
        present = find_population(customers, labels, history["day"], spec, CHURN.key).collect()
        assert {(row.customer_id, row.snapshot_on) for row in present} == find_present(history, spec.snapshots)
        assert len(present) == len({row.customer_id for row in present})


@pytest.mark.parametrize("wrong", [{"snapshots": "delta"}, {"horizon_days": 0}, {"horizon": 30}])
def test_a_population_that_cannot_be_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="validation error"):
        PopulationSpec.model_validate({"horizon_days": 30} | wrong)
