"""Training: a split that never changes for a known entity, and a search that uses the training part alone."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import date
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from lakehouse_ml.errors import TrainingError
from lakehouse_ml.modelling.card import Candidate, ModelCard
from lakehouse_ml.modelling.drift import ColumnProfile, score_edges
from lakehouse_ml.modelling.estimators import sklearn as estimators
from lakehouse_ml.modelling.estimators.base import EstimatorSpec, select_predictors
from lakehouse_ml.modelling.metrics import METRICS, choose_threshold, classification_metrics
from lakehouse_ml.modelling.population import PopulationSpec
from lakehouse_ml.modelling.split import HashSplit, hold_out_condition, is_held_out
from lakehouse_ml.pipelines.training.nodes import TrainingSpec, assemble_rows, check_parts, search
from lakehouse_ml.use_cases.churn import CHURN
from lakehouse_ml.use_cases.churn.contracts import feature_customers, label_customers, model_input_customers

KEY = ("thing_id", "seen_on")
CATEGORICAL, NUMERIC = ("colour", "shape"), ("size", "weight")
SPLIT = {"holdout_share": 0.2, "salt": 0, "min_per_class": 5, "max_share_gap": 0.2}
LOGISTIC = {"estimator": "logistic_regression", "params": {"C": 1.0}}
FOREST = {"estimator": "random_forest", "params": {"n_estimators": 5, "max_depth": 3}}
BOOSTING = {"estimator": "gradient_boosting", "params": {"max_iter": 5, "max_depth": 2}}
MARCH, APRIL, MAY = date(2024, 3, 31), date(2024, 4, 30), date(2024, 5, 31)


def training(*trials: dict[str, Any], **params: Any) -> TrainingSpec:
    return TrainingSpec.model_validate(
        {"split": SPLIT, "folds": 3, "seed": 0, "max_rows": 1000, "trials": trials or (LOGISTIC,)} | params
    )


# The split


@pytest.mark.parametrize("salt", [0, 1, -7])
def test_engine_and_python_decide_alike_for_every_entity(spark: Any, salt: int) -> None:
    entities = [f"{n:04d}-{'ABCDEFGH'[n % 8]}" for n in range(2000)] + ["", " ", "é", "顧客", "a'b", "0:x", "x" * 500]
    frame = spark.createDataFrame([(entity,) for entity in entities], "thing_id string")
    for share in (0.2, 0.5):
        column = hold_out_condition("thing_id", salt, share).alias("held")
        decided = {row.thing_id: row.held for row in frame.select("thing_id", column).collect()}
        assert decided == {entity: is_held_out(entity, salt, share) for entity in entities}
        assert 0 < sum(decided.values()) < len(entities)


def test_numbers_as_entities_are_decided_by_their_text(spark: Any) -> None:
    frame = spark.range(200).select("id", hold_out_condition("id", 3, 0.3).alias("held"))
    assert {row.id: row.held for row in frame.collect()} == {n: is_held_out(str(n), 3, 0.3) for n in range(200)}


def test_the_split_is_still_the_one_of_the_first_models() -> None:
    # The first eight hexadecimal digits of md5("0:7590-VHVEG") and of md5("1:7590-VHVEG").
    for salt, digits in ((0, "f4f521c2"), (1, "f4f36a84")):
        assert hashlib.md5(f"{salt}:7590-VHVEG".encode(), usedforsecurity=False).hexdigest()[:8] == digits
        bucket = int(digits, 16) / 2**32
        assert is_held_out("7590-VHVEG", salt, bucket + 1e-9)
        assert not is_held_out("7590-VHVEG", salt, bucket)


@pytest.mark.parametrize("share", [0.1, 0.2, 0.5])
def test_the_share_that_is_held_out_is_about_right_for_every_salt(share: float) -> None:
    n = 3000
    shares = [sum(is_held_out(str(entity), salt, share) for entity in range(n)) / n for salt in range(20)]
    error = np.sqrt(share * (1 - share) / n)
    assert max(abs(value - share) for value in shares) < 4 * error
    assert abs(np.mean(shares) - share) < 4 * error / np.sqrt(20)


def test_another_salt_is_another_split() -> None:
    first, second = ({entity for entity in range(1000) if is_held_out(str(entity), salt, 0.5)} for salt in (0, 1))
    assert 400 < len(first ^ second) < 600


def test_a_larger_share_holds_out_the_same_entities_and_more() -> None:
    entities = [str(n) for n in range(1000)]
    small, large = ({entity for entity in entities if is_held_out(entity, 0, share)} for share in (0.1, 0.3))
    assert small < large


@pytest.mark.parametrize("wrong", [{"holdout_share": 0.0}, {"holdout_share": 1.0}, {"min_per_class": 0}, {"sald": 1}])
def test_a_split_without_a_part_or_with_an_unknown_key_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        HashSplit.model_validate(SPLIT | wrong)


# Assembling

FULL = PopulationSpec(horizon_days=30)


def frames(spark: Any, states: dict[tuple[str, date], int | None]) -> tuple[Any, Any]:
    """Features and labels of states; a state whose label is None has none yet."""
    features = spark.createDataFrame(
        [(thing, day, float(n)) for n, (thing, day) in enumerate(states)], "thing_id string, seen_on date, size double"
    )
    labelled = [(thing, day, label) for (thing, day), label in states.items() if label is not None]
    rows = [(*row, row[1]) for row in labelled]
    return features, spark.createDataFrame(rows, "thing_id string, seen_on date, label int, known_at date")


def assembled(spark: Any, states: dict[tuple[str, date], int | None]) -> dict[tuple[str, date], tuple[float, int, str]]:
    rows = assemble_rows(*frames(spark, states), training(), FULL, KEY).collect()
    by_key = {(row.thing_id, row.seen_on): (row["size"], row.label, row.part) for row in rows}
    assert len(rows) == len(by_key)
    return by_key


def test_every_state_with_a_known_outcome_is_a_row(spark: Any) -> None:
    rows = assembled(
        spark,
        {
            ("A", MARCH): 0,
            ("A", APRIL): 1,
            ("A", MAY): None,
            ("B", MAY): 0,
            ("B", MARCH): 1,
            ("C", MAY): None,
        },
    )
    assert {key: row[:2] for key, row in rows.items()} == {
        ("A", MARCH): (0.0, 0),
        ("A", APRIL): (1.0, 1),
        ("B", MAY): (3.0, 0),
        ("B", MARCH): (4.0, 1),
    }


def test_after_a_snapshot_of_changes_an_outcome_goes_with_the_newest_state_by_its_day(spark: Any) -> None:
    features, _ = frames(spark, {("A", MARCH): None, ("A", MAY): None, ("B", APRIL): None})
    outcomes = [("A", MARCH, 0), ("A", APRIL, 1), ("A", MAY, 0), ("B", MARCH, 1), ("B", MAY, 0)]
    labels = spark.createDataFrame(
        [(*row, row[1]) for row in outcomes], "thing_id string, seen_on date, label int, known_at date"
    )
    changes = PopulationSpec(snapshots="changes", horizon_days=30)
    rows = assemble_rows(features, labels, training(), changes, KEY).collect()
    # B had no state in March.
    assert sorted((row.thing_id, row.seen_on, row["size"], row.label) for row in rows) == [
        ("A", MARCH, 0.0, 0),
        ("A", APRIL, 0.0, 1),
        ("A", MAY, 1.0, 0),
        ("B", MAY, 2.0, 0),
    ]


def test_the_part_is_decided_by_the_entity_alone(spark: Any) -> None:
    rows = assembled(spark, {(str(n), day): n % 2 for n in range(100) for day in (MARCH, APRIL)})
    assert {key: row[2] for key, row in rows.items()} == {
        (str(n), day): "holdout" if is_held_out(str(n), 0, 0.2) else "train"
        for n in range(100)
        for day in (MARCH, APRIL)
    }


def test_rows_assembled_from_churns_tables_fulfil_their_contract(spark: Any) -> None:
    features, labels = (spark.createDataFrame([], table.ddl) for table in (feature_customers, label_customers))
    model_input_customers.validate(assemble_rows(features, labels, training(), FULL, CHURN.key))


entities = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=5)


@settings(max_examples=5, deadline=None, derandomize=True)
@given(st.sets(entities, min_size=1, max_size=30), st.sets(entities, max_size=30), st.integers(0, 99))
def test_old_entities_keep_their_part_when_new_ones_and_new_states_arrive(
    spark: Any, old: set[str], new: set[str], salt: int
) -> None:
    spec = training(split=SPLIT | {"salt": salt, "holdout_share": 0.5})

    def parts(days: tuple[date, ...], things: set[str]) -> dict[str, str]:
        features, labels = frames(spark, {(thing, day): 0 for thing in things for day in days})
        return {row.thing_id: row.part for row in assemble_rows(features, labels, spec, FULL, KEY).collect()}

    before, after = parts((MARCH,), old), parts((MARCH, APRIL), old | new)
    assert set(after) == old | new
    assert before == {thing: after[thing] for thing in old}


# Checks of the split


def counts(train: tuple[int, int], holdout: tuple[int, int]) -> Mapping[tuple[str, int], int]:
    """Rows by part and label, from (stayed, left) of each part; a combination without rows isn't there at all."""
    by_part = {("train", 0): train[0], ("train", 1): train[1], ("holdout", 0): holdout[0], ("holdout", 1): holdout[1]}
    return {place: n for place, n in by_part.items() if n}


@pytest.mark.parametrize(
    ("train", "holdout", "message"),
    [
        ((40, 4), (40, 40), "The train part has 4 rows with label 1; at least 5 are needed."),
        ((40, 40), (0, 40), "The holdout part has 0 rows with label 0; at least 5 are needed."),
        ((0, 0), (0, 0), "The train part has 0 rows with label 0; at least 5 are needed."),
        ((80, 20), (59, 41), "20.0% in training and 41.0% in the hold-out: further apart than 20.0%."),
        ((59, 41), (80, 20), "41.0% in training and 20.0% in the hold-out: further apart than 20.0%."),
    ],
)
def test_a_split_that_nothing_can_be_learned_from_or_judged_on_is_refused_with_its_numbers(
    train: tuple[int, int], holdout: tuple[int, int], message: str
) -> None:
    with pytest.raises(TrainingError) as refused:
        check_parts(counts(train, holdout), HashSplit.model_validate(SPLIT))
    assert message in str(refused.value)
    assert str(refused.value).endswith(("lower min_per_class in conf.", "or land more rows."))


def test_parts_at_the_bounds_are_accepted() -> None:
    check_parts(counts((5, 5), (5, 5)), HashSplit.model_validate(SPLIT))
    check_parts(counts((75, 25), (63, 37)), HashSplit.model_validate(SPLIT | {"max_share_gap": 0.125}))


def test_the_search_refuses_a_split_before_it_fits_anything(spark: Any) -> None:
    rows = things().assign(label=0)
    with pytest.raises(TrainingError, match="label 1"):
        search(spark.createDataFrame(rows), training(), KEY, CATEGORICAL)


# The search


def things(n: int = 200) -> pd.DataFrame:
    """Labelled rows with their part: red and large things have label 1 more often; one in ten lacks its weight."""
    rng = np.random.default_rng(1)
    size, colour = rng.normal(size=n), rng.choice(["red", "blue", "green"], n)
    risk = 1 / (1 + np.exp(1.5 - 1.2 * size - 1.5 * (colour == "red")))
    names = [f"T{number:03d}" for number in range(n)]
    return pd.DataFrame(
        {
            "thing_id": names,
            "seen_on": MARCH,
            "colour": colour,
            "shape": rng.choice(np.array(["round", None], dtype=object), n),
            "size": size,
            "weight": np.where(rng.random(n) < 0.1, np.nan, rng.normal(10, 2, n)),
            "label": (rng.random(n) < risk).astype("int32"),
            "part": ["holdout" if is_held_out(name, 0, 0.2) else "train" for name in names],
        }
    )


THREE = training(FOREST, LOGISTIC, BOOSTING)


def searched(spark: Any, rows: pd.DataFrame, spec: TrainingSpec) -> tuple[Candidate, pd.DataFrame]:
    frame = spark.createDataFrame(rows)
    return search(frame, spec, KEY, CATEGORICAL)


@pytest.fixture(scope="module")
def result(spark: Any) -> tuple[Candidate, pd.DataFrame]:
    """The result of a search over all three estimators."""
    return searched(spark, things(), THREE)


@pytest.fixture(scope="module")
def plain(spark: Any) -> tuple[Candidate, pd.DataFrame]:
    """The result of a search over the logistic regression alone."""
    return searched(spark, things(), training(LOGISTIC))


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    """Predictors of the training part, as a model takes them."""
    return select_predictors(learned(), CATEGORICAL, NUMERIC)


def learned() -> pd.DataFrame:
    table = things()
    return table[table.part == "train"].reset_index(drop=True)


def same_model(one: Candidate, other: Candidate) -> bool:
    every = select_predictors(things(), CATEGORICAL, NUMERIC)
    scores = [estimators.score(candidate.model, every) for candidate in (one, other)]
    return one.card.to_json() == other.card.to_json() and np.array_equal(*scores)


def without_time(trials: pd.DataFrame) -> pd.DataFrame:
    return trials.drop(columns="fit_seconds")


def test_every_trial_is_reported_with_its_parameters_metrics_and_time(result: tuple[Candidate, pd.DataFrame]) -> None:
    trials = result[1]
    assert trials.trial.tolist() == [1, 2, 3]
    specs = [{"estimator": e, "params": json.loads(p)} for e, p in zip(trials.estimator, trials.params, strict=True)]
    assert specs == [FOREST, LOGISTIC, BOOSTING]
    assert (trials.fit_seconds > 0).all()
    assert trials[[*METRICS, "threshold"]].apply(lambda column: column.between(0, 1)).all(axis=None)


def test_the_winner_has_the_best_f1_and_is_marked_alone(result: tuple[Candidate, pd.DataFrame]) -> None:
    candidate, trials = result
    assert trials.f1.nunique() == 3
    winner = trials.loc[trials.f1.idxmax()]
    assert trials.chosen.tolist() == [number == winner.trial for number in trials.trial]
    assert (candidate.card.estimator, dict(candidate.card.params)) == (winner.estimator, json.loads(winner.params))
    assert candidate.card.threshold == winner.threshold
    assert candidate.card.metrics == {name: winner[name] for name in METRICS}


@pytest.mark.parametrize(
    ("trees", "depths", "loses_by"),
    [(1, (2, 1), ["recall", "roc_auc", "average_precision"]), (2, (1, 2), ["accuracy", "precision"])],
)
def test_the_best_by_f1_wins_whatever_the_other_metrics_say(
    spark: Any, trees: int, depths: tuple[int, int], loses_by: list[str]
) -> None:
    forests = [{**FOREST, "params": {"n_estimators": trees, "max_depth": depth}} for depth in depths]
    candidate, trials = searched(spark, things(), training(*forests))
    assert trials.chosen.tolist() == [False, True]
    other, chosen = trials.iloc[0], trials.iloc[1]
    assert chosen.f1 > other.f1
    assert [name for name in loses_by if chosen[name] < other[name]] == loses_by
    assert candidate.card.params == forests[1]["params"]


def out_of_fold(rows: pd.DataFrame, trial: Mapping[str, Any]) -> np.ndarray:
    """Each row's probability by the model whose folds it wasn't in, by hand."""
    from sklearn.model_selection import StratifiedKFold

    label, spec = learned().label.to_numpy(), EstimatorSpec.model_validate(trial)
    probability = np.zeros(len(rows))
    for train, test in StratifiedKFold(3, shuffle=True, random_state=0).split(rows, label):
        model = estimators.fit(spec, rows.iloc[train], label[train], categorical=CATEGORICAL, numeric=NUMERIC, seed=0)
        probability[test] = estimators.score(model, rows.iloc[test])
    return probability


def test_the_metrics_of_a_trial_are_those_of_out_of_fold_predictions(
    result: tuple[Candidate, pd.DataFrame], rows: pd.DataFrame
) -> None:
    label = learned().label.to_numpy()
    for number, trial in enumerate((FOREST, LOGISTIC)):
        probability = out_of_fold(rows, trial)
        row, threshold = result[1].iloc[number], choose_threshold(label, probability)
        assert row.threshold == pytest.approx(threshold, abs=1e-12)
        assert row[list(METRICS)].to_dict() == pytest.approx(classification_metrics(label, probability, threshold))


def test_the_same_seed_gives_the_same_result_in_whatever_order_the_rows_come(
    spark: Any, result: tuple[Candidate, pd.DataFrame]
) -> None:
    again = searched(spark, things().sample(frac=1, random_state=5), THREE)
    assert same_model(again[0], result[0])
    pd.testing.assert_frame_equal(without_time(again[1]), without_time(result[1]))


def test_rows_that_are_held_out_never_influence_the_model(spark: Any, plain: tuple[Candidate, pd.DataFrame]) -> None:
    table = things()
    in_holdout = table.part == "holdout"
    changed_table = table.copy()
    changed_table.loc[in_holdout, "label"] = 1 - table.label[in_holdout]
    changed_table.loc[in_holdout, ["size", "weight"]] = -99.0
    changed_table.loc[in_holdout, ["colour", "shape"]] = "never seen"
    changed_search = searched(spark, changed_table, training(LOGISTIC, split=SPLIT | {"max_share_gap": 1.0}))
    assert same_model(plain[0], changed_search[0])
    pd.testing.assert_frame_equal(without_time(plain[1]), without_time(changed_search[1]))


def test_another_label_of_a_training_row_gives_another_model(spark: Any, plain: tuple[Candidate, pd.DataFrame]) -> None:
    changed = things()
    first = changed.index[changed.part == "train"][0]
    changed.loc[first, "label"] = 1 - changed.label[first]
    assert not same_model(plain[0], searched(spark, changed, training(LOGISTIC))[0])


def test_the_first_of_equally_good_trials_is_chosen(spark: Any) -> None:
    _, trials = searched(spark, things(), training(LOGISTIC, LOGISTIC))
    assert trials.chosen.tolist() == [True, False]


def test_the_threshold_is_inside_the_model_and_decides(
    result: tuple[Candidate, pd.DataFrame], rows: pd.DataFrame
) -> None:
    candidate = result[0]
    probability = candidate.model.predict_proba(rows)[:, 1]
    decided = candidate.model.predict(rows)
    assert decided.tolist() == (probability >= candidate.card.threshold).astype(int).tolist()
    assert 0 < decided.sum() < len(rows)


def test_a_probability_at_the_threshold_is_a_yes(rows: pd.DataFrame) -> None:
    label = learned().label.to_numpy()
    spec = EstimatorSpec.model_validate(LOGISTIC)
    fitted = estimators.fit(spec, rows, label, categorical=CATEGORICAL, numeric=NUMERIC, seed=0)
    at = float(estimators.score(fitted, rows)[7])
    assert estimators.set_threshold(fitted, at).predict(rows)[7] == 1
    assert estimators.set_threshold(fitted, np.nextafter(at, 1)).predict(rows)[7] == 0


def test_the_winner_is_fitted_on_the_whole_training_part(
    result: tuple[Candidate, pd.DataFrame], rows: pd.DataFrame
) -> None:
    card = result[0].card
    spec = EstimatorSpec(estimator=card.estimator, params=dict(card.params))
    label = learned().label.to_numpy()
    again = estimators.fit(spec, rows, label, categorical=CATEGORICAL, numeric=NUMERIC, seed=0)
    assert estimators.score(result[0].model, rows).tolist() == estimators.score(again, rows).tolist()


def test_assembly_is_inside_the_model_so_it_takes_nulls_and_categories_it_never_saw(
    result: tuple[Candidate, pd.DataFrame],
) -> None:
    odd = pd.DataFrame({"colour": ["pink", None], "shape": [None, "round"], "size": [np.nan, 1.0], "weight": [9, None]})
    probability = estimators.score(result[0].model, select_predictors(odd, CATEGORICAL, NUMERIC))
    assert np.isfinite(probability).all()
    assert ((probability > 0) & (probability < 1)).all()


def test_the_card_describes_the_training(result: tuple[Candidate, pd.DataFrame]) -> None:
    card, table = result[0].card, learned()
    assert (card.categorical, card.numeric, card.label_dimension, card.label_values) == (CATEGORICAL, NUMERIC, None, ())
    assert card.unseen == {"kind": "hash", "salt": 0, "holdout_share": 0.2, "learned_until": "2024-03-31"}
    assert card.baseline == {
        "colour": table.colour.mode()[0],
        "shape": "round",
        "size": table["size"].median(),
        "weight": table.weight.median(),
    }
    assert list(card.importance) == card.predictors
    assert min(card.importance.values()) >= 0
    assert max(card.importance, key=lambda name: card.importance[name]) in ("size", "colour")
    assert ModelCard.from_json(card.to_json()) == card


def test_the_reference_for_drift_holds_the_training_rows_of_those_who_stayed_with_out_of_fold_scores(
    result: tuple[Candidate, pd.DataFrame], rows: pd.DataFrame
) -> None:
    card, stayed = result[0].card, learned().query("label == 0")
    reference = {name: ColumnProfile.from_dict(profile) for name, profile in card.reference.items()}
    assert set(reference) == {*CATEGORICAL, *NUMERIC, "score"}
    assert reference["colour"].counts == stayed.colour.value_counts().to_dict()
    assert (reference["shape"].counts, reference["shape"].nulls) == (
        {"round": int((stayed["shape"] == "round").sum())},
        int(stayed["shape"].isna().sum()),
    )
    assert [reference[name].nulls for name in ("size", "weight", "score")] == [0, int(stayed.weight.isna().sum()), 0]
    assert {profile.rows for profile in reference.values()} == {len(stayed)}
    scores = out_of_fold(rows, {"estimator": card.estimator, "params": card.params})[learned().label == 0]
    assert reference["score"].edges == score_edges(scores)
    assert {profile.entities for profile in reference.values()} == {None}


def test_more_rows_than_fit_are_sampled_evenly_and_always_alike(
    spark: Any, plain: tuple[Candidate, pd.DataFrame]
) -> None:
    few = training(LOGISTIC, max_rows=100)
    one, other = (searched(spark, table, few)[0] for table in (things(), things().iloc[::-1]))
    assert same_model(one, other)
    n_sampled = ColumnProfile.from_dict(one.card.reference["colour"]).rows
    assert 100 * 0.5 < n_sampled < 100
    assert not same_model(one, plain[0])


def test_the_example_shows_a_few_rows_of_input(result: tuple[Candidate, pd.DataFrame], rows: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(result[0].example, rows.head(5))


# What conf may say


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"estimator": "xgboost"}, "xgboost|random_forest"),
        ({"estimator": "random_forest", "params": {"C": 1.0}}, "random_forest has no parameter C; it has max_depth"),
    ],
)
def test_an_estimator_or_parameter_outside_the_table_is_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        EstimatorSpec.model_validate(wrong)


@pytest.mark.parametrize("wrong", [{"folds": 1}, {"trials": ()}, {"max_rows": 10}, {"sead": 0}])
def test_a_search_that_cannot_be_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        training(**wrong)


@pytest.mark.parametrize("spec", [FOREST, LOGISTIC, BOOSTING], ids=lambda spec: spec["estimator"])
def test_every_estimator_is_fitted_alike_twice_and_its_effects_are_differences_of_its_own_scores(
    rows: pd.DataFrame, spec: dict[str, Any]
) -> None:
    label = learned().label.to_numpy()
    one, other = (
        estimators.fit(
            EstimatorSpec.model_validate(spec), rows, label, categorical=CATEGORICAL, numeric=NUMERIC, seed=3
        )
        for _ in range(2)
    )
    assert estimators.score(one, rows).tolist() == estimators.score(other, rows).tolist()
    baseline = {"colour": "blue", "shape": None, "size": 0.25, "weight": 10.0}
    effects = estimators.explain(one, rows, baseline)
    assert effects.shape == rows.shape
    blue = rows.assign(colour="blue")
    assert effects[:, 0] == pytest.approx(estimators.score(one, rows) - estimators.score(one, blue), abs=1e-12)
    assert np.abs(effects[rows.colour == "blue", 0]).max() < 1e-12
    average = rows.assign(size=0.25)
    assert effects[:, 2] == pytest.approx(estimators.score(one, rows) - estimators.score(one, average), abs=1e-12)
