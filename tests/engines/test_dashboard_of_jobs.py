"""The dashboard's query of job runs, on tables like those in which the platform records jobs."""

from __future__ import annotations

from typing import Any

import dashboards


def test_the_dashboard_lists_each_run_of_our_jobs_once(spark: Any) -> None:
    dashboards.register_job_runs(spark)
    query = dashboards.queries_of(dashboards.load())["job_runs"]
    rows = dashboards.run_query(spark, query).toPandas()
    columns = ["run_id", "job", "use_case", "environment", "result", "is_failed", "minutes"]
    assert rows[columns].to_numpy().tolist() == [
        ["21", "maintenance", "all", "prod", "RUNNING", 0, 60.0],
        ["12", "churn_score", "churn", "prod", "FAILED", 1, 1.0],
        ["11", "churn_score", "churn", "prod", "SUCCEEDED", 0, 12.5],
    ]
    assert [str(day) for day in rows["day"]] == ["2026-01-07", "2026-01-06", "2026-01-05"]
