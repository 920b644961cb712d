"""A use case's further metrics as texts, for the page and for the summary of a run."""

from __future__ import annotations

import string
from collections.abc import Mapping
from typing import TYPE_CHECKING

import pandas as pd

if TYPE_CHECKING:
    from lakehouse_ml.use_cases.wording import MetricSection, ReportedMetric


def format_measures(metrics: pd.DataFrame, section: MetricSection, model: str) -> dict[str, str]:
    """Format one contender's values, by `ReportedMetric.name`; missing values are left out.

    Args:
        metrics: One row per contender, segment and metric.
        section: The use case's further metrics.
        model: The contender.
    """
    rows = metrics[(metrics["model"] == model) & metrics["value"].notna()]
    values = {(row.segment, row.metric): float(row.value) for row in rows.itertuples()}
    return {
        row.name: _format_value(row, values[row.segment, row.metric])
        for row in section.metrics
        if (row.segment, row.metric) in values
    }


def fill_sentence(text: str, values: Mapping[str, str]) -> str | None:
    """Fill a template; None if one of its values is missing."""
    names = {name for _, name, _, _ in string.Formatter().parse(text) if name}
    return text.format_map(values) if names <= values.keys() else None


def _format_value(metric: ReportedMetric, value: float) -> str:
    match metric.unit:
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
