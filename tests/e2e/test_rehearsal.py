"""`make rehearse`: a job of the bundle, run from the wheel, gives the tables of `kedro run`; mistakes end it."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pandas as pd
import pytest
from rehearsals import USE_CASES, make_checkout, rehearse, rehearse_all, restore_quick, run_kedro, states
from stored import stored_tables

pytestmark = pytest.mark.slow

CHURN = "resources/churn.yml"


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkout(tmp_path_factory.mktemp("rehearsal"))


@pytest.fixture(autouse=True)
def _restored(checkout: Path) -> None:
    """Undo what an earlier test planted."""
    restore_quick(checkout)


@pytest.fixture(scope="module")
def rehearsed(checkout: Path) -> Path:
    """The lake after all jobs."""
    restore_quick(checkout)
    return rehearse_all(checkout)


@pytest.mark.parametrize("use_case", USE_CASES)
def test_jobs_write_the_tables_of_kedro_run(checkout: Path, use_case: str, rehearsed: Path, tmp_path: Path) -> None:
    run_kedro(checkout, use_case, tmp_path / "lake")
    expected, written = stored_tables(tmp_path / "lake", use_case), stored_tables(rehearsed, use_case)
    assert written.keys() == expected.keys()
    assert len(written) > 30
    for name, rows in expected.items():
        pd.testing.assert_frame_equal(written[name], rows, rtol=1e-9, obj=name)


@pytest.mark.parametrize("use_case", USE_CASES)
def test_all_tasks_of_a_job_are_one_mlflow_run(rehearsed: Path, use_case: str) -> None:
    import mlflow

    client = mlflow.MlflowClient(f"sqlite:///{rehearsed / 'mlflow.db'}")
    experiments = [one.experiment_id for one in client.search_experiments()]
    runs = client.search_runs(experiments, max_results=1000)
    names = {f"{use_case}: {stage}" for stage in ("training", "batch_scoring", "monitoring")}
    parents = {run.data.tags["mlflow.parentRunId"] for run in runs if run.info.run_name in names}
    jobs = [run for run in runs if run.info.run_id in parents]
    assert len(jobs) == 2
    assert all(run.info.run_name.startswith("job run ") for run in jobs)
    assert [run.info.status for run in jobs] == ["FINISHED"] * 2
    assert {run.info.run_name for run in runs if run.data.tags.get("mlflow.parentRunId") in parents} >= names


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
    process = rehearse(checkout, job)
    assert process.returncode != 0
    assert message in process.stdout + process.stderr


def test_a_task_whose_input_nobody_stored_fails_its_job_and_a_repair_goes_on(checkout: Path, rehearsed: Path) -> None:
    lake = rehearsed.rename(rehearsed.with_name("elsewhere"))

    process = rehearse(checkout, "churn_backfill")
    assert process.returncode != 0
    assert states(process.stdout) == {"batch_scoring": "FAILED", "monitoring": "UPSTREAM_FAILED"}
    assert "No lake found in" in process.stdout
    (run,) = re.findall(r"REPAIR=(\d+)", process.stdout)

    shutil.rmtree(rehearsed, ignore_errors=True)
    lake.rename(rehearsed)
    repaired = rehearse(checkout, "churn_backfill", f"REPAIR={run}")
    assert repaired.returncode == 0, repaired.stdout + repaired.stderr
    assert f"churn_backfill, run {run}: SUCCESS" in repaired.stdout


def test_ctrl_c_cancels_the_run_and_a_repair_goes_on(checkout: Path) -> None:
    call = [".venv/bin/python", "-m", "lakehouse_ml.cli.rehearse", "--job", "churn_train"]
    call += ["--landing", str(checkout / "landing" / "churn")]
    with subprocess.Popen(call, cwd=checkout, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        runs = checkout / ".make" / "rehearsal" / "runs"
        earlier = set(runs.glob("*"))
        until = time.monotonic() + 300
        # The first task has begun once it has a log.
        while not (begun := [run for run in set(runs.glob("*")) - earlier if (run / "data_ingestion_0.log").exists()]):
            assert time.monotonic() < until
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=120)
    assert process.returncode == 130
    assert states(output) == {
        "data_ingestion": "CANCELED",
        **dict.fromkeys(["data_quality", "feature_engineering", "training", "evaluation"], "CANCELED"),
    }
    (run,) = begun
    assert not _processes_in(run)
    repaired = rehearse(checkout, "churn_train", f"REPAIR={run.name}")
    assert list(states(repaired.stdout).values()) == ["SUCCESS"] * 5


def _processes_in(folder: Path) -> list[str]:
    """Processes whose working folder it is."""
    folders = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            folders[process.name] = str((process / "cwd").readlink())
        except OSError:
            continue
    return [name for name, place in folders.items() if place == str(folder)]
