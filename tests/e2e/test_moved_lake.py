"""A lake is one folder: moved, copied, restored or renamed, it works in its new place, and writes nowhere else."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import mlflow
import pytest
from checkouts import QUICK_SEARCH
from click.testing import CliRunner
from deltalake import DeltaTable
from test_bad_state import in_a_namespace

from lakehouse_ml import explore
from lakehouse_ml.cli.commands import cli
from lakehouse_ml.use_cases.churn.synthetic import write_csv
from warm import warm

PROJECT = Path(__file__).resolve().parents[2]
SCORES = Path("07_model_output", "churn", "score_customers")
pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Lake:
    """A lake with its landing files inside, as the default one has them, and a conf with one quick trial."""

    folder: Path
    conf: Path

    def run(self, *stages: str, folder: str | None = None) -> list[str]:
        """The nodes that ran, those that were up to date left out; each run is a process, as users have it."""
        where = folder or str(self.folder)
        call = [str(Path(sys.executable).with_name("kedro")), "run", "--conf-source", str(self.conf)]
        call += ["--namespaces", "churn", "--params", f"lake={where},landing={where}/landing"]
        call += ["--pipelines", ",".join(stages)] if stages else []
        process = subprocess.run(warm(call), cwd=PROJECT, capture_output=True, text=True, check=False)
        assert process.returncode == 0, process.stderr
        return re.findall(r"^\[ *\d+/\d+\] (\S+)$", process.stderr, re.MULTILINE)

    def land(self, n: int, seed: int) -> None:
        write_csv(self.folder / "landing" / "customers.csv", n=n, seed=seed)

    def content(self) -> dict[str, str]:
        """SHA-256 of each file."""
        files = (path for path in sorted(self.folder.rglob("*")) if path.is_file())
        return {str(path.relative_to(self.folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}

    def store(self) -> list[str]:
        """The rows of the tracking store, without those that say what was typed."""
        with closing(sqlite3.connect(self.folder / "mlflow.db")) as store:
            return [row for row in store.iterdump() if not row.startswith('INSERT INTO "tags"')]

    def artefacts(self) -> set[str]:
        return {name for name in self.content() if name.startswith("mlflow-artifacts/")}

    def champion(self) -> int:
        with closing(sqlite3.connect(self.folder / "mlflow.db")) as store:
            ((version,),) = store.execute("select version from registered_model_aliases where alias = 'champion'")
        return int(version)

    def score_again(self) -> int:
        """How many rows the champion scores after the scores were removed."""
        shutil.rmtree(self.folder / SCORES)
        assert "churn.batch_scoring.score_rows" in self.run()
        return int(DeltaTable(str(self.folder / SCORES)).count())

    def moved(self, to: Path) -> Lake:
        return replace(self, folder=self.folder.rename(to))

    def copied(self, to: Path) -> Lake:
        """As cp -r copies it."""
        subprocess.run(["cp", "-r", str(self.folder), str(to)], check=True)
        return replace(self, folder=to)


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    """A lake after an end-to-end run; tests take a copy."""
    folder = tmp_path_factory.mktemp("lived")
    conf = Path(shutil.copytree(PROJECT / "conf", folder / "conf", ignore=shutil.ignore_patterns("local")))
    (conf / "local").mkdir()
    (conf / "local" / "parameters.yml").write_text(QUICK_SEARCH, encoding="utf-8")
    lake = Lake(folder / "lake", conf)
    lake.land(1_200, seed=1)
    lake.run()
    return lake


@pytest.fixture
def lake(lived: Lake, tmp_path: Path) -> Lake:
    """A copy that has been used at its place."""
    lake = lived.copied(tmp_path / "first")
    assert lake.run() == []
    return lake


def names(lake: Lake, folder: Path) -> list[str]:
    """Where a store names another folder."""
    return [row for row in lake.store() if f"{folder}/" in row or f"{folder}'" in row]


def test_a_moved_lake_skips_what_it_has_done_scores_again_and_leaves_its_old_place_empty(
    lake: Lake, tmp_path: Path
) -> None:
    rows = DeltaTable(str(lake.folder / SCORES)).count()
    moved_lake = lake.moved(tmp_path / "second place")

    assert moved_lake.run() == []
    assert moved_lake.score_again() == rows
    assert names(moved_lake, lake.folder) == []
    assert not lake.folder.exists()
    assert [path.name for path in tmp_path.iterdir()] == ["second place"]


def test_a_copy_learns_from_new_data_and_its_original_stays_byte_for_byte(lake: Lake, tmp_path: Path) -> None:
    content_before = lake.content()
    copy = lake.copied(tmp_path / "copy")
    files = copy.artefacts()

    copy.land(1_500, seed=2)
    assert "churn.training.search" in copy.run()

    assert lake.content() == content_before
    assert {Path(name).name for name in copy.artefacts() - files} >= {"MLmodel", "model.skops", "report.html"}
    assert names(copy, lake.folder) == []
    assert copy.score_again() > 0
    assert lake.content() == content_before
    assert lake.run() == []


def test_a_backup_goes_on_at_the_old_place_where_the_lake_went_further(lake: Lake, tmp_path: Path) -> None:
    backup = lake.copied(tmp_path / "backup")
    backup_content = backup.content()
    lake.land(1_500, seed=2)
    lake.run()
    shutil.rmtree(lake.folder)

    restored = backup.copied(lake.folder)

    assert restored.run() == []
    assert restored.score_again() > 0
    assert backup.content() == backup_content


def test_a_renamed_lake_leaves_another_one_alone_that_took_its_place(lake: Lake, tmp_path: Path) -> None:
    renamed = lake.moved(tmp_path / "renamed")
    other_lake = replace(lake, folder=lake.folder)
    other_lake.land(300, seed=3)
    other_lake.run("data_ingestion", "data_quality")
    content_before = other_lake.content()

    renamed.land(1_500, seed=2)
    renamed.run()

    assert other_lake.content() == content_before
    assert names(renamed, other_lake.folder) == []
    assert renamed.champion() in (1, 2)
    assert other_lake.run("data_ingestion", "data_quality") == []


def test_a_lake_that_is_named_by_a_link_or_from_the_project_is_the_same_lake(lake: Lake, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(lake.folder)

    assert lake.run(folder=str(tmp_path / "link")) == []
    assert lake.run(folder=os.path.relpath(lake.folder, PROJECT)) == []

    assert names(lake, tmp_path / "link") == []
    moved_lake = lake.moved(tmp_path / "second")
    (tmp_path / "link").unlink()
    (tmp_path / "link").symlink_to(moved_lake.folder)
    assert moved_lake.run(folder=str(tmp_path / "link")) == []
    assert names(moved_lake, lake.folder) == []


def test_a_moved_lake_shows_its_model_and_lineage_without_a_run(lake: Lake, tmp_path: Path) -> None:
    content_before = lake.content()
    copy = lake.copied(tmp_path / "copy")
    shutil.rmtree(copy.folder / SCORES)

    tracked_before = mlflow.get_tracking_uri()
    champion = explore.catalog(str(copy.folder)).load("churn.champion_model")
    mlflow.set_tracking_uri(tracked_before)
    lineage = CliRunner().invoke(cli, ["lineage", "churn.model_input_customers", "--lake", str(copy.folder)])

    assert champion.version == "1"
    assert lineage.exit_code == 0, lineage.output
    assert f"of file customers.csv of {copy.folder}/landing" in lineage.output
    assert names(copy, lake.folder) == []
    assert lake.content() == content_before


READ = """
import sys
from lakehouse_ml.explore import catalog
found = catalog(sys.argv[1])
print("rows", len(found.load("churn.metrics_trials")))
try:
    found.load("churn.champion_model")
except Exception as error:
    print(error.__cause__ or error)
"""


def test_a_moved_lake_that_can_not_be_written_is_read_as_far_as_it_goes_and_says_what_to_do(
    lake: Lake, tmp_path: Path
) -> None:
    moved_lake = lake.moved(tmp_path / "second")
    content_before = moved_lake.content()
    mount = f"mount --bind {moved_lake.folder} {moved_lake.folder}; mount -o remount,bind,ro {moved_lake.folder}"

    call = [*in_a_namespace(mount), sys.executable, "-c", READ, str(moved_lake.folder)]
    process = subprocess.run(call, cwd=PROJECT, capture_output=True, text=True, check=False)

    assert process.returncode == 0, process.stderr
    assert (
        f"The lake {moved_lake.folder} was moved from {lake.folder} and can't be written"
        in process.stderr + process.stdout
    )
    assert "rows " in process.stdout
    assert "Version 1 of churn is not loaded" in process.stdout
    assert "If the lake was moved and is read-only, make it writable first." in process.stdout
    assert moved_lake.content() == content_before
    assert moved_lake.run() == []
    assert moved_lake.score_again() > 0
