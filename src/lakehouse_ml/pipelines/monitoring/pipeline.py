"""The shape of monitoring: drift of the newest batch, and live metrics from outcomes that arrived later."""

from __future__ import annotations

from typing import Any

from kedro.pipeline import Node, Pipeline

from lakehouse_ml.pipelines.monitoring.nodes import join_outcomes, measure_drift, measure_live
from lakehouse_ml.use_cases.base import UseCase, filled, per_use_case


def create_pipeline(**_: Any) -> Pipeline:
    """Monitoring of every use case."""
    return per_use_case("monitoring", shape)


def shape(use_case: UseCase) -> Pipeline:
    """Nodes `measure_drift`, `join_outcomes` and `measure_live`."""
    joining = filled(join_outcomes, key=use_case.key, labels=use_case.outcome_labels)
    return Pipeline(
        [
            Node(
                filled(measure_drift, key=use_case.key),
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
                inputs={"scores": f"score_{use_case.noun}", "outcomes": f"clean_{use_case.outcomes}"},
                outputs=f"outcome_{use_case.noun}",
                name="join_outcomes",
            ),
            Node(
                measure_live,
                inputs={"outcomes": f"outcome_{use_case.noun}", "spec": "params:monitoring"},
                outputs="metrics_live",
                name="measure_live",
            ),
        ]
    )
