"""The shape of batch scoring: score, then rank the actions."""

from __future__ import annotations

from typing import Any

from kedro.pipeline import Node, Pipeline

from lakehouse_ml.pipelines.batch_scoring.nodes import rank_actions, score_rows
from lakehouse_ml.pipelines.grid import bind, bind_no_population, fill_stage, population_input
from lakehouse_ml.use_cases.base import UseCase


def create_pipeline(**_: Any) -> Pipeline:
    """Batch scoring of every use case."""
    return fill_stage("batch_scoring", shape)


def shape(use_case: UseCase) -> Pipeline:
    """Nodes `score_rows` and `rank_actions`."""
    return Pipeline(
        [
            Node(
                bind(
                    score_rows,
                    key=use_case.key,
                    label_dimension=use_case.label_dimension,
                    **bind_no_population(use_case),
                ),
                inputs={
                    "features": f"feature_{use_case.entity_plural}",
                    "labels": f"label_{use_case.entity_plural}",
                    "status": "promotion_model",
                    "champion": "champion_model",
                    "spec": "params:batch_scoring",
                    "clock": "clock",
                    **population_input(use_case),
                },
                outputs=f"score_{use_case.entity_plural}",
                name="score_rows",
            ),
            Node(
                bind(
                    rank_actions,
                    key=use_case.key,
                    label_dimension=use_case.label_dimension,
                    states=not use_case.multiple_rows_per_entity,
                ),
                inputs={
                    "scores": f"score_{use_case.entity_plural}",
                    "features": f"feature_{use_case.entity_plural}",
                    "spec": "params:batch_scoring",
                    "economics": "params:economics",
                },
                outputs=["score_actions", "report_actions"],
                name="rank_actions",
            ),
        ]
    )
