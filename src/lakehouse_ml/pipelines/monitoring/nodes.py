"""Nodes of monitoring: the batch against the champion's training rows, and scores against what happened."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import date
from typing import Any

import pandas as pd
from pydantic import Field
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from lakehouse_ml.models import Model
from lakehouse_ml.pipelines.evaluation.metrics import classification_metrics
from lakehouse_ml.pipelines.monitoring.drift import ColumnDrift, ColumnProfile, DriftSpec, compare, verdict
from lakehouse_ml.pipelines.training.split import held_out
from lakehouse_ml.spec import Spec
from lakehouse_ml.tables import Batch, collect

SCORE = "score"


class MonitoringSpec(Spec):
    """Which batch is looked at, and when a difference is an alarm.

    Attributes:
        batch: Day of the batch; by default the newest that was scored.
        drift: Bounds of the drift tests.
        max_rows: Rows with outcomes that are taken into memory per batch at most.
    """

    batch: date | None = None
    drift: DriftSpec
    max_rows: int = Field(ge=100)


def measure_drift(
    scores: DataFrame, features: DataFrame, champion: Model | None, spec: MonitoringSpec, key: Sequence[str]
) -> tuple[Batch, Batch, dict[str, Any]]:
    """Compare a scored batch with the rows that the champion learned from, column by column, and its scores.

    Scores are compared over entities of the champion's hold-out only: of those it trained on, it remembers some, and
    their scores differ from the out-of-fold reference without any drift.

    Returns:
        One row per column (see `drift.ColumnDrift`, categories as JSON) and one verdict row, each in place of this
        batch's earlier ones; and the verdict as a mapping for machines.
    """
    batch = spec.batch.isoformat() if spec.batch else collect(scores.agg(F.max("batch").alias("b")))["b"].item()
    if champion is None or batch is None:
        return (
            Batch(None, "batch", ()),
            Batch(None, "batch", ()),
            {"status": "not_assessable", "reason": "No scores yet."},
        )
    scored = scores.where(F.col("batch") == batch).select(*key, F.col("probability").alias(SCORE))
    rows = features.join(scored, on=list(key), how="inner")
    reference = {name: ColumnProfile.from_dict(told) for name, told in champion.card.reference.items()}
    unseen = rows.where(held_out(key[0], champion.card.salt, champion.card.holdout_share))
    predictors = {name: profile for name, profile in reference.items() if name != SCORE}
    columns = compare(predictors, profile_batch(rows, predictors), spec.drift)
    of_scores = {SCORE: reference[SCORE]}
    score = compare(of_scores, profile_batch(unseen, of_scores), spec.drift)[0]
    told = {"batch": batch, "model_version": champion.version, **verdict(columns, score)}
    return (
        Batch(_drift_table([*columns, score], batch, champion.version), "batch", (batch,)),
        Batch(
            pd.DataFrame([told | {name: json.dumps(told[name]) for name in ("drifted", "warned")}]), "batch", (batch,)
        ),
        told,
    )


def profile_batch(rows: DataFrame, reference: Mapping[str, ColumnProfile]) -> dict[str, ColumnProfile]:
    """Histograms of the reference's columns over a batch, with the reference's bins, in one pass of the engine."""
    pairs = F.array(
        *(F.struct(F.lit(name).alias("name"), _bin(name, profile).alias("bin")) for name, profile in reference.items())
    )
    counted = collect(
        rows.select(F.explode(pairs).alias("pair"))
        .groupBy(F.col("pair.name").alias("name"), F.col("pair.bin").alias("bin"))
        .agg(F.count(F.lit(1)).alias("n"))
    )
    counts: dict[str, dict[str | None, int]] = {name: {} for name in reference}
    for row in counted.itertuples():
        counts[row.name][None if pd.isna(row.bin) else str(row.bin)] = int(row.n)
    return {
        name: ColumnProfile(profile.kind, {key: n for key, n in counts[name].items() if key is not None},
                            counts[name].get(None, 0), profile.edges)
        for name, profile in reference.items()
    }  # fmt: skip


def join_outcomes(
    scores: DataFrame, outcomes: DataFrame, key: Sequence[str], labels: Callable[[DataFrame], DataFrame]
) -> DataFrame:
    """Scores beside what happened, for those of whom it is known by now.

    Returns:
        One row per scored entity and batch with an outcome: key, batch, probability, decision, threshold,
        model_version, label.
    """
    chosen = scores.select(*key, "batch", "probability", "decision", "threshold", "model_version")
    return chosen.join(labels(outcomes), on=list(key), how="inner")


def measure_live(outcomes: DataFrame, spec: MonitoringSpec) -> pd.DataFrame:
    """How well each batch's scores did, now that outcomes are known.

    Returns:
        One row per batch and model version: batch, model_version, n_rows, n_positives, and the metrics.
    """
    groups = collect(outcomes.groupBy("batch", "model_version").agg(F.count(F.lit(1)).alias("n_rows")))
    return pd.DataFrame(list(_live(outcomes, groups, spec.max_rows)), columns=_LIVE)


_LIVE = [
    "batch", "model_version", "n_rows", "n_positives",
    "accuracy", "precision", "recall", "f1", "roc_auc", "average_precision",
]  # fmt: skip


def _live(outcomes: DataFrame, groups: pd.DataFrame, most: int) -> Iterator[dict[str, Any]]:
    for group in groups.sort_values(["batch", "model_version"]).itertuples():
        here = (F.col("batch") == group.batch) & (F.col("model_version") == group.model_version)
        rows = collect(outcomes.where(here).select("probability", "threshold", "label").limit(most))
        metrics = classification_metrics(
            rows["label"].to_numpy(), rows["probability"].to_numpy(), float(rows["threshold"].iloc[0])
        )
        yield {
            "batch": group.batch,
            "model_version": group.model_version,
            "n_rows": int(group.n_rows),
            "n_positives": int(rows["label"].sum()),
            **metrics,
        }


def _bin(name: str, profile: ColumnProfile) -> Column:
    """The key of a value's bin: the number of edges below it, or the category."""
    if profile.kind == "categorical":
        return F.col(name).cast("string")
    value = F.col(name).cast("double")
    below = sum(((value > F.lit(edge)).cast("int") for edge in profile.edges), start=F.lit(0))
    return F.when(value.isNotNull() & ~F.isnan(value), below.cast("string"))


def _drift_table(columns: Sequence[ColumnDrift], batch: str, version: str) -> pd.DataFrame:
    table = pd.DataFrame([asdict(column) for column in columns])
    return table.assign(new_categories=table["new_categories"].map(json.dumps), batch=batch, model_version=version)
