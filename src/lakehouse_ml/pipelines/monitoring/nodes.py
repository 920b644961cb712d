"""Nodes of monitoring: the batch against the champion's training rows, and scores against what happened."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import date, datetime
from functools import partial
from typing import Any

import pandas as pd
from pydantic import Field
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from lakehouse_ml.config.spec import Spec
from lakehouse_ml.modelling.batch import ScoringSpec, choose_batch, find_newest_scored, make_edition
from lakehouse_ml.modelling.card import RegistryStatus
from lakehouse_ml.modelling.drift import ColumnDrift, ColumnProfile, DriftSpec, compare, summarize_drift
from lakehouse_ml.modelling.economics import Economics, expected_gain
from lakehouse_ml.modelling.gates import newest_verdict
from lakehouse_ml.modelling.label_dimension import explode_label_values
from lakehouse_ml.modelling.metrics import classification_metrics
from lakehouse_ml.modelling.model import Model
from lakehouse_ml.modelling.population import KNOWN_AT, LEARNED_UNTIL, PopulationSpec
from lakehouse_ml.modelling.split import unseen_condition
from lakehouse_ml.report.cautions import assumed_day
from lakehouse_ml.report.data import ReportData, ScoredBatch, Source
from lakehouse_ml.report.page import render
from lakehouse_ml.report.sections import build_page
from lakehouse_ml.storage.landing import IngestionSpec
from lakehouse_ml.storage.writes import Edition, ReplaceBatch, collect
from lakehouse_ml.use_cases.base import UseCase

SCORE = "score"


class MonitoringSpec(Spec):
    """Which batch is compared, and when a difference is an alarm.

    Attributes:
        batch: Day of the batch; by default the one that batch_scoring is about.
        drift: Bounds of the drift tests.
        max_rows: Rows with outcomes that are taken into memory per batch at most.
    """

    batch: date | None = None
    drift: DriftSpec
    max_rows: int = Field(ge=100)


def measure_drift(
    scores: DataFrame,
    features: DataFrame,
    labels: DataFrame,
    champion: Model | None,
    spec: MonitoringSpec,
    scoring: ScoringSpec,
    key: Sequence[str],
    label_dimension: str | None = None,
    *,
    states: bool = False,
) -> tuple[ReplaceBatch, ReplaceBatch, Edition]:
    """Compare a scored batch and its scores with those training rows that a batch of their day would hold.

    Training rows of entities that were gone on their own day (customers who left by the day's file) are no part of the
    reference, since no batch holds them. Scores are compared over rows that the champion never saw only: of those it
    trained on, it remembers some, and their scores differ from the reference without any drift. A batch that consists
    of training rows for the most part is compared with itself, which the verdict says. Where an entity has several rows
    a day, it counts once.

    Args:
        scores: One row per key and batch.
        features: One row per key.
        labels: Outcomes that are known by now; with a score's key, it may have been trained on.
        champion: The version whose reference is compared with; None without one.
        spec: Which batch, and the bounds of the tests.
        scoring: Which batch is scored.
        key: Entity and time.
        label_dimension: What an outcome speaks of besides; scores then have a probability for each.
        states: Whether rows are states of entities over time, one per entity and batch.

    Returns:
        One row per column (see `drift.ColumnDrift`, categories as JSON) and one verdict row, each in place of this
        batch's earlier ones; and the verdict as a mapping for machines.
    """
    batch = _batch(scores, features, spec, scoring, key[1], states=states)
    of_batch = scores.where(F.col("batch") == F.lit(batch or ""))
    if champion is None or batch is None or of_batch.isEmpty():
        verdict = {"status": "not_assessable", "reason": "No scores yet."}
        none = _verdict_batch({}, ()).rows
        replaced_batches = (batch,) if batch else ()
        return (
            ReplaceBatch(_drift_table([_NO_COLUMN], "", "").head(0), "batch", replaced_batches),
            ReplaceBatch(none, "batch", replaced_batches),
            Edition(verdict),
        )
    newest = find_newest_scored(scores)
    scored = of_batch.where(F.col("model_version") == champion.version)
    if scored.isEmpty():
        verdict = _scored_by_another(batch, champion.version, str(_first(of_batch, "model_version")))
        return (
            ReplaceBatch(_drift_table([_NO_COLUMN], "", "").head(0), "batch", (batch,)),
            _verdict_batch(verdict, (batch,)),
            make_edition(verdict, batch, newest),
        )
    rows = features.join(scored.select(*key), on=list(key), how="inner")
    of_targets = explode_label_values(scored, key, label_dimension) if label_dimension else scored
    unseen = of_targets.where(unseen_condition(champion.card.unseen, key)).withColumnRenamed("probability", SCORE)
    reference = {name: ColumnProfile.from_dict(values) for name, values in champion.card.reference.items()}
    predictors = {name: profile for name, profile in reference.items() if name not in (SCORE, label_dimension)}
    present = {name: profile for name, profile in predictors.items() if name in rows.columns}
    entity = None if states else key[0]
    columns = compare(predictors, profile_batch(rows, present, entity), spec.drift)
    of_scores = {SCORE: reference[SCORE]}
    score = compare(of_scores, profile_batch(unseen, of_scores, entity), spec.drift)[0]
    trained = _trained_on(scored, labels, champion.card.unseen, key)
    summary = summarize_drift(columns, score, n_scored=scored.count(), n_trained=trained)
    verdict = {"batch": batch, "model_version": champion.version, **summary}
    table = _drift_table([*columns, score], batch, champion.version)
    return (
        ReplaceBatch(table, "batch", (batch,)),
        _verdict_batch(verdict, (batch,)),
        make_edition(verdict, batch, newest),
    )


def _batch(
    scores: DataFrame, features: DataFrame, spec: MonitoringSpec, scoring: ScoringSpec, moment: str, *, states: bool
) -> str | None:
    """The batch that drift and report speak of."""
    return spec.batch.isoformat() if spec.batch else choose_batch(scores, features, scoring, moment, states=states)


def _trained_on(scored: DataFrame, labels: DataFrame, unseen: Mapping[str, Any], key: Sequence[str]) -> int:
    """How many of these rows the model was trained or calibrated on: their outcome is known, and it was known to it."""
    seen = scored.where(~unseen_condition(unseen, key))
    if unseen.get(LEARNED_UNTIL):
        seen = seen.where(F.col(key[1]).cast("date") <= F.lit(unseen[LEARNED_UNTIL]).cast("date"))
    return seen.join(labels.select(*key).distinct(), on=list(key), how="left_semi").count()


def _first(rows: DataFrame, column: str) -> Any:
    return collect(rows.select(column).limit(1))[column].item()


def _scored_by_another(batch: str, version: str, scored_by: str) -> dict[str, Any]:
    """The verdict on scores that the champion didn't make: another model's say nothing against its reference."""
    reason = (
        f"Batch {batch} was scored by version {scored_by}, and version {version} is champion now: it is compared from "
        f"the next batch on. To score this one again, name its day: batch, in batch_scoring's part of conf."
    )
    none: dict[str, Any] = {"drifted": [], "warned": [], "score_status": "not_assessable"}
    return {"batch": batch, "model_version": version, "status": "not_assessable", **none, "reason": reason}


def write_report(
    candidate: Model,
    standing: RegistryStatus,
    trials: pd.DataFrame,
    holdout: DataFrame,
    metrics: pd.DataFrame,
    verdicts: pd.DataFrame,
    scores: DataFrame,
    actions: DataFrame,
    drift: pd.DataFrame,
    drift_verdicts: pd.DataFrame,
    live: pd.DataFrame,
    features: DataFrame,
    spec: MonitoringSpec,
    scoring: ScoringSpec,
    economics: Economics,
    clock: datetime,
    ingestion: IngestionSpec,
    population: PopulationSpec | None,
    labels: pd.DataFrame | None,
    performance: pd.DataFrame | None,
    use_case: UseCase,
    **quality: Any,
) -> Edition:
    """Write the report page from the stored tables.

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
        features: One row per key; their newest day is the batch's, unless conf names one.
        spec: The levels of drift that the report draws.
        scoring: Which batch is scored.
        economics: What acting costs and averts.
        clock: Time of the run, UTC.
        ingestion: How files tell the day of their rows.
        population: The horizon, where rows are states of entities over time; else None.
        labels: How many outcomes are known, a row per day, where outcomes come later; else None.
        performance: How outcomes compare with the hold-out, see `performance.judge_performance`; None where rows recur.
        use_case: Whose words are used.
        quality: For each landing table `<name>`: `files_<name>` (the manifest), `refused_<name>` (refused lines),
            `columns_<name>` and `rules_<name>`.

    Returns:
        One HTML document that needs no other file, under a name of its own for an earlier batch than the newest.
    """
    day = _batch(scores, features, spec, scoring, use_case.key[1], states=not use_case.multiple_rows_per_entity)
    batches = _batches(scores, use_case.key[0], economics)
    batch = _scored_batch(batches, day)
    edition = partial(make_edition, batch=batch.batch, newest=batches["batch"].max() if len(batches) else None)
    of_batch = F.col("batch") == F.lit(batch.batch or "")
    batch_verdicts = drift_verdicts[drift_verdicts["batch"] == batch.batch]
    data = ReportData(
        words=use_case.wording.within(population.horizon_days if population else None),
        horizon_days=population.horizon_days if population else None,
        list_file=edition(None).address(f"07_model_output/{use_case.name}/actions.csv"),
        most_actions=scoring.actions,
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
        batches=batches,
        actions=collect(actions.where(of_batch).orderBy("rank")),
        drift=drift[drift["batch"] == batch.batch],
        drift_levels=(spec.drift.psi_warn, spec.drift.psi_alarm),
        drift_verdict=batch_verdicts.iloc[-1].to_dict() if len(batch_verdicts) else None,
        drift_verdicts=drift_verdicts,
        live=live,
        labels=labels,
        performance=None if performance is None or performance.empty else performance.iloc[0].to_dict(),
        assumed_day=assumed_day(use_case, {name: quality[f"files_{name}"] for name in use_case.sources}, ingestion),
    )
    return edition(render(build_page(data)))


_REFUSED_SHOWN = 5


def _batches(scores: DataFrame, entity: str, economics: Economics) -> pd.DataFrame:
    """One row per batch: its rows, those whose decision is 1, its entities, and whose action is expected to pay."""
    gain = expected_gain(economics)
    pays = F.when(gain > 0, F.col(entity))
    return collect(
        scores.groupBy("batch").agg(
            F.count(F.lit(1)).alias("n_rows"),
            F.sum("decision").alias("n_named"),
            F.countDistinct(entity).alias("n_entities"),
            F.countDistinct(pays).alias("n_paying"),
            F.sum(F.greatest(gain, F.lit(0.0))).alias("gain"),
            F.max("threshold").alias("threshold"),
        )
    ).sort_values("batch", ignore_index=True)


def _scored_batch(batches: pd.DataFrame, batch: str | None) -> ScoredBatch:
    """A batch's counts; without rows no batch."""
    rows = batches[batches["batch"] == batch]
    if batch is None or not len(rows):
        return ScoredBatch(None, 0, 0, 0)
    row = rows.iloc[0]
    counts = [int(row[name]) for name in ("n_rows", "n_named", "n_entities", "n_paying")]
    return ScoredBatch(batch, counts[0], counts[1], counts[2], counts[3], float(row["gain"]), float(row["threshold"]))


def profile_batch(
    rows: DataFrame, reference: Mapping[str, ColumnProfile], entity: str | None = None
) -> dict[str, ColumnProfile]:
    """Histograms of the reference's columns over a batch, with the reference's bins.

    Args:
        rows: Rows of one day, with the reference's columns.
        reference: Profiles by column.
        entity: Column of the entity, where one has several rows; None where each row counts.

    Returns:
        Profiles by column.
    """
    entities = rows.select(entity).distinct().count() if entity else None
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
        name: ColumnProfile(
            profile.kind,
            {key: n for key, n in counts[name].items() if key is not None},
            counts[name].get(None, 0),
            profile.edges,
            entities,
        )
        for name, profile in reference.items()
    }


def join_outcomes(
    scores: DataFrame,
    outcomes: DataFrame,
    key: Sequence[str],
    label_dimension: str | None = None,
    *,
    states: bool = False,
    later: bool = False,
) -> DataFrame:
    """Join the scores of each batch with the outcomes that are known by now.

    Args:
        scores: One row per key and batch.
        outcomes: What happened, as labels.
        key: Entity and time.
        label_dimension: What an outcome speaks of besides; scores then have a probability for each.
        states: Whether rows are states of entities over time. A batch's scores then meet the outcomes of the batch's
            day and of no other, unless the model that scored had learned from outcomes of that day or a later one.
        later: Whether only outcomes count that were not known on their day: the others were no secret to score.

    Returns:
        One row per scored entity, label dimension and batch with an outcome: key, label dimension, batch,
        probability, decision, threshold, model_version, label, and where rows recur whatever else a label says.
    """
    entity, moment = key
    further = [label_dimension] if label_dimension else []
    eligible = outcomes.where(F.col(KNOWN_AT) > F.col(moment).cast("date")) if later else outcomes
    if states:
        scores = scores.where(F.col(LEARNED_UNTIL).isNull() | (F.col(LEARNED_UNTIL).cast("string") < F.col("batch")))
    batch_scores = explode_label_values(scores, key, label_dimension) if label_dimension else scores
    batch_scores = batch_scores.select(*key, *further, "batch", "probability", "decision", "threshold", "model_version")
    if not states:
        return batch_scores.join(eligible, on=[*key, *further], how="inner")
    of_day = eligible.select(entity, F.col(moment).cast("date").cast("string").alias("batch"), *further, "label")
    joined = batch_scores.join(of_day, on=[entity, "batch", *further], how="inner")
    return joined.select(*batch_scores.columns, "label")


def measure_live(outcomes: DataFrame, spec: MonitoringSpec) -> pd.DataFrame:
    """Measure the scores of each batch by its known outcomes.

    Returns:
        One row per batch and model version: batch, model_version, n_rows, n_positives, n_named (decision 1), n_hits
        (named, and it happened), and the metrics of at most `max_rows` of these rows.
    """
    groups = collect(
        outcomes.groupBy("batch", "model_version").agg(
            F.count(F.lit(1)).alias("n_rows"),
            F.sum("label").alias("n_positives"),
            F.sum("decision").alias("n_named"),
            F.sum(F.col("decision") * F.col("label")).alias("n_hits"),
        )
    )
    return pd.DataFrame(list(_live(outcomes, groups, spec.max_rows)), columns=_LIVE)


_LIVE = [
    "batch", "model_version", "n_rows", "n_positives", "n_named", "n_hits",
    "accuracy", "precision", "recall", "f1", "roc_auc", "average_precision",
]  # fmt: skip


def _live(outcomes: DataFrame, groups: pd.DataFrame, max_rows: int) -> Iterator[dict[str, Any]]:
    for group in groups.sort_values(["batch", "model_version"]).itertuples():
        here = (F.col("batch") == group.batch) & (F.col("model_version") == group.model_version)
        batch_rows = outcomes.where(here).select(
            "probability", "threshold", "label", F.col(outcomes.columns[0]).alias("_who")
        )
        # Beyond what is taken into memory, an even sample, and the same one each time.
        rows = collect(batch_rows.orderBy(F.md5(F.col("_who").cast("string"))).limit(max_rows))
        metrics = classification_metrics(
            rows["label"].to_numpy(), rows["probability"].to_numpy(), float(rows["threshold"].iloc[0])
        )
        yield {
            "batch": group.batch,
            "model_version": group.model_version,
            "n_rows": int(group.n_rows),
            "n_positives": int(group.n_positives),
            "n_named": int(group.n_named),
            "n_hits": int(group.n_hits),
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


def _verdict_batch(verdict: Mapping[str, Any], batches: tuple[str, ...]) -> ReplaceBatch:
    """The verdict on a batch as one row, lists as JSON; without a batch no row, but a table to read."""
    lists = {name: json.dumps(verdict[name]) for name in ("drifted", "warned") if batches}
    rows = [{**verdict, **lists}] if batches else []
    return ReplaceBatch(pd.DataFrame(rows, columns=list(_VERDICT)), "batch", batches)


def _drift_table(columns: Sequence[ColumnDrift], batch: str, version: str) -> pd.DataFrame:
    table = pd.DataFrame([asdict(column) for column in columns])
    return table.assign(new_categories=table["new_categories"].map(json.dumps), batch=batch, model_version=version)
