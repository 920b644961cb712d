"""May this candidate replace the incumbent? A pure judgement that fails closed.

A candidate has to earn its approval: too little data, a missing number, a broken floor or an error in the
judgement itself each end in a refusal with a reason. Both models are judged on the same rows, which neither
was trained on.
"""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass, field, replace
from statistics import NormalDist
from typing import Annotated, Literal, Self

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from pydantic import ConfigDict, Field, model_validator

from lakehouse_ml.config.spec import Spec
from lakehouse_ml.modelling.metrics import (
    METRICS,
    TITLES,
    Floats,
    check_rows,
    classification_metrics,
    number_groups,
    resample_precision_gains,
)

Share = Annotated[float, Field(ge=0, le=1)]
Decision = Literal["approve", "refuse", "request"]

# A gain counts as detectable when the gate would see it on four hold-outs out of five, the usual power.
_POWER = 0.8
# With fewer resamples beyond the bound, a handful of draws would decide it.
_TAIL_RESAMPLES = 5

log = logging.getLogger(__name__)


class Floors(Spec):
    """Minimum of each metric on the hold-out, independent of the incumbent.

    A metric that is not named has no floor, but one at least has to be named: an empty table would wave the
    first model through.

    Attributes:
        accuracy: Share of rows with a correct decision.
        precision: Share of the rows decided positive that are positive.
        recall: Share of the positive rows that are found.
        f1: Harmonic mean of precision and recall.
        roc_auc: Chance that a positive row scores above a negative one.
        average_precision: Precision, averaged over the ranks of the positive rows.
    """

    model_config = ConfigDict(strict=True)

    accuracy: Share | None = None
    precision: Share | None = None
    recall: Share | None = None
    f1: Share | None = None
    roc_auc: Share | None = None
    average_precision: Share | None = None

    @model_validator(mode="after")
    def _name_one(self) -> Self:
        if not self.minima:
            raise ValueError(f"Name at least one floor among {', '.join(METRICS)}.")
        return self

    @property
    def minima(self) -> dict[str, float]:
        """The named floors only, in the order of `METRICS`."""
        return {name: value for name in METRICS if (value := getattr(self, name)) is not None}


class Policy(Spec):
    """How a candidate is weighed against the incumbent.

    Attributes:
        mode: `superiority` asks for a gain in average precision beyond chance, to replace a champion;
            `non_inferiority` asks that no loss beyond `margin` is plausible, for a scheduled refresh. Refresh
            after refresh may each lose a little, so keep the margin small.
        alpha: One-sided error rate: how often an equal model may pass for a better one, in (0, 0.5).
        margin: Loss of average precision that a refresh may risk, in [0, 1]; unused under superiority.
        f1_tolerance: How far F1 may lie below the incumbent's, each at its own threshold, in [0, 1].
        resamples: Resamples of the paired bootstrap; at least 5 of them must lie beyond the bound.
        seed: Seed of the bootstrap.
        min_rows: Labelled rows that the hold-out must have.
        min_positives: Positive rows that the hold-out must have.
        min_groups: Groups that the hold-out must have, where its rows come in groups.
        approval_required: Whether a person must approve a promotion.
    """

    model_config = ConfigDict(strict=True)

    mode: Literal["superiority", "non_inferiority"] = "superiority"
    alpha: float = Field(default=0.025, gt=0, lt=0.5)
    margin: Share = 0.01
    f1_tolerance: Share = 0.01
    resamples: int = Field(default=2000, ge=1)
    seed: int = Field(default=0, ge=0)
    min_rows: int = Field(default=100, ge=2)
    min_positives: int = Field(default=20, ge=1)
    min_groups: int = Field(default=20, ge=2)
    approval_required: bool = False

    @model_validator(mode="after")
    def _resample_the_tail(self) -> Self:
        needed = math.ceil(round(_TAIL_RESAMPLES / self.alpha, 6))
        if self.resamples < needed:
            raise ValueError(f"An alpha of {self.alpha} needs {needed} resamples, got {self.resamples}.")
        return self


@dataclass(frozen=True, eq=False)
class Evidence:
    """One hold-out, scored by the candidate and, where there is one, by the incumbent.

    Attributes:
        outcome: Shape (n,), 0 or 1.
        candidate_probability: Shape (n,), in [0, 1].
        candidate_threshold: The candidate's own decision threshold, in [0, 1].
        incumbent_probability: Shape (n,), of the same rows in the same order; None without an incumbent.
        incumbent_threshold: The incumbent's own; None without an incumbent.
        groups: Shape (n,), whose row it is, where rows of one machine or customer depend on each other
            (overlapping windows, monthly snapshots). None takes rows as independent: in a simulation of 100
            machines with 8 overlapping rows an episode, 30 % of equal models then passed for better ones at
            an alpha of 2.5 %; drawn by machine, 2.5 %.
    """

    outcome: ArrayLike
    candidate_probability: ArrayLike
    candidate_threshold: float
    incumbent_probability: ArrayLike | None = None
    incumbent_threshold: float | None = None
    groups: ArrayLike | None = None


@dataclass(frozen=True)
class Verdict:
    """What was decided and on what grounds; numbers that were not reached are empty or None.

    Attributes:
        decision: `approve`, `refuse`, or `request` where a person has the last word.
        reason: One or two sentences with the numbers that decided.
        metrics: The candidate's, by name.
        incumbent_metrics: The incumbent's on the same rows.
        difference: Average precision, candidate minus incumbent.
        difference_low: Its one-sided lower bound, at confidence 1 - alpha.
        difference_high: Its one-sided upper bound, at confidence 1 - alpha.
        detectable: The smallest true gain that such a hold-out would show four times out of five:
            (z(1 - alpha) + z(0.8)) times the standard deviation of the resampled differences.
        n_rows: Rows of the hold-out.
        n_positives: Rows of the hold-out whose outcome is 1.
    """

    decision: Decision
    reason: str
    metrics: dict[str, float] = field(default_factory=dict)
    incumbent_metrics: dict[str, float] | None = None
    difference: float | None = None
    difference_low: float | None = None
    difference_high: float | None = None
    detectable: float | None = None
    n_rows: int = 0
    n_positives: int = 0


def judge(evidence: Evidence, floors: Floors, policy: Policy) -> Verdict:
    """Approve or refuse a candidate.

    In this order: enough rows of both classes; usable scores; the floors; then, against an incumbent, average
    precision by paired bootstrap, and F1. Without an incumbent the floors decide. A condition that can't be
    verified counts as violated.

    Args:
        evidence: The hold-out and both models' scores.
        floors: What every model must reach.
        policy: How a candidate is weighed against the incumbent.

    Returns:
        The verdict. Never raises an `Exception`: an error is a refusal that names it; its trace is logged.
    """
    try:
        return _judge(evidence, floors, policy)
    except Exception as error:
        log.exception("The judgement failed, so the candidate is refused.")
        reason = f"The judgement failed, so the candidate is refused: {type(error).__name__}: {error}"
        return Verdict("refuse", reason)


def newest_verdict(verdicts: pd.DataFrame) -> pd.Series:
    """The newest verdict on the newest version; versions count as numbers."""
    return verdicts.assign(number=verdicts["version"].astype(int)).sort_values(["number", "judged_at"]).iloc[-1]


def _judge(evidence: Evidence, floors: Floors, policy: Policy) -> Verdict:
    outcome = np.asarray(evidence.outcome, dtype=np.float64)
    empty_verdict = Verdict("refuse", "", n_rows=outcome.size, n_positives=int(np.count_nonzero(outcome == 1)))
    problem = _find_row_problem(outcome, policy) or _find_score_problem(evidence, policy)
    if problem:
        return replace(empty_verdict, reason=problem)
    verdict = _measure(empty_verdict, evidence, policy)
    problem = _describe_missed_floors(verdict, floors) or _find_objection(verdict, policy)
    if problem:
        return replace(verdict, reason=problem)
    grounds = _state_grounds(verdict, floors, policy)
    if policy.approval_required:
        return replace(verdict, decision="request", reason=f"{grounds} Awaiting approval.")
    return replace(verdict, decision="approve", reason=grounds)


def _find_row_problem(outcome: Floats, policy: Policy) -> str | None:
    n_invalid = np.count_nonzero(~np.isin(outcome, (0, 1)))
    if outcome.ndim != 1 or n_invalid:
        return f"Every row needs an outcome of 0 or 1; {n_invalid} of {outcome.size} have another one or none."
    positives = int(outcome.sum())
    if outcome.size < policy.min_rows or positives < policy.min_positives:
        return (
            f"The hold-out is too small to judge on: {outcome.size} rows, {positives} of them positive; "
            f"{policy.min_rows} and {policy.min_positives} are needed."
        )
    if positives == outcome.size:
        return f"All {positives} rows of the hold-out are positive: it needs rows of both classes."
    return None


def _find_score_problem(evidence: Evidence, policy: Policy) -> str | None:
    candidate = (evidence.candidate_probability, evidence.candidate_threshold)
    probability, threshold = evidence.incumbent_probability, evidence.incumbent_threshold
    problem = _find_model_problem("candidate", evidence.outcome, *candidate)
    if probability is not None and threshold is not None:
        problem = problem or _find_model_problem("incumbent", evidence.outcome, probability, threshold)
    elif probability is not None or threshold is not None:
        problem = problem or "The incumbent needs both probabilities and a threshold; only one of them is set."
    return problem or _find_group_problem(evidence, policy)


def _find_model_problem(whose: str, outcome: ArrayLike, probability: ArrayLike, threshold: float) -> str | None:
    try:
        check_rows(outcome, probability)
    except ValueError as error:
        return f"The {whose}'s scores can't be judged: {error}"
    # A NaN lies between no two numbers.
    return None if 0 <= threshold <= 1 else f"The {whose}'s threshold is {threshold}, not a number in [0, 1]."


def _find_group_problem(evidence: Evidence, policy: Policy) -> str | None:
    if evidence.groups is None:
        return None
    groups = int(number_groups(evidence.groups, np.size(evidence.outcome)).max()) + 1
    if groups < policy.min_groups:
        return f"The hold-out has only {groups} groups of rows; {policy.min_groups} are needed to estimate chance."
    return None


def _measure(empty_verdict: Verdict, evidence: Evidence, policy: Policy) -> Verdict:
    """Fill in every number of the verdict."""
    outcome, probability = evidence.outcome, evidence.candidate_probability
    candidate_metrics = classification_metrics(outcome, probability, evidence.candidate_threshold)
    if evidence.incumbent_probability is None or evidence.incumbent_threshold is None:
        return replace(empty_verdict, metrics=candidate_metrics)
    incumbent = classification_metrics(outcome, evidence.incumbent_probability, evidence.incumbent_threshold)
    low, high, deviation = _estimate_gain_spread(evidence, policy)
    normal = NormalDist()
    return replace(
        empty_verdict,
        metrics=candidate_metrics,
        incumbent_metrics=incumbent,
        difference=candidate_metrics["average_precision"] - incumbent["average_precision"],
        difference_low=low,
        difference_high=high,
        detectable=(normal.inv_cdf(1 - policy.alpha) + normal.inv_cdf(_POWER)) * deviation,
    )


def _estimate_gain_spread(evidence: Evidence, policy: Policy) -> tuple[float, float, float]:
    """Lower bound, upper bound and standard deviation of the resampled gains in average precision."""
    gains = resample_precision_gains(
        evidence.outcome,
        evidence.candidate_probability,
        np.asarray(evidence.incumbent_probability),
        resamples=policy.resamples,
        seed=policy.seed,
        groups=evidence.groups,
    )
    finite = gains[~np.isnan(gains)]
    low, high = np.quantile(finite, (policy.alpha, 1 - policy.alpha))
    return float(low), float(high), float(finite.std(ddof=1))


def _describe_missed_floors(verdict: Verdict, floors: Floors) -> str | None:
    # "not >=" because "<" would let a NaN pass.
    missed = [
        f"{TITLES[name]} {_format_metric(verdict.metrics[name])} and has to reach {minimum:.4f}"
        for name, minimum in floors.minima.items()
        if not verdict.metrics[name] >= minimum
    ]
    return f"The candidate misses a minimum: {'; '.join(missed)}." if missed else None


def _format_metric(metric: float) -> str:
    return "can't be measured" if math.isnan(metric) else f"is {metric:.4f}"


def _find_objection(verdict: Verdict, policy: Policy) -> str | None:
    if verdict.incumbent_metrics is None:
        return None
    low = math.nan if verdict.difference_low is None else verdict.difference_low
    if policy.mode == "superiority" and not low > 0:
        return f"The candidate is no better than the champion beyond chance: {_format_comparison(verdict)}"
    if policy.mode == "non_inferiority" and not low >= -policy.margin:
        return f"The candidate may be worse by more than {policy.margin:.4f}: {_format_comparison(verdict)}"
    candidate_f1, incumbent_f1 = verdict.metrics["f1"], verdict.incumbent_metrics["f1"]
    if not candidate_f1 >= incumbent_f1 - policy.f1_tolerance:
        allowed = f"more than {policy.f1_tolerance:.4f} below"
        return f"The candidate's F1 of {candidate_f1:.4f} is {allowed} the champion's {incumbent_f1:.4f}."
    return None


def _state_grounds(verdict: Verdict, floors: Floors, policy: Policy) -> str:
    if verdict.incumbent_metrics is None:
        metrics = [
            f"{TITLES[name]} {verdict.metrics[name]:.4f} (at least {minimum:.4f})"
            for name, minimum in floors.minima.items()
        ]
        return f"First champion: every minimum is met: {', '.join(metrics)}."
    if policy.mode == "superiority":
        return f"The candidate is better than the champion: {_format_comparison(verdict)}"
    return f"The candidate isn't worse by more than {policy.margin:.4f}: {_format_comparison(verdict)}"


def _format_comparison(verdict: Verdict) -> str:
    incumbent = (verdict.incumbent_metrics or {})["average_precision"]
    candidate = verdict.metrics["average_precision"]
    return (
        f"average precision {candidate:.4f} against {incumbent:.4f}, a difference of {verdict.difference:+z.4f} "
        f"that may be as low as {verdict.difference_low:+z.4f}. "
        f"Differences below about {verdict.detectable:.4f} can't be detected on these {verdict.n_rows} rows."
    )
