"""The ingestion pipeline: for each landing table, parse once, then keep, refuse and record."""

from __future__ import annotations

from typing import Any

from kedro.pipeline import Node, Pipeline

from lakehouse_ml.pipelines.data_ingestion.nodes import keep_rows, parse_files, record_files, refuse_lines
from lakehouse_ml.pipelines.grid import bind, fill_stage
from lakehouse_ml.use_cases.base import UseCase
from lakehouse_ml.use_cases.contracts import Table


def create_pipeline(**_: Any) -> Pipeline:
    """The data_ingestion pipeline of every use case."""
    return fill_stage("data_ingestion", shape)


def shape(use_case: UseCase) -> Pipeline:
    """Nodes `parse_…`, `keep_…`, `refuse_…` and `record_…` for each landing table."""
    return sum((table_pipeline(name, contract) for name, contract in use_case.sources.items()), start=Pipeline([]))


def table_pipeline(name: str, contract: Table) -> Pipeline:
    """The nodes of one landing table."""
    return Pipeline(
        [
            Node(
                bind(parse_files, contract=contract),
                inputs={"landing": f"landing_{name}", "clock": "clock", "spec": "params:data_ingestion"},
                outputs=f"parsed_{name}",
                name=f"parse_{name}",
            ),
            Node(
                bind(keep_rows, contract=contract),
                inputs={
                    "parsed": f"parsed_{name}",
                    "landing": f"landing_{name}",
                    "refused_lines": f"quarantine_lines_{name}",
                    "spec": "params:data_ingestion",
                },
                outputs=f"raw_{name}",
                name=f"keep_{name}",
            ),
            Node(
                refuse_lines,
                inputs={"parsed": f"parsed_{name}", "landing": f"landing_{name}"},
                outputs=f"quarantine_lines_{name}",
                name=f"refuse_{name}",
            ),
            Node(
                record_files,
                inputs={
                    "parsed": f"parsed_{name}",
                    "landing": f"landing_{name}",
                    "clock": "clock",
                    "raw": f"raw_{name}",
                    "quarantine": f"quarantine_lines_{name}",
                },
                outputs=f"manifest_{name}",
                name=f"record_{name}",
            ),
        ]
    )
