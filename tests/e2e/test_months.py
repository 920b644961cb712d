"""A year of churn beside plain pandas: who is scored, what is learned from, and what really happened."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from deltalake import DeltaTable
from sklearn.metrics import precision_score, recall_score, roc_auc_score

import dashboards
from lakehouse_ml.use_cases.churn.synthetic import write_months

PROJECT = Path(__file__).resolve().parents[2]
N, MONTHS = 1_000, 12
# One quick trial, and a bar that so few customers reach: what is asked here is whose scores they are.
QUICK = """\
churn:
  training:
    trials:
      - {estimator: logistic_regression, params: {C: 1.0}}
    split: {min_per_class: 5}
  evaluation:
    floors: {f1: 0.1, roc_auc: 0.5}
    resamples: 100
    policy: {resamples: 200, min_positives: 5}
"""
# Lands what each step brings, runs all stages, and says how many versions, runs and verdicts there are then.
LIVE = """\
import json, shutil, sqlite3, sys
from pathlib import Path
from lakehouse_ml import project
project.configure_logging()
from kedro.framework.project import settings
from lakehouse_ml.project import PROJECT, configure
configure()
steps, landing, lake, conf = json.loads(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4]
for step in steps:
    for source, name in step:
        (landing / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, landing / name)
    params = {"landing": str(landing), "lake": str(lake)}
    with settings.SESSION_CLASS.create(PROJECT, conf_source=conf, runtime_params=params) as session:
        session.run(namespaces=["churn"])
    store = sqlite3.connect(lake / "mlflow.db")
    (n,) = store.execute("select count(*) from model_versions").fetchone()
    store.close()
    print("VERSIONS", n, flush=True)
"""


@dataclass(frozen=True)
class Year:
    """Twelve months of files, their lake, and the output of each run."""

    days: list[str]
    files: Path
    landing: Path
    lake: Path
    outputs: list[str]
    versions: list[int]

    def table(self, name: str) -> pd.DataFrame:
        (folder,) = self.lake.glob(f"*/churn/{name}")
        return DeltaTable(folder).to_pandas()

    def snapshot(self, month: int) -> pd.DataFrame:
        return pd.read_csv(self.landing / f"customers_{self.days[month]}.csv", dtype=str, keep_default_na=False)


def conf(folder: Path) -> Path:
    shutil.copytree(PROJECT / "conf", folder, ignore=shutil.ignore_patterns("local"))
    (folder / "local").mkdir()
    (folder / "local" / "parameters.yml").write_text(QUICK, encoding="utf-8")
    return folder


def live(folder: Path, steps: list[list[tuple[str, str]]], at: Path) -> tuple[list[str], list[int]]:
    """Run the steps; return the output of each run, and the number of model versions after it."""
    call = [sys.executable, "-c", LIVE, json.dumps(steps), str(folder / "landing"), str(folder / "lake"), str(at)]
    process = subprocess.run(call, cwd=PROJECT, capture_output=True, text=True, timeout=900, check=False)
    assert process.returncode == 0, process.stdout + process.stderr
    pieces = process.stdout.split("VERSIONS ")
    versions = [int(part.split("\n", 1)[0]) for part in pieces[1:]]
    runs = [pieces[0], *(part.split("\n", 1)[1] for part in pieces[1:-1])]
    return runs, versions


def write_rows(path: Path, rows: pd.DataFrame) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    rows.to_csv(path, index=False)
    return str(path)


@pytest.fixture(scope="module")
def year(tmp_path_factory: pytest.TempPathFactory) -> Year:
    """A year with outcomes that come late, corrected, doubled and of strangers, and with somebody who comes back."""
    folder = tmp_path_factory.mktemp("year")
    files = folder / "files"
    days = [str(day) for day in write_months(files, MONTHS, N, seed=3)]
    outcomes = {day: files / "outcomes" / f"outcomes_{day}_simulated.csv" for day in days}
    steps: list[list[tuple[str, str]]] = [
        [(str(files / f"customers_{day}_simulated.csv"), f"customers_{day}.csv")]
        + ([(str(outcomes[days[n - 1]]), f"outcomes/outcomes_{days[n - 1]}.csv")] if n > 1 else [])
        for n, day in enumerate(days)
    ]
    # The outcomes of the fifth month come two months late.
    late = steps[5].pop()
    steps[7].append(late)
    # Those of the sixth are corrected under the same name, ten of them.
    sixth = pd.read_csv(outcomes[days[5]], dtype=str)
    sixth.loc[:9, "Churn"] = np.where(sixth.loc[:9, "Churn"] == "Yes", "No", "Yes")
    steps[8].append((write_rows(folder / "sixth.csv", sixth), f"outcomes/outcomes_{days[5]}.csv"))
    # Those of the seventh come again under another name, and say something else of six customers.
    seventh = pd.read_csv(outcomes[days[6]], dtype=str).head(100)
    seventh.loc[:5, "Churn"] = np.where(seventh.loc[:5, "Churn"] == "Yes", "No", "Yes")
    steps[9].append((write_rows(folder / "seventh.csv", seventh), f"outcomes/outcomes_{days[6]}_b.csv"))
    # Three outcomes of the eighth month are of unknown customers.
    eighth = pd.concat(
        [pd.read_csv(outcomes[days[7]], dtype=str), pd.DataFrame({"customerID": ["X-1", "X-2", "X-3"], "Churn": "Yes"})]
    )
    steps[8][1] = (write_rows(folder / "eighth.csv", eighth), steps[8][1][1])
    # Somebody who left in the third month is in the snapshot of the ninth again.
    third = pd.read_csv(outcomes[days[2]], dtype=str)
    returned_id = third[third["Churn"] == "Yes"]["customerID"].iloc[0]
    third_snapshot = pd.read_csv(files / f"customers_{days[2]}_simulated.csv", dtype=str, keep_default_na=False)
    ninth = pd.read_csv(files / f"customers_{days[8]}_simulated.csv", dtype=str, keep_default_na=False)
    ninth = pd.concat([ninth, third_snapshot[third_snapshot["customerID"] == returned_id]])
    steps[8][0] = (write_rows(folder / "ninth.csv", ninth), steps[8][0][1])
    outputs, versions = live(folder, steps, conf(folder / "conf"))
    return Year(days, files, folder / "landing", folder / "lake", outputs, versions)


@pytest.fixture(scope="module")
def at_once(year: Year, tmp_path_factory: pytest.TempPathFactory) -> Year:
    """The same files, all of them in one run."""
    folder = tmp_path_factory.mktemp("at_once")
    names = [str(path.relative_to(year.landing)) for path in sorted(year.landing.rglob("*.csv"))]
    steps = [[(str(year.landing / name), name) for name in names]]
    outputs, versions = live(folder, steps, conf(folder / "conf"))
    return Year(year.days, year.files, folder / "landing", folder / "lake", outputs, versions)


def expected_labels(year: Year) -> dict[tuple[str, str], tuple[int, str]]:
    """Label and the day it became known, by customer and day, according to all files."""
    labels: dict[tuple[str, str], tuple[int, str]] = {}
    people = {day: set(year.snapshot(month)["customerID"]) for month, day in enumerate(year.days)}
    for month, day in enumerate(year.days):
        for row in year.snapshot(month).itertuples():
            if row.Churn:
                labels[row.customerID, day] = (int(row.Churn == "Yes"), day)
    # The file that came later by name was read later, too.
    for path in sorted((year.landing / "outcomes").glob("*.csv")):
        day = path.name[9:19]
        later = str((pd.Timestamp(day) + timedelta(days=30)).date())
        for row in pd.read_csv(path, dtype=str).itertuples():
            if row.customerID in people[day]:
                labels[row.customerID, day] = (int(row.Churn == "Yes"), later)
    return labels


@pytest.mark.slow
def test_each_batch_holds_whoever_is_in_the_days_file_and_has_not_left_by_it(year: Year) -> None:
    scores = year.table("score_customers")
    assert sorted(scores["batch"].unique()) == year.days
    for month, day in enumerate(year.days):
        snapshot = year.snapshot(month)
        expected = set(snapshot[snapshot["Churn"] != "Yes"]["customerID"])
        batch = scores[scores["batch"] == day]
        assert (set(batch["customer_id"]), len(batch)) == (expected, len(expected)), day
        assert set(batch["snapshot_on"].astype(str)) == {day}


@pytest.mark.slow
def test_labels_are_what_the_files_say_in_the_end(year: Year) -> None:
    stored = year.table("label_customers")
    labels = {(row.customer_id, str(row.snapshot_on)): (row.label, str(row.known_at)) for row in stored.itertuples()}
    assert len(labels) == len(stored)
    assert labels == expected_labels(year)


@pytest.mark.slow
def test_wrong_outcomes_are_counted_and_reported(year: Year) -> None:
    counts = year.table("metrics_labels").set_index("day")
    assert counts["n_contradicted"][counts["n_contradicted"] > 0].to_dict() == {year.days[6]: 6}
    assert counts["n_unknown"][counts["n_unknown"] > 0].to_dict() == {year.days[7]: 3}
    returned = counts["n_returned"]
    assert returned[year.days[2]] >= 1
    assert "6 outcomes contradict what the snapshot or an earlier file says" in year.outputs[-1]
    assert "3 outcomes belong to no customer of that day" in year.outputs[-1]


@pytest.mark.slow
def test_every_known_outcome_is_learned_from_or_judged_on(year: Year) -> None:
    rows = year.table("model_input_customers")
    labels = {(row.customer_id, str(row.snapshot_on)): row.label for row in rows.itertuples()}
    assert len(labels) == len(rows)
    assert labels == {key: label for key, (label, _) in expected_labels(year).items()}
    assert (rows.groupby("customer_id")["part"].nunique() == 1).all()


@pytest.mark.slow
def test_a_month_without_a_new_outcome_fits_registers_and_judges_nothing(year: Year) -> None:
    assert year.versions[:2] == [1, 1]
    assert "nothing new to learn from: no model was fitted" in year.outputs[1]
    assert "nothing new to learn from" not in year.outputs[2]
    # In the sixth month outcomes were late: there was none.
    assert year.versions[5] == year.versions[4]
    expected = [n for n in range(MONTHS) if n not in (1, 5)]
    assert year.versions[-1] == len(expected)
    assert len(year.table("verdict_model")) == len(expected)
    assert sorted(year.table("verdict_model")["version"].astype(int)) == list(range(1, len(expected) + 1))


@pytest.mark.slow
def test_the_list_of_each_month_is_the_best_of_its_scores(year: Year) -> None:
    scores, actions = year.table("score_customers"), year.table("score_actions")
    for day in year.days:
        batch = scores[scores["batch"] == day]
        gain = batch["probability"] * 0.3 * 400.0 - 20.0
        ranked = batch.assign(gain=gain)[gain > 0].sort_values(["gain", "customer_id"], ascending=[False, True])
        listed = actions[actions["batch"] == day].sort_values("rank")
        assert listed["customer_id"].tolist() == ranked["customer_id"].head(100).tolist(), day
        assert listed["expected_gain"].tolist() == pytest.approx(ranked["gain"].head(100).tolist())
        assert listed["rank"].tolist() == list(range(1, len(listed) + 1))
    handed = pd.read_csv(year.lake / "07_model_output" / "churn" / "actions.csv", dtype={"batch": str})
    assert set(handed["batch"]) == {year.days[-1]}


@pytest.mark.slow
def test_nobody_who_is_known_to_have_left_is_on_an_offer_list(year: Year) -> None:
    labels, actions = expected_labels(year), year.table("score_actions")
    last_seen = {c: day for month, day in enumerate(year.days) for c in year.snapshot(month)["customerID"]}
    for row in actions.itertuples():
        departures = [
            day for (c, day), (has_left, _) in labels.items() if c == row.customer_id and has_left and day < row.batch
        ]
        assert not departures or max(departures) < row.batch <= last_seen[row.customer_id]


@pytest.mark.slow
def test_live_metrics_of_a_batch_are_of_its_scores_and_of_its_days_outcomes_alone(year: Year) -> None:
    labels, scores = expected_labels(year), year.table("score_customers")
    live = year.table("metrics_live").set_index("batch")
    later = {day for (_, day), (_, at) in labels.items() if at > day}
    assert sorted(live.index) == sorted(later)
    assert year.days[0] not in live.index
    assert year.days[-1] not in live.index
    for day, row in live.iterrows():
        batch = scores[scores["batch"] == day].set_index("customer_id")
        outcomes = {c: label for (c, at), (label, _) in labels.items() if at == day and c in batch.index}
        batch = batch.loc[list(outcomes)]
        truth = np.array(list(outcomes.values()))
        assert (row["n_rows"], row["n_positives"]) == (len(truth), truth.sum())
        assert (row["n_named"], row["n_hits"]) == (batch["decision"].sum(), (batch["decision"] * truth).sum())
        assert row["roc_auc"] == pytest.approx(roc_auc_score(truth, batch["probability"]))
        assert row["recall"] == pytest.approx(recall_score(truth, batch["decision"]))
        assert row["precision"] == pytest.approx(precision_score(truth, batch["decision"]))
    assert (scores["learned_until"].astype(str) < scores["batch"])[scores["batch"] != year.days[0]].all()


@pytest.mark.slow
def test_real_performance_is_judged_and_leads(year: Year) -> None:
    judged = year.table("verdict_live").iloc[0]
    assert judged["last_batch"] == year.days[-2]
    assert judged["status"] == "as_expected"
    assert "Real outcomes agree with the hold-out." in year.outputs[-1]
    report = (year.lake / "08_reporting" / "churn" / "report.html").read_text(encoding="utf-8")
    assert report.index("Real outcomes agree with the hold-out.") < report.index("rows of customers were read")
    assert "From batch to batch" in report


@pytest.mark.slow
def test_the_dashboard_shows_the_year(year: Year, spark: Any) -> None:
    dashboard = dashboards.load()
    tables = set(dashboards.register_tables(spark, year.lake))
    read = set().union(*map(dashboards.tables_of, dashboards.queries_of(dashboard).values()))
    dashboards.register_job_runs(spark)
    dashboards.register_empty_tables(spark, read - tables)

    datasets, widgets = dashboards.compute(spark, dashboard)

    assert {name for name, rows in datasets.items() if rows.empty} == set()
    live = year.table("metrics_live")
    verdicts = year.table("verdict_model").sort_values("judged_at", ascending=False)
    shown = datasets["live"].assign(day=datasets["live"]["day"].astype(str)).set_index(["series", "day"])
    for row in live.itertuples():
        newest = verdicts[verdicts["version"] == row.model_version].iloc[0]
        for name in ("recall", "precision", "f1", "roc_auc"):
            assert shown.loc[("churn: live", row.batch), name] == pytest.approx(getattr(row, name))
            assert shown.loc[("churn: hold-out", row.batch), name] == pytest.approx(newest[name])
    assert len(widgets["recall_per_day"]) == len(shown) == 2 * len(live)
    assert datasets["verdicts"]["version"].tolist() == verdicts["version"].tolist()
    assert widgets["rows_scored"].iloc[0, 0] == len(year.table("score_customers"))
    drift = year.table("metrics_drift")
    tested = drift[(drift["status"] != "clock") & (drift["column"] != "score")].groupby("batch")["psi"].max()
    levels = datasets["drift_levels"].set_index("series")["psi"]
    assert sorted(levels.loc["churn: most drifted predictor"]) == pytest.approx(sorted(tested))
    assert set(levels.loc["churn: alarm level"]) == {0.2}
    judged = datasets["live_verdict"].iloc[0]
    assert (judged["status"], str(judged["last_day"])) == ("as_expected", year.days[-2])
    names = ("customers", "outcomes")
    manifest = pd.concat([year.table(f"manifest_{name}") for name in names])
    assert widgets["lines_read"].iloc[0, 0] == manifest["n_lines"].sum()
    assert widgets["lines_refused"].iloc[0, 0] == manifest["n_quarantined"].sum()
    assert widgets["rows_quarantined"].iloc[0, 0] == sum(len(year.table(f"quarantine_{name}")) for name in names) > 0


@pytest.mark.slow
def test_all_files_at_once_give_the_same_tables_as_month_by_month(year: Year, at_once: Year) -> None:
    audit = ["ingested_at", "file_sha256"]
    for name, key in (
        ("clean_customers", ["customer_id", "snapshot_on"]),
        ("feature_customers", ["customer_id", "snapshot_on"]),
        ("label_customers", ["customer_id", "snapshot_on"]),
        ("model_input_customers", ["customer_id", "snapshot_on"]),
        ("metrics_labels", ["day"]),
    ):
        mine, theirs = (
            one.table(name).sort_values(key, ignore_index=True).drop(columns=audit, errors="ignore")
            for one in (year, at_once)
        )
        pd.testing.assert_frame_equal(mine, theirs)
    newest = [one.table("score_customers").query(f"batch == '{year.days[-1]}'") for one in (year, at_once)]
    assert set(newest[0]["customer_id"]) == set(newest[1]["customer_id"])
    assert at_once.versions == [1]


@pytest.mark.slow
def test_the_last_run_again_does_nothing(year: Year) -> None:
    versions_before = {path: DeltaTable(path.parent).version() for path in year.lake.glob("*/churn/*/_delta_log")}
    outputs, versions = live(year.landing.parent, [[]], year.landing.parent / "conf")
    assert "unchanged: every step was skipped" in outputs[0]
    assert versions == year.versions[-1:]
    assert versions_before == {
        path: DeltaTable(path.parent).version() for path in year.lake.glob("*/churn/*/_delta_log")
    }
