"""The shape of feature engineering: features, and labels from snapshots and later outcomes."""

from __future__ import annotations

from typing import Any

from kedro.pipeline import Node, Pipeline

from lakehouse_ml.pipelines.feature_engineering.nodes import gather_outcomes
from lakehouse_ml.pipelines.grid import bind, fill_stage, infer_inputs
from lakehouse_ml.use_cases.base import UseCase


def create_pipeline(**_: Any) -> Pipeline:
    """Feature engineering of every use case."""
    return fill_stage("feature_engineering", shape)


def shape(use_case: UseCase) -> Pipeline:
    """Nodes `build_features` and `build_labels`."""
    return Pipeline(
        [
            Node(
                use_case.features,
                inputs=infer_inputs(use_case.features),
                outputs=f"feature_{use_case.entity_plural}",
                name="build_features",
            ),
            _labels(use_case),
        ]
    )


def _labels(use_case: UseCase) -> Node:
    """Node that builds the use case's labels; with later outcomes, it merges them and counts by day."""
    name, output, inputs = "build_labels", f"label_{use_case.entity_plural}", infer_inputs(use_case.labels)
    if not use_case.gathers_outcomes:
        return Node(use_case.labels, inputs=inputs, outputs=output, name=name)
    gathering = bind(
        gather_outcomes,
        key=use_case.key,
        label_dimension=use_case.label_dimension,
        labels=use_case.labels,
        outcome_labels=use_case.outcome_labels,
    )
    gathering_inputs = {"known_states": f"feature_{use_case.entity_plural}", "population": "params:population"}
    if use_case.outcomes:
        gathering_inputs |= {
            "later_outcomes": f"clean_{use_case.outcomes}",
            "refused_outcomes": f"quarantine_{use_case.outcomes}",
        }
    return Node(gathering, inputs={**gathering_inputs, **inputs}, outputs=[output, "metrics_labels"], name=name)
