"""A run imports nothing heavy that it doesn't use: each second of it is a second of every run."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from lakehouse_ml.use_cases.churn.synthetic import write_csv

PROJECT = Path(__file__).resolve().parents[2]
# What models and pictures need, and stores of other places; MLflow's plugin brings MLflow itself to every command.
OF_OTHERS = (
    "sklearn", "skops", "joblib", "threadpoolctl", "scipy.stats", "matplotlib", "optuna", "mlflow.sklearn",
    "pyspark.ml", "pyspark.pandas", "databricks.connect", "databricks.sdk", "boto3", "s3fs",
    "lakehouse_ml.modelling.estimators.mllib", "lakehouse_ml.explore", "lakehouse_ml.engine.jars",
    "lakehouse_ml.tooling.drafting.project",
)  # fmt: skip
# The exit code is the command's, and the modules are those that it has left.
RUN = """
import sys
from kedro.framework.cli.cli import main
others, sys.argv = sys.argv[1].split(","), ["kedro", *sys.argv[2:]]
try:
    main()
finally:
    print("imported:", *(name for name in others if name in sys.modules))
"""


def imported(*command: str, others: Sequence[str] = OF_OTHERS) -> list[str]:
    """Which of some modules a command of Kedro has imported when it is done."""
    call = [sys.executable, "-c", RUN, ",".join(others), *command]
    process = subprocess.run(
        call,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        cwd=PROJECT,
        env={**os.environ, "PYTHONPATH": str(PROJECT / "src")},
    )
    assert process.returncode == 0, process.stderr
    return process.stdout.rpartition("imported:")[2].split()


@pytest.mark.slow
def test_stages_before_training_import_nothing_of_models_pictures_or_other_places(tmp_path: Path) -> None:
    write_csv(tmp_path / "landing" / "customers.csv", n=40)
    stages = "data_ingestion,data_quality,feature_engineering"
    params = f"landing={tmp_path / 'landing'},lake={tmp_path / 'lake'}"
    assert imported("run", "--namespaces", "churn", "--pipelines", stages, "--params", params) == []


@pytest.mark.slow
def test_a_module_that_a_command_imports_is_found() -> None:
    assert imported("--version", others=("kedro.framework.cli.project", "no_such_module")) == [
        "kedro.framework.cli.project"
    ]


STARTED = """
import sys, threading
from lakehouse_ml.modelling.estimators import sklearn as estimators
estimators.start_workers()
# The pool's own threads live on.
for thread in threading.enumerate():
    if thread.name.startswith("Thread-"):
        thread.join()
        break
print("imported:", *(name for name in ("sklearn.ensemble", "joblib") if name in sys.modules))
"""


@pytest.mark.slow
@pytest.mark.parametrize("cores", ["1", "2"])
def test_workers_that_warm_up_let_nobody_else_import_what_they_do(cores: str) -> None:
    """Two threads that import scikit-learn at once meet half of it: MLflow watches its import, and holds no lock."""
    process = subprocess.run(
        [sys.executable, "-c", STARTED],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
        env={**os.environ, "LOKY_MAX_CPU_COUNT": cores},
    )
    assert process.stdout.rpartition("imported:")[2].split() == ["joblib"]


# What another thread sets up of the pool is held until the process ends, and the process until it has been told so.
LEFT_AT_ONCE = """
import atexit, sys, threading, time
from lakehouse_ml.modelling.estimators import sklearn as estimators
register = threading._register_atexit
def register_late(*call):
    while not threading._SHUTTING_DOWN and threading.current_thread() is not threading.main_thread():
        time.sleep(0.01)
    register(*call)
threading._register_atexit = register_late
atexit.register(time.sleep, 0.5)
estimators.start_workers()
sys.exit("a stage's own error")
"""


@pytest.mark.slow
def test_a_run_that_ends_while_workers_start_says_why_it_ended_and_nothing_of_them() -> None:
    call = [sys.executable, "-c", LEFT_AT_ONCE]
    two = {**os.environ, "LOKY_MAX_CPU_COUNT": "2"}
    process = subprocess.run(call, capture_output=True, text=True, timeout=120, check=False, env=two)
    assert (process.returncode, process.stderr) == (1, "a stage's own error\n")
