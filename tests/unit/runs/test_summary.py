"""A run ends in a few lines that are read from its tables."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import click
import numpy as np
import pandas as pd
import pytest
from kedro.io import DataCatalog, MemoryDataset
from kedro.pipeline import Pipeline

from lakehouse_ml.datasets.delta_table import DeltaTable
from lakehouse_ml.datasets.handed_list import HandedList
from lakehouse_ml.modelling.card import RegistryStatus
from lakehouse_ml.pipelines import STAGES
from lakehouse_ml.runs import summary
from lakehouse_ml.storage.writes import ReplaceBatch

WHOLE_LIFE = """

churn
  landed    customers: 7,043 rows in 2 files, 11 of them refused at parsing
  landed    outcomes: 90 rows in 1 file, 0 of them refused at parsing
  quality   customers: 7,000 clean, 32 quarantined
            dropped: total_charge_fits_tenure broken by 32 (0.5%)
  verdict   version 10 promoted: It is better.
  champion  version 10
  hold-out                        candidate (95 % interval)   champion before
            F1                    0.642 (0.610 to 0.670)      0.600
            ROC-AUC               0.850
            value per customer    12.300
  scores    2 customers in batch 2024-12-31; offer list: actions.csv
  drift     stable: Nothing moved.
  time      data_ingestion 1.5 s, training 12.0 s; with start-up 20.0 s
  next      make ui                                    the runs, the trials and the registered model, in MLflow
            make viz                                   the pipelines as a picture
            make run LANDING=<folder> LAKE=data/mine   the same on your own files"""

Describe = Callable[..., str]
INGESTION = {
    "snapshot_pattern": r"(\d{4}-\d{2}-\d{2})", "snapshot_default": "2024-10-31", "missing_words": (),
    "tolerated_refused_share": 0.2,
}  # fmt: skip


def stages(*names: str, of: str = "churn") -> Pipeline:
    """The real pipelines of a use case's stages."""
    pipelines = (import_module(f"lakehouse_ml.pipelines.{name}").create_pipeline() for name in names)
    return sum((stage.only_nodes_with_namespaces([of]) for stage in pipelines), Pipeline([]))


def manifest(*counts: tuple[int, int]) -> pd.DataFrame:
    rows = [
        {"source_file": f"{number}.csv", "n_lines": lines, "n_quarantined": refused}
        for number, (lines, refused) in enumerate(counts)
    ]
    return pd.DataFrame(rows, columns=["source_file", "n_lines", "n_quarantined"])


def rules(n_rows: int, **outcomes: tuple[str, int]) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {
                "rule": rule,
                "outcome": outcome,
                "n_failed": failed,
                "failed_share": failed / max(n_rows, 1),
                "n_rows": n_rows,
                "n_clean": n_rows - 32,
                "n_quarantined": 32,
            }
            for rule, (outcome, failed) in outcomes.items()
        ]
    )


def verdicts(*rows: tuple[str, str]) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {
                "version": version,
                "decision": decision,
                "reason": "It is better.",
                "judged_at": pd.Timestamp("2025-01-31T06:00Z") + pd.Timedelta(hours=hour),
            }
            for hour, (version, decision) in enumerate(rows)
        ]
    )


HOLDOUT = pd.DataFrame(
    [
        ("candidate", "all", "f1", 0.642, 0.61, 0.67),
        ("incumbent", "all", "f1", 0.6, 0.55, 0.65),
        ("candidate", "all", "roc_auc", 0.85, np.nan, np.nan),
        ("candidate", "all", "expected_value", 12.3, np.nan, np.nan),
        ("candidate", "contract=monthly", "f1", 0.9, np.nan, np.nan),
    ],
    columns=["model", "segment", "metric", "value", "low", "high"],
)
TABLES = {
    "manifest_customers": manifest((5000, 10), (2043, 1)),
    "manifest_outcomes": manifest((90, 0)),
    "metrics_rules_customers": rules(7032, total_charge_fits_tenure=("dropped", 32), contract_is_known=("ok", 0)),
    "metrics_rules_outcomes": rules(0, churn_is_yes_or_no=("ok", 0)),
    "verdict_model": verdicts(("10", "approve"), ("9", "refuse")),
    "metrics_holdout": HOLDOUT,
    "score_customers": pd.DataFrame({"batch": ["2024-11-30", "2024-12-31", "2024-12-31"]}),
    "score_actions": ReplaceBatch(pd.DataFrame({"batch": ["2024-12-31"]}), "batch", ("2024-12-31",)),
    "verdict_drift": pd.DataFrame({"batch": ["2024-11-30", "2024-12-31"], "status": ["alarm", "stable"],
                                   "reason": ["All moved.", "Nothing moved."]}),
}  # fmt: skip


@pytest.fixture
def describe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Describe:
    """The summary of a run of some stages over stored tables; None is a table that isn't there."""
    monkeypatch.chdir(tmp_path)

    def of_run(
        *names: str,
        standing: RegistryStatus | None = None,
        seconds: dict[str, float] | None = None,
        arguments: dict[str, str] | None = None,
        scores: str | None = None,
        **changed: Any,
    ) -> str:
        tables = TABLES | changed
        for name, frame in tables.items():
            if frame is not None:
                DeltaTable(filepath=str(tmp_path / name)).save(frame)
        datasets = {f"churn.{name}": DeltaTable(filepath=str(tmp_path / name), frame="pandas") for name in tables}
        if scores:
            datasets["churn.score_customers"] = DeltaTable(filepath=str(tmp_path / scores), frame="pandas")
        others = {
            "churn.promotion_model": MemoryDataset(standing or RegistryStatus("10")),
            "churn.report_actions": HandedList(filepath=str(tmp_path / "actions.csv")),
            # As conf has them: a run of other stages reads them into no type.
            "params:churn.population": MemoryDataset({"horizon_days": 30}),
            "params:churn.data_ingestion": MemoryDataset(INGESTION),
        }
        catalog = DataCatalog(datasets | others)
        return click.unstyle(summary.describe_run(stages(*names), catalog, seconds or {}, 20.0, **(arguments or {})))

    return of_run


def lines(text: str, head: str) -> list[str]:
    """What stands behind a head."""
    return [line[12:] for line in text.splitlines() if line[2:12].strip() == head]


def test_a_whole_life_is_told_in_the_order_in_which_data_flows(describe: Describe) -> None:
    seconds = {
        "churn.data_ingestion.parse_customers": 1.0,
        "churn.data_ingestion.keep_customers": 0.5,
        "churn.training.search": 12.0,
    }

    assert "\n" + describe(*STAGES, seconds=seconds) == WHOLE_LIFE


def test_a_part_of_a_life_tells_of_its_own_stages_only(describe: Describe) -> None:
    text = describe("data_quality", seconds={"churn.data_quality.check_customers": 2.0})

    assert text.splitlines() == [
        "",
        "churn",
        "  quality   customers: 7,000 clean, 32 quarantined",
        "            dropped: total_charge_fits_tenure broken by 32 (0.5%)",
        "  time      data_quality 2.0 s; with start-up 20.0 s",
    ]


def test_a_run_in_which_nothing_was_new_says_so(describe: Describe) -> None:
    assert lines(describe(*STAGES), "time") == ["20.0 s; unchanged: every step was skipped"]


def test_a_table_of_which_nothing_landed_is_not_mentioned(describe: Describe) -> None:
    text = describe("data_ingestion", "data_quality", manifest_outcomes=manifest())

    assert "outcomes" not in text


@pytest.mark.parametrize(
    ("decision", "shown"), [("refuse", "refused"), ("request", "awaiting approval"), ("approve", "promoted")]
)
def test_the_newest_version_is_told_with_its_verdict(describe: Describe, decision: str, shown: str) -> None:
    text = describe("evaluation", verdict_model=verdicts(("10", decision), ("9", "approve"), ("2", "approve")))

    assert lines(text, "verdict") == [f"version 10 {shown}: It is better."]


def test_without_a_champion_there_is_none_yet_and_no_column_for_it(describe: Describe) -> None:
    text = describe(
        "evaluation", standing=RegistryStatus(None), metrics_holdout=HOLDOUT[HOLDOUT["model"] == "candidate"]
    )

    assert lines(text, "champion") == ["none yet"]
    assert lines(text, "hold-out") == [" " * 22 + "candidate (95 % interval)"]


def test_a_judgement_that_failed_has_no_metrics_to_show(describe: Describe) -> None:
    text = describe("evaluation", metrics_holdout=HOLDOUT.head(0).astype(object))

    assert lines(text, "hold-out") == []
    assert lines(text, "verdict") == ["version 10 promoted: It is better."]


def test_scoring_that_was_skipped_says_so(describe: Describe) -> None:
    text = describe(
        "batch_scoring", "monitoring", standing=RegistryStatus(None), score_customers=None, verdict_drift=None
    )

    assert lines(text, "scores") == ["none: scoring was skipped, a first model awaits approval"]
    assert lines(text, "drift") == ["not assessable: nothing is scored yet"]


def test_a_batch_that_has_nobody_is_not_taken_for_one_that_awaits_approval(describe: Describe) -> None:
    nobody = TABLES["score_customers"].head(0)

    assert lines(describe("batch_scoring", score_customers=nobody), "scores") == [
        "none: the batch's day has nobody to score"
    ]


def test_the_batch_is_the_one_that_the_list_is_of(describe: Describe) -> None:
    november = ReplaceBatch(pd.DataFrame({"batch": ["2024-11-30"]}), "batch", ("2024-11-30",))
    assert lines(describe("batch_scoring", score_actions=november), "scores") == [
        "1 customer in batch 2024-11-30; offer list: actions.csv"
    ]


def test_a_batch_in_the_future_is_a_warning(describe: Describe) -> None:
    batch = "2952-01-31"
    scores, history = (
        pd.DataFrame({"batch": [batch]}),
        ReplaceBatch(pd.DataFrame({"batch": [batch]}), "batch", (batch,)),
    )
    text = describe("batch_scoring", score_customers=scores, score_actions=history)
    assert "batch 2952-01-31 lies in the future: if a file's name has a wrong date" in text


PERFORMANCE = {
    "model_version": "10", "first_batch": "2024-11-30", "last_batch": "2024-11-30", "status": "worse", "n_rows": 900,
    "n_positives": 100, "n_hits": 11, "n_named": 200, "recall_low": 0.062, "recall_high": 0.186,
    "expected_recall": 0.79, "expected_precision": 0.5, "roc_auc": 0.43, "expected_roc_auc": 0.85, "worse_in": "recall",
}  # fmt: skip


def test_real_performance_has_a_line_with_the_horizon(describe: Describe) -> None:
    (line,) = lines(describe("monitoring", verdict_live=pd.DataFrame([PERFORMANCE])), "real")
    assert line == (
        "Real outcomes contradict the hold-out (recall worse beyond chance). Of 100 customers who left within 30 days "
        "after 2024-11-30, version 10 had named 11; 79 were expected from the hold-out (95 % interval of the "
        "observed: 6 to 19). Of 200 that it named, 11 left within 30 days; 100 were expected. ROC-AUC is 0.43, on the "
        "hold-out 0.85."
    )


def test_new_data_without_a_new_outcome_is_nothing_new_to_learn_from(describe: Describe) -> None:
    built = {"churn.feature_engineering.build_features": 1.0}
    said = ["nothing new to learn from: no model was fitted"]
    assert lines(describe(*STAGES, seconds=built), "training") == said
    assert lines(describe(*STAGES, seconds=built | {"churn.training.search": 9.0}), "training") == []
    assert lines(describe(*STAGES, seconds={}), "training") == []


def test_few_outcomes_are_said_to_be_few(describe: Describe) -> None:
    few = PERFORMANCE | {"status": "few", "n_rows": 40, "n_positives": 3, "n_hits": 1}
    (line,) = lines(describe("monitoring", verdict_live=pd.DataFrame([few])), "real")
    assert line.startswith("Real outcomes are few so far: of 40 customers of 2024-11-30 with a known outcome, 3 left")


def test_outcomes_that_contradict_or_belong_to_nobody_are_told_and_others_are_not(describe: Describe) -> None:
    counts = {"n_snapshot": 0, "n_outcomes": 50, "n_labels": 47, "n_positives": 9, "n_returned": 0}
    labels = pd.DataFrame([{"day": "2024-11-30", **counts, "n_contradicted": 2, "n_unknown": 3}])
    first, second = lines(describe("feature_engineering", metrics_labels=labels), "outcomes")
    assert first.startswith("2 outcomes contradict what the snapshot or an earlier file says of the same day")
    assert second.startswith("3 outcomes belong to no customer of that day (2024-11-30: 3) and are not used")
    sound = labels.assign(n_contradicted=0, n_unknown=0)
    assert "outcomes" not in describe("feature_engineering", metrics_labels=sound)


def test_scores_in_another_table_than_usual_are_told_with_its_name(describe: Describe) -> None:
    trial = TABLES["score_customers"].tail(1)

    (line,) = lines(describe("batch_scoring", trial=trial, scores="trial"), "scores")
    assert line.startswith("1 customer in batch 2024-12-31 of trial; offer list")


def test_a_table_of_drift_without_rows_is_told_like_none(describe: Describe) -> None:
    empty = TABLES["verdict_drift"].head(0)
    assert lines(describe("monitoring", verdict_drift=empty), "drift") == ["not assessable: nothing is scored yet"]


def test_the_newest_batch_of_drift_is_told(describe: Describe) -> None:
    drift = TABLES["verdict_drift"].iloc[::-1].assign(status=["alarm", "stable"])

    assert lines(describe("monitoring", verdict_drift=drift), "drift") == ["alarm: Nothing moved."]


def test_codes_of_drift_are_words(describe: Describe) -> None:
    drift = TABLES["verdict_drift"].assign(status="not_assessable", reason="0 of 2 columns were tested.")
    assert lines(describe("monitoring", verdict_drift=drift), "drift") == [
        "not assessable: 0 of 2 columns were tested."
    ]


def test_a_batch_whose_day_no_file_tells_says_so_and_one_that_is_dated_does_not(describe: Describe) -> None:
    october = pd.DataFrame({"batch": ["2024-10-31"]})
    tables = {"score_customers": october, "score_actions": ReplaceBatch(october, "batch", ("2024-10-31",))}
    caution = "The day of batch 2024-10-31 is not known: its file has no date in its name, so snapshot_default"
    assert caution in describe("batch_scoring", **tables)
    assert caution not in describe("batch_scoring")
    dated = manifest((5000, 0)).assign(source_file="customers_2024-10-31.csv")
    assert caution not in describe("batch_scoring", **tables, manifest_customers=dated)


def test_simulated_files_are_said_to_be_simulated(describe: Describe) -> None:
    simulated = manifest((5000, 0)).assign(source_file="customers_simulated.csv")
    text = describe("data_ingestion", manifest_customers=simulated)
    assert "Part of the data is simulated" in text
    assert "1 of 1 files of customers" in text
    assert "simulated" not in describe("data_ingestion", manifest_customers=manifest((5000, 10)))


def test_what_can_not_be_measured_has_a_dash_and_perfect_scores_a_caution(describe: Describe) -> None:
    metrics = HOLDOUT.assign(n_positives=7)
    metrics.loc[metrics["metric"] == "f1", ["value", "low", "high"]] = np.nan
    metrics.loc[metrics["metric"] == "roc_auc", "value"] = 1.0
    text = describe("evaluation", metrics_holdout=metrics)
    assert "            F1                    -                           -" in text.splitlines()
    (caution,) = lines(text, "caution")
    assert caution.startswith("ROC-AUC of 1.000 on 7 customers who left within 30 days: don't rely on it yet.")
    assert lines(describe("evaluation"), "caution") == []


def test_a_list_outside_of_the_working_folder_has_its_whole_path(
    describe: Describe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")

    assert lines(describe("batch_scoring"), "scores")[0].endswith(f"offer list: {tmp_path / 'actions.csv'}")


def test_a_run_of_single_nodes_has_a_summary_although_not_every_table_is_there_yet(describe: Describe) -> None:
    missing = dict.fromkeys(TABLES)

    text = describe("data_ingestion", "data_quality", "evaluation", **missing)

    assert text.splitlines()[1] == "churn"
    assert lines(text, "verdict") == []


def test_the_summary_is_plain_text(describe: Describe) -> None:
    assert json.dumps(describe(*STAGES)).isascii()


@pytest.mark.parametrize(
    ("arguments", "commands"),
    [
        ({}, ["make ui", "make viz", "make run LANDING=<folder> LAKE=data/mine"]),
        ({"lake": "data/my lake"},
         ["make ui LAKE='data/my lake'", "make viz", "make run LANDING=<folder> LAKE=data/mine"]),
        ({"lake": "/l", "landing": "/my files", "env": "spark"},
         ["make ui LAKE=/l", "make viz", "make run LANDING='/my files' LAKE=/l ENV=spark"]),
        ({"env": "dev"}, ["make ui LAKE=/dev", "make viz", "make run LANDING=<folder> LAKE=data/mine ENV=dev"]),
    ],
)  # fmt: skip
def test_next_commands_carry_what_the_run_was_given(
    describe: Describe, monkeypatch: pytest.MonkeyPatch, arguments: dict[str, str], commands: list[str]
) -> None:
    monkeypatch.setattr("mlflow.get_tracking_uri", lambda: "sqlite:////dev/mlflow.db")
    shown = describe(*STAGES, arguments=arguments).partition("\n  next ")[2].splitlines()
    assert [line.strip().split("   ")[0] for line in shown] == commands


def test_pages_of_a_server_are_named_and_those_of_a_workspace_are_not(
    describe: Describe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mlflow.get_tracking_uri", lambda: "https://mlflow.example")
    assert lines(describe(*STAGES, arguments={"env": "s3"}), "next")[0].startswith("https://mlflow.example   ")
    monkeypatch.setattr("mlflow.get_tracking_uri", lambda: "databricks")
    assert lines(describe(*STAGES, arguments={"env": "dev"}), "next")[0].startswith("make viz   ")


# --- a use case with many tables, that measures more

MACHINES = {
    "manifest_telemetry": manifest(*[(2400, 0)] * 120),
    "manifest_errors": manifest((393, 2)),
    "manifest_maintenance": manifest((1283, 0)),
    "manifest_machines": manifest((100, 0)),
    "metrics_rules_telemetry": rules(288_000, duplicate_key=("dropped", 32)),
    "metrics_rules_maintenance": rules(1283, duplicate_key=("ok", 0)).assign(n_clean=1283, n_quarantined=0),
    "metrics_rules_machines": rules(100, duplicate_key=("ok", 0)).assign(n_clean=100, n_quarantined=0),
    "verdict_model": verdicts(("1", "approve")),
    "metrics_holdout": pd.DataFrame(
        [("candidate", "all", "f1", 0.959), ("candidate", "any", "f1", 0.986),
         ("candidate", "hours_ahead", "seen_share", 0.957), ("candidate", "hours_ahead", "median_at_least", 21.0),
         ("candidate", "cost", "n_failures", 47.0)],
        columns=["model", "segment", "metric", "value"],
    ).assign(low=np.nan, high=np.nan),
}  # fmt: skip


def describe_machines(folder: Path, *names: str, **changed: pd.DataFrame) -> str:
    tables = MACHINES | changed
    for name, frame in tables.items():
        DeltaTable(filepath=str(folder / name)).save(frame)
    datasets = {
        f"predictive_maintenance.{name}": DeltaTable(filepath=str(folder / name), frame="pandas") for name in tables
    }
    landing = {
        f"predictive_maintenance.landing_{name}": MemoryDataset()
        for name in ("telemetry", "errors", "maintenance", "failures", "machines")
    }
    others = {"predictive_maintenance.promotion_model": MemoryDataset(RegistryStatus("1"))}
    catalog = DataCatalog(datasets | landing | others)
    return click.unstyle(summary.describe_run(stages(*names, of="predictive_maintenance"), catalog, {}, 20.0))


def test_of_many_tables_those_without_anything_to_tell_share_a_line(tmp_path: Path) -> None:
    text = describe_machines(tmp_path, "data_ingestion", "data_quality")

    assert lines(text, "landed") == [
        "errors: 393 rows in 1 file, 2 of them refused at parsing",
        "rows, none refused at parsing: telemetry 288,000 in 120 files, maintenance 1,283, machines 100",
    ]
    assert lines(text, "quality") == [
        "telemetry: 287,968 clean, 32 quarantined",
        "maintenance 1,283, machines 100: all clean",
    ]


def test_what_a_use_case_measures_besides_ends_the_metrics(tmp_path: Path) -> None:
    text_lines = describe_machines(tmp_path, "evaluation").splitlines()

    assert text_lines[text_lines.index(next(line for line in text_lines if "F1  " in line)) + 1] == (
        "            any failure           F1 0.986; 95.7% of 47 failures seen, median at least 21 h ahead"
    )


def test_without_those_measures_there_is_no_such_line(tmp_path: Path) -> None:
    holdout = MACHINES["metrics_holdout"]

    assert "any failure" not in describe_machines(tmp_path, "evaluation", metrics_holdout=holdout.head(1))


def test_perfect_scores_of_machines_are_counted_by_failures_and_not_by_the_predictions_before_them(
    tmp_path: Path,
) -> None:
    metrics = MACHINES["metrics_holdout"].assign(n_positives=56)
    metrics.loc[metrics["metric"] == "n_failures", "value"] = 7.0
    perfect = metrics.assign(value=metrics["value"].mask(metrics["segment"] == "all", 1.0))
    (caution,) = lines(describe_machines(tmp_path, "evaluation", metrics_holdout=perfect), "caution")
    assert caution.startswith(
        "F1 of 1.000 on 7 failures: don't rely on it yet. So few cases may be told apart by chance"
    )
