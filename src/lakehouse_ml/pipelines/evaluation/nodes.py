"""Nodes of evaluation: measure candidate and incumbent on the same rows, judge, and ask for promotion."""

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
from lakehouse_ml.modelling.card import Model, Promotion
from lakehouse_ml.modelling.economics import Economics, expected_value
from lakehouse_ml.modelling.gates import Evidence, Floors, Policy, Verdict, judge, newest_verdict
from lakehouse_ml.modelling.metrics import METRICS, bootstrap_intervals, classification_metrics
from lakehouse_ml.modelling.split import hash_order, hold_out_condition, unseen_condition
from lakehouse_ml.storage.writes import collect
from lakehouse_ml.use_cases.base import Measures

log = logging.getLogger(__name__)

ALL_ROWS = "all"
OUTCOMES = ("label", "candidate_probability", "incumbent_probability", "candidate_version", "incumbent_version")
MEASURED = ("model", "segment", "metric", "value", "low", "high", "n_rows", "n_positives")


class EvaluationSpec(Spec):
    """What a candidate must reach, and how it is compared.

    Attributes:
        floors: Least values of hold-out metrics.
        policy: How the candidate must compare with the incumbent, and whether somebody must approve.
        max_rows: Held-out rows that are taken into memory, about; beyond, an even sample by hash.
        resamples: Of the bootstrap behind the confidence intervals.
        min_segment_rows: Segments with fewer rows are not measured.
        capacity: Entities that can be acted on a day, where a use case measures that.
        seed: Of the bootstrap.
    """

    floors: Floors
    policy: Policy
    max_rows: int = Field(ge=100)
    resamples: int = Field(ge=100)
    min_segment_rows: int = Field(ge=1)
    capacity: int = Field(default=1, ge=1)
    seed: int


@dataclass(frozen=True)
class Contest:
    """Candidate and incumbent on the same held-out rows: labels, segments and both probabilities."""

    rows: pd.DataFrame
    candidate: Model
    incumbent: Model | None

    def sides(self) -> Iterator[tuple[str, np.ndarray, float]]:
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
    """Judge a candidate; whatever goes wrong while judging is a refusal with the reason, never a promotion.

    What goes wrong while the rows are read says nothing of the candidate, and is raised.

    Args:
        model_input: Labelled rows, one per entity, or per key and label dimension; with `part` where the split is in
            time.
        candidate: The newest candidate.
        incumbent: The champion that it is to replace, if there is one.
        spec: Floors and policy.
        economics: What acting costs and averts.
        clock: Time of the run, UTC.
        key: Entity and moment.
        segments: Columns whose groups are measured one by one.
        label_dimension: Column that tells what a label is about, where a state has several.
        measures: What a use case measures besides; see `UseCase`.

    Returns:
        Held-out rows (key, label dimension and `OUTCOMES`); metrics (`MEASURED`: one row per contender, segment and
        metric); and the verdict as one row.
    """
    key = [*key, label_dimension] if label_dimension else list(key)
    rows = _unseen(model_input, candidate, incumbent, spec, key)
    try:
        contest = _contest(rows, candidate, incumbent, key, segments)
        measured = _measure(contest, spec, economics, segments, key[0])
        if measures:
            measured = pd.concat([measured, _further(contest, spec, economics, measures)], ignore_index=True)
        verdict = judge(_evidence(contest, key[0]), spec.floors, spec.policy)
        outcomes = contest.rows[[*key, *OUTCOMES]]
    except Exception as error:
        log.warning("evaluation: version %s is refused, for judging it failed: %s", candidate.version, error)
        outcomes, measured = _nothing(key)
        reason = f"Judging failed ({type(error).__name__}: {error}); what can't be judged is refused."
        return outcomes, measured, _verdict_row(candidate, incumbent, None, reason, spec, outcomes, clock)
    return outcomes, measured, _verdict_row(candidate, incumbent, verdict, verdict.reason, spec, outcomes, clock)


def promote(verdicts: pd.DataFrame) -> Promotion:
    """What the newest verdict on the newest version asks of the registry."""
    newest = newest_verdict(verdicts)
    return Promotion(
        version=str(newest["version"]),
        incumbent=newest["incumbent_version"] or None,
        decision=str(newest["decision"]),
        reason=str(newest["reason"]),
        evidence=str(newest["evidence"]),
    )


def _unseen(
    model_input: DataFrame, candidate: Model, incumbent: Model | None, spec: EvaluationSpec, key: Sequence[str]
) -> pd.DataFrame:
    """Rows that neither contender trained on, nor was calibrated on, in memory; of too many an even sample by hash.

    Where entities recur, the sample is of entities with all their rows: a failure is a run of rows.
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


def _groups_of(rows: pd.DataFrame, entity: str) -> np.ndarray | None:
    """Whose row it is, where an entity has several and they tell of each other; None where each has one."""
    return None if rows[entity].is_unique else rows[entity].to_numpy()


def _contest(
    rows: pd.DataFrame, candidate: Model, incumbent: Model | None, key: Sequence[str], segments: Sequence[str]
) -> Contest:
    """Those rows, scored by both."""
    scored = rows[list(dict.fromkeys([*key, "label", *segments]))].assign(
        candidate_probability=candidate.score(rows),
        incumbent_probability=incumbent.score(rows) if incumbent else np.nan,
        candidate_version=candidate.version,
        incumbent_version=incumbent.version if incumbent else "",
    )
    return Contest(scored, candidate, incumbent)


def _evidence(contest: Contest, entity: str) -> Evidence:
    rows, incumbent = contest.rows, contest.incumbent
    return Evidence(
        outcome=rows["label"].to_numpy(),
        candidate_probability=rows["candidate_probability"].to_numpy(),
        candidate_threshold=contest.candidate.card.threshold,
        incumbent_probability=rows["incumbent_probability"].to_numpy() if incumbent else None,
        incumbent_threshold=incumbent.card.threshold if incumbent else None,
        groups=_groups_of(rows, entity),
    )


def _measure(
    contest: Contest, spec: EvaluationSpec, economics: Economics, segments: Sequence[str], entity: str
) -> pd.DataFrame:
    label, groups = contest.rows["label"].to_numpy(), _groups_of(contest.rows, entity)
    table = []
    for model, probability, threshold in contest.sides():
        for segment, chosen in _groups(contest.rows, segments, spec.min_segment_rows):
            truth, given = label[chosen], probability[chosen]
            values = classification_metrics(truth, given, threshold)
            values["expected_value"] = expected_value(truth, given >= threshold, economics)
            # Intervals of a segment would tempt to compare many of them: they are given for all rows only.
            bands = (
                bootstrap_intervals(truth, given, threshold, resamples=spec.resamples, seed=spec.seed, groups=groups)
                if segment == ALL_ROWS
                else {}
            )
            table += [
                (model, segment, metric, value, *bands.get(metric, (np.nan, np.nan)), len(truth), int(truth.sum()))
                for metric, value in values.items()
            ]
    return pd.DataFrame(table, columns=list(MEASURED))


def _further(contest: Contest, spec: EvaluationSpec, economics: Economics, measures: Measures) -> pd.DataFrame:
    """What a use case measures of each contender, but for what is measured of every use case."""
    tables = []
    for model, probability, threshold in contest.sides():
        cost, value = economics.action_cost, economics.averted_value * economics.success_share
        told = measures(contest.rows, probability, threshold, cost, value, spec.capacity)
        tables.append(told[~told["segment"].str.contains("=")].assign(model=model, low=np.nan, high=np.nan))
    return pd.concat(tables)[list(MEASURED)]


def _groups(rows: pd.DataFrame, segments: Sequence[str], least: int) -> Iterator[tuple[str, np.ndarray]]:
    yield ALL_ROWS, np.ones(len(rows), dtype=bool)
    for column in segments:
        for value in sorted(rows[column].dropna().unique()):
            chosen = (rows[column] == value).to_numpy()
            if chosen.sum() >= least:
                yield f"{column}={value}", chosen


def _verdict_row(
    candidate: Model,
    incumbent: Model | None,
    verdict: Verdict | None,
    reason: str,
    spec: EvaluationSpec,
    outcomes: pd.DataFrame,
    clock: datetime,
) -> pd.DataFrame:
    against = incumbent.version if incumbent else ""
    contenders = [(model.name, model.card.threshold) for model in (candidate, incumbent) if model]
    basis = json.dumps([contenders, _content_hash(outcomes), str(spec.floors), str(spec.policy)])
    numbers = {
        name: float("nan") if verdict is None or (value := getattr(verdict, name)) is None else float(value)
        for name in ("difference", "difference_low", "difference_high", "detectable")
    }
    row = {
        "model": candidate.name,
        "version": candidate.version,
        "incumbent_version": against,
        "decision": verdict.decision if verdict else "refuse",
        "reason": reason,
        **{name: float(verdict.metrics[name]) if verdict and verdict.metrics else float("nan") for name in METRICS},
        **numbers,
        "n_rows": len(outcomes),
        "n_positives": int(outcomes["label"].sum()) if len(outcomes) else 0,
        "rows_sha256": _rows_hash(outcomes),
        "evidence": hashlib.sha256(basis.encode()).hexdigest()[:32],
        "judged_at": pd.Timestamp(clock),
    }
    return pd.DataFrame([row])


def _rows_hash(outcomes: pd.DataFrame) -> str:
    """SHA-256 over who was judged on and what happened to them: the same rows give the same text."""
    judged = outcomes.iloc[:, : outcomes.columns.get_loc("label") + 1]
    return hashlib.sha256(judged.to_csv(index=False).encode()).hexdigest()


def _content_hash(outcomes: pd.DataFrame) -> str:
    """SHA-256 over what was judged on and what both contenders say of it: the same for the same models, by any number.

    Probabilities count to the ninth digit: beyond, they are the processor's.
    """
    judged = outcomes.drop(columns=["candidate_version", "incumbent_version"])
    return hashlib.sha256(judged.to_csv(index=False, float_format="%.9f").encode()).hexdigest()


def _nothing(key: Sequence[str]) -> tuple[pd.DataFrame, pd.DataFrame]:
    return pd.DataFrame(columns=[*key, *OUTCOMES]), pd.DataFrame(columns=list(MEASURED))
