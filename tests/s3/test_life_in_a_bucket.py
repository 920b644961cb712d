"""Both use cases end to end in a bucket, where requests are throttled and connections break."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import deltalake
import obstore
import pandas as pd
import pytest
from obstore.store import from_url
from stores import Store

from few_rows import told_in_conf
from lakehouse_ml.use_cases.churn.synthetic import write_csv
from lakehouse_ml.use_cases.predictive_maintenance.synthetic import simulate, write
from run_command import run_command
from warm import warm

PROJECT = Path(__file__).resolve().parents[2]
# One quick trial, half of the prediction times, and a bar that so small a plant can reach.
QUICK = """\
churn:
  training:
    trials:
      - {estimator: logistic_regression, params: {C: 1.0}}
predictive_maintenance:
  features: {step_hours: 12, window_hours: [6, 24]}
  training:
    folds: 2
    trials:
      - {estimator: gradient_boosting, params: {learning_rate: 0.1, max_iter: 40, max_depth: 3, min_samples_leaf: 20}}
  evaluation:
    floors: {f1: 0.1, roc_auc: 0.5}
    resamples: 100
    policy: {resamples: 200, min_positives: 5}
"""


@dataclass(frozen=True)
class Place:
    """A landing folder and a lake in a bucket, and the conf of who works there."""

    store: Store
    tracking: str
    use_case: str
    engine: str
    conf: Path

    @property
    def lake(self) -> str:
        return f"s3://{self.store.bucket}/{self.engine}/{self.use_case}/lake"

    @property
    def landing(self) -> str:
        return f"s3://{self.store.bucket}/{self.engine}/{self.use_case}/raw-data"

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        params = {"landing": self.landing, "lake": self.lake}
        call = run_command(self.use_case, self.conf, params, "--env", "s3", *arguments)
        # Endpoint and encryption stand in conf.
        environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
        environment |= {**self.store.variables(), "MLFLOW_TRACKING_URI": self.tracking}
        environment |= {"LAKEHOUSE_BUCKET": self.store.bucket, "LAKEHOUSE_ENGINE": self.engine}
        # A JVM's client is imported in place of the one that is imported beforehand.
        start = warm(call) if self.engine == "sail" else call
        process = subprocess.run(
            start, cwd=PROJECT, env=environment, capture_output=True, text=True, timeout=900, check=False
        )
        assert "Traceback" not in process.stderr, process.stderr
        return process

    def tables(self) -> dict[str, deltalake.DeltaTable]:
        bucket = from_url(self.lake)
        paths = (entry["path"] for batch in obstore.list(bucket) for entry in batch)
        folders = sorted({path.split("/_delta_log/")[0] for path in paths if "/_delta_log/" in path})
        return {path.rsplit("/", 1)[-1]: deltalake.DeltaTable(f"{self.lake}/{path}") for path in folders}

    def versions(self) -> dict[str, int]:
        return {name: table.version() for name, table in self.tables().items()}

    def rows(self, name: str) -> pd.DataFrame:
        return self.tables()[name].to_pandas()


def _land(place: Place, files: Path) -> None:
    bucket = from_url(place.landing)
    for path in sorted(files.rglob("*.csv")):
        obstore.put(bucket, path.relative_to(files).as_posix(), path)


def _conf(folder: Path, store: Store) -> Path:
    """Conf as it is shipped, with this server and a quick search."""
    conf = Path(shutil.copytree(PROJECT / "conf", folder / "conf"))
    (conf / "s3" / "parameters.yml").write_text(QUICK, encoding="utf-8")
    engine = conf / "s3" / "spark.yml"
    engine.write_text(told_in_conf(engine.read_text(encoding="utf-8")), encoding="utf-8")
    with (conf / "s3" / "globals.yml").open("a", encoding="utf-8") as stream:
        stream.write(f"s3_endpoint: {store.url}\n")
    return conf


# On Apache Spark churn alone: what a bucket is asked for doesn't differ by the use case, and a JVM takes minutes.
LIVES = [
    pytest.param((use_case, engine), id=f"{use_case} on {engine}", marks=mark)
    for use_case, engine, mark in (
        ("churn", "sail", pytest.mark.slow),
        ("predictive_maintenance", "sail", pytest.mark.slow),
        ("churn", "spark", pytest.mark.jvm),
    )
]


@pytest.fixture(scope="module", params=LIVES)
def lived(
    request: pytest.FixtureRequest, store: Store, tracking: str, tmp_path_factory: pytest.TempPathFactory
) -> Place:
    """Each use case after its first run, on a bad day of the store."""
    use_case, engine = request.param
    folder = tmp_path_factory.mktemp(use_case)
    lakehouse = Place(store, tracking, use_case, engine, _conf(folder, store))
    if use_case == "churn":
        write_csv(folder / "files" / "customers.csv", n=1_500, seed=1)
    else:
        write(folder / "files", simulate(24, 75, seed=1))
    _land(lakehouse, folder / "files")
    store.fail(0.05)
    process = lakehouse.run()
    store.fail(0)
    assert process.returncode == 0, process.stdout + process.stderr
    assert "version 1 promoted" in process.stdout
    return lakehouse


def test_the_store_was_bad_and_nothing_was_lost_or_doubled(lived: Place) -> None:
    requests = lived.store.request_counts()
    assert min(requests[kind] for kind in ("slow down", "dropped before", "dropped after", "dropped halfway")) > 3, (
        requests
    )
    for name, table in lived.tables().items():
        if name.startswith("manifest_"):
            books = table.to_pandas()
            source = name.removeprefix("manifest_")
            assert (books["n_lines"] == books["n_raw"] + books["n_quarantined"]).all()
            assert books["n_raw"].sum() == len(lived.rows(f"raw_{source}"))
    (scores,) = (name for name in lived.tables() if name in ("score_customers", "score_machines"))
    keys = [name for name in ("customer_id", "machine_id", "predicted_at", "batch") if name in lived.rows(scores)]
    assert len(lived.rows(scores)) > 20
    assert not lived.rows(scores).duplicated(keys).any()


def test_every_object_was_put_encrypted(lived: Place) -> None:
    requests = lived.store.request_counts()
    assert [kind for kind in requests if kind.startswith("unencrypted")] == []
    assert requests["encrypted"] > 50


def test_a_second_run_does_nothing(lived: Place) -> None:
    versions_before = lived.versions()
    process = lived.run()
    assert process.returncode == 0, process.stderr
    assert "unchanged: every step was skipped" in process.stdout
    assert lived.versions() == versions_before


def test_files_for_people_lie_beside_the_tables(lived: Place) -> None:
    bucket = from_url(lived.lake)
    page = bytes(obstore.get(bucket, f"08_reporting/{lived.use_case}/report.html").bytes()).decode()
    assert page.startswith("<!doctype html>")
    assert b"rank" in bytes(obstore.get(bucket, f"07_model_output/{lived.use_case}/actions.csv").bytes())
    assert b"status" in bytes(obstore.get(bucket, f"08_reporting/{lived.use_case}/drift.json").bytes())


def test_no_lock_is_left_behind(lived: Place) -> None:
    with pytest.raises(FileNotFoundError):
        obstore.head(from_url(lived.lake), ".lock")


def test_a_file_of_a_table_that_is_gone_is_an_error(lived: Place) -> None:
    table = next(table for name, table in lived.tables().items() if name.startswith("feature_"))
    path = table.file_uris()[0].removeprefix(f"{lived.lake}/")
    bucket = from_url(lived.lake)
    content = bytes(obstore.get(bucket, path).bytes())
    obstore.delete(bucket, path)
    process = lived.run(
        "--pipelines",
        "training",
        "--params",
        f"landing={lived.landing},lake={lived.lake},{lived.use_case}.training.seed=7",
    )
    obstore.put(bucket, path, content)
    assert process.returncode == 1, process.stdout
    assert "damaged" in process.stderr
