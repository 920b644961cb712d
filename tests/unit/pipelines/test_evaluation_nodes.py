"""Candidate and incumbent are judged on the same rows, which neither trained on; what can't be judged is refused."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from lakehouse_ml.datasets.delta_table import DeltaTable
from lakehouse_ml.modelling.card import ModelCard
from lakehouse_ml.modelling.economics import Economics
from lakehouse_ml.modelling.gates import Floors, Policy
from lakehouse_ml.modelling.metrics import (
    METRICS,
    bootstrap_intervals,
    classification_metrics,
    resample_precision_gains,
)
from lakehouse_ml.modelling.model import Model
from lakehouse_ml.modelling.split import is_held_out
from lakehouse_ml.pipelines.evaluation.nodes import METRIC_COLUMNS, OUTCOME_COLUMNS, EvaluationSpec, evaluate, promote
from lakehouse_ml.storage.provenance import Provenance, attach_provenance

KEY = ("customer_id", "snapshot_on")
CLOCK = datetime(2025, 1, 31, 6, 0, tzinfo=UTC)
ECONOMICS = Economics(action_cost=20.0, averted_value=400.0, success_share=0.3)
POLICY = Policy(resamples=200, min_rows=50, min_positives=10)
SPEC = EvaluationSpec(
    floors=Floors(f1=0.3, roc_auc=0.7), policy=POLICY, max_rows=10_000, resamples=100, min_segment_rows=20, seed=0
)


@dataclass(frozen=True)
class ByColumn:
    """A model that says what one column says."""

    column: str

    def predict_proba(self, rows: pd.DataFrame) -> np.ndarray:
        positive = 1 / (1 + np.exp(-rows[self.column].to_numpy(dtype=float)))
        return np.column_stack([1 - positive, positive])


def model(
    version: int = 1, column: str = "signal", *, salt: int = 0, share: float = 0.5, needs: tuple[str, ...] = ()
) -> Model:
    card = ModelCard(
        library="sklearn",
        estimator="logistic_regression",
        params={},
        categorical=(),
        numeric=("signal", "noise", *needs),
        threshold=0.5,
        baseline={},
        reference={},
        unseen={"kind": "hash", "salt": salt, "holdout_share": share},
        importance={},
        metrics={},
    )
    return Model("churn", str(version), ByColumn(column), card)


def customers(n: int = 600, seed: int = 0) -> pd.DataFrame:
    """`signal` says much about who leaves, `noise` says nothing; a few have no contract, few have a rare one."""
    rng = np.random.default_rng(seed)
    signal = rng.normal(size=n)
    contract = np.where(np.arange(n) % 3 == 0, "two years", "monthly").astype(object)
    contract[::50] = None
    contract[7] = "rare"
    return pd.DataFrame(
        {
            "customer_id": [f"C{number:04d}" for number in range(n)],
            "snapshot_on": "2024-12-31",
            "label": (signal + rng.normal(size=n) > 0).astype(int),
            "signal": signal,
            "noise": rng.normal(size=n),
            "contract": contract,
        }
    )


@pytest.fixture(scope="module")
def rows(spark: Any) -> Any:
    """All labelled customers, as the engine has them."""
    return spark.createDataFrame(
        customers(), "customer_id string, snapshot_on string, label int, signal double, noise double, contract string"
    )


Judged = tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]


def judge(
    rows: Any, candidate: Model, incumbent: Model | None = None, spec: EvaluationSpec = SPEC, clock: datetime = CLOCK
) -> Judged:
    return evaluate(rows, candidate, incumbent, spec, ECONOMICS, clock, KEY, ("contract",))


def verdict(*arguments: Any, **options: Any) -> dict[str, Any]:
    return judge(*arguments, **options)[2].iloc[0].to_dict()


def change_spec(**values: Any) -> EvaluationSpec:
    return SPEC.model_copy(update=values)


# --- on which rows


def test_a_first_model_is_measured_on_the_rows_that_it_did_not_train_on(rows: Any) -> None:
    outcomes, _, row = judge(rows, model(salt=0, share=0.5))

    unseen = [name for name in customers()["customer_id"] if is_held_out(name, 0, 0.5)]
    assert list(outcomes["customer_id"]) == unseen
    assert row["n_rows"].item() == len(unseen)


def test_both_are_measured_on_rows_that_neither_trained_on(rows: Any) -> None:
    outcomes, metrics, _ = judge(rows, model(2, salt=0, share=0.5), model(1, "noise", salt=7, share=0.6))

    unseen = [name for name in customers()["customer_id"] if is_held_out(name, 0, 0.5) and is_held_out(name, 7, 0.6)]
    assert 100 < len(unseen) < 240
    assert list(outcomes["customer_id"]) == unseen
    assert set(metrics[metrics["segment"] == "all"].groupby("model")["n_rows"].first().items()) == {
        ("candidate", len(unseen)),
        ("incumbent", len(unseen)),
    }


def test_each_row_says_what_both_models_gave_it(rows: Any) -> None:
    outcomes, _, _ = judge(rows, model(2), model(1, "noise"))

    expected = customers().set_index("customer_id").loc[outcomes["customer_id"]]
    assert list(outcomes.columns) == [*KEY, *OUTCOME_COLUMNS]
    assert outcomes["label"].to_numpy() == pytest.approx(expected["label"].to_numpy())
    assert outcomes["candidate_probability"].to_numpy() == pytest.approx(
        1 / (1 + np.exp(-expected["signal"].to_numpy()))
    )
    assert outcomes["incumbent_probability"].to_numpy() == pytest.approx(
        1 / (1 + np.exp(-expected["noise"].to_numpy()))
    )
    assert set(outcomes["candidate_version"]) == {"2"}
    assert set(outcomes["incumbent_version"]) == {"1"}


def test_too_many_rows_are_sampled_evenly_and_the_same_each_time(rows: Any) -> None:
    spec = change_spec(max_rows=100)

    first, second = (judge(frame, model(), spec=spec)[0] for frame in (rows, rows.orderBy("signal")))

    pd.testing.assert_frame_equal(first, second)
    assert len(first) == 100
    unseen = [name for name in customers()["customer_id"] if is_held_out(name, 0, 0.5)]
    assert list(first["customer_id"]) != unseen[:100]
    assert set(first["customer_id"]) < set(unseen)


# --- rows that come in groups, split in time

LONG_KEY = ("machine_id", "predicted_at")
LONG = "machine_id int, predicted_at timestamp, component string, label int, signal double, noise double, part string"


def in_time(version: int, column: str, first: datetime) -> Model:
    contender = model(version, column)
    return replace(contender, card=replace(contender.card, unseen={"kind": "time", "from": first.isoformat()}))


def hours(n: int) -> datetime:
    """So many hours after 2024-03-01 00:00 UTC."""
    return datetime(2024, 3, 1, tzinfo=UTC) + timedelta(hours=n)


def utc(n: int) -> pd.Timestamp:
    """The same as the client hands it out: without its zone."""
    return pd.Timestamp(hours(n)).tz_localize(None)


@pytest.fixture(scope="module")
def long_rows(spark: Any) -> Any:
    """Thirty machines, two components, every six hours; each machine has a mood that all of its rows share."""
    rng = np.random.default_rng(1)
    mood = rng.normal(size=30)
    records = [
        (
            machine,
            hours(6 * step),
            component,
            float(mood[machine] + rng.normal()),
            float(rng.normal()),
            "train" if step < 10 else "holdout",
        )
        for machine in range(30)
        for step in range(20)
        for component in ("comp2", "comp1")
    ]
    return spark.createDataFrame([(*row[:3], int(row[3] + 2 * mood[row[0]] > 1), *row[3:]) for row in records], LONG)


def judge_long(rows: Any, candidate: Model, incumbent: Model | None = None, spec: EvaluationSpec = SPEC) -> Judged:
    return evaluate(
        rows, candidate, incumbent, spec, ECONOMICS, CLOCK, LONG_KEY, ("component",), label_dimension="component"
    )


def test_split_in_time_both_are_measured_on_rows_from_the_later_first_moment_on(long_rows: Any) -> None:
    candidate, incumbent = in_time(2, "signal", hours(72)), in_time(1, "noise", hours(90))
    for contenders in ((candidate, incumbent), (incumbent, candidate)):
        outcomes = judge_long(long_rows, *contenders)[0]
        assert outcomes["predicted_at"].min() == utc(90)
        assert len(outcomes) == 30 * 2 * 5
    assert judge_long(long_rows, candidate)[0]["predicted_at"].min() == utc(72)


def test_rows_of_no_part_or_another_one_are_not_judged_on_however_late_they_are(long_rows: Any) -> None:
    assert judge_long(long_rows, in_time(2, "signal", hours(0)))[0]["predicted_at"].min() == utc(60)


def test_against_a_model_that_was_split_by_hash_neither_saw_the_rows(long_rows: Any) -> None:
    outcomes = judge_long(long_rows, in_time(2, "signal", hours(72)), model(1, "noise", share=0.6))[0]
    assert set(outcomes["machine_id"]) == {n for n in range(30) if is_held_out(str(n), 0, 0.6)}
    assert outcomes["predicted_at"].min() == utc(72)


def test_a_row_of_an_outcome_is_told_by_its_whole_key_with_a_moment_that_stays_one_when_stored(
    long_rows: Any, tmp_path: Path
) -> None:
    outcomes = judge_long(long_rows, in_time(2, "signal", hours(72)))[0]
    assert list(outcomes.columns) == [*LONG_KEY, "component", *OUTCOME_COLUMNS]
    assert not outcomes.duplicated([*LONG_KEY, "component"]).any()
    table = DeltaTable(filepath=str(tmp_path / "outcomes"))
    table.save(outcomes)
    assert dict(table.load().dtypes)["predicted_at"] == "timestamp"
    failed = judge_long(long_rows, in_time(2, "gone", hours(72)))[0]
    assert list(failed.columns) == list(outcomes.columns)


def test_chance_is_that_of_machines_where_their_rows_tell_of_each_other(long_rows: Any) -> None:
    outcomes, metrics, row = judge_long(long_rows, in_time(2, "signal", hours(60)), in_time(1, "noise", hours(60)))
    label, probability = outcomes["label"].to_numpy(), outcomes["candidate_probability"].to_numpy()
    expected = bootstrap_intervals(
        label, probability, 0.5, resamples=100, seed=0, groups=outcomes["machine_id"].to_numpy()
    )
    alone = bootstrap_intervals(label, probability, 0.5, resamples=100, seed=0)
    overall = metrics[(metrics["segment"] == "all") & (metrics["model"] == "candidate")].set_index("metric")
    assert tuple(overall.loc["f1", ["low", "high"]]) == expected["f1"] != alone["f1"]
    gains = resample_precision_gains(
        label,
        probability,
        outcomes["incumbent_probability"].to_numpy(),
        resamples=200,
        seed=0,
        groups=outcomes["machine_id"].to_numpy(),
    )
    assert row["difference_low"].item() == pytest.approx(np.quantile(gains, POLICY.alpha))
    too_many = change_spec(policy=POLICY.model_copy(update={"min_groups": 31}))
    refused = judge_long(long_rows, in_time(2, "signal", hours(60)), spec=too_many)[2]
    assert "only 30 groups of rows; 31 are needed" in refused["reason"].item()


def test_a_sample_of_rows_that_recur_is_of_whole_machines_and_the_same_each_time(long_rows: Any) -> None:
    from pyspark.sql import functions as F

    spec, candidate = change_spec(max_rows=300), in_time(2, "signal", hours(60))
    first = judge_long(long_rows, candidate, spec=spec)[0]
    second = judge_long(long_rows.orderBy(F.desc("noise")), candidate, spec=spec)[0]
    pd.testing.assert_frame_equal(first, second)
    # Of 30 machines with 20 rows each about half: the share is kept by chance, the rows of a machine to the last.
    assert 8 <= first["machine_id"].nunique() <= 22
    assert set(first.groupby("machine_id").size()) == {20}


def test_another_target_of_a_row_is_another_row_to_the_hash(long_rows: Any) -> None:
    from pyspark.sql import functions as F

    turned = long_rows.withColumn("component", F.when(F.col("component") == "comp1", "comp3").otherwise("comp2"))
    one, other = (judge_long(rows, in_time(2, "signal", hours(72)))[2] for rows in (long_rows, turned))
    assert one["rows_sha256"].item() != other["rows_sha256"].item()


# --- what is measured


def test_metrics_are_those_of_the_rows_at_each_models_own_threshold(rows: Any) -> None:
    outcomes, metrics, row = judge(rows, model())

    assert list(metrics.columns) == list(METRIC_COLUMNS)
    overall = metrics[metrics["segment"] == "all"].set_index("metric")["value"]
    expected = classification_metrics(outcomes["label"].to_numpy(), outcomes["candidate_probability"].to_numpy(), 0.5)
    assert overall[list(METRICS)].to_dict() == pytest.approx(expected)
    assert {name: row[name].item() for name in METRICS} == pytest.approx(expected)
    offered = outcomes["candidate_probability"] >= 0.5
    worth = (offered * (outcomes["label"] * 0.3 * 400.0 - 20.0)).mean()
    assert overall["expected_value"] == pytest.approx(worth)


def test_all_rows_have_intervals_around_their_metrics_and_segments_have_none(rows: Any) -> None:
    _, metrics, _ = judge(rows, model())

    overall = metrics[(metrics["segment"] == "all") & metrics["metric"].isin(METRICS)]
    assert (overall["low"] < overall["value"]).all()
    assert (overall["value"] < overall["high"]).all()
    assert metrics[metrics["segment"] != "all"][["low", "high"]].isna().all(axis=None)


def test_segments_are_measured_on_their_own_rows_and_small_ones_are_not(rows: Any) -> None:
    outcomes, metrics, _ = judge(rows, model(2), model(1, "noise"))

    assert set(metrics["segment"]) == {"all", "contract=monthly", "contract=two years"}
    contract = customers().set_index("customer_id").loc[outcomes["customer_id"], "contract"].to_numpy()
    monthly = metrics[(metrics["segment"] == "contract=monthly") & (metrics["metric"] == "accuracy")]
    assert set(monthly["model"]) == {"candidate", "incumbent"}
    monthly_outcomes = outcomes[contract == "monthly"]
    right = ((monthly_outcomes["candidate_probability"] >= 0.5) == (monthly_outcomes["label"] == 1)).mean()
    assert monthly.set_index("model").loc["candidate", "value"] == pytest.approx(right)
    assert set(monthly["n_rows"]) == {len(monthly_outcomes)}
    assert set(monthly["n_positives"]) == {monthly_outcomes["label"].sum()}


# --- the verdict


def test_a_first_model_is_approved_when_every_floor_holds(rows: Any) -> None:
    row = verdict(rows, model())

    assert (row["decision"], row["version"], row["incumbent_version"]) == ("approve", "1", "")
    assert row["reason"].startswith("First champion: every minimum is met")
    assert row["judged_at"] == pd.Timestamp(CLOCK)
    assert np.isnan(row["difference"])


def test_a_first_model_below_a_floor_is_refused_with_the_number(rows: Any) -> None:
    row = verdict(rows, model(), spec=change_spec(floors=Floors(f1=0.3, roc_auc=0.99)))

    assert row["decision"] == "refuse"
    assert "ROC-AUC is 0." in row["reason"]
    assert "has to reach 0.9900" in row["reason"]


def test_a_better_candidate_replaces_the_incumbent(rows: Any) -> None:
    row = verdict(rows, model(2), model(1, "noise"))

    assert (row["decision"], row["version"], row["incumbent_version"]) == ("approve", "2", "1")
    assert 0 < row["difference_low"] < row["difference"] < row["difference_high"]
    assert row["detectable"] > 0


def test_an_equal_candidate_does_not(rows: Any) -> None:
    row = verdict(rows, model(2), model(1))

    assert row["decision"] == "refuse"
    assert row["reason"].startswith("The candidate is no better than the champion beyond chance")


def test_where_approval_is_required_the_verdict_is_a_request(rows: Any) -> None:
    policy = POLICY.model_copy(update={"approval_required": True})

    assert verdict(rows, model(), spec=change_spec(policy=policy))["decision"] == "request"


def test_too_few_rows_are_a_refusal(rows: Any) -> None:
    assert "too small to judge on" in verdict(rows.limit(20), model())["reason"]
    assert verdict(rows.where("1 = 0"), model())["decision"] == "refuse"


# --- whatever goes wrong


def test_rows_that_can_not_be_read_say_nothing_of_a_model_and_leave_no_verdict(spark: Any, tmp_path: Path) -> None:
    from lakehouse_ml.storage.writes import collect

    table = DeltaTable(filepath=str(tmp_path / "rows"))
    table.save(pd.DataFrame({"customer_id": ["a"], "snapshot_on": [CLOCK.date()], "label": [1]}))
    unreadable = table.load()
    next((tmp_path / "rows").glob("*.parquet")).unlink()
    with pytest.raises(Exception, match="parquet") as expected:
        collect(unreadable)

    with pytest.raises(type(expected.value)):
        judge(unreadable, model())


@pytest.mark.parametrize("whose", ["candidate", "incumbent"])
def test_a_model_that_fails_to_predict_is_a_refusal_that_is_stored(rows: Any, tmp_path: Path, whose: str) -> None:
    broken = {"candidate": (model(2, needs=("column_of_old",)), model(1)), "incumbent": (model(2), model(1, "gone"))}

    outcomes, metrics, row = judge(rows, *broken[whose])

    assert row["decision"].item() == "refuse"
    assert re.match(r"Judging failed \((RegistryError: Version 2|KeyError: 'gone)", row["reason"].item())
    assert row["n_rows"].item() == 0
    assert (len(outcomes), len(metrics)) == (0, 0)
    for name, frame in {"outcomes": outcomes, "metrics": metrics, "verdicts": row}.items():
        DeltaTable(filepath=str(tmp_path / name)).save(frame)
    stored = DeltaTable(filepath=str(tmp_path / "verdicts"), frame="pandas").load()
    assert promote(stored).decision == "refuse"
    read = DeltaTable(filepath=str(tmp_path / "metrics"), frame="pandas").load()
    assert list(read.columns) == list(METRIC_COLUMNS)


def test_a_refusal_after_a_failure_has_the_columns_of_every_other_verdict(rows: Any, tmp_path: Path) -> None:
    verdicts = DeltaTable(
        filepath=str(tmp_path / "verdicts"), mode="merge", keys=["model", "version", "evidence"], frame="pandas"
    )

    verdicts.save(judge(rows, model(1, "gone"))[2])
    verdicts.save(judge(rows, model(2))[2])

    assert sorted(verdicts.load()["decision"]) == ["approve", "refuse"]


def test_a_probability_that_is_no_number_is_a_refusal(rows: Any) -> None:
    holes = rows.selectExpr(
        "customer_id", "snapshot_on", "label", "IF(signal > 2, NULL, signal) AS signal", "noise", "contract"
    )

    assert verdict(holes, model())["decision"] == "refuse"


# --- judged once


def test_the_same_evidence_has_the_same_hash_whenever_it_is_judged(rows: Any) -> None:
    first = verdict(rows, model(2), model(1, "noise"))
    later = verdict(rows.orderBy("noise"), model(2), model(1, "noise"), clock=CLOCK + timedelta(days=1))

    assert first["evidence"] == later["evidence"]
    assert first["rows_sha256"] == later["rows_sha256"]
    assert first["judged_at"] < later["judged_at"]


def test_equal_models_under_other_numbers_are_the_same_evidence(rows: Any) -> None:
    first, again = verdict(rows, model(2), model(1, "noise")), verdict(rows, model(3), model(2, "noise"))
    assert first["evidence"] == again["evidence"]
    assert (first["version"], again["version"]) == ("2", "3")


def test_other_rows_models_floors_or_policies_are_other_evidence(rows: Any) -> None:
    first = verdict(rows, model(2), model(1, "noise"))
    relabelled = rows.selectExpr(
        "customer_id",
        "snapshot_on",
        "IF(customer_id = 'C0002', 1 - label, label) AS label",
        "signal",
        "noise",
        "contract",
    )
    assert is_held_out("C0002", 0, 0.5)

    others = [
        verdict(rows, model(2, "noise"), model(1, "noise")),
        verdict(rows, model(2)),
        verdict(relabelled, model(2), model(1, "noise")),
        verdict(rows, model(2), model(1, "noise"), spec=change_spec(floors=Floors(f1=0.31, roc_auc=0.7))),
        verdict(rows, model(2), model(1, "noise"), spec=change_spec(policy=POLICY.model_copy(update={"alpha": 0.05}))),
    ]

    assert len({row["evidence"] for row in [first, *others]}) == 6
    assert [row["rows_sha256"] == first["rows_sha256"] for row in others] == [True, True, False, True, True]


def test_judging_the_same_again_leaves_one_verdict_that_says_what_it_was_made_of(rows: Any, tmp_path: Path) -> None:
    verdicts = DeltaTable(
        filepath=str(tmp_path / "verdicts"),
        mode="merge",
        keys=["model", "version", "evidence"],
        frame="pandas",
        made_of="made_of",
    )
    with attach_provenance(Provenance("evaluate", {"churn.model_input": "v4"}, "f00d")):
        for day in range(2):
            verdicts.save(judge(rows, model(), clock=CLOCK + timedelta(days=day))[2])

    table = verdicts.load()

    assert len(table) == 1
    assert json.loads(table["made_of"].item()) == {"churn.model_input": "v4"}
    assert verdicts.has_fingerprint("f00d")


# --- promotion


def verdicts(*rows: tuple[str, str, int]) -> pd.DataFrame:
    """Verdicts as (version, decision, hour of judgement)."""
    return pd.DataFrame(
        [
            {
                "model": "churn",
                "version": version,
                "incumbent_version": "",
                "decision": decision,
                "reason": "So.",
                "evidence": f"{version} {hour}",
                "judged_at": pd.Timestamp(CLOCK) + pd.Timedelta(hours=hour),
            }
            for version, decision, hour in rows
        ]
    )


def test_promotion_asks_for_what_the_newest_verdict_on_the_newest_version_says() -> None:
    table = verdicts(("9", "approve", 5), ("10", "approve", 2), ("10", "refuse", 3), ("2", "approve", 9))

    promotion = promote(table)

    assert (promotion.version, promotion.decision, promotion.evidence) == ("10", "refuse", "10 3")
    assert promotion.incumbent is None


def test_promotion_names_the_incumbent_that_the_candidate_was_judged_against(rows: Any) -> None:
    row = judge(rows, model(2), model(1, "noise"))[2]

    promotion = promote(row)

    assert (promotion.version, promotion.incumbent, promotion.decision) == ("2", "1", "approve")
    assert promotion.reason == row["reason"].item()
    assert promotion.evidence == row["evidence"].item()
