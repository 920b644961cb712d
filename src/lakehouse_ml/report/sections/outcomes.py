"""Outcomes that arrived later: against the hold-out, per batch, their counts, and the trend over batches."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import pandas as pd

from lakehouse_ml.modelling.drift import STATUS_WORDS
from lakehouse_ml.report import charts
from lakehouse_ml.report.formatting import DASH, METRIC_TITLES, format_count, format_decimal, format_quantity
from lakehouse_ml.report.page import Grid, Picture, Section, Tile, Tone

if TYPE_CHECKING:
    from lakehouse_ml.report.data import ReportData
    from lakehouse_ml.use_cases.wording import Wording

_SHOWN_BATCHES = 12
_DRAWN = ("precision", "recall", "f1")
_LIVE = (*_DRAWN, "roc_auc")
_TONES: Mapping[str, tuple[str, Tone]] = {
    "worse": ("worse than expected", "bad"), "as_expected": ("as expected", "good"),
    "few": ("too few outcomes", "neutral"), "not_judged": ("not compared", "neutral"),
}  # fmt: skip


def describe_performance(performance: Mapping[str, Any], words: Wording) -> str:
    """How many of those to whom it happened were named, and how many were expected from the hold-out.

    Args:
        performance: A row as of `pipelines.monitoring.performance.LivePerformance`.
        words: Of the use case, with the horizon.
    """
    n, hits, version = int(performance["n_positives"]), int(performance["n_hits"]), performance["model_version"]
    days = _format_range(performance["first_batch"], performance["last_batch"])
    if performance["status"] == "few":
        return (
            f"Real outcomes are few so far: of {_count_rows(performance['n_rows'], words)} of {days} with a known "
            f"outcome, {n:,} {words.outcomes[0]}, and version {version} had named {hits:,} of them. That is too few to "
            f"compare with the hold-out."
        )
    low, high = (round(float(performance[name]) * n) for name in ("recall_low", "recall_high"))
    text = f"Of {n:,} {words.positives} after {days}, version {version} had named {hits:,}"
    if performance["status"] == "not_judged":
        return f"{text} (95 % interval {low:,} to {high:,}); its hold-out metrics are not recorded."
    expected = round(float(performance["expected_recall"]) * n)
    text += f"; {expected:,} were expected from the hold-out (95 % interval of the observed: {low:,} to {high:,})."
    n_named = int(performance["n_named"])
    if n_named and not math.isnan(performance["expected_precision"]):
        n_right = round(float(performance["expected_precision"]) * n_named)
        text += f" Of {n_named:,} that it named, {hits:,} {words.outcomes[0]}; {n_right:,} were expected."
    if not math.isnan(performance["roc_auc"]):
        text += f" ROC-AUC is {performance['roc_auc']:.2f}, on the hold-out {performance['expected_roc_auc']:.2f}."
    if performance["status"] == "worse":
        return f"Real outcomes contradict the hold-out ({performance['worse_in']} worse beyond chance). {text}"
    return f"Real outcomes agree with the hold-out. {text}"


def build_performance_tile(performance: Mapping[str, Any]) -> Tile:
    """The same at a glance; red where outcomes contradict the hold-out."""
    text, tone = _TONES[performance["status"]]
    n, hits = int(performance["n_positives"]), int(performance["n_hits"])
    note = f"named {hits:,} of {n:,}"
    if performance["status"] in ("worse", "as_expected"):
        note += f", expected {round(float(performance['expected_recall']) * n):,}"
    return Tile("Real performance", text, note, tone)


def advise_on_performance(judged: Mapping[str, Any]) -> str | None:
    """What to do where outcomes contradict the hold-out."""
    if judged["status"] != "worse":
        return None
    return (
        "The real outcomes are worse than the hold-out predicted. Check that each outcome file carries the day of the "
        "snapshot it is about, look at the drift below, and don't rely on the list until a model that learned from "
        "these outcomes is champion."
    )


def last_horizon_day(batch: str, days: int) -> str:
    """The last day of the horizon of a batch."""
    return str(date.fromisoformat(batch) + timedelta(days=days))


def describe_label_problems(labels: pd.DataFrame, words: Wording) -> Iterator[str]:
    """What is wrong with known outcomes: contradictions, and outcomes of nobody who is known."""
    sums = labels[["n_contradicted", "n_unknown", "n_returned"]].sum()
    if sums["n_contradicted"]:
        yield (
            f"{_count_outcomes(sums['n_contradicted'])} contradict what the snapshot or an earlier file says of the "
            f"same day ({_list_days(labels, 'n_contradicted')}): the newest outcome counts."
        )
    if sums["n_unknown"]:
        yield (
            f"{_count_outcomes(sums['n_unknown'])} belong to no {words.entity} of that day "
            f"({_list_days(labels, 'n_unknown')}) and are not used: check the ids and the day in the file's name."
        )
    if sums["n_returned"]:
        yield (
            f"{int(sums['n_returned']):,} {words.positives} appear in a later file again "
            f"({_list_days(labels, 'n_returned')}): they are scored again."
        )


def build_label_grid(labels: pd.DataFrame, words: Wording, assumed_day: str | None = None) -> Grid:
    """Known outcomes, day by day, newest first; a day that conf assumed says so."""
    counts = ("n_snapshot", "n_outcomes", "n_labels", "n_positives", "n_contradicted", "n_unknown", "n_returned")
    rows = [
        (f"{r.day} (assumed)" if r.day == assumed_day else r.day, *(f"{int(getattr(r, name)):,}" for name in counts))
        for r in labels.sort_values("day", ascending=False).itertuples()
    ]
    heads = (
        "day",
        "in the snapshot",
        "in outcome files",
        "used",
        words.outcomes[0],
        "contradicting",
        "of nobody known",
        "seen again later",
    )
    return Grid("Known outcomes by day", heads, rows, frozenset(range(1, 8)), folded=len(rows) > _SHOWN_BATCHES)


def build_outcomes_section(data: ReportData) -> Section:
    """Live metrics of each batch, and counts of known outcomes."""
    words = data.words
    grids = (
        [] if data.labels is None or not len(data.labels) else [build_label_grid(data.labels, words, data.assumed_day)]
    )
    if not len(data.live):
        unknown = f"No outcome of the scored {words.row}s is known yet."
        return Section("outcomes", "Scores and real outcomes", [unknown], (), grids)
    live = data.live.sort_values("batch", kind="stable")
    heads = (
        "batch",
        "model version",
        "known outcomes",
        words.outcomes[0],
        *(METRIC_TITLES[name] for name in _LIVE),
    )
    rows = [
        (
            r.batch,
            r.model_version,
            format_count(r.n_rows),
            format_count(r.n_positives),
            *(format_decimal(float(getattr(r, m))) for m in _LIVE),
        )
        for r in live.itertuples()
    ]
    sentences = [describe_performance(data.performance, words)] if data.performance else []
    sentences += [
        "Scores compared with what happened later. Few outcomes, or outcomes of selected rows only, say little."
    ]
    numeric = frozenset(range(2, 8))
    if len(rows) <= _SHOWN_BATCHES:
        grids = [Grid("Live metrics", heads, rows, numeric), *grids]
    else:
        grids = [
            Grid(
                f"Live metrics: the newest {_SHOWN_BATCHES} of {format_count(len(rows))}",
                heads,
                rows[-_SHOWN_BATCHES:],
                numeric,
            ),
            Grid("Live metrics of the batches before", heads, rows[:-_SHOWN_BATCHES], numeric, folded=True),
            *grids,
        ]
    return Section("outcomes", "Scores and real outcomes", sentences, list(_draw_live_metrics(live)), grids)


def _draw_live_metrics(live: pd.DataFrame) -> Iterator[Picture]:
    """Precision, recall and F1 by batch, from two batches on."""
    if live["batch"].nunique() < 2:
        return
    parts = {
        str(version): (
            [date.fromisoformat(batch) for batch in part["batch"]],
            {METRIC_TITLES[name]: part[name].to_numpy(dtype=float) for name in _DRAWN},
        )
        for version, part in live.groupby("model_version", sort=False)
    }
    ranges = "; ".join(
        f"{METRIC_TITLES[name]} from {format_decimal(values.min())} to {format_decimal(values.max())}"
        for name in _DRAWN
        if len(values := live[name].dropna())
    )
    versions = list(parts)
    scored_by = (
        f"All scored by version {versions[0]}."
        if len(versions) == 1
        else (f"Scored by versions {', '.join(versions[:-1])} and {versions[-1]}: each has its own lines and marks.")
    )
    yield Picture(
        charts.over_time(parts, "batch"),
        f"Lines over {format_count(live['batch'].nunique())} batches, {live['batch'].min()} to {live['batch'].max()}"
        f"{': ' + ranges if ranges else ''}.",
        f"Batch by batch. A gap is a day without known outcomes, or one on which a measure has no meaning: none of "
        f"them where nothing happened, no precision where nothing was named. {scored_by}",
    )


def build_trend_section(data: ReportData) -> Section:
    """Every batch in a row: scored, named, drift, and how the scores did."""
    batches, drift, live, words = data.batches, data.drift_verdicts, data.live, data.words
    title = "From batch to batch"
    if not len(batches):
        return Section("trend", title, ["Nothing is scored yet."])
    status = {row.batch: STATUS_WORDS[row.status] for row in drift.itertuples()} if len(drift) else {}
    live_rows = {row.batch: row for row in live.itertuples()} if len(live) else {}
    rows = [
        (
            b.batch,
            f"{int(b.n_rows):,}",
            f"{int(b.n_named):,}",
            f"{b.n_named / b.n_rows:.1%}",
            status.get(b.batch, "not measured"),
            *_format_live_cells(live_rows.get(b.batch)),
        )
        for b in batches.sort_values("batch", ascending=False).itertuples()
    ]
    heads = (
        "batch",
        "scored",
        "named",
        "share named",
        "drift",
        "known outcomes",
        words.outcomes[0],
        "of them named",
        "recall",
        "precision",
        "ROC-AUC",
    )
    numeric = frozenset({1, 2, 3, 5, 6, 7, 8, 9, 10})
    sentences = [
        "Recall, precision and ROC-AUC are of real outcomes; a dash says that none is known, or that it has no "
        "meaning: none of them where it happened to nobody, no precision where nobody was named."
    ]
    if len(rows) <= _SHOWN_BATCHES:
        return Section("trend", title, sentences, (), [Grid("All batches, newest first", heads, rows, numeric)])
    first = Grid(f"The newest {_SHOWN_BATCHES} of {len(rows):,} batches", heads, rows[:_SHOWN_BATCHES], numeric)
    return Section(
        "trend",
        title,
        sentences,
        (),
        [first, Grid("Earlier batches", heads, rows[_SHOWN_BATCHES:], numeric, folded=True)],
    )


def _format_live_cells(row: Any) -> tuple[str, ...]:
    if row is None:
        return (DASH,) * 6
    n, positives, named, hits = (int(getattr(row, name)) for name in ("n_rows", "n_positives", "n_named", "n_hits"))
    return (
        f"{n:,}",
        f"{positives:,}",
        f"{hits:,}",
        _format_ratio(hits, positives),
        _format_ratio(hits, named if positives else 0),
        format_decimal(row.roc_auc),
    )


def _format_ratio(part: int, whole: int) -> str:
    return format_decimal(part / whole if whole else None)


def _format_range(first: str, last: str) -> str:
    return last if first == last else f"{first} to {last}"


def _count_rows(n: Any, words: Wording) -> str:
    return format_quantity(n, words.row)


def _count_outcomes(n: Any) -> str:
    return f"{int(n):,} outcome{'' if int(n) == 1 else 's'}"


def _list_days(labels: pd.DataFrame, column: str, max_days: int = 3) -> str:
    days = labels[labels[column] > 0].sort_values("day", ascending=False)
    shown = ", ".join(f"{row.day}: {int(getattr(row, column)):,}" for row in days.head(max_days).itertuples())
    return shown if len(days) <= max_days else f"{shown}, and {len(days) - max_days} earlier days"
