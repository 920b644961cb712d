"""Real performance: when outcomes contradict the hold-out, when they agree, and when they are too few to say."""

from __future__ import annotations

from math import isnan
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom

from lakehouse_ml.modelling.performance import PerformanceSpec, is_lower, judge_performance, wilson

SPEC = PerformanceSpec(min_positives=20, alpha=0.01)
# On 1,400 held-out rows 370 left: 280 of those were named, among 530 in all.
VERDICTS = pd.DataFrame(
    [{"version": "3", "recall": 280 / 370, "precision": 280 / 530, "roc_auc": 0.85, "n_rows": 1400, "n_positives": 370,
      "judged_at": pd.Timestamp("2024-12-01T00:00Z")}]
)  # fmt: skip


def batch(day: str = "2024-12-31", **changed: Any) -> dict[str, Any]:
    """A month as the hold-out promises it."""
    return {
        "batch": day,
        "model_version": "3",
        "n_rows": 1400,
        "n_positives": 370,
        "n_named": 530,
        "n_hits": 280,
        "roc_auc": 0.85,
    } | changed


def judge(*batches: dict[str, Any], verdicts: pd.DataFrame = VERDICTS, spec: PerformanceSpec = SPEC) -> dict[str, Any]:
    (row,) = judge_performance(pd.DataFrame(batches), verdicts, spec).to_dict("records")
    return row


def test_a_month_as_promised_is_as_expected() -> None:
    row = judge(batch())
    assert (row["status"], row["worse_in"]) == ("as_expected", "")
    assert (row["n_hits"], row["n_positives"], row["expected_recall"]) == (280, 370, pytest.approx(280 / 370))


def test_better_than_promised_is_no_contradiction() -> None:
    assert judge(batch(n_hits=360, n_named=370, roc_auc=0.97))["status"] == "as_expected"


@pytest.mark.parametrize(
    ("change", "worse"),
    [
        ({"n_hits": 41, "n_named": 78}, "recall"),
        ({"n_named": 1200}, "precision"),
        ({"roc_auc": 0.43}, "ROC-AUC"),
        ({"n_hits": 41, "n_named": 530, "roc_auc": 0.43}, "recall, precision, ROC-AUC"),
    ],
)
def test_what_is_worse_beyond_chance_is_named(change: dict[str, Any], worse: str) -> None:
    row = judge(batch(**change))
    assert (row["status"], row["worse_in"]) == ("worse", worse)


def test_the_seen_case_of_a_hundred_who_left() -> None:
    row = judge(batch(n_rows=900, n_positives=100, n_hits=11, n_named=60, roc_auc=0.43))
    assert row["status"] == "worse"
    assert (round(100 * row["recall_low"]), round(100 * row["recall_high"])) == (6, 19)
    assert round(100 * row["expected_recall"]) == 76


def test_few_outcomes_are_few_however_bad_they_are() -> None:
    assert judge(batch(n_positives=19, n_hits=0, n_named=40, roc_auc=0.1))["status"] == "few"


def test_small_months_are_counted_together_until_they_suffice_the_newest_first() -> None:
    small = {"n_rows": 60, "n_positives": 9, "n_named": 12, "n_hits": 7}
    days = ("2024-09-30", "2024-10-31", "2024-11-30", "2024-12-31")
    row = judge(*(batch(day, **small) for day in days))
    assert (row["first_batch"], row["last_batch"], row["n_positives"]) == ("2024-10-31", "2024-12-31", 27)


def test_only_batches_of_the_version_that_scored_last_are_counted() -> None:
    row = judge(batch("2024-11-30", model_version="2", n_hits=0), batch())
    assert (row["model_version"], row["first_batch"], row["status"]) == ("3", "2024-12-31", "as_expected")


def test_a_version_without_a_verdict_or_with_one_that_tells_too_little_is_not_judged() -> None:
    for verdicts in (VERDICTS.head(0), VERDICTS.drop(columns="n_positives"), VERDICTS.assign(n_positives=np.nan)):
        row = judge(batch(n_hits=0), verdicts=verdicts)
        assert (row["status"], row["worse_in"]) == ("not_judged", "")


def test_a_hold_out_on_which_nobody_was_named_is_still_compared_by_what_it_has() -> None:
    row = judge(batch(), verdicts=VERDICTS.assign(precision=np.nan))
    assert row["status"] == "as_expected"
    assert isnan(row["expected_precision"])


def test_without_any_outcome_there_is_no_row_and_the_types_are_there() -> None:
    none = judge_performance(pd.DataFrame([batch()]).head(0), VERDICTS, SPEC)
    some = judge_performance(pd.DataFrame([batch()]), VERDICTS, SPEC)
    assert len(none) == 0
    assert none.dtypes.to_dict() == some.dtypes.to_dict()


def test_a_month_in_which_nobody_was_named_or_nobody_left_breaks_nothing() -> None:
    assert judge(batch(n_named=0, n_hits=0))["worse_in"].startswith("recall")
    row = judge(batch(n_positives=0, n_hits=0, roc_auc=np.nan))
    assert row["status"] == "few"
    assert isnan(row["recall_low"])


def test_a_model_as_good_as_promised_is_seldom_called_worse() -> None:
    """Months drawn with the hold-out's own rates, the hold-out drawn too: at most 1 % are called worse, by chance."""
    rng, wrong, months = np.random.default_rng(0), 0, 1000
    for _ in range(months):
        there, here = rng.binomial(370, 0.76), rng.binomial(370, 0.76)
        wrong += is_lower(int(here), 370, int(there), 370, 0.01)
    assert wrong <= binom.ppf(0.99, months, 0.01)


def test_wilsons_interval_is_that_of_the_paper() -> None:
    # Newcombe (Statistics in Medicine 17, 1998), table I: 81 of 263 by the score method, 0.2553 to 0.3662.
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
