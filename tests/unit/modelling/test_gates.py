"""A candidate is approved only for reasons that can be shown; everything else is a refusal that says why."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydantic import ValidationError

from lakehouse_ml.modelling import gates
from lakehouse_ml.modelling.gates import Evidence, Floors, Policy, Verdict, judge
from lakehouse_ml.modelling.metrics import METRICS, classification_metrics

Floats = NDArray[np.float64]

few = settings(max_examples=30, deadline=None, derandomize=True)
seeds = st.integers(0, 10_000)
modes = st.sampled_from(["superiority", "non_inferiority"])

LOW = Floors(f1=0.0)
QUICK = Policy(resamples=200)
REFRESH = Policy(mode="non_inferiority", resamples=200)


def chance(logit: Floats) -> Floats:
    return 1 / (1 + np.exp(-logit))


def contest(rng: np.random.Generator, n_rows: int, candidate_noise: float, incumbent_noise: float) -> Evidence:
    """Two models that see the same latent risk, each through noise of its own."""
    risk = rng.normal(-1.0, 1.5, n_rows)
    return Evidence(
        outcome=(rng.random(n_rows) < chance(risk)).astype(float),
        candidate_probability=chance(risk + rng.normal(0, candidate_noise, n_rows)),
        candidate_threshold=0.35,
        incumbent_probability=chance(risk + rng.normal(0, incumbent_noise, n_rows)),
        incumbent_threshold=0.35,
    )


def first_model(evidence: Evidence) -> Evidence:
    return replace(evidence, incumbent_probability=None, incumbent_threshold=None)


def swap(evidence: Evidence) -> Evidence:
    return replace(
        evidence,
        candidate_probability=evidence.incumbent_probability,
        candidate_threshold=evidence.incumbent_threshold,
        incumbent_probability=evidence.candidate_probability,
        incumbent_threshold=evidence.candidate_threshold,
    )


def spoil(values: Any, place: int, value: float) -> Floats:
    changed = np.array(values, dtype=float)
    changed[place] = value
    return changed


FAIR = contest(np.random.default_rng(0), 300, 0.3, 0.3)
BETTER = contest(np.random.default_rng(1), 1000, 0.1, 2.0)


# --- the first model


def test_a_first_model_is_approved_when_every_floor_holds() -> None:
    verdict = judge(first_model(FAIR), Floors(f1=0.3, roc_auc=0.6), QUICK)

    assert verdict.decision == "approve"
    assert verdict.reason.startswith("First champion: every minimum is met: F1 0.")
    assert verdict.incumbent_metrics is None
    assert (verdict.difference, verdict.difference_low, verdict.detectable) == (None, None, None)
    assert (verdict.n_rows, verdict.n_positives) == (300, int(np.sum(FAIR.outcome)))


def test_a_first_model_below_a_floor_is_refused_with_both_numbers() -> None:
    verdict = judge(first_model(FAIR), Floors(f1=0.3, roc_auc=0.99), QUICK)

    assert verdict.decision == "refuse"
    assert verdict.reason == (
        f"The candidate misses a minimum: ROC-AUC is {verdict.metrics['roc_auc']:.4f} and has to reach 0.9900."
    )


def test_a_metric_exactly_on_its_floor_holds() -> None:
    reached = classification_metrics(FAIR.outcome, FAIR.candidate_probability, FAIR.candidate_threshold)["f1"]

    assert judge(first_model(FAIR), Floors(f1=reached), QUICK).decision == "approve"
    assert judge(first_model(FAIR), Floors(f1=np.nextafter(reached, 1)), QUICK).decision == "refuse"


def test_a_metric_that_is_not_a_number_reaches_no_floor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gates, "classification_metrics", lambda *_: dict.fromkeys(METRICS, math.nan))

    verdict = judge(first_model(FAIR), LOW, QUICK)

    assert verdict.decision == "refuse"
    assert "F1 can't be measured and has to reach 0.0000" in verdict.reason


# --- against an incumbent


def test_a_clearly_better_candidate_replaces_the_incumbent() -> None:
    verdict = judge(BETTER, LOW, QUICK)

    assert verdict.decision == "approve"
    assert verdict.reason.startswith("The candidate is better than the champion: average precision 0.")
    assert verdict.difference is not None
    assert verdict.difference_low is not None
    assert verdict.difference_high is not None
    assert 0 < verdict.difference_low < verdict.difference < verdict.difference_high


def test_the_same_scores_as_the_incumbent_are_no_better_but_not_worse_either() -> None:
    same = replace(FAIR, incumbent_probability=FAIR.candidate_probability)

    assert judge(same, LOW, QUICK).decision == "refuse"
    assert "no better" in judge(same, LOW, QUICK).reason
    assert judge(same, LOW, REFRESH).decision == "approve"
    assert judge(same, LOW, REFRESH.model_copy(update={"margin": 0.0})).decision == "approve"


def test_a_refresh_whose_loss_may_exceed_the_margin_is_refused() -> None:
    verdict = judge(swap(BETTER), LOW, REFRESH)

    assert verdict.decision == "refuse"
    assert "may be worse by more than 0.0100" in verdict.reason


def test_a_refresh_may_lose_within_the_margin_but_a_replacement_may_not() -> None:
    verdict = judge(swap(BETTER), LOW, REFRESH.model_copy(update={"margin": 0.9, "f1_tolerance": 1.0}))

    assert verdict.decision == "approve"
    assert judge(swap(BETTER), LOW, QUICK.model_copy(update={"margin": 0.9})).decision == "refuse"


@pytest.mark.parametrize("mode", ["superiority", "non_inferiority"])
def test_a_gain_in_ranking_does_not_excuse_a_lost_f1(mode: str) -> None:
    policy = Policy(mode=mode, resamples=200)
    blunted = replace(BETTER, candidate_threshold=0.999)

    verdict = judge(blunted, LOW, policy)

    assert verdict.decision == "refuse"
    assert "The candidate's F1 of 0." in verdict.reason
    assert judge(blunted, LOW, policy.model_copy(update={"f1_tolerance": 1.0})).decision == "approve"


def test_floors_hold_for_a_candidate_that_beats_the_incumbent_too() -> None:
    verdict = judge(BETTER, Floors(average_precision=0.99), QUICK)

    assert verdict.decision == "refuse"
    assert "average precision is 0." in verdict.reason


def test_the_detectable_gain_is_the_one_that_the_gate_finds_four_times_out_of_five() -> None:
    verdict = judge(FAIR, LOW, QUICK)

    # z(0.975) = 1.960 and z(0.8) = 0.842; a normal spread puts the bounds 2 x 1.960 standard errors apart.
    assert verdict.detectable is not None
    assert verdict.difference_low is not None
    assert verdict.difference_high is not None
    error = (verdict.difference_high - verdict.difference_low) / (2 * 1.960)
    assert verdict.detectable == pytest.approx((1.960 + 0.842) * error, rel=0.1)
    assert f"Differences below about {verdict.detectable:.4f} can't be detected on these 300 rows." in verdict.reason


def test_where_a_person_has_the_last_word_an_approval_becomes_a_request() -> None:
    policy = QUICK.model_copy(update={"approval_required": True})

    assert judge(BETTER, LOW, policy).decision == "request"
    assert judge(BETTER, LOW, policy).reason.endswith("Awaiting approval.")
    assert judge(first_model(FAIR), LOW, policy).decision == "request"
    assert judge(swap(BETTER), LOW, policy).decision == "refuse"


def test_the_same_seed_gives_the_same_verdict() -> None:
    other = QUICK.model_copy(update={"seed": 1})

    assert judge(FAIR, LOW, QUICK) == judge(FAIR, LOW, QUICK)
    assert judge(FAIR, LOW, QUICK).difference_low != judge(FAIR, LOW, other).difference_low


# --- evidence that does not suffice


@pytest.mark.parametrize(
    ("outcome", "reason"),
    [
        ([0, 1] * 49, "98 rows, 49 of them positive; 100 and 20 are needed"),
        ([1] * 19 + [0] * 200, "219 rows, 19 of them positive; 100 and 20 are needed"),
        ([0] * 200, "200 rows, 0 of them positive"),
        ([1] * 200, "All 200 rows of the hold-out are positive"),
        ([], "0 rows"),
        ([0, 1, 2] * 100, "100 of 300 have another one or none"),
        ([[0, 1]] * 100, "Every row needs an outcome of 0 or 1"),
    ],
)
def test_too_few_rows_or_one_class_are_refused_before_any_score_is_looked_at(outcome: list[int], reason: str) -> None:
    verdict = judge(Evidence(outcome, [math.nan], 0.5), LOW, QUICK)

    assert verdict.decision == "refuse"
    assert reason in verdict.reason
    assert verdict.metrics == {}


def test_a_hold_out_of_exactly_the_asked_size_is_enough() -> None:
    outcome = np.array([1.0] * 20 + [0.0] * 80)

    assert judge(Evidence(outcome, outcome, 0.5), LOW, QUICK).decision == "approve"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"candidate_probability": [0.5] * 299}, "The candidate's scores can't be judged: Need one outcome"),
        ({"incumbent_probability": [0.5] * 301}, "The incumbent's scores can't be judged: Need one outcome"),
        ({"candidate_probability": [1.5] * 300}, "300 of 300 probabilities are missing or outside"),
        ({"incumbent_probability": [-0.5] * 300}, "The incumbent's scores can't be judged: 300 of 300"),
        ({"candidate_threshold": 1.5}, "The candidate's threshold is 1.5"),
        ({"incumbent_threshold": -0.5}, "The incumbent's threshold is -0.5"),
        ({"incumbent_threshold": None}, "The incumbent needs both probabilities and a threshold"),
        ({"incumbent_probability": None}, "The incumbent needs both probabilities and a threshold"),
        ({"groups": ["one machine"] * 300}, "only 1 groups of rows; 20 are needed"),
    ],
)
def test_scores_that_cannot_be_compared_are_refused_and_the_reason_says_whose(
    change: dict[str, Any], reason: str
) -> None:
    verdict = judge(replace(FAIR, **change), LOW, REFRESH)

    assert verdict.decision == "refuse"
    assert reason in verdict.reason


@few
@given(
    st.sampled_from(["outcome", "candidate_probability", "incumbent_probability", "groups"]),
    st.integers(0, 999),
    st.sampled_from([math.nan, math.inf, -math.inf]),
    modes,
)
def test_one_number_that_is_none_anywhere_refuses(name: str, place: int, value: float, mode: str) -> None:
    evidence = replace(BETTER, groups=np.arange(1000.0))
    if name == "groups":
        value = math.nan
    broken = replace(evidence, **{name: spoil(getattr(evidence, name), place, value)})
    lenient = Policy(mode=mode, resamples=200, margin=1.0, f1_tolerance=1.0)

    assert judge(evidence, LOW, lenient).decision == "approve"
    assert judge(broken, LOW, lenient).decision == "refuse"


@pytest.mark.parametrize("name", ["candidate_threshold", "incumbent_threshold"])
def test_a_threshold_that_is_not_a_number_refuses(name: str) -> None:
    verdict = judge(replace(BETTER, **{name: math.nan}), LOW, QUICK)

    assert verdict.decision == "refuse"
    assert "threshold is nan" in verdict.reason


def test_groups_of_a_first_model_are_checked_too() -> None:
    grouped = replace(first_model(FAIR), groups=[f"m{row % 19}" for row in range(300)])

    assert judge(grouped, LOW, QUICK).decision == "refuse"
    assert judge(grouped, LOW, QUICK.model_copy(update={"min_groups": 19})).decision == "approve"


# --- errors


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (RuntimeError("the disk is on fire"), "RuntimeError: the disk is on fire"),
        (MemoryError(), "MemoryError"),
        (KeyError("f1"), "KeyError: 'f1'"),
    ],
)
@pytest.mark.parametrize("failing", ["classification_metrics", "resample_precision_gains"])
def test_an_error_inside_the_judgement_is_a_refusal_that_names_it(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    failing: str,
    error: Exception,
    reason: str,
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(gates, failing, fail)

    verdict = judge(BETTER, LOW, QUICK)

    assert verdict.decision == "refuse"
    assert reason in verdict.reason
    assert "Traceback" in caplog.text


@pytest.mark.parametrize(
    "arguments",
    [
        (None, LOW, QUICK),
        (BETTER, None, QUICK),
        (BETTER, LOW, None),
        (replace(BETTER, outcome=["left", "stayed"]), LOW, QUICK),
        (replace(BETTER, candidate_threshold=None), LOW, QUICK),
    ],
)
def test_nonsense_in_place_of_an_argument_is_a_refusal_too(arguments: tuple[Any, Any, Any]) -> None:
    verdict = judge(*arguments)

    assert verdict.decision == "refuse"
    assert "The judgement failed" in verdict.reason


def test_an_interrupt_is_not_swallowed(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(gates, "classification_metrics", interrupt)

    with pytest.raises(KeyboardInterrupt):
        judge(BETTER, LOW, QUICK)


def test_a_bound_that_is_not_a_number_is_no_proof(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gates, "_estimate_gain_spread", lambda *_: (math.nan, math.nan, math.nan))

    assert judge(BETTER, LOW, QUICK).decision == "refuse"
    assert judge(BETTER, LOW, REFRESH).decision == "refuse"


# --- properties


@few
@given(seeds, modes, st.dictionaries(st.sampled_from(METRICS), st.floats(0, 1), min_size=1), st.booleans())
def test_no_candidate_below_a_floor_is_ever_approved(
    seed: int, mode: str, minima: dict[str, float], alone: bool
) -> None:
    evidence = contest(np.random.default_rng(seed), 150, 0.2, 2.0)
    measured = classification_metrics(evidence.outcome, evidence.candidate_probability, evidence.candidate_threshold)
    policy = Policy(mode=mode, resamples=200, min_positives=1)

    verdict = judge(first_model(evidence) if alone else evidence, Floors(**minima), policy)

    below = [name for name, minimum in minima.items() if measured[name] < minimum]
    assert verdict.reason
    said = verdict.reason.lower().replace("-", "_").replace(" ", "_")
    assert all(name in said for name in below)
    if below:
        assert verdict.decision == "refuse"
    elif alone:
        assert verdict.decision == "approve"


@few
@given(seeds)
def test_a_perfect_candidate_replaces_a_random_incumbent_and_never_the_reverse(seed: int) -> None:
    rng = np.random.default_rng(seed)
    outcome = (rng.random(200) < 0.3).astype(float)
    evidence = Evidence(outcome, outcome, 0.5, rng.random(200), 0.5)

    assert judge(evidence, Floors(f1=1.0), QUICK).decision == "approve"
    assert judge(swap(evidence), LOW, QUICK).decision == "refuse"
    assert judge(swap(evidence), LOW, REFRESH).decision == "refuse"


@few
@given(seeds, st.floats(0.0, 3.0), st.floats(0.0, 3.0), st.sampled_from([0.025, 0.1, 0.4]))
def test_of_two_models_at_most_one_is_better_than_the_other(
    seed: int, noise: float, other: float, alpha: float
) -> None:
    evidence = contest(np.random.default_rng(seed), 150, noise, other)
    policy = Policy(resamples=200, alpha=alpha, f1_tolerance=1.0, min_positives=1)

    verdicts = [judge(evidence, LOW, policy), judge(swap(evidence), LOW, policy)]

    assert [verdict.decision for verdict in verdicts].count("approve") <= 1
    assert all(verdict.reason for verdict in verdicts)


def test_an_equal_model_passes_for_a_better_one_on_at_most_five_hold_outs_in_a_hundred() -> None:
    rng = np.random.default_rng(2024)
    tolerant = QUICK.model_copy(update={"f1_tolerance": 1.0})

    approved = [judge(contest(rng, 300, 0.5, 0.5), LOW, tolerant).decision == "approve" for _ in range(200)]

    assert sum(approved) <= 10


def test_a_better_model_is_found_about_as_often_as_the_detectable_gain_promises() -> None:
    rng = np.random.default_rng(7)
    tolerant = QUICK.model_copy(update={"f1_tolerance": 1.0})

    verdicts = [judge(contest(rng, 400, 0.1, 0.9), LOW, tolerant) for _ in range(60)]

    gain = np.mean([verdict.difference for verdict in verdicts])
    detectable = np.mean([verdict.detectable for verdict in verdicts])
    power = np.mean([verdict.decision == "approve" for verdict in verdicts])
    assert gain == pytest.approx(detectable, rel=0.25)
    assert 0.6 <= power <= 0.97


def test_overlapping_rows_of_a_machine_do_not_pass_for_evidence_once_they_are_grouped() -> None:
    rng = np.random.default_rng(5)
    tolerant = QUICK.model_copy(update={"f1_tolerance": 1.0})
    alone, grouped = 0, 0

    for _ in range(25):
        episodes = contest(rng, 150, 0.5, 0.5)
        evidence = Evidence(
            outcome=np.repeat(episodes.outcome, 8),
            candidate_probability=np.repeat(episodes.candidate_probability, 8),
            candidate_threshold=0.35,
            incumbent_probability=np.repeat(episodes.incumbent_probability, 8),
            incumbent_threshold=0.35,
        )
        alone += judge(evidence, LOW, tolerant).decision == "approve"
        machines = np.repeat(np.arange(150), 8)
        grouped += judge(replace(evidence, groups=machines), LOW, tolerant).decision == "approve"

    assert alone >= 4
    assert grouped <= 2


# --- what conf may say


@pytest.mark.parametrize(
    ("minima", "complaint"),
    [
        ({"auc": 0.7}, "auc"),
        ({"f1": 0.5, "expected_value": 1.0}, "expected_value"),
        ({"f1": 1.5}, "f1"),
        ({"f1": math.nan}, "f1"),
        ({"f1": "0.5"}, "f1"),
        ({}, "at least one floor"),
        ({"f1": None}, "at least one floor"),
    ],
)
def test_floors_refuse_unknown_metrics_and_impossible_values_by_name(minima: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValidationError, match=complaint):
        Floors.model_validate(minima)


def test_every_metric_can_have_a_floor_and_nothing_else() -> None:
    assert tuple(Floors.model_fields) == METRICS
    assert Floors(roc_auc=0.7, f1=0).minima == {"f1": 0.0, "roc_auc": 0.7}


@pytest.mark.parametrize(
    "key",
    [
        {"mode": "equivalence"},
        {"alpha": 0.0},
        {"alpha": 0.5},
        {"margin": -0.01},
        {"f1_tolerance": math.nan},
        {"min_rows": "many"},
        {"min_positives": 0},
        {"approval_required": "yes"},
        {"dry_run": True},
    ],
)
def test_a_policy_refuses_impossible_values_and_unknown_keys_by_name(key: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=next(iter(key))):
        Policy.model_validate(key)


def test_a_policy_needs_enough_resamples_to_see_its_tail() -> None:
    assert Policy(alpha=0.025, resamples=200).resamples == 200
    with pytest.raises(ValidationError, match="needs 200 resamples, got 199"):
        Policy(alpha=0.025, resamples=199)


def test_a_replacement_has_to_be_superior_unless_conf_says_otherwise() -> None:
    policy = Policy()

    assert (policy.mode, policy.alpha, policy.margin, policy.f1_tolerance) == (
        "superiority",
        0.025,
        0.01,
        0.01,
    )
    assert (policy.resamples, policy.min_rows, policy.min_positives) == (2000, 100, 20)
    assert policy.approval_required is False


def test_a_verdict_cannot_be_changed_afterwards() -> None:
    verdict = Verdict("refuse", "No.")

    with pytest.raises(AttributeError):
        verdict.decision = "approve"
