"""`make rehearse ENGINE=spark`: the jobs of both use cases by Spark Connect on a JVM, from the wheel."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from rehearsals import make_checkout, run_kedro, train_and_score
from stored import stored_tables

pytestmark = pytest.mark.jvm


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkout(tmp_path_factory.mktemp("rehearsal"))


@pytest.mark.parametrize("use_case", ["churn", "predictive_maintenance"])
def test_jobs_on_apache_spark_write_the_tables_of_kedro_run_on_sail(
    checkout: Path, use_case: str, tmp_path: Path
) -> None:
    lake = train_and_score(checkout, use_case, "ENGINE=spark")
    run_kedro(checkout, use_case, tmp_path / "lake")
    expected, written = stored_tables(tmp_path / "lake", use_case), stored_tables(lake, use_case)
    assert written.keys() == expected.keys()
    assert len(written) > 30
    for name, rows in expected.items():
        pd.testing.assert_frame_equal(written[name], rows, rtol=1e-9, obj=name)
