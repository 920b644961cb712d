"""Sessions of Databricks: a job's is used and never created, Connect's is chosen by name, and nothing replaces them.

There is no workspace here: a job is this process, with the variables that the platform sets and a session that is there
before; Databricks Connect is the real client, in its own environment, against a real Spark Connect server.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from kedro.framework.startup import bootstrap_project
from kedro.io import DataCatalog
from kedro.pipeline import Node, Pipeline

from lakehouse_ml.cli.commands import cli
from lakehouse_ml.engine.sessions import Engine
from lakehouse_ml.engine.spec import EngineSpec
from lakehouse_ml.errors import EngineError
from lakehouse_ml.runs.hooks import _check_volumes

PROJECT = Path(__file__).resolve().parents[2]
CONNECT = PROJECT / ".connect" / "bin" / "python"
by_its_client = pytest.mark.skipif(not CONNECT.exists(), reason="databricks-connect isn't installed: make connect")
PLATFORM = (
    "DATABRICKS_RUNTIME_VERSION",
    "DATABRICKS_ENV_VERSION",
    "DATABRICKS_CONFIG_PROFILE",
    "DATABRICKS_TOKEN",
    "DATABRICKS_HOST",
)
# The session that a job finds: another engine of the same process made it.
_THERE = """
from lakehouse_ml.engine.sessions import Engine
from lakehouse_ml.engine.spec import EngineSpec
from lakehouse_ml.errors import EngineError
there = Engine()
there.choose(EngineSpec(engine="sail"))
found = there.session()
job = Engine()
job.choose(EngineSpec(engine="databricks", compute="{compute}"))
"""


@pytest.fixture(autouse=True)
def _outside(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No job, no profile, no credentials of whoever runs the tests."""
    for name in PLATFORM:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DATABRICKS_CONFIG_FILE", str(tmp_path / "databrickscfg"))


def engine(**spec: str) -> Engine:
    chosen = Engine()
    chosen.choose(EngineSpec.model_validate(spec))
    return chosen


def python(code: str, program: str = sys.executable, **variables: str) -> str:
    environment = {**os.environ, **variables, "PYTHONPATH": str(PROJECT / "src")}
    process = subprocess.run(
        [program, "-c", code], capture_output=True, text=True, timeout=180, check=False, env=environment, cwd="/"
    )
    assert process.returncode == 0, process.stderr
    return process.stdout.strip()


# --- a job


@pytest.mark.parametrize(
    ("compute", "platform"),
    [
        ("classic", {"DATABRICKS_RUNTIME_VERSION": "18.0"}),
        ("serverless", {"DATABRICKS_RUNTIME_VERSION": "client.5.1"}),
        ("serverless", {"DATABRICKS_ENV_VERSION": "5"}),
    ],
)
def test_a_job_computes_with_the_session_that_is_there_and_leaves_it_to_its_owner(
    compute: str, platform: dict[str, str]
) -> None:
    code = _THERE.format(compute=compute) + (
        "assert job.session() is found\nprint(job.describe())\njob.stop()\nprint(found.range(3).count())\n"
    )
    facts, rows = python(code, **platform).splitlines()
    assert "'engine': 'databricks', 'engine.version': '4.1" in facts
    assert f"'engine.compute': '{compute}'" in facts
    assert rows == "3"


@pytest.mark.parametrize(
    ("conf", "platform", "message"),
    [
        ("serverless", {"DATABRICKS_RUNTIME_VERSION": "18.0"}, "serverless, and this job runs on classic compute"),
        ("classic", {"DATABRICKS_RUNTIME_VERSION": "client.5.1"}, "classic, and this job runs on serverless compute"),
    ],
)  # fmt: skip
def test_a_job_on_other_compute_than_conf_says_is_refused(conf: str, platform: dict[str, str], message: str) -> None:
    code = _THERE.format(compute=conf) + "try: job.session()\nexcept EngineError as error: print(error)\n"
    assert message in python(code, **platform)


def test_without_a_session_of_the_job_none_is_created(monkeypatch: pytest.MonkeyPatch) -> None:
    code = (
        "from lakehouse_ml.engine.sessions import Engine\n"
        "from lakehouse_ml.engine.spec import EngineSpec\n"
        "job = Engine()\n"
        "job.choose(EngineSpec(engine='databricks', compute='classic'))\n"
        "try: job.session()\nexcept Exception as error: print(error)\n"
        "from pyspark.sql import SparkSession\nprint(SparkSession.getActiveSession())\n"
    )
    message, session = python(code, DATABRICKS_RUNTIME_VERSION="18.0").splitlines()
    assert message.startswith("This Databricks job has no Spark session: use compute with Spark")
    assert session == "None"


def test_outside_of_a_job_the_engine_of_a_job_is_refused() -> None:
    with pytest.raises(EngineError, match=r"this process is not one: run it as a job"):
        engine(engine="databricks", compute="classic").session()


# --- Databricks Connect


def test_without_its_package_connect_says_how_to_get_it() -> None:
    with pytest.raises(EngineError, match=r"make connect .+ \.connect/bin/kedro run --env connect"):
        engine(engine="connect", compute="serverless").session()


@pytest.mark.slow
@by_its_client
def test_the_client_of_databricks_connect_computes_on_a_server(server: str) -> None:
    code = f"""
from lakehouse_ml.engine.sessions import Engine
from lakehouse_ml.engine.spec import EngineSpec
engine = Engine()
engine.choose(EngineSpec(engine="connect", compute="{server}"))
print(engine.session().range(1000).count(), engine.session().conf.get("spark.sql.session.timeZone"))
print(engine.describe()["engine.compute"] == "{server}", engine.describe()["engine.version"][:3])
from importlib.util import find_spec
import pyspark
print(find_spec("databricks.connect") is not None, find_spec("pysail"), pyspark.__version__[:4])
"""
    assert python(code, str(CONNECT), no_grpc_proxy="127.0.0.1").splitlines() == [
        "1000 UTC",
        "True 4.1",
        "True None 4.1.",
    ]


@pytest.mark.slow
@by_its_client
def test_its_client_takes_rows_of_pandas_to_a_table_and_no_rows_too(server: str) -> None:
    code = f"""
import pandas as pd
from lakehouse_ml.storage.delta.spark import SparkWriter
from lakehouse_ml.engine.sessions import ENGINE
from lakehouse_ml.engine.spec import EngineSpec
ENGINE.choose(EngineSpec(engine="connect", compute="{server}"))
rows = pd.DataFrame({{"file": ["a", None], "n": [1, 2], "share": [0.5, None], "nothing": [None, None]}})
for given in (rows, rows.head(0)):
    with SparkWriter("main.lake.books", "books", None).prepare(given) as prepared:
        print(prepared.frame.count(), prepared.schema.names)
"""
    printed = python(code, str(CONNECT), no_grpc_proxy="127.0.0.1").splitlines()
    assert printed == [f"{n} ['file', 'n', 'share', 'nothing']" for n in (2, 0)]


@pytest.mark.slow
@by_its_client
def test_a_server_that_does_not_answer_is_a_sentence_and_no_other_engine_computes() -> None:
    code = """
from lakehouse_ml.engine.sessions import Engine
from lakehouse_ml.engine.spec import EngineSpec
engine = Engine()
engine.choose(EngineSpec(engine="connect", compute="sc://127.0.0.1:9/;use_ssl=false"))
try: engine.session()
except Exception as error: print(type(error).__name__, str(error)[:60], engine._session)
"""
    printed = python(code, str(CONNECT), no_grpc_proxy="127.0.0.1")
    assert printed.startswith("EngineError Databricks Connect can't reach sc://127.0.0.1:9")
    assert printed.endswith("None")


# --- what is missing, reported without starting anything


def checked(env: str) -> Result:
    bootstrap_project(PROJECT)
    return CliRunner().invoke(cli, ["engine", "check", "--env", env])


def test_a_complete_environment_is_described_line_by_line() -> None:
    result = checked("local")
    assert result.exit_code == 0
    lines = dict(line.split(maxsplit=1) for line in result.output.splitlines())
    assert lines["engine"] == "sail"
    assert lines["version"].startswith("pysail 0.")
    assert lines["tracking"].startswith("sqlite:///")
    assert "missing" not in lines


def test_everything_that_connect_lacks_is_reported_at_once_without_a_token(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "databrickscfg").write_text("[work]\nhost = https://x.example\ntoken = dapi-of-somebody\n")
    for profile, parts in {
        "": ["DATABRICKS_CONFIG_PROFILE is not set: set it to a profile of"],
        "play": ["has no profile play", "databricks auth login --profile play"],
        "work": ["profile work of ", "(https://x.example, personal token)"],
    }.items():
        monkeypatch.setenv("DATABRICKS_CONFIG_PROFILE", profile)
        result = checked("connect")
        assert (result.exit_code, result.exception.__class__) == (1, SystemExit)
        for part in [*parts, "make connect creates an environment", "lake: LAKEHOUSE_CATALOG is not set"]:
            assert part in result.output
        assert "dapi-of-somebody" not in result.output


def test_a_profile_is_read_by_the_sdk_and_its_host_is_not_contacted(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DATABRICKS_CONFIG_PROFILE", "work")
    with socket.create_server(("127.0.0.1", 0)) as host:
        host.setblocking(False)
        address = f"http://127.0.0.1:{host.getsockname()[1]}"
        (tmp_path / "databrickscfg").write_text(f"[work]\nhost = {address}/\ntoken = dapi-of-somebody\n")
        assert f"({address}, personal token)" in checked("connect").output
        with pytest.raises(BlockingIOError):
            host.accept()


def test_a_profile_that_contradicts_itself_is_reported_without_its_secrets(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DATABRICKS_CONFIG_PROFILE", "work")
    (tmp_path / "databrickscfg").write_text(
        "[work]\nhost = https://x.example\ntoken = dapi-of-somebody\nclient_id = x\nclient_secret = of-a-robot\n"
    )
    output = checked("connect").output
    assert "can't be used: more than one authorization method configured: oauth and pat." in output
    assert "dapi-of-somebody" not in output
    assert "of-a-robot" not in output


@pytest.mark.parametrize("text", ["token = dapi-of-somebody\n", "[work]\ndapi-of-somebody\n"])
def test_a_file_of_profiles_that_is_none_is_reported_without_its_lines(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str
) -> None:
    monkeypatch.setenv("DATABRICKS_CONFIG_PROFILE", "work")
    (tmp_path / "databrickscfg").write_text(text)
    output = checked("connect").output
    assert f"{tmp_path / 'databrickscfg'} or variables DATABRICKS_… can't be used: " in output
    assert "dapi-of-somebody" not in output


def test_the_first_process_that_reads_settings_reads_variables() -> None:
    code = "from lakehouse_ml.engine.workspace import read_sign_in as read\nprint(read().host, read().method)"
    assert python(code, DATABRICKS_HOST="x.example", DATABRICKS_TOKEN="t") == "https://x.example personal token"


def test_a_token_beside_a_profile_is_reported(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "databrickscfg").write_text("[work]\nhost = https://x.example\nauth_type = databricks-cli\n")
    monkeypatch.setenv("DATABRICKS_CONFIG_PROFILE", "work")
    monkeypatch.setenv("DATABRICKS_TOKEN", "dapi-of-somebody")
    result = checked("connect")
    assert "DATABRICKS_CONFIG_PROFILE conflicts with DATABRICKS_TOKEN: unset the latter" in result.output
    assert "(https://x.example, databricks-cli)" in result.output


def test_a_job_s_environment_is_complete_in_the_job(monkeypatch: pytest.MonkeyPatch) -> None:
    outside = checked("prod")
    assert "this process is not one" in outside.output
    assert outside.exit_code == 1
    monkeypatch.setenv("DATABRICKS_RUNTIME_VERSION", "client.5.1")
    monkeypatch.setenv("BUNDLE_VAR_catalog", "main")
    monkeypatch.setenv("BUNDLE_VAR_service_principal", "somebody")
    inside = checked("prod")
    assert inside.exit_code == 0, inside.output
    for part in (
        "Databricks Runtime client.5.1",
        "main.lakehouse_ml_prod (a schema of Unity Catalog)",
        "/Volumes/main/lakehouse_ml_prod/landing/churn",
        "databricks-uc",
        "main.lakehouse_ml_prod.<use case>",
        "/Users/somebody/lakehouse-ml-prod",
    ):
        assert part in inside.output


def test_an_environment_that_does_not_exist_is_a_sentence() -> None:
    result = checked("prodd")
    assert result.exit_code == 1
    assert "There is no environment prodd" in result.output


def test_a_volume_that_is_not_mounted_is_no_folder_of_this_machine() -> None:
    if Path("/Volumes").is_dir():
        pytest.skip("this machine has a folder /Volumes")
    page = {"type": "lakehouse_ml.datasets.html_page.HtmlPage", "filepath": "/Volumes/main/x/files/{name}.html"}
    catalog = DataCatalog.from_config({"{name}_page": page})
    with pytest.raises(EngineError, match=r"^a_page lie in a Volume, and none is mounted on this machine"):
        _check_volumes(Pipeline([Node(len, "a_page", "n", name="n")]), catalog)
    _check_volumes(Pipeline([Node(len, "a", "n", name="n")]), catalog)
