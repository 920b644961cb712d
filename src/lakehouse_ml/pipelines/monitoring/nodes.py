"""Nodes of monitoring: the batch against the champion's training rows, and scores against what happened."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import date, datetime
from typing import Any

import pandas as pd
from pydantic import Field
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from lakehouse_ml.models import Model, Standing
from lakehouse_ml.pipelines.batch_scoring.targets import by_target
from lakehouse_ml.pipelines.evaluation.gates import newest_verdict
from lakehouse_ml.pipelines.evaluation.metrics import Economics, classification_metrics
from lakehouse_ml.pipelines.monitoring.drift import ColumnDrift, ColumnProfile, DriftSpec, compare, verdict
from lakehouse_ml.pipelines.training.split import never_seen
from lakehouse_ml.report.page import render
from lakehouse_ml.report.sections import Material, Scored, Source, page
from lakehouse_ml.spec import Spec
from lakehouse_ml.tables import Batch, collect
from lakehouse_ml.use_cases.base import UseCase

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
    scores: DataFrame, features: DataFrame, champion: Model | None, spec: MonitoringSpec, key: Sequence[str],
    target: str | None = None,
) -> tuple[Batch, Batch, dict[str, Any]]:  # fmt: skip
    """Compare a scored batch with the rows that the champion learned from, column by column, and its scores.

    Scores are compared over rows that the champion never saw only: of those it trained on, it remembers some, and
    their scores differ from the reference without any drift.

    Returns:
        One row per column (see `drift.ColumnDrift`, categories as JSON) and one verdict row, each in place of this
        batch's earlier ones; and the verdict as a mapping for machines.
    """
    batch = spec.batch.isoformat() if spec.batch else collect(scores.agg(F.max("batch").alias("b")))["b"].item()
    if champion is None or batch is None:
        told = {"status": "not_assessable", "reason": "No scores yet."}
        return Batch(_drift_table([_NO_COLUMN], "", "").head(0), "batch", ()), _verdict_batch({}, ()), told
    of_batch = scores.where(F.col("batch") == batch)
    scored = of_batch.where(F.col("model_version") == champion.version)
    if scored.isEmpty() and not of_batch.isEmpty():
        told = _scored_by_another(batch, champion.version)
        return (
            Batch(_drift_table([_NO_COLUMN], "", "").head(0), "batch", (batch,)),
            _verdict_batch(told, (batch,)),
            told,
        )
    rows = features.join(scored.select(*key), on=list(key), how="inner")
    of_targets = by_target(scored, key, target) if target else scored
    unseen = of_targets.where(never_seen(champion.card.unseen, key)).withColumnRenamed("probability", SCORE)
    reference = {name: ColumnProfile.from_dict(told) for name, told in champion.card.reference.items()}
    predictors = {name: profile for name, profile in reference.items() if name not in (SCORE, target)}
    present = {name: profile for name, profile in predictors.items() if name in rows.columns}
    columns = compare(predictors, profile_batch(rows, present), spec.drift)
    of_scores = {SCORE: reference[SCORE]}
    score = compare(of_scores, profile_batch(unseen, of_scores), spec.drift)[0]
    told = {"batch": batch, "model_version": champion.version, **verdict(columns, score)}
    table = _drift_table([*columns, score], batch, champion.version)
    return Batch(table, "batch", (batch,)), _verdict_batch(told, (batch,)), told


def _scored_by_another(batch: str, version: str) -> dict[str, Any]:
    """The verdict on scores that the champion didn't make: another model's say nothing against its reference."""
    reason = (
        f"Batch {batch} was scored by a version before {version}, which is champion now: score it first, "
        f"kedro run --pipelines batch_scoring,monitoring."
    )
    none: dict[str, Any] = {"drifted": [], "warned": [], "score_status": "not_assessable"}
    return {"batch": batch, "model_version": version, "status": "not_assessable", **none, "reason": reason}


def write_report(
    candidate: Model, standing: Standing, trials: pd.DataFrame, holdout: DataFrame, metrics: pd.DataFrame,
    verdicts: pd.DataFrame, scores: DataFrame, actions: DataFrame, drift: pd.DataFrame, drift_verdicts: pd.DataFrame,
    live: pd.DataFrame, spec: MonitoringSpec, economics: Economics, clock: datetime, use_case: UseCase, **quality: Any,
) -> str:  # fmt: skip
    """Everything that the tables tell, for people.

    Args:
        candidate: The newest candidate.
        standing: Who is champion.
        trials: One row per trial of the search.
        holdout: One row per held-out row, with both contenders' probabilities (bounded by evaluation's `max_rows`).
        metrics: One row per contender, segment and metric.
        verdicts: One row per verdict.
        scores: One row per entity and batch.
        actions: One row per batch and listed entity.
        drift: One row per batch and column.
        drift_verdicts: One row per batch.
        live: One row per batch whose outcomes are known.
        spec: The levels of drift that the report draws.
        economics: What acting costs and averts.
        clock: Time of the run, UTC.
        use_case: Whose words are used.
        quality: For each landing table `<name>`: `files_<name>` (the manifest), `refused_<name>` (refused lines),
            `columns_<name>` and `rules_<name>`.

    Returns:
        One HTML document that needs no other file.
    """
    batch = _batch_size(scores, use_case.key[0])
    of_batch = F.col("batch") == F.lit(batch.batch or "")
    told = drift_verdicts[drift_verdicts["batch"] == batch.batch]
    material = Material(
        words=use_case.wording,
        made_at=clock,
        sources={
            name: Source(
                quality[f"files_{name}"],
                collect(quality[f"refused_{name}"].orderBy("source_file", "line_number").limit(_REFUSED_SHOWN)),
                quality[f"columns_{name}"],
                quality[f"rules_{name}"],
                use_case.sources[name].key,
            )
            for name in use_case.sources
        },
        meaning=use_case.meaning,
        version=candidate.version,
        card=candidate.card,
        trials=trials,
        holdout=collect(holdout),
        metrics=metrics,
        verdict=newest_verdict(verdicts).to_dict(),
        standing=standing,
        economics=economics,
        batch=batch,
        actions=collect(actions.where(of_batch).orderBy("rank")),
        drift=drift[drift["batch"] == batch.batch],
        drift_levels=(spec.drift.psi_warn, spec.drift.psi_alarm),
        drift_verdict=told.iloc[-1].to_dict() if len(told) else None,
        live=live,
    )
    return render(page(material))


_REFUSED_SHOWN = 5


def _batch_size(scores: DataFrame, entity: str) -> Scored:
    """The newest batch, its rows, those of them whose decision is 1, and its entities."""
    counted = collect(
        scores.groupBy("batch")
        .agg(
            F.count(F.lit(1)).alias("n"),
            F.sum("decision").alias("positive"),
            F.countDistinct(entity).alias("entities"),
        )
        .orderBy(F.desc("batch"))
        .limit(1)
    )
    if not len(counted):
        return Scored(None, 0, 0, 0)
    newest = counted.iloc[0]
    return Scored(str(newest["batch"]), int(newest["n"]), int(newest["positive"]), int(newest["entities"]))


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
    scores: DataFrame, outcomes: DataFrame, key: Sequence[str], target: str | None = None,
    labels: Callable[..., DataFrame] | None = None,
) -> DataFrame:  # fmt: skip
    """Scores beside what happened, for those of whom it is known by now.

    Args:
        scores: One row per key and batch.
        outcomes: What happened.
        key: Entity and time.
        target: What an outcome speaks of besides; scores then have a probability for each.
        labels: Makes key and `label` of the outcomes; None, where they are labels already.

    Returns:
        One row per scored entity, target and batch with an outcome: key, target, batch, probability, decision,
        threshold, model_version, label.
    """
    known = labels(outcomes) if labels else outcomes
    chosen = by_target(scores, key, target) if target else scores
    grain = [*key, *([target] if target else [])]
    chosen = chosen.select(*grain, "batch", "probability", "decision", "threshold", "model_version")
    return chosen.join(known, on=grain, how="inner")


def measure_live(outcomes: DataFrame, spec: MonitoringSpec) -> pd.DataFrame:
    """How well each batch's scores did, now that outcomes are known.

    Returns:
        One row per batch and model version: batch, model_version, n_rows, n_positives, and the metrics of at most
        `max_rows` of these rows.
    """
    groups = collect(
        outcomes.groupBy("batch", "model_version").agg(
            F.count(F.lit(1)).alias("n_rows"), F.sum("label").alias("n_positives")
        )
    )
    return pd.DataFrame(list(_live(outcomes, groups, spec.max_rows)), columns=_LIVE)


_LIVE = [
    "batch", "model_version", "n_rows", "n_positives",
    "accuracy", "precision", "recall", "f1", "roc_auc", "average_precision",
]  # fmt: skip


def _live(outcomes: DataFrame, groups: pd.DataFrame, most: int) -> Iterator[dict[str, Any]]:
    for group in groups.sort_values(["batch", "model_version"]).itertuples():
        here = (F.col("batch") == group.batch) & (F.col("model_version") == group.model_version)
        told = outcomes.where(here).select(
            "probability", "threshold", "label", F.col(outcomes.columns[0]).alias("_who")
        )
        # Beyond what is taken into memory, an even sample, and the same one each time.
        rows = collect(told.orderBy(F.md5(F.col("_who").cast("string"))).limit(most))
        metrics = classification_metrics(
            rows["label"].to_numpy(), rows["probability"].to_numpy(), float(rows["threshold"].iloc[0])
        )
        yield {
            "batch": group.batch,
            "model_version": group.model_version,
            "n_rows": int(group.n_rows),
            "n_positives": int(group.n_positives),
            **metrics,
        }


def _bin(name: str, profile: ColumnProfile) -> Column:
    """The key of a value's bin: the number of edges below it, or the category."""
    if profile.kind == "categorical":
        return F.col(name).cast("string")
    value = F.col(name).cast("double")
    below = sum(((value > F.lit(edge)).cast("int") for edge in profile.edges), start=F.lit(0))
    return F.when(value.isNotNull() & ~F.isnan(value), below.cast("string"))


_NO_COLUMN = ColumnDrift("", "numeric", 0, 0, status="stable", reason="")
_VERDICT = ("batch", "model_version", "status", "drifted", "warned", "score_status", "reason")


def _verdict_batch(told: Mapping[str, Any], batches: tuple[str, ...]) -> Batch:
    """The verdict on a batch as one row, lists as JSON; without a batch no row, but a table to read."""
    lists = {name: json.dumps(told[name]) for name in ("drifted", "warned") if batches}
    rows = [{**told, **lists}] if batches else []
    return Batch(pd.DataFrame(rows, columns=list(_VERDICT)), "batch", batches)


def _drift_table(columns: Sequence[ColumnDrift], batch: str, version: str) -> pd.DataFrame:
    table = pd.DataFrame([asdict(column) for column in columns])
    return table.assign(new_categories=table["new_categories"].map(json.dumps), batch=batch, model_version=version)
