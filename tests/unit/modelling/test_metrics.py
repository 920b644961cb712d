"""Metrics equal scikit-learn's, thresholds are optimal, intervals cover, a missed customer earns nothing."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydantic import ValidationError
from sklearn import metrics as reference
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import FixedThresholdClassifier

from lakehouse_ml.modelling.economics import Economics, expected_value
from lakehouse_ml.modelling.metrics import (
    METRICS,
    bootstrap_intervals,
    check_rows,
    choose_threshold,
    classification_metrics,
    number_groups,
    resample_precision_gains,
    weighted_metrics,
)

Floats = NDArray[np.float64]

OUTCOME = np.array([1, 0, 1, 0, 0])
PROBABILITY = np.array([0.9, 0.8, 0.6, 0.3, 0.1])
OFFER = Economics(action_cost=10.0, averted_value=200.0, success_share=0.25)

few = settings(max_examples=50, deadline=None, derandomize=True)
# Eleven possible scores make ties the rule.
scores = st.integers(0, 10).map(lambda tenth: tenth / 10)
rows = st.lists(st.tuples(st.integers(0, 1), scores, st.integers(0, 3)), min_size=2, max_size=30)


def holdout(rng: np.random.Generator, n_rows: int) -> tuple[Floats, Floats]:
    """Outcomes drawn by a logit of a latent risk, scored with some noise on that risk."""
    risk = rng.normal(-1.3, 1.5, n_rows)
    outcome = (rng.random(n_rows) < 1 / (1 + np.exp(-risk))).astype(float)
    return outcome, 1 / (1 + np.exp(-risk - rng.normal(0, 0.5, n_rows)))


def columns(table: list[tuple[int, float, int]]) -> tuple[Floats, Floats, Floats]:
    outcome, probability, weight = (np.array(column, dtype=float) for column in zip(*table, strict=True))
    return outcome, probability, weight


def both_classes(outcome: Floats, weight: Floats | float = 1.0) -> bool:
    return 0 < np.sum(outcome * weight) < np.sum(np.ones_like(outcome) * weight)


def f1_at(threshold: float, outcome: Floats, probability: Floats) -> float:
    predicted = probability >= threshold
    return float(2 * np.sum(outcome * predicted) / (np.sum(predicted) + np.sum(outcome)))


# --- metrics at a threshold


def test_metrics_of_five_customers_are_what_a_hand_count_gives() -> None:
    measured = classification_metrics(OUTCOME, PROBABILITY, 0.6)

    assert tuple(measured) == METRICS
    assert measured == pytest.approx(
        {
            "accuracy": 4 / 5,
            "precision": 2 / 3,
            "recall": 1.0,
            "f1": 4 / 5,
            "roc_auc": 5 / 6,
            "average_precision": (1 + 2 / 3) / 2,
        }
    )


def test_a_score_on_the_threshold_is_predicted_positive_as_the_served_model_does() -> None:
    measures = np.arange(12.0).reshape(-1, 1)
    label = np.array([0, 0, 1, 0, 0, 1, 0, 1, 1, 0, 1, 1])
    model = LogisticRegression().fit(measures, label)
    probability = model.predict_proba(measures)[:, 1]
    threshold = float(probability[5])
    served = FixedThresholdClassifier(model, threshold=threshold).fit(measures, label)

    measured = classification_metrics(label, probability, threshold)

    assert measured["accuracy"] == pytest.approx(served.score(measures, label))
    assert measured["recall"] == pytest.approx(5 / 6)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("only", [0, 1])
def test_one_class_has_nothing_to_rank_and_raises_no_warning(only: int) -> None:
    measured = classification_metrics([only] * 3, [0.2, 0.4, 0.6], 0.5)

    assert math.isnan(measured["roc_auc"])
    assert math.isnan(measured["average_precision"])
    assert measured["accuracy"] == pytest.approx(1 / 3 if only else 2 / 3)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("threshold", [0.5, 0.9], ids=["false alarms", "silence"])
def test_without_a_positive_case_precision_recall_and_f1_can_not_be_measured(threshold: float) -> None:
    measured = classification_metrics([0, 0, 0], [0.2, 0.4, 0.6], threshold)

    assert [name for name, value in measured.items() if not math.isnan(value)] == ["accuracy"]


@pytest.mark.filterwarnings("error")
def test_a_model_that_never_predicts_has_no_precision_and_finds_nothing() -> None:
    measured = classification_metrics([1, 0, 0], [0.1, 0.2, 0.3], 0.9)

    assert math.isnan(measured["precision"])
    assert (measured["recall"], measured["f1"]) == (0.0, 0.0)


@pytest.mark.parametrize(
    ("outcome", "probability", "complaint"),
    [
        ([], [], "one outcome and one probability per row"),
        ([0, 1], [0.5], "one outcome and one probability per row"),
        ([[0, 1]], [[0.5, 0.5]], "one outcome and one probability per row"),
        ([0, 2], [0.5, 0.5], "1 of 2 outcomes are neither 0 nor 1"),
        ([0, math.nan], [0.5, 0.5], "1 of 2 outcomes are neither 0 nor 1"),
        ([0, None], [0.5, 0.5], "1 of 2 outcomes are neither 0 nor 1"),
        ([0, 1], [0.5, math.nan], "1 of 2 probabilities are missing"),
        ([0, 1], [-0.1, 1.1], "2 of 2 probabilities are missing or outside"),
        ([0, 1], [0.5, math.inf], "1 of 2 probabilities are missing or outside"),
    ],
)
def test_rows_that_cannot_be_measured_are_refused_with_a_sentence(
    outcome: list[float], probability: list[float], complaint: str
) -> None:
    with pytest.raises(ValueError, match=complaint):
        check_rows(outcome, probability)
    with pytest.raises(ValueError, match=complaint):
        classification_metrics(outcome, probability, 0.5)


# --- many weightings at once


@few
@given(rows, scores)
def test_weighted_metrics_equal_those_of_scikit_learn(table: list[tuple[int, float, int]], threshold: float) -> None:
    outcome, probability, weight = columns(table)
    if not weight.any():
        weight = np.ones_like(weight)

    metrics = {
        name: values[1]
        for name, values in weighted_metrics(
            outcome, probability, threshold, np.stack([np.ones_like(weight), weight])
        ).items()
    }

    decision = (probability >= threshold).astype(float)
    weights = {"sample_weight": weight}
    assert metrics["accuracy"] == pytest.approx(reference.accuracy_score(outcome, decision, **weights))
    positive, predicted = np.sum(outcome * weight) > 0, np.sum(decision * weight) > 0
    for name, measurable in (("precision", positive and predicted), ("recall", positive), ("f1", positive)):
        score = getattr(reference, f"{name}_score")
        expected = score(outcome, decision, zero_division=0, **weights) if measurable else math.nan
        assert metrics[name] == pytest.approx(expected, nan_ok=True), name
    if both_classes(outcome, weight):
        # scikit-learn's ROC AUC takes a class without weight for present, hence the condition.
        assert metrics["roc_auc"] == pytest.approx(reference.roc_auc_score(outcome, probability, **weights))
        expected = reference.average_precision_score(outcome, probability, **weights)
        assert metrics["average_precision"] == pytest.approx(expected)
    else:
        assert math.isnan(metrics["roc_auc"])
        assert math.isnan(metrics["average_precision"])


def test_weights_of_one_give_the_plain_metrics() -> None:
    outcome, probability = holdout(np.random.default_rng(3), 500)

    weighted = weighted_metrics(outcome, probability, 0.4, np.ones((1, 500)))

    plain = classification_metrics(outcome, probability, 0.4)
    assert {name: values[0] for name, values in weighted.items()} == pytest.approx(plain)


# --- threshold


def test_the_best_threshold_lies_midway_between_the_last_row_taken_and_the_first_left() -> None:
    assert choose_threshold([1, 1, 0, 0], [0.9, 0.7, 0.3, 0.1]) == pytest.approx(0.5)


def test_of_thresholds_with_the_same_f1_the_highest_is_chosen() -> None:
    # One positive of one predicted, and two of four: 2/3 both times.
    outcome, probability = [1, 0, 0, 1], [0.8, 0.6, 0.4, 0.2]

    assert classification_metrics(outcome, probability, 0.7)["f1"] == pytest.approx(2 / 3)
    assert classification_metrics(outcome, probability, 0.1)["f1"] == pytest.approx(2 / 3)
    assert choose_threshold(outcome, probability) == pytest.approx(0.7)


@few
@given(rows)
def test_no_other_threshold_inside_the_unit_interval_has_a_higher_f1(
    table: list[tuple[int, float, int]],
) -> None:
    outcome, probability, _ = columns(table)
    if not both_classes(outcome):
        return

    best_threshold = choose_threshold(outcome, probability)

    assert 0 < best_threshold < 1
    assert f1_at(best_threshold, outcome, probability) == max(
        f1_at(cut, outcome, probability) for cut in np.linspace(0.001, 0.999, 40)
    )


@pytest.mark.parametrize(
    "probability",
    [
        [0.0, 0.0],
        [1.0, 1.0],
        [0.0, 1.0],
        [1.0, 0.0],
        [np.nextafter(1, 0), 1.0],
        [1.0, np.nextafter(1, 0)],
        [0.5, np.nextafter(0.5, 1)],
        [0.0, 5e-324],
    ],
)
def test_extreme_scores_still_give_a_threshold_strictly_inside_the_unit_interval(
    probability: list[float],
) -> None:
    assert 0 < choose_threshold([0, 1], probability) < 1


def test_neighbouring_doubles_are_still_told_apart() -> None:
    lower, upper = 0.5, float(np.nextafter(0.5, 1))

    chosen = choose_threshold([0, 1], [lower, upper])

    assert classification_metrics([0, 1], [lower, upper], chosen)["f1"] == pytest.approx(1.0)


@pytest.mark.parametrize("only", [0, 1])
def test_no_threshold_is_chosen_on_one_class(only: int) -> None:
    with pytest.raises(ValueError, match=f"all 2 outcomes are {only}"):
        choose_threshold([only, only], [0.2, 0.8])


# --- bootstrap


def test_the_same_seed_gives_the_same_intervals_and_another_seed_others() -> None:
    outcome, probability = holdout(np.random.default_rng(1), 200)

    first = bootstrap_intervals(outcome, probability, 0.3, resamples=100, seed=5)

    assert first == bootstrap_intervals(outcome, probability, 0.3, resamples=100, seed=5)
    assert first != bootstrap_intervals(outcome, probability, 0.3, resamples=100, seed=6)


def test_every_interval_surrounds_its_metric_and_a_higher_level_is_wider() -> None:
    outcome, probability = holdout(np.random.default_rng(2), 400)
    measured = classification_metrics(outcome, probability, 0.3)

    usual = bootstrap_intervals(outcome, probability, 0.3, resamples=400, seed=1)
    narrow = bootstrap_intervals(outcome, probability, 0.3, resamples=400, seed=1, level=0.5)

    assert tuple(usual) == METRICS
    for name in METRICS:
        assert usual[name][0] < narrow[name][0] < measured[name] < narrow[name][1] < usual[name][1], name


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(11)
    truth = classification_metrics(*holdout(rng, 300_000), 0.35)
    covered = dict.fromkeys(METRICS, 0)

    for seed in range(200):
        intervals = bootstrap_intervals(*holdout(rng, 300), 0.35, resamples=200, seed=seed)
        for name, (low, high) in intervals.items():
            covered[name] += low <= truth[name] <= high

    assert all(0.89 <= hits / 200 <= 0.99 for hits in covered.values()), covered


@pytest.mark.filterwarnings("error")
def test_what_can_not_be_measured_has_no_interval() -> None:
    intervals = bootstrap_intervals([0, 0, 0], [0.1, 0.2, 0.9], 0.5, resamples=20, seed=0)

    assert all(math.isnan(end) for name in METRICS if name != "accuracy" for end in intervals[name])
    assert intervals["accuracy"][0] < intervals["accuracy"][1]


@pytest.mark.filterwarnings("error")
def test_resamples_of_one_class_are_left_out_of_ranking_intervals() -> None:
    intervals = bootstrap_intervals([1, 0], [0.9, 0.1], 0.5, resamples=50, seed=0)

    assert intervals["roc_auc"] == (1.0, 1.0)
    assert intervals["average_precision"] == (1.0, 1.0)


@pytest.mark.parametrize(("resamples", "level"), [(0, 0.95), (10, 0.0), (10, 1.0), (10, math.nan)])
def test_an_impossible_bootstrap_is_refused(resamples: int, level: float) -> None:
    with pytest.raises(ValueError, match="resamples >= 1"):
        bootstrap_intervals(OUTCOME, PROBABILITY, 0.5, resamples=resamples, seed=0, level=level)


def test_copies_of_a_row_in_its_group_tell_nothing_new() -> None:
    outcome, probability = holdout(np.random.default_rng(4), 60)
    machines = np.array([f"m{number:03}" for number in range(60)])
    single = bootstrap_intervals(outcome, probability, 0.3, resamples=200, seed=1)

    tripled = [np.repeat(column, 3) for column in (outcome, probability, machines)]
    grouped = bootstrap_intervals(*tripled[:2], 0.3, resamples=200, seed=1, groups=tripled[2])
    ungrouped = bootstrap_intervals(*tripled[:2], 0.3, resamples=200, seed=1)

    for name in METRICS:
        assert grouped[name] == pytest.approx(single[name]), name
        assert np.diff(ungrouped[name]) < 0.8 * np.diff(single[name]), name


@pytest.mark.parametrize("groups", [["a"], ["a", None], [1.0, math.nan]])
def test_each_row_needs_a_group_when_groups_are_given(groups: list[object]) -> None:
    with pytest.raises(ValueError, match="one group for each of 2 rows"):
        number_groups(groups, 2)


def test_groups_are_numbered_and_without_any_each_row_is_its_own() -> None:
    assert number_groups(["b", "a", "b"], 3).tolist() == [1, 0, 1]
    assert number_groups(None, 3).tolist() == [0, 1, 2]


def test_two_equal_rankings_never_differ_in_any_resample() -> None:
    outcome, probability = holdout(np.random.default_rng(5), 300)

    gains = resample_precision_gains(outcome, probability, probability**2, resamples=50, seed=0)

    assert gains.tolist() == [0.0] * 50


def test_swapping_two_models_turns_every_gain_around() -> None:
    outcome, better = holdout(np.random.default_rng(6), 1000)
    worse = np.random.default_rng(7).random(1000)

    gains = resample_precision_gains(outcome, better, worse, resamples=250, seed=0)

    assert gains.shape == (250,)
    assert (gains > 0).all()
    assert gains.tolist() == (-resample_precision_gains(outcome, worse, better, resamples=250, seed=0)).tolist()


def test_the_mean_resampled_gain_is_close_to_the_difference_of_the_scores() -> None:
    outcome, better = holdout(np.random.default_rng(8), 1000)
    worse = np.clip(better + np.random.default_rng(9).normal(0, 0.2, 1000), 0, 1)
    difference = reference.average_precision_score(outcome, better) - reference.average_precision_score(outcome, worse)

    gains = resample_precision_gains(outcome, better, worse, resamples=500, seed=0)

    assert gains.mean() == pytest.approx(difference, abs=gains.std() / 3)


def test_no_function_changes_its_arguments() -> None:
    outcome, probability = holdout(np.random.default_rng(10), 50)
    before = (outcome.copy(), probability.copy())

    classification_metrics(outcome, probability, 0.5)
    choose_threshold(outcome, probability)
    bootstrap_intervals(outcome, probability, 0.5, resamples=5, seed=0)
    resample_precision_gains(outcome, probability, 1 - probability, resamples=5, seed=0)
    expected_value(outcome, outcome, OFFER)

    assert np.array_equal(outcome, before[0])
    assert np.array_equal(probability, before[1])


# --- money


def test_an_offer_to_a_leaver_brings_its_share_and_one_to_a_stayer_costs() -> None:
    # Two leavers reached: 2 x (0.25 x 200 - 10); one stayer bothered: -10; four customers.
    assert expected_value([1, 1, 0, 0], [1, 1, 1, 0], OFFER) == pytest.approx((2 * 40 - 10) / 4)


def test_a_model_that_never_predicts_earns_nothing_and_a_perfect_one_earns_most() -> None:
    outcome = np.array([1, 0, 0, 1, 0, 0])
    every_decision = [[(number >> row) & 1 for row in range(6)] for number in range(2**6)]

    earned = [expected_value(outcome, decision, OFFER) for decision in every_decision]

    assert expected_value(outcome, np.zeros(6), OFFER) == 0.0
    assert expected_value(outcome, outcome, OFFER) == max(earned) == pytest.approx(2 * 40 / 6)


@few
@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 1)), min_size=1, max_size=20), st.integers(0, 19))
def test_a_missed_leaver_never_adds_value(table: list[tuple[int, int]], place: int) -> None:
    outcome, decision = (np.array(column) for column in zip(*table, strict=True))
    row = place % len(table)
    decision[row] = 0
    stays, leaves = outcome.copy(), outcome.copy()
    stays[row], leaves[row] = 0, 1

    assert expected_value(leaves, decision, OFFER) == pytest.approx(expected_value(stays, decision, OFFER))


@few
@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 1)), min_size=1, max_size=20))
def test_no_campaign_earns_more_than_offers_to_exactly_the_leavers(table: list[tuple[int, int]]) -> None:
    outcome, decision = zip(*table, strict=True)

    assert expected_value(outcome, decision, OFFER) <= expected_value(outcome, outcome, OFFER)


def test_probabilities_are_no_decisions() -> None:
    with pytest.raises(ValueError, match="apply the threshold"):
        expected_value([1, 0], [0.7, 0.2], OFFER)


@pytest.mark.parametrize(
    "changed",
    [
        {"action_cost": -1.0},
        {"averted_value": -1.0},
        {"success_share": 1.1},
        {"success_share": -0.1},
        {"averted_value": math.inf},
        {"averted_value": math.nan},
        {"action_cost": "10"},
        {"action_cost": True},
        {"missed_value": 2000.0},
    ],
)
def test_economics_refuse_impossible_numbers_and_unknown_keys_by_name(changed: dict[str, object]) -> None:
    values = {"action_cost": 10, "averted_value": 200, "success_share": 0.25} | changed

    with pytest.raises(ValidationError, match=next(iter(changed))):
        Economics.model_validate(values)


def test_economics_cannot_be_changed_afterwards() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        OFFER.action_cost = 0.0
