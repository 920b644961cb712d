"""A refused secret is shown and stored nowhere, and a planted one would be seen in every kind of file."""

from __future__ import annotations

import gzip
import logging
import sqlite3
import zipfile
from contextlib import closing
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

import planted
from lakehouse_ml.cli.commands import run
from lakehouse_ml.project import PROJECT

SECRET = planted.plant("params")


def test_a_plant_is_seen_in_every_kind_of_file(tmp_path: Path) -> None:
    rows = pa.table({"text": [SECRET] * 3, "n": [1, 2, 3]})
    (tmp_path / "plain.log").write_text(f"x {SECRET}")
    (tmp_path / "packed.gz").write_bytes(gzip.compress(SECRET.encode()))
    pq.write_table(rows, tmp_path / "rows.parquet", compression="zstd")
    with zipfile.ZipFile(tmp_path / "model.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("inner.json", SECRET * 20)
    with closing(sqlite3.connect(tmp_path / "store.db")) as store, store:
        store.execute("create table t (v)")
        store.execute("insert into t values (?)", [SECRET])
    (tmp_path / "clean.txt").write_text("nothing")
    files = {Path(plant.split("!")[0]).name for plant in planted.find_plants(tmp_path)}
    assert files == {"plain.log", "packed.gz", "rows.parquet", "model.zip", "store.db"}


@pytest.mark.parametrize("key", ["landing", "lake", "churn.note"])
@pytest.mark.parametrize("way", ["--params", "--config"])
def test_a_run_that_is_given_a_secret_ends_without_showing_or_storing_it(
    key: str, way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from kedro.framework.startup import bootstrap_project

    bootstrap_project(PROJECT)
    lake = tmp_path / "lake"
    monkeypatch.chdir(PROJECT)
    address = "://".join(("http", f"anna:{SECRET}@127.0.0.1:9/x"))
    values = {"lake": str(lake), "landing": str(tmp_path), key: address}
    text = ",".join(f"{name}={value}" for name, value in values.items())
    if way == "--config":
        file = tmp_path / "run.yml"
        file.write_text(f"run:\n  params: '{text}'\n", encoding="utf-8")
        text = str(file)
    with caplog.at_level(logging.DEBUG):
        result = CliRunner().invoke(run, [way, text])
    assert result.exit_code == 1
    assert "is an address with a user name, password or token inside" in result.output
    assert not planted.is_planted(result.output + caplog.text)
    assert planted.find_plants(lake) == []


def test_the_token_in_a_git_remotes_address_is_not_logged(tmp_path: Path) -> None:
    import git
    from mlflow.utils.git_utils import get_git_repo_url

    repository = git.Repo.init(tmp_path)
    repository.create_remote("origin", "://".join(("https", f"anna:{SECRET}@example.com/x.git")))
    repository.close()
    assert get_git_repo_url(str(tmp_path)) == "https://example.com/x.git"
