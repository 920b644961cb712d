"""Days scored one after another, each a commit of its own; and scores of rows that speak of several targets."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import deltalake
import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from lakehouse_ml.datasets import delta_table
from lakehouse_ml.datasets.delta_table import DeltaTable
from lakehouse_ml.errors import LakehouseError
from lakehouse_ml.modelling.card import ModelCard, RegistryStatus
from lakehouse_ml.modelling.economics import Economics
from lakehouse_ml.modelling.estimators import sklearn as estimators
from lakehouse_ml.modelling.estimators.base import EstimatorSpec, select_predictors
from lakehouse_ml.modelling.label_dimension import explode_label_values
from lakehouse_ml.modelling.model import Model
from lakehouse_ml.pipelines.batch_scoring.nodes import ScoringSpec, rank_actions, score_rows
from lakehouse_ml.storage.provenance import Provenance, attach_provenance
from lakehouse_ml.storage.writes import ReplaceBatch
from lakehouse_ml.use_cases.predictive_maintenance.contracts import score_actions, score_machines

KEY = ("machine_id", "predicted_at")
PARTS = ("bolt", "nut", "screw")
FEATURES = "machine_id int, predicted_at timestamp, model string, age_years int, wear double"
LABELS = "machine_id int, predicted_at timestamp, component string, label int, known_at timestamp"
BASELINE = {"model": "old", "component": "bolt", "age_years": 5.0, "wear": 0.0}
CLOCK, LATER = datetime(2024, 6, 1, tzinfo=UTC), datetime(2024, 6, 2, tzinfo=UTC)
STANDING = RegistryStatus("7", "7", "approve", "better")
ECONOMICS = Economics(action_cost=10.0, averted_value=100.0, success_share=0.5)
DAYS = tuple(date(2024, 5, day) for day in (1, 2, 3, 4))
HOURS = (0, 12)
THRESHOLD = 0.4


def fit_model(parts: Sequence[str]) -> Model:
    """A logistic regression over the wear of three machines, which breaks screws most often."""
    rng = np.random.default_rng(0)
    n = 600
    rows = pd.DataFrame(
        {
            "model": rng.choice(["old", "new"], n),
            "component": rng.choice(parts, n),
            "age_years": rng.integers(0, 20, n).astype(float),
            "wear": rng.normal(size=n),
        }
    )
    risk = 1 / (1 + np.exp(1.5 - 2 * rows["wear"] - (rows["component"] == "screw")))
    categorical, numeric = ("model", "component"), ("age_years", "wear")
    fitted = estimators.fit(
        EstimatorSpec(estimator="logistic_regression"),
        rows,
        (rng.random(n) < risk).astype(int).to_numpy(),
        categorical=categorical,
        numeric=numeric,
        seed=0,
    )
    card = ModelCard(
        "sklearn",
        "logistic_regression",
        {},
        categorical,
        numeric,
        THRESHOLD,
        BASELINE,
        {},
        unseen={"kind": "time", "from": "2024-05-02T00:00:00+00:00"},
        importance={},
        metrics={},
        label_dimension="component",
        label_values=tuple(sorted(parts)),
    )
    return Model("machines", "7", estimators.set_threshold(fitted, THRESHOLD), card)


@pytest.fixture(scope="module")
def champion() -> Model:
    return fit_model(PARTS)


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    """Three machines at two hours of four days."""
    wear = np.random.default_rng(1).normal(size=len(DAYS) * len(HOURS) * 3)
    keys = [
        (machine, datetime(day.year, day.month, day.day, hour, tzinfo=UTC))
        for day in DAYS
        for hour in HOURS
        for machine in (1, 2, 3)
    ]
    return pd.DataFrame(
        [(*key, "old" if key[0] == 1 else "new", key[0], w) for key, w in zip(keys, wear, strict=True)],
        columns=["machine_id", "predicted_at", "model", "age_years", "wear"],
    )


@dataclass(frozen=True)
class Lake:
    """A score table, and the inputs of scoring."""

    table: DeltaTable
    features: Any
    labels: Any
    champion: Model

    def batches(self, clock: datetime = CLOCK, **params: Any) -> Iterator[ReplaceBatch]:
        spec = ScoringSpec.model_validate({"reasons": 2, "actions": 10} | params)
        return score_rows(
            self.features, self.labels, STANDING, self.champion, spec, clock, None, KEY, label_dimension="component"
        )

    def run(self, fingerprint: str, clock: datetime = CLOCK, *, stops_at: int | None = None, **params: Any) -> None:
        """Store the batches as a node's runner does, with its provenance; or only those before the day it dies at."""
        with attach_provenance(Provenance("score_rows", {}, fingerprint)):
            for batch in self.batches(clock, **params):
                if batch.number == stops_at:
                    raise KeyboardInterrupt
                self.table.save(batch)

    def commits(self) -> list[dict[str, Any]]:
        """What each commit says of itself, oldest first."""
        history = deltalake.DeltaTable(self.table.address).history()
        return [json.loads(commit["userMetadata"]) for commit in reversed(history)]

    def days(self) -> list[tuple[str, list[int] | None]]:
        return [(commit["scope"][0], commit.get("part")) for commit in self.commits()]

    def stored(self) -> pd.DataFrame:
        return self.table.load().toPandas()

    def scored_at(self) -> dict[str, datetime]:
        """When each batch was scored: all of its rows at once."""
        span = self.stored().groupby("batch")["scored_at"].agg(["min", "max"])
        assert (span["min"] == span["max"]).all()
        return {str(day): moment.tz_localize(UTC).to_pydatetime() for day, moment in span["min"].items()}


@pytest.fixture
def lake(spark: Any, rows: pd.DataFrame, champion: Model, tmp_path: Path) -> Lake:
    table = DeltaTable(filepath=str(tmp_path / "scores"))
    labels = spark.createDataFrame([(1, CLOCK, part, 1, CLOCK) for part in PARTS], LABELS)
    return Lake(table, spark.createDataFrame(rows, FEATURES), labels, champion)


def killed(lake: Lake, fingerprint: str, at: int, **params: Any) -> None:
    with pytest.raises(KeyboardInterrupt):
        lake.run(fingerprint, stops_at=at, **params)


ALL = {"from_day": DAYS[0]}
FIRST, SECOND, THIRD, FOURTH = (day.isoformat() for day in DAYS)


# --- a range is a batch a day


def test_each_day_of_a_range_is_a_commit_of_its_own_that_says_which_part_it_is(lake: Lake) -> None:
    lake.run("a", from_day=DAYS[1], to_day=DAYS[3])
    assert lake.days() == [(SECOND, [1, 3]), (THIRD, [2, 3]), (FOURTH, [3, 3])]
    assert {commit["fingerprint"] for commit in lake.commits()} == {"a"}
    assert lake.stored().groupby("batch").size().to_dict() == {SECOND: 6, THIRD: 6, FOURTH: 6}
    score_machines.validate(lake.table.load())


def test_every_row_of_a_day_is_scored_the_last_before_midnight_too_and_the_first_of_the_next_is_not(
    lake: Lake, rows: pd.DataFrame
) -> None:
    edge_rows = rows.head(3).assign(
        predicted_at=[
            datetime(2024, 5, 2, tzinfo=UTC),
            datetime(2024, 5, 3, tzinfo=UTC),
            datetime(2024, 5, 3, tzinfo=UTC) - timedelta(microseconds=1),
        ]
    )
    near = Lake(lake.table, lake.features.sparkSession.createDataFrame(edge_rows, FEATURES), lake.labels, lake.champion)
    near.run("a", batch=DAYS[1])
    assert sorted(near.stored()["machine_id"]) == [1, 3]


def test_without_days_the_newest_of_the_features_is_scored_and_says_nothing_of_parts(lake: Lake) -> None:
    lake.run("a")
    assert lake.days() == [(FOURTH, None)]


def test_one_day_is_scored_alone(lake: Lake) -> None:
    lake.run("a", batch=DAYS[1])
    assert lake.days() == [(SECOND, None)]


def test_a_range_of_one_day_is_that_day(lake: Lake) -> None:
    lake.run("a", from_day=DAYS[1], to_day=DAYS[1])
    assert lake.days() == [(SECOND, None)]


def test_a_day_without_rows_within_a_range_is_no_part_of_it(lake: Lake) -> None:
    gap = lake.features.where(f"to_date(predicted_at) <> date'{SECOND}'")
    Lake(lake.table, gap, lake.labels, lake.champion).run("a", **ALL)
    assert lake.days() == [(FIRST, [1, 3]), (THIRD, [2, 3]), (FOURTH, [3, 3])]


def test_a_range_that_ends_in_the_future_ends_with_the_features(lake: Lake) -> None:
    lake.run("a", from_day=DAYS[2], to_day=date(2099, 1, 1))
    assert lake.days() == [(THIRD, [1, 2]), (FOURTH, [2, 2])]


def test_days_before_and_behind_a_range_stay_as_they_are(lake: Lake) -> None:
    lake.run("a", **ALL)
    lake.run("b", LATER, from_day=DAYS[1], to_day=DAYS[2])
    assert lake.scored_at() == {FIRST: CLOCK, SECOND: LATER, THIRD: LATER, FOURTH: CLOCK}


@pytest.mark.parametrize(
    ("days", "message"),
    [
        ({"batch": "2024-05-01", "from_day": "2024-05-01"}, "one or the other"),
        ({"batch": "2024-05-01", "to_day": "2024-05-01"}, "one or the other"),
        ({"to_day": "2024-05-01"}, "has to begin"),
        ({"from_day": "2024-05-02", "to_day": "2024-05-01"}, "no day lies between"),
    ],
    ids=["a day and a range", "a day and an end", "an end alone", "an end before the beginning"],
)
def test_impossible_days_are_refused_before_anything_runs(days: dict[str, str], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        ScoringSpec.model_validate({"reasons": 2, "actions": 10} | days)


@pytest.mark.parametrize(
    ("days", "period"),
    [
        ({"from_day": "2023-01-01", "to_day": "2023-02-01"}, "from 2023-01-01 to 2023-02-01"),
        ({"from_day": "2025-01-01", "to_day": "2025-02-01"}, "from 2025-01-01 to 2025-02-01"),
        ({"from_day": "2025-01-01"}, "from 2025-01-01 on"),
        ({"batch": "2025-01-01"}, "on 2025-01-01"),
    ],
    ids=["before", "behind", "beginning behind", "a day"],
)
def test_days_outside_of_the_data_are_refused_with_the_days_of_the_data(
    lake: Lake, days: dict[str, str], period: str
) -> None:
    with pytest.raises(LakehouseError) as caught:
        lake.run("a", **days)
    assert str(caught.value) == (
        f"There are no rows to score {period}: features go from 2024-05-01 to 2024-05-04. Name days that lie in the "
        f"data."
    )
    assert lake.table.token() is None


# --- what is done once, and what is done again


def test_a_range_has_its_fingerprint_only_when_all_of_its_days_are_stored(lake: Lake) -> None:
    killed(lake, "a", 3, **ALL)
    assert lake.days() == [(FIRST, [1, 4]), (SECOND, [2, 4])]
    assert not lake.table.has_fingerprint("a")
    lake.run("a", **ALL)
    assert lake.table.has_fingerprint("a")
    assert not lake.table.has_fingerprint("b")


def test_a_run_that_was_killed_between_two_days_goes_on_where_it_was(lake: Lake) -> None:
    killed(lake, "a", 3, **ALL)
    lake.run("a", LATER, **ALL)
    assert lake.days() == [(FIRST, [1, 4]), (SECOND, [2, 4]), (THIRD, [3, 4]), (FOURTH, [4, 4])]
    assert lake.scored_at() == {FIRST: CLOCK, SECOND: CLOCK, THIRD: LATER, FOURTH: LATER}


def test_a_range_that_is_there_writes_nothing_when_it_is_run_again(lake: Lake) -> None:
    lake.run("a", **ALL)
    state_before = lake.table.token(), lake.commits()
    lake.run("a", LATER, **ALL)
    assert (lake.table.token(), lake.commits()) == state_before


def test_days_of_another_fingerprint_are_scored_again(lake: Lake) -> None:
    killed(lake, "a", 3, **ALL)
    lake.run("b", LATER, **ALL)
    assert set(lake.scored_at().values()) == {LATER}
    assert lake.table.has_fingerprint("b")
    assert not lake.table.has_fingerprint("a")


@pytest.mark.parametrize("day", DAYS)
def test_a_range_is_stale_as_soon_as_one_of_its_days_is_replaced_and_then_only_that_is_done_again(
    lake: Lake, day: date
) -> None:
    lake.run("a", **ALL)
    lake.run("b", batch=day)
    assert not lake.table.has_fingerprint("a")
    assert lake.table.has_fingerprint("b")

    lake.run("a", LATER, **ALL)

    assert {batch for batch, moment in lake.scored_at().items() if moment == LATER} == {day.isoformat()}
    assert lake.table.has_fingerprint("a")
    assert not lake.table.has_fingerprint("b")


def test_a_day_that_another_range_replaced_while_a_run_was_dead_is_scored_again(lake: Lake) -> None:
    killed(lake, "a", 3, **ALL)
    lake.run("b", batch=DAYS[0])
    lake.run("a", LATER, **ALL)
    assert lake.scored_at() == {FIRST: LATER, SECOND: CLOCK, THIRD: LATER, FOURTH: LATER}
    assert lake.table.has_fingerprint("a")


def test_batches_outside_of_a_range_say_nothing_about_it(lake: Lake) -> None:
    lake.run("a", from_day=DAYS[0], to_day=DAYS[1])
    lake.run("b", from_day=DAYS[2])
    assert lake.table.has_fingerprint("a")
    assert lake.table.has_fingerprint("b")


def test_without_provenance_days_are_written_each_time(lake: Lake) -> None:
    for _ in range(2):
        for batch in lake.batches(from_day=DAYS[2]):
            lake.table.save(batch)
    assert lake.days() == [(THIRD, [1, 2]), (FOURTH, [2, 2])] * 2


def test_a_range_longer_than_the_first_commits_read_has_its_fingerprint_like_a_short_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delta_table, "_COMMIT_LIMITS", (5, 50))
    table = DeltaTable(filepath=str(tmp_path / "long"), frame="pandas")
    days = [ReplaceBatch(pd.DataFrame({"batch": [f"{n}"]}), "batch", (f"{n}",), n, 12) for n in range(1, 13)]
    with attach_provenance(Provenance("node", {}, "a")):
        for day in [*days, *days]:
            table.save(day)
    assert table.has_fingerprint("a")
    assert len(deltalake.DeltaTable(table.address).history()) == 12


# --- scores of rows with several targets


def expected(model: Model, rows: pd.DataFrame) -> pd.DataFrame:
    """The probability of each part, asked of the model itself."""
    return pd.DataFrame(
        {
            part: estimators.score(
                model.model,
                select_predictors(rows.assign(component=part), model.card.categorical, model.card.numeric),
            )
            for part in model.card.label_values
        }
    )


def scored(lake: Lake, day: date = DAYS[0]) -> pd.DataFrame:
    (batch,) = lake.batches(batch=day)
    return batch.rows.toPandas().sort_values(list(KEY), ignore_index=True)


def of_day(rows: pd.DataFrame, day: date = DAYS[0]) -> pd.DataFrame:
    return rows[rows["predicted_at"].dt.date == day].sort_values(list(KEY), ignore_index=True)


def test_a_score_has_the_probability_of_each_target_of_the_likeliest_and_of_any(lake: Lake, rows: pd.DataFrame) -> None:
    scores, each = scored(lake), expected(lake.champion, of_day(rows))
    for part in PARTS:
        assert scores[f"probability_{part}"].to_numpy() == pytest.approx(each[part].to_numpy(), abs=1e-12)
    nothing_fails = (1 - each["bolt"]) * (1 - each["nut"]) * (1 - each["screw"])
    assert scores["probability"].to_numpy() == pytest.approx((1 - nothing_fails).to_numpy(), abs=1e-12)
    assert scores["component"].tolist() == each.idxmax(axis=1).tolist()


def test_a_decision_is_about_the_likeliest_target_and_not_about_any(lake: Lake) -> None:
    scores = pd.concat([scored(lake, day) for day in DAYS])
    likeliest = scores[[f"probability_{part}" for part in PARTS]].max(axis=1)
    assert scores["decision"].tolist() == (likeliest >= THRESHOLD).astype(int).tolist()
    assert set(scores["decision"]) == {0, 1}
    assert scores["decision"].tolist() != (scores["probability"] >= THRESHOLD).astype(int).tolist()


def test_reasons_are_those_of_the_likeliest_target_which_is_none_itself(lake: Lake, rows: pd.DataFrame) -> None:
    scores, inputs = scored(lake), of_day(rows)
    card = lake.champion.card
    predictors = select_predictors(inputs.assign(component=scores["component"]), card.categorical, card.numeric)
    effects = estimators.explain(lake.champion.model, predictors, card.baseline)
    for row, effect in zip(scores["reasons"], effects, strict=True):
        by_strength = np.argsort(-np.abs(effect), kind="stable")
        strongest = [i for i in by_strength if card.predictors[i] != "component"][:2]
        assert [reason["feature"] for reason in row] == [card.predictors[i] for i in strongest]
        assert [reason["effect"] for reason in row] == pytest.approx(effect[strongest].tolist(), abs=1e-12)


def test_a_single_target_is_decided_by_its_own_probability(spark: Any, lake: Lake, rows: pd.DataFrame) -> None:
    bolt = fit_model(["bolt"])
    probabilities = []
    for row in rows.itertuples():
        day = row.predicted_at.date()
        at = f"machine_id = {row.machine_id} and predicted_at = timestamp'{row.predicted_at}'"
        one = Lake(lake.table, lake.features.where(at), lake.labels, bolt)
        # Alone, as it is asked again: among others a row's probability may be another number in its last digits.
        probabilities.append(scored(one, day)["probability_bolt"].item())
        card = bolt.card.__class__(**{**vars(bolt.card), "threshold": probabilities[-1]})
        same = Lake(lake.table, one.features, lake.labels, Model("m", "1", bolt.model, card))
        assert scored(same, day)["decision"].tolist() == [1]
    # So is 1 - (1 - p), which would have decided otherwise.
    assert any(1 - (1 - p) < p for p in probabilities)


def test_scores_by_target_have_a_row_for_each_with_a_decision_of_its_own(spark: Any, lake: Lake) -> None:
    (batch,) = lake.batches(batch=DAYS[0])
    wide = scored(lake).set_index(list(KEY))
    long = explode_label_values(batch.rows, KEY, "component").toPandas()
    assert list(long.columns) == [
        *KEY,
        "component",
        "probability",
        "decision",
        "batch",
        "threshold",
        "model_version",
    ]
    assert len(long) == 3 * len(wide)
    for row in long.itertuples():
        assert row.probability == wide.loc[(row.machine_id, row.predicted_at), f"probability_{row.component}"]
        assert row.decision == int(row.probability >= THRESHOLD)
    assert set(long["batch"]) == {FIRST}
    assert set(long["model_version"]) == {"7"}


def test_while_approval_is_awaited_the_table_has_the_columns_that_scores_fit_into_later(lake: Lake) -> None:
    spec = ScoringSpec(reasons=2, actions=10)
    awaiting = RegistryStatus(None, "3", "request", "Awaiting approval.")
    (nothing,) = score_rows(
        lake.features, lake.labels, awaiting, None, spec, CLOCK, None, KEY, label_dimension="component"
    )
    lake.table.save(score_machines.validate(nothing))
    assert rank_actions(lake.table.load(), lake.features, spec, ECONOMICS, KEY, "component")[0].rows.count() == 0
    lake.run("a", **ALL)
    assert len(lake.stored()) == 24


# --- who is visited


def ranked(lake: Lake, **params: Any) -> tuple[ReplaceBatch, pd.DataFrame]:
    spec = ScoringSpec.model_validate({"reasons": 2, "actions": 10} | params)
    rows, listed = rank_actions(lake.table.load(), lake.features, spec, ECONOMICS, KEY, "component")
    return rows, listed.content


def test_each_machine_is_listed_once_by_its_newest_row_with_its_likeliest_target(lake: Lake) -> None:
    lake.run("a", **ALL)
    batch, visits = ranked(lake)
    score_actions.validate(batch)
    score_actions.validate(visits)
    stored = lake.stored()
    newest = stored[stored["predicted_at"] == stored["predicted_at"].max()].set_index("machine_id")
    worth = newest[newest["probability"] * 50 - 10 > 0].sort_values("probability", ascending=False)
    assert len(worth) > 1
    assert visits["machine_id"].tolist() == worth.index.tolist()
    assert visits["component"].tolist() == worth["component"].tolist()
    assert visits["expected_gain"].tolist() == pytest.approx((worth["probability"] * 50 - 10).tolist())
    assert visits["rank"].tolist() == list(range(1, len(worth) + 1))
    assert batch.values == (FOURTH,)


def test_a_machine_whose_newest_row_is_not_worth_it_is_not_listed_for_an_older_one(spark: Any, lake: Lake) -> None:
    lake.run("a", **ALL)
    rows = lake.stored().query(f"batch == '{FOURTH}' and machine_id < 3").sort_values(list(KEY))
    rows["probability"] = [0.9, 0.1, 0.1, 0.9]
    changed = spark.createDataFrame(rows, lake.table.load().schema)
    visits = rank_actions(changed, lake.features, ScoringSpec(reasons=2, actions=10), ECONOMICS, KEY, "component")[
        1
    ].content
    assert visits["machine_id"].tolist() == [2]


@pytest.mark.parametrize(
    ("days", "batch"),
    [
        ({"batch": SECOND}, SECOND),
        ({"from_day": FIRST, "to_day": THIRD}, THIRD),
        ({"from_day": FIRST}, FOURTH),
        ({"from_day": FIRST, "to_day": "2099-01-01"}, FOURTH),
    ],
    ids=["a day", "the last of a range", "the last of all", "the last that there is"],
)
def test_the_list_is_of_the_day_or_of_the_last_day_of_a_range(lake: Lake, days: dict[str, Any], batch: str) -> None:
    lake.run("a", **ALL)
    stored, actions = ranked(lake, **days)
    assert stored.values == (batch,)
    assert set(actions["batch"]) == {batch}
