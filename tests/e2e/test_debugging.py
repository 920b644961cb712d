"""A debugger stops in a node: in a run, and in a call of it whose frames another process computes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from checkouts import PROJECT, restore

from lakehouse_ml.use_cases.churn.synthetic import write_csv

CONNECT = PROJECT / ".connect" / "bin" / "python"
STAGES = "data_ingestion,data_quality,feature_engineering"
# A node called on one file as if it were new, stopped in before its frame is made, and in what reads the file.
CALL = """
from lakehouse_ml.storage.delta.spark import _arrow_schema
from lakehouse_ml.explore import catalog, debugger, node, without_workers

parse_files, given = node(catalog(env="connect"), "churn.data_ingestion.parse_customers")
asked = ["p 'node', str(spec.snapshot_default)", "break read_records", "continue", "p 'workers', name", "clear 1"]
with without_workers():
    rows = debugger(*asked, "continue").runcall(parse_files, **given)
print(rows.count(), type(rows).__module__, _arrow_schema(rows).field("ingested_at").type)
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of the checkout's files with a few customers to land."""
    copy = tmp_path / "project"
    restore(copy)
    write_csv(copy / "data" / "landing" / "churn" / "customers.csv", n=40)
    return copy


def debug(call: list[str], checkout: Path, typed: str = "", **variables: str) -> str:
    """What a program of the copy's code prints, that somebody types to."""
    settings = {"PYTHONPATH": str(checkout / "src"), "PYTHONBREAKPOINT": "pdb.set_trace", "no_grpc_proxy": "127.0.0.1"}
    process = subprocess.run(
        call,
        input=typed,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        cwd=checkout,
        env={**os.environ, **settings, **variables},
    )
    assert process.returncode == 0, process.stdout + process.stderr
    return process.stdout


@pytest.mark.slow
def test_a_run_stops_at_a_breakpoint_in_a_node_and_goes_on(checkout: Path) -> None:
    source = checkout / "src" / "lakehouse_ml" / "use_cases" / "churn" / "features.py"
    text = source.read_text(encoding="utf-8")
    assert text.count("    return customers.select(") == 1
    source.write_text(text.replace("    return customers.select(", "    breakpoint()\n    return customers.select("))
    run = [sys.executable, "-m", "kedro", "run", "--namespaces", "churn", "--pipelines", STAGES]
    output = debug(run, checkout, "p 'stopped', spec.short_below, customers.count()\ncontinue\n")
    assert "('stopped', 12, 40)" in output
    assert "feature_engineering" in output.partition("time")[2]


@pytest.mark.slow
@pytest.mark.skipif(not CONNECT.exists(), reason="databricks-connect isn't installed: make connect")
def test_a_node_is_stopped_in_whose_frames_are_computed_through_databricks_connect(checkout: Path, server: str) -> None:
    # Where no workspace is: its engine is this machine's server, everything else is the laptop's.
    shutil.rmtree(checkout / "conf" / "connect")
    (checkout / "conf" / "connect").mkdir()
    (checkout / "conf" / "connect" / "spark.yml").write_text(f"engine: connect\ncompute: {server}\n")
    output = debug([str(CONNECT), "-c", CALL], checkout)
    assert "('node', '2024-12-31')" in output
    assert "('workers', 'customers.csv')" in output
    assert "40 pyspark.sql.connect.dataframe timestamp[us, tz=UTC]" in output
