"""Scoring: who is scored, by what state, with which reasons, and who is worth an offer."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from lakehouse_ml.datasets.delta_table import DeltaTable
from lakehouse_ml.errors import LakehouseError, RegistryError
from lakehouse_ml.modelling.batch import ScoringSpec, choose_batch
from lakehouse_ml.modelling.card import ModelCard, RegistryStatus
from lakehouse_ml.modelling.economics import Economics
from lakehouse_ml.modelling.estimators import sklearn as estimators
from lakehouse_ml.modelling.estimators.base import EstimatorSpec, select_predictors
from lakehouse_ml.modelling.model import Model
from lakehouse_ml.modelling.population import PopulationSpec
from lakehouse_ml.pipelines.batch_scoring.nodes import rank_actions, score_rows
from lakehouse_ml.use_cases.columns import ACTION, LEARNED_UNTIL, SCORE
from lakehouse_ml.use_cases.contracts import Column, Table

KEY = ("thing_id", "seen_on")
CATEGORICAL, NUMERIC = ("colour",), ("size", "weight")
BASELINE = {"colour": "blue", "size": 0.0, "weight": 10.0}
MARCH, APRIL, MAY = date(2024, 3, 31), date(2024, 4, 30), date(2024, 5, 31)
CLOCK, LATER = datetime(2024, 6, 1, tzinfo=UTC), datetime(2024, 6, 2, tzinfo=UTC)
FEATURES = "thing_id string, seen_on date, colour string, size double, weight double, unused string"
LABELS = "thing_id string, seen_on date, label int, known_at date"
_KEY = (Column("thing_id", "string"), Column("seen_on", "date"))
SCORES = Table("score_things", "one row per scored thing and batch", (*KEY, "batch"), (*_KEY, *SCORE, LEARNED_UNTIL))
ACTIONS = Table("score_actions", "one row per thing worth an offer", (*KEY, "batch"), (*_KEY, *ACTION))
SPEC = ScoringSpec(reasons=2, actions=10)
FULL, CHANGES = (PopulationSpec(snapshots=kind, horizon_days=30) for kind in ("full", "changes"))


@pytest.fixture(scope="module")
def champion() -> Model:
    """Version 7: a logistic regression that decides from 0.3 on."""
    rng = np.random.default_rng(0)
    rows = pd.DataFrame(
        {"colour": rng.choice(["red", "blue"], 200), "size": rng.normal(size=200), "weight": rng.normal(10, 2, 200)}
    )
    risk = 1 / (1 + np.exp(1 - 2 * rows["size"] - (rows.colour == "red") + 0.2 * (rows.weight - 10)))
    fitted = estimators.fit(
        EstimatorSpec(estimator="logistic_regression"),
        rows,
        (rng.random(200) < risk).astype(int).to_numpy(),
        categorical=CATEGORICAL,
        numeric=NUMERIC,
        seed=0,
    )
    card = ModelCard(
        "sklearn",
        "logistic_regression",
        {},
        CATEGORICAL,
        NUMERIC,
        0.3,
        BASELINE,
        {},
        unseen={"kind": "hash", "salt": 0, "holdout_share": 0.2, "learned_until": "2024-02-29"},
        importance={},
        metrics={},
    )
    return Model("things", "7", estimators.set_threshold(fitted, 0.3), card)


STANDING = RegistryStatus("7", "7", "approve", "better")
State = tuple[str, date, str | None, float | None, float | None]
Keys = Sequence[tuple[str, date]]


def frames(spark: Any, states: Sequence[State], left: Keys = (), stayed: Keys = (), days: int = 0) -> tuple[Any, Any]:
    """Features of states, and labels of the keys that left or stayed, known `days` later."""
    features = spark.createDataFrame([(*state, "x") for state in states], FEATURES)
    labelled = [(*key, 1) for key in left] + [(*key, 0) for key in stayed]
    labels = [(thing, day, label, day + timedelta(days=days)) for thing, day, label in labelled]
    return features, spark.createDataFrame(labels, LABELS)


def score(
    spark: Any,
    champion: Model,
    states: Sequence[State],
    left: Keys = (),
    days: int = 0,
    population: PopulationSpec = FULL,
    **params: Any,
) -> list[Any]:
    """The rows of the batch, by thing."""
    spec = ScoringSpec.model_validate({"reasons": 2, "actions": 10} | params)
    tables = frames(spark, states, left, days=days)
    (batch,) = score_rows(*tables, STANDING, champion, spec, CLOCK, population, KEY)
    return batch.rows.orderBy("thing_id").collect()


def who(rows: list[Any]) -> list[tuple[str, date]]:
    return [(row.thing_id, row.seen_on) for row in rows]


def plain(thing: str, day: date, size: float = 0.0) -> State:
    return (thing, day, "blue", size, 10.0)


def test_a_champion_that_needs_other_columns_is_refused_with_their_names(spark: Any, champion: Model) -> None:
    features, labels = frames(spark, [plain("a", MARCH)])
    with pytest.raises(RegistryError, match=r"Version 7 of things needs .* no longer have: size, weight\. .*LAKE="):
        list(score_rows(features.drop("size", "weight"), labels, STANDING, champion, SPEC, CLOCK, FULL, KEY))


# Who is scored


def test_a_full_snapshot_is_the_whole_population_of_its_day(spark: Any, champion: Model) -> None:
    states = [plain("A", MARCH, 1.0), plain("A", APRIL, 2.0), plain("gone without a word", MARCH, 3.0)]
    rows = score(spark, champion, states)
    assert who(rows) == [("A", APRIL)]
    chosen = pd.DataFrame({"colour": ["blue"], "size": [2.0], "weight": [10.0]})
    assert [row.probability for row in rows] == pytest.approx(list(estimators.score(champion.model, chosen)), abs=1e-12)


def test_after_a_snapshot_of_changes_everybody_else_keeps_their_newest_state(spark: Any, champion: Model) -> None:
    states = [plain("A", MARCH, 1.0), plain("A", APRIL, 2.0), plain("B", MARCH, 3.0), plain("B", MAY, 4.0)]
    rows = score(spark, champion, states, population=CHANGES, batch=APRIL)
    assert who(rows) == [("A", APRIL), ("B", MARCH)]
    assert {row.batch for row in rows} == {"2024-04-30"}


@pytest.mark.parametrize("population", [FULL, CHANGES], ids=["full", "changes"])
def test_customers_gone_by_the_days_own_file_are_not_scored_and_all_others_are(
    spark: Any, champion: Model, population: PopulationSpec
) -> None:
    states = [plain(thing, APRIL) for thing in ("left", "stayed", "unknown")]
    features, labels = frames(spark, states, [("left", APRIL)], [("stayed", APRIL)])
    (batch,) = score_rows(features, labels, STANDING, champion, SPEC, CLOCK, population, KEY)
    assert sorted(row.thing_id for row in batch.rows.collect()) == ["stayed", "unknown"]


@pytest.mark.parametrize("population", [FULL, CHANGES], ids=["full", "changes"])
def test_a_customer_who_left_and_returned_is_scored(spark: Any, champion: Model, population: PopulationSpec) -> None:
    for days in (0, 30):
        states = [plain("A", MARCH), plain("A", APRIL)]
        assert who(score(spark, champion, states, [("A", MARCH)], days, population)) == [("A", APRIL)]


@pytest.mark.parametrize("days", [0, 27, 30], ids=["own column", "known by then", "known a little later"])
def test_a_customer_gone_by_an_earlier_outcome_is_not_scored_by_an_older_state(
    spark: Any, champion: Model, days: int
) -> None:
    states = [plain("left", MARCH), plain("stays", MARCH), plain("new", APRIL)]
    rows = score(spark, champion, states, [("left", MARCH)], days, CHANGES)
    assert who(rows) == [("new", APRIL), ("stays", MARCH)]


def test_an_outcome_that_is_known_later_says_nothing_on_its_own_day(spark: Any, champion: Model) -> None:
    for population in (FULL, CHANGES):
        assert who(score(spark, champion, [plain("A", APRIL)], [("A", APRIL)], 30, population)) == [("A", APRIL)]


def test_a_named_batch_knows_only_what_was_known_on_its_day(spark: Any, champion: Model) -> None:
    states = [plain("A", MARCH), plain("A", APRIL), plain("A", MAY), plain("new", MAY)]
    for population in (FULL, CHANGES):
        rows = score(spark, champion, states, [("A", MAY)], 0, population, batch=APRIL)
        assert [(row.thing_id, row.seen_on, row.batch) for row in rows] == [("A", APRIL, "2024-04-30")]


@pytest.mark.parametrize("population", [FULL, CHANGES], ids=["full", "changes"])
@pytest.mark.parametrize("day", [date(2023, 1, 1), date(2024, 4, 15), date(2052, 1, 31)])
def test_a_day_without_rows_is_refused_with_the_days_of_the_data(
    spark: Any, champion: Model, population: PopulationSpec, day: date
) -> None:
    states = [plain("A", MARCH), plain("B", APRIL)]
    message = f"no rows to score on {day}: the days with rows are 2024-03-31, 2024-04-30\\. Name one of them"
    with pytest.raises(LakehouseError, match=message):
        score(spark, champion, states, population=population, batch=day)


def test_the_newest_of_many_days_are_named(spark: Any, champion: Model) -> None:
    states = [plain("A", date(2023, 1, 1) + timedelta(days=30 * n)) for n in range(15)]
    with pytest.raises(LakehouseError, match=r"are 2023-04-01, .*, 2024-02-25 and 3 earlier ones"):
        score(spark, champion, states, batch=MAY)


def test_the_batch_is_the_newest_day_unless_one_is_named(spark: Any, champion: Model) -> None:
    states = [plain("A", MARCH), plain("B", APRIL)]
    assert {row.batch for row in score(spark, champion, states)} == {"2024-04-30"}
    assert {row.batch for row in score(spark, champion, states, batch=MARCH)} == {"2024-03-31"}


def test_a_day_on_which_everybody_is_known_to_be_gone_has_an_empty_batch(spark: Any, champion: Model) -> None:
    features, labels = frames(spark, [plain("A", MARCH), plain("A", APRIL)], [("A", APRIL)])
    (batch,) = score_rows(features, labels, STANDING, champion, SPEC, CLOCK, FULL, KEY)
    assert (batch.values, batch.rows.count()) == (("2024-04-30",), 0)


def batches(spark: Any, champion: Model, states: Sequence[State], left: Keys = (), **params: Any) -> list[Any]:
    spec = ScoringSpec.model_validate({"reasons": 2, "actions": 10} | params)
    return list(score_rows(*frames(spark, states, left, days=30), STANDING, champion, spec, CLOCK, FULL, KEY))


def test_each_snapshot_of_a_range_is_a_batch_of_its_own(spark: Any, champion: Model) -> None:
    states = [plain("A", MARCH), plain("B", MARCH), plain("A", APRIL), plain("A", MAY)]
    of_range = batches(spark, champion, states, from_day=date(2024, 3, 1), to_day=date(2024, 5, 1))
    assert [(one.values, one.number, one.count) for one in of_range] == [
        (("2024-03-31",), 1, 2),
        (("2024-04-30",), 2, 2),
    ]
    assert [sorted(row.thing_id for row in one.rows.collect()) for one in of_range] == [["A", "B"], ["A"]]
    assert [one.values for one in batches(spark, champion, states, from_day=APRIL)] == [("2024-04-30",), (str(MAY),)]


def test_a_range_replaces_scores_whose_outcomes_are_known_and_says_so(
    spark: Any, champion: Model, caplog: pytest.LogCaptureFixture
) -> None:
    states = [plain("A", MARCH), plain("A", APRIL)]
    caplog.set_level("WARNING", "lakehouse_ml")
    in_range = batches(spark, champion, states, [("A", MARCH)], from_day=MARCH)
    assert [one.keeps_stored for one in in_range] == [False, False]
    warned = [record.getMessage() for record in caplog.records if "are known already" in record.getMessage()]
    assert [text.split(" are known")[0] for text in warned] == [f"The outcomes of {MARCH}"]


def test_a_range_without_a_snapshot_is_refused_with_the_days_of_the_data(spark: Any, champion: Model) -> None:
    message = "no rows to score from 2024-04-01 to 2024-04-15: the days with rows are 2024-03-31, 2024-04-30. Choose a"
    with pytest.raises(LakehouseError, match=re.escape(message)):
        batches(
            spark, champion, [plain("A", MARCH), plain("A", APRIL)], from_day=date(2024, 4, 1), to_day=date(2024, 4, 15)
        )


def test_lists_and_reports_are_about_the_last_snapshot_of_a_range(spark: Any) -> None:
    features, _ = frames(spark, [plain("A", MARCH), plain("A", APRIL), plain("A", MAY)])
    for params, batch in (
        ({"from_day": MARCH, "to_day": date(2024, 5, 2)}, "2024-04-30"),
        ({"from_day": MARCH}, str(MAY)),
        ({"from_day": date(2024, 1, 1), "to_day": date(2024, 1, 2)}, None),
    ):
        spec = ScoringSpec.model_validate({"reasons": 2, "actions": 10} | params)
        assert choose_batch(features, features, spec, "seen_on", states=True) == batch


def test_without_any_state_there_is_nothing_to_score_and_a_sentence_says_so(spark: Any, champion: Model) -> None:
    with pytest.raises(LakehouseError, match="no rows to score: the feature table is empty"):
        score(spark, champion, [])


# What a score says


STATES: list[State] = [
    ("a", MAY, "red", 2.0, 9.0), ("b", MAY, "blue", -3.0, 14.0), ("c", MAY, None, 1.0, None),
    ("d", MAY, "never seen", None, 10.0), ("e", MAY, "blue", 0.4, 10.0),
]  # fmt: skip


def model_inputs() -> pd.DataFrame:
    rows = pd.DataFrame([state[2:] for state in STATES], columns=["colour", "size", "weight"])
    return select_predictors(rows, CATEGORICAL, NUMERIC)


def test_probability_decision_and_threshold_are_the_models_own(spark: Any, champion: Model) -> None:
    rows = score(spark, champion, STATES)
    expected = list(estimators.score(champion.model, model_inputs()))
    assert [row.probability for row in rows] == pytest.approx(expected, abs=1e-12)
    assert [row.decision for row in rows] == champion.model.predict(model_inputs()).tolist()
    assert [row.decision for row in rows] == [int(row.probability >= row.threshold) for row in rows]
    assert {row.threshold for row in rows} == {0.3}
    assert [row.decision for row in rows] != [int(row.probability >= 0.5) for row in rows]


def test_reasons_are_signed_effects_against_a_typical_row_strongest_first(spark: Any, champion: Model) -> None:
    rows = score(spark, champion, STATES, reasons=3)
    for row, scored in zip(model_inputs().to_dict("records"), rows, strict=True):
        effects = {}
        for name, typical in BASELINE.items():
            pair = select_predictors(pd.DataFrame([row, row | {name: typical}]), CATEGORICAL, NUMERIC)
            own, other = estimators.score(champion.model, pair)
            effects[name] = own - other
        assert {reason.feature: reason.effect for reason in scored.reasons} == pytest.approx(effects, abs=1e-12)
        strengths = [abs(reason.effect) for reason in scored.reasons]
        assert strengths == sorted(strengths, reverse=True)
    first = {row.thing_id: (row.reasons[0].feature, row.reasons[0].effect > 0) for row in rows[:2]}
    assert first == {"a": ("size", True), "b": ("size", False)}


def test_a_reason_shows_the_value_as_it_stands_and_nothing_where_there_is_none(spark: Any, champion: Model) -> None:
    rows = score(spark, champion, [("a", MAY, "red", 1.5, 9.0), ("c", MAY, None, None, None)], reasons=3)
    values = [{reason.feature: reason.value for reason in row.reasons} for row in rows]
    assert values == [{"colour": "red", "size": "1.5", "weight": "9"}, {"colour": None, "size": None, "weight": None}]


@pytest.mark.parametrize(("limit", "expected"), [(1, 1), (2, 2), (20, 3)])
def test_a_row_has_at_most_as_many_reasons_as_asked_for(spark: Any, champion: Model, limit: int, expected: int) -> None:
    assert {len(row.reasons) for row in score(spark, champion, STATES, reasons=limit)} == {expected}


def test_a_score_says_by_which_model_for_which_batch_and_when(spark: Any, champion: Model) -> None:
    (batch,) = score_rows(*frames(spark, STATES), STANDING, champion, SPEC, CLOCK, FULL, KEY)
    SCORES.validate(batch)
    assert (batch.column, batch.values) == ("batch", ("2024-05-31",))
    origins = {
        (row.model_name, row.model_version, row.batch, row.scored_at.replace(tzinfo=UTC))
        for row in batch.rows.collect()
    }
    assert origins == {("things", "7", "2024-05-31", CLOCK)}


def test_many_rows_in_several_tasks_have_the_scores_that_they_have_together(spark: Any, champion: Model) -> None:
    rng = np.random.default_rng(3)
    rows = pd.DataFrame({"colour": rng.choice(["red", "blue"], 3000), "size": rng.normal(size=3000), "weight": 10.0})
    states = rows.assign(thing_id=[f"{n:04d}" for n in range(3000)], seen_on=MAY, unused="x")
    features = spark.createDataFrame(states[["thing_id", "seen_on", "colour", "size", "weight", "unused"]], FEATURES)
    (batch,) = score_rows(
        features.repartition(4), spark.createDataFrame([], LABELS), STANDING, champion, SPEC, CLOCK, FULL, KEY
    )
    scored = batch.rows.select("thing_id", "probability").toPandas().sort_values("thing_id")
    assert scored.thing_id.tolist() == states.thing_id.tolist()
    assert scored.probability.to_numpy() == pytest.approx(estimators.score(champion.model, rows), abs=1e-12)


# Without a champion


def test_without_a_champion_the_message_gives_the_reason_and_what_to_do(spark: Any) -> None:
    refused = RegistryStatus(None, "3", "reject", "F1 0.41 lies below the floor 0.50.")
    with pytest.raises(
        RegistryError, match=r"no champion to score with: F1 0\.41 lies below the floor 0\.50\. Look at"
    ):
        list(score_rows(*frames(spark, STATES), refused, None, SPEC, CLOCK, FULL, KEY))
    with pytest.raises(RegistryError, match="no candidate was judged yet"):
        list(score_rows(*frames(spark, STATES), RegistryStatus(None), None, SPEC, CLOCK, FULL, KEY))


def test_while_a_first_model_awaits_approval_nobody_is_scored_but_there_is_a_table_to_read(
    spark: Any, tmp_path: Path
) -> None:
    awaiting = RegistryStatus(None, "3", "request", "Awaiting approval.")
    table = DeltaTable(filepath=str(tmp_path / "scores"))
    table.save(*score_rows(*frames(spark, STATES), awaiting, None, SPEC, CLOCK, FULL, KEY))
    assert table.load().count() == 0
    SCORES.validate(table.load())
    ranked, listed = rank_actions(table.load(), days(table.load()), SPEC, ECONOMICS, KEY, states=True)
    assert (ranked.rows.count(), ranked.values, len(listed.content)) == (0, ("2024-05-31",), 0)


def test_while_approval_of_another_candidate_is_awaited_the_champion_scores(spark: Any, champion: Model) -> None:
    awaiting = RegistryStatus("7", "8", "request", "Awaiting approval.")
    (batch,) = score_rows(*frames(spark, STATES), awaiting, champion, SPEC, CLOCK, FULL, KEY)
    assert batch.rows.count() == len(STATES)


# Over time


def test_a_batch_that_is_written_twice_is_there_once_and_the_others_stay(
    spark: Any, champion: Model, tmp_path: Path
) -> None:
    table = DeltaTable(filepath=str(tmp_path / "scores"))
    march, april = [plain("A", MARCH), plain("B", MARCH)], [plain(thing, APRIL) for thing in "ABC"]
    for states, left, clock in ((march, [], CLOCK), (march + april, [], CLOCK), (march + april, [("A", APRIL)], LATER)):
        table.save(*score_rows(*frames(spark, states, left), STANDING, champion, SPEC, clock, FULL, KEY))
    stored = table.load()
    SCORES.validate(stored)
    rows = sorted((row.batch, row.thing_id, row.scored_at.replace(tzinfo=UTC)) for row in stored.collect())
    assert rows == [
        ("2024-03-31", "A", CLOCK),
        ("2024-03-31", "B", CLOCK),
        ("2024-04-30", "B", LATER),
        ("2024-04-30", "C", LATER),
    ]


@pytest.mark.parametrize("days", [0, 30], ids=["own column", "later outcome"])
def test_a_stored_batch_stays_once_its_outcomes_have_come_unless_its_day_is_named(
    spark: Any, champion: Model, tmp_path: Path, days: int
) -> None:
    table = DeltaTable(filepath=str(tmp_path / "scores"))
    states = [plain("A", APRIL), plain("B", APRIL)]
    newer = Model(champion.name, "8", champion.model, champion.card)

    def stored() -> dict[str, str]:
        return {row.thing_id: row.model_version for row in table.load().collect()}

    table.save(*score_rows(*frames(spark, states), STANDING, champion, SPEC, CLOCK, FULL, KEY))
    tables = frames(spark, states, [("A", APRIL)], [("B", APRIL)], days=days)
    table.save(*score_rows(*tables, STANDING, newer, SPEC, LATER, FULL, KEY))
    # What the day's own file says was known on the day: who left is no longer scored, and the new champion scores.
    assert stored() == ({"A": "7", "B": "7"} if days else {"B": "8"})
    named = ScoringSpec(reasons=2, actions=10, batch=APRIL)
    table.save(*score_rows(*tables, STANDING, newer, named, LATER, FULL, KEY))
    assert stored() == ({"A": "8", "B": "8"} if days else {"B": "8"})


def test_a_batch_whose_outcomes_are_known_already_is_scored_if_it_never_was(
    spark: Any, champion: Model, tmp_path: Path
) -> None:
    table = DeltaTable(filepath=str(tmp_path / "scores"))
    tables = frames(spark, [plain("A", APRIL)], [("A", APRIL)], days=30)
    table.save(*score_rows(*tables, STANDING, champion, SPEC, CLOCK, FULL, KEY))
    assert [(row.thing_id, row.learned_until) for row in table.load().collect()] == [("A", date(2024, 2, 29))]


# Offers

# An offer gains 0.5 * 100 * probability - 10: above 0 for probabilities above 0.2.
ECONOMICS = Economics(action_cost=10.0, averted_value=100.0, success_share=0.5)
Reasons = list[tuple[str, str | None, float]]


def scores(spark: Any, *rows: tuple[str, float, Reasons], batch: str = "2024-05-31", version: str = "7") -> Any:
    """Score rows with these things, probabilities and reasons."""
    return spark.createDataFrame(
        [
            (thing, MAY, p, int(p >= 0.3), 0.3, reasons, "things", version, batch, CLOCK, None)
            for thing, p, reasons in rows
        ],
        SCORES.ddl,
    )


def days(rows: Any, newest: date = MAY) -> Any:
    """Features whose newest day is this one."""
    return rows.sparkSession.createDataFrame([(*plain("A", day), "x") for day in (MARCH, newest)], FEATURES)


def ranked(rows: Any, **params: Any) -> pd.DataFrame:
    spec = ScoringSpec.model_validate({"reasons": 2, "actions": 10} | params)
    return rank_actions(rows, days(rows), spec, ECONOMICS, KEY, states=True)[1].content


def test_offers_are_ranked_by_what_they_are_expected_to_gain(spark: Any) -> None:
    raising: Reasons = [("weight", "9", -0.3), ("size", "2", 0.2), ("colour", "red", 0.1)]
    table = scores(
        spark,
        ("worth least", 0.22, raising),
        ("best", 0.9, [("colour", None, 0.5)]),
        ("second", 0.5, [("size", "1", -0.1)]),
        ("not worth it", 0.2, raising),
        ("lossy", 0.1, raising),
    )
    offers = ranked(table)
    ACTIONS.validate(offers)
    assert offers.drop(columns=["expected_gain"]).to_numpy().tolist() == [
        ["best", MAY, 1, 0.9, "colour = (missing)", "7", "2024-05-31"],
        ["second", MAY, 2, 0.5, None, "7", "2024-05-31"],
        ["worth least", MAY, 3, 0.22, "size = 2", "7", "2024-05-31"],
    ]
    assert offers.expected_gain.tolist() == pytest.approx([35.0, 15.0, 1.0], abs=1e-9)


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


def test_a_batch_beyond_the_newest_day_owns_no_list(spark: Any) -> None:
    table = scores(spark, ("phantom", 0.9, []), batch="2052-01-31").union(scores(spark, ("here", 0.8, [])))
    assert ranked(table).thing_id.tolist() == ["here"]


def test_a_newest_day_with_nobody_to_score_has_an_empty_list_and_not_an_older_one(spark: Any) -> None:
    assert ranked(scores(spark, ("old", 0.9, []), batch="2024-04-30")).empty


def test_the_list_takes_the_place_of_its_batchs_earlier_one(spark: Any, tmp_path: Path) -> None:
    table = DeltaTable(filepath=str(tmp_path / "actions"))
    april = scores(spark, ("old", 0.9, []), batch="2024-04-30")
    may = [april.union(scores(spark, (thing, 0.9, []))) for thing in "ab"]
    for rows, newest in ((april, APRIL), *((rows, MAY) for rows in may)):
        table.save(rank_actions(rows, days(rows, newest), SPEC, ECONOMICS, KEY, states=True)[0])
    stored = table.load()
    ACTIONS.validate(stored)
    assert sorted((row.batch, row.thing_id, row.rank) for row in stored.collect()) == [
        ("2024-04-30", "old", 1),
        ("2024-05-31", "b", 1),
    ]


def test_without_scores_or_worthwhile_offers_the_list_is_empty_with_its_columns(spark: Any) -> None:
    for table in (scores(spark).limit(0), scores(spark, ("a", 0.1, []))):
        offers = ranked(table)
        ACTIONS.validate(offers)
        assert len(offers) == 0


@pytest.mark.parametrize("wrong", [{"reasons": -1}, {"actions": 0}, {"batch": "spring"}, {"ofers": 1}])
def test_scoring_that_cannot_be_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        ScoringSpec.model_validate({"reasons": 2, "actions": 10} | wrong)
