"""Apache Spark on this machine, for clients by Spark Connect; all of it comes with pip's pyspark and `make jars`."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import yaml

from lakehouse_ml.engine import jars
from lakehouse_ml.engine.sessions import DELTA, format_setting
from lakehouse_ml.engine.spec import EngineSpec
from lakehouse_ml.errors import EngineError

_STARTS_WITHIN_SECONDS = 180


@dataclass(frozen=True)
class Cluster:
    """A Spark Connect server on which the tasks of jobs compute.

    Attributes:
        address: `sc://host:port`.
        conf: Conf whose environment `cluster` computes there.
    """

    address: str
    conf: Path


@contextmanager
def start_connect_server(
    folder: Path,
    python: str,
    *,
    master: str = "local[*]",
    settings: Mapping[str, str] | None = None,
    variables: Mapping[str, str] | None = None,
) -> Iterator[str]:
    """Start a Spark Connect server with Delta.

    Args:
        folder: Where it keeps its files; a warehouse and a log.
        python: What its tasks run: that of the client.
        master: Where it computes, `local[*]` or `spark://host:port`.
        settings: Further settings of Spark.
        variables: Further variables of its process.

    Yields:
        Its address, `sc://host:port`.

    Raises:
        EngineError: Spark, its jars or Java are missing here; or it does not start.
    """
    for fault in jars.find_missing():
        raise EngineError(fault)
    port = find_free_port()
    all_settings = (
        DELTA
        | {
            "spark.connect.grpc.binding.address": "127.0.0.1",
            "spark.connect.grpc.binding.port": str(port),
            "spark.driver.host": "127.0.0.1",
            "spark.driver.bindAddress": "127.0.0.1",
            "spark.driver.extraClassPath": jars.class_path(),
            "spark.executor.extraClassPath": jars.class_path(),
            "spark.sql.warehouse.dir": str(folder / "warehouse"),
            "spark.ui.enabled": "false",
        }
        | dict(settings or {})
    )
    command = ["spark-submit", "--master", master, "--class", "org.apache.spark.sql.connect.service.SparkConnectServer"]
    command += [part for name, value in all_settings.items() for part in ("--conf", f"{name}={value}")]
    log = folder / f"connect-{port}.log"
    with run_spark([*command, "spark-internal"], log, python, variables) as process:
        await_port(port, log, process)
        yield f"sc://127.0.0.1:{port}"


@contextmanager
def run_spark(
    command: Sequence[str], log: Path, python: str, variables: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """Run one of Spark's own programs, and end it."""
    log.parent.mkdir(parents=True, exist_ok=True)
    home = Path(getattr(find_spec("pyspark"), "origin", "")).parent
    own = {
        "SPARK_HOME": str(home),
        "SPARK_LOCAL_IP": "127.0.0.1",
        "SPARK_CONF_DIR": str(Path(jars.__file__).parent / "spark_conf"),
        "PYSPARK_PYTHON": python,
        "PYSPARK_DRIVER_PYTHON": python,
    }
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SPARK_")}
    with (
        log.open("wb") as output,
        subprocess.Popen(
            [str(home / "bin" / command[0]), *command[1:]],
            stdout=output,
            stderr=output,
            env=environment | own | dict(variables or {}),
            cwd=log.parent,
            start_new_session=True,  # Ctrl-C is for whoever started it
        ) as process,
    ):
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()


def await_port(port: int, log: Path, process: subprocess.Popen[bytes]) -> None:
    """Wait until a process listens.

    Raises:
        EngineError: It ended, or does not listen in time.
    """
    until = time.monotonic() + _STARTS_WITHIN_SECONDS
    while time.monotonic() < until and process.poll() is None:
        with socket.socket() as connection:
            if connection.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.2)
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    raise EngineError(f"Apache Spark does not start; the end of {log}: {' '.join(lines[-3:])}")


def find_free_port() -> int:
    """Find a port of this machine on which nothing listens."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def read_settings(shipped: Path) -> dict[str, str]:
    """Read Spark's settings from conf/spark, in Spark's notation.

    Args:
        shipped: Conf with an environment `spark`.
    """
    engine = EngineSpec.model_validate(yaml.safe_load((shipped / "spark" / "spark.yml").read_text(encoding="utf-8")))
    return {name: format_setting(value) for name, value in engine.settings.items()}


def write_conf(shipped: Path, folder: Path, address: str) -> None:
    """Write conf whose environment `cluster` computes on a server and is like base in everything else.

    Args:
        shipped: Conf with an environment `base`.
        folder: A folder that does not exist yet.
        address: Of the server, `sc://host:port`.
    """
    shutil.copytree(shipped / "base", folder / "base")
    (folder / "cluster").mkdir()
    (folder / "cluster" / "spark.yml").write_text(f"engine: spark\nmaster: {address}\n", encoding="utf-8")
