"""A standalone cluster of this machine, and Spark Connect servers as tests need them."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

from few_rows import JVM, TASKS
from lakehouse_ml.operations.rehearsal.cluster import await_port, find_free_port, run_spark, start_connect_server

PROJECT = Path(__file__).resolve().parents[2]
# Neither the zone of whoever wrote the files nor that of the session.
ELSEWHERE = "Pacific/Chatham"
SMALL = TASKS | {
    "spark.sql.shuffle.partitions": "2",
    "spark.driver.extraJavaOptions": JVM,
    "spark.executor.extraJavaOptions": JVM,
    "spark.driver.memory": "1g",
    "spark.executor.memory": "1g",
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
    port = find_free_port()
    address = f"spark://127.0.0.1:{port}"
    deploy = "org.apache.spark.deploy"
    zone = {"TZ": ELSEWHERE}
    with ExitStack() as stack:
        at = ["--host", "127.0.0.1", "--port", str(port), "--webui-port", "0"]
        log = folder / "master.log"
        process = stack.enter_context(run_spark(["spark-class", f"{deploy}.master.Master", *at], log, python, zone))
        await_port(port, log, process)
        for name in ("one", "two"):
            of_worker = ["--host", "127.0.0.1", "--cores", "1", "--memory", "2g", "--webui-port", "0"]
            worker = ["spark-class", f"{deploy}.worker.Worker", *of_worker, "-d", str(folder / name), address]
            stack.enter_context(run_spark(worker, folder / f"{name}.log", python, zone))
        yield address


def connect_server(master: str, folder: Path, python: str) -> AbstractContextManager[str]:
    """A Spark Connect server with Delta, for few rows; its address."""
    return start_connect_server(folder, python, master=master, settings=SMALL, variables={"TZ": ELSEWHERE})


def conf_of_a_client(folder: Path, address: str) -> Path:
    """Conf whose environment `connect` computes on a server: no workspace, so that all else is as base has it."""
    shutil.copytree(PROJECT / "conf" / "base", folder / "base")
    (folder / "connect").mkdir()
    (folder / "connect" / "spark.yml").write_text(f"engine: connect\ncompute: {address}\n", encoding="utf-8")
    return folder
