"""The engines that give answers: what each needs here, and how it is asked, each in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from lakehouse_ml.engine import jars
from parity.cluster import ELSEWHERE, SMALL, connect_server, standalone

PROJECT = Path(__file__).resolve().parents[2]
CONNECT = PROJECT / ".connect" / "bin" / "python"
# What each is, in a table's head.
ENGINES = {
    "sail": "Sail",
    "spark": "Spark, `local[2]`",
    "cluster": "Spark, two workers",
    "connect": "Databricks Connect",
}


def missing(engine: str) -> str | None:
    """Why an engine can't be asked here, with the way to get it."""
    if engine == "sail":
        return None if find_spec("pysail") else "sail isn't installed: make run"
    if engine == "connect" and not CONNECT.exists():
        return "databricks-connect isn't installed: make connect"
    return next(iter(jars.find_missing()), None)


def ask(engine: str, folder: Path) -> dict[str, Any]:
    """Facts, answers and seconds of `answers.py`, computed in a new folder."""
    folder.mkdir()
    zone = "UTC" if engine == "sail" else ELSEWHERE
    # gRPC reads no NO_PROXY.
    variables = {
        "PYTHONPATH": str(PROJECT / "src"),
        "TZ": zone,
        "no_grpc_proxy": "127.0.0.1",
        "LOKY_MAX_CPU_COUNT": "1",
    }
    with _place(engine, folder) as (spec, python):
        call = [python, str(Path(__file__).parent / "answers.py"), json.dumps(spec), str(folder)]
        process = subprocess.run(
            call, capture_output=True, text=True, timeout=900, check=False, env=os.environ | variables, cwd=PROJECT
        )
    assert process.returncode == 0, process.stderr[-5000:]
    results: dict[str, Any] = json.loads((folder / "answers.json").read_text(encoding="utf-8"))
    return results


@contextmanager
def _place(engine: str, folder: Path) -> Iterator[tuple[dict[str, Any], str]]:
    """Where an engine computes, as conf says it, and the Python of whoever asks it."""
    own_python, connect_python = sys.executable, str(CONNECT)
    if engine == "sail":
        yield {"engine": "sail"}, own_python
    elif engine == "spark":
        yield {"engine": "spark", "master": "local[2]", "settings": SMALL}, own_python
    elif engine == "cluster":
        with standalone(folder, own_python) as master, connect_server(master, folder, own_python) as address:
            yield {"engine": "spark", "master": address}, own_python
    else:
        # Python's tasks need the Python of whoever asks: it isn't the other cluster's.
        with connect_server("local[2]", folder, connect_python) as address:
            yield {"engine": "connect", "compute": address}, connect_python
