"""The shape of feature engineering: features and labels from the same clean tables, apart from each other."""

from __future__ import annotations

from typing import Any

from kedro.pipeline import Node, Pipeline

from lakehouse_ml.use_cases.base import UseCase, inputs_of, per_use_case


def create_pipeline(**_: Any) -> Pipeline:
    """feature_engineering of every use case."""
    return per_use_case("feature_engineering", shape)


def shape(use_case: UseCase) -> Pipeline:
    """Nodes `build_features` and `build_labels`."""
    return Pipeline(
        [
            Node(
                use_case.features,
                inputs=inputs_of(use_case.features),
                outputs=f"feature_{use_case.noun}",
                name="build_features",
            ),
            Node(
                use_case.labels,
                inputs=inputs_of(use_case.labels),
                outputs=f"label_{use_case.noun}",
                name="build_labels",
            ),
        ]
    )
