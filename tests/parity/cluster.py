"""A standalone cluster of this machine, and Spark Connect servers: what they consist of comes with pip's pyspark."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path

from few_rows import JVM, TASKS
from lakehouse_ml.engine import jars
from lakehouse_ml.engine.sessions import DELTA

PROJECT = Path(__file__).resolve().parents[2]
# Neither the zone of whoever wrote the files nor that of the session.
ELSEWHERE = "Pacific/Chatham"
_STARTS_WITHIN_SECONDS = 180
SMALL = TASKS | {
    "spark.sql.shuffle.partitions": "2",
    "spark.driver.extraJavaOptions": JVM,
    "spark.executor.extraJavaOptions": JVM,
}


@contextmanager
def standalone(folder: Path, python: str) -> Iterator[str]:
    """A master and two workers of one core each.

    Args:
        folder: Where they keep their files.
        python: What the workers' tasks run.

    Yields:
        The master's address, `spark://host:port`.
    """
    port = _free_port()
    address = f"spark://127.0.0.1:{port}"
    deploy = "org.apache.spark.deploy"
    with ExitStack() as stack:
        master = [
            "spark-class",
            f"{deploy}.master.Master",
            "--host",
            "127.0.0.1",
            "--port",
            str(port),
            "--webui-port",
            "0",
        ]
        stack.enter_context(_process(master, folder / "master.log", python))
        _await(port, folder / "master.log")
        for name in ("one", "two"):
            worker = [
                "spark-class",
                f"{deploy}.worker.Worker",
                "--host",
                "127.0.0.1",
                "--cores",
                "1",
                "--memory",
                "2g",
                "--webui-port",
                "0",
                "-d",
                str(folder / name),
                address,
            ]
            stack.enter_context(_process(worker, folder / f"{name}.log", python))
        yield address


@contextmanager
def connect_server(master: str, folder: Path, python: str) -> Iterator[str]:
    """A Spark Connect server with Delta.

    Args:
        master: Where it computes, `local[2]` or `spark://host:port`.
        folder: Where it keeps its files; a warehouse and a log.
        python: What its tasks run: that of the client.

    Yields:
        Its address, `sc://host:port`.
    """
    port = _free_port()
    settings = (
        SMALL
        | DELTA
        | {
            "spark.connect.grpc.binding.address": "127.0.0.1",
            "spark.connect.grpc.binding.port": str(port),
            "spark.driver.host": "127.0.0.1",
            "spark.driver.bindAddress": "127.0.0.1",
            "spark.driver.extraClassPath": jars.class_path(),
            "spark.executor.extraClassPath": jars.class_path(),
            "spark.executor.memory": "1g",
            "spark.sql.warehouse.dir": str(folder / "warehouse"),
        }
    )
    command = ["spark-submit", "--master", master, "--class", "org.apache.spark.sql.connect.service.SparkConnectServer"]
    command += [part for name, value in settings.items() for part in ("--conf", f"{name}={value}")]
    log = folder / f"connect-{port}.log"
    with _process([*command, "--driver-memory", "1g", "spark-internal"], log, python):
        _await(port, log)
        yield f"sc://127.0.0.1:{port}"


def conf_of_a_client(folder: Path, address: str) -> Path:
    """Conf whose environment `connect` computes on a server: no workspace, so that all else is as base has it."""
    shutil.copytree(PROJECT / "conf" / "base", folder / "base")
    (folder / "connect").mkdir()
    (folder / "connect" / "spark.yml").write_text(f"engine: connect\ncompute: {address}\n", encoding="utf-8")
    return folder


@contextmanager
def _process(command: list[str], log: Path, python: str) -> Iterator[None]:
    log.parent.mkdir(parents=True, exist_ok=True)
    home = Path(str(find_spec("pyspark").origin)).parent
    quiet = Path(jars.__file__).parent / "spark_conf"
    spark_variables = {
        "SPARK_HOME": str(home),
        "SPARK_LOCAL_IP": "127.0.0.1",
        "SPARK_CONF_DIR": str(quiet),
        "PYSPARK_PYTHON": python,
        "PYSPARK_DRIVER_PYTHON": python,
        "TZ": ELSEWHERE,
    }
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SPARK_")}
    with (
        log.open("w") as output,
        subprocess.Popen(
            [home / "bin" / command[0], *command[1:]],
            stdout=output,
            stderr=output,
            env=environment | spark_variables,
            cwd=log.parent,
        ) as process,
    ):
        try:
            yield
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()


def _await(port: int, log: Path) -> None:
    until = time.monotonic() + _STARTS_WITHIN_SECONDS
    while time.monotonic() < until:
        with socket.socket() as connection:
            if connection.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.2)
    raise TimeoutError(f"Nothing answers on port {port}: {log.read_text(encoding='utf-8')[-2000:]}")


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
