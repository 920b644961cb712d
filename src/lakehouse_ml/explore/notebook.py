"""For notebooks and shells: the catalog, tables by name in SQL, one node as a call, and pictures for a notebook."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lakehouse_ml.errors import LakehouseError
from lakehouse_ml.project import PROJECT, configure, configure_logging

if TYPE_CHECKING:
    from pdb import Pdb

    import pandas as pd
    from kedro.io import DataCatalog
    from pyspark.sql import DataFrame, SparkSession

    from lakehouse_ml.datasets.delta_table import DeltaTable


@dataclass(frozen=True, repr=False)
class Drawing:
    """SVG text that a notebook shows as a picture."""

    svg: str

    def _repr_svg_(self) -> str:
        # Within a page there can be no XML declaration.
        return self.svg[self.svg.index("<svg") :]


def catalog(lake: str | None = None, env: str | None = None) -> DataCatalog:
    """Load the project's catalog as a run would see it, and point MLflow at the lake's tracking store.

    Args:
        lake: Folder of another lake than the one of conf; relative paths start at the project folder.
        env: Name of a folder in conf/.

    Raises:
        LakehouseError: There is no such environment, or no lake in the named folder.
    """
    # Before Kedro, whose own choice of what is logged changes how a notebook shows values.
    configure_logging()
    from kedro.framework.project import settings

    configure()
    session = settings.SESSION_CLASS.create(PROJECT, env=env, runtime_params={"lake": lake} if lake else {})
    if lake:
        session.check_lake()
    data_catalog: DataCatalog = session.load_context().catalog
    return data_catalog


def list_tables(catalog: DataCatalog) -> list[str]:
    """List the names of the Delta tables that exist, in the order in which data flows."""
    return list(_load_tables(catalog))


def register_views(catalog: DataCatalog, spark: SparkSession | None = None) -> list[str]:
    """Register every stored table as a view: `churn.score_customers` as `churn_score_customers`.

    A view shows the newest version at the time of the call; call again after a run.

    Args:
        catalog: See `catalog`.
        spark: The session that gets the views; by default the project's own.

    Returns:
        Names of the views, in the order in which data flows.

    Raises:
        LakehouseError: The lake holds no table yet.
    """
    tables = _load_tables(catalog)
    if not tables:
        raise LakehouseError("There are no tables in this lake yet: make run writes them.")
    for name, table in tables.items():
        table.load_frame(spark).createOrReplaceTempView(_view_name(name))
    return [_view_name(name) for name in tables]


def sql(query: str, **values: Any) -> pd.DataFrame:
    """Run a query over the views and collect its rows.

    Args:
        query: Spark SQL with `:name` as placeholders.
        values: Values of the placeholders, by name.
    """
    from lakehouse_ml.engine.sessions import ENGINE
    from lakehouse_ml.storage.writes import collect

    return collect(ENGINE.session().sql(query, args=values))


def node(catalog: DataCatalog, name: str) -> tuple[Callable[..., Any], dict[str, Any]]:
    """Return the function of a node and its inputs by argument name; calling the function saves nothing.

    Args:
        catalog: See `catalog`; the inputs are loaded from it, tables as Spark frames that nothing has computed yet.
        name: Full name, `<use case>.<stage>.<node>`.

    Raises:
        LakehouseError: There is no such node, or one of its inputs isn't stored yet.
    """
    from kedro.framework.project import pipelines

    nodes = {node.name: node for node in pipelines["__default__"].nodes}
    if name not in nodes:
        raise LakehouseError(f"There is no node {name}: docs/flow.md has them all, <use case>.<stage>.<node>.")
    inputs: Any = nodes[name]._inputs  # noqa: SLF001 - the only source of argument names
    return nodes[name].func, {argument: catalog.load(dataset) for argument, dataset in inputs.items()}


@contextmanager
def without_workers() -> Iterator[None]:
    """Run functions of `mapInArrow` in this process, eagerly, on rows collected from the engine.

    A debugger can then stop in them, which it can't in the engine's Python workers. All input and output rows are in
    memory: take a sample first.
    """
    import pyarrow as pa

    from lakehouse_ml.engine.sessions import ENGINE

    frame: Any = type(ENGINE.session().range(0))
    original = frame.mapInArrow

    def map_in_process(rows: Any, function: Callable[..., Any], schema: Any, *_: Any, **__: Any) -> DataFrame:
        batches = list(function(iter(rows.toArrow().to_batches())))
        session = rows.sparkSession
        result: DataFrame = session.createDataFrame(pa.Table.from_batches(batches) if batches else [], schema)
        return result

    frame.mapInArrow = map_in_process
    try:
        yield
    finally:
        frame.mapInArrow = original


def debugger(*answers: str) -> Pdb:
    """Create a debugger whose `runcall` stops on the first line of the called function.

    Args:
        answers: Commands to run instead of asking for them; the last is `continue`.
    """
    from io import StringIO
    from pdb import Pdb

    return Pdb(stdin=StringIO("\n".join([*answers, ""])), stdout=sys.stdout, nosigint=True) if answers else Pdb()


def holdout_curves(holdout: pd.DataFrame) -> tuple[Drawing, Drawing]:
    """Draw the ROC and the precision-recall curve of the candidate.

    Args:
        holdout: Rows of `outcome_holdout`, of which `label` and `candidate_probability` are used.

    Raises:
        LakehouseError: All held-out rows have the same outcome.
    """
    from lakehouse_ml.report import charts
    from lakehouse_ml.report.curves import compute_precision_recall, compute_roc

    label, probability = holdout["label"].to_numpy(), holdout["candidate_probability"].to_numpy()
    if holdout["label"].nunique() < 2:
        raise LakehouseError("There are no curves to draw: the held-out rows have one outcome only.")
    return (
        Drawing(charts.curves({"candidate": compute_roc(label, probability)}, "false alarms", "found", diagonal=True)),
        Drawing(
            charts.curves(
                {"candidate": compute_precision_recall(label, probability)}, "found", "right among those named"
            )
        ),
    )


def importance(effects: dict[str, float], most: int = 10) -> Drawing:
    """Draw the predictors that move the probability most, as bars.

    Args:
        effects: Mean absolute effect by predictor, as in a model card.
        most: Number of predictors to draw.
    """
    from lakehouse_ml.report import charts

    top = sorted(effects.items(), key=lambda effect: -effect[1])[:most]
    names, values = zip(*top, strict=True)
    return Drawing(charts.ranked_bars(names, values, "mean change of the probability"))


def plot_timeline(scores: pd.DataFrame, events: pd.DataFrame, threshold: float) -> Drawing:
    """Draw the probabilities of one entity over time, a line for each label, and its events.

    Args:
        scores: One row per moment and label: `at` (UTC), `target`, `probability`.
        events: One row per event: `at` (UTC), `target`.
        threshold: Probability from which the decision is 1.

    Raises:
        LakehouseError: There are no scores.
    """
    from lakehouse_ml.report import charts

    if scores.empty:
        raise LakehouseError("There is no course of time to draw: no row is scored.")
    lines = {
        str(name): (rows["at"].to_numpy("datetime64[ns]"), rows["probability"].to_numpy())
        for name, rows in scores.sort_values("at").groupby("target")
    }
    dated_events = list(zip(events["at"].to_numpy("datetime64[ns]"), events["target"].astype(str), strict=True))
    return Drawing(charts.course(lines, dated_events, threshold, "probability"))


def _load_tables(catalog: DataCatalog) -> dict[str, DeltaTable]:
    from kedro.framework.project import pipelines

    from lakehouse_ml.datasets.delta_table import DeltaTable

    outputs = dict.fromkeys(name for node in pipelines["__default__"].nodes for name in node.outputs)
    datasets = {name: catalog.get(name) for name in outputs}
    return {name: table for name, table in datasets.items() if isinstance(table, DeltaTable) and table.exists()}


def _view_name(name: str) -> str:
    return name.replace(".", "_")
