"""`make rehearse ENGINE=spark`: the jobs of both use cases by Spark Connect on a JVM, from the wheel."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from rehearsals import JOBS, USE_CASES, make_checkout, rehearse_all, run_kedro
from stored import stored_tables

pytestmark = pytest.mark.jvm


def test_jobs_on_apache_spark_write_the_tables_of_kedro_run_on_sail(tmp_path: Path) -> None:
    checkout = make_checkout(tmp_path)
    # Maintenance of so many tables takes minutes there: tests/engines/test_delta_table.py has its parts.
    jobs = JOBS[1:-1]
    lake = rehearse_all(checkout, "ENGINE=spark", f"JOB={','.join(jobs)}", jobs=jobs)
    for use_case in USE_CASES:
        run_kedro(checkout, use_case, tmp_path / "lake")
        expected, written = stored_tables(tmp_path / "lake", use_case), stored_tables(lake, use_case)
        assert written.keys() == expected.keys()
        assert len(written) > 30
        for name, rows in expected.items():
            pd.testing.assert_frame_equal(written[name], rows, rtol=1e-9, obj=name)
