"""Nothing but conf says where a run reads and writes, and no address holds a secret."""

from __future__ import annotations

import logging
import os
import shutil
from pathlib import Path

import pytest

from lakehouse_ml import redirects
from lakehouse_ml.errors import ConfError

PROJECT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("scheme", "rest"),
    [
        ("http", "anna:geheim@files.example.com/landing"), ("https", "geheim@mlflow.example.com"),
        ("s3", "AKIA:geheim@bucket/lake"), ("postgresql", "mlflow:geheim@db/mlflow"), ("sqlite", "u:geheim@/x"),
        ("abfss", "c@account.dfs.core.windows.net/x?sig=geheim"),
        ("abfss", "user:geheim@account.dfs.core.windows.net/x"),
        ("https", "files.example.com/x?a=1&access_token=geheim"),
    ],
)  # fmt: skip
def test_an_address_with_a_secret_is_refused_by_name_and_not_shown(scheme: str, rest: str) -> None:
    with pytest.raises(ConfError, match=r"^churn\.landing \(--params\) is an address with a user name") as refused:
        redirects.check_addresses("--params", {"churn": {"landing": f"{scheme}://{rest}"}})
    assert "geheim" not in str(refused.value)


@pytest.mark.parametrize(
    "address",
    [
        "data/landing", "s3://bucket/lake", "http://127.0.0.1:5000", "sqlite:////srv/lake/mlflow.db", "a@b",
        "abfss://container@account.dfs.core.windows.net/lake", "s3://bucket/a@b/c", "databricks-uc", "me@example.com",
    ],
)  # fmt: skip
def test_other_texts_pass(address: str) -> None:
    redirects.check_addresses("globals.yml", {"lake": address, "n": 3})


def test_variables_that_redirect_are_removed_and_named(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    names = ("MLFLOW_REGISTRY_URI", "MLFLOW_RUN_ID", "AWS_ENDPOINT_URL_S3")
    for name in names:
        monkeypatch.setenv(name, "elsewhere")
    with caplog.at_level(logging.WARNING):
        redirects.ignore_variables()
    assert not set(names) & set(os.environ)
    assert "MLFLOW_REGISTRY_URI, MLFLOW_RUN_ID, AWS_ENDPOINT_URL_S3" in caplog.text
    caplog.clear()
    redirects.ignore_variables()
    assert caplog.text == ""


@pytest.mark.parametrize("place", ["--params", "globals.yml"])
def test_a_run_refuses_such_a_lake_before_another_message_shows_it(tmp_path: Path, place: str) -> None:
    import click
    from kedro.framework.project import settings
    from kedro.framework.startup import bootstrap_project

    bootstrap_project(PROJECT)
    lake = "://".join(("s3", "AKIA:geheim@bucket/lake"))
    conf = Path(shutil.copytree(PROJECT / "conf", tmp_path / "conf", ignore=shutil.ignore_patterns("local")))
    (conf / "local").mkdir()
    runtime = {"lake": lake} if place == "--params" else {}
    if not runtime:
        (conf / "local" / "globals.yml").write_text(f"lake: {lake}\n", encoding="utf-8")
    with settings.SESSION_CLASS.create(PROJECT, runtime_params=runtime, conf_source=str(conf)) as session:
        with pytest.raises(click.ClickException) as refused:
            session.run(pipeline_names=["data_quality"], namespaces=["churn"])
        faults = session.preflight()
    assert refused.value.message.startswith(f"lake ({place}) is an address with a user name")
    assert "geheim" not in refused.value.message + str(faults)
    assert bool(faults) == (place == "globals.yml")


def test_check_names_an_address_with_a_secret_and_does_not_show_it(monkeypatch: pytest.MonkeyPatch) -> None:
    from kedro.framework.project import settings
    from kedro.framework.startup import bootstrap_project

    bootstrap_project(PROJECT)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "://".join(("http", "anna:geheim@mlflow.example.com")))
    monkeypatch.setenv("LAKEHOUSE_BUCKET", "bucket")
    with settings.SESSION_CLASS.create(PROJECT, env="s3") as session:
        (fault,) = session.preflight()
        with pytest.raises(ConfError, match=r"^server\.mlflow_tracking_uri \(mlflow\.yml\)") as refused:
            session.environment()
    assert fault.startswith("server.mlflow_tracking_uri (mlflow.yml) is an address with a user name")
    assert "geheim" not in fault + str(refused.value)
