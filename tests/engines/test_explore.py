"""Tables by name, for notebooks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from kedro.framework.startup import bootstrap_project
from kedro.io import DataCatalog

from lakehouse_ml.datasets.delta_table import DeltaTable
from lakehouse_ml.errors import LakehouseError
from lakehouse_ml.explore import (
    holdout_curves,
    importance,
    list_tables,
    node,
    plot_timeline,
    register_views,
    sql,
    without_workers,
)

PROJECT = Path(__file__).resolve().parents[2]


@pytest.fixture
def catalog(tmp_path: Path) -> DataCatalog:
    bootstrap_project(PROJECT)
    frames = {"churn.clean_customers": "spark", "churn.metrics_trials": "pandas", "churn.score_customers": "spark"}
    return DataCatalog(
        {name: DeltaTable(filepath=str(tmp_path / "mein See" / name), frame=frame) for name, frame in frames.items()}
    )  # type: ignore[arg-type]


def test_stored_tables_are_views_by_their_names_whatever_they_load_as(spark: Any, catalog: DataCatalog) -> None:
    catalog.save("churn.metrics_trials", pd.DataFrame({"trial": [1, 2], "f1": [0.5, 0.75]}))
    catalog.save("churn.clean_customers", spark.createDataFrame([("a", 3)], "customer_id string, tenure_months int"))
    assert list_tables(catalog) == ["churn.clean_customers", "churn.metrics_trials"]
    assert register_views(catalog, spark) == ["churn_clean_customers", "churn_metrics_trials"]
    assert sql("select max(f1) as best from churn_metrics_trials")["best"].item() == 0.75
    assert sql("select customer_id from churn_clean_customers")["customer_id"].tolist() == ["a"]


def test_a_view_shows_the_newest_version_once_it_is_registered_again(spark: Any, catalog: DataCatalog) -> None:
    for trials in (1, 2):
        catalog.save("churn.metrics_trials", pd.DataFrame({"trial": range(trials)}))
        register_views(catalog, spark)
        assert sql("select count(*) as n from churn_metrics_trials")["n"].item() == trials


def test_a_value_of_a_query_is_never_taken_for_sql(spark: Any, catalog: DataCatalog) -> None:
    catalog.save("churn.metrics_trials", pd.DataFrame({"trial": [1, 2], "estimator": ["a' or 'b' = 'b", "c"]}))
    register_views(catalog, spark)
    trials = sql(
        "select trial from churn_metrics_trials where estimator = :name and trial < :n", name="a' or 'b' = 'b", n=5
    )
    assert trials["trial"].tolist() == [1]


def test_an_unknown_node_is_refused_with_where_all_nodes_are_listed(catalog: DataCatalog) -> None:
    with pytest.raises(LakehouseError, match=r"There is no node churn\.train: docs/flow\.md has them all"):
        node(catalog, "churn.train")


def test_without_workers_a_mapped_function_runs_in_this_process_and_afterwards_in_theirs_again(spark: Any) -> None:
    batch_sizes = []

    def doubled(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            batch_sizes.append(batch.num_rows)
            yield pa.RecordBatch.from_pydict({"n": [2 * n for n in batch["n"].to_pylist()]})

    rows = spark.createDataFrame([(1,), (2,)], "n int")
    with without_workers():
        doubled_rows = rows.mapInArrow(doubled, "n int")
        none = rows.where("n > 5").mapInArrow(doubled, "n int")
    assert (sum(batch_sizes), none.count(), none.columns) == (2, 0, ["n"])
    assert sorted(row.n for row in doubled_rows.collect()) == [2, 4]
    with pytest.raises(RuntimeError), without_workers():
        raise RuntimeError
    assert rows.mapInArrow.__name__ == "mapInArrow"


def test_an_empty_lake_is_reported_in_a_sentence(spark: Any, catalog: DataCatalog) -> None:
    with pytest.raises(LakehouseError, match="There are no tables in this lake yet: make run writes them"):
        register_views(catalog, spark)


def test_a_course_of_time_has_a_line_per_target_and_names_what_happened_at_once_together() -> None:
    at = pd.to_datetime(["2024-01-01T03:00Z", "2024-01-01T00:00Z"] * 2)
    scores = pd.DataFrame({"at": at, "target": ["comp1", "comp1", "comp2", "comp2"], "probability": [0.1, 0.9, 0.2, 0]})
    events = pd.DataFrame({"at": at[[0, 0, 1]], "target": ["comp1", "comp2", "comp2"]})
    svg = plot_timeline(scores, events, 0.68)._repr_svg_()
    counts = {">comp1<": 1, ">comp2<": 2, ">comp1, comp2<": 1, ">threshold 0.68<": 1}
    assert {text: svg.count(text) for text in counts} == counts
    assert ">comp1, comp2<" not in plot_timeline(scores, events.head(0), 0.68).svg
    with pytest.raises(LakehouseError, match="no row is scored"):
        plot_timeline(scores.head(0), events, 0.68)


def test_pictures_are_shown_by_a_notebook_as_pictures() -> None:
    holdout = pd.DataFrame({"label": [0, 1, 0, 1], "candidate_probability": [0.1, 0.9, 0.4, 0.3]})
    for drawing in (*holdout_curves(holdout), importance({"tenure_months": 0.2, "contract": 0.1})):
        assert drawing._repr_svg_().startswith("<svg ")
        assert len(repr(drawing)) < 100
    with pytest.raises(LakehouseError, match="one outcome only"):
        holdout_curves(holdout.assign(label=1))
