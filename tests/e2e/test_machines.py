"""The life of a small plant as a user starts it: once, again, with more days, with a corrected day, after a crash."""

from __future__ import annotations

import csv
import json
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from checkouts import QUICK_PLANT
from deltalake import DeltaTable

from lakehouse_ml.use_cases.predictive_maintenance.synthetic import simulate, write
from run_command import run_command
from warm import warm

pytestmark = pytest.mark.slow

PROJECT = Path(__file__).resolve().parents[2]
REAL = PROJECT.parent / "shared" / "data"
NAME = "predictive_maintenance"
TABLES = ("telemetry", "errors", "maintenance", "failures", "machines")
MACHINES, DAYS = 24, 75
LAST, NEXT = date(2015, 3, 16), (date(2015, 3, 17), date(2015, 3, 18))


@dataclass(frozen=True)
class Place:
    """A landing folder, a lake and a conf of their own."""

    landing: Path
    lake: Path
    conf: Path

    def call(self, *arguments: str, **params: Any) -> list[str]:
        settings = {
            "landing": self.landing,
            "lake": self.lake,
            **{key.replace("__", "."): v for key, v in params.items()},
        }
        return run_command(NAME, self.conf, settings, *arguments)

    def run(self, *arguments: str, **params: Any) -> subprocess.CompletedProcess[str]:
        call = warm(self.call(*arguments, **params))
        process = subprocess.run(call, cwd=PROJECT, capture_output=True, text=True, timeout=600, check=False)
        assert "Traceback" not in process.stderr, process.stderr
        return process

    def table(self, name: str) -> DeltaTable:
        (folder,) = self.lake.glob(f"*/{NAME}/{name}")
        return DeltaTable(folder)

    def frame(self, name: str) -> pd.DataFrame:
        return self.table(name).to_pandas()

    def versions(self) -> dict[str, int]:
        logs = self.lake.glob(f"*/{NAME}/*/_delta_log")
        return {log.parent.name: DeltaTable(log.parent).version() for log in logs}

    def commits(self, name: str) -> list[dict[str, Any]]:
        """What each commit says of itself, oldest first."""
        return [json.loads(commit["userMetadata"]) for commit in reversed(self.table(name).history())]


def place(folder: Path, landing: Path | None = None) -> Place:
    conf = Path(shutil.copytree(PROJECT / "conf", folder / "conf"))
    (conf / "local" / "parameters.yml").write_text(QUICK_PLANT, encoding="utf-8")
    return Place(landing or folder / "landing", folder / "lake", conf)


def balance(lakehouse: Place, table: str) -> tuple[int, int]:
    """Lines of a landing table and quarantined ones of them; that nothing is lost between is asserted."""
    books = lakehouse.frame(f"manifest_{table}")
    assert (books["n_lines"] == books["n_raw"] + books["n_quarantined"]).all()
    raw, clean, n_quarantined = (len(lakehouse.frame(f"{kind}_{table}")) for kind in ("raw", "clean", "quarantine"))
    assert raw == books["n_raw"].sum() == clean + n_quarantined
    lying = [
        path for path in lakehouse.landing.rglob("*.csv") if path.name in {Path(n).name for n in books["source_file"]}
    ]
    assert sum(len(path.read_text(encoding="utf-8").splitlines()) - 1 for path in lying) == books["n_lines"].sum()
    return int(books["n_lines"].sum()), n_quarantined


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> tuple[Place, subprocess.CompletedProcess[str]]:
    """A lake after its first run."""
    lakehouse = place(tmp_path_factory.mktemp("plant"))
    write(lakehouse.landing, simulate(MACHINES, DAYS, seed=1))
    process = lakehouse.run()
    assert process.returncode == 0, process.stdout + process.stderr
    return lakehouse, process


Lived = tuple[Place, subprocess.CompletedProcess[str]]


def test_the_first_run_ends_with_a_champion_and_a_score_for_each_machine_and_prediction_time(lived: Lived) -> None:
    lakehouse, process = lived
    assert "version 1 promoted" in process.stdout, process.stdout
    scores = lakehouse.frame("score_machines")
    assert set(scores["batch"]) == {LAST.isoformat()}
    assert not scores.duplicated(["machine_id", "predicted_at"]).any()
    assert scores.groupby("predicted_at")["machine_id"].nunique().tolist() == [MACHINES] * 4
    each = scores[[f"probability_comp{n}" for n in (1, 2, 3, 4)]]
    assert each.ge(0).all(axis=None)
    assert each.le(1).all(axis=None)
    assert (scores["component"] == each.idxmax(axis=1).str.removeprefix("probability_")).all()
    assert (scores["probability"] - (1 - (1 - each).prod(axis=1))).abs().max() < 1e-12
    assert (scores["decision"] == (each.max(axis=1) >= scores["threshold"])).all()
    with (lakehouse.lake / "07_model_output" / NAME / "actions.csv").open(encoding="utf-8", newline="") as stream:
        listed = [row["machine_id"] for row in csv.DictReader(stream)]
    assert len(listed) == len(set(listed))


def test_what_came_in_is_what_came_out_and_errors_of_no_machine_are_quarantined(lived: Lived) -> None:
    lakehouse, _ = lived
    counts = {table: balance(lakehouse, table) for table in TABLES}
    assert counts["machines"] == (MACHINES, 0)
    unknown = lakehouse.frame("quarantine_errors")
    assert len(unknown) > 0
    assert set(unknown["machine_id"]) == {0}
    assert {reason for row in unknown["quarantine_reasons"] for reason in row} == {"machine_is_known"}
    doubled = {reason for row in lakehouse.frame("quarantine_telemetry")["quarantine_reasons"] for reason in row}
    assert doubled <= {"duplicate_key"}


def test_a_second_run_on_unchanged_input_makes_nothing_new(lived: Lived) -> None:
    lakehouse, _ = lived
    versions_before = lakehouse.versions()
    again = lakehouse.run()
    assert again.returncode == 0, again.stderr
    assert "unchanged: every step was skipped" in again.stdout
    assert lakehouse.versions() == versions_before


def test_days_are_scored_into_another_table_and_what_was_there_stays(lived: Lived) -> None:
    lakehouse, _ = lived
    versions = lakehouse.versions()
    days = {f"{NAME}__batch_scoring__from_day": "2015-03-01", f"{NAME}__batch_scoring__to_day": "2015-03-03"}

    process = lakehouse.run("--pipelines", "batch_scoring,monitoring", results_table="trial", **days)
    assert process.returncode == 0, process.stderr
    assert "in batch 2015-03-03 of trial; " in process.stdout
    assert f"07_model_output/{NAME}/trial_actions.csv" in process.stdout
    assert {name: version for name, version in lakehouse.versions().items() if name in versions} == versions
    trial = lakehouse.frame("trial")
    assert trial.groupby("batch").size().to_dict() == {f"2015-03-0{day}": MACHINES * 4 for day in (1, 2, 3)}
    assert lakehouse.commits("trial_actions")[-1]["scope"] == ["2015-03-03"]
    reports = lakehouse.lake / "08_reporting" / NAME / "of_trial"
    # These days are over, so monitoring reports on the trial.
    assert DeltaTable(reports / "metrics_live").to_pandas()["batch"].tolist() == sorted(set(trial["batch"]))
    assert "<html" in (reports / "report.html").read_text(encoding="utf-8")
    scores = lakehouse.commits("trial_actions")[-1]["inputs"][f"{NAME}.score_machines"]
    assert scores == f"v2 of {str(lakehouse.table('trial').metadata().id)[:8]}"

    again = lakehouse.run("--pipelines", "batch_scoring,monitoring", results_table="trial", **days)
    assert "unchanged: every step was skipped" in again.stdout
    assert lakehouse.run("--pipelines", "batch_scoring", results_table="second", **days).returncode == 0
    columns = ["machine_id", "predicted_at", "probability", "model_version"]
    second, trial = (
        frame[columns].sort_values(columns, ignore_index=True) for frame in (lakehouse.frame("second"), trial)
    )
    pd.testing.assert_frame_equal(second, trial)
    # With the usual table there is still nothing to do.
    assert "unchanged: every step was skipped" in lakehouse.run().stdout


def test_a_range_whose_run_is_killed_goes_on_with_the_days_that_are_left(lived: Lived) -> None:
    lakehouse, _ = lived
    days = {f"{NAME}__batch_scoring__from_day": "2015-02-25", f"{NAME}__batch_scoring__to_day": "2015-03-16"}
    params = {"results_table": "resumed", **days}
    call = lakehouse.call("--pipelines", "batch_scoring", **params)
    with subprocess.Popen(call, cwd=PROJECT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as running:
        while len(list(lakehouse.lake.glob(f"*/{NAME}/resumed/_delta_log/*.json"))) < 4:
            assert running.poll() is None, "the run ended before it was killed"
            time.sleep(0.02)
        running.send_signal(signal.SIGKILL)
    commits_before = lakehouse.commits("resumed")
    assert commits_before[-1]["part"][0] < commits_before[-1]["part"][1] == 20
    process = lakehouse.run("--pipelines", "batch_scoring", **params)
    assert process.returncode == 0, process.stderr
    commits = lakehouse.commits("resumed")
    assert commits[: len(commits_before)] == commits_before
    assert [commit["part"] for commit in commits] == [[n, 20] for n in range(1, 21)]
    assert lakehouse.frame("resumed").groupby("batch").size().tolist() == [MACHINES * 4] * 20
    versions_before = lakehouse.versions()
    assert "every step was skipped" in lakehouse.run("--pipelines", "batch_scoring", **params).stdout
    assert lakehouse.versions() == versions_before


@pytest.fixture(scope="module")
def later(lived: Lived, tmp_path_factory: pytest.TempPathFactory) -> tuple[Place, dict[str, int]]:
    """A copy of that lake after the files of two more days, and the versions of its tables before."""
    lakehouse, _ = lived
    versions_before = lakehouse.versions()
    write(lakehouse.landing, simulate(MACHINES, DAYS + len(NEXT), seed=1))
    process = lakehouse.run()
    assert process.returncode == 0, process.stdout + process.stderr
    return lakehouse, versions_before


def test_only_the_new_files_of_more_days_are_read(later: tuple[Place, dict[str, int]]) -> None:
    lakehouse, versions_before = later
    files = {f"telemetry/telemetry_{day}_simulated.csv" for day in NEXT}
    for table in ("raw_telemetry", "quarantine_lines_telemetry", "manifest_telemetry"):
        assert lakehouse.table(table).version() == versions_before[table] + 1
        assert set(lakehouse.commits(table)[-1]["scope"]) == files
    assert set(lakehouse.frame("parsed_telemetry")["source_file"]) == files
    raw = lakehouse.table("raw_telemetry")
    metrics = raw.history(1)[0]["operationMetrics"]
    assert metrics["num_added_rows"] == (lakehouse.frame("raw_telemetry")["source_file"].isin(files)).sum()
    assert balance(lakehouse, "telemetry")[0] > balance(lakehouse, "machines")[0]


def test_earlier_scores_are_judged_as_soon_as_their_horizon_is_over(later: tuple[Place, dict[str, int]]) -> None:
    lakehouse, versions = later
    assert len(DeltaTable(lakehouse.table("metrics_live").table_uri, version=versions["metrics_live"]).to_pandas()) == 0
    live = lakehouse.frame("metrics_live")
    assert live["batch"].tolist() == [LAST.isoformat()]
    assert live["model_version"].tolist() == ["1"]
    # Four prediction times of four components each.
    assert live["n_rows"].tolist() == [MACHINES * 16]
    scores = lakehouse.frame("score_machines")
    assert set(scores["batch"]) == {LAST.isoformat(), NEXT[-1].isoformat()}
    assert len(scores) == 2 * MACHINES * 4


def test_a_corrected_day_takes_the_place_of_its_rows(later: tuple[Place, dict[str, int]]) -> None:
    lakehouse, _ = later
    file = lakehouse.landing / "telemetry" / "telemetry_2015-01-10_simulated.csv"
    rows = file.read_text(encoding="utf-8").splitlines()
    corrected = [rows[0], *(",".join([*row.split(",")[:2], "123.0", *row.split(",")[3:]]) for row in rows[1:-5])]
    n, versions = len(lakehouse.frame("clean_telemetry")), lakehouse.versions()
    file.write_text("\n".join(corrected) + "\n", encoding="utf-8")
    process = lakehouse.run("--pipelines", "data_ingestion,data_quality")
    assert process.returncode == 0, process.stderr
    assert lakehouse.commits("raw_telemetry")[-1]["scope"] == [f"telemetry/{file.name}"]
    clean = lakehouse.frame("clean_telemetry")
    assert len(clean) == n - 5
    of_file = clean["source_file"] == f"telemetry/{file.name}"
    assert set(clean[of_file]["volt"]) == {123.0}
    assert 123.0 not in set(clean[~of_file]["volt"])
    balance(lakehouse, "telemetry")
    assert lakehouse.table("raw_errors").version() == versions["raw_errors"]


def real(name: str) -> Path:
    if not (REAL / name).is_dir():
        pytest.skip(f"the real files aren't at {REAL / name}: only beside the project's own checkout")
    return REAL / name


def test_the_real_files_with_telemetry_work_as_they_are(tmp_path: Path) -> None:
    lakehouse = Place(real("pdm_telemetry_20"), tmp_path / "lake", PROJECT / "conf")
    process = lakehouse.run()
    assert process.returncode == 0, process.stdout + process.stderr
    assert {table: balance(lakehouse, table)[0] for table in TABLES} == {
        "telemetry": 43_200,
        "errors": 211,
        "maintenance": 208,
        "failures": 42,
        "machines": 20,
    }
    scores = lakehouse.frame("score_machines")
    assert scores["machine_id"].nunique() == 20
    assert not scores.duplicated(["machine_id", "predicted_at"]).any()


def test_the_real_files_without_telemetry_work_with_one_parameter(tmp_path: Path) -> None:
    lakehouse = Place(real("pdm_events_1000"), tmp_path / "lake", PROJECT / "conf")
    params = {
        f"{NAME}__features__telemetry": "false",
        f"{NAME}__features__step_hours": "12",
        f"{NAME}__training__max_rows": "400000",  # one row in 200 is positive
    }
    process = lakehouse.run(**params)
    assert process.returncode == 0, process.stdout + process.stderr
    metrics = lakehouse.frame("metrics_holdout")
    everything = metrics[metrics["segment"] == "all"].set_index("metric")["value"]
    # A rule of one class reaches 0.956 on these events: what is simulated after a law can be learned.
    assert everything["f1"] > 0.94
    assert lakehouse.frame("score_machines")["machine_id"].nunique() == 1_000
