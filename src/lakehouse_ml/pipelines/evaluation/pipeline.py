"""The shape of evaluation: measure and judge, then the only node that moves the champion's alias."""

from __future__ import annotations

from typing import Any

from kedro.pipeline import Node, Pipeline

from lakehouse_ml.pipelines.evaluation.nodes import evaluate, promote
from lakehouse_ml.pipelines.grid import bind, fill_stage
from lakehouse_ml.use_cases.base import UseCase


def create_pipeline(**_: Any) -> Pipeline:
    """Evaluation of every use case."""
    return fill_stage("evaluation", shape)


def _constants(use_case: UseCase) -> dict[str, Any]:
    return {
        "key": use_case.key,
        "segments": use_case.segments,
        "label_dimension": use_case.label_dimension,
        "measures": use_case.measures,
    }


def shape(use_case: UseCase) -> Pipeline:
    """Nodes `evaluate` and `promote`."""
    return Pipeline(
        [
            Node(
                bind(evaluate, **_constants(use_case)),
                inputs={
                    "model_input": f"model_input_{use_case.entity_plural}",
                    "candidate": "candidate_model",
                    "incumbent": "incumbent_model",
                    "spec": "params:evaluation",
                    "economics": "params:economics",
                    "clock": "clock",
                },
                outputs=["outcome_holdout", "metrics_holdout", "verdict_model"],
                name="evaluate",
            ),
            Node(promote, inputs={"verdicts": "verdict_model"}, outputs="promotion_model", name="promote"),
        ]
    )
