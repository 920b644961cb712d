"""Conf for S3: which keys it has, which are refused, and what every engine gets from it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import click
import pytest

from lakehouse_ml.config import s3

PROJECT = Path(__file__).resolve().parents[2]
# Planted; not written out where it would be taken for a secret.
HUSH = "hush"


@pytest.fixture(autouse=True)
def _own_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """Variables that are set here are this test's alone."""
    variables = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "MLFLOW_T"))}
    monkeypatch.setattr(os, "environ", {**variables, "LAKEHOUSE_BUCKET": "bucket"})


def refused(conf: Path = PROJECT / "conf", env: str | None = "s3", **params: str) -> str:
    """The message of a run that ends before anything is opened."""
    from kedro.framework.project import settings
    from kedro.framework.startup import bootstrap_project

    bootstrap_project(PROJECT)
    session = settings.SESSION_CLASS.create(PROJECT, env=env, conf_source=str(conf), runtime_params=params)
    with pytest.raises(click.ClickException) as caught, session:
        session.run(namespaces=["churn"])
    return caught.value.message


def test_a_lake_at_an_address_without_a_tracking_server_is_refused_with_the_way_out() -> None:
    message = refused(env=None, lake="s3://bucket/lake")
    assert "the tracking store of a lake at an address is a server" in message
    assert "MLFLOW_TRACKING_URI=http" in message
    assert "--env s3" in message


def test_the_environment_asks_for_the_tracking_server_by_its_variable() -> None:
    message = refused()
    assert "globals.yml, line 5" in message
    assert "MLFLOW_TRACKING_URI" in message


@pytest.mark.parametrize(
    ("file", "line", "where"),
    [
        (
            "globals.yml",
            f"s3_endpoint: https://me:{HUSH}@host",
            "s3_endpoint (globals.yml) is an address with a user name",
        ),
        ("spark.yml", "  spark.hadoop.fs.s3a.secret.key: hush", "settings.spark.hadoop.fs.s3a.secret.key holds"),
        ("spark.yml", "  spark.hadoop.fs.s3a.access.key: hush", "settings.spark.hadoop.fs.s3a.access.key holds"),
        ("globals.yml", "s3_secret_key: hush", "s3_secret_key is not a known key"),
        ("globals.yml", "s3_encryption: none", "s3_encryption can't be 'none'"),
    ],
)
def test_credentials_and_other_wrong_keys_in_conf_are_refused_and_not_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str, line: str, where: str
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    conf = Path(shutil.copytree(PROJECT / "conf", tmp_path / "conf"))
    changed = (conf / "s3" / file).read_text(encoding="utf-8")
    changed = changed.replace("s3_encryption: aws:kms\n", "") if line.startswith("s3_encryption") else changed
    (conf / "s3" / file).write_text(f"{changed}{line}\n", encoding="utf-8")
    message = refused(conf)
    assert where in message
    assert "hush" not in message


def test_every_reader_gets_conf_and_open_settings_stay_those_of_the_environment() -> None:
    os.environ.update({"AWS_REGION": "eu-central-1", "AWS_ACCESS_KEY_ID": "hush", "AWS_SECRET_ACCESS_KEY": "hush"})
    s3.export_s3_environment(
        {"s3_endpoint": "http://127.0.0.1:9", "s3_encryption": "aws:kms", "s3_kms_key": "alias/lake"}
    )
    s3.export_s3_environment({"s3_endpoint": None, "s3_encryption": None})
    assert {name: value for name, value in os.environ.items() if name.startswith("AWS_") and value != "hush"} == {
        "AWS_REGION": "eu-central-1",
        "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
        "AWS_ALLOW_HTTP": "true",
        "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "false",
        "AWS_SERVER_SIDE_ENCRYPTION": "aws:kms",
        "AWS_SSE_KMS_KEY_ID": "alias/lake",
        "AWS_CONDITIONAL_PUT": "etag",
    }
    spark_settings = s3.spark_settings()
    assert spark_settings["spark.hadoop.fs.s3a.endpoint"] == "http://127.0.0.1:9"
    assert spark_settings["spark.hadoop.fs.s3a.encryption.algorithm"] == "SSE-KMS"
    assert spark_settings["spark.hadoop.fs.s3a.encryption.key"] == "alias/lake"
    assert spark_settings["spark.executorEnv.AWS_ENDPOINT_URL"] == "http://127.0.0.1:9"
    assert "hush" not in spark_settings.values()
