"""What kedro viz draws: stages as groups, layers in the order of the flow."""

from __future__ import annotations

from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
EARLY = ["landing", "raw", "intermediate", "primary", "feature"]
LAYERS = [*EARLY, "model_input", "models", "judgement", "model_output", "reporting"]


def test_viz_shows_every_layer_in_the_order_of_the_flow_and_every_stage_as_a_group() -> None:
    """A layer that flows back into an earlier one makes viz show none at all."""
    from kedro_viz.api.rest.responses.pipelines import get_pipeline_response
    from kedro_viz.server import load_and_populate_data

    load_and_populate_data(PROJECT)
    shown = get_pipeline_response().model_dump()
    assert sorted(shown["layers"]) == sorted(LAYERS)
    assert [layer for layer in shown["layers"] if layer != "landing"] == LAYERS[1:]
    groups = {node["name"] for node in shown["nodes"] if node["type"] == "modularPipeline"}
    assert {"churn", "churn.data_ingestion", "churn.training", "churn.monitoring"} <= groups
