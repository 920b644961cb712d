"""Churn end to end, as a user runs it: once, again, with new files, with mistakes, after a crash."""

from __future__ import annotations

import ast
import csv
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from checkouts import QUICK_SEARCH
from deltalake import DeltaTable

import planted
from lakehouse_ml.use_cases.churn.synthetic import customers, write_csv
from warm import warm

PROJECT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Place:
    """A landing folder and a lake of their own."""

    landing: Path
    lake: Path

    def run(self, *more: str) -> subprocess.CompletedProcess[str]:
        return self._call([*self._make_run(), *more])

    def first(self) -> subprocess.CompletedProcess[str]:
        """The same, in a process that imports everything itself, as a user's does, with secrets all around it."""
        environment = {**os.environ, **planted.VARIABLES}
        return subprocess.run(
            self._make_run(), cwd=PROJECT, capture_output=True, text=True, timeout=600, check=False, env=environment
        )

    def _make_run(self) -> list[str]:
        options = ["--landing", str(self.landing), "--lake", str(self.lake)]
        return [sys.executable, "-m", "lakehouse_ml.cli.make_run", *options]

    def kedro(self, *arguments: str, cwd: Path = PROJECT) -> subprocess.CompletedProcess[str]:
        params = ["--params", f"landing={self.landing},lake={self.lake}"] if arguments[0] == "run" else []
        params += ["--namespaces", "churn"] if params else []
        return self._call([str(Path(sys.executable).with_name("kedro")), *arguments, *params], cwd)

    def table(self, name: str) -> DeltaTable:
        (folder,) = self.lake.glob(f"*/churn/{name}")
        return DeltaTable(folder)

    def versions(self) -> dict[str, int]:
        return {log.parent.name: DeltaTable(log.parent).version() for log in self.lake.glob("*/churn/*/_delta_log")}

    def models(self) -> tuple[int, str | None, int]:
        """Registered versions, the champion, and runs that are not deleted."""
        import sqlite3

        with sqlite3.connect(self.lake / "mlflow.db") as store:
            (n,) = store.execute("select count(*) from model_versions").fetchone()
            champion = store.execute("select version from registered_model_aliases where alias = 'champion'").fetchone()
            (runs,) = store.execute("select count(*) from runs where lifecycle_stage = 'active'").fetchone()
        store.close()
        return n, str(champion[0]) if champion else None, runs

    @staticmethod
    def _call(call: list[str], cwd: Path = PROJECT) -> subprocess.CompletedProcess[str]:
        return subprocess.run(warm(call), cwd=cwd, capture_output=True, text=True, timeout=600, check=False)


def place(folder: Path, n: int = 1_500) -> Place:
    write_csv(folder / "landing" / "customers.csv", n=n, seed=1)
    return Place(folder / "landing", folder / "lake")


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> tuple[Place, subprocess.CompletedProcess[str]]:
    """A lake after its first run."""
    lakehouse = place(tmp_path_factory.mktemp("lived"))
    process = lakehouse.first()
    assert process.returncode == 0, process.stdout + process.stderr
    return lakehouse, process


def test_the_first_run_ends_with_a_champion_scores_and_a_summary(
    lived: tuple[Place, subprocess.CompletedProcess[str]],
) -> None:
    lakehouse, process = lived
    assert lakehouse.models()[:2] == (1, "1")
    for line in (
        "1,500 rows in 1 file",
        "clean",
        "verdict",
        "version 1 promoted",
        "F1",
        "scores",
        "drift",
        "time",
        "make ui",
    ):
        assert line in process.stdout, process.stdout
    assert "<h1>Customer churn" in (lakehouse.lake / "08_reporting/churn/report.html").read_text(encoding="utf-8")
    assert len(list(lakehouse.lake.glob("mlflow-artifacts/*/artifacts/report.html"))) == 1
    scores = lakehouse.table("score_customers").to_pandas()
    assert len(scores) == sum(left == "No" for left in customers(1_500, seed=1)["Churn"])
    assert scores["customer_id"].is_unique
    assert (scores["decision"] == (scores["probability"] >= scores["threshold"])).all()
    with (lakehouse.lake / "07_model_output" / "churn" / "actions.csv").open(encoding="utf-8") as stream:
        actions = list(csv.DictReader(stream))
    assert [int(row["rank"]) for row in actions] == list(range(1, len(actions) + 1))
    drift = json.loads((lakehouse.lake / "08_reporting/churn/drift.json").read_text(encoding="utf-8"))
    assert drift["status"] == "not_assessable"
    assert re.match(r"[\d,]+ of [\d,]+ scored rows were training rows", drift["reason"])


def test_progress_is_plain_and_shows_nothing_that_nobody_can_act_on(
    lived: tuple[Place, subprocess.CompletedProcess[str]],
) -> None:
    progress = lived[1].stderr
    assert re.search(r"^\[ 1/\d+\] churn\.data_ingestion\.parse_customers$", progress, re.MULTILINE)
    for noise in ("Warning", "WARNING", "Traceback", "deprecated", "\x1b["):
        assert noise not in progress, progress


def test_no_secret_of_its_surroundings_is_in_what_a_run_says_and_leaves(
    lived: tuple[Place, subprocess.CompletedProcess[str]],
) -> None:
    lakehouse, process = lived
    assert planted.find_plants(lakehouse.lake) == []
    assert not planted.is_planted(process.stdout + process.stderr), process.stdout + process.stderr
    assert "conf says where to read and write: MLFLOW_REGISTRY_URI, MLFLOW_S3_ENDPOINT_URL" in process.stderr


def test_every_tag_and_parameter_of_a_run_is_complete_and_readable(
    lived: tuple[Place, subprocess.CompletedProcess[str]],
) -> None:
    import sqlite3

    stored = {
        **dict.fromkeys(("tags", "params", "experiment_tags", "model_version_tags"), "key, value"),
        "logged_model_tags": "tag_key, tag_value",
        "logged_model_params": "param_key, param_value",
    }
    with sqlite3.connect(lived[0].lake / "mlflow.db") as store:
        rows = [
            (table, *row) for table, names in stored.items() for row in store.execute(f"select {names} from {table}")
        ]
    store.close()
    assert len(rows) > 50
    for table, key, value in rows:
        assert not re.search(r"object at 0x|<[\w.]+( |>)", value), (table, key, value)
        if value[:1] in ("{", "["):  # one that is cut is neither JSON nor Python
            assert json.loads(value) if key not in ("runtime_params", "namespaces") else ast.literal_eval(value)
    commands = {value for table, key, value in rows if (table, key) == ("tags", "command")}
    assert f"make run LANDING={lived[0].landing} LAKE={lived[0].lake}" in commands


def test_what_came_in_is_what_came_out(lived: tuple[Place, subprocess.CompletedProcess[str]]) -> None:
    lakehouse, _ = lived
    books = lakehouse.table("manifest_customers").to_pandas().iloc[0]
    assert books.n_lines == books.n_raw + books.n_quarantined == 1_500
    rows = {
        name: lakehouse.table(name).to_pyarrow_table().num_rows
        for name in ("raw_customers", "clean_customers", "quarantine_customers")
    }
    assert rows["raw_customers"] == rows["clean_customers"] + rows["quarantine_customers"] == books.n_raw


def test_the_verdict_names_its_inputs(lived: tuple[Place, subprocess.CompletedProcess[str]]) -> None:
    lakehouse, _ = lived
    verdict = lakehouse.table("verdict_model").to_pandas().iloc[0]
    made_of = json.loads(verdict["made_of"])
    table = lakehouse.table("model_input_customers")
    assert made_of["churn.model_input_customers"] == f"v{table.version()} of {table.metadata().id[:8]}"
    assert (verdict["decision"], len(verdict["rows_sha256"]), len(verdict["evidence"])) == ("approve", 64, 32)


def test_a_second_run_on_unchanged_input_makes_nothing_new(
    lived: tuple[Place, subprocess.CompletedProcess[str]],
) -> None:
    lakehouse, _ = lived
    state_before = lakehouse.versions(), lakehouse.models()
    again = lakehouse.run()
    assert again.returncode == 0, again.stderr
    assert "unchanged: every step was skipped" in again.stdout
    assert "version 1 promoted" in again.stdout
    assert (lakehouse.versions(), lakehouse.models()) == state_before


def test_bare_kedro_runs_any_stage_from_a_folder_of_the_project(
    lived: tuple[Place, subprocess.CompletedProcess[str]],
) -> None:
    lakehouse, _ = lived
    state_before = lakehouse.versions(), lakehouse.models()
    for flags in (
        ["--pipelines", "data_quality"],
        ["--pipeline", "monitoring"],
        ["--only-missing-outputs"],
    ):
        process = lakehouse.kedro("run", *flags, cwd=PROJECT / "docs")
        assert process.returncode == 0, process.stdout + process.stderr
    assert (lakehouse.versions(), lakehouse.models()) == state_before


def test_a_lost_table_is_made_again_and_nothing_else(lived: tuple[Place, subprocess.CompletedProcess[str]]) -> None:
    import shutil

    lakehouse, _ = lived
    models_before = lakehouse.models()[:2]
    shutil.rmtree(lakehouse.table("feature_customers").table_uri.removeprefix("file://").rstrip("/"))
    process = lakehouse.kedro("run", "--pipelines", "feature_engineering", "--only-missing-outputs")
    assert process.returncode == 0, process.stderr
    assert "build_features" in process.stderr
    assert "] churn.feature_engineering.build_labels" not in process.stderr
    assert lakehouse.models()[:2] == models_before


def test_another_landing_folder_into_the_same_lake_is_refused_with_a_remedy(
    lived: tuple[Place, subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    lakehouse, _ = lived
    state_before = lakehouse.versions(), lakehouse.models()[:2]
    other_place = Place(place(tmp_path, n=50).landing, lakehouse.lake)
    process = other_place.run()
    assert process.returncode == 1
    assert "LAKE=" in process.stderr
    assert "Traceback" not in process.stderr
    assert (lakehouse.versions(), lakehouse.models()[:2]) == state_before


def test_a_mistake_is_one_sentence_and_leaves_nothing_behind(tmp_path: Path) -> None:
    cases = {
        "is missing": "customerID,gender\n1,Female\n",
        "is empty": "",
    }
    for number, (message, text) in enumerate(cases.items()):
        landing = tmp_path / f"landing {number} ä"
        landing.mkdir()
        (landing / "bad.csv").write_text(text, encoding="utf-8")
        process = Place(landing, tmp_path / f"lake{number}").run()
        assert process.returncode == 1
        assert message in process.stderr, process.stderr
        assert "bad.csv" in process.stderr
        assert "Traceback" not in process.stderr
        assert not list((tmp_path / f"lake{number}").glob("0*"))
    empty = tmp_path / "empty"
    empty.mkdir()
    for missing in (empty, tmp_path / "nowhere"):
        process = Place(missing, tmp_path / "lake").run()
        assert (process.returncode, "Traceback" in process.stderr) == (1, False)
        assert str(missing) in process.stderr


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> Quick:
    """A landing folder that is added to, with one quick trial; after its first run, for whose end approval is asked."""
    folder = tmp_path_factory.mktemp("quick")
    conf = Path(shutil.copytree(PROJECT / "conf", folder / "conf"))
    (conf / "local" / "parameters.yml").write_text(QUICK_SEARCH, encoding="utf-8")
    lakehouse = place(folder)
    parameters = conf / "base" / "churn" / "parameters.yml"
    text = parameters.read_text(encoding="utf-8")
    assert "approval_required: false" in text
    parameters.write_text(text.replace("approval_required: false", "approval_required: true"), encoding="utf-8")
    waiting = lakehouse.kedro("run", "--conf-source", str(conf))
    parameters.write_text(text, encoding="utf-8")
    return lakehouse, conf, waiting


Quick = tuple[Place, Path, subprocess.CompletedProcess[str]]


@pytest.mark.slow
def test_a_first_run_that_needs_approval_ends_well_and_awaits_it(quick: Quick) -> None:
    lakehouse, conf, waiting = quick
    assert waiting.returncode == 0, waiting.stderr
    assert "awaiting approval" in waiting.stdout
    assert "scoring was skipped" in waiting.stdout
    assert lakehouse.models()[:2] == (1, None)
    # No longer required, the next run promotes it and scores.
    process = lakehouse.kedro("run", "--conf-source", str(conf))
    assert process.returncode == 0, process.stderr
    assert lakehouse.models()[:2] == (1, "1")
    assert lakehouse.table("score_customers").to_pyarrow_table().num_rows > 0


@pytest.mark.slow
def test_data_that_breaks_a_promise_stops_before_anything_downstream_and_leaves_clean_as_it_was(quick: Quick) -> None:
    lakehouse, conf, _ = quick
    assert lakehouse.kedro("run", "--conf-source", str(conf)).returncode == 0
    versions_before = lakehouse.versions()
    file = lakehouse.landing / "customers.csv"
    sound = file.read_text(encoding="utf-8")
    header, *body = sound.splitlines()
    tenure = header.split(",").index("tenure")
    broken = [",".join([*(v := line.split(","))[:tenure], "-3", *v[tenure + 1 :]]) for line in body[:600]] + body[600:]
    file.write_text("\n".join([header, *broken]) + "\n", encoding="utf-8")
    process = lakehouse.kedro("run", "--conf-source", str(conf))
    file.write_text(sound, encoding="utf-8")
    assert process.returncode == 1
    assert "tenure_is_mostly_sound" in process.stderr
    assert "600 of 1500" in process.stderr
    assert "Traceback" not in process.stderr
    versions_after = lakehouse.versions()
    assert {name for name in versions_before if versions_before[name] != versions_after[name]} == {
        "parsed_customers",
        "raw_customers",
        "quarantine_lines_customers",
        "manifest_customers",
        "checked_customers",
        "quarantine_customers",
        "metrics_columns_customers",
        "metrics_rules_customers",
    }
    assert lakehouse.table("quarantine_customers").to_pyarrow_table().num_rows == 600


@pytest.mark.slow
def test_a_later_snapshot_is_a_new_state_and_a_new_batch_and_old_scores_stay(quick: Quick) -> None:
    lakehouse, conf, _ = quick
    assert lakehouse.kedro("run", "--conf-source", str(conf)).returncode == 0
    first = lakehouse.table("score_customers").to_pandas().sort_values("customer_id", ignore_index=True)
    write_csv(lakehouse.landing / "customers_2025-01-31.csv", n=1_600, seed=1)
    process = lakehouse.kedro("run", "--conf-source", str(conf))
    assert process.returncode == 0, process.stderr
    scores = lakehouse.table("score_customers").to_pandas()
    assert set(scores["batch"]) == {"2024-12-31", "2025-01-31"}
    kept = scores[scores["batch"] == "2024-12-31"].sort_values("customer_id", ignore_index=True)
    assert kept.equals(first)
    part = lakehouse.table("model_input_customers").to_pandas().set_index("customer_id")["part"]
    old = lakehouse.table("outcome_holdout").to_pandas()["customer_id"]
    assert (part[old] == "holdout").all()
    (lakehouse.landing / "outcomes").mkdir()
    scored = scores[scores["batch"] == "2025-01-31"].head(200)
    lines = [
        "customerID,Churn",
        *(f"{row.customer_id},{'Yes' if row.Index % 3 == 0 else 'No'}" for row in scored.itertuples()),
    ]
    (lakehouse.landing / "outcomes" / "outcomes_2025-01-31.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    assert lakehouse.kedro("run", "--conf-source", str(conf)).returncode == 0
    live = lakehouse.table("metrics_live").to_pandas()
    assert live["n_rows"].tolist() == [200]
    assert live["batch"].tolist() == ["2025-01-31"]


@pytest.mark.slow
def test_the_real_file_works_as_it_is(telco: Path, tmp_path: Path) -> None:
    lakehouse = Place(telco, tmp_path / "lake")
    process = lakehouse.run()
    assert process.returncode == 0, process.stderr
    assert "7,043 rows in 1 file, 0 of them refused at parsing" in process.stdout
    metrics = lakehouse.table("metrics_holdout").to_pandas()
    everybody = metrics[metrics["segment"] == "all"].set_index("metric")["value"]
    assert 0.58 <= everybody["f1"] <= 0.68
    assert 0.81 <= everybody["roc_auc"] <= 0.88
    assert lakehouse.table("score_customers").to_pyarrow_table().num_rows == 5_174
    assert {"contract=One year", "tenure_group=short"} <= set(metrics["segment"])
