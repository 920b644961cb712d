"""Drift: hand-computed statistics, what must alarm, what must not, and what happens at the edges."""

import json
from dataclasses import replace
from math import exp, isfinite, isnan, log
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from lakehouse_ml.modelling.drift import (
    ColumnDrift,
    ColumnProfile,
    DriftSpec,
    NumericBins,
    binned_ks,
    compare,
    holm,
    profile_categorical,
    profile_numeric,
    psi,
    quantile_edges,
    score_edges,
    summarize_drift,
    two_sample_test,
)
from lakehouse_ml.modelling.estimators.base import EstimatorSpec, estimator_backend

SPEC = DriftSpec()
bounded = settings(max_examples=50, deadline=None, derandomize=True)
row_counts = st.integers(min_value=0, max_value=10**6)


def categories(nulls: int = 0, **counts: int) -> ColumnProfile:
    return ColumnProfile("categorical", counts, nulls)


def histogram(*counts: int, nulls: int = 0) -> ColumnProfile:
    edges = tuple(float(edge) for edge in range(len(counts) - 1))
    return ColumnProfile("numeric", {str(i): count for i, count in enumerate(counts)}, nulls, edges)


def judge(reference: ColumnProfile, batch: ColumnProfile, **limits: Any) -> ColumnDrift:
    (row,) = compare({"column": reference}, {"column": batch}, DriftSpec(**limits))
    return row


def texts(rng: np.random.Generator, shares: dict[str, float], n: int) -> ColumnProfile:
    return profile_categorical(rng.choice(list(shares), size=n, p=list(shares.values())).tolist())


def column_drift(column: str, status: Any) -> ColumnDrift:
    return ColumnDrift(column, "numeric", 1000, 1000, psi=0.5, status=status)


# Edges and profiles


def test_deciles_of_one_to_hundred_are_the_tens() -> None:
    assert quantile_edges(np.arange(1.0, 101.0)) == (10, 20, 30, 40, 50, 60, 70, 80, 90)


def test_nulls_and_infinities_do_not_move_the_edges() -> None:
    values = np.arange(1.0, 101.0)
    polluted = np.concatenate([values, np.full(40, np.nan), np.full(30, np.inf), np.full(20, -np.inf)])
    assert quantile_edges(polluted) == quantile_edges(values)


@pytest.mark.parametrize("values", [[], [np.nan, np.nan], [7.0, 7.0, np.nan], [np.inf, -np.inf]])
def test_a_column_without_two_finite_values_has_no_edges(values: list[float]) -> None:
    assert quantile_edges(np.array(values)) == ()


@pytest.mark.parametrize("share_of_ones", [0.03, 0.4, 0.97])
def test_zeros_and_ones_never_share_a_bin(share_of_ones: float) -> None:
    ones = round(1000 * share_of_ones)
    values = np.repeat([0.0, 1.0], [1000 - ones, ones])
    counts = profile_numeric(values, quantile_edges(values)).counts
    assert sorted(count for count in counts.values() if count) == sorted([ones, 1000 - ones])


def test_a_histogram_needs_two_bins() -> None:
    with pytest.raises(ValueError, match="at least 2 bins, got 1"):
        quantile_edges(np.array([1.0, 2.0]), bins=1)


def test_a_value_on_an_edge_belongs_to_the_bin_below() -> None:
    profile = profile_numeric(np.array([1.0, 1.5, 2.0, 2.5]), (1.0, 2.0))
    assert profile.counts == {"0": 1, "1": 2, "2": 1}


def test_infinities_fall_into_the_outermost_bins_and_nan_is_null() -> None:
    profile = profile_numeric(np.array([-np.inf, np.inf, np.inf, np.nan]), (0.0,))
    assert profile == ColumnProfile("numeric", {"0": 1, "1": 2}, 1, (0.0,))


def test_none_nan_and_na_are_null_and_empty_text_is_not() -> None:
    assert profile_categorical(["a", None, float("nan"), pd.NA, "", "a"]) == categories(nulls=3, **{"a": 2, "": 1})


def test_a_number_among_categories_is_refused() -> None:
    with pytest.raises(ValueError, match="Categories are text, got 1: cast"):
        profile_categorical(["1", 1])


@pytest.mark.parametrize("edges", [(1.0, 1.0), (2.0, 1.0), (1.0, np.inf), (np.nan,)])
def test_edges_that_do_not_increase_or_are_not_finite_are_refused(edges: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="finite and strictly increasing"):
        NumericBins(edges)


@pytest.mark.parametrize(
    ("kind", "counts", "nulls", "edges", "sentence"),
    [
        ("ordinal", {}, 0, (), "numeric or categorical, not 'ordinal'"),
        ("categorical", {"a": -1}, 0, (), "-1 cannot be one of its counts"),
        ("categorical", {"a": 1}, -2, (), "-2 cannot be one of its counts"),
        ("categorical", {"a": 1}, 0, (1.0,), "no bin edges"),
        ("numeric", {"2": 1}, 0, (1.0,), "1 edges make bins 0 to 1, not '2'"),
    ],
)
def test_a_profile_that_cannot_be_is_refused(
    kind: Any, counts: dict[str, int], nulls: int, edges: tuple[float, ...], sentence: str
) -> None:
    with pytest.raises(ValueError, match=sentence):
        ColumnProfile(kind, counts, nulls, edges)


def test_half_a_row_is_refused() -> None:
    with pytest.raises(TypeError):
        categories(a=1.5)


def test_a_profile_survives_json() -> None:
    for profile in (
        profile_numeric(np.array([0.1, 1 / 3, np.nan]), (0.1, 0.2)),
        categories(nulls=3, a=1, b=0),
    ):
        assert ColumnProfile.from_dict(json.loads(json.dumps(profile.to_dict()))) == profile


def test_numpy_counts_become_plain_ones_that_json_can_write() -> None:
    profile = ColumnProfile("categorical", {"a": np.int64(3)}, np.int64(1))
    assert json.loads(json.dumps(profile.to_dict()))["counts"] == {"a": 3}


def test_a_stored_profile_with_other_keys_is_refused() -> None:
    with pytest.raises(ValueError, match="has the keys kind, counts, nulls and edges, not"):
        ColumnProfile.from_dict({"kind": "numeric", "counts": {}})


def test_changing_the_mapping_afterwards_does_not_change_the_profile() -> None:
    counts = {"a": 1}
    profile = ColumnProfile("categorical", counts, 0)
    counts["a"] = 99
    assert profile.counts == {"a": 1}


def test_a_bin_that_the_engine_left_out_counts_no_row() -> None:
    full, sparse = histogram(10, 0, 5), ColumnProfile("numeric", {"0": 10, "2": 5}, 0, (0.0, 1.0))
    assert psi(full, sparse) == 0
    assert binned_ks(full, sparse)[0] == 0


@bounded
@given(
    values=st.lists(st.floats(width=32), max_size=60),
    bins=st.integers(min_value=2, max_value=12),
)
def test_every_value_is_counted_once_whatever_the_column(values: list[float], bins: int) -> None:
    column = np.array(values, dtype=float)
    profile = profile_numeric(column, quantile_edges(column, bins))
    assert profile.rows == len(values)
    assert profile.nulls == np.isnan(column).sum()
    assert len(profile.edges) < 2 * bins


# Bins of scores: fold models and the final model differ by themselves

Floats = np.ndarray[Any, np.dtype[np.float64]]


def draw_rows(kind: str, rng: np.random.Generator, n: int = 1200) -> tuple[pd.DataFrame, Floats]:
    """Predictors and labels whose scores are saturated, all one, tied, rare, or spread."""
    table = rng.normal(size=(n, 2))
    first = table[:, 0]
    if kind == "saturated":
        happens = (first + rng.normal(0, 0.02, n) > 1.5).astype(float)
    elif kind == "constant":
        table, happens = np.ones((n, 2)), np.full(n, 0.25)
    elif kind == "tied":
        group = rng.integers(0, 4, n)
        table, happens = np.eye(4)[group][:, :2], np.array([0.05, 0.2, 0.25, 0.6])[group]
    elif kind == "rare":
        happens = 1 / (1 + np.exp(5 - 1.5 * first))
    else:
        happens = 1 / (1 + np.exp(1 - 1.2 * first))
    return pd.DataFrame(table, columns=["a", "b"]), (rng.random(n) < happens).astype(float)


def scored_twice(kind: str, estimator: str, seed: int) -> tuple[Floats, Floats]:
    """Out-of-fold scores of training rows, and the final model's scores of other rows of the same file."""
    from sklearn.model_selection import StratifiedKFold

    rows, label = draw_rows(kind, np.random.default_rng(seed))
    params = {"max_iter": 30, "max_depth": 3} if estimator == "gradient_boosting" else {}
    spec, sklearn = (
        EstimatorSpec.model_validate({"estimator": estimator, "params": params}),
        estimator_backend("sklearn"),
    )
    train, rest = np.arange(900), np.arange(900, 1200)

    def scores(rows_to_fit: Any, rows_to_score: Any) -> Floats:
        how: dict[str, Any] = {"categorical": (), "numeric": ("a", "b"), "seed": 0}
        return sklearn.score(
            sklearn.fit(spec, rows.iloc[rows_to_fit], label[rows_to_fit], **how), rows.iloc[rows_to_score]
        )

    out_of_fold = np.zeros(train.size)
    for rows_to_fit, rows_to_score in StratifiedKFold(3, shuffle=True, random_state=0).split(train, label[train]):
        out_of_fold[rows_to_score] = scores(rows_to_fit, rows_to_score)
    return out_of_fold, scores(train, rest)


@pytest.mark.parametrize("estimator", ["logistic_regression", "gradient_boosting"])
@pytest.mark.parametrize("kind", ["saturated", "constant", "tied", "rare", "spread"])
def test_scores_of_the_same_file_never_alarm_and_a_shift_of_them_does(kind: str, estimator: str) -> None:
    for seed in range(4):
        out_of_fold, batch = scored_twice(kind, estimator, seed)
        edges = score_edges(out_of_fold)
        reference = profile_numeric(out_of_fold, edges)
        assert judge(reference, profile_numeric(batch, edges)).status != "drift", seed
        shifted = np.where(batch < 0.5, batch + 0.15, batch - 0.15)
        assert judge(reference, profile_numeric(shifted, edges)).status == "drift", seed


def test_scores_that_move_less_than_half_a_width_together_stay_in_their_bins() -> None:
    tied = np.repeat([0.2, 0.5, 0.8], 300)
    edges = score_edges(tied)
    for moved in (-0.02, 0.02):
        assert psi(profile_numeric(tied, edges), profile_numeric(tied + moved, edges)) == 0


@bounded
@given(st.lists(st.floats(min_value=0, max_value=1), max_size=60))
def test_edges_of_scores_lie_inside_the_unit_interval_and_a_width_apart(scores: list[float]) -> None:
    edges = score_edges(np.array(scores, dtype=float))
    assert all(0 < edge < 1 for edge in edges)
    assert all(np.diff(edges) >= 0.05 - 1e-9)
    assert bool(edges) == bool(scores)


# Rows that depend on each other


def repeat_rows(profile: ColumnProfile, times: int) -> ColumnProfile:
    """Each row so many times on one day, which are rows of one entity."""
    counts = {name: count * times for name, count in profile.counts.items()}
    return ColumnProfile(profile.kind, counts, profile.nulls * times, profile.edges, profile.independent)


def test_rows_of_one_entity_on_one_day_say_no_more_than_one_row() -> None:
    reference, batch = histogram(400, 350, 250, nulls=20), histogram(120, 80, 60, nulls=2)
    once, often = (two_sample_test(reference, side, 5) for side in (batch, repeat_rows(batch, 8)))
    assert often == pytest.approx(once)
    assert binned_ks(reference, repeat_rows(batch, 8)) == pytest.approx(binned_ks(reference, batch))
    as_rows = ColumnProfile(batch.kind, repeat_rows(batch, 8).counts, 16, batch.edges)
    assert two_sample_test(reference, as_rows, 5)[1] < once[1] / 2


def test_enough_rows_of_too_few_entities_are_not_assessed() -> None:
    row = judge(categories(a=500, b=500), ColumnProfile("categorical", {"a": 800}, 0, (), 100))
    assert row.status == "too_few_rows"
    assert row.reason == (
        "1000 reference rows, 800 batch rows that count as 100 (an entity once a day); each side needs 200, so the "
        "column was not assessed."
    )


def test_a_profile_of_a_model_before_entities_were_counted_is_read_and_counts_its_rows() -> None:
    profile_values = {"kind": "numeric", "counts": {"0": 3, "1": 4}, "nulls": 1, "edges": [0.5]}
    assert ColumnProfile.from_dict(profile_values).independent == 8
    assert ColumnProfile.from_dict(profile_values).to_dict() == profile_values
    assert ColumnProfile.from_dict(profile_values | {"entities": 5}).to_dict() == profile_values | {"entities": 5}


# Population stability index


def test_psi_is_the_sum_computed_by_hand() -> None:
    reference, batch = categories(a=50, b=30, c=20), categories(a=20, b=30, c=50)
    assert psi(reference, batch) == pytest.approx(2 * (30 / 101.5) * log(50.5 / 20.5))
    assert psi(reference, batch) == pytest.approx(0.5329, abs=1e-4)


def test_psi_of_a_bin_that_emptied_is_finite_and_as_by_hand() -> None:
    share = 50.5 / 101
    by_hand = (1 / 202 - share) * log((1 / 202) / share) + (201 / 202 - share) * log((201 / 202) / share)
    assert psi(histogram(50, 50), histogram(100, 0)) == pytest.approx(by_hand)


def test_psi_counts_nulls_as_a_bin() -> None:
    assert psi(categories(a=100), categories(a=50, nulls=50)) == psi(categories(a=100), categories(a=50, b=50))


def test_identical_profiles_have_a_psi_of_zero() -> None:
    for profile in (categories(nulls=4, a=7, b=0), histogram(3, 9, 1, nulls=2), categories()):
        assert psi(profile, profile) == 0


def test_the_order_of_categories_does_not_matter() -> None:
    one, other = categories(a=50, b=30, c=7), categories(c=7, a=50, b=30)
    batch = categories(b=9, c=20, a=1)
    assert psi(one, batch) == psi(other, batch)
    assert two_sample_test(one, batch, 5) == two_sample_test(other, batch, 5)


def test_without_drift_psi_averages_what_sampling_predicts() -> None:
    rng = np.random.default_rng(0)
    shares = {str(i): 0.1 for i in range(10)}
    values = [psi(texts(rng, shares, 2000), texts(rng, shares, 500)) for _ in range(200)]
    assert np.mean(values) == pytest.approx(9 * (1 / 2000 + 1 / 500), rel=0.1)


@bounded
@given(
    counts=st.lists(st.tuples(row_counts, row_counts), min_size=1, max_size=12),
    nulls=st.tuples(row_counts, row_counts),
)
def test_psi_is_finite_symmetric_and_never_negative(counts: list[tuple[int, int]], nulls: tuple[int, int]) -> None:
    reference, batch = (histogram(*(pair[i] for pair in counts), nulls=nulls[i]) for i in (0, 1))
    assert isfinite(psi(reference, batch))
    assert psi(reference, batch) >= 0
    assert psi(reference, batch) == psi(batch, reference)


# Two-sample tests


def test_chi_square_and_its_p_value_are_as_by_hand() -> None:
    statistic, p_value = two_sample_test(categories(a=50, b=30, c=20), categories(a=20, b=30, c=50), 5)
    assert statistic == pytest.approx(4 * 15**2 / 35)
    assert p_value == pytest.approx(exp(-statistic / 2))


def test_chi_square_is_the_one_of_scipy() -> None:
    from scipy.stats import chi2_contingency

    reference, batch = histogram(400, 250, 300, nulls=50), histogram(120, 80, 60, nulls=40)
    expected = chi2_contingency([[400, 250, 300, 50], [120, 80, 60, 40]], correction=False)
    assert two_sample_test(reference, batch, 5) == pytest.approx((expected.statistic, expected.pvalue))


def test_bins_with_few_expected_rows_are_pooled() -> None:
    thin = two_sample_test(categories(a=90, b=80, c=3, d=4, e=5), categories(a=80, b=90, c=5, d=4, e=3), 5)
    assert thin == pytest.approx(two_sample_test(categories(a=90, b=80, z=12), categories(a=80, b=90, z=12), 5))


def test_a_pooled_bin_that_stays_thin_gets_the_exact_test() -> None:
    reference, batch = categories(a=500, b=500), categories(a=500, b=500, c=3)
    assert two_sample_test(reference, batch, 5)[1] == pytest.approx(2 * 2 * (1003 / 2003) ** 3)


def test_the_exact_test_stands_alone_beside_a_single_full_bin() -> None:
    reference, batch = categories(a=1000), categories(a=1000, c=3)
    assert two_sample_test(reference, batch, 5)[1] == pytest.approx(2 * (1003 / 2003) ** 3)


@pytest.mark.parametrize(
    ("reference", "batch"),
    [
        (categories(a=1000), categories(a=500)),
        (categories(nulls=1000), categories(nulls=500)),
        (categories(), categories(a=500)),
        (categories(), categories()),
    ],
)
def test_a_single_bin_or_an_empty_side_is_no_evidence(reference: ColumnProfile, batch: ColumnProfile) -> None:
    assert two_sample_test(reference, batch, 5) == (0.0, 1.0)


def test_identifiers_that_never_repeat_are_no_evidence() -> None:
    reference = categories(**{f"r{i}": 1 for i in range(500)})
    batch = categories(**{f"b{i}": 1 for i in range(500)})
    assert two_sample_test(reference, batch, 5) == (0.0, 1.0)


def test_binned_kolmogorov_smirnov_is_as_by_hand() -> None:
    statistic, p_value = binned_ks(histogram(50, 50), histogram(80, 20, nulls=900))
    assert statistic == pytest.approx(0.3)
    assert p_value == pytest.approx(2 * exp(-2 * 50 * 0.3**2), rel=1e-6)


def test_binned_kolmogorov_smirnov_never_exceeds_the_unbinned_one() -> None:
    from scipy.stats import ks_2samp

    rng = np.random.default_rng(3)
    values, shifted = rng.normal(size=600), rng.normal(0.3, size=400)
    edges = quantile_edges(values)
    statistic, p_value = binned_ks(profile_numeric(values, edges), profile_numeric(shifted, edges))
    exact = ks_2samp(values, shifted)
    assert 0.8 * exact.statistic < statistic <= exact.statistic
    assert p_value >= exact.pvalue


def test_kolmogorov_smirnov_needs_numbers_on_both_sides() -> None:
    assert all(isnan(value) for value in binned_ks(categories(a=9), categories(a=9)))
    assert all(isnan(value) for value in binned_ks(histogram(5, 5), histogram(0, 0, nulls=9)))


def test_p_values_without_drift_are_uniform_even_with_many_rare_categories() -> None:
    rng = np.random.default_rng(5)
    weights = 1 / np.arange(1, 301)
    shares = {str(i): weight for i, weight in enumerate(weights / weights.sum())}
    p_values = [two_sample_test(texts(rng, shares, 500), texts(rng, shares, 4000), 5)[1] for _ in range(300)]
    assert 0.02 <= np.mean(np.array(p_values) < 0.05) <= 0.09


def test_holm_is_as_by_hand_in_the_order_given() -> None:
    assert holm([0.04, 0.01, 0.03]) == pytest.approx((0.06, 0.03, 0.06))
    assert holm([0.6, 0.7]) == (1.0, 1.0)
    assert holm([]) == ()


# Judgement


def test_a_swap_of_shares_drifts_at_500_rows_whatever_the_seed() -> None:
    before, after = {"a": 0.5, "b": 0.3, "c": 0.2}, {"a": 0.2, "b": 0.3, "c": 0.5}
    for seed in range(50):
        rng = np.random.default_rng(seed)
        assert judge(texts(rng, before, 500), texts(rng, after, 500)).status == "drift"


def test_twenty_columns_without_drift_raise_at_most_two_false_alarms_in_a_hundred() -> None:
    rng = np.random.default_rng(11)
    shares = {"a": 0.5, "b": 0.3, "c": 0.15, "d": 0.05}
    numbers = rng.lognormal(size=(5000, 10))
    edges = [quantile_edges(column) for column in numbers.T]
    reference = {f"n{i}": profile_numeric(numbers[:, i], edges[i]) for i in range(10)}
    reference |= {f"c{i}": texts(rng, shares, 5000) for i in range(10)}
    alarms = significant = 0
    for _ in range(200):
        sample = rng.lognormal(size=(500, 10))
        batch = {f"n{i}": profile_numeric(sample[:, i], edges[i]) for i in range(10)}
        rows = compare(reference, batch | {f"c{i}": texts(rng, shares, 500) for i in range(10)}, SPEC)
        alarms += summarize_drift(rows)["status"] == "drift"
        significant += any(row.p_adjusted < SPEC.alpha for row in rows)
    assert alarms <= 4
    assert significant <= 6


def test_a_spike_of_nulls_alarms_although_the_values_stay() -> None:
    row = judge(histogram(1000, 1000, 1000), histogram(120, 120, 120, nulls=140))
    assert row.status == "drift"
    assert row.ks == 0
    assert (row.null_share_reference, row.null_share_batch) == (0, 0.28)
    assert "nulls 0.0% before, 28.0% now" in row.reason


def test_a_batch_of_nothing_but_nulls_alarms() -> None:
    assert judge(histogram(500, 500), histogram(0, 0, nulls=500)).status == "drift"


def test_nulls_that_disappear_alarm() -> None:
    assert judge(histogram(300, 300, nulls=400), histogram(250, 250)).status == "drift"


def test_a_new_category_with_a_share_alarms_and_is_named() -> None:
    row = judge(categories(a=3000, b=2000), categories(a=270, b=180, fibre=40, dsl=10, b2=0))
    assert row.status == "drift"
    assert row.new_categories == ("fibre", "dsl")
    assert row.new_category_share == 0.1
    assert "10.0% of the batch in new categories ('fibre', 'dsl')" in row.reason


def test_one_row_of_a_new_category_does_not_alarm() -> None:
    row = judge(categories(a=3000, b=2000), categories(a=300, b=199, typo=1))
    assert row.status == "stable"
    assert row.new_categories == ("typo",)


@pytest.mark.parametrize("new_rows", [8, 200])
def test_a_new_category_alarms_beside_a_reference_of_millions(new_rows: int) -> None:
    row = judge(categories(a=3_000_000, b=2_000_000), categories(a=200 - new_rows, new=new_rows))
    assert row.status == "drift"


def test_many_new_categories_are_counted_in_the_sentence() -> None:
    row = judge(categories(a=1000), categories(a=100, **{f"n{i}": 100 - i for i in range(5)}))
    assert row.new_categories == ("n0", "n1", "n2", "n3", "n4")
    assert "('n0', 'n1', 'n2' and 2 more)" in row.reason


def test_a_category_that_vanishes_alarms() -> None:
    assert judge(categories(a=800, b=200), categories(a=1000)).status == "drift"


def test_celsius_turned_into_fahrenheit_alarms() -> None:
    rng = np.random.default_rng(2)
    celsius, later = rng.normal(20, 5, 5000), rng.normal(20, 5, 500)
    edges = quantile_edges(celsius)
    reference = profile_numeric(celsius, edges)
    assert judge(reference, profile_numeric(later, edges)).status == "stable"
    row = judge(reference, profile_numeric(later * 1.8 + 32, edges))
    assert row.status == "drift"
    assert row.ks > 0.8
    assert row.ks_p_value < 1e-6


def test_a_constant_column_never_drifts() -> None:
    constant = np.full(900, 7.0)
    reference = profile_numeric(constant, quantile_edges(constant))
    row = judge(reference, profile_numeric(constant[:300], reference.edges))
    assert (row.psi, row.p_value, row.ks, row.ks_p_value, row.status) == (pytest.approx(0), 1, 0, 1, "stable")


def test_a_constant_column_that_becomes_null_still_alarms() -> None:
    assert judge(histogram(900), histogram(200, nulls=100)).status == "drift"


def test_a_shift_between_the_levels_is_a_warning() -> None:
    row = judge(categories(a=5000, b=5000), categories(a=3400, b=6600))
    assert row.status == "warn"
    assert "reaches the warning level 0.1 and the adjusted p-value" in row.reason


def test_a_large_psi_without_significance_stays_stable_and_says_so() -> None:
    row = judge(
        categories(**{f"k{i}": 7 for i in range(30)}),
        categories(**{f"k{i}": 7 + 6 * (-1) ** i for i in range(30)}),
        alpha=1e-60,
    )
    assert row.psi > SPEC.psi_alarm
    assert row.status == "stable"
    assert "reaches the alarm level 0.2, but the adjusted p-value" in row.reason


def test_a_significant_p_value_without_effect_stays_stable_and_says_so() -> None:
    row = judge(categories(a=500_000, b=500_000), categories(a=495_000, b=505_000))
    assert row.p_adjusted < SPEC.alpha
    assert row.status == "stable"
    assert "is below the warning level 0.1" in row.reason


@pytest.mark.parametrize(("n_reference", "n_batch"), [(199, 5000), (5000, 199), (5000, 0)])
def test_too_few_rows_on_either_side_are_not_assessed(n_reference: int, n_batch: int) -> None:
    row = judge(categories(a=n_reference), categories(b=n_batch))
    assert row.status == "too_few_rows"
    assert isnan(row.psi)
    assert isnan(row.p_adjusted)
    assert row.reason == (
        f"{n_reference} reference rows, {n_batch} batch rows; each side needs 200, so the column was not assessed."
    )


def test_exactly_enough_rows_are_assessed() -> None:
    assert judge(categories(a=200), categories(b=200)).status == "drift"


def test_nulls_count_towards_the_rows_needed() -> None:
    assert judge(categories(a=300), categories(nulls=200)).status == "drift"


def test_a_column_driven_by_the_clock_is_reported_and_never_alarms() -> None:
    row = judge(histogram(500, 500, 0), histogram(0, 100, 900), clock_columns=("column",))
    assert row.status == "clock"
    assert row.psi > 1
    assert row.p_value < 1e-6
    assert isnan(row.p_adjusted)
    assert row.reason.startswith("It changes with time by itself, so it never alarms: PSI ")


def test_only_columns_that_can_alarm_are_counted_in_the_correction() -> None:
    reference = {"shift": categories(a=500, b=500), "tenure": histogram(500, 500), "small": categories(a=9)}
    batch = {"shift": categories(a=400, b=600), "tenure": histogram(100, 900), "small": categories(b=9)}
    rows = {row.column: row for row in compare(reference, batch, DriftSpec(clock_columns=("tenure",)))}
    assert rows["shift"].p_adjusted == rows["shift"].p_value
    both = {row.column: row for row in compare(reference, batch, SPEC)}
    assert both["shift"].p_adjusted == both["shift"].p_value
    assert both["tenure"].p_adjusted == 2 * both["tenure"].p_value


def test_correction_for_many_columns_can_take_an_alarm_back() -> None:
    reference, batch = categories(a=100, b=100), categories(a=67, b=133)
    alone = compare({"x": reference}, {"x": batch}, DriftSpec(psi_warn=0.05, psi_alarm=0.05))
    same = {f"same{i}": reference for i in range(30)}
    together = compare({"x": reference} | same, {"x": batch} | same, DriftSpec(psi_warn=0.05, psi_alarm=0.05))
    assert alone[0].status == "drift"
    assert {row.status for row in together} == {"stable"}


def test_missing_and_new_columns_are_said_and_rows_are_sorted() -> None:
    full = categories(a=500)
    rows = compare({"b": full, "z": full}, {"z": full, "a": full}, SPEC)
    assert [(row.column, row.status) for row in rows] == [
        ("a", "new_column"),
        ("b", "missing_column"),
        ("z", "stable"),
    ]
    assert rows[1].reason == "The reference has the column (500 rows), the batch does not."


def test_a_number_compared_with_a_category_is_a_sentence() -> None:
    sentence = r"Column 'column' cannot be compared\. The reference is numeric and the batch is categorical"
    with pytest.raises(ValueError, match=sentence):
        judge(histogram(1, 1), categories(a=1))


def test_histograms_over_other_edges_are_a_sentence() -> None:
    with pytest.raises(ValueError, match=r"Column 'column' cannot be compared\. The batch was counted between other"):
        judge(histogram(1, 1), histogram(1, 1, 1))


def test_comparing_changes_neither_side() -> None:
    reference, batch = {"x": categories(a=300, b=200)}, {"x": categories(b=300, c=200)}
    compare(reference, batch, SPEC)
    assert (reference, batch) == ({"x": categories(a=300, b=200)}, {"x": categories(b=300, c=200)})


any_categories = st.builds(
    lambda counts, nulls: ColumnProfile("categorical", counts, nulls),
    st.dictionaries(st.text(max_size=3), row_counts, max_size=8),
    row_counts,
)
any_histogram = st.builds(
    lambda counts, nulls: histogram(*counts, nulls=nulls),
    st.lists(row_counts, min_size=4, max_size=4),
    row_counts,
)
any_batch = st.fixed_dictionaries({}, optional={"c1": any_categories, "c2": any_categories, "n1": any_histogram})


@bounded
@given(reference=any_batch, batch=any_batch)
def test_profiles_of_matching_kinds_are_always_judged(
    reference: dict[str, ColumnProfile], batch: dict[str, ColumnProfile]
) -> None:
    rows = compare(reference, batch, SPEC)
    assert [row.column for row in rows] == sorted({*reference, *batch})
    assert all(row.reason.endswith(".") for row in rows)
    assert all(0 <= row.p_value <= row.p_adjusted <= 1 for row in rows if not isnan(row.p_adjusted))
    json.dumps([summarize_drift(rows), [row.to_dict() for row in rows]], allow_nan=False)


# Settings and verdict


def test_a_misspelt_setting_is_refused() -> None:
    with pytest.raises(ValidationError, match="psi_alert"):
        DriftSpec(psi_alert=0.2)


def test_a_warning_level_above_the_alarm_level_is_refused() -> None:
    with pytest.raises(ValidationError, match=r"psi_warn is 0\.3, it cannot be above psi_alarm 0\.2"):
        DriftSpec(psi_warn=0.3)


def test_settings_cannot_be_changed_afterwards() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        DriftSpec().alpha = 0.5


@pytest.mark.parametrize(
    ("statuses", "score", "expected"),
    [
        (["stable", "stable"], None, "stable"),
        (["stable", "clock", "new_column", "too_few_rows"], "stable", "stable"),
        (["stable", "warn"], "stable", "warn"),
        (["stable"], "warn", "warn"),
        (["warn", "drift", "missing_column"], "stable", "drift"),
        (["stable"], "drift", "drift"),
        (["stable", "warn", "missing_column"], None, "not_assessable"),
        (["too_few_rows", "clock"], "too_few_rows", "not_assessable"),
        (["too_few_rows", "too_few_rows"], "drift", "not_assessable"),
        (["too_few_rows", "clock"], "stable", "not_assessable"),
        ([], None, "not_assessable"),
    ],
)
def test_the_verdict_follows_from_the_worst_that_was_found(
    statuses: list[str], score: str | None, expected: str
) -> None:
    columns = [column_drift(f"x{i}", status) for i, status in enumerate(statuses)]
    assert summarize_drift(columns, column_drift("score", score) if score else None)["status"] == expected


def test_the_verdict_names_columns_and_speaks_in_a_sentence() -> None:
    columns = [
        column_drift("a", "drift"),
        column_drift("b", "warn"),
        column_drift("c", "stable"),
        column_drift("d", "clock"),
    ]
    assert summarize_drift(columns, column_drift("score", "stable")) == {
        "status": "drift",
        "drifted": ["a"],
        "warned": ["b"],
        "score_status": "stable",
        "reason": "3 of 4 columns were tested; drifted: a (PSI 0.500); with a warning: b (PSI 0.500); "
        "changing with time by themselves: d (PSI 0.500); score: stable (PSI 0.500).",
    }


def test_a_verdict_without_measurements_has_no_numbers() -> None:
    few = judge(categories(a=10), categories(a=10))
    assert summarize_drift([few], few) == {
        "status": "not_assessable",
        "drifted": [],
        "warned": [],
        "score_status": "too_few_rows",
        "reason": "0 of 1 columns were tested; with too few rows: column; score: too few rows.",
    }


def test_of_many_columns_the_three_that_changed_most_are_named_and_the_others_counted() -> None:
    columns = [replace(column_drift(f"x{n:02}", "drift"), psi=n / 10) for n in range(43)]
    summary = summarize_drift(columns, column_drift("score", "stable"))
    assert summary["reason"] == (
        "43 of 43 columns were tested; drifted: x42 (PSI 4.200), x41 (PSI 4.100), x40 (PSI 4.000) and 40 more; "
        "score: stable (PSI 0.500)."
    )
    assert len(summary["drifted"]) == 43


def test_a_batch_of_training_rows_is_compared_with_itself_and_says_little() -> None:
    columns, score = [column_drift("a", "stable")], column_drift("score", "stable")
    summary = summarize_drift(columns, score, n_scored=3658, n_trained=2912)
    assert summary["status"] == "not_assessable"
    assert summary["reason"].startswith(
        "2,912 of 3,658 scored rows were training rows, which cannot differ from the training data: 1 of 1 columns"
    )
    assert summarize_drift(columns, score, n_scored=3658, n_trained=1829)["status"] == "stable"


def test_an_alarm_stays_one_although_most_rows_were_training_rows() -> None:
    assert summarize_drift([column_drift("a", "drift")], None, n_scored=100, n_trained=99)["status"] == "drift"
