"""The quality pipeline: for each landing table, check once, then quarantine, describe, summarise and release."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kedro.pipeline import Node, Pipeline

from lakehouse_ml.pipelines.data_quality.nodes import (
    check_rows,
    describe_columns,
    quarantine_rows,
    release_rows,
    summarise_rules,
)
from lakehouse_ml.pipelines.grid import bind, fill_stage
from lakehouse_ml.use_cases.base import UseCase
from lakehouse_ml.use_cases.contracts import Table


def create_pipeline(**_: Any) -> Pipeline:
    """The data_quality pipeline of every use case."""
    return fill_stage("data_quality", shape)


def shape(use_case: UseCase) -> Pipeline:
    """Nodes `check_…`, `quarantine_…`, `describe_…`, `summarise_…` and `release_…` for each landing table."""
    # Kedro builds the graph before conf is read, so each check gets every table that rules may refer to.
    shared: tuple[str, ...] = use_case.references
    tables = (
        _table_pipeline(name, contract, [other for other in shared if other != name])
        for name, contract in use_case.sources.items()
    )
    return sum(tables, start=Pipeline([]))


def _table_pipeline(name: str, contract: Table, references: Sequence[str]) -> Pipeline:
    return Pipeline(
        [
            Node(
                bind(check_rows, table=name, key=contract.key),
                inputs={
                    "raw": f"raw_{name}",
                    "spec": "params:data_quality",
                    **{other: f"raw_{other}" for other in references},
                },
                outputs=f"checked_{name}",
                name=f"check_{name}",
            ),
            Node(
                quarantine_rows,
                inputs={"checked": f"checked_{name}"},
                outputs=f"quarantine_{name}",
                name=f"quarantine_{name}",
            ),
            Node(
                bind(describe_columns, contract=contract),
                inputs={"checked": f"checked_{name}", "spec": "params:data_quality"},
                outputs=f"metrics_columns_{name}",
                name=f"describe_{name}",
            ),
            Node(
                bind(summarise_rules, table=name),
                inputs={
                    "checked": f"checked_{name}",
                    "quarantined": f"quarantine_{name}",
                    "spec": "params:data_quality",
                },
                outputs=f"metrics_rules_{name}",
                name=f"summarise_{name}",
            ),
            Node(
                bind(release_rows, table=name),
                inputs={"checked": f"checked_{name}", "rules": f"metrics_rules_{name}"},
                outputs=f"clean_{name}",
                name=f"release_{name}",
            ),
        ]
    )
