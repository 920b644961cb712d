"""Numbers and values as the texts that the page shows."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import pandas as pd

from lakehouse_ml.modelling.metrics import TITLES

METRIC_TITLES = {
    **{name: TITLES[name] for name in ("f1", "precision", "recall", "accuracy", "roc_auc", "average_precision")},
    "expected_value": "value per {row}",
}
# Stands where nothing can be measured.
DASH = "–"
_SMALL_SHARE = 0.05


def format_count(number: Any) -> str:
    """A whole number with thousands separators."""
    return f"{int(number):,}"


def format_quantity(number: Any, noun: str) -> str:
    """A number and its noun, in the plural unless the number is 1."""
    return f"{format_count(number)} {noun}{'' if int(number) == 1 else 's'}"


def join_words(texts: Sequence[str]) -> str:
    """Words as an enumeration: a, b and c."""
    return " and ".join([", ".join(texts[:-1]), texts[-1]] if len(texts) > 1 else texts)


def format_decimal(number: float | None) -> str:
    """Three decimals; a dash where there is no value."""
    return DASH if number is None or pd.isna(number) else f"{number:.3f}"


def format_money(number: float | None) -> str:
    """Two decimals; a dash where there is no value."""
    return DASH if number is None or pd.isna(number) else f"{number:,.2f}"


def format_percent(number: float) -> str:
    """A share in whole percents."""
    return f"{number:.0%}"


def format_of_100(share: float) -> str:
    """A share as `73 of 100`."""
    return f"{round(100 * share)} of 100"


def format_small_share(share: float) -> str:
    """A share whose rounding must not turn some rows into none."""
    return "< 0.1%" if 0 < share < 0.0005 else f"{share:.1%}"


def format_share(share: float) -> str:
    """A share in whole percents; a small one in tenths, so that it isn't nothing."""
    return f"{share:.0%}" if share >= _SMALL_SHARE or share == 0 else f"{share:.1%}"


def format_cell(value: Any) -> str:
    """A value as a cell: times to the minute, a missing value in words."""
    return f"{value:%Y-%m-%d %H:%M}" if isinstance(value, datetime) else format_value(value)


def format_p_value(number: float) -> str:
    """A p-value with three decimals, `< 0.001` below that, a dash where there is none."""
    return DASH if pd.isna(number) else "< 0.001" if number < 0.001 else f"{number:.3f}"


def capitalize(action: str) -> str:
    """A text with its first letter in upper case."""
    return action[0].upper() + action[1:]


def format_value(value: Any) -> str:
    """A value as text; a missing one in words."""
    return "(missing)" if pd.isna(value) else str(value)


def shorten(text: Any, most: int = 120) -> str:
    """A text of at most `most` characters, with an ellipsis if it was longer."""
    formatted = format_value(text)
    return formatted if len(formatted) <= most else f"{formatted[:most]}…"


def format_problems(problems: Sequence[Mapping[str, Any]]) -> str:
    """What is wrong with a refused line, column by column."""
    reasons = (f"{p['column']}: {p['reason']}" if p["column"] else str(p["reason"]) for p in problems)
    return shorten("; ".join(reasons))


def format_params(text: str) -> str:
    """Parameters of a trial, from JSON to words."""
    return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in json.loads(text).items())
