"""The order of stages, as the pipelines define it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kedro.pipeline import Pipeline


def find_stage_order(pipeline: Pipeline) -> dict[str, dict[str, frozenset[str]]]:
    """Find the stages whose results each stage reads, by use case and stage."""
    order: dict[str, dict[str, set[str]]] = {}
    for node, parents in pipeline.node_dependencies.items():
        use_case, stage, _ = node.name.split(".")
        sources = order.setdefault(use_case, {}).setdefault(stage, set())
        sources |= {parent.name.split(".")[1] for parent in parents} - {stage}
    return {
        use_case: {stage: frozenset(sources) for stage, sources in stages.items()} for use_case, stages in order.items()
    }
