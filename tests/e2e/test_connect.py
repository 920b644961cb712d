"""An end-to-end run through Databricks Connect: its own client, against a Spark Connect server of Apache Spark."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from checkouts import PROJECT, QUICK_SEARCH
from deltalake import DeltaTable

from lakehouse_ml.use_cases.churn.synthetic import write_csv
from parity.cluster import conf_of_a_client, connect_server

CONNECT = PROJECT / ".connect" / "bin" / "python"
pytestmark = [
    pytest.mark.jvm,
    pytest.mark.skipif(not CONNECT.exists(), reason="databricks-connect isn't installed: make connect"),
]


@dataclass(frozen=True)
class Lived:
    """A lake that churn lived in, computed by a server."""

    folder: Path

    def run(self) -> subprocess.CompletedProcess[str]:
        call = [
            CONNECT.with_name("kedro"),
            "run",
            "--env",
            "connect",
            "--conf-source",
            self.folder / "conf",
            "--namespaces",
            "churn",
            "--params",
            f"landing={self.folder / 'landing'},lake={self.folder / 'lake'}",
        ]
        return subprocess.run(
            call,
            cwd=PROJECT,
            capture_output=True,
            text=True,
            timeout=900,
            check=False,
            env={**os.environ, "no_grpc_proxy": "127.0.0.1"},
        )

    def versions(self) -> dict[str, int]:
        logs = (self.folder / "lake").glob("*/churn/*/_delta_log")
        return {log.parent.name: DeltaTable(log.parent).version() for log in logs}


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lived]:
    """A lake after the first run; the server runs until the tests end."""
    folder = tmp_path_factory.mktemp("connect")
    write_csv(folder / "landing" / "customers.csv", n=1_500, seed=1)
    with connect_server("local[2]", folder, str(CONNECT)) as address:
        conf = conf_of_a_client(folder / "conf", address)
        (conf / "connect" / "parameters.yml").write_text(QUICK_SEARCH, encoding="utf-8")
        lakehouse = Lived(folder)
        process = lakehouse.run()
        assert process.returncode == 0, process.stderr
        assert "version 1 promoted" in process.stdout
        yield lakehouse


def test_its_tables_are_sparks_commits_and_hold_a_score_for_each_customer(lived: Lived) -> None:
    table = DeltaTable(lived.folder / "lake" / "07_model_output" / "churn" / "score_customers")
    assert "Spark" in str(table.history(1)[0].get("engineInfo"))
    rows = table.to_pandas()
    assert len(rows) > 500
    assert rows["probability"].between(0, 1).all()
    assert rows["reasons"].map(len).between(1, 3).all()


def test_a_second_run_does_nothing(lived: Lived) -> None:
    versions_before = lived.versions()
    process = lived.run()
    assert process.returncode == 0, process.stderr
    assert lived.versions() == versions_before
