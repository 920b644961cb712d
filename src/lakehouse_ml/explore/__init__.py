"""For notebooks and shells: the catalog, tables by name in SQL, one node as a call, and pictures for a notebook."""

from lakehouse_ml.explore.notebook import (
    Drawing,
    catalog,
    debugger,
    holdout_curves,
    importance,
    list_tables,
    node,
    plot_timeline,
    register_views,
    sql,
    without_workers,
)

__all__ = [
    "Drawing",
    "catalog",
    "debugger",
    "holdout_curves",
    "importance",
    "list_tables",
    "node",
    "plot_timeline",
    "register_views",
    "sql",
    "without_workers",
]
