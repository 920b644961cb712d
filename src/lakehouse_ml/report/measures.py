"""What a use case measures besides, in its own words: for the page and for the summary of a run."""

from __future__ import annotations

import string
from collections.abc import Mapping
from typing import TYPE_CHECKING

import pandas as pd

if TYPE_CHECKING:
    from lakehouse_ml.use_cases.wording import Measured, Told


def format_measures(metrics: pd.DataFrame, told: Measured, model: str) -> dict[str, str]:
    """The values of one contender as texts, by `Told.name`; what is unknown (missing or NaN) is not in it.

    Args:
        metrics: One row per contender, segment and metric.
        told: What is told of them.
        model: The contender.
    """
    own = metrics[(metrics["model"] == model) & metrics["value"].notna()]
    known = {(row.segment, row.metric): float(row.value) for row in own.itertuples()}
    return {row.name: _text(row, known[row.segment, row.metric]) for row in told.rows
             if (row.segment, row.metric) in known}  # fmt: skip


def fill_sentence(text: str, known: Mapping[str, str]) -> str | None:
    """A text with its values; None if it names one that is unknown."""
    names = {name for _, name, _, _ in string.Formatter().parse(text) if name}
    return text.format_map(known) if names <= known.keys() else None


def _text(told: Told, value: float) -> str:
    match told.unit:
        case "share":
            return f"{value:.1%}"
        case "score":
            return f"{value:.3f}"
        case "count":
            return f"{value:,.0f}"
        case "money":
            return f"{value:,.2f}"
        case "hours":
            return f"{value:,.0f} h"
