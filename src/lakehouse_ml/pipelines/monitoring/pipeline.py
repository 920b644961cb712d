"""The shape of monitoring: drift of the newest batch, live metrics from later outcomes, and the report on it all."""

from __future__ import annotations

from typing import Any

from kedro.pipeline import Node, Pipeline

from lakehouse_ml.pipelines.monitoring.nodes import join_outcomes, measure_drift, measure_live, write_report
from lakehouse_ml.use_cases.base import UseCase, filled, per_use_case


def create_pipeline(**_: Any) -> Pipeline:
    """Monitoring of every use case."""
    return per_use_case("monitoring", shape)


def shape(use_case: UseCase) -> Pipeline:
    """Nodes `measure_drift`, `join_outcomes`, `measure_live` and `write_report`."""
    outcomes = f"clean_{use_case.outcomes}" if use_case.outcomes else f"label_{use_case.noun}"
    joining = filled(join_outcomes, key=use_case.key, target=use_case.target, labels=use_case.outcome_labels)
    return Pipeline(
        [
            Node(
                filled(measure_drift, key=use_case.key, target=use_case.target),
                inputs={
                    "scores": f"score_{use_case.noun}",
                    "features": f"feature_{use_case.noun}",
                    "champion": "champion_model",
                    "spec": "params:monitoring",
                },
                outputs=["metrics_drift", "verdict_drift", "report_drift"],
                name="measure_drift",
            ),
            Node(
                joining,
                inputs={"scores": f"score_{use_case.noun}", "outcomes": outcomes},
                outputs=f"outcome_{use_case.noun}",
                name="join_outcomes",
            ),
            Node(
                measure_live,
                inputs={"outcomes": f"outcome_{use_case.noun}", "spec": "params:monitoring"},
                outputs="metrics_live",
                name="measure_live",
            ),
            Node(
                filled(write_report, use_case=use_case),
                inputs={
                    "candidate": "candidate_model",
                    "standing": "promotion_model",
                    "trials": "metrics_trials",
                    "holdout": "outcome_holdout",
                    "metrics": "metrics_holdout",
                    "verdicts": "verdict_model",
                    "scores": f"score_{use_case.noun}",
                    "actions": "score_actions",
                    "drift": "metrics_drift",
                    "drift_verdicts": "verdict_drift",
                    "live": "metrics_live",
                    "spec": "params:monitoring",
                    "economics": "params:economics",
                    "clock": "clock",
                    **_told_of_sources(use_case),
                },
                outputs="report_page",
                name="write_report",
            ),
        ]
    )


def _told_of_sources(use_case: UseCase) -> dict[str, str]:
    """What ingestion and quality wrote about each landing table."""
    tables = {
        "files": "manifest",
        "refused": "quarantine_lines",
        "columns": "metrics_columns",
        "rules": "metrics_rules",
    }
    return {f"{told}_{name}": f"{table}_{name}" for name in use_case.sources for told, table in tables.items()}
