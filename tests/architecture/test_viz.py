"""What kedro viz draws: stages as groups, layers in the order of the flow."""

from __future__ import annotations

from pathlib import Path

from kedro.framework.project import pipelines

PROJECT = Path(__file__).resolve().parents[2]
EARLY = ["landing", "raw", "intermediate", "primary", "feature"]
LAYERS = [*EARLY, "model_input", "models", "judgement", "model_output", "reporting"]


def test_no_dataset_shows_viz_a_folder_of_this_machine() -> None:
    from kedro.framework.session import KedroSession
    from kedro.framework.startup import bootstrap_project

    bootstrap_project(PROJECT)
    with KedroSession.create(PROJECT) as session:
        catalog = session.load_context().catalog
    names = {name for node in pipelines["__default__"].nodes for name in [*node.inputs, *node.outputs]}
    descriptions = {name: str(catalog.get(name)._describe()) for name in names if not name.startswith("params:")}
    assert {name: text for name, text in descriptions.items() if str(PROJECT) in text} == {}


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


def test_tables_are_previewed_by_their_first_rows_as_texts(tmp_path: Path) -> None:
    import json

    import pandas as pd

    from lakehouse_ml.datasets.delta_table import DeltaTable

    table = DeltaTable(filepath=str(tmp_path / "t"))
    day, lists = pd.Timestamp("2025-01-31", tz="UTC"), [["p", None]]
    table.save(
        pd.DataFrame(
            {
                "id": ["a", None] * 6,
                "n": range(12),
                "x": [0.123456789, float("nan")] * 6,
                "at": day,
                "lists": lists * 12,
            }
        )
    )
    shown = table.preview(nrows=2)
    assert shown["columns"] == ["id", "n", "x", "at", "lists"]
    assert shown["data"] == [["a", 0, "0.123457", str(day), "['p', None]"], ["", 1, "", str(day), "['p', None]"]]
    assert json.loads(json.dumps(shown, allow_nan=False)) == shown
