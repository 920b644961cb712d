"""Compare live performance with the hold-out. Pure functions of counts and metrics.

Recall and precision are compared as two proportions by Fisher's exact test (1922), ROC-AUC by a normal test with the
standard error of Hanley and McNeil (Radiology 143, 1982), each one-sided: only worse than expected counts.
Three tests share the level (Bonferroni). Intervals are Wilson's (JASA 22, 1927).
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from statistics import NormalDist
from typing import Any, Literal

import pandas as pd
from pydantic import Field

from lakehouse_ml.config.spec import Spec

Status = Literal["worse", "as_expected", "few", "not_judged"]
_TESTS = 3
_Z = 1.959964


class PerformanceSpec(Spec):
    """When live performance counts as worse than on the hold-out.

    Attributes:
        min_positives: Positive outcomes that the comparison needs; fewer are reported as `few`.
        alpha: Level of the comparison: the probability that it calls a model worse that is as good as on the hold-out.
    """

    min_positives: int = Field(default=20, ge=1)
    alpha: float = Field(default=0.01, gt=0, lt=1)


@dataclass(frozen=True)
class LivePerformance:
    """The newest outcomes compared with the hold-out of the version that scored.

    Attributes:
        model_version: The version.
        first_batch: Oldest batch that is counted; as many of the newest as reach `min_positives`.
        last_batch: Newest batch with outcomes.
        status: `worse` than expected beyond chance, `as_expected`, `few` outcomes, or `not_judged` if the hold-out's
            numbers are unknown.
        n_rows: Rows with an outcome.
        n_positives: Rows with outcome 1.
        n_hits: True positives.
        n_named: Rows predicted positive.
        recall_low: Lower bound of the 95 % interval of the recall.
        recall_high: Its upper bound.
        expected_recall: On the hold-out.
        expected_precision: On the hold-out.
        roc_auc: Over the counted batches, weighted by their positives; NaN where one of the two outcomes is missing.
        expected_roc_auc: On the hold-out.
        worse_in: What is worse beyond chance, comma-separated.
    """

    model_version: str
    first_batch: str
    last_batch: str
    status: Status
    n_rows: int
    n_positives: int
    n_hits: int
    n_named: int
    recall_low: float
    recall_high: float
    expected_recall: float
    expected_precision: float
    roc_auc: float
    expected_roc_auc: float
    worse_in: str = ""


def judge_performance(live: pd.DataFrame, verdicts: pd.DataFrame, spec: PerformanceSpec) -> pd.DataFrame:
    """Compare the newest outcomes with the hold-out of the version that scored.

    Args:
        live: One row per batch and model version: counts and metrics, see `nodes.measure_live`.
        verdicts: One row per verdict, with the hold-out metrics of its version.
        spec: Minimum of positives, and the level.

    Returns:
        One row, see `LivePerformance`; none while no outcome of a scored batch is known.
    """
    names = list(LivePerformance.__dataclass_fields__)
    if not len(live):
        return _set_types(pd.DataFrame(columns=names))
    newest = live.sort_values(["batch", "n_rows"]).iloc[-1]
    version = str(newest["model_version"])
    batches = _select_newest(live[live["model_version"] == version], spec.min_positives)
    expected_row = _find_expected(verdicts, version)
    performance = _judge(batches, version, expected_row, spec)
    return _set_types(pd.DataFrame([asdict(performance)], columns=names))


def _set_types(table: pd.DataFrame) -> pd.DataFrame:
    """Set the column types, so that an empty table has them too."""
    kinds: dict[str, Any] = {"int": "int64", "float": "float64"}
    fields = LivePerformance.__dataclass_fields__
    return table.astype({name: kinds.get(str(field.type), "string") for name, field in fields.items()})


def _select_newest(live: pd.DataFrame, min_positives: int) -> pd.DataFrame:
    """Select the newest batches with `min_positives` positives together; all if there are fewer."""
    newest = live.sort_values("batch", ascending=False, ignore_index=True)
    is_enough = newest["n_positives"].cumsum() >= min_positives
    return newest.head(int(is_enough.idxmax()) + 1) if is_enough.any() else newest


def _find_expected(verdicts: pd.DataFrame, version: str) -> pd.Series | None:
    rows = verdicts[verdicts["version"].astype(str) == version]
    return rows.sort_values("judged_at").iloc[-1] if len(rows) else None


def _judge(
    batches: pd.DataFrame, version: str, expected_row: pd.Series | None, spec: PerformanceSpec
) -> LivePerformance:
    n, positives, named, hits = (int(batches[name].sum()) for name in ("n_rows", "n_positives", "n_named", "n_hits"))
    ranked = batches[batches["roc_auc"].notna()]
    weights = ranked["n_positives"]
    auc = float((ranked["roc_auc"] * weights).sum() / weights.sum()) if len(ranked) else math.nan
    expected = {
        name: float(expected_row[name]) if expected_row is not None else math.nan
        for name in ("recall", "precision", "roc_auc", "n_rows", "n_positives")
        if expected_row is None or name in expected_row
    }
    low, high = wilson(hits, positives)
    has_expectation = not any(math.isnan(expected.get(name, math.nan)) for name in ("recall", "n_positives"))
    worse: list[str] = []
    status: Status = "few" if positives < spec.min_positives else "not_judged"
    if has_expectation and status != "few":
        worse = _find_worse(n, positives, named, hits, auc, expected, spec.alpha / _TESTS)
        status = "worse" if worse else "as_expected"
    return LivePerformance(
        version,
        str(batches["batch"].min()),
        str(batches["batch"].max()),
        status,
        n,
        positives,
        hits,
        named,
        low,
        high,
        expected["recall"],
        expected["precision"],
        auc,
        expected["roc_auc"],
        ", ".join(worse),
    )


def _find_worse(
    n: int, positives: int, named: int, hits: int, auc: float, expected: dict[str, float], alpha: float
) -> list[str]:
    """Find the metrics that are lower than on the hold-out beyond chance."""
    holdout_positives = round(expected["n_positives"])
    expected_hits = round(expected["recall"] * holdout_positives)
    expected_named = round(expected_hits / expected["precision"]) if expected["precision"] > 0 else 0
    worse = []
    if is_lower(hits, positives, expected_hits, holdout_positives, alpha):
        worse.append("recall")
    if is_lower(hits, named, expected_hits, expected_named, alpha):
        worse.append("precision")
    others = (positives, n - positives), (holdout_positives, round(expected["n_rows"]) - holdout_positives)
    if _auc_is_lower(auc, others[0], expected["roc_auc"], others[1], alpha):
        worse.append("ROC-AUC")
    return worse


def wilson(hits: int, n: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share; NaN without rows."""
    if not n:
        return math.nan, math.nan
    share = hits / n
    middle = (share + _Z**2 / (2 * n)) / (1 + _Z**2 / n)
    half = _Z * math.sqrt(share * (1 - share) / n + _Z**2 / (4 * n**2)) / (1 + _Z**2 / n)
    return max(0.0, middle - half), min(1.0, middle + half)


def is_lower(hits: int, n: int, hits_before: int, n_before: int, alpha: float) -> bool:
    """Whether a share is lower than an earlier one beyond chance; False if either has no rows."""
    from scipy.stats import fisher_exact

    if not n or not n_before:
        return False
    table = [[hits, n - hits], [hits_before, n_before - hits_before]]
    return bool(fisher_exact(table, alternative="less").pvalue < alpha)


def _auc_is_lower(
    auc: float, rows: tuple[int, int], holdout_auc: float, holdout_rows: tuple[int, int], alpha: float
) -> bool:
    if math.isnan(auc) or math.isnan(holdout_auc) or min(*rows, *holdout_rows) < 1:
        return False
    # Under the null hypothesis, both have the standard error of the hold-out's ROC-AUC.
    error = math.sqrt(_auc_variance(holdout_auc, *rows) + _auc_variance(holdout_auc, *holdout_rows))
    return (auc - holdout_auc) / max(error, 1e-12) < NormalDist().inv_cdf(alpha)


def _auc_variance(auc: float, positives: int, negatives: int) -> float:
    """Variance of a ROC-AUC (Hanley and McNeil, 1982, formula 2 with their Q1 and Q2)."""
    q1, q2 = auc / (2 - auc), 2 * auc**2 / (1 + auc)
    spread = auc * (1 - auc) + (positives - 1) * (q1 - auc**2) + (negatives - 1) * (q2 - auc**2)
    return max(spread, 0.0) / (positives * negatives)
