"""Which jobs a rehearsal runs, and on which files."""

from __future__ import annotations

from pathlib import Path

import pytest

from lakehouse_ml.cli import rehearse
from lakehouse_ml.errors import LakehouseError
from lakehouse_ml.operations.bundle.bundle import Bundle, Job, load_bundle
from lakehouse_ml.operations.rehearsal.run import choose_jobs

PROJECT = Path(__file__).resolve().parents[3]
SCORE = Job(
    "churn_score", {"tasks": [{"task_key": "a", "python_wheel_task": {"named_parameters": {"namespaces": "churn"}}}]}
)
SMOKE = Job("smoke", {"tasks": [{"task_key": "smoke"}]})


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return load_bundle(PROJECT, "dev", {"catalog": "main"})


def test_without_a_name_training_comes_before_scoring_and_backfills_do_not_run(bundle: Bundle) -> None:
    assert [job.key for job in choose_jobs(bundle, [])] == [
        "smoke",
        "churn_train",
        "predictive_maintenance_train",
        "churn_score",
        "predictive_maintenance_score",
        "maintenance",
    ]


def test_jobs_run_in_the_order_of_their_names(bundle: Bundle) -> None:
    assert [job.key for job in choose_jobs(bundle, ["churn_score", "churn_train"])] == ["churn_score", "churn_train"]


def test_an_unknown_job_is_named_with_the_nearest_one(bundle: Bundle) -> None:
    with pytest.raises(LakehouseError, match=r"The bundle has no job churn_trian\. Did you mean churn_train\?"):
        choose_jobs(bundle, ["smoke", "churn_trian"])


def test_the_only_job_takes_the_folder_itself_and_several_take_one_of_each_use_case(tmp_path: Path) -> None:
    folder = str(tmp_path)
    assert rehearse._find_landing(SCORE, folder, is_alone=True) == tmp_path
    assert rehearse._find_landing(SCORE, folder, is_alone=False) == tmp_path / "churn"
    assert rehearse._find_landing(SMOKE, folder, is_alone=False) == tmp_path


def test_without_a_folder_files_of_the_use_case_are_generated_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rehearse, "FOLDER", tmp_path)
    (tmp_path / "landing" / "churn").mkdir(parents=True)
    (tmp_path / "landing" / "churn" / "mine.csv").touch()
    landing = rehearse._find_landing(SCORE, None, is_alone=True)
    assert [file.name for file in landing.iterdir()] == ["mine.csv"]
    assert rehearse._find_landing(SMOKE, None, is_alone=True) == tmp_path / "landing"
