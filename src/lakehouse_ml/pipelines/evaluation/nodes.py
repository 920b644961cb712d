"""Nodes of evaluation: measure candidate and incumbent on the same rows, judge, and request promotion."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import pandas as pd
from pydantic import Field
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from lakehouse_ml.config.spec import Spec
from lakehouse_ml.modelling.card import Promotion
from lakehouse_ml.modelling.economics import Economics, expected_value
from lakehouse_ml.modelling.gates import Evidence, Floors, Policy, Verdict, judge, newest_verdict
from lakehouse_ml.modelling.metrics import METRICS, bootstrap_intervals, classification_metrics
from lakehouse_ml.modelling.model import Model
from lakehouse_ml.modelling.split import hash_order, hold_out_condition, unseen_condition
from lakehouse_ml.storage.writes import collect
from lakehouse_ml.use_cases.base import Measures

log = logging.getLogger(__name__)

ALL_ROWS = "all"
OUTCOME_COLUMNS = ("label", "candidate_probability", "incumbent_probability", "candidate_version", "incumbent_version")
METRIC_COLUMNS = ("model", "segment", "metric", "value", "low", "high", "n_rows", "n_positives")


class EvaluationSpec(Spec):
    """Minimum metrics of a candidate, and how it is compared with the incumbent.

    Attributes:
        floors: Minimum of each hold-out metric.
        policy: How the candidate must compare with the incumbent, and whether a person must approve.
        max_rows: Hold-out rows that are collected into memory, about; of more, an even sample by hash.
        resamples: Resamples of the bootstrap for confidence intervals.
        min_segment_rows: Segments with fewer rows are not measured.
        capacity: Entities that can be acted on per day, for use cases that measure it.
        seed: Seed of the bootstrap.
    """

    floors: Floors
    policy: Policy
    max_rows: int = Field(ge=100)
    resamples: int = Field(ge=100)
    min_segment_rows: int = Field(ge=1)
    capacity: int = Field(default=1, ge=1)
    seed: int


@dataclass(frozen=True)
class Comparison:
    """Candidate and incumbent on the same hold-out rows: labels, segments and both probabilities."""

    rows: pd.DataFrame
    candidate: Model
    incumbent: Model | None

    def iterate_contenders(self) -> Iterator[tuple[str, np.ndarray, float]]:
        """Name, probabilities and threshold of each contender."""
        yield "candidate", self.rows["candidate_probability"].to_numpy(), self.candidate.card.threshold
        if self.incumbent:
            yield "incumbent", self.rows["incumbent_probability"].to_numpy(), self.incumbent.card.threshold


def evaluate(
    model_input: DataFrame,
    candidate: Model,
    incumbent: Model | None,
    spec: EvaluationSpec,
    economics: Economics,
    clock: datetime,
    key: Sequence[str],
    segments: Sequence[str],
    label_dimension: str | None = None,
    measures: Measures | None = None,
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Judge a candidate; an error while judging is a refusal with the reason, never a promotion.

    An error while reading the rows says nothing about the candidate, and is raised.

    Args:
        model_input: Labelled rows, one per entity, or per key and label dimension; with `part` where the split is in
            time.
        candidate: The newest candidate.
        incumbent: The champion that it would replace, if there is one.
        spec: Floors and policy.
        economics: Cost and value of acting.
        clock: Time of the run, UTC.
        key: Entity and moment.
        segments: Columns whose groups are measured separately.
        label_dimension: Column that says what a label is about, where a state has several.
        measures: Further metrics of the use case; see `UseCase`.

    Returns:
        Hold-out rows (key, label dimension and `OUTCOME_COLUMNS`); metrics (`METRIC_COLUMNS`: one row per contender,
        segment and metric); and the verdict as one row.
    """
    key = [*key, label_dimension] if label_dimension else list(key)
    rows = _collect_unseen(model_input, candidate, incumbent, spec, key)
    try:
        comparison = _score_both(rows, candidate, incumbent, key, segments)
        metrics = _measure(comparison, spec, economics, segments, key[0])
        if measures:
            metrics = pd.concat([metrics, _measure_use_case(comparison, spec, economics, measures)], ignore_index=True)
        verdict = judge(_build_evidence(comparison, key[0]), spec.floors, spec.policy)
        outcomes = comparison.rows[[*key, *OUTCOME_COLUMNS]]
    except Exception as error:
        log.warning("evaluation: version %s is refused because judging it failed: %s", candidate.version, error)
        outcomes, metrics = _empty_tables(key)
        reason = f"Judging failed ({type(error).__name__}: {error}), so the candidate is refused."
        return outcomes, metrics, _build_verdict_row(candidate, incumbent, None, reason, spec, outcomes, clock)
    return outcomes, metrics, _build_verdict_row(candidate, incumbent, verdict, verdict.reason, spec, outcomes, clock)


def promote(verdicts: pd.DataFrame) -> Promotion:
    """Promote or refuse the newest version by its newest verdict."""
    newest = newest_verdict(verdicts)
    return Promotion(
        version=str(newest["version"]),
        incumbent=newest["incumbent_version"] or None,
        decision=str(newest["decision"]),
        reason=str(newest["reason"]),
        evidence=str(newest["evidence"]),
    )


def _collect_unseen(
    model_input: DataFrame, candidate: Model, incumbent: Model | None, spec: EvaluationSpec, key: Sequence[str]
) -> pd.DataFrame:
    """Collect rows that neither contender was trained or calibrated on; of too many an even sample by hash.

    If entities have several rows, the sample is of entities with all their rows: a failure is a run of rows.
    """
    unseen = model_input
    for model in filter(None, (candidate, incumbent)):
        unseen = unseen.where(unseen_condition(model.card.unseen, key))
        if model.card.unseen["kind"] == "time":
            unseen = unseen.where(F.col("part") == "holdout")
    counted = collect(unseen.agg(F.count(F.lit(1)).alias("rows"), F.countDistinct(key[0]).alias("entities"))).iloc[0]
    if counted["rows"] > spec.max_rows:
        if counted["entities"] == counted["rows"]:
            unseen = unseen.orderBy(hash_order(spec.seed, key)).limit(spec.max_rows)
        else:
            unseen = unseen.where(hold_out_condition(key[0], f"sample {spec.seed}", spec.max_rows / counted["rows"]))
    rows = collect(unseen)
    return rows.sort_values(list(key), ignore_index=True)


def _find_groups(rows: pd.DataFrame, entity: str) -> np.ndarray | None:
    """Entity of each row, if entities have several rows, which depend on each other; otherwise None."""
    return None if rows[entity].is_unique else rows[entity].to_numpy()


def _score_both(
    rows: pd.DataFrame, candidate: Model, incumbent: Model | None, key: Sequence[str], segments: Sequence[str]
) -> Comparison:
    """Score the rows by both contenders."""
    scored = rows[list(dict.fromkeys([*key, "label", *segments]))].assign(
        candidate_probability=candidate.score(rows),
        incumbent_probability=incumbent.score(rows) if incumbent else np.nan,
        candidate_version=candidate.version,
        incumbent_version=incumbent.version if incumbent else "",
    )
    return Comparison(scored, candidate, incumbent)


def _build_evidence(comparison: Comparison, entity: str) -> Evidence:
    rows, incumbent = comparison.rows, comparison.incumbent
    return Evidence(
        outcome=rows["label"].to_numpy(),
        candidate_probability=rows["candidate_probability"].to_numpy(),
        candidate_threshold=comparison.candidate.card.threshold,
        incumbent_probability=rows["incumbent_probability"].to_numpy() if incumbent else None,
        incumbent_threshold=incumbent.card.threshold if incumbent else None,
        groups=_find_groups(rows, entity),
    )


def _measure(
    comparison: Comparison, spec: EvaluationSpec, economics: Economics, segments: Sequence[str], entity: str
) -> pd.DataFrame:
    label, groups = comparison.rows["label"].to_numpy(), _find_groups(comparison.rows, entity)
    table = []
    for model, probability, threshold in comparison.iterate_contenders():
        for segment, is_in_segment in _iterate_segments(comparison.rows, segments, spec.min_segment_rows):
            truth, scores = label[is_in_segment], probability[is_in_segment]
            values = classification_metrics(truth, scores, threshold)
            values["expected_value"] = expected_value(truth, scores >= threshold, economics)
            # Intervals for all rows only: those of many segments would invite comparing them.
            intervals = (
                bootstrap_intervals(truth, scores, threshold, resamples=spec.resamples, seed=spec.seed, groups=groups)
                if segment == ALL_ROWS
                else {}
            )
            table += [
                (model, segment, metric, value, *intervals.get(metric, (np.nan, np.nan)), len(truth), int(truth.sum()))
                for metric, value in values.items()
            ]
    return pd.DataFrame(table, columns=list(METRIC_COLUMNS))


def _measure_use_case(
    comparison: Comparison, spec: EvaluationSpec, economics: Economics, measures: Measures
) -> pd.DataFrame:
    """Compute the use case's own metrics for each contender, without those of segments."""
    tables = []
    for model, probability, threshold in comparison.iterate_contenders():
        cost, benefit = economics.action_cost, economics.averted_value * economics.success_share
        values = measures(comparison.rows, probability, threshold, cost, benefit, spec.capacity)
        tables.append(values[~values["segment"].str.contains("=")].assign(model=model, low=np.nan, high=np.nan))
    return pd.concat(tables)[list(METRIC_COLUMNS)]


def _iterate_segments(rows: pd.DataFrame, segments: Sequence[str], min_rows: int) -> Iterator[tuple[str, np.ndarray]]:
    yield ALL_ROWS, np.ones(len(rows), dtype=bool)
    for column in segments:
        for value in sorted(rows[column].dropna().unique()):
            is_in_segment = (rows[column] == value).to_numpy()
            if is_in_segment.sum() >= min_rows:
                yield f"{column}={value}", is_in_segment


def _build_verdict_row(
    candidate: Model,
    incumbent: Model | None,
    verdict: Verdict | None,
    reason: str,
    spec: EvaluationSpec,
    outcomes: pd.DataFrame,
    clock: datetime,
) -> pd.DataFrame:
    contenders = [(model.name, model.card.threshold) for model in (candidate, incumbent) if model]
    basis = json.dumps([contenders, _hash_content(outcomes), str(spec.floors), str(spec.policy)])
    numbers = {
        name: float("nan") if verdict is None or (value := getattr(verdict, name)) is None else float(value)
        for name in ("difference", "difference_low", "difference_high", "detectable")
    }
    row = {
        "model": candidate.name,
        "version": candidate.version,
        "incumbent_version": incumbent.version if incumbent else "",
        "decision": verdict.decision if verdict else "refuse",
        "reason": reason,
        **{name: float(verdict.metrics[name]) if verdict and verdict.metrics else float("nan") for name in METRICS},
        **numbers,
        "n_rows": len(outcomes),
        "n_positives": int(outcomes["label"].sum()) if len(outcomes) else 0,
        "rows_sha256": _hash_rows(outcomes),
        "evidence": hashlib.sha256(basis.encode()).hexdigest()[:32],
        "judged_at": pd.Timestamp(clock),
    }
    return pd.DataFrame([row])


def _hash_rows(outcomes: pd.DataFrame) -> str:
    """SHA-256 over keys and labels of the rows: the same rows give the same hash."""
    content = outcomes.iloc[:, : outcomes.columns.get_loc("label") + 1]
    return hashlib.sha256(content.to_csv(index=False).encode()).hexdigest()


def _hash_content(outcomes: pd.DataFrame) -> str:
    """SHA-256 over rows and both contenders' scores, without version numbers: the same models give the same hash.

    Probabilities are rounded to nine digits: further ones depend on the processor.
    """
    content = outcomes.drop(columns=["candidate_version", "incumbent_version"])
    return hashlib.sha256(content.to_csv(index=False, float_format="%.9f").encode()).hexdigest()


def _empty_tables(key: Sequence[str]) -> tuple[pd.DataFrame, pd.DataFrame]:
    return pd.DataFrame(columns=[*key, *OUTCOME_COLUMNS]), pd.DataFrame(columns=list(METRIC_COLUMNS))
