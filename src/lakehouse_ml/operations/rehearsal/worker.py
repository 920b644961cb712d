"""A worker of the platform: it has a session, finds an entry point in a wheel's metadata, and calls it in its process.

Run by path with the Python of an environment that has the wheel: `python worker.py <call as JSON>`. Nothing of this
package is imported but what the wheel itself brings. How the call ended stands in the file that the call names.
"""

from __future__ import annotations

import json
import sys
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any


def main(call: dict[str, Any]) -> int:
    """Call an entry point; to return is success, whatever is raised is failure, a `SystemExit` of 0 too."""
    session, server = start_session()
    try:
        message = _call(call)
    finally:
        session.stop()
        server.stop()
    Path(call["result"]).write_text(json.dumps({"error": message}), encoding="utf-8")
    return 0 if message is None else 1


def start_session() -> tuple[Any, Any]:
    """Start a Spark Connect session in this process, as the platform has one before it calls a task."""
    from pysail.spark import SparkConnectServer
    from pyspark.sql import SparkSession

    server = SparkConnectServer("127.0.0.1", 0)
    server.start(background=True)
    host, port = server.listening_address
    return SparkSession.builder.remote(f"sc://{host}:{port}").getOrCreate(), server


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
