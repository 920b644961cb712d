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
    """The project's catalog, as a run would see it; MLflow is then set to the lake's store as well.

    Args:
        lake: Folder of another lake than the one of conf; relative paths start at the project folder.
        env: A folder of conf/.

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
    found: DataCatalog = session.load_context().catalog
    return found


def stored(catalog: DataCatalog) -> list[str]:
    """Names of the Delta tables that exist, in the order in which data flows."""
    return list(_tables(catalog))


def register_views(catalog: DataCatalog, spark: SparkSession | None = None) -> list[str]:
    """Make every stored table readable in SQL, `churn.score_customers` as `churn_score_customers`.

    A view shows the version that is the newest now; call again after a run.

    Args:
        catalog: See `catalog`.
        spark: The session that gets the views; by default the project's own.

    Returns:
        Names of the views, in the order in which data flows.

    Raises:
        LakehouseError: The lake holds no table yet.
    """
    tables = _tables(catalog)
    if not tables:
        raise LakehouseError("There are no tables in this lake yet: make run writes them.")
    for name, table in tables.items():
        table.load_frame(spark).createOrReplaceTempView(_view(name))
    return [_view(name) for name in tables]


def sql(query: str, **values: Any) -> pd.DataFrame:
    """The rows of a query over the views, in memory.

    Args:
        query: Spark SQL; `:name` stands for one of the values.
        values: By name.
    """
    from lakehouse_ml.engine.sessions import ENGINE
    from lakehouse_ml.storage.writes import collect

    return collect(ENGINE.session().sql(query, args=values))


def node(catalog: DataCatalog, name: str) -> tuple[Callable[..., Any], dict[str, Any]]:
    """What a run would call for a node, and what it would give it, by argument; calling the one saves nothing.

    Args:
        catalog: See `catalog`; the inputs are loaded from it, tables as Spark frames that nothing has computed yet.
        name: In full, `<use case>.<stage>.<node>`.

    Raises:
        LakehouseError: There is no such node, or one of its inputs isn't stored yet.
    """
    from kedro.framework.project import pipelines

    nodes = {node.name: node for node in pipelines["__default__"].nodes}
    if name not in nodes:
        raise LakehouseError(f"There is no node {name}: docs/flow.md has them all, <use case>.<stage>.<node>.")
    inputs: Any = nodes[name]._inputs  # noqa: SLF001 - it alone tells which argument each is
    return nodes[name].func, {argument: catalog.load(dataset) for argument, dataset in inputs.items()}


@contextmanager
def without_workers() -> Iterator[None]:
    """Within it, what `mapInArrow` is given runs here and at once, on rows that are brought from the engine.

    So a debugger stops inside of it, which it never does in the engine's Python workers. Every row that the function
    takes or gives is held in memory: take a sample first.
    """
    import pyarrow as pa

    from lakehouse_ml.engine.sessions import ENGINE

    frame: Any = type(ENGINE.session().range(0))
    by_workers = frame.mapInArrow

    def here(rows: Any, function: Callable[..., Any], schema: Any, *_: Any, **__: Any) -> DataFrame:
        told = list(function(iter(rows.toArrow().to_batches())))
        session = rows.sparkSession
        made: DataFrame = session.createDataFrame(pa.Table.from_batches(told) if told else [], schema)
        return made

    frame.mapInArrow = here
    try:
        yield
    finally:
        frame.mapInArrow = by_workers


def debugger(*answers: str) -> Pdb:
    """A debugger whose `runcall` stops on the first line of what it calls, and asks what to do.

    Args:
        answers: What it is told instead of asking, one after the other; the last is `continue`.
    """
    from io import StringIO
    from pdb import Pdb

    return Pdb(stdin=StringIO("\n".join([*answers, ""])), stdout=sys.stdout, nosigint=True) if answers else Pdb()


def holdout_curves(holdout: pd.DataFrame) -> tuple[Drawing, Drawing]:
    """ROC and precision-recall curve of the candidate.

    Args:
        holdout: Rows of `outcome_holdout`, of which `label` and `candidate_probability` are used.

    Raises:
        LakehouseError: Only one outcome occurs, so there is nothing to tell apart.
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
    """The predictors that move the probability most, as bars.

    Args:
        effects: Mean absolute effect by predictor, as in a model card.
        most: How many are shown.
    """
    from lakehouse_ml.report import charts

    top = sorted(effects.items(), key=lambda effect: -effect[1])[:most]
    names, values = zip(*top, strict=True)
    return Drawing(charts.ranked_bars(names, values, "mean change of the probability"))


def course(scores: pd.DataFrame, events: pd.DataFrame, threshold: float) -> Drawing:
    """The probabilities of one entity over time, a line per target, and what happened to it.

    Args:
        scores: One row per moment and target: `at` (UTC), `target`, `probability`.
        events: One row per event: `at` (UTC), `target`.
        threshold: From which probability on a target is named.

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
    happened = list(zip(events["at"].to_numpy("datetime64[ns]"), events["target"].astype(str), strict=True))
    return Drawing(charts.course(lines, happened, threshold, "probability"))


def _tables(catalog: DataCatalog) -> dict[str, DeltaTable]:
    from kedro.framework.project import pipelines

    from lakehouse_ml.datasets.delta_table import DeltaTable

    written = dict.fromkeys(name for node in pipelines["__default__"].nodes for name in node.outputs)
    found = {name: catalog.get(name) for name in written}
    return {name: table for name, table in found.items() if isinstance(table, DeltaTable) and table.exists()}


def _view(name: str) -> str:
    return name.replace(".", "_")
