"""The shape of monitoring: drift of the newest batch, live metrics from later outcomes, and the report on it all."""

from __future__ import annotations

from typing import Any

from kedro.pipeline import Node, Pipeline

from lakehouse_ml.modelling.performance import judge_performance
from lakehouse_ml.pipelines.grid import bind, fill_stage, population_input
from lakehouse_ml.pipelines.monitoring.nodes import (
    join_outcomes,
    measure_drift,
    measure_live,
    write_report,
)
from lakehouse_ml.use_cases.base import UseCase


def create_pipeline(**_: Any) -> Pipeline:
    """Monitoring of every use case."""
    return fill_stage("monitoring", shape)


def shape(use_case: UseCase) -> Pipeline:
    """Nodes `measure_drift`, `join_outcomes`, `measure_live`, `judge_performance` (of states) and `write_report`."""
    states = not use_case.multiple_rows_per_entity
    joining = bind(
        join_outcomes,
        key=use_case.key,
        label_dimension=use_case.label_dimension,
        states=states,
        later=use_case.gathers_outcomes,
    )
    return Pipeline(
        [
            Node(
                bind(measure_drift, key=use_case.key, label_dimension=use_case.label_dimension, states=states),
                inputs={
                    "scores": f"score_{use_case.entity_plural}",
                    "features": f"feature_{use_case.entity_plural}",
                    "labels": f"label_{use_case.entity_plural}",
                    "champion": "champion_model",
                    "spec": "params:monitoring",
                    "scoring": "params:batch_scoring",
                },
                outputs=["metrics_drift", "verdict_drift", "report_drift"],
                name="measure_drift",
            ),
            Node(
                joining,
                inputs={"scores": f"score_{use_case.entity_plural}", "outcomes": f"label_{use_case.entity_plural}"},
                outputs=f"outcome_{use_case.entity_plural}",
                name="join_outcomes",
            ),
            Node(
                measure_live,
                inputs={"outcomes": f"outcome_{use_case.entity_plural}", "spec": "params:monitoring"},
                outputs="metrics_live",
                name="measure_live",
            ),
            *_judgement(use_case),
            Node(
                bind(write_report, use_case=use_case, **_bind_no_outcome_inputs(use_case)),
                inputs={
                    "candidate": "candidate_model",
                    "standing": "promotion_model",
                    "trials": "metrics_trials",
                    "holdout": "outcome_holdout",
                    "metrics": "metrics_holdout",
                    "verdicts": "verdict_model",
                    "scores": f"score_{use_case.entity_plural}",
                    "actions": "score_actions",
                    "drift": "metrics_drift",
                    "drift_verdicts": "verdict_drift",
                    "live": "metrics_live",
                    "features": f"feature_{use_case.entity_plural}",
                    "spec": "params:monitoring",
                    "scoring": "params:batch_scoring",
                    "economics": "params:economics",
                    "clock": "clock",
                    "ingestion": "params:data_ingestion",
                    **_map_outcome_inputs(use_case),
                    **_map_source_inputs(use_case),
                },
                outputs="report_page",
                name="write_report",
            ),
        ]
    )


def _judgement(use_case: UseCase) -> list[Node]:
    """Outcomes against the hold-out, where each entity counts once a batch: chance is told by independent rows."""
    if use_case.multiple_rows_per_entity:
        return []
    inputs = {"live": "metrics_live", "verdicts": "verdict_model", "spec": "params:performance"}
    return [Node(judge_performance, inputs=inputs, outputs="verdict_live", name="judge_performance")]


def _map_outcome_inputs(use_case: UseCase) -> dict[str, str]:
    """The inputs of the report about outcomes that come later, as far as this use case has them."""
    inputs = population_input(use_case)
    inputs |= {"labels": "metrics_labels"} if use_case.gathers_outcomes else {}
    return inputs | ({} if use_case.multiple_rows_per_entity else {"performance": "verdict_live"})


def _bind_no_outcome_inputs(use_case: UseCase) -> dict[str, None]:
    """None for each of those inputs that this use case lacks."""
    return dict.fromkeys({"population", "labels", "performance"} - set(_map_outcome_inputs(use_case)))


def _map_source_inputs(use_case: UseCase) -> dict[str, str]:
    """What ingestion and quality wrote about each landing table."""
    tables = {
        "files": "manifest",
        "refused": "quarantine_lines",
        "columns": "metrics_columns",
        "rules": "metrics_rules",
    }
    return {f"{argument}_{name}": f"{table}_{name}" for name in use_case.sources for argument, table in tables.items()}
