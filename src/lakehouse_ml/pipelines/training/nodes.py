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
from lakehouse_ml.modelling.card import Candidate, LibraryName, ModelCard
from lakehouse_ml.modelling.drift import (
    profile_categorical,
    profile_numeric,
    quantile_edges,
    score_edges,
)
from lakehouse_ml.modelling.estimators.base import (
    EstimatorBackend,
    EstimatorSpec,
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
_EXAMPLE_ROWS = 5
_EXPLAINED_ROWS = 1_000


class TrainingSpec(Spec):
    """The split and the search.

    Attributes:
        library: The library that fits the trials: scikit-learn, on any engine, or Spark's MLlib, on the engine `spark`.
        split: Which rows form the hold-out, and the calibration part if there is one.
        folds: Number of folds of the stratified cross-validation; an entity's rows are in one fold.
        seed: Seed of folds, estimators and samples.
        max_rows: Most rows of a part that are collected into memory; of more, a sample by hash within each label.
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
    """A cross-validated estimator: out-of-fold probabilities, the threshold chosen on them, and metrics."""

    spec: EstimatorSpec
    probability: np.ndarray
    threshold: float
    metrics: Mapping[str, float]
    fit_seconds: float


@dataclass(frozen=True)
class Rows:
    """Rows of one part in memory: predictors, shape (n_rows, n_predictors); the others have the shape (n_rows,).

    Attributes:
        predictors: Predictors, in the model's order.
        label: 0 or 1.
        entity: Entity that the row describes.
        day: Day of the row's moment.
        is_in_batch: Whether a batch of that day holds the row: batches leave out entities that left by that day's file.
    """

    predictors: pd.DataFrame
    label: np.ndarray
    entity: np.ndarray
    day: np.ndarray
    is_in_batch: np.ndarray

    @property
    def has_repeated_entities(self) -> bool:
        """Whether an entity has several rows, which then depend on each other."""
        return len(pd.unique(self.entity)) < len(self.entity)

    @property
    def newest_day(self) -> str:
        """The newest day of all rows, as text."""
        return f"{pd.Timestamp(self.day.max()):%Y-%m-%d}"

    def count_entities(self) -> int | None:
        """Count entities of the rows that batches hold, each once a day; None if that equals the number of rows."""
        once_a_day = pd.DataFrame({"entity": self.entity, "day": self.day})[self.is_in_batch].drop_duplicates()
        return len(once_a_day) if len(once_a_day) < self.is_in_batch.sum() else None


@dataclass(frozen=True)
class Columns:
    """Columns of the rows by kind: the whole key with the label dimension, and the predictors."""

    key: tuple[str, ...]
    label_dimension: str | None
    categorical: tuple[str, ...]
    numeric: tuple[str, ...]

    @classmethod
    def from_names(
        cls, names: Sequence[str], key: Sequence[str], categorical: Sequence[str], label_dimension: str | None
    ) -> Columns:
        """Sort columns by name: all that are neither key, label dimension, label, part nor categorical are numbers."""
        dimension = (label_dimension,) if label_dimension else ()
        others = {*key, *dimension, *categorical, "label", "part", KNOWN_AT}
        numeric = tuple(name for name in names if name not in others)
        return cls((*key, *dimension), label_dimension, (*categorical, *dimension), numeric)


def assemble_rows(
    features: DataFrame,
    labels: DataFrame,
    spec: TrainingSpec,
    population: PopulationSpec | None,
    key: Sequence[str],
    label_dimension: str | None = None,
) -> DataFrame:
    """Join features with labels, and assign each row to a part of the split.

    Every known outcome is a row: a customer with outcomes of five months, four of them 0, is five rows. Only then is
    the share of label 1 that of a month, as in a batch.

    Args:
        features: One row per key.
        labels: One row per key (and label dimension) with a known outcome, `label` 0 or 1. Where it becomes known
            later than its moment, `known_at` tells when.
        spec: Split and sample size.
        population: For rows that are states of entities over time: selects the state on the day of an outcome. None
            joins a label to the row of its key.
        key: Entity and moment, in this order; the moment is a date (00:00 UTC) or a timestamp.
        label_dimension: Column of `labels` that tells what a label is about, where a state has several.

    Returns:
        One row per key and label dimension: all feature columns, `label`, with a population `known_at`, and `part`
        (train, calibration or holdout). Rows of no part are dropped; training and calibration parts with more than
        `max_rows` rows are sampled as `search` does.

    Raises:
        TrainingError: For a split in time: no labelled rows, a date outside their span, or a part that lacks rows of a
            class.
    """
    grain = [*key, *([label_dimension] if label_dimension else [])]
    known_at = [KNOWN_AT] if KNOWN_AT in labels.columns else []
    population_columns = known_at if population else []
    if population and population.snapshots == "changes":
        features = select_states(features, labels, population, key)
    # Join predictors last: the split needs keys and labels only, a small part of the bytes.
    rows = features.select(*key).join(labels.select(*grain, "label", *known_at), on=list(key), how="inner")
    part, bounds = _part_column(rows, spec.split, key)
    rows = rows.select(*grain, "label", *population_columns, part.alias("part")).where(F.col("part").isNotNull())
    counts = _count_parts(rows)
    if bounds:
        check_parts(counts, spec.split, bounds)
    rows = _sample(rows, counts, spec, grain)
    labelled = rows.join(features, on=list(key), how="inner")
    return labelled.select(*features.columns, *grain[len(key) :], "label", *population_columns, "part")


def _part_column(
    rows: DataFrame, split: HashSplit | TimeSplit, key: Sequence[str]
) -> tuple[Column, Mapping[str, str] | None]:
    """Part of each row; for a split in time, also the bounds of each part in words."""
    entity, moment = key
    if isinstance(split, HashSplit):
        return F.when(hold_out_condition(entity, split.salt, split.holdout_share), "holdout").otherwise("train"), None
    at = to_microseconds(moment)
    span = collect(rows.agg(F.min(at).alias("first"), F.max(at).alias("last"))).iloc[0]
    if pd.isna(span["first"]):
        raise TrainingError("No row has a label yet: nothing can be split in time. Land rows with outcomes.")
    dates = choose_split_dates(split, from_microseconds(int(span["first"])), from_microseconds(int(span["last"])))
    return assign_part(moment, KNOWN_AT if KNOWN_AT in rows.columns else moment, dates), dates.describe_parts()


def _sample(
    rows: DataFrame, counts: Mapping[tuple[str, int], int], spec: TrainingSpec, key: Sequence[str]
) -> DataFrame:
    """Sample training and calibration part as `search` describes; keep the hold-out."""
    parts = {part: (counts.get((part, 0), 0), counts.get((part, 1), 0)) for part in ("train", "calibration")}
    limits: dict[tuple[str, int], int] = {}
    for part, (negative, positive) in parts.items():
        if negative + positive > spec.max_rows:
            n_positive = min(max(1, round(spec.max_rows * positive / (negative + positive))), spec.max_rows - 1)
            limits |= {(part, 0): spec.max_rows - n_positive, (part, 1): n_positive}
    if not limits:
        return rows
    ranked = Window.partitionBy("part", "label").orderBy(hash_order(spec.seed, key))
    is_beyond = F.lit(0) == F.lit(1)
    for (part, label), n in limits.items():
        is_beyond = is_beyond | ((F.col("part") == part) & (F.col("label") == label) & (F.col("_rank") > n))
    return rows.withColumn("_rank", F.row_number().over(ranked)).where(~is_beyond).drop("_rank")


def search(
    model_input: DataFrame,
    spec: TrainingSpec,
    key: Sequence[str],
    categorical: Sequence[str],
    label_dimension: str | None = None,
) -> tuple[Candidate, pd.DataFrame]:
    """Cross-validate every trial on the training part, and fit the best by F1 on all of it.

    Folds keep the share of positive rows, and the rows of an entity together. For a split in time, the winner is then
    calibrated, and its threshold chosen (best F1), on the calibration part; otherwise the threshold is the best one for
    the out-of-fold scores.

    A part of more than `max_rows` rows is sampled: of each label the first rows by a hash of the whole key, in
    proportion to its share of the part. The sample then has the part's share of positive rows, to a row.

    Args:
        model_input: Labelled rows with `part`; the hold-out is only counted. Columns that are neither key,
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

    counts = _count_parts(model_input)
    check_parts(counts, spec.split)
    columns = Columns.from_names(model_input.columns, key, categorical, label_dimension)
    train = _collect_part(model_input, "train", counts, spec, columns)
    estimators = estimator_backend(spec.library)
    log.info("  %d trials, %d folds, %d training rows", len(spec.trials), spec.folds, len(train.label))
    # This loads scikit-learn: only the threads of what is loaded can be limited.
    folds = _split_folds(train, spec)
    # One thread for each fit: threads that an estimator starts itself would only wait for each other.
    with threadpool_limits(1):
        trials = _cross_validate(train, folds, columns, spec, estimators)
        # Ties go to the higher average precision, then to the trial listed first.
        best = max(trials, key=lambda trial: (trial.metrics["f1"], trial.metrics["average_precision"]))
        fitted = estimators.fit(
            best.spec,
            train.predictors,
            train.label,
            categorical=columns.categorical,
            numeric=columns.numeric,
            seed=spec.seed,
        )
        calibrated = CalibratedModel(fitted, train, best.probability, best.threshold)
        if isinstance(spec.split, TimeSplit):
            calibrated = _calibrate(
                fitted, _collect_part(model_input, "calibration", counts, spec, columns), estimators
            )
        candidate = _make_candidate(
            best, calibrated, train, columns, spec, _describe_unseen_rows(model_input, spec.split, key[1], train)
        )
    return candidate, _tabulate_trials(trials, best)


def check_parts(
    counts: Mapping[tuple[str, int], int], spec: HashSplit | TimeSplit, bounds: Mapping[str, str] | None = None
) -> None:
    """Check that each part has enough rows of each class, and that the parts are alike.

    Args:
        counts: Rows by (part, label).
        spec: The least number of rows per class and part, and the widest gap between shares.
        bounds: Bounds of each part in words, for a split in time.

    Raises:
        TrainingError: Too few rows of a class, or shares too far apart; names part, dates, class and numbers.
    """
    in_time = isinstance(spec, TimeSplit)
    shares = {}
    for part in ("train", "calibration", "holdout") if in_time else ("train", "holdout"):
        by_class = {label: counts.get((part, label), 0) for label in (0, 1)}
        subject = f"The {part} part ({bounds[part]})" if bounds else f"The {part} part"
        for label, n in by_class.items():
            if n < spec.min_per_class:
                remedy = "move calibrate_from and test_from, or " if in_time else ""
                raise TrainingError(
                    f"{subject} has {n} rows with label {label}; at least {spec.min_per_class} are needed. "
                    f"Land more labelled rows, {remedy or 'or '}lower min_per_class in conf."
                )
        shares[part] = by_class[1] / sum(by_class.values())
    # Later rows may be positive more often: differing shares are no fault of a split in time.
    if isinstance(spec, TimeSplit):
        return
    gap = abs(shares["train"] - shares["holdout"])
    if gap > spec.max_share_gap:
        raise TrainingError(
            f"The share of positive rows is {shares['train']:.1%} in training and {shares['holdout']:.1%} in the "
            f"hold-out: further apart than {spec.max_share_gap:.1%}. Choose another salt, or land more rows."
        )


def _count_parts(model_input: DataFrame) -> dict[tuple[str, int], int]:
    counted = collect(model_input.groupBy("part", "label").agg(F.count(F.lit(1)).alias("n")))
    return {(str(row.part), int(row.label)): int(row.n) for row in counted.itertuples()}


def _describe_unseen_rows(
    model_input: DataFrame, split: HashSplit | TimeSplit, moment: str, train: Rows
) -> dict[str, Any]:
    """Describe the rows that the model never saw, from the rows themselves: conf may leave the dates open."""
    if isinstance(split, HashSplit):
        share = {"salt": split.salt, "holdout_share": split.holdout_share}
        return {"kind": "hash", **share, LEARNED_UNTIL: train.newest_day}
    holdout = model_input.where(F.col("part") == "holdout")
    return describe_unseen(int(collect(holdout.agg(F.min(to_microseconds(moment)).alias("first")))["first"].item()))


def _collect_part(
    model_input: DataFrame, part: str, counts: Mapping[tuple[str, int], int], spec: TrainingSpec, columns: Columns
) -> Rows:
    """Collect the rows of a part in the order of their key; of too many a sample, see `search`."""
    rows = _sample(model_input.where(F.col("part") == part), counts, spec, columns.key)
    table = collect(rows).sort_values(list(columns.key), ignore_index=True)
    entity, label = table[columns.key[0]], table["label"].to_numpy()
    days = pd.to_datetime(table[columns.key[1]]).dt.tz_localize(None).dt.normalize()
    if KNOWN_AT in table:
        is_in_batch = ~((label == 1) & (pd.to_datetime(table[KNOWN_AT]) <= days).to_numpy())
    else:
        # Entities with several rows never leave, and batches hold all of them.
        is_in_batch = (label == 0) | (not entity.is_unique)
    rows = select_predictors(table, columns.categorical, columns.numeric)
    return Rows(rows, label, entity.to_numpy(), days.to_numpy(), np.asarray(is_in_batch))


def _cross_validate(
    train: Rows,
    folds: Sequence[tuple[np.ndarray, np.ndarray]],
    columns: Columns,
    spec: TrainingSpec,
    estimators: EstimatorBackend,
) -> list[Trial]:
    """Cross-validate every trial on every fold."""
    rows, label = train.predictors, train.label

    def score_fold(trial: EstimatorSpec, fitted: np.ndarray, test: np.ndarray) -> tuple[np.ndarray, float]:
        started = time.perf_counter()
        model = estimators.fit(
            trial,
            rows.iloc[fitted],
            label[fitted],
            categorical=columns.categorical,
            numeric=columns.numeric,
            seed=spec.seed,
        )
        return estimators.score(model, rows.iloc[test]), time.perf_counter() - started

    results = iter(estimators.map_fits([partial(score_fold, trial, *fold) for trial in spec.trials for fold in folds]))
    return [_make_trial(trial, [(fold[1], *next(results)) for fold in folds], label) for trial in spec.trials]


def _split_folds(train: Rows, spec: TrainingSpec) -> list[tuple[np.ndarray, np.ndarray]]:
    """Positions of the rows to fit and to test on, for each fold."""
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    if not train.has_repeated_entities:
        stratified = StratifiedKFold(spec.folds, shuffle=True, random_state=spec.seed)
        return list(stratified.split(train.predictors, train.label))
    for label in (0, 1):
        n = len(pd.unique(train.entity[train.label == label]))
        if n < spec.folds:
            raise TrainingError(
                f"The rows with label {label} in the train part are of {n} entities, whose rows stay together: too few "
                f"for {spec.folds} folds. Land rows of more entities, or lower folds in conf."
            )
    grouped = StratifiedGroupKFold(spec.folds, shuffle=True, random_state=spec.seed)
    return list(grouped.split(train.predictors, train.label, train.entity))


def _make_trial(spec: EstimatorSpec, parts: Sequence[tuple[np.ndarray, np.ndarray, float]], label: np.ndarray) -> Trial:
    probability = np.zeros(len(label))
    for test, scores, _ in parts:
        probability[test] = scores
    threshold = choose_threshold(label, probability)
    metrics = classification_metrics(label, probability, threshold)
    log.info("  trial: F1 %.3f  %s %s", metrics["f1"], spec.estimator, json.dumps(spec.params))
    return Trial(spec, probability, threshold, metrics, sum(seconds for _, _, seconds in parts))


@dataclass(frozen=True)
class CalibratedModel:
    """A fitted model with the rows, scores and threshold of its calibration, which may be out-of-fold scores."""

    model: Any
    rows: Rows
    probability: np.ndarray
    threshold: float


def _calibrate(fitted: Any, rows: Rows, estimators: EstimatorBackend) -> CalibratedModel:
    model = estimators.calibrate(fitted, rows.predictors, rows.label)
    probability = estimators.score(model, rows.predictors)
    return CalibratedModel(model, rows, probability, choose_threshold(rows.label, probability))


def _make_candidate(
    best: Trial,
    calibrated: CalibratedModel,
    train: Rows,
    columns: Columns,
    spec: TrainingSpec,
    unseen: Mapping[str, Any],
) -> Candidate:
    rows = train.predictors
    estimators = estimator_backend(spec.library)
    model = estimators.set_threshold(calibrated.model, calibrated.threshold)
    baseline = _choose_baseline(rows, columns.categorical, columns.numeric)
    sample = rows.sample(min(len(rows), _EXPLAINED_ROWS), random_state=spec.seed)
    effects = np.abs(estimators.explain(model, sample, baseline)).mean(axis=0)
    # The reference must have rows of the kind that batches hold, or every batch would drift.
    reference = _profile_predictors(
        rows[train.is_in_batch], train.count_entities(), columns.categorical, columns.numeric
    )
    reference |= _profile_scores(calibrated.probability[calibrated.rows.is_in_batch], calibrated.rows.count_entities())
    card = ModelCard(
        library=spec.library,
        estimator=best.spec.estimator,
        params=best.spec.params,
        categorical=columns.categorical,
        numeric=columns.numeric,
        threshold=calibrated.threshold,
        baseline=baseline,
        reference=reference,
        unseen=unseen,
        importance={name: round(float(effect), 6) for name, effect in zip(rows.columns, effects, strict=True)},
        metrics={name: float(value) for name, value in best.metrics.items()},
        label_dimension=columns.label_dimension,
        label_values=tuple(sorted(map(str, rows[columns.label_dimension].unique()))) if columns.label_dimension else (),
    )
    return Candidate(model, card, rows.head(_EXAMPLE_ROWS))


def _choose_baseline(rows: pd.DataFrame, categorical: Sequence[str], numeric: Sequence[str]) -> dict[str, Any]:
    typical: dict[str, Any] = {}
    for name in categorical:
        modes = rows[name].mode()
        typical[name] = str(modes.iloc[0]) if len(modes) else None
    for name in numeric:
        median = rows[name].median()
        typical[name] = None if pd.isna(median) else float(median)
    return typical


def _profile_predictors(
    rows: pd.DataFrame, entities: int | None, categorical: Sequence[str], numeric: Sequence[str]
) -> dict[str, Any]:
    numbers = {name: rows[name].to_numpy(dtype=float, na_value=np.nan) for name in numeric}
    profiles = {name: profile_numeric(values, quantile_edges(values)) for name, values in numbers.items()}
    profiles |= {name: profile_categorical(rows[name].tolist()) for name in categorical}
    return {name: replace(profile, entities=entities).to_dict() for name, profile in profiles.items()}


def _profile_scores(probability: np.ndarray, entities: int | None) -> dict[str, Any]:
    profile = profile_numeric(probability, score_edges(probability))
    return {SCORE: replace(profile, entities=entities).to_dict()}


def _tabulate_trials(trials: Sequence[Trial], best: Trial) -> pd.DataFrame:
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
