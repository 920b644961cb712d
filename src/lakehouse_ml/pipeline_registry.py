"""The seven stages by name; the default is all of them, in the order in which data flows."""

from __future__ import annotations

from kedro.framework.project import find_pipelines
from kedro.pipeline import Pipeline


def register_pipelines() -> dict[str, Pipeline]:
    """Stages by name, and `__default__`: the end-to-end run of every use case."""
    stages = find_pipelines(raise_errors=True)
    return {**stages, "__default__": sum(stages.values(), start=Pipeline([]))}
