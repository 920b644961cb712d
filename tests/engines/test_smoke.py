"""`kedro smoke` and `kedro maintenance` on a lake in a folder, and what they do in a catalog."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from click.testing import CliRunner, Result
from kedro.framework.startup import bootstrap_project
from kedro.io import DataCatalog
from kedro.pipeline import Node, Pipeline

from lakehouse_ml.cli.commands import cli
from lakehouse_ml.config.lake import Lake
from lakehouse_ml.datasets.delta_table import DeltaTable
from lakehouse_ml.errors import LakehouseError
from lakehouse_ml.operations import maintenance, smoke

PROJECT = Path(__file__).resolve().parents[2]
MAIN = Lake("schema", "main.lake", "main.lake")


class Session:
    """A session that notes statements; those with a chosen word fail."""

    def __init__(self, failing: str = "\0") -> None:
        self.statements: list[str] = []
        self._failing = failing

    def sql(self, statement: str) -> Session:
        self.statements.append(statement)
        if self._failing in statement:
            raise RuntimeError(f"[PERMISSION_DENIED] no {self._failing}")
        return self

    def collect(self) -> list[tuple[str]]:
        return [("me@example.org",)]


@pytest.fixture(autouse=True)
def _project() -> Any:
    import mlflow

    tracked_before = mlflow.get_tracking_uri()
    bootstrap_project(PROJECT)
    yield
    mlflow.set_tracking_uri(tracked_before)


def run_smoke(lake: Path, landing: Path) -> Result:
    return CliRunner().invoke(cli, ["smoke", "--lake", str(lake), "--landing", str(landing), "--volume", ""])


def test_everything_is_written_and_read_and_nothing_stays_behind(tmp_path: Path, spark: Any) -> None:
    (tmp_path / "landing").mkdir()
    for _ in range(2):
        result = run_smoke(tmp_path / "lake", tmp_path / "landing")
        assert (result.exit_code, result.exception) == (0, None), result.output
        assert [line.split()[:2] for line in result.output.splitlines()] == [
            [name, "ok"] for name in ("table", "files", "landing", "experiment", "registry")
        ]
    assert sorted(path.name for path in (tmp_path / "lake").iterdir()) == [".lock", "mlflow.db"]


def test_what_fails_is_named_with_its_remedy_and_the_rest_is_tried(tmp_path: Path, spark: Any) -> None:
    result = run_smoke(tmp_path / "lake", tmp_path / "nowhere")
    assert result.exit_code == 1
    failed = [line for line in result.output.splitlines() if " failed " in line]
    assert [line.split()[0] for line in failed] == ["landing"]
    message = result.output.splitlines()[-1]
    assert message.startswith("Error: landing failed: [Errno 2] No such file or directory")
    assert message.endswith(f". Create {tmp_path}/nowhere and make it readable for who runs this.")


def test_a_missing_right_in_a_catalog_is_named_with_who_grants_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(smoke.ENGINE, "session", Session)
    assert smoke._grant(MAIN, "CREATE MODEL") == (
        "The owner of the schema: GRANT USE SCHEMA, CREATE MODEL ON SCHEMA main.lake TO `me@example.org`; the owner of "
        "the catalog: GRANT USE CATALOG ON CATALOG main TO `me@example.org`."
    )
    assert smoke._grant_volume("/Volumes/main/lake/landing/churn", "READ VOLUME") == (
        "The owner of the Volume: GRANT READ VOLUME ON VOLUME main.lake.landing TO `me@example.org`."
    )
    assert smoke._share_experiment(MAIN, "/Users/me/runs") == (
        "Who manages the experiment /Users/me/runs: give `me@example.org` the permission CAN_MANAGE on it."
    )


# --- maintenance

# Kedro warns of dots where it does not know the namespace.
pytestmark = pytest.mark.filterwarnings("ignore:One or more dataset names contain")


def catalog_of(lake: Path) -> tuple[DataCatalog, Pipeline]:
    """A table of customers, one of scores, and one that was never written."""
    layers = {"clean_customers": ("03_primary", "primary"), "score_customers": ("07_model_output", "model_output")}
    layers |= {"verdict_drift": ("08_reporting", "reporting")}
    tables = {
        f"churn.{name}": DeltaTable(
            filepath=str(lake / folder / "churn" / name), frame="pandas", metadata={"kedro-viz": {"layer": layer}}
        )
        for name, (folder, layer) in layers.items()
    }
    nodes = [Node(lambda: None, None, name, name=name.replace(".", "_")) for name in tables]
    return DataCatalog(tables), Pipeline(nodes)


def test_small_files_become_one_and_old_ones_stay_for_a_week(tmp_path: Path) -> None:
    catalog, pipeline = catalog_of(tmp_path)
    table = catalog["churn.clean_customers"]
    for number in range(3):
        table.save(pd.DataFrame({"id": [number]}))

    done = maintenance.maintain(catalog, pipeline, Lake("path", str(tmp_path)))

    assert (done.tables, done.failed, done.granted) == (1, {}, 0)
    assert table.load()["id"].tolist() == [2]
    assert len(list((tmp_path / "03_primary/churn/clean_customers").glob("*.parquet"))) == 3


def test_less_than_a_week_is_refused_and_so_are_readers_without_a_catalog(tmp_path: Path) -> None:
    catalog, pipeline = catalog_of(tmp_path)
    with pytest.raises(
        LakehouseError, match="retention_hours can't be 24: a run may still read versions of the last 168"
    ):
        maintenance.maintain(catalog, pipeline, Lake("path", str(tmp_path)), retention_hours=24)
    with pytest.raises(LakehouseError, match=r"readers can't be 'analysts': .* is no schema of Unity Catalog"):
        maintenance.maintain(catalog, pipeline, Lake("path", str(tmp_path)), readers="analysts")


def test_in_a_catalog_statistics_are_collected_and_only_scores_and_reports_are_granted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalog, pipeline = catalog_of(tmp_path)
    for name in pipeline.all_outputs():
        catalog[name].save(pd.DataFrame({"id": [1]}))
    session = Session()
    monkeypatch.setattr(maintenance.ENGINE, "session", lambda: session)

    done = maintenance.maintain(catalog, pipeline, MAIN, readers="the `analysts`")

    assert (done.tables, done.granted) == (3, 2)
    granted = [one for one in session.statements if one.startswith("GRANT")]
    assert [one.split("/")[-1] for one in granted] == [
        "score_customers` TO `the ``analysts```",
        "verdict_drift` TO `the ``analysts```",
    ]
    assert len([one for one in session.statements if one.startswith("ANALYZE TABLE")]) == 3


def test_a_table_that_fails_stops_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    catalog, pipeline = catalog_of(tmp_path)
    for name in pipeline.all_outputs():
        catalog[name].save(pd.DataFrame({"id": [1]}))
    session = Session(failing="GRANT")
    monkeypatch.setattr(maintenance.ENGINE, "session", lambda: session)
    done = maintenance.maintain(catalog, pipeline, MAIN, readers="analysts")
    assert set(done.failed) == {"churn.score_customers", "churn.verdict_drift"}
    assert done.granted == 0


def test_the_command_reports_and_refuses_a_folder_without_a_lake(tmp_path: Path) -> None:
    result = CliRunner().invoke(cli, ["maintenance", "--lake", str(tmp_path / "nowhere")])
    assert (result.exit_code, "No lake found in" in result.output) == (1, True), result.output
