"""A worker of the platform: it has a session, finds an entry point in a wheel's metadata, and calls it in its process.

Run by path with the Python of an environment that has the wheel: `python worker.py <call as JSON>`. Nothing of this
package is imported but what the wheel itself brings. How the call ended stands in the file that the call names.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any


def main(call: dict[str, Any]) -> int:
    """Call an entry point; to return is success, whatever is raised is failure, a `SystemExit` of 0 too."""
    session, stop = start_session(call["cluster"])
    try:
        message = _call(call)
        if message is None and session.is_stopped:
            message = "The task stopped the session of the platform."
    finally:
        stop()
    Path(call["result"]).write_text(json.dumps({"error": message}), encoding="utf-8")
    return 0 if message is None else 1


def start_session(cluster: str) -> tuple[Any, Callable[[], None]]:
    """Start a Spark Connect session in this process, as the platform has one before it calls a task.

    Args:
        cluster: Address of a server; empty: Sail in this process.

    Returns:
        The session, and what stops it and its server.
    """
    from pyspark.sql import SparkSession

    if cluster:
        session = SparkSession.builder.remote(cluster).getOrCreate()
        return session, session.stop
    from pysail.spark import SparkConnectServer

    server = SparkConnectServer("127.0.0.1", 0)
    server.start(background=True)
    host, port = server.listening_address
    session = SparkSession.builder.remote(f"sc://{host}:{port}").getOrCreate()

    def stop() -> None:
        session.stop()
        server.stop()

    return session, stop


def _call(call: dict[str, Any]) -> str | None:
    """The error of a call; None if it returned."""
    package, name = call["package"], call["entry_point"]
    try:
        entry_points = distribution(package).entry_points
    except PackageNotFoundError:
        return f"The environment has no package {package}."
    functions = [one for one in entry_points if one.name == name]
    if not functions:
        return f"The package {package} has no entry point {name}."
    sys.argv = [package, *call["arguments"]]
    try:
        functions[0].load()()
    except BaseException as error:
        return f"{type(error).__name__}: {error}"
    return None


if __name__ == "__main__":
    sys.exit(main(json.loads(sys.argv[1])))
