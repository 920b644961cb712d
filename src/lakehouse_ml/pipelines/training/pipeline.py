"""The shape of training: assemble labelled rows, then search."""

from __future__ import annotations

from typing import Any

from kedro.pipeline import Node, Pipeline

from lakehouse_ml.pipelines.grid import bind, bind_no_population, fill_stage, population_input
from lakehouse_ml.pipelines.training.nodes import assemble_rows, search
from lakehouse_ml.use_cases.base import UseCase


def create_pipeline(**_: Any) -> Pipeline:
    """Training of every use case."""
    return fill_stage("training", shape)


def shape(use_case: UseCase) -> Pipeline:
    """Nodes `assemble_rows` and `search`."""
    searching = bind(
        search, key=use_case.key, categorical=use_case.categorical, label_dimension=use_case.label_dimension
    )
    return Pipeline(
        [
            Node(
                bind(
                    assemble_rows,
                    key=use_case.key,
                    label_dimension=use_case.label_dimension,
                    **bind_no_population(use_case),
                ),
                inputs={
                    "features": f"feature_{use_case.entity_plural}",
                    "labels": f"label_{use_case.entity_plural}",
                    "spec": "params:training",
                    **population_input(use_case),
                },
                outputs=f"model_input_{use_case.entity_plural}",
                name="assemble_rows",
            ),
            Node(
                searching,
                inputs={"model_input": f"model_input_{use_case.entity_plural}", "spec": "params:training"},
                outputs=["candidate_model", "metrics_trials"],
                name="search",
            ),
        ]
    )
