"""Scoring: who is scored, by what state, with which reasons, and who is worth an offer."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from lakehouse_ml.datasets.delta_table import DeltaTable
from lakehouse_ml.errors import LakehouseError, RegistryError
from lakehouse_ml.estimators import sklearn as estimators
from lakehouse_ml.estimators.base import EstimatorSpec, predictors
from lakehouse_ml.models import Model, ModelCard, Standing
from lakehouse_ml.pipelines.batch_scoring.nodes import ScoringSpec, rank_actions, score_rows
from lakehouse_ml.pipelines.evaluation.metrics import Economics
from lakehouse_ml.use_cases.base import Column, Table
from lakehouse_ml.use_cases.columns import ACTION, SCORE

KEY = ("thing_id", "seen_on")
CATEGORICAL, NUMERIC = ("colour",), ("size", "weight")
BASELINE = {"colour": "blue", "size": 0.0, "weight": 10.0}
MARCH, APRIL, MAY = date(2024, 3, 31), date(2024, 4, 30), date(2024, 5, 31)
CLOCK, LATER = datetime(2024, 6, 1, tzinfo=UTC), datetime(2024, 6, 2, tzinfo=UTC)
FEATURES = "thing_id string, seen_on date, colour string, size double, weight double, unused string"
LABELS = "thing_id string, seen_on date, label int"
_KEY = (Column("thing_id", "string"), Column("seen_on", "date"))
SCORES = Table("score_things", "one row per scored thing and batch", (*KEY, "batch"), (*_KEY, *SCORE))
ACTIONS = Table("score_actions", "one row per thing worth an offer", (*KEY, "batch"), (*_KEY, *ACTION))
SPEC = ScoringSpec(reasons=2, actions=10)


@pytest.fixture(scope="module")
def champion() -> Model:
    """Version 7: a logistic regression that decides from 0.3 on."""
    rng = np.random.default_rng(0)
    rows = pd.DataFrame(
        {"colour": rng.choice(["red", "blue"], 200), "size": rng.normal(size=200), "weight": rng.normal(10, 2, 200)}
    )
    risk = 1 / (1 + np.exp(1 - 2 * rows["size"] - (rows.colour == "red") + 0.2 * (rows.weight - 10)))
    fitted = estimators.fit(
        EstimatorSpec(estimator="logistic_regression"), rows, (rng.random(200) < risk).astype(int).to_numpy(),
        categorical=CATEGORICAL, numeric=NUMERIC, seed=0,
    )  # fmt: skip
    card = ModelCard(
        "sklearn", "logistic_regression", {}, CATEGORICAL, NUMERIC, 0.3, BASELINE, {},
        unseen={"kind": "hash", "salt": 0, "holdout_share": 0.2}, importance={}, metrics={},
    )  # fmt: skip
    return Model("things", "7", estimators.with_threshold(fitted, 0.3), card)


STANDING = Standing("7", "7", "approve", "better")
State = tuple[str, date, str | None, float | None, float | None]
Keys = Sequence[tuple[str, date]]


def frames(spark: Any, states: Sequence[State], left: Keys = (), stayed: Keys = ()) -> tuple[Any, Any]:
    """Features of states, and the labels of those keys that left or stayed."""
    features = spark.createDataFrame([(*state, "x") for state in states], FEATURES)
    labels = [(*key, 1) for key in left] + [(*key, 0) for key in stayed]
    return features, spark.createDataFrame(labels, LABELS)


def score(spark: Any, champion: Model, states: Sequence[State], left: Keys = (), **given: Any) -> list[Any]:
    """The rows of the batch, by thing."""
    spec = ScoringSpec.model_validate({"reasons": 2, "actions": 10} | given)
    (batch,) = score_rows(*frames(spark, states, left), STANDING, champion, spec, CLOCK, KEY)
    return batch.rows.orderBy("thing_id").collect()


def plain(thing: str, day: date, size: float = 0.0) -> State:
    return (thing, day, "blue", size, 10.0)


def test_a_champion_that_needs_other_columns_is_refused_with_their_names(spark: Any, champion: Model) -> None:
    features, labels = frames(spark, [plain("a", MARCH)])
    with pytest.raises(RegistryError, match=r"Version 7 of things needs .* no longer have: size, weight\. .*LAKE="):
        list(score_rows(features.drop("size", "weight"), labels, STANDING, champion, SPEC, CLOCK, KEY))


# Who is scored


def test_each_thing_is_scored_once_by_its_newest_state(spark: Any, champion: Model) -> None:
    states = [plain("A", MARCH, 1.0), plain("A", APRIL, 2.0), plain("B", MARCH, 3.0)]
    rows = score(spark, champion, states)
    assert [(row.thing_id, row.seen_on) for row in rows] == [("A", APRIL), ("B", MARCH)]
    chosen = pd.DataFrame({"colour": ["blue"] * 2, "size": [2.0, 3.0], "weight": [10.0] * 2})
    assert [row.probability for row in rows] == pytest.approx(list(estimators.score(champion.model, chosen)), abs=1e-12)


def test_who_has_left_is_not_scored_and_who_stayed_or_is_unknown_is(spark: Any, champion: Model) -> None:
    states = [plain(thing, APRIL) for thing in ("left", "stayed", "unknown")]
    features, labels = frames(spark, states, [("left", APRIL)], [("stayed", APRIL)])
    (batch,) = score_rows(features, labels, STANDING, champion, SPEC, CLOCK, KEY)
    assert sorted(row.thing_id for row in batch.rows.collect()) == ["stayed", "unknown"]


def test_who_left_and_is_seen_again_is_scored(spark: Any, champion: Model) -> None:
    rows = score(spark, champion, [plain("A", MARCH), plain("A", APRIL)], [("A", MARCH)])
    assert [(row.thing_id, row.seen_on) for row in rows] == [("A", APRIL)]


def test_who_left_is_not_scored_by_an_older_state(spark: Any, champion: Model) -> None:
    assert score(spark, champion, [plain("A", MARCH), plain("A", APRIL)], [("A", APRIL)]) == []


def test_a_named_batch_knows_only_what_was_known_on_its_day(spark: Any, champion: Model) -> None:
    states = [plain("A", MARCH), plain("A", APRIL), plain("A", MAY), plain("new", MAY)]
    rows = score(spark, champion, states, [("A", MAY)], batch=APRIL)
    assert [(row.thing_id, row.seen_on, row.batch) for row in rows] == [("A", APRIL, "2024-04-30")]


def test_the_batch_is_the_newest_states_day_unless_it_is_named(spark: Any, champion: Model) -> None:
    states = [plain("A", MARCH), plain("B", APRIL)]
    assert {row.batch for row in score(spark, champion, states)} == {"2024-04-30"}
    assert {row.batch for row in score(spark, champion, states, batch=MAY)} == {"2024-05-31"}


def test_without_any_state_there_is_nothing_to_score_and_a_sentence_says_so(spark: Any, champion: Model) -> None:
    with pytest.raises(LakehouseError, match="no rows to score: the feature table is empty"):
        score(spark, champion, [])


# What a score says


STATES: list[State] = [
    ("a", MAY, "red", 2.0, 9.0), ("b", MAY, "blue", -3.0, 14.0), ("c", MAY, None, 1.0, None),
    ("d", MAY, "never seen", None, 10.0), ("e", MAY, "blue", 0.4, 10.0),
]  # fmt: skip


def given() -> pd.DataFrame:
    rows = pd.DataFrame([state[2:] for state in STATES], columns=["colour", "size", "weight"])
    return predictors(rows, CATEGORICAL, NUMERIC)


def test_probability_decision_and_threshold_are_the_models_own(spark: Any, champion: Model) -> None:
    rows = score(spark, champion, STATES)
    expected = list(estimators.score(champion.model, given()))
    assert [row.probability for row in rows] == pytest.approx(expected, abs=1e-12)
    assert [row.decision for row in rows] == champion.model.predict(given()).tolist()
    assert [row.decision for row in rows] == [int(row.probability >= row.threshold) for row in rows]
    assert {row.threshold for row in rows} == {0.3}
    assert [row.decision for row in rows] != [int(row.probability >= 0.5) for row in rows]


def test_reasons_are_signed_effects_against_a_typical_row_strongest_first(spark: Any, champion: Model) -> None:
    rows = score(spark, champion, STATES, reasons=3)
    for row, told in zip(given().to_dict("records"), rows, strict=True):
        effects = {}
        for name, typical in BASELINE.items():
            pair = predictors(pd.DataFrame([row, row | {name: typical}]), CATEGORICAL, NUMERIC)
            own, other = estimators.score(champion.model, pair)
            effects[name] = own - other
        assert {reason.feature: reason.effect for reason in told.reasons} == pytest.approx(effects, abs=1e-12)
        strengths = [abs(reason.effect) for reason in told.reasons]
        assert strengths == sorted(strengths, reverse=True)
    first = {row.thing_id: (row.reasons[0].feature, row.reasons[0].effect > 0) for row in rows[:2]}
    assert first == {"a": ("size", True), "b": ("size", False)}


def test_a_reason_shows_the_value_as_it_stands_and_nothing_where_there_is_none(spark: Any, champion: Model) -> None:
    rows = score(spark, champion, [("a", MAY, "red", 1.5, 9.0), ("c", MAY, None, None, None)], reasons=3)
    shown = [{reason.feature: reason.value for reason in row.reasons} for row in rows]
    assert shown == [{"colour": "red", "size": "1.5", "weight": "9"}, {"colour": None, "size": None, "weight": None}]


@pytest.mark.parametrize(("asked", "given"), [(1, 1), (2, 2), (20, 3)])
def test_a_row_has_as_many_reasons_as_asked_for_if_there_are_so_many(
    spark: Any, champion: Model, asked: int, given: int
) -> None:
    assert {len(row.reasons) for row in score(spark, champion, STATES, reasons=asked)} == {given}


def test_a_score_says_by_which_model_for_which_batch_and_when(spark: Any, champion: Model) -> None:
    (batch,) = score_rows(*frames(spark, STATES), STANDING, champion, SPEC, CLOCK, KEY)
    SCORES.validate(batch)
    assert (batch.column, batch.values) == ("batch", ("2024-05-31",))
    told = {
        (row.model_name, row.model_version, row.batch, row.scored_at.replace(tzinfo=UTC))
        for row in batch.rows.collect()
    }
    assert told == {("things", "7", "2024-05-31", CLOCK)}


def test_many_rows_in_several_tasks_have_the_scores_that_they_have_together(spark: Any, champion: Model) -> None:
    rng = np.random.default_rng(3)
    rows = pd.DataFrame({"colour": rng.choice(["red", "blue"], 3000), "size": rng.normal(size=3000), "weight": 10.0})
    states = rows.assign(thing_id=[f"{n:04d}" for n in range(3000)], seen_on=MAY, unused="x")
    features = spark.createDataFrame(states[["thing_id", "seen_on", "colour", "size", "weight", "unused"]], FEATURES)
    (batch,) = score_rows(
        features.repartition(4), spark.createDataFrame([], LABELS), STANDING, champion, SPEC, CLOCK, KEY
    )
    scored = batch.rows.select("thing_id", "probability").toPandas().sort_values("thing_id")
    assert scored.thing_id.tolist() == states.thing_id.tolist()
    assert scored.probability.to_numpy() == pytest.approx(estimators.score(champion.model, rows), abs=1e-12)


# Without a champion


def test_without_a_champion_the_reason_is_told_and_what_to_do(spark: Any) -> None:
    refused = Standing(None, "3", "reject", "F1 0.41 lies below the floor 0.50.")
    with pytest.raises(
        RegistryError, match=r"no champion to score with: F1 0\.41 lies below the floor 0\.50\. Look at"
    ):
        list(score_rows(*frames(spark, STATES), refused, None, SPEC, CLOCK, KEY))
    with pytest.raises(RegistryError, match="no candidate was judged yet"):
        list(score_rows(*frames(spark, STATES), Standing(None), None, SPEC, CLOCK, KEY))


def test_while_a_first_model_awaits_approval_nobody_is_scored_but_there_is_a_table_to_read(
    spark: Any, tmp_path: Path
) -> None:
    awaiting = Standing(None, "3", "request", "Awaiting approval.")
    table = DeltaTable(filepath=str(tmp_path / "scores"))
    table.save(*score_rows(*frames(spark, STATES), awaiting, None, SPEC, CLOCK, KEY))
    assert table.load().count() == 0
    SCORES.validate(table.load())
    ranked, listed = rank_actions(table.load(), SPEC, ECONOMICS, KEY)
    assert (ranked.rows.count(), ranked.values, len(listed)) == (0, (), 0)


def test_while_approval_of_another_candidate_is_awaited_the_champion_scores(spark: Any, champion: Model) -> None:
    awaiting = Standing("7", "8", "request", "Awaiting approval.")
    (batch,) = score_rows(*frames(spark, STATES), awaiting, champion, SPEC, CLOCK, KEY)
    assert batch.rows.count() == len(STATES)


# Over time


def test_a_batch_that_is_written_twice_is_there_once_and_the_others_stay(
    spark: Any, champion: Model, tmp_path: Path
) -> None:
    table = DeltaTable(filepath=str(tmp_path / "scores"))
    march, april = [plain("A", MARCH), plain("B", MARCH)], [plain("A", APRIL), plain("C", APRIL)]
    for states, left, clock in ((march, [], CLOCK), (march + april, [], CLOCK), (march + april, [("A", APRIL)], LATER)):
        table.save(*score_rows(*frames(spark, states, left), STANDING, champion, SPEC, clock, KEY))
    stored = table.load()
    SCORES.validate(stored)
    rows = sorted((row.batch, row.thing_id, row.scored_at.replace(tzinfo=UTC)) for row in stored.collect())
    assert rows == [
        ("2024-03-31", "A", CLOCK), ("2024-03-31", "B", CLOCK), ("2024-04-30", "B", LATER), ("2024-04-30", "C", LATER),
    ]  # fmt: skip


# Offers

# An offer gains 0.5 * 100 * probability - 10: above 0 for probabilities above 0.2.
ECONOMICS = Economics(action_cost=10.0, averted_value=100.0, success_share=0.5)
Reasons = list[tuple[str, str | None, float]]


def scores(spark: Any, *rows: tuple[str, float, Reasons], batch: str = "2024-05-31", version: str = "7") -> Any:
    """Score rows of which thing, probability and reasons are told."""
    return spark.createDataFrame(
        [(thing, MAY, p, int(p >= 0.3), 0.3, reasons, "things", version, batch, CLOCK) for thing, p, reasons in rows],
        SCORES.ddl,
    )


def ranked(rows: Any, **given: Any) -> pd.DataFrame:
    spec = ScoringSpec.model_validate({"reasons": 2, "actions": 10} | given)
    return rank_actions(rows, spec, ECONOMICS, KEY)[1]


def test_offers_are_ranked_by_what_they_are_expected_to_gain(spark: Any) -> None:
    raising: Reasons = [("weight", "9", -0.3), ("size", "2", 0.2), ("colour", "red", 0.1)]
    table = scores(
        spark, ("worth least", 0.22, raising), ("best", 0.9, [("colour", None, 0.5)]),
        ("second", 0.5, [("size", "1", -0.1)]), ("not worth it", 0.2, raising), ("lossy", 0.1, raising),
    )  # fmt: skip
    told = ranked(table)
    ACTIONS.validate(told)
    assert told.drop(columns=["expected_gain"]).to_numpy().tolist() == [
        ["best", MAY, 1, 0.9, "colour = (missing)", "7", "2024-05-31"],
        ["second", MAY, 2, 0.5, None, "7", "2024-05-31"],
        ["worth least", MAY, 3, 0.22, "size = 2", "7", "2024-05-31"],
    ]
    assert told.expected_gain.tolist() == pytest.approx([35.0, 15.0, 1.0], abs=1e-9)


def test_the_list_holds_as_many_as_conf_allows_and_the_best_of_them(spark: Any) -> None:
    table = scores(spark, ("a", 0.3, []), ("b", 0.9, []), ("c", 0.5, []), ("d", 0.7, []))
    assert ranked(table, actions=2).thing_id.tolist() == ["b", "d"]


def test_equal_gains_are_listed_by_the_key(spark: Any) -> None:
    table = scores(spark, *((name, 0.5, []) for name in "cab"))
    assert ranked(table, actions=2)[["thing_id", "rank"]].to_numpy().tolist() == [["a", 1], ["b", 2]]


def test_only_the_newest_or_the_named_batch_gets_offers(spark: Any) -> None:
    table = scores(spark, ("old", 0.9, []), batch="2024-04-30", version="6").union(scores(spark, ("new", 0.8, [])))
    assert ranked(table).thing_id.tolist() == ["new"]
    named = ranked(table, batch=APRIL)
    assert named[["thing_id", "model_version", "batch"]].to_numpy().tolist() == [["old", "6", "2024-04-30"]]


def test_the_list_takes_the_place_of_its_batchs_earlier_one(spark: Any, tmp_path: Path) -> None:
    table = DeltaTable(filepath=str(tmp_path / "actions"))
    april = scores(spark, ("old", 0.9, []), batch="2024-04-30")
    for rows in (april, april.union(scores(spark, ("a", 0.9, []))), april.union(scores(spark, ("b", 0.8, [])))):
        table.save(rank_actions(rows, SPEC, ECONOMICS, KEY)[0])
    stored = table.load()
    ACTIONS.validate(stored)
    assert sorted((row.batch, row.thing_id, row.rank) for row in stored.collect()) == [
        ("2024-04-30", "old", 1), ("2024-05-31", "b", 1),
    ]  # fmt: skip


def test_without_scores_or_worthwhile_offers_the_list_is_empty_with_its_columns(spark: Any) -> None:
    for table in (scores(spark).limit(0), scores(spark, ("a", 0.1, []))):
        told = ranked(table)
        ACTIONS.validate(told)
        assert len(told) == 0


@pytest.mark.parametrize("wrong", [{"reasons": -1}, {"actions": 0}, {"batch": "spring"}, {"ofers": 1}])
def test_scoring_that_cannot_be_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        ScoringSpec.model_validate({"reasons": 2, "actions": 10} | wrong)
