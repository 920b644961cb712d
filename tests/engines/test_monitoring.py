"""Monitoring: a batch against what the champion learned from, and scores against what happened."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from math import inf, isnan, nan
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from pyspark.sql import functions as F

from lakehouse_ml.datasets.delta_table import DeltaTable
from lakehouse_ml.modelling.batch import ScoringSpec
from lakehouse_ml.modelling.card import ModelCard
from lakehouse_ml.modelling.drift import (
    ColumnProfile,
    profile_categorical,
    profile_numeric,
    quantile_edges,
)
from lakehouse_ml.modelling.model import Model
from lakehouse_ml.modelling.split import is_held_out
from lakehouse_ml.pipelines.monitoring.nodes import (
    MonitoringSpec,
    join_outcomes,
    measure_drift,
    measure_live,
    profile_batch,
)
from lakehouse_ml.use_cases.churn.contracts import label_customers, score_customers
from lakehouse_ml.use_cases.columns import SCORE
from lakehouse_ml.use_cases.contracts import Column

KEY = ("thing_id", "seen_on")
MARCH, APRIL = date(2024, 3, 31), date(2024, 4, 30)
FEATURES = "thing_id string, seen_on date, colour string, size double"
LABELS = "thing_id string, seen_on date, label int, known_at date"
SCORES = ", ".join(f"{c.name} {c.type}" for c in (Column("thing_id", "string"), Column("seen_on", "date"), *SCORE))
CLOCK = datetime(2024, 5, 1, tzinfo=UTC)
NEWEST = ScoringSpec(reasons=0, actions=1)
SHARE, SALT = 0.5, 0
N = 600


def monitoring(batch: date | None = None, **drift: Any) -> MonitoringSpec:
    return MonitoringSpec.model_validate({"batch": batch, "drift": {"min_rows": 100} | drift, "max_rows": 1000})


# Profiles


@st.composite
def columns(draw: st.DrawFn) -> tuple[list[tuple[float | None, str | None]], list[float], list[str | None]]:
    """Rows of a batch, and the reference rows of the same two columns."""
    numbers = st.sampled_from([-inf, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0, inf]) | st.floats(allow_nan=False, width=32)
    rows = draw(
        st.lists(st.tuples(st.none() | st.just(nan) | numbers, st.sampled_from(["a", "b", " ", None])), max_size=30)
    )
    learned = draw(st.lists(numbers, max_size=20))
    return rows, learned, draw(st.lists(st.sampled_from(["a", "c", None]), max_size=5))


@settings(max_examples=15, deadline=None, derandomize=True)
@given(columns())
def test_the_profile_of_a_batch_is_that_of_the_same_values_in_memory(
    spark: Any, drawn: tuple[list[tuple[float | None, str | None]], list[float], list[str | None]]
) -> None:
    rows, learned, categories = drawn
    edges = quantile_edges(np.array(learned, dtype=float), bins=4)
    reference = {"size": profile_numeric(np.array(learned), edges), "colour": profile_categorical(categories)}
    profiles = profile_batch(spark.createDataFrame(rows, "size double, colour string"), reference)
    in_memory = profile_numeric(np.array([nan if size is None else size for size, _ in rows], dtype=float), edges)
    filled = {name: n for name, n in in_memory.counts.items() if n}
    assert profiles["size"] == ColumnProfile("numeric", filled, in_memory.nulls, in_memory.edges)
    assert profiles["colour"] == profile_categorical([colour for _, colour in rows])


def test_whole_numbers_are_binned_like_any_number(spark: Any) -> None:
    reference = {"n": profile_numeric(np.arange(10.0), (3.0, 6.0))}
    frame = spark.createDataFrame([(n,) for n in (None, 3, 4, 6, 7, 8)], "n int")
    assert profile_batch(frame, reference)["n"] == ColumnProfile("numeric", {"0": 1, "1": 2, "2": 2}, 1, (3.0, 6.0))


# Drift


def things(n: int = N) -> pd.DataFrame:
    """A batch that is like the reference: evenly spread sizes, half of them red."""
    return pd.DataFrame(
        {
            "thing_id": [f"T{number:04d}" for number in range(n)],
            "seen_on": MARCH,
            "colour": ["red", "blue"] * (n // 2),
            "size": np.linspace(0, 1, n),
            "probability": np.random.default_rng(2).permutation(np.linspace(0.05, 0.6, n)),
        }
    )


def seen_by(salt: int, share: float) -> dict[str, Any]:
    return {"kind": "hash", "salt": salt, "holdout_share": share}


def card(**reference: ColumnProfile) -> ModelCard:
    """Of a model whose training rows were like `things`."""
    rows = things()
    profiles = {
        "colour": profile_categorical(rows.colour.tolist()),
        **{
            name: profile_numeric(values.to_numpy(), quantile_edges(values.to_numpy()))
            for name, values in (("size", rows["size"]), ("score", rows.probability))
        },
        **reference,
    }
    stored_profiles = {name: profile.to_dict() for name, profile in profiles.items()}
    return ModelCard(
        "sklearn",
        "logistic_regression",
        {},
        ("colour",),
        ("size",),
        0.3,
        {},
        stored_profiles,
        seen_by(SALT, SHARE),
        {},
        {},
    )


CHAMPION = Model("things", "7", None, card())


def stored(spark: Any, rows: pd.DataFrame, batch: str = "2024-03-31", version: str = "7") -> tuple[Any, Any, Any]:
    """Scores and features of a batch as stored in their tables, and no known outcome."""
    scores = [
        (
            row.thing_id,
            row.seen_on,
            row.probability,
            int(row.probability >= 0.3),
            0.3,
            [],
            "things",
            version,
            batch,
            CLOCK,
        )
        for row in rows.itertuples()
    ]
    features = rows[["thing_id", "seen_on", "colour", "size"]].itertuples(index=False, name=None)
    return (
        spark.createDataFrame(scores, SCORES),
        spark.createDataFrame(list(features), FEATURES),
        spark.createDataFrame([], LABELS),
    )


def drift(
    spark: Any, rows: pd.DataFrame, champion: Model = CHAMPION, **limits: Any
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Rows of the drift table by column, and the verdict."""
    columns, _, about = measure_drift(*stored(spark, rows), champion, monitoring(**limits), NEWEST, KEY, states=True)
    verdict = about.content
    return columns.rows.set_index("column"), verdict


def is_unseen(rows: pd.DataFrame) -> pd.Series:
    return rows.thing_id.map(lambda thing: is_held_out(thing, SALT, SHARE))


def test_a_batch_like_the_training_rows_is_stable(spark: Any) -> None:
    columns, verdict = drift(spark, things())
    assert columns.status.to_dict() == {"colour": "stable", "size": "stable", "score": "stable"}
    assert (columns.psi < 0.01).loc[["colour", "size"]].all()
    assert verdict == {
        "batch": "2024-03-31",
        "model_version": "7",
        "status": "stable",
        "drifted": [],
        "warned": [],
        "score_status": "stable",
        "reason": verdict["reason"],
    }


def shifted(**changed: Any) -> pd.DataFrame:
    return things().assign(**changed)


@pytest.mark.parametrize(
    ("change", "column"),
    [
        ({"size": np.linspace(0.4, 1.4, N)}, "size"),
        ({"size": np.where(np.arange(N) % 2, np.nan, np.linspace(0, 1, N))}, "size"),
        ({"colour": ["red"] * 500 + ["blue"] * 100}, "colour"),
        ({"colour": ["red", "blue", "pink"] * (N // 3)}, "colour"),
        ({"colour": ["red", None] * (N // 2)}, "colour"),
    ],
    ids=["larger", "nulls among numbers", "other shares", "a new category", "nulls among categories"],
)
def test_a_shifted_batch_alarms_by_the_column_that_shifted(spark: Any, change: dict[str, Any], column: str) -> None:
    columns, verdict = drift(spark, shifted(**change))
    assert (verdict["status"], verdict["drifted"], verdict["score_status"]) == ("drift", [column], "stable")
    assert columns.status.drop(column).unique().tolist() == ["stable"]
    assert columns.psi[column] >= 0.2


def test_what_the_drift_table_says_of_a_column(spark: Any) -> None:
    colours = ["red", "blue", "pink", None, None, "green"] * (N // 6)
    columns, verdict = drift(spark, shifted(colour=colours))
    colour = columns.loc["colour"]
    assert [colour.n_reference, colour.n_batch, colour.null_share_reference] == [N, N, 0.0]
    assert (colour.null_share_batch, colour.new_category_share) == pytest.approx((1 / 3, 1 / 3))
    assert json.loads(colour.new_categories) == ["green", "pink"]
    assert set(columns.batch) == {"2024-03-31"}
    assert set(columns.model_version) == {"7"}
    assert f"colour (PSI {colour.psi:.3f})" in verdict["reason"]


def test_scores_are_compared_over_the_hold_out_alone(spark: Any) -> None:
    rows = things()
    unseen = is_unseen(rows)
    shifted_scores = rows.probability + 0.35
    columns, verdict = drift(spark, rows.assign(probability=rows.probability.where(unseen, shifted_scores)))
    assert (verdict["status"], verdict["score_status"]) == ("stable", "stable")
    assert columns.n_batch["score"] == unseen.sum()
    columns, verdict = drift(spark, rows.assign(probability=rows.probability.where(~unseen, shifted_scores)))
    assert (verdict["status"], verdict["drifted"], verdict["score_status"]) == ("drift", [], "drift")
    assert columns.n_batch[["colour", "size"]].tolist() == [N, N]


def test_the_hold_out_is_that_of_the_champions_own_split(spark: Any) -> None:
    other = Model("things", "7", None, ModelCard(**{**vars(card()), "unseen": seen_by(5, 0.3)}))
    columns, _ = drift(spark, things(), other)
    assert columns.n_batch["score"] == sum(is_held_out(thing, 5, 0.3) for thing in things().thing_id)


def test_scores_are_compared_from_the_first_unseen_moment_of_a_champion_split_in_time(spark: Any) -> None:
    (day,) = things().seen_on.unique()
    for first, n in ((day, len(things())), (day + timedelta(days=1), 0)):
        unseen = {"kind": "time", "from": f"{first}T00:00:00+00:00"}
        columns, _ = drift(spark, things(), Model("things", "7", None, replace(card(), unseen=unseen)))
        assert columns.n_batch["score"] == n


def test_scores_of_the_champion_before_say_nothing_against_the_reference_of_this_one(spark: Any) -> None:
    scores, features, labels = stored(spark, things(), version="6")
    columns, verdicts, about = measure_drift(scores, features, labels, CHAMPION, monitoring(), NEWEST, KEY, states=True)
    verdict = about.content
    assert (verdict["status"], verdict["model_version"]) == ("not_assessable", "7")
    assert "was scored by version 6, and version 7 is champion now" in verdict["reason"]
    assert len(columns.rows) == 0
    assert verdicts.rows["status"].tolist() == ["not_assessable"]


def test_a_column_that_changes_with_time_by_itself_is_reported_and_never_alarms(spark: Any) -> None:
    columns, verdict = drift(spark, shifted(size=np.linspace(5, 6, N)), clock_columns=["size"])
    assert columns.status["size"] == "clock"
    assert columns.psi["size"] > 1
    assert (verdict["status"], verdict["drifted"]) == ("stable", [])


def test_too_few_rows_are_not_assessed_and_not_called_stable(spark: Any) -> None:
    columns, verdict = drift(spark, shifted(size=9.0).head(50))
    assert set(columns.status) == {"too_few_rows"}
    assert verdict["status"] == "not_assessable"
    assert isnan(columns.psi["size"])


def test_a_batch_of_training_rows_says_little_and_one_of_other_rows_is_stable(spark: Any) -> None:
    rows = things()
    scores, features, _ = stored(spark, rows)
    labelled = spark.createDataFrame([(thing, MARCH, 0, MARCH) for thing in rows.thing_id.head(580)], LABELS)
    unlabelled = labelled.limit(0)
    few = replace(card(), unseen=seen_by(SALT, 0.2))
    for labels, unseen, expected in (
        (labelled, few.unseen | {"learned_until": str(MARCH)}, "not_assessable"),
        (labelled, few.unseen | {"learned_until": "2024-02-29"}, "stable"),
        (unlabelled, few.unseen | {"learned_until": str(MARCH)}, "stable"),
    ):
        champion = Model("things", "7", None, replace(few, unseen=unseen))
        verdict = measure_drift(scores, features, labels, champion, monitoring(), NEWEST, KEY, states=True)[2].content
        assert verdict["status"] == expected
        if expected == "not_assessable":
            n = sum(not is_held_out(thing, SALT, 0.2) for thing in rows.thing_id.head(580))
            assert f"{n:,} of 600 scored rows were training rows" in verdict["reason"]


def every_three_hours(spark: Any, rows: pd.DataFrame) -> tuple[Any, Any, Any]:
    """A batch in which each thing has eight rows a day that say the same."""
    scores, features, labels = stored(spark, rows)
    hours = F.explode(F.sequence(F.lit(0), F.lit(7)))
    at = F.timestamp_seconds(F.unix_seconds(F.col("seen_on").cast("timestamp")) + F.col("hour") * 10_800)
    often = [frame.withColumn("hour", hours).withColumn("seen_on", at).drop("hour") for frame in (scores, features)]
    return often[0], often[1], labels.withColumn("seen_on", F.col("seen_on").cast("timestamp"))


def test_a_thing_with_several_rows_a_day_counts_once_for_columns_and_for_scores(spark: Any) -> None:
    unseen = {"kind": "time", "from": f"{MARCH}T00:00:00+00:00"}
    champion = Model("things", "7", None, replace(card(), unseen=unseen))
    for n, expected, status in ((60, "too_few_rows", "not_assessable"), (200, "drift", "drift")):
        frames = every_three_hours(spark, things().head(n).assign(size=9.0, probability=0.9))
        columns, _, about = measure_drift(*frames, champion, monitoring(), NEWEST, KEY)
        verdict = about.content
        by_column = columns.rows.set_index("column")
        assert (by_column.status["size"], by_column.status["score"], verdict["status"]) == (expected, expected, status)
        assert by_column.n_batch["score"] == 8 * n
    assert f"1600 batch rows that count as {n} (an entity once a day)" in by_column.reason["size"]


def test_only_the_rows_of_the_newest_or_the_named_batch_are_looked_at(spark: Any) -> None:
    march, april = things(), things().assign(seen_on=APRIL, size=np.linspace(5, 6, N))
    frames = (stored(spark, march), stored(spark, april, batch="2024-04-30"))
    scores, features, labels = (one.union(other) for one, other in zip(*frames, strict=True))
    verdicts = {
        day: measure_drift(scores, features, labels, CHAMPION, monitoring(day), NEWEST, KEY, states=True)[2].content
        for day in (None, MARCH, APRIL)
    }
    assert {day: (verdict["batch"], verdict["status"]) for day, verdict in verdicts.items()} == {
        None: ("2024-04-30", "drift"),
        MARCH: ("2024-03-31", "stable"),
        APRIL: ("2024-04-30", "drift"),
    }


def test_without_a_champion_or_scores_nothing_is_assessed(spark: Any) -> None:
    scores, features, labels = stored(spark, things(2))
    for scored, champion, day in ((scores, None, None), (scores.limit(0), CHAMPION, None), (scores, CHAMPION, APRIL)):
        columns, verdict, about = measure_drift(
            scored, features, labels, champion, monitoring(day), NEWEST, KEY, states=True
        )
        content = about.content
        # What the batch's verdict was before goes.
        batch = (str(day or MARCH),)
        assert (len(columns.rows), columns.values, len(verdict.rows), verdict.values) == (0, batch, 0, batch)
        assert content == {"status": "not_assessable", "reason": "No scores yet."}


def test_a_batch_of_nothing_leaves_tables_that_later_batches_fit_into(spark: Any, tmp_path: Path) -> None:
    tables = [DeltaTable(filepath=str(tmp_path / name), frame="pandas") for name in ("drift", "verdict")]
    scores, features, labels = stored(spark, things())
    for champion in (None, CHAMPION):
        for table, rows in zip(
            tables,
            measure_drift(scores, features, labels, champion, monitoring(), NEWEST, KEY, states=True)[:2],
            strict=True,
        ):
            table.save(rows)
    assert [len(table.load()) for table in tables] == [3, 1]


def test_a_column_that_the_features_no_longer_have_is_missing_and_no_error(spark: Any) -> None:
    scores, features, labels = stored(spark, things())
    columns, _, about = measure_drift(
        scores, features.drop("colour"), labels, CHAMPION, monitoring(), NEWEST, KEY, states=True
    )
    verdict = about.content
    assert dict(zip(columns.rows["column"], columns.rows["status"], strict=True))["colour"] == "missing_column"
    assert verdict["status"] == "not_assessable"


def test_the_verdict_row_and_the_verdict_for_machines_say_the_same(spark: Any) -> None:
    _, verdict, about = measure_drift(
        *stored(spark, shifted(size=9.0)), CHAMPION, monitoring(), NEWEST, KEY, states=True
    )
    content = about.content
    (row,) = verdict.rows.to_dict("records")
    assert row | {name: json.loads(row[name]) for name in ("drifted", "warned")} == content
    assert json.loads(json.dumps(content)) == content


def test_a_batch_that_is_measured_twice_is_there_once_and_the_others_stay(spark: Any, tmp_path: Path) -> None:
    tables = [DeltaTable(filepath=str(tmp_path / name), frame="pandas") for name in ("drift", "verdict")]
    april = things().assign(seen_on=APRIL)
    for rows, batch in ((things(), "2024-03-31"), (april, "2024-04-30"), (april.assign(size=9.0), "2024-04-30")):
        results = measure_drift(*stored(spark, rows, batch), CHAMPION, monitoring(), NEWEST, KEY, states=True)
        for table, result in zip(tables, results, strict=False):
            table.save(result)
    columns, verdicts = (table.load() for table in tables)
    assert columns.groupby("batch").column.apply(sorted).to_dict() == {
        "2024-03-31": ["colour", "score", "size"],
        "2024-04-30": ["colour", "score", "size"],
    }
    assert verdicts.set_index("batch").status.to_dict() == {"2024-03-31": "stable", "2024-04-30": "drift"}


# Outcomes that came later

Scored = tuple[str, date, float, str, str]
CUSTOMERS = ("customer_id", "snapshot_on")


def scored(spark: Any, rows: Sequence[Scored], learned: date | None = None) -> Any:
    """Scores by customer, snapshot, probability, batch and version; decided at 0.55."""
    return spark.createDataFrame(
        [
            (c, day, p, int(p >= 0.55), 0.55, [], "churn", version, batch, CLOCK, learned)
            for c, day, p, batch, version in rows
        ],
        score_customers.ddl,
    )


def label_rows(spark: Any, outcomes: Mapping[tuple[str, date], str], days: int = 30) -> Any:
    """Labels that became known `days` after their day."""
    rows = [(c, day, int(churn == "Yes"), day + timedelta(days=days)) for (c, day), churn in outcomes.items()]
    return spark.createDataFrame(rows, label_customers.ddl)


def joined(
    spark: Any,
    scores: Sequence[Scored],
    outcomes: Mapping[tuple[str, date], str],
    days: int = 30,
    learned: date | None = None,
) -> Any:
    return join_outcomes(
        scored(spark, scores, learned), label_rows(spark, outcomes, days), CUSTOMERS, states=True, later=True
    )


M, A = "2024-03-31", "2024-04-30"


def test_scores_are_joined_with_the_outcomes_that_are_known(spark: Any) -> None:
    scores = [
        ("A", MARCH, 0.9, M, "1"),
        ("A", APRIL, 0.8, A, "2"),
        ("B", MARCH, 0.2, M, "1"),
        ("C", MARCH, 0.4, M, "1"),
    ]
    outcomes = joined(spark, scores, {("A", MARCH): "Yes", ("B", MARCH): "No", ("D", MARCH): "Yes"})
    assert outcomes.columns == [*CUSTOMERS, "batch", "probability", "decision", "threshold", "model_version", "label"]
    assert sorted(tuple(row) for row in outcomes.collect()) == [
        ("A", MARCH, M, 0.9, 1, 0.55, "1", 1),
        ("B", MARCH, M, 0.2, 0, 0.55, "1", 0),
    ]


def test_a_batch_meets_the_outcomes_of_its_own_day_and_of_no_other(spark: Any) -> None:
    # After snapshots of changes, April's batch scores B by the state of March.
    scores = [("B", MARCH, 0.2, M, "1"), ("B", MARCH, 0.3, A, "2")]
    rows = joined(spark, scores, {("B", MARCH): "No", ("B", APRIL): "Yes"}).collect()
    assert sorted((row.batch, row.probability, row.label) for row in rows) == [(M, 0.2, 0), (A, 0.3, 1)]


def test_an_outcome_known_on_the_day_itself_is_no_outcome_of_a_score(spark: Any) -> None:
    scores, outcomes = [("A", MARCH, 0.9, M, "1")], {("A", MARCH): "No"}
    assert [joined(spark, scores, outcomes, days).count() for days in (0, 1)] == [0, 1]


@pytest.mark.parametrize(
    ("learned", "n"), [(None, 1), (date(2024, 2, 29), 1), (MARCH, 0), (APRIL, 0)],
    ids=["unknown", "an earlier day", "that day", "a later day"],
)  # fmt: skip
def test_a_model_that_learned_from_outcomes_of_that_day_is_not_measured_by_them(
    spark: Any, learned: date | None, n: int
) -> None:
    assert joined(spark, [("A", MARCH, 0.9, M, "1")], {("A", MARCH): "No"}, learned=learned).count() == n


def test_live_metrics_of_each_batch_by_hand(spark: Any) -> None:
    march = {"A": (0.9, "Yes"), "B": (0.7, "No"), "C": (0.6, "Yes"), "D": (0.52, "Yes"), "E": (0.1, "No")}
    april = {"F": (0.3, "No"), "G": (0.4, "No")}
    scores = [(c, MARCH, p, "2024-03-31", "1") for c, (p, _) in march.items()]
    scores += [(c, APRIL, p, "2024-04-30", "2") for c, (p, _) in april.items()]
    outcomes = {(c, MARCH): churn for c, (_, churn) in march.items()} | {
        (c, APRIL): churn for c, (_, churn) in april.items()
    }
    first, second = measure_live(joined(spark, scores, outcomes), monitoring()).to_dict("records")
    # Of A, B and C, who were predicted to leave, A and C left, and D as well. A outranks both who stayed, C one of
    # them, D one. By rank, those who left come first, third and fourth.
    assert first == pytest.approx(
        {
            "batch": "2024-03-31",
            "model_version": "1",
            "n_rows": 5,
            "n_positives": 3,
            "n_named": 3,
            "n_hits": 2,
            "accuracy": 3 / 5,
            "precision": 2 / 3,
            "recall": 2 / 3,
            "f1": 2 / 3,
            "roc_auc": 4 / 6,
            "average_precision": (1 / 1 + 2 / 3 + 3 / 4) / 3,
        }
    )
    assert (second["batch"], second["n_rows"], second["n_positives"], second["accuracy"]) == ("2024-04-30", 2, 0, 1.0)
    assert all(isnan(second[name]) for name in MEASURES)


MEASURES = ("precision", "recall", "f1", "roc_auc", "average_precision")


def test_a_day_without_a_case_has_nulls_in_the_stored_table_beside_the_numbers_of_others(
    spark: Any, tmp_path: Path
) -> None:
    scores = [
        ("A", MARCH, 0.9, M, "1"),
        ("B", MARCH, 0.1, M, "1"),
        ("C", APRIL, 0.9, A, "1"),
        ("D", APRIL, 0.1, A, "1"),
    ]
    outcomes = {("A", MARCH): "Yes", ("B", MARCH): "No", ("C", APRIL): "No", ("D", APRIL): "No"}
    table = DeltaTable(filepath=str(tmp_path / "live"), frame="pandas")
    table.save(measure_live(joined(spark, scores, outcomes), monitoring()))
    stored = spark.read.format("delta").load(str(tmp_path / "live")).orderBy("batch").collect()
    assert [[row[name] for name in MEASURES] for row in stored] == [[1.0] * 5, [None] * 5]
    assert [row["accuracy"] for row in stored] == [1.0, 0.5]


def test_two_versions_that_scored_one_batch_are_measured_separately(spark: Any) -> None:
    scores = [("A", MARCH, 0.9, M, "1"), ("B", MARCH, 0.1, M, "2")]
    live = measure_live(joined(spark, scores, {("A", MARCH): "Yes", ("B", MARCH): "Yes"}), monitoring())
    assert live[["batch", "model_version", "n_rows", "recall"]].to_numpy().tolist() == [
        [M, "1", 1, 1.0],
        [M, "2", 1, 0.0],
    ]


def test_without_outcomes_the_table_is_empty_with_its_columns(spark: Any, tmp_path: Path) -> None:
    nothing = measure_live(joined(spark, [("A", MARCH, 0.9, M, "1")], {}), monitoring())
    one = measure_live(joined(spark, [("A", MARCH, 0.9, M, "1")], {("A", MARCH): "Yes"}), monitoring())
    assert len(nothing) == 0
    assert list(nothing.columns) == list(one.columns)
    table = DeltaTable(filepath=str(tmp_path / "live"), frame="pandas")
    for metrics in (nothing, one):
        table.save(metrics)
        pd.testing.assert_frame_equal(table.load(), metrics, check_dtype=False)


@pytest.mark.parametrize("wrong", [{"max_rows": 10}, {"batch": "spring"}, {"dirft": {}}, {"drift": {"psi_warn": 0.3}}])
def test_monitoring_that_cannot_be_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        MonitoringSpec.model_validate({"drift": {}, "max_rows": 1000} | wrong)


def test_beyond_the_memory_limit_all_rows_are_counted_and_an_even_sample_is_measured(spark: Any) -> None:
    scores = [(f"C{n}", MARCH, 0.9, M, "1") for n in range(300)]
    churned = {(f"C{n}", MARCH): "Yes" if n % 3 == 0 else "No" for n in range(300)}
    outcomes = joined(spark, scores, churned)
    few = monitoring().model_copy(update={"max_rows": 120})
    first, again = (measure_live(rows, few) for rows in (outcomes, outcomes.orderBy("customer_id")))
    assert first[["n_rows", "n_positives"]].to_numpy().tolist() == [[300, 100]]
    assert first["precision"].item() == pytest.approx(1 / 3, abs=0.1)
    assert first.equals(again)
