"""A lake that an earlier version made goes on with this one: the same tables, tags and scores, by the same model.

`lakes/churn_0.1.tar.xz` is the lake of one `kedro run` over 800 generated customers, with their file and parameters,
by code that still hashed every source file into its fingerprints. It is never rebuilt: a change that can't read it
breaks the lakes of all who upgrade.
"""

from __future__ import annotations

import shutil
import sqlite3
import tarfile
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from deltalake import DeltaTable
from test_moved_lake import PROJECT, SCORES, Lake

pytestmark = pytest.mark.slow
TABLES = 34


@pytest.fixture
def older(tmp_path: Path) -> Lake:
    with tarfile.open(Path(__file__).parent / "lakes" / "churn_0.1.tar.xz") as archive:
        archive.extractall(tmp_path, filter="data")
    conf = Path(shutil.copytree(PROJECT / "conf", tmp_path / "conf"))
    (conf / "local").mkdir(exist_ok=True)
    shutil.copy(tmp_path / "parameters.yml", conf / "local")
    return Lake(tmp_path / "data", conf)


def schemas(lake: Lake) -> dict[str, Any]:
    """Columns and types of each table, by its path in the lake."""
    tables = sorted(log.parent for log in lake.folder.glob("*/*/*/_delta_log"))
    return {str(path.relative_to(lake.folder)): DeltaTable(str(path)).schema().to_json() for path in tables}


def scores(lake: Lake) -> list[tuple[Any, ...]]:
    """Each score with what it was made of: sorted, to nine digits."""
    columns = ["customer_id", "batch", "probability", "model_version"]
    stored = DeltaTable(str(lake.folder / SCORES)).to_pyarrow_table(columns=columns).to_pylist()
    return sorted(
        tuple(row[name] if name != "probability" else round(row[name], 9) for name in columns) for row in stored
    )


def version_tags(lake: Lake) -> set[tuple[str, str]]:
    """Tags of the first version."""
    with closing(sqlite3.connect(lake.folder / "mlflow.db")) as store:
        return set(store.execute("select key, value from model_version_tags where version = 1"))


def test_an_older_lake_runs_every_step_once_into_the_same_tables_with_the_same_scores(older: Lake) -> None:
    tables, tags, scored = schemas(older), version_tags(older), scores(older)

    steps = older.run()

    assert "churn.data_ingestion.parse_customers" in steps
    assert "churn.batch_scoring.score_rows" in steps
    assert schemas(older) == tables
    assert len(tables) == TABLES
    assert older.champion() == 1
    assert version_tags(older) >= tags
    assert scores(older) == scored
    assert older.run() == []
