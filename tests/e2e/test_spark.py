"""An end-to-end run on Apache Spark with MLlib's models: one line of conf and another environment."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
from deltalake import DeltaTable

from few_rows import told_in_conf
from lakehouse_ml.use_cases.churn.synthetic import write_csv
from lakehouse_ml.use_cases.predictive_maintenance.synthetic import simulate, write
from run_command import run_command

pytestmark = pytest.mark.jvm

PROJECT = Path(__file__).resolve().parents[2]
# One quick trial, half of the prediction times, and a bar that so small a plant can reach.
QUICK = """\
churn:
  training:
    library: mllib
    trials:
      - {estimator: logistic_regression, params: {C: 1.0}}
predictive_maintenance:
  features: {step_hours: 12, window_hours: [6, 24]}
  training:
    library: mllib
    folds: 2
    trials:
      - {estimator: random_forest, params: {n_estimators: 10, max_depth: 5, min_samples_split: 10}}
  evaluation:
    floors: {f1: 0.1, roc_auc: 0.5}
    resamples: 100
    policy: {resamples: 200, min_positives: 5}
"""


@dataclass(frozen=True)
class Lived:
    """A lake that a use case lived in on Apache Spark, and what it said."""

    use_case: str
    landing: Path
    lake: Path
    conf: Path
    output: str = ""

    def run(self, *arguments: str, env: str = "spark", **params: object) -> subprocess.CompletedProcess[str]:
        settings = {"landing": self.landing, "lake": self.lake, **params}
        call = run_command(self.use_case, self.conf, settings, "--env", env, *arguments)
        process = subprocess.run(call, cwd=PROJECT, capture_output=True, text=True, timeout=900, check=False)
        assert "Traceback" not in process.stderr, process.stderr
        return process

    def table(self, name: str) -> DeltaTable:
        (folder,) = self.lake.glob(f"*/{self.use_case}/{name}")
        return DeltaTable(folder)

    def versions(self) -> dict[str, int]:
        logs = self.lake.glob(f"*/{self.use_case}/*/_delta_log")
        return {log.parent.name: DeltaTable(log.parent).version() for log in logs}


@pytest.fixture(scope="module", params=["churn", "predictive_maintenance"])
def lived(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Lived:
    """Each use case after its first run."""
    folder = tmp_path_factory.mktemp(request.param)
    conf = Path(shutil.copytree(PROJECT / "conf", folder / "conf"))
    (conf / "spark" / "parameters.yml").write_text(QUICK, encoding="utf-8")
    engine = conf / "spark" / "spark.yml"
    engine.write_text(told_in_conf(engine.read_text(encoding="utf-8")), encoding="utf-8")
    (conf / "local" / "parameters.yml").write_text(
        QUICK.replace("library: mllib", "library: sklearn"), encoding="utf-8"
    )
    lakehouse = Lived(request.param, folder / "landing", folder / "lake", conf)
    if request.param == "churn":
        write_csv(folder / "landing" / "customers.csv", n=1_500, seed=1)
    else:
        # A JVM takes minutes for so many tables: features come from Sail, and Spark goes on with them.
        write(folder / "landing", simulate(24, 75, seed=1))
        process = lakehouse.run("--pipelines", "data_ingestion,data_quality,feature_engineering", env="local")
        assert process.returncode == 0, process.stderr
    process = lakehouse.run()
    assert process.returncode == 0, process.stderr
    return Lived(**{**vars(lakehouse), "output": process.stdout})


def test_its_champion_is_sparks_own_and_scores(lived: Lived) -> None:
    assert "version 1 promoted" in lived.output
    (described,) = lived.lake.rglob("MLmodel")
    assert "spark_version: 4.1" in described.read_text(encoding="utf-8")
    (scores,) = lived.lake.glob(f"07_model_output/{lived.use_case}/score_[cm]*s")
    rows = DeltaTable(scores).to_pandas()
    assert rows["probability"].between(0, 1).all()
    assert rows["probability"].nunique() > 5
    assert rows["reasons"].map(len).between(1, 3).all()


def test_a_second_run_does_nothing(lived: Lived) -> None:
    versions_before = lived.versions()
    process = lived.run()
    assert process.returncode == 0, process.stderr
    assert lived.versions() == versions_before


def test_another_engine_refuses_its_champion_and_says_what_to_do(lived: Lived) -> None:
    fewer = {f"{lived.use_case}.batch_scoring.reasons": 1}
    process = lived.run("--pipelines", "batch_scoring", env="local", **fewer)
    assert process.returncode == 1
    assert "is a model of mllib, which needs the engine spark, and this run uses sail" in process.stderr


def test_a_candidate_of_scikit_learn_is_judged_against_it_on_the_same_rows(lived: Lived) -> None:
    parameters = lived.conf / "spark" / "parameters.yml"
    parameters.write_text(QUICK.replace("library: mllib", "library: sklearn"), encoding="utf-8")
    process = lived.run("--pipelines", "training,evaluation")
    parameters.write_text(QUICK, encoding="utf-8")
    assert process.returncode == 0, process.stderr
    # Of a small plant a dozen held-out rows are positive: their ranks say more than a threshold does.
    metrics = lived.table("metrics_holdout").to_pandas().query("segment == 'all' and metric == 'roc_auc'")
    one, other = (metrics.set_index("model")["value"][who] for who in ("candidate", "incumbent"))
    assert min(one, other) > 0.75
    assert abs(one - other) < 0.05
    assert metrics["n_rows"].nunique() == 1
