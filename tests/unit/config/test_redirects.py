"""Nothing but conf says where a run reads and writes, and no address holds a secret."""

from __future__ import annotations

import logging
import os
import re
import shutil
from pathlib import Path

import pytest

from lakehouse_ml.config import redirects, s3
from lakehouse_ml.errors import ConfError

PROJECT = Path(__file__).resolve().parents[3]


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
    names = ("MLFLOW_REGISTRY_URI", "MLFLOW_RUN_ID", "MLFLOW_S3_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3")
    for name in names:
        monkeypatch.setenv(name, "elsewhere")
    with caplog.at_level(logging.WARNING):
        redirects.ignore_variables()
    assert not set(names) & set(os.environ)
    assert "MLFLOW_REGISTRY_URI, MLFLOW_RUN_ID, MLFLOW_S3_ENDPOINT_URL, AWS_ENDPOINT_URL_S3" in caplog.text
    caplog.clear()
    redirects.ignore_variables()
    assert caplog.text == ""


# Variables of MLflow whose name sounds like another store, and why they don't lead a run there.
NO_REDIRECT = {
    "conf names it": ["MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_ID", "MLFLOW_EXPERIMENT_NAME"],
    "identity and certificates of the user": ["MLFLOW_TRACKING_SERVER_CERT_PATH", "MLFLOW_TRACKING_CLIENT_CERT_PATH"],
    "a number, a switch or a name for logs": [
        "MLFLOW_WORKSPACE_ARTIFACT_ROOT_CACHE_CAPACITY", "MLFLOW_WORKSPACE_ARTIFACT_ROOT_CACHE_TTL_SECONDS",
        "MLFLOW_SQLALCHEMYSTORE_POOL_SIZE", "MLFLOW_SQLALCHEMYSTORE_POOL_RECYCLE", "MLFLOW_SQLALCHEMYSTORE_ECHO",
        "MLFLOW_SQLALCHEMYSTORE_MAX_OVERFLOW", "MLFLOW_SQLALCHEMYSTORE_POOLCLASS", "MLFLOW_ALLOW_FILE_STORE",
        "MLFLOW_PRESIGNED_DOWNLOAD_URL_TTL_SECONDS", "MLFLOW_ALLOW_HTTP_REDIRECTS",
        "MLFLOW_PRINT_MODEL_URLS_ON_CREATION",
        "MLFLOW_DATABRICKS_ENDPOINT_HTTP_RETRY_TIMEOUT", "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT",
        "MLFLOW_SYSTEM_METRICS_NODE_ID", "MLFLOW_GO_STORE_TESTING", "_MLFLOW_TELEMETRY_SESSION_ID",
        "MLFLOW_DATABRICKS_TRAFFIC_ID", "SERVERLESS_GPU_COMPUTE_ASSOCIATED_JOB_RUN_ID",
        "MLFLOW_TRACE_USE_ISOLATED_RANDOM_ID_GENERATOR",
    ],
    "of MLflow's server": [
        "MLFLOW_AUTH_CONFIG_PATH", "_MLFLOW_SERVER_BOOT_ID", "MLFLOW_ICON_URL_ALLOWED_SCHEMES",
        "MLFLOW_ICON_URL_ALLOW_PRIVATE_IPS", "MLFLOW_ICON_URL_ALLOWED_DOMAINS", "MLFLOW_SERVER_JOB_HUEY_REDIS_URL",
        "MLFLOW_SERVER_DISABLE_SECURITY_MIDDLEWARE",
    ],
    "of parts that no run uses": [
        "MLFLOW_ENV_ROOT", "MLFLOW_GATEWAY_URI", "MLFLOW_SAGEMAKER_DEPLOY_IMG_URL", "MLFLOW_GENAI_JUDGE_BASE_URL",
        "MLFLOW_GATEWAY_RATE_LIMITS_STORAGE_URI", "MLFLOW_GATEWAY_BUDGET_REDIS_URL", "MLFLOW_MODEL_CATALOG_URI",
        "MLFLOW_NOTEBOOK_TRACE_RENDERER_BASE_URL", "MLFLOW_MODEL_ENV_DOWNLOADING_TEMP_DIR",
    ],
}  # fmt: skip


def test_every_variable_of_mlflow_that_sounds_like_another_store_is_judged() -> None:
    from mlflow import environment_variables

    variables = {
        one.name for one in vars(environment_variables).values() if hasattr(one, "name") and hasattr(one, "get")
    }
    sounds = {name for name in variables if re.search(r"UR[IL]|ENDPOINT|DIR|PATH|STORE|_ID(_|$)|EXPERIMENT_NAME", name)}
    harmless = {name for names in NO_REDIRECT.values() for name in names}
    reviewed = harmless | set(redirects.OF_MLFLOW)
    assert len(sounds) > 30
    assert sounds - reviewed == set(), "new in this version of MLflow: ignore them in redirects, or say here why not"
    assert reviewed - variables <= {"MLFLOW_WORKSPACE", "MLFLOW_ENABLE_WORKSPACES"}, "no longer in MLflow"
    assert harmless & set(redirects.OF_MLFLOW) == set()


def test_a_session_of_spark_left_in_the_shell_is_ignored_with_a_word(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from lakehouse_ml.engine import sessions

    monkeypatch.setenv("SPARK_REMOTE", "sc://elsewhere:15002")
    # A session of another test stays what it is: afterwards the variable is as before.
    monkeypatch.setenv("SPARK_CONNECT_MODE_ENABLED", os.environ.get("SPARK_CONNECT_MODE_ENABLED", ""))
    with caplog.at_level(logging.WARNING):
        sessions._forget_other_sessions()
    assert "SPARK_REMOTE" not in os.environ
    assert "conf says where to read and write: SPARK_REMOTE" in caplog.text


@pytest.mark.parametrize(("endpoint", "ignored"), [("", "true"), ("https://s3.example.com", "false")])
def test_an_endpoint_in_a_profiles_file_counts_for_no_library(
    monkeypatch: pytest.MonkeyPatch, endpoint: str, ignored: str
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    for name in ("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "AWS_CONDITIONAL_PUT"):
        monkeypatch.setenv(name, "")
    s3.export_s3_environment({})
    assert os.environ["AWS_IGNORE_CONFIGURED_ENDPOINT_URLS"] == ignored


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
        try:
            message = " ".join(session.preflight())
        except ConfError as error:
            message = str(error)
    assert refused.value.message.startswith(f"lake ({place}) is an address with a user name")
    assert f"lake ({place}) is an address with a user name" in message
    assert "geheim" not in refused.value.message + message


def test_check_names_an_address_with_a_secret_and_does_not_show_it(monkeypatch: pytest.MonkeyPatch) -> None:
    from kedro.framework.project import settings
    from kedro.framework.startup import bootstrap_project

    bootstrap_project(PROJECT)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "://".join(("http", "anna:geheim@mlflow.example.com")))
    monkeypatch.setenv("LAKEHOUSE_BUCKET", "bucket")
    with settings.SESSION_CLASS.create(PROJECT, env="s3") as session:
        (fault,) = session.preflight()
        with pytest.raises(ConfError, match=r"^tracking \(globals\.yml\)") as refused:
            session.environment()
    assert fault.startswith("tracking (globals.yml) is an address with a user name")
    assert "geheim" not in fault + str(refused.value)
