"""What kedro viz draws: stages as groups, layers in the order of the flow."""

from __future__ import annotations

from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
LAYERS = [
    "landing", "raw", "intermediate", "primary", "feature", "model_input", "models", "judgement", "model_output", "reporting",
]  # fmt: skip


def test_viz_shows_every_layer_in_the_order_of_the_flow_and_every_stage_as_a_group() -> None:
    """A layer that flows back into an earlier one makes viz show none at all."""
    from kedro_viz.data_access import data_access_manager
    from kedro_viz.server import load_and_populate_data

    load_and_populate_data(PROJECT)
    shown = data_access_manager.get_sorted_layers_for_registered_pipeline("__default__")
    assert sorted(shown) == sorted(LAYERS)
    assert [layer for layer in shown if layer != "landing"] == LAYERS[1:]
    groups = set(data_access_manager.modular_pipelines["__default__"].tree)
    assert {"churn", "churn.data_ingestion", "churn.training", "churn.monitoring"} <= groups
