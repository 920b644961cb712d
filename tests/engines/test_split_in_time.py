"""Long rows, split in time: the rows of each part, and a search over rows that come in groups."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest
import skops.io
from pydantic import ValidationError
from pyspark.sql import functions as F

from lakehouse_ml.errors import RegistryError, TrainingError
from lakehouse_ml.modelling.card import Candidate, ModelCard
from lakehouse_ml.modelling.drift import ColumnProfile, score_edges
from lakehouse_ml.modelling.estimators import sklearn as estimators
from lakehouse_ml.modelling.estimators.base import EstimatorSpec, select_predictors
from lakehouse_ml.modelling.estimators.sklearn import TRUSTED_TYPES
from lakehouse_ml.modelling.metrics import choose_threshold, classification_metrics
from lakehouse_ml.modelling.population import PopulationSpec
from lakehouse_ml.modelling.split import (
    HashSplit,
    SplitDates,
    TimeSplit,
    assign_part,
    choose_split_dates,
    describe_unseen,
    is_held_out,
    unseen_condition,
)
from lakehouse_ml.pipelines.training.nodes import TrainingSpec, assemble_rows, search
from lakehouse_ml.use_cases.predictive_maintenance.contracts import label_machines

KEY = ("machine_id", "predicted_at")
BY_HASH = {"holdout_share": 0.2, "salt": 0, "min_per_class": 5, "max_share_gap": 0.2}
IN_TIME = {
    "kind": "time", "calibrate_from": date(2024, 2, 1), "test_from": date(2024, 2, 16), "min_per_class": 5,
}  # fmt: skip
LOGISTIC = {"estimator": "logistic_regression", "params": {"C": 1.0}}
BOOSTING = {"estimator": "gradient_boosting", "params": {"max_iter": 10, "max_depth": 2, "l2_regularization": 1.0}}
FOREST = {"estimator": "random_forest", "params": {"n_estimators": 10, "max_depth": 4}}


def training(*trials: dict[str, Any], **params: Any) -> TrainingSpec:
    return TrainingSpec.model_validate(
        {"split": IN_TIME, "folds": 3, "seed": 0, "max_rows": 10_000, "trials": trials or (LOGISTIC,)} | params
    )


def at(day: int, hour: int = 0, month: int = 1) -> datetime:
    return datetime(2024, month, day, hour, tzinfo=UTC)


# What conf may say


def test_a_split_without_a_kind_is_by_hash() -> None:
    assert training(split=BY_HASH).split == HashSplit(**BY_HASH)
    assert training(split=BY_HASH | {"kind": "hash"}).split == HashSplit(**BY_HASH)


def test_a_split_in_time_leaves_its_days_to_the_rows_unless_they_are_named() -> None:
    split = training(split={"kind": "time", "min_per_class": 2}).split
    assert isinstance(split, TimeSplit)
    assert (split.calibrate_from, split.test_from, split.calibration_share, split.test_share) == (None, None, 0.15, 0.2)


@pytest.mark.parametrize(
    ("split", "message"),
    [
        (BY_HASH | {"kind": "weather"}, "its kind is hash or time, not weather"),
        (BY_HASH | {"test_share": 0.1}, r"split\.test_share\n  Extra inputs"),
        (IN_TIME | {"salt": 1}, r"split\.salt\n  Extra inputs"),
        (IN_TIME | {"min_per_class": 1}, r"split\.min_per_class"),
        (IN_TIME | {"calibration_share": 0.5, "test_share": 0.5}, "leave nothing to train on"),
    ],
)
def test_a_wrong_split_is_refused_under_the_key_that_conf_gives_it(split: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        training(split=split)


# Where time is cut


def test_days_that_conf_leaves_open_follow_from_the_span_rounded_down_to_midnight() -> None:
    first, last = at(1, 6), at(1, 6) + timedelta(days=100)
    open_split = TimeSplit(kind="time", min_per_class=2)
    # A fifth of 100 days before 10 April 06:00 is 21 March 06:00; 15 days before its midnight, 6 March.
    assert choose_split_dates(open_split, first, last) == SplitDates(date(2024, 3, 6), date(2024, 3, 21))
    named = open_split.model_copy(update={"test_from": date(2024, 3, 1)})
    assert choose_split_dates(named, first, last) == SplitDates(date(2024, 2, 15), date(2024, 3, 1))
    named = open_split.model_copy(update={"calibrate_from": date(2024, 2, 1)})
    assert choose_split_dates(named, first, last) == SplitDates(date(2024, 2, 1), date(2024, 3, 21))


@pytest.mark.parametrize(
    ("days", "message"),
    [
        ((date(2024, 1, 1), date(2024, 2, 1)), "The calibration part can't begin on 2024-01-01: labelled rows go from "
                                               "2024-01-01 00:00 to 2024-03-01 00:00 UTC. Set calibrate_from"),
        ((date(2024, 2, 1), date(2024, 3, 2)), "The holdout part can't begin on 2024-03-02: labelled rows go from "),
        ((date(2024, 2, 1), date(2024, 2, 1)), "The calibration part can't begin on 2024-02-01: it must begin before "
                                               "the holdout part, on 2024-02-01; labelled rows go from"),
    ],
)  # fmt: skip
def test_days_out_of_order_or_outside_of_the_rows_are_refused_by_name(days: tuple[date, date], message: str) -> None:
    split = TimeSplit(kind="time", calibrate_from=days[0], test_from=days[1], min_per_class=2)
    with pytest.raises(TrainingError) as refused:
        choose_split_dates(split, at(1), at(1, month=3))
    assert message in str(refused.value)


def test_days_at_the_bounds_of_the_rows_are_accepted() -> None:
    split = TimeSplit(kind="time", calibrate_from=date(2024, 1, 2), test_from=date(2024, 3, 1), min_per_class=2)
    assert choose_split_dates(split, at(1), at(1, month=3)) == SplitDates(date(2024, 1, 2), date(2024, 3, 1))


def test_a_part_begins_at_its_midnight_by_which_the_labels_before_were_known_to_the_microsecond(spark: Any) -> None:
    cuts, tick = SplitDates(date(2024, 1, 10), date(2024, 1, 20)), timedelta(microseconds=1)
    parts = {
        at(1): "train",
        at(8, 12): "train",
        at(8, 12) + tick: None,
        at(10) - tick: None,
        at(10): "calibration",
        at(18, 12): "calibration",
        at(18, 12) + tick: None,
        at(20) - tick: None,
        at(20): "holdout",
        at(30): "holdout",
    }
    rows = [(n, moment, moment + timedelta(hours=36)) for n, moment in enumerate(parts)]
    frame = spark.createDataFrame(rows, "n int, moment timestamp, known timestamp")
    parted = frame.select("n", assign_part("moment", "known", cuts).alias("part")).collect()
    assert [row.part for row in sorted(parted, key=lambda row: row.n)] == list(parts.values())


def test_where_labels_are_known_at_once_each_row_belongs_to_a_part(spark: Any) -> None:
    days = spark.createDataFrame([(date(2024, 1, day),) for day in range(1, 31)], "moment date")
    part = assign_part("moment", "moment", SplitDates(date(2024, 1, 10), date(2024, 1, 20)))
    parts = days.select("moment", part.alias("part"))
    assert {row.moment.day: row.part for row in parts.collect()} == {
        day: "train" if day < 10 else "calibration" if day < 20 else "holdout" for day in range(1, 31)
    }


@pytest.mark.parametrize("kind", ["date", "timestamp"])
def test_a_model_never_saw_what_came_from_the_first_moment_of_its_holdout_on(spark: Any, kind: str) -> None:
    moments = [at(9), at(10), at(11)]
    values = [moment.date() if kind == "date" else moment for moment in moments]
    rows = spark.createDataFrame([(1, value) for value in values], f"machine_id int, predicted_at {kind}")
    unseen = describe_unseen(int(moments[1].timestamp()) * 1_000_000)
    assert unseen == {"kind": "time", "from": "2024-01-10T00:00:00+00:00"}
    unseen_rows = rows.where(unseen_condition(unseen, KEY)).select(F.dayofmonth("predicted_at").alias("day")).collect()
    assert sorted(row.day for row in unseen_rows) == [10, 11]


def test_a_model_never_saw_the_entities_that_its_hash_holds_out_whenever_their_rows_came(spark: Any) -> None:
    rows = spark.createDataFrame(
        [(n, at(day)) for n in range(50) for day in (1, 2)], "machine_id int, predicted_at timestamp"
    )
    unseen_rows = rows.where(unseen_condition({"kind": "hash", "salt": 3, "holdout_share": 0.3}, KEY)).collect()
    assert sorted(row.machine_id for row in unseen_rows) == sorted(
        2 * [n for n in range(50) if is_held_out(str(n), 3, 0.3)]
    )


# Assembling


def long_rows(n: int = 20, days: int = 60, seed: int = 0) -> pd.DataFrame:
    """Two components of machines, every day: heat breaks comp1, and noise comp2, more in old machines of model b."""
    dice = np.random.default_rng(seed)
    rows = pd.DataFrame(
        [(machine, at(1) + timedelta(days=day)) for machine in range(1, n + 1) for day in range(days)],
        columns=list(KEY),
    )
    rows["model"] = np.where(rows.machine_id % 3 == 0, "b", "a")
    rows["heat"], rows["noise"] = dice.normal(size=len(rows)), dice.normal(size=len(rows))
    both = pd.concat([rows.assign(component=name) for name in ("comp2", "comp1")], ignore_index=True)
    cause = np.where(both.component == "comp1", both.heat, 0.3 * both.noise) + 0.7 * (both.model == "b")
    both["label"] = (dice.random(len(both)) < 1 / (1 + np.exp(3.5 - 2 * cause))).astype("int32")
    return both


def tables(spark: Any, rows: pd.DataFrame, horizon_hours: int) -> tuple[Any, Any]:
    rows = rows.assign(known_at=rows.predicted_at + pd.Timedelta(hours=horizon_hours))
    features = rows.drop_duplicates(list(KEY))[[*KEY, "model", "heat", "noise"]]
    return (
        spark.createDataFrame(
            features, "machine_id int, predicted_at timestamp, model string, heat double, noise double"
        ),
        spark.createDataFrame(
            rows[[*KEY, "component", "label", "known_at"]],
            "machine_id int, predicted_at timestamp, component string, label int, known_at timestamp",
        ),
    )


def assembled(spark: Any, rows: pd.DataFrame, horizon_hours: int = 24, **params: Any) -> pd.DataFrame:
    table: pd.DataFrame = assemble_rows(
        *tables(spark, rows, horizon_hours), training(**params), None, KEY, "component"
    ).toPandas()
    return table.assign(predicted_at=table.predicted_at.dt.tz_localize("UTC"))


def test_where_states_recur_each_label_is_a_row_with_its_target_after_the_features(spark: Any) -> None:
    rows = long_rows()
    table = assembled(spark, rows)
    assert list(table.columns) == [*KEY, "model", "heat", "noise", "component", "label", "part"]
    first, last = rows.predicted_at <= at(31), rows.predicted_at >= at(16, month=2)
    middle = (rows.predicted_at >= at(1, month=2)) & (rows.predicted_at <= at(15, month=2))
    expected = rows.assign(part=np.select([first, middle, last], ["train", "calibration", "holdout"], "gap"))
    by = [*KEY, "component"]
    pd.testing.assert_frame_equal(
        table.sort_values(by, ignore_index=True),
        expected[expected.part != "gap"].sort_values(by, ignore_index=True)[list(table.columns)],
        check_dtype=False,
    )


def test_labels_as_their_contract_has_them_are_joined_on_entity_and_moment(spark: Any) -> None:
    labels = tables(spark, long_rows(), 24)[1]
    assert label_machines.validate(labels) is labels


def test_states_over_time_are_split_by_the_day_from_which_their_outcome_is_known(spark: Any) -> None:
    rows = long_rows(40)
    rows = rows[rows.component == "comp1"].assign(label=lambda table: (table.machine_id // 2 % 2).astype("int32"))
    features, labels = tables(spark, rows, 24 * 5)
    labels = labels.drop("component").withColumn("known_at", F.col("known_at").cast("date"))
    spec = training(split=IN_TIME | {"min_per_class": 2})
    assembled_rows = assemble_rows(features, labels, spec, PopulationSpec(horizon_days=5), KEY).collect()
    parts = {(row.machine_id, row.predicted_at): row.part for row in assembled_rows}
    last = {part: max(at for (_, at), own in parts.items() if own == part) for part in ("train", "calibration")}
    # The last row of a part is one horizon older than the first of the next: its outcome was known by then.
    first = {part: min(at for (_, at), own in parts.items() if own == part) for part in ("calibration", "holdout")}
    assert first["calibration"] - last["train"] >= timedelta(days=5)
    assert first["holdout"] - last["calibration"] >= timedelta(days=5)
    assert len(parts) == len(assembled_rows)


def test_a_part_without_enough_rows_of_a_label_is_refused_with_its_dates_and_counts(spark: Any) -> None:
    rows = long_rows()
    within = (rows.predicted_at >= at(1, month=2)) & (rows.predicted_at <= at(15, month=2))
    rows.loc[within, "label"] = 0
    with pytest.raises(TrainingError) as refused:
        assembled(spark, rows)
    assert str(refused.value) == (
        "The calibration part (from 2024-02-01, known by 2024-02-16 00:00 UTC) has 0 rows with label 1; at "
        "least 5 are needed. Land more labelled rows, move calibrate_from and test_from, or lower min_per_class in "
        "conf."
    )


def test_a_horizon_that_swallows_a_part_is_refused_like_a_part_without_rows(spark: Any) -> None:
    with pytest.raises(
        TrainingError, match=r"The calibration part \(from 2024-02-01, known by .*\) has 0 rows with label 0"
    ):
        assembled(spark, long_rows(), horizon_hours=24 * 15 + 1)


def test_without_any_labelled_row_there_is_nothing_to_split(spark: Any) -> None:
    with pytest.raises(TrainingError, match="No row has a label yet"):
        assembled(spark, long_rows().head(0))


# The search


def frame(spark: Any, rows: pd.DataFrame) -> Any:
    kinds = "machine_id int, predicted_at timestamp, model string, heat double, noise double, component string, "
    return spark.createDataFrame(rows, f"{kinds}label int, part string")


def searched(spark: Any, rows: pd.DataFrame, spec: TrainingSpec) -> tuple[Candidate, pd.DataFrame]:
    return search(frame(spark, rows), spec, KEY, ("model",), "component")


@pytest.fixture(scope="module")
def rows(spark: Any) -> pd.DataFrame:
    return assembled(spark, long_rows()).sort_values([*KEY, "component"], ignore_index=True)


@pytest.fixture(scope="module")
def result(spark: Any, rows: pd.DataFrame) -> tuple[Candidate, pd.DataFrame]:
    return searched(spark, rows, training(LOGISTIC, FOREST, BOOSTING))


CATEGORICAL, NUMERIC = ("model", "component"), ("heat", "noise")


def part(rows: pd.DataFrame, name: str) -> tuple[pd.DataFrame, np.ndarray]:
    chosen = rows[rows.part == name].reset_index(drop=True)
    return select_predictors(chosen, CATEGORICAL, NUMERIC), chosen.label.to_numpy()


def test_the_card_names_target_targets_and_the_first_unseen_moment(result: tuple[Candidate, pd.DataFrame]) -> None:
    card = result[0].card
    assert (card.categorical, card.numeric) == (CATEGORICAL, NUMERIC)
    assert (card.label_dimension, card.label_values) == ("component", ("comp1", "comp2"))
    assert card.unseen == {"kind": "time", "from": "2024-02-16T00:00:00+00:00"}
    assert ModelCard.from_json(card.to_json()) == card


def test_a_card_that_other_code_wrote_is_refused_with_what_differs(result: tuple[Candidate, pd.DataFrame]) -> None:
    fields = json.loads(result[0].card.to_json())
    older = {name: value for name, value in fields.items() if name not in ("unseen", "target")} | {"salt": 0}
    with pytest.raises(RegistryError, match=r"differs in salt, target, unseen\): go back to that, or start a new lake"):
        ModelCard.from_json(json.dumps(older))


def test_an_entitys_rows_lie_in_one_fold(rows: pd.DataFrame, result: tuple[Candidate, pd.DataFrame]) -> None:
    from sklearn.model_selection import StratifiedGroupKFold

    predictors, label = part(rows, "train")
    machines, probability = rows[rows.part == "train"].machine_id.to_numpy(), np.zeros(len(label))
    for train, test in StratifiedGroupKFold(3, shuffle=True, random_state=0).split(predictors, label, machines):
        assert not set(machines[train]) & set(machines[test])
        model = estimators.fit(
            EstimatorSpec.model_validate(LOGISTIC),
            predictors.iloc[train],
            label[train],
            categorical=CATEGORICAL,
            numeric=NUMERIC,
            seed=0,
        )
        probability[test] = estimators.score(model, predictors.iloc[test])
    trial = result[1].iloc[0]
    expected = classification_metrics(label, probability, choose_threshold(label, probability))
    assert {name: trial[name] for name in expected} == pytest.approx(expected)


def test_too_few_entities_for_the_folds_are_refused_with_their_number(spark: Any, rows: pd.DataFrame) -> None:
    few = rows[rows.machine_id.isin([3, 6])]
    with pytest.raises(TrainingError, match=r"label 0 in the train part are of 2 entities.* 3 folds"):
        searched(spark, few, training())


def test_the_winner_is_fitted_on_train_calibrated_on_calibration_and_decides_by_the_best_f1_there(
    rows: pd.DataFrame, result: tuple[Candidate, pd.DataFrame]
) -> None:
    card, (predictors, label) = result[0].card, part(rows, "calibration")
    spec = EstimatorSpec(estimator=card.estimator, params=dict(card.params))
    fitted = estimators.fit(spec, *part(rows, "train"), categorical=CATEGORICAL, numeric=NUMERIC, seed=0)
    score = estimators.score(estimators.calibrate(fitted, predictors, label), predictors)
    assert estimators.score(result[0].model, predictors) == pytest.approx(score, abs=1e-12)
    assert card.threshold == pytest.approx(choose_threshold(label, score), abs=1e-12)
    assert result[0].model.predict(predictors).tolist() == (score >= card.threshold).astype(int).tolist()
    assert score.mean() == pytest.approx(label.mean(), abs=0.01)


def test_the_reference_for_drift_has_everybodys_training_rows_and_calibrated_scores(
    rows: pd.DataFrame, result: tuple[Candidate, pd.DataFrame]
) -> None:
    reference = {name: ColumnProfile.from_dict(profile) for name, profile in result[0].card.reference.items()}
    train, calibration = part(rows, "train")[0], part(rows, "calibration")[0]
    assert reference["component"].counts == {"comp1": len(train) // 2, "comp2": len(train) // 2}
    assert (reference["heat"].rows, reference["score"].rows) == (len(train), len(calibration))
    assert reference["score"].edges == pytest.approx(
        score_edges(estimators.score(result[0].model, calibration)), abs=1e-9
    )


def test_a_machine_with_several_predictions_a_day_counts_once_in_the_reference(
    rows: pd.DataFrame, result: tuple[Candidate, pd.DataFrame]
) -> None:
    for name, kind in (("heat", "train"), ("score", "calibration")):
        of_part = rows[rows.part == kind]
        once_a_day = of_part.assign(day=of_part.predicted_at.dt.date)[["machine_id", "day"]].drop_duplicates()
        profile = ColumnProfile.from_dict(result[0].card.reference[name])
        assert (profile.rows, profile.entities) == (len(of_part), len(once_a_day))
        assert len(once_a_day) < len(of_part)


def test_the_holdout_influences_nothing_and_calibration_neither_trials_nor_order_of_scores(
    spark: Any, rows: pd.DataFrame
) -> None:
    plain = searched(spark, rows, training())
    turned = [
        rows.assign(label=rows.label.where(rows.part != name, 1 - rows.label)) for name in ("holdout", "calibration")
    ]
    other_holdout, other_calibration = (searched(spark, table, training()) for table in turned)
    assert other_holdout[0].card == plain[0].card
    assert other_calibration[0].card.threshold != plain[0].card.threshold
    for other in (other_holdout, other_calibration):
        assert other[1].drop(columns="fit_seconds").equals(plain[1].drop(columns="fit_seconds"))


def test_a_sample_of_too_many_rows_keeps_the_share_of_each_label_in_any_order(spark: Any, rows: pd.DataFrame) -> None:
    from lakehouse_ml.pipelines.training import nodes

    spec, columns = training(max_rows=100), nodes.Columns.from_names(rows.columns, KEY, ("model",), "component")
    counts = {(name, label): n for (name, label), n in rows.groupby(["part", "label"]).size().items()}
    one, other = (
        nodes._collect_part(frame(spark, table), "train", counts, spec, columns) for table in (rows, rows.iloc[::-1])
    )
    share = counts["train", 1] / (counts["train", 0] + counts["train", 1])
    assert (len(one.label), one.label.sum()) == (100, round(100 * share))
    pd.testing.assert_frame_equal(one.predictors, other.predictors)
    assert set(one.predictors.component) == {"comp1", "comp2"}
    assert len(set(one.entity)) > 15


def test_too_many_rows_are_assembled_as_the_sample_of_the_search_and_the_whole_hold_out(spark: Any) -> None:
    from lakehouse_ml.pipelines.training import nodes

    key, rows = [*KEY, "component"], long_rows()
    most = dict.fromkeys(("train", "calibration"), 100)
    full, few = (assembled(spark, rows, max_rows=max_rows) for max_rows in (10_000, 100))
    counts = {(name, label): n for (name, label), n in full.groupby(["part", "label"]).size().items()}
    assert all(counts[part, 0] + counts[part, 1] > n for part, n in most.items())
    columns = nodes.Columns.from_names(full.columns, KEY, ("model",), "component")
    for part in most:
        sample = nodes._collect_part(frame(spark, full), part, counts, training(max_rows=100), columns)
        kept = few[few.part == part].sort_values(key, ignore_index=True)
        assert kept.label.tolist() == sample.label.tolist()
        assert kept[["machine_id"]].to_numpy().ravel().tolist() == sample.entity.tolist()
        assert kept.heat.tolist() == sample.predictors.heat.tolist()
    holdouts = [table[table.part == "holdout"].sort_values(key, ignore_index=True) for table in (full, few)]
    pd.testing.assert_frame_equal(*holdouts)


# The calibrated model


@pytest.fixture(params=[LOGISTIC, FOREST, BOOSTING], ids=lambda trial: trial["estimator"])
def calibrated(request: pytest.FixtureRequest, rows: pd.DataFrame) -> Any:
    spec = EstimatorSpec.model_validate(request.param)
    fitted = estimators.fit(spec, *part(rows, "train"), categorical=CATEGORICAL, numeric=NUMERIC, seed=0)
    return estimators.set_threshold(estimators.calibrate(fitted, *part(rows, "calibration")), 0.2)


def test_a_calibrated_model_is_stored_with_the_reviewed_types_alone_and_scores_alike(
    calibrated: Any, rows: pd.DataFrame
) -> None:
    stored, (unseen, _) = skops.io.dumps(calibrated), part(rows, "holdout")
    strangers = set(skops.io.get_untrusted_types(data=stored))
    assert strangers <= set(TRUSTED_TYPES)
    assert {"sklearn.calibration._CalibratedClassifier", "sklearn.calibration._SigmoidCalibration"} <= strangers
    read = skops.io.loads(stored, trusted=list(TRUSTED_TYPES))
    assert estimators.score(read, unseen).tolist() == estimators.score(calibrated, unseen).tolist()
    assert read.predict(unseen).tolist() == calibrated.predict(unseen).tolist()


def test_the_effects_of_a_calibrated_model_are_differences_of_its_own_scores(
    calibrated: Any, rows: pd.DataFrame
) -> None:
    unseen = part(rows, "holdout")[0].head(200)
    baseline = {"model": "a", "component": "comp2", "heat": 0.25, "noise": 0.0}
    effects, here = estimators.explain(calibrated, unseen, baseline), estimators.score(calibrated, unseen)
    for number, (name, typical) in enumerate(baseline.items()):
        without = estimators.score(calibrated, unseen.assign(**{name: typical}))
        assert effects[:, number] == pytest.approx(here - without, abs=1e-12)
    assert np.abs(effects).max() > 0.01


def test_calibration_keeps_the_order_of_scores_and_brings_them_to_the_share_that_happens(rows: pd.DataFrame) -> None:
    spec, (chosen, label) = EstimatorSpec.model_validate(BOOSTING), part(rows, "calibration")
    fitted = estimators.fit(spec, *part(rows, "train"), categorical=CATEGORICAL, numeric=NUMERIC, seed=0)
    model = estimators.calibrate(fitted, chosen, label)
    raw, score = estimators.score(fitted, chosen), estimators.score(model, chosen)
    assert (np.diff(score[np.argsort(raw)]) >= 0).all()
    assert score.mean() == pytest.approx(label.mean(), abs=0.01)
