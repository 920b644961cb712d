"""`make rehearse`: a job of the bundle, run from the wheel, gives the tables of `kedro run`; mistakes end it."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pandas as pd
import pytest
import yaml
from checkouts import copied, restore, shown
from stored import stored_tables

from lakehouse_ml.use_cases.churn.synthetic import write_csv

pytestmark = pytest.mark.slow

CHURN = "resources/churn.yml"


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the checkout with a quick search in the conf that the wheel carries, and with files to land."""
    copy = copied(tmp_path_factory.mktemp("rehearsal") / "project")
    write_csv(copy / "landing" / "customers.csv", n=1_200, seed=1)
    return copy


def restore_with_quick_search(checkout: Path) -> None:
    restore(checkout)
    file = checkout / "conf" / "base" / "churn" / "parameters.yml"
    conf = yaml.safe_load(file.read_text(encoding="utf-8"))
    conf["churn"]["training"]["trials"] = [{"estimator": "logistic_regression", "params": {"C": 1.0}}]
    file.write_text(yaml.safe_dump(conf, sort_keys=False), encoding="utf-8")


@pytest.fixture(autouse=True)
def _restored(checkout: Path) -> None:
    """Undo what an earlier test planted."""
    restore_with_quick_search(checkout)


def rehearse(checkout: Path, *words: str) -> subprocess.CompletedProcess[str]:
    call = ["make", "rehearse", f"LANDING={checkout / 'landing'}", *words]
    return subprocess.run(call, cwd=checkout, capture_output=True, text=True, timeout=900, check=False)


def states(output: str) -> dict[str, str]:
    """The table at the end: states by task."""
    return dict(re.findall(r"^  (\w+) +([A-Z_]+) +\d+ +[\d.]+$", output, re.MULTILINE))


@pytest.fixture(scope="module")
def rehearsed(checkout: Path) -> Path:
    """The lake after training and scoring, as jobs."""
    restore_with_quick_search(checkout)
    for job, stages in (("churn_train", 5), ("churn_score", 5)):
        process = rehearse(checkout, f"JOB={job}")
        assert process.returncode == 0, process.stdout + process.stderr
        assert list(states(process.stdout).values()) == ["SUCCESS"] * stages
    return checkout / ".make" / "rehearsal" / "dev" / "lake"


def test_jobs_write_the_tables_of_kedro_run(checkout: Path, rehearsed: Path, tmp_path: Path) -> None:
    (checkout / "conf" / "local").mkdir(exist_ok=True)
    landing = checkout / "landing"
    shown(f".venv/bin/kedro run --namespaces churn --params lake={tmp_path / 'lake'},landing={landing}", checkout)
    expected, written = stored_tables(tmp_path / "lake"), stored_tables(rehearsed)
    assert written.keys() == expected.keys()
    assert len(written) > 30
    for name, rows in expected.items():
        pd.testing.assert_frame_equal(written[name], rows, rtol=1e-9, obj=name)


def test_all_tasks_of_a_job_are_one_mlflow_run(rehearsed: Path) -> None:
    import mlflow

    client = mlflow.MlflowClient(f"sqlite:///{rehearsed / 'mlflow.db'}")
    experiments = [one.experiment_id for one in client.search_experiments()]
    runs = client.search_runs(experiments, max_results=1000)
    jobs = {run.info.run_id: run for run in runs if run.info.run_name.startswith("job run ")}
    assert [run.info.status for run in jobs.values()] == ["FINISHED"] * 2
    children = [run for run in runs if run.data.tags.get("mlflow.parentRunId") in jobs]
    assert {run.info.run_name for run in children} >= {"churn: training", "churn: batch_scoring", "churn: monitoring"}


def plant(checkout: Path, file: str, old: str, new: str) -> None:
    path = checkout / file
    text = path.read_text(encoding="utf-8")
    assert old in text, (file, old)
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


@pytest.mark.parametrize(
    ("job", "file", "old", "new", "message"),
    [
        (
            "smoke",
            "pyproject.toml",
            'environments = ["base", ',
            "environments = [",
            "There is no conf of lakehouse-ml in",
        ),
        (
            "smoke",
            "requirements/wheel/requirements.txt",
            "\ndeltalake==",
            "\n# deltalake==",
            "No module named 'deltalake'",
        ),
        ("smoke", "resources/operations.yml", "entry_point: smoke", "entry_point: smok", "no entry point 'smok'"),
        ("churn_score", CHURN, "{name: results_table,", "{name: result_table,", "takes no parameter result_table"),
        ("churn_score", CHURN, "  depends_on: [{task_key: data_quality}]\n", "", "and does not wait for it"),
    ],
    ids=[
        "wheel without conf",
        "missing requirement",
        "wrong entry point",
        "typo in a parameter",
        "left-out dependency",
    ],
)
def test_a_mistake_ends_the_rehearsal_with_its_sentence(
    checkout: Path, job: str, file: str, old: str, new: str, message: str
) -> None:
    plant(checkout, file, old, new)
    process = rehearse(checkout, f"JOB={job}")
    assert process.returncode != 0
    assert message in process.stdout + process.stderr


def test_a_task_whose_input_nobody_stored_fails_its_job_and_a_repair_goes_on(checkout: Path) -> None:
    lake = checkout / ".make" / "rehearsal" / "dev" / "lake"
    shutil.rmtree(lake, ignore_errors=True)

    process = rehearse(checkout, "JOB=churn_backfill")
    assert process.returncode != 0
    assert states(process.stdout) == {"batch_scoring": "FAILED", "monitoring": "UPSTREAM_FAILED"}
    assert "No lake found in" in process.stdout
    (run,) = re.findall(r"REPAIR=(\d+)", process.stdout)

    assert rehearse(checkout, "JOB=churn_train").returncode == 0
    repaired = rehearse(checkout, "JOB=churn_backfill", f"REPAIR={run}")
    assert repaired.returncode == 0, repaired.stdout + repaired.stderr
    assert f"churn_backfill, run {run}: SUCCESS" in repaired.stdout
