"""Nodes of training: assemble labelled rows, search, and describe the winner."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from pydantic import Field
from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from lakehouse_ml.errors import TrainingError
from lakehouse_ml.estimators import sklearn as estimators
from lakehouse_ml.estimators.sklearn import EstimatorSpec
from lakehouse_ml.models import Candidate, ModelCard
from lakehouse_ml.pipelines.evaluation.metrics import METRICS, best_threshold, classification_metrics
from lakehouse_ml.pipelines.monitoring.drift import profile_categorical, profile_numeric, quantile_edges
from lakehouse_ml.pipelines.training.split import SplitSpec, held_out
from lakehouse_ml.spec import Spec
from lakehouse_ml.tables import collect

log = logging.getLogger(__name__)

SCORE = "score"
_EXAMPLES = 5
_EXPLAINED = 1_000


class TrainingSpec(Spec):
    """The split and the search.

    Attributes:
        split: Which rows are held out.
        folds: Of the stratified cross-validation.
        seed: Of folds, estimators and samples.
        max_rows: Training rows that are taken into memory at most; beyond, an even sample by hash.
        trials: Points of the search, tried in order.
    """

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


def assemble_rows(features: DataFrame, labels: DataFrame, spec: TrainingSpec, key: Sequence[str]) -> DataFrame:
    """The newest labelled state of each entity, with its part of the split.

    Args:
        features: One row per key.
        labels: One row per key with a known outcome, `label` 0 or 1.
        spec: Its split decides `part`.
        key: Entity and time, in this order.

    Returns:
        One row per entity: all feature columns, `label`, and `part` (train or holdout).
    """
    entity, moment = key
    newest = Window.partitionBy(entity).orderBy(F.desc(moment))
    part = F.when(held_out(entity, spec.split.salt, spec.split.holdout_share), "holdout").otherwise("train")
    return (
        features.join(labels, on=list(key), how="inner")
        .withColumn("_rank", F.row_number().over(newest))
        .where(F.col("_rank") == 1)
        .select(*features.columns, "label", part.alias("part"))
    )


def search(
    model_input: DataFrame, spec: TrainingSpec, entity: str, categorical: Sequence[str], numeric: Sequence[str]
) -> tuple[Candidate, pd.DataFrame]:
    """Try every point of the grid on the training part, and fit the best by cross-validated F1 on all of it.

    Args:
        model_input: Labelled rows with `part`; the hold-out is counted here and not used.
        spec: Split and search.
        entity: Column that identifies an entity; orders the rows.
        categorical: Predictors with categories.
        numeric: Predictors with numbers.

    Returns:
        The candidate, and one row per trial: trial, estimator, params (JSON), threshold, chosen, fit_seconds, and the
        metrics of the out-of-fold predictions at that threshold.

    Raises:
        TrainingError: A part lacks rows of a class, or the parts' class shares lie too far apart.
    """
    from threadpoolctl import threadpool_limits

    check_parts(_part_counts(model_input), spec.split)
    train = _training_rows(model_input, spec, entity)
    rows, label = estimators.predictors(train, categorical, numeric), train["label"].to_numpy()
    # One thread a fit: those that an estimator starts by itself would only wait for each other.
    with threadpool_limits(1):
        trials = _cross_validate(rows, label, categorical, numeric, spec)
        # Ties go to the one with the higher average precision, then to the one named first.
        best = max(trials, key=lambda trial: (trial.metrics["f1"], trial.metrics["average_precision"]))
        candidate = _candidate(best, rows, label, categorical, numeric, spec)
    return candidate, _trial_table(trials, best)


def check_parts(counts: Mapping[tuple[str, int], int], spec: SplitSpec) -> None:
    """Refuse a split that can't be learned from or judged on.

    Args:
        counts: Rows by (part, label).
        spec: The least number of rows per class and part, and the widest gap between shares.

    Raises:
        TrainingError: Names part, class and numbers.
    """
    shares = {}
    for part in ("train", "holdout"):
        by_class = {label: counts.get((part, label), 0) for label in (0, 1)}
        for label, n in by_class.items():
            if n < spec.min_per_class:
                raise TrainingError(
                    f"The {part} part has {n} rows with label {label}; at least {spec.min_per_class} are needed. "
                    f"Land more labelled rows, or lower min_per_class in conf."
                )
        shares[part] = by_class[1] / sum(by_class.values())
    gap = abs(shares["train"] - shares["holdout"])
    if gap > spec.max_share_gap:
        raise TrainingError(
            f"The share of positive rows is {shares['train']:.1%} in training and {shares['holdout']:.1%} in the "
            f"hold-out: further apart than {spec.max_share_gap:.1%}. Choose another salt, or land more rows."
        )


def _part_counts(model_input: DataFrame) -> dict[tuple[str, int], int]:
    counted = collect(model_input.groupBy("part", "label").agg(F.count(F.lit(1)).alias("n")))
    return {(str(row.part), int(row.label)): int(row.n) for row in counted.itertuples()}


def _training_rows(model_input: DataFrame, spec: TrainingSpec, entity: str) -> pd.DataFrame:
    order = F.md5(F.concat(F.lit(f"{spec.seed}:"), F.col(entity).cast("string")))
    train = model_input.where(F.col("part") == "train")
    rows = collect(train.orderBy(order).limit(spec.max_rows)).sort_values(entity, ignore_index=True)
    log.info("  %d trials, %d folds, %d training rows", len(spec.trials), spec.folds, len(rows))
    return rows


def _cross_validate(
    rows: pd.DataFrame, label: np.ndarray, categorical: Sequence[str], numeric: Sequence[str], spec: TrainingSpec
) -> list[Trial]:
    """Every trial on every fold, as many at once as there are cores.

    In processes: trees are grown in so small steps that threads wait for each other (18 s instead of 16 s on 2 cores).
    """
    from joblib import Parallel, delayed
    from sklearn.model_selection import StratifiedKFold

    folds = list(StratifiedKFold(spec.folds, shuffle=True, random_state=spec.seed).split(rows, label))

    def out_of_fold(trial: EstimatorSpec, train: np.ndarray, test: np.ndarray) -> tuple[np.ndarray, float]:
        started = time.perf_counter()
        model = estimators.fit(
            trial, rows.iloc[train], label[train], categorical=categorical, numeric=numeric, seed=spec.seed
        )
        return estimators.score(model, rows.iloc[test]), time.perf_counter() - started

    jobs = [delayed(out_of_fold)(trial, *fold) for trial in spec.trials for fold in folds]
    results = iter(Parallel(n_jobs=-1)(jobs))
    return [_trial(trial, [(fold[1], *next(results)) for fold in folds], label) for trial in spec.trials]


def _trial(spec: EstimatorSpec, parts: Sequence[tuple[np.ndarray, np.ndarray, float]], label: np.ndarray) -> Trial:
    probability = np.zeros(len(label))
    for test, given, _ in parts:
        probability[test] = given
    threshold = best_threshold(label, probability)
    metrics = classification_metrics(label, probability, threshold)
    log.info("  trial: F1 %.3f  %s %s", metrics["f1"], spec.estimator, json.dumps(spec.params))
    return Trial(spec, probability, threshold, metrics, sum(seconds for _, _, seconds in parts))


def _candidate(
    best: Trial, rows: pd.DataFrame, label: np.ndarray, categorical: Sequence[str], numeric: Sequence[str],
    spec: TrainingSpec,
) -> Candidate:  # fmt: skip
    fitted = estimators.fit(best.spec, rows, label, categorical=categorical, numeric=numeric, seed=spec.seed)
    model = estimators.with_threshold(fitted, best.threshold)
    baseline = _baseline(rows, categorical, numeric)
    sample = rows.sample(min(len(rows), _EXPLAINED), random_state=spec.seed)
    effects = np.abs(estimators.explain(model, sample, baseline)).mean(axis=0)
    # Batches hold those who are still there: the reference must be of the same kind, or every batch would drift.
    alike = label == 0
    card = ModelCard(
        estimator=best.spec.estimator,
        params=best.spec.params,
        categorical=tuple(categorical),
        numeric=tuple(numeric),
        threshold=best.threshold,
        baseline=baseline,
        reference=_reference(rows[alike], best.probability[alike], categorical, numeric),
        salt=spec.split.salt,
        holdout_share=spec.split.holdout_share,
        importance={name: round(float(effect), 6) for name, effect in zip(rows.columns, effects, strict=True)},
        metrics={name: float(value) for name, value in best.metrics.items()},
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
    rows: pd.DataFrame, probability: np.ndarray, categorical: Sequence[str], numeric: Sequence[str]
) -> dict[str, Any]:
    numbers = {name: rows[name].to_numpy(dtype=float, na_value=np.nan) for name in numeric} | {SCORE: probability}
    profiles = {name: profile_numeric(values, quantile_edges(values)) for name, values in numbers.items()}
    profiles |= {name: profile_categorical(rows[name].tolist()) for name in categorical}
    return {name: profile.to_dict() for name, profile in profiles.items()}


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
