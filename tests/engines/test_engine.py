"""The engine's session: of the kind that was chosen, started when asked for, and gone before the process ends."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from lakehouse_ml.datasets.delta_table import DeltaTable
from lakehouse_ml.engine import temporary_files
from lakehouse_ml.engine.sessions import ENGINE, Engine, _find_existing_session
from lakehouse_ml.engine.spec import EngineSpec
from lakehouse_ml.errors import EngineError

# Each of these processes has an engine to itself: the tests' own goes on.
_START = """
import threading
from lakehouse_ml.engine.sessions import ENGINE
from lakehouse_ml.engine.spec import EngineSpec
ENGINE.choose(EngineSpec(engine="sail"))
counted = lambda: ENGINE.session().range(1000).count()
"""


def _python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", _START + code], capture_output=True, text=True, timeout=120, check=False
    )


def test_an_unchosen_engine_is_refused_with_how_to_choose_one() -> None:
    with pytest.raises(EngineError, match=r"conf/<env>/spark\.yml"):
        Engine().session()


def test_only_engines_that_the_project_has_can_be_chosen() -> None:
    with pytest.raises(ValueError, match="sail"):
        EngineSpec.model_validate({"engine": "something"})


def test_spark_without_its_jars_is_refused_and_says_how_to_get_them(monkeypatch: pytest.MonkeyPatch) -> None:
    import pyspark

    from lakehouse_ml.engine import jars

    monkeypatch.setattr(jars, "FOLDER", Path("/nowhere"))
    whole = (Path(pyspark.__file__).parent / "jars").is_dir()
    message = (
        r"delta-spark_4\.1_2\.13-4\.4\.0\.jar .+ in /nowhere: make jars"
        if whole
        else r"only its client is installed: make jars"
    )
    engine = Engine()
    engine.choose(EngineSpec(engine="spark"))
    with pytest.raises(EngineError, match=message):
        engine.session()


def test_a_server_that_is_none_of_apache_spark_does_not_stand_in_for_it() -> None:
    process = _python("""
from pysail.spark import SparkConnectServer
server = SparkConnectServer("127.0.0.1", 0)
server.start(background=True)
from lakehouse_ml.engine.sessions import Engine
asked = Engine()
asked.choose(EngineSpec(engine="spark", master="sc://{}:{}".format(*server.listening_address)))
try: asked.session()
except Exception as error: print(error)
""")
    assert process.stdout.startswith("conf says engine: spark, and sc://127.0.0.1:"), process.stderr
    assert process.stdout.endswith(" is sail.\n")


def test_only_the_first_requests_to_a_server_are_retried_for_seconds_and_none_once_it_failed() -> None:
    process = _python("""
from lakehouse_ml.engine.retries import retry_for_seconds
session = ENGINE.session()
def most(): return [policy.max_retries for policy in session.client.get_retry_policies()]
usual = most()
with retry_for_seconds(session):
    print(session.range(3).count(), most())
print(most() == usual)
try:
    with retry_for_seconds(session): session.sql("SELECT no_such_column").collect()
except Exception as error: print("no_such_column" in str(error), most())
""")
    assert (process.returncode, process.stdout) == (0, "3 [5]\nTrue\nTrue []\n"), process.stderr


@pytest.mark.jvm
def test_spark_starts_whatever_session_a_parent_process_had() -> None:
    code = """
import os
os.environ["SPARK_CONNECT_MODE_ENABLED"] = "1"
from lakehouse_ml.engine.sessions import ENGINE
from lakehouse_ml.engine.spec import EngineSpec
ENGINE.choose(EngineSpec(engine="spark"))
print(ENGINE.session().range(1000).count(), type(ENGINE.session()).__module__)
"""
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=False)
    assert process.stdout.strip() == "1000 pyspark.sql.session", process.stderr


@pytest.mark.jvm
def test_leftovers_of_a_killed_spark_are_removed_by_the_next_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = """
import os, signal
from lakehouse_ml.engine.sessions import ENGINE
from lakehouse_ml.engine.spec import EngineSpec
ENGINE.choose(EngineSpec(engine="spark"))
session = ENGINE.session()
session.range(1000).repartition(3).groupBy("id").count().cache().count()
folder = session._jvm.java.lang.System.getProperty("java.io.tmpdir")
print(os.getpid(), folder, len(os.listdir(folder)), flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    own = {**os.environ, "TMPDIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=False, env=own
    )
    process, folder, n_files = done.stdout.split()
    assert Path(folder).parent == tmp_path
    assert [path.name for path in tmp_path.iterdir()] == [Path(folder).name]
    assert int(n_files) > 0

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    temporary_files.remove_leftovers(int(process))
    assert not any(tmp_path.iterdir())


def test_an_existing_session_is_used_and_left_to_its_owner() -> None:
    process = _python("""
from pysail.spark import SparkConnectServer
from pyspark.sql import SparkSession
server = SparkConnectServer("127.0.0.1", 0)
server.start(background=True)
host, port = server.listening_address
given = SparkSession.builder.remote(f"sc://{host}:{port}").getOrCreate()
assert ENGINE.session() is given
assert ENGINE._server is None
ENGINE.stop()
print(given.range(1000).count())
given.stop()
server.stop()
""")
    assert (process.returncode, process.stdout.strip()) == (0, "1000"), process.stderr


def test_a_session_of_another_kind_is_refused(spark: Any) -> None:
    other = "sail" if ENGINE.kind == "spark" else "spark"
    assert _find_existing_session(ENGINE.kind) is spark
    with pytest.raises(EngineError, match=rf"conf says engine: {other}, and this process has a session of "):
        _find_existing_session(other)


def test_times_are_in_utc(spark: Any) -> None:
    assert spark.conf.get("spark.sql.session.timeZone") == "UTC"


def test_no_thread_releases_results_on_the_server(spark: Any) -> None:
    process = _python(
        "assert counted() == 1000\nprint([t.name for t in threading.enumerate() if 'Executor' in t.name])"
    )
    assert (process.returncode, process.stdout.strip(), process.stderr) == (0, "[]", "")


def test_a_process_ends_without_session_and_server() -> None:
    # Functions that are registered first are called last.
    process = _python("import atexit\natexit.register(lambda: print(ENGINE._session, ENGINE._server))\ncounted()")
    assert (process.returncode, process.stdout.strip(), process.stderr) == (0, "None None", "")


def test_a_stopped_engine_starts_and_stops_again() -> None:
    process = _python("counted()\nENGINE.stop()\nENGINE.stop()\nprint(counted())")
    assert (process.returncode, process.stdout.strip(), process.stderr) == (0, "1000", "")


@pytest.mark.parametrize("folder", ["plain", "a b", "Müller & Söhne", "客户", "a#b?c", "it's, 1+1=2"])
def test_a_table_is_read_wherever_it_lies(spark: Any, tmp_path: Path, folder: str) -> None:
    table = DeltaTable(filepath=str(tmp_path / folder / "things"))
    for n in (1, 2):
        table.save(pd.DataFrame({"n": [n]}))
        assert [row.n for row in table.load().collect()] == [n]


def test_links_to_such_folders_are_gone_with_the_session(tmp_path: Path) -> None:
    (tmp_path / "a b").mkdir()
    engine = Engine()
    engine.choose(EngineSpec(engine="sail"))
    link = Path(engine.readable_path(str(tmp_path / "a b")))
    assert link.readlink() == tmp_path / "a b"
    assert engine.readable_path(str(tmp_path / "a b")) == str(link)
    assert engine.readable_path("s3://bucket/a b") == "s3://bucket/a b"
    engine.stop()
    assert not link.is_symlink()
    assert (tmp_path / "a b").is_dir()


def test_a_process_that_read_tables_has_no_thread_that_could_abort_its_end(tmp_path: Path) -> None:
    # delta-rs's own pyarrow file system is written in Python; pyarrow's threads free its buffers when they like, and
    # in one of six such processes that was while the interpreter went down.
    process = _python(f"""
import sys
import tempfile
import pandas as pd
from lakehouse_ml.engine import temporary_files
from lakehouse_ml.datasets.delta_table import DeltaTable
table = DeltaTable(filepath={str(tmp_path / "things")!r}, frame="pandas")
for n in range(3):
    table.save(pd.DataFrame({{"n": [n]}}))
table.save(pd.DataFrame({{"n": ["2"]}}))
print(len(table.load()), table.count_rows("n", "2"), table.preview()["data"], "deltalake.fs" in sys.modules)
""")
    assert (process.returncode, process.stdout.strip(), process.stderr) == (0, "1 1 [['2']] False", "")


def test_a_proxy_of_the_users_is_not_between_engine_and_session(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("no_grpc_proxy", raising=False)
    process = _python("print(counted())")
    assert (process.returncode, process.stdout.strip(), process.stderr) == (0, "1000", "")


def test_an_answer_that_cannot_be_decoded_is_asked_for_again() -> None:
    process = _python("""
import grpc


table = ENGINE.session().range(3)
decode, schemas = grpc._common.deserialize, []

def garble_the_first(message, decoder):
    if decoder.__self__.__name__ == "AnalyzePlanResponse":
        schemas.append(message)
        message = message if schemas[1:] else bytes([8])
    return decode(message, decoder)

grpc._common.deserialize = garble_the_first
print(table.schema.names, len(schemas))
""")
    assert (process.returncode, process.stdout.strip()) == (0, "['id'] 2")
