"""A checkout whose jobs are rehearsed on few rows."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from checkouts import copied, restore, shown

from few_rows import told_in_conf
from lakehouse_ml.use_cases.churn.synthetic import write_csv
from lakehouse_ml.use_cases.predictive_maintenance.synthetic import simulate, write

# One quick trial each, half of the prediction times, and a bar that so small a plant can reach.
QUICK = """
churn:
  training:
    trials: [{estimator: logistic_regression, params: {C: 1.0}}]
predictive_maintenance:
  features: {step_hours: 12, window_hours: [6, 24]}
  training:
    folds: 2
    trials: [{estimator: random_forest, params: {n_estimators: 10, max_depth: 5, min_samples_split: 10}}]
  evaluation:
    floors: {f1: 0.1, roc_auc: 0.5}
    resamples: 100
    policy: {resamples: 200, min_positives: 5}
"""


USE_CASES = ("churn", "predictive_maintenance")
JOBS = ["smoke", *(f"{name}_train" for name in USE_CASES), *(f"{name}_score" for name in USE_CASES), "maintenance"]


def make_checkout(folder: Path) -> Path:
    """A copy of the checkout with a quick search in the conf that the wheel carries, and with files to land."""
    checkout = copied(folder / "project")
    write_csv(checkout / "landing" / "churn" / "customers.csv", n=1_200, seed=1)
    write(checkout / "landing" / "predictive_maintenance", simulate(24, 75, seed=1))
    restore_quick(checkout)
    return checkout


def restore_quick(checkout: Path) -> None:
    """Every file as it is, and quick conf."""
    restore(checkout)
    for use_case, values in yaml.safe_load(QUICK).items():
        file = checkout / "conf" / "base" / use_case / "parameters.yml"
        conf = yaml.safe_load(file.read_text(encoding="utf-8"))
        _update(conf[use_case], values)
        file.write_text(yaml.safe_dump(conf, sort_keys=False), encoding="utf-8")
    engine = checkout / "conf" / "spark" / "spark.yml"
    engine.write_text(told_in_conf(engine.read_text(encoding="utf-8")), encoding="utf-8")


def _update(conf: dict[str, Any], values: dict[str, Any]) -> None:
    for name, value in values.items():
        if isinstance(value, dict):
            _update(conf[name], value)
        else:
            conf[name] = value


def rehearse(checkout: Path, job: str, *words: str) -> subprocess.CompletedProcess[str]:
    """`make rehearse` of one job, on the files of its use case."""
    landing = checkout / "landing" / re.sub("_(train|score|backfill)$", "", job)
    call = ["make", "rehearse", f"JOB={job}", f"LANDING={landing}", *words]
    return subprocess.run(call, cwd=checkout, capture_output=True, text=True, timeout=1800, check=False)


def states(output: str) -> dict[str, str]:
    """The table at the end: states by task."""
    return dict(re.findall(r"^  (\w+) +([A-Z_]+) +\d+ +[\d.]+$", output, re.MULTILINE))


def rehearse_all(checkout: Path, *words: str, jobs: Sequence[str] = JOBS) -> Path:
    """Rehearse smoke, training and scoring of both use cases, and maintenance, and return the lake."""
    call = ["make", "rehearse", f"LANDING={checkout / 'landing'}", *words]
    process = subprocess.run(call, cwd=checkout, capture_output=True, text=True, timeout=1800, check=False)
    assert process.returncode == 0, process.stdout + process.stderr
    tables = re.findall(r"^(\w+), run \d+: SUCCESS\n((?:  .*\n)+)", process.stdout, re.MULTILINE)
    assert [job for job, _ in tables] == list(jobs)
    for job, table in tables:
        assert list(states(table).values()) == ["SUCCESS"] * (5 if job.endswith(("_train", "_score")) else 1)
    return checkout / ".make" / "rehearsal" / "dev" / "lake"


def run_kedro(checkout: Path, use_case: str, lake: Path) -> None:
    """`kedro run` of all stages on the same files, on Sail."""
    (checkout / "conf" / "local").mkdir(exist_ok=True)
    landing = checkout / "landing" / use_case
    shown(f".venv/bin/kedro run --namespaces {use_case} --params lake={lake},landing={landing}", checkout)
