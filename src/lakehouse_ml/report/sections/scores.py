"""The scored batch: the list of actions, and drift against training."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from lakehouse_ml.modelling.drift import STATUS_WORDS
from lakehouse_ml.report import charts
from lakehouse_ml.report.formatting import (
    format_cell,
    format_decimal,
    format_money,
    format_p_value,
    format_value,
)
from lakehouse_ml.report.page import Grid, Picture, Section
from lakehouse_ml.report.phrases import describe_action_list, describe_scored_batch

if TYPE_CHECKING:
    from lakehouse_ml.report.data import ReportData

_SHOWN_ACTIONS = 10
_SHOWN_COLUMNS = 15


def build_scores_section(data: ReportData) -> Section:
    """How many rows were scored, and the top of the list of actions."""
    if not data.batch.batch:
        nobody = "No rows were left to score as of the batch's day."
        why = nobody if data.standing.champion else "Nothing is scored yet: there is no champion."
        return Section("scores", "The scores", [why])
    sentences = [
        f"{describe_scored_batch(data)} Each score lists the features that moved it most.",
        f"{describe_action_list(data)} The threshold doesn't decide who is on it: the threshold says what is "
        f"{data.words.prediction}, the list what is worth acting on.",
    ]
    heads = data.words.heads
    rows = [
        (
            f"{a.rank}",
            *(format_cell(value) for value in a[1 : 1 + len(heads)]),
            f"{a.probability:.2f}",
            format_money(a.expected_gain),
            str(format_value(a.main_reason)),
            a.model_version,
        )
        for a in data.actions.head(_SHOWN_ACTIONS).itertuples()
    ]
    columns = ("rank", *heads, "probability", "expected gain", "strongest reason", "model version")
    numeric = frozenset({0, len(heads) + 1, len(heads) + 2})
    grids = [Grid("The top of the list of actions", columns, rows, numeric)] if rows else []
    return Section("scores", "The scores", sentences, (), grids)


def build_drift_section(data: ReportData) -> Section:
    """How far the batch is from the training rows, column by column."""
    if data.drift_verdict is None or not len(data.drift):
        return Section("drift", "Change since training", ["No batch was scored yet, so nothing can have changed."])
    rows = [
        (d.column, format_decimal(d.psi), format_p_value(d.p_adjusted), STATUS_WORDS[d.status], d.reason)
        for d in data.drift.itertuples()
    ]
    heads = ("column", "PSI", "adjusted p", "status", "why")
    return Section(
        "drift",
        "Change since training",
        [data.drift_verdict["reason"], _describe_reference(data)],
        list(_draw_drift(data)),
        [Grid("Every column of the batch", heads, rows, frozenset({1, 2}), folded=True)],
    )


def _describe_reference(data: ReportData) -> str:
    """What a batch is compared with."""
    if data.horizon_days is None:
        return "A batch is compared with the training rows of the champion."
    return (
        f"A batch is compared with those training rows of the champion whose {data.words.entity} was still present, "
        f"since a batch contains no others."
    )


def _draw_drift(data: ReportData) -> Iterator[Picture]:
    """The columns that changed most; nothing where no column could be tested."""
    changed = data.drift[data.drift["psi"].notna()].sort_values("psi", ascending=False)
    top = changed.head(_SHOWN_COLUMNS)
    if not len(top):
        return
    clock = (top["status"] == "clock").tolist()
    levels = dict(zip(("warning", "alarm"), data.drift_levels, strict=True))
    yield Picture(
        charts.levels(top["column"].tolist(), top["psi"].tolist(), levels, "population stability index (PSI)", clock),
        f"Bars: the largest change is that of {top['column'].iloc[0]}, PSI {top['psi'].iloc[0]:.3f}.",
        f"How far a column's distribution lies from training. Below {data.drift_levels[0]:g} is usual; an alarm also "
        f"needs more than chance."
        + (" Grey bars change with time by themselves and never alarm." if any(clock) else ""),
    )
