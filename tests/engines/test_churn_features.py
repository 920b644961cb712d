"""Churn's features and labels: each by hand, each from its own snapshot alone."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from lakehouse_ml.use_cases.churn import CHURN
from lakehouse_ml.use_cases.churn.contracts import clean_customers, feature_customers, raw_outcomes
from lakehouse_ml.use_cases.churn.features import ChurnFeatures, build_features
from lakehouse_ml.use_cases.churn.labels import build_labels

SPEC = ChurnFeatures(short_below=12, medium_below=36)
MARCH, APRIL, MAY = date(2024, 3, 31), date(2024, 4, 30), date(2024, 5, 31)
CUSTOMER = {
    "customer_id": "A", "gender": "Female", "senior_citizen": 0, "partner": "Yes", "dependents": "No",
    "tenure_months": 10, "phone_service": "Yes", "multiple_lines": "No", "internet_service": "DSL",
    "online_security": "Yes", "online_backup": "No", "device_protection": "Yes", "tech_support": "No",
    "streaming_tv": "Yes", "streaming_movies": "No", "contract": "Month-to-month", "paperless_billing": "Yes",
    "payment_method": "Electronic check", "monthly_charges": 60.0, "total_charges": 500.0, "churn": "No",
    "snapshot_on": MARCH, "source_file": "a.csv", "file_sha256": "1", "line_number": 2,
    "ingested_at": datetime(2024, 4, 1, tzinfo=UTC),
}  # fmt: skip


def clean(spark: Any, *changes: dict[str, Any]) -> Any:
    """One customer per mapping of what is special about them."""
    rows = [tuple((CUSTOMER | change)[name] for name in clean_customers.names) for change in changes]
    return spark.createDataFrame(rows, clean_customers.ddl)


def features(spark: Any, *changes: dict[str, Any], spec: ChurnFeatures = SPEC) -> list[dict[str, Any]]:
    rows = build_features(clean(spark, *changes), spec).orderBy("customer_id", "snapshot_on").collect()
    return [row.asDict() for row in rows]


def one(spark: Any, spec: ChurnFeatures = SPEC, **change: Any) -> dict[str, Any]:
    (row,) = features(spark, change, spec=spec)
    return row


def test_features_have_the_columns_of_their_contract_and_keep_their_inputs(spark: Any) -> None:
    frame = build_features(clean(spark, {}), SPEC)
    feature_customers.validate(frame)
    kept = {column.name for column in feature_customers.columns} & set(CUSTOMER)
    (row,) = frame.collect()
    assert {name: row[name] for name in kept} == {name: CUSTOMER[name] for name in kept}
    assert set(CHURN.categorical) <= set(frame.columns)


def test_neither_the_outcome_nor_where_the_row_came_from_is_a_feature() -> None:
    others = {"churn", "source_file", "file_sha256", "line_number", "ingested_at"}
    assert not others & {column.name for column in feature_customers.columns}
    assert not {"label"} & {column.name for column in feature_customers.columns}


def test_tenure_groups_by_their_bounds(spark: Any) -> None:
    months = [0, 11, 12, 35, 36, 72, None]
    rows = features(spark, *({"customer_id": str(n), "tenure_months": month} for n, month in enumerate(months)))
    assert [row["tenure_group"] for row in rows] == ["short", "short", "medium", "medium", "long", "long", None]


def test_the_bounds_of_the_tenure_groups_are_conf(spark: Any) -> None:
    narrow = ChurnFeatures(short_below=2, medium_below=3)
    rows = features(spark, *({"customer_id": str(m), "tenure_months": m} for m in (1, 2, 3)), spec=narrow)
    assert [row["tenure_group"] for row in rows] == ["short", "medium", "long"]


@pytest.mark.parametrize("bounds", [(12, 12), (36, 12), (0, 12)])
def test_bounds_that_do_not_rise_are_refused(bounds: tuple[int, int]) -> None:
    with pytest.raises(ValidationError, match=r"above short_below|greater than or equal to 1"):
        ChurnFeatures(short_below=bounds[0], medium_below=bounds[1])


def test_the_average_charge_is_the_total_by_tenure(spark: Any) -> None:
    assert one(spark, tenure_months=10, total_charges=500.0, monthly_charges=60.0)["avg_monthly_charges"] == 50.0


@pytest.mark.parametrize("total", [None, 0.0])
def test_in_the_first_month_nothing_was_charged_and_the_average_is_the_current_charge(
    spark: Any, total: float | None
) -> None:
    row = one(spark, tenure_months=0, total_charges=total, monthly_charges=60.0)
    features = {name: row[name] for name in ("total_charges", "avg_monthly_charges", "tenure_group")}
    assert features == {"total_charges": 0.0, "avg_monthly_charges": 60.0, "tenure_group": "short"}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"total_charges": None}, (None, None)),
        ({"tenure_months": None}, (500.0, None)),
        ({"monthly_charges": None}, (500.0, 50.0)),
        ({"monthly_charges": None, "tenure_months": 0}, (500.0, None)),
    ],
    ids=["total", "tenure", "charge", "charge in the first month"],
)
def test_what_is_unknown_stays_unknown(spark: Any, change: dict[str, Any], expected: tuple[float | None, ...]) -> None:
    row = one(spark, **change)
    assert (row["total_charges"], row["avg_monthly_charges"]) == expected


snapshots = st.fixed_dictionaries(
    {
        "customer_id": st.sampled_from(["A", "B", "C"]),
        "snapshot_on": st.sampled_from([MARCH, APRIL, MAY]),
        "tenure_months": st.none() | st.integers(0, 72),
        "total_charges": st.none() | st.floats(0, 9000),
        "monthly_charges": st.none() | st.floats(18, 120),
        "contract": st.sampled_from(["Month-to-month", "Two year", None]),
        "churn": st.sampled_from(["Yes", "No", None]),
    }
)


def by_key(snapshot: dict[str, Any]) -> tuple[str, date]:
    return snapshot["customer_id"], snapshot["snapshot_on"]


@settings(max_examples=4, deadline=None, derandomize=True)
@given(st.lists(snapshots, unique_by=by_key, min_size=4, max_size=9))
def test_snapshots_that_come_later_never_change_an_earlier_ones_features_and_labels(
    spark: Any, history: list[dict[str, Any]]
) -> None:
    day = sorted(snapshot["snapshot_on"] for snapshot in history)[len(history) // 2]
    now, later = clean(spark, *(s for s in history if s["snapshot_on"] <= day)), clean(spark, *history)
    for build in (lambda rows: build_features(rows, SPEC), build_labels):
        before, after = build(now), build(later).where(f"snapshot_on <= date'{day}'")
        key = ["customer_id", "snapshot_on"]
        assert before.orderBy(*key).collect() == after.orderBy(*key).collect()


def test_each_customer_and_snapshot_has_one_row(spark: Any) -> None:
    rows = features(spark, *({"customer_id": c, "snapshot_on": day} for c in "BA" for day in (MARCH, APRIL)))
    assert [(row["customer_id"], row["snapshot_on"]) for row in rows] == [
        ("A", MARCH),
        ("A", APRIL),
        ("B", MARCH),
        ("B", APRIL),
    ]


def test_yes_is_one_and_no_is_zero_and_an_unknown_outcome_has_no_label(spark: Any) -> None:
    outcomes = ["Yes", "No", None, "yes?"]
    frame = build_labels(clean(spark, *({"customer_id": str(n), "churn": churn} for n, churn in enumerate(outcomes))))
    assert [tuple(row) for row in frame.orderBy("customer_id").collect()] == [("0", MARCH, 1), ("1", MARCH, 0)]


def test_labels_of_later_outcomes_come_from_the_same_function(spark: Any) -> None:
    audit = (MARCH, "outcomes/o.csv", "1", 2, datetime(2024, 5, 1, tzinfo=UTC))
    outcomes = spark.createDataFrame([("A", "Yes", *audit), ("B", "No", *audit)], raw_outcomes.ddl)
    labels = CHURN.outcome_labels(outcomes)
    assert [tuple(row) for row in labels.orderBy("customer_id").collect()] == [("A", MARCH, 1), ("B", MARCH, 0)]
