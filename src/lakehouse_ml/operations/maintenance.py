"""Keep the tables of a lake small and fast, and let readers read scores, verdicts and reports."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lakehouse_ml.config.lake import Lake
from lakehouse_ml.datasets.delta_table import WEEK_HOURS, DeltaTable
from lakehouse_ml.engine.sessions import ENGINE
from lakehouse_ml.errors import LakehouseError, first_line
from lakehouse_ml.storage.delta.spark import quote_name

if TYPE_CHECKING:
    from kedro.io import DataCatalog
    from kedro.pipeline import Pipeline

log = logging.getLogger(__name__)

# What analysts may read, and their dashboard reads: these layers, and of earlier ones the tables with these prefixes,
# which hold what the report page shows.
_PUBLIC_LAYERS = frozenset({"model_output", "reporting"})
_PUBLIC_TABLES = ("manifest_", "metrics_rules_", "verdict_")


@dataclass(frozen=True)
class Maintained:
    """What maintenance did.

    Attributes:
        tables: How many tables were maintained.
        failed: Tables for which a step failed, with the reason.
        granted: How many tables readers may read.
    """

    tables: int
    failed: dict[str, str]
    granted: int


def maintain(
    catalog: DataCatalog, pipeline: Pipeline, lake: Lake, retention_hours: int = WEEK_HOURS, readers: str = ""
) -> Maintained:
    """Compact each table, remove files of old versions and collect statistics; a table that fails stops no other.

    Args:
        catalog: Of an open lake.
        pipeline: Whose results are maintained.
        lake: The lake.
        retention_hours: Files that versions of this time need are kept.
        readers: A group that may read scores, verdicts and reports; empty for none.

    Raises:
        LakehouseError: Less than a week, in which a run may still read those files; or readers without a schema.
    """
    if retention_hours < WEEK_HOURS:
        raise LakehouseError(
            f"retention_hours can't be {retention_hours}: a run may still read versions of the last {WEEK_HOURS} hours."
        )
    if readers and not lake.is_schema:
        raise LakehouseError(f"readers can't be {readers!r}: {lake.root} is no schema of Unity Catalog.")
    failed: dict[str, str] = {}
    tables = dict(_find_tables(catalog, pipeline))
    granted = 0
    for name, table in tables.items():
        try:
            table.optimise()
            table.vacuum(retention_hours)
            if lake.is_schema:  # in a folder they are in the table's log
                _execute(f"ANALYZE TABLE {quote_name(table.address)} COMPUTE STATISTICS")
            if readers and is_public(name, table.metadata):
                group = readers.replace("`", "``")
                _execute(f"GRANT SELECT ON TABLE {quote_name(table.address)} TO `{group}`")
                granted += 1
        except Exception as error:
            failed[name] = first_line(error)
            continue
        log.info("maintained %s", name)
    return Maintained(len(tables), failed, granted)


def _find_tables(catalog: DataCatalog, pipeline: Pipeline) -> Iterator[tuple[str, DeltaTable]]:
    for name in sorted(pipeline.all_outputs()):
        table: Any = catalog.get(name)
        if isinstance(table, DeltaTable) and table.exists():
            yield name, table


def is_public(name: str, metadata: Mapping[str, Any] | None) -> bool:
    """Whether analysts may read a table.

    Args:
        name: Of the dataset, with its use case.
        metadata: The dataset's in the catalog, with its layer.
    """
    layer = ((metadata or {}).get("kedro-viz") or {}).get("layer")
    return layer in _PUBLIC_LAYERS or name.rpartition(".")[2].startswith(_PUBLIC_TABLES)


def _execute(statement: str) -> None:
    ENGINE.session().sql(statement).collect()
