"""Nodes of training: assemble labelled rows, search, and describe the winner."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from pydantic import Field
from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from lakehouse_ml.config.spec import Spec
from lakehouse_ml.errors import TrainingError
from lakehouse_ml.modelling.card import Candidate, ModelCard
from lakehouse_ml.modelling.drift import (
    profile_categorical,
    profile_numeric,
    quantile_edges,
    score_edges,
)
from lakehouse_ml.modelling.estimators.base import (
    EstimatorBackend,
    EstimatorSpec,
    LibraryName,
    estimator_backend,
    select_predictors,
)
from lakehouse_ml.modelling.metrics import METRICS, choose_threshold, classification_metrics
from lakehouse_ml.modelling.population import KNOWN_AT, LEARNED_UNTIL, PopulationSpec, select_states
from lakehouse_ml.modelling.split import (
    HashSplit,
    SplitSpec,
    TimeSplit,
    assign_part,
    choose_split_dates,
    describe_unseen,
    from_microseconds,
    hash_order,
    hold_out_condition,
    to_microseconds,
)
from lakehouse_ml.storage.writes import collect

log = logging.getLogger(__name__)

SCORE = "score"
_EXAMPLES = 5
_EXPLAINED = 1_000


class TrainingSpec(Spec):
    """The split and the search.

    Attributes:
        library: What fits the trials: scikit-learn, on any engine, or Spark's MLlib, on the engine `spark`.
        split: Which rows are held out, and which calibrate, if any do.
        folds: Of the stratified cross-validation; an entity's rows lie in one fold.
        seed: Of folds, estimators and samples.
        max_rows: Rows of a part that are taken into memory at most; beyond, an even sample by hash, label by label.
        trials: Points of the search, tried in order.
    """

    library: LibraryName = "sklearn"
    split: SplitSpec
    folds: int = Field(ge=2, le=20)
    seed: int
    max_rows: int = Field(ge=100)
    trials: tuple[EstimatorSpec, ...] = Field(min_length=1)


@dataclass(frozen=True)
class Trial:
    """One estimator, cross-validated: its out-of-fold probabilities, the threshold chosen on them, and metrics."""

    spec: EstimatorSpec
    probability: np.ndarray
    threshold: float
    metrics: Mapping[str, float]
    fit_seconds: float


@dataclass(frozen=True)
class Rows:
    """Rows of one part in memory: predictors, shape (n_rows, n_predictors); the others have the shape (n_rows,).

    Attributes:
        predictors: What is learned from.
        label: 0 or 1.
        entity: Whose row it is.
        day: The day of its moment.
        scored: Whether a batch of its day would hold it: who left by the day's own file is not scored.
    """

    predictors: pd.DataFrame
    label: np.ndarray
    entity: np.ndarray
    day: np.ndarray
    scored: np.ndarray

    @property
    def entities_recur(self) -> bool:
        """Whether an entity has several rows, so that they tell of each other."""
        return len(pd.unique(self.entity)) < len(self.entity)

    @property
    def newest(self) -> str:
        """The newest day of all rows, as text."""
        return f"{pd.Timestamp(self.day.max()):%Y-%m-%d}"

    def count_entities(self) -> int | None:
        """Entities of the rows that a batch would hold, each counted once a day; None where that is every row."""
        once_a_day = pd.DataFrame({"entity": self.entity, "day": self.day})[self.scored].drop_duplicates()
        return len(once_a_day) if len(once_a_day) < self.scored.sum() else None


@dataclass(frozen=True)
class Columns:
    """What the columns of the rows are: the whole key, the label dimension in it, and the predictors by kind."""

    key: tuple[str, ...]
    label_dimension: str | None
    categorical: tuple[str, ...]
    numeric: tuple[str, ...]

    @classmethod
    def of(
        cls, names: Sequence[str], key: Sequence[str], categorical: Sequence[str], label_dimension: str | None
    ) -> Columns:
        """Told apart by name: what is neither key, label dimension, label, part nor categorical is a number."""
        further = (label_dimension,) if label_dimension else ()
        others = {*key, *further, *categorical, "label", "part", KNOWN_AT}
        numeric = tuple(name for name in names if name not in others)
        return cls((*key, *further), label_dimension, (*categorical, *further), numeric)


def assemble_rows(
    features: DataFrame,
    labels: DataFrame,
    spec: TrainingSpec,
    population: PopulationSpec | None,
    key: Sequence[str],
    label_dimension: str | None = None,
) -> DataFrame:
    """Labelled rows, with their part of the split.

    Every known outcome is a row: who was asked about in five months and stayed in four of them counts five times, for
    only then is the share of label 1 that of a month, as a batch has it.

    Args:
        features: One row per key.
        labels: One row per key (and label dimension) with a known outcome, `label` 0 or 1. Where it becomes known
            later than its moment, `known_at` tells when.
        spec: Its split decides `part`.
        population: Where rows are states of entities over time: which state counts on the day of an outcome. None: a
            label goes with the row of its key.
        key: Entity and moment, in this order; the moment is a date (00:00 UTC) or a timestamp.
        label_dimension: Column of `labels` that tells what a label is about, where a state has several.

    Returns:
        One row per key and label dimension: all feature columns, `label`, with a population `known_at`, and `part`
        (train, calibration or holdout). Rows of no part are left out, and of a part with more than `max_rows` rows, but
        the hold-out, those that the sample of `search` leaves out.

    Raises:
        TrainingError: Split in time: there are no labelled rows, a date doesn't fit them, or a part lacks rows of a
            class.
    """
    further = [label_dimension] if label_dimension else []
    known = [KNOWN_AT] if KNOWN_AT in labels.columns else []
    kept = known if population else []
    if population and population.snapshots == "changes":
        features = select_states(features, labels, population, key)
    # Predictors come last: who is in which part is found out of keys and labels, which are a small part of the bytes.
    rows = features.select(*key).join(labels.select(*key, *further, "label", *known), on=list(key), how="inner")
    part, told = _part(rows, spec.split, key)
    rows = rows.select(*key, *further, "label", *kept, part.alias("part")).where(F.col("part").isNotNull())
    counts = _part_counts(rows)
    if told:
        check_parts(counts, spec.split, told)
    rows = _sampled(rows, counts, spec, [*key, *further])
    joined = rows.join(features, on=list(key), how="inner")
    return joined.select(*features.columns, *further, "label", *kept, "part")


def _part(rows: DataFrame, split: HashSplit | TimeSplit, key: Sequence[str]) -> tuple[Column, Mapping[str, str] | None]:
    """The part of each row; where rows are split in time, from when to when each part goes, too."""
    entity, moment = key
    if isinstance(split, HashSplit):
        return F.when(hold_out_condition(entity, split.salt, split.holdout_share), "holdout").otherwise("train"), None
    at = to_microseconds(moment)
    span = collect(rows.agg(F.min(at).alias("first"), F.max(at).alias("last"))).iloc[0]
    if pd.isna(span["first"]):
        raise TrainingError("No row has a label yet, so there is nothing to split in time: land rows with outcomes.")
    cuts = choose_split_dates(split, from_microseconds(int(span["first"])), from_microseconds(int(span["last"])))
    return assign_part(moment, KNOWN_AT if KNOWN_AT in rows.columns else moment, cuts), cuts.told()


def _sampled(
    rows: DataFrame, counts: Mapping[tuple[str, int], int], spec: TrainingSpec, key: Sequence[str]
) -> DataFrame:
    """Parts to learn from or calibrate on, cut down to the sample that `search` describes; the hold-out as it is."""
    parts = {part: (counts.get((part, 0), 0), counts.get((part, 1), 0)) for part in ("train", "calibration")}
    most: dict[tuple[str, int], int] = {}
    for part, (negative, positive) in parts.items():
        if negative + positive > spec.max_rows:
            taken = min(max(1, round(spec.max_rows * positive / (negative + positive))), spec.max_rows - 1)
            most |= {(part, 0): spec.max_rows - taken, (part, 1): taken}
    if not most:
        return rows
    ranked = Window.partitionBy("part", "label").orderBy(hash_order(spec.seed, key))
    beyond = F.lit(0) == F.lit(1)
    for (part, label), n in most.items():
        beyond = beyond | ((F.col("part") == part) & (F.col("label") == label) & (F.col("_rank") > n))
    return rows.withColumn("_rank", F.row_number().over(ranked)).where(~beyond).drop("_rank")


def search(
    model_input: DataFrame,
    spec: TrainingSpec,
    key: Sequence[str],
    categorical: Sequence[str],
    label_dimension: str | None = None,
) -> tuple[Candidate, pd.DataFrame]:
    """Try every point of the grid on the training part, and fit the best by cross-validated F1 on all of it.

    Folds keep the share of positive rows, and the rows of an entity together. Where rows are split in time, the
    winner's scores are then calibrated, and its threshold is chosen (best F1), on the calibration part; else the
    threshold is the best of the out-of-fold scores.

    Of more than `max_rows` rows in a part, a sample is taken: of each label those that come first by a hash of the
    whole key, as many as its share of the part asks for. So neither label is lost to chance more than the other, and
    the sample's share of positive rows is that of the part, to a row.

    Args:
        model_input: Labelled rows with `part`; the hold-out is counted here and not used. Columns that are neither key,
            label dimension, label, part nor categorical are numbers.
        spec: Split and search.
        key: Entity and moment; with the label dimension, they order the rows.
        categorical: Predictors with categories, but for the label dimension.
        label_dimension: Column that tells what a label is about; it is the last categorical predictor.

    Returns:
        The candidate, and one row per trial: trial, estimator, params (JSON), threshold, chosen, fit_seconds, and the
        metrics of the out-of-fold predictions at that threshold.

    Raises:
        TrainingError: A part lacks rows of a class, the parts' class shares lie too far apart, or too few entities
            make the folds.
    """
    from threadpoolctl import threadpool_limits

    counts = _part_counts(model_input)
    check_parts(counts, spec.split)
    columns = Columns.of(model_input.columns, key, categorical, label_dimension)
    train = _rows(model_input, "train", counts, spec, columns)
    estimators = estimator_backend(spec.library)
    log.info("  %d trials, %d folds, %d training rows", len(spec.trials), spec.folds, len(train.label))
    # One thread a fit: those that an estimator starts by itself would only wait for each other.
    with threadpool_limits(1):
        trials = _cross_validate(train, columns, spec, estimators)
        # Ties go to the one with the higher average precision, then to the one named first.
        best = max(trials, key=lambda trial: (trial.metrics["f1"], trial.metrics["average_precision"]))
        fitted = estimators.fit(
            best.spec,
            train.predictors,
            train.label,
            categorical=columns.categorical,
            numeric=columns.numeric,
            seed=spec.seed,
        )
        judged = Judged(fitted, train, best.probability, best.threshold)
        if isinstance(spec.split, TimeSplit):
            judged = _calibrated(fitted, _rows(model_input, "calibration", counts, spec, columns), estimators)
        candidate = _candidate(best, judged, train, columns, spec, _unseen(model_input, spec.split, key[1], train))
    return candidate, _trial_table(trials, best)


def check_parts(
    counts: Mapping[tuple[str, int], int], spec: HashSplit | TimeSplit, when: Mapping[str, str] | None = None
) -> None:
    """Refuse a split that can't be learned from or judged on.

    Args:
        counts: Rows by (part, label).
        spec: The least number of rows per class and part, and the widest gap between shares.
        when: From when to when each part goes, in words, where it is split in time.

    Raises:
        TrainingError: Names part, dates, class and numbers.
    """
    in_time = isinstance(spec, TimeSplit)
    shares = {}
    for part in ("train", "calibration", "holdout") if in_time else ("train", "holdout"):
        by_class = {label: counts.get((part, label), 0) for label in (0, 1)}
        told = f"The {part} part ({when[part]})" if when else f"The {part} part"
        for label, n in by_class.items():
            if n < spec.min_per_class:
                remedy = "move calibrate_from and test_from, or " if in_time else ""
                raise TrainingError(
                    f"{told} has {n} rows with label {label}; at least {spec.min_per_class} are needed. "
                    f"Land more labelled rows, {remedy or 'or '}lower min_per_class in conf."
                )
        shares[part] = by_class[1] / sum(by_class.values())
    # What comes later may well fail more often: in time, shares that differ are no mistake of the split.
    if isinstance(spec, TimeSplit):
        return
    gap = abs(shares["train"] - shares["holdout"])
    if gap > spec.max_share_gap:
        raise TrainingError(
            f"The share of positive rows is {shares['train']:.1%} in training and {shares['holdout']:.1%} in the "
            f"hold-out: further apart than {spec.max_share_gap:.1%}. Choose another salt, or land more rows."
        )


def _part_counts(model_input: DataFrame) -> dict[tuple[str, int], int]:
    counted = collect(model_input.groupBy("part", "label").agg(F.count(F.lit(1)).alias("n")))
    return {(str(row.part), int(row.label)): int(row.n) for row in counted.itertuples()}


def _unseen(model_input: DataFrame, split: HashSplit | TimeSplit, moment: str, train: Rows) -> dict[str, Any]:
    """Which rows the model won't have seen, told of the rows themselves: conf may leave the dates to them."""
    if isinstance(split, HashSplit):
        share = {"salt": split.salt, "holdout_share": split.holdout_share}
        return {"kind": "hash", **share, LEARNED_UNTIL: train.newest}
    holdout = model_input.where(F.col("part") == "holdout")
    return describe_unseen(int(collect(holdout.agg(F.min(to_microseconds(moment)).alias("first")))["first"].item()))


def _rows(
    model_input: DataFrame, part: str, counts: Mapping[tuple[str, int], int], spec: TrainingSpec, columns: Columns
) -> Rows:
    """Rows of a part in memory, in the order of their key; of too many a sample, see `search`."""
    rows = _sampled(model_input.where(F.col("part") == part), counts, spec, columns.key)
    table = collect(rows).sort_values(list(columns.key), ignore_index=True)
    entity, label = table[columns.key[0]], table["label"].to_numpy()
    days = pd.to_datetime(table[columns.key[1]]).dt.tz_localize(None).dt.normalize()
    if KNOWN_AT in table:
        scored = ~((label == 1) & (pd.to_datetime(table[KNOWN_AT]) <= days).to_numpy())
    else:
        # Where entities recur, nothing has ended for them, and batches hold all of them.
        scored = (label == 0) | (not entity.is_unique)
    rows = select_predictors(table, columns.categorical, columns.numeric)
    return Rows(rows, label, entity.to_numpy(), days.to_numpy(), np.asarray(scored))


def _cross_validate(train: Rows, columns: Columns, spec: TrainingSpec, estimators: EstimatorBackend) -> list[Trial]:
    """Every trial on every fold."""
    rows, label = train.predictors, train.label
    folds = _folds(train, spec)

    def out_of_fold(trial: EstimatorSpec, learned: np.ndarray, test: np.ndarray) -> tuple[np.ndarray, float]:
        started = time.perf_counter()
        model = estimators.fit(
            trial,
            rows.iloc[learned],
            label[learned],
            categorical=columns.categorical,
            numeric=columns.numeric,
            seed=spec.seed,
        )
        return estimators.score(model, rows.iloc[test]), time.perf_counter() - started

    results = iter(estimators.map_fits([partial(out_of_fold, trial, *fold) for trial in spec.trials for fold in folds]))
    return [_trial(trial, [(fold[1], *next(results)) for fold in folds], label) for trial in spec.trials]


def _folds(train: Rows, spec: TrainingSpec) -> list[tuple[np.ndarray, np.ndarray]]:
    """Positions of the rows to learn from and to test on, fold by fold."""
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    if not train.entities_recur:
        kept = StratifiedKFold(spec.folds, shuffle=True, random_state=spec.seed)
        return list(kept.split(train.predictors, train.label))
    for label in (0, 1):
        n = len(pd.unique(train.entity[train.label == label]))
        if n < spec.folds:
            raise TrainingError(
                f"The rows with label {label} in the train part are of {n} entities, whose rows stay together: too few "
                f"for {spec.folds} folds. Land rows of more entities, or lower folds in conf."
            )
    grouped = StratifiedGroupKFold(spec.folds, shuffle=True, random_state=spec.seed)
    return list(grouped.split(train.predictors, train.label, train.entity))


def _trial(spec: EstimatorSpec, parts: Sequence[tuple[np.ndarray, np.ndarray, float]], label: np.ndarray) -> Trial:
    probability = np.zeros(len(label))
    for test, given, _ in parts:
        probability[test] = given
    threshold = choose_threshold(label, probability)
    metrics = classification_metrics(label, probability, threshold)
    log.info("  trial: F1 %.3f  %s %s", metrics["f1"], spec.estimator, json.dumps(spec.params))
    return Trial(spec, probability, threshold, metrics, sum(seconds for _, _, seconds in parts))


@dataclass(frozen=True)
class Judged:
    """A fitted model, and rows that it was judged on: their scores, and the threshold that was chosen on them."""

    model: Any
    rows: Rows
    probability: np.ndarray
    threshold: float


def _calibrated(fitted: Any, rows: Rows, estimators: EstimatorBackend) -> Judged:
    model = estimators.calibrate(fitted, rows.predictors, rows.label)
    probability = estimators.score(model, rows.predictors)
    return Judged(model, rows, probability, choose_threshold(rows.label, probability))


def _candidate(
    best: Trial, judged: Judged, train: Rows, columns: Columns, spec: TrainingSpec, unseen: Mapping[str, Any]
) -> Candidate:
    rows = train.predictors
    estimators = estimator_backend(spec.library)
    model = estimators.set_threshold(judged.model, judged.threshold)
    baseline = _baseline(rows, columns.categorical, columns.numeric)
    sample = rows.sample(min(len(rows), _EXPLAINED), random_state=spec.seed)
    effects = np.abs(estimators.explain(model, sample, baseline)).mean(axis=0)
    # The reference must hold rows of the kind that batches hold, or every batch would drift.
    reference = _reference(rows[train.scored], train.count_entities(), columns.categorical, columns.numeric)
    reference |= _score_reference(judged.probability[judged.rows.scored], judged.rows.count_entities())
    card = ModelCard(
        library=spec.library,
        estimator=best.spec.estimator,
        params=best.spec.params,
        categorical=columns.categorical,
        numeric=columns.numeric,
        threshold=judged.threshold,
        baseline=baseline,
        reference=reference,
        unseen=unseen,
        importance={name: round(float(effect), 6) for name, effect in zip(rows.columns, effects, strict=True)},
        metrics={name: float(value) for name, value in best.metrics.items()},
        label_dimension=columns.label_dimension,
        label_values=tuple(sorted(map(str, rows[columns.label_dimension].unique()))) if columns.label_dimension else (),
    )
    return Candidate(model, card, rows.head(_EXAMPLES))


def _baseline(rows: pd.DataFrame, categorical: Sequence[str], numeric: Sequence[str]) -> dict[str, Any]:
    typical: dict[str, Any] = {}
    for name in categorical:
        modes = rows[name].mode()
        typical[name] = str(modes.iloc[0]) if len(modes) else None
    for name in numeric:
        middle = rows[name].median()
        typical[name] = None if pd.isna(middle) else float(middle)
    return typical


def _reference(
    rows: pd.DataFrame, entities: int | None, categorical: Sequence[str], numeric: Sequence[str]
) -> dict[str, Any]:
    numbers = {name: rows[name].to_numpy(dtype=float, na_value=np.nan) for name in numeric}
    profiles = {name: profile_numeric(values, quantile_edges(values)) for name, values in numbers.items()}
    profiles |= {name: profile_categorical(rows[name].tolist()) for name in categorical}
    return {name: replace(profile, entities=entities).to_dict() for name, profile in profiles.items()}


def _score_reference(probability: np.ndarray, entities: int | None) -> dict[str, Any]:
    profile = profile_numeric(probability, score_edges(probability))
    return {SCORE: replace(profile, entities=entities).to_dict()}


def _trial_table(trials: Sequence[Trial], best: Trial) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {
                "trial": number,
                "estimator": trial.spec.estimator,
                "params": json.dumps(trial.spec.params, sort_keys=True),
                "threshold": trial.threshold,
                "chosen": trial is best,
                "fit_seconds": trial.fit_seconds,
                **{name: trial.metrics[name] for name in METRICS},
            }
            for number, trial in enumerate(trials, 1)
        ]
    )
