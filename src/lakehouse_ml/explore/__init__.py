"""For notebooks and shells: the catalog, tables by name in SQL, one node as a call, and pictures for a notebook."""

from lakehouse_ml.explore.notebook import (
    Drawing,
    catalog,
    course,
    debugger,
    holdout_curves,
    importance,
    node,
    register_views,
    sql,
    stored,
    without_workers,
)

__all__ = [
    "Drawing",
    "catalog",
    "course",
    "debugger",
    "holdout_curves",
    "importance",
    "node",
    "register_views",
    "sql",
    "stored",
    "without_workers",
]
