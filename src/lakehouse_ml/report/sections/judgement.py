"""The judgement of the candidate: metrics, confusion matrix and the use case's own measures."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pandas as pd

from lakehouse_ml.report import measures
from lakehouse_ml.report.formatting import DASH, METRIC_TITLES, format_count, format_decimal
from lakehouse_ml.report.page import Grid, Section
from lakehouse_ml.report.phrases import describe_holdout, format_interval, format_own_measures

if TYPE_CHECKING:
    from lakehouse_ml.report.data import ReportData


def build_judgement_section(data: ReportData) -> Section:
    """Metrics of both contenders, the reason of the verdict, and the confusion matrix."""
    everybody = data.metrics[data.metrics["segment"] == "all"]
    contested = bool((everybody["model"] == "incumbent").any())
    rows = []
    for name, title in METRIC_TITLES.items():
        candidate = data.metric(name)
        if name in set(everybody["metric"]):
            theirs = [format_decimal(data.metric(name, "incumbent"))] if contested else []
            shown = title.format(row=data.words.row)
            rows.append((shown, format_decimal(candidate), format_interval(data, name) or DASH, *theirs))
    heads = ("on unseen rows", f"version {data.version}", "95 % interval")
    versus = (f"version {data.verdict['incumbent_version']}, champion before",) if contested else ()
    sentences = [data.verdict["reason"], _describe_detectable_gain(data), *filter(None, [data.words.judgement_note])]
    unseen = "neither of the two" if contested else "the model never"
    grids = [
        Grid(f"Measured on {describe_holdout(data)} that {unseen} saw", (*heads, *versus), rows, frozenset({1, 2, 3}))
    ]
    if len(data.holdout):
        grids.append(_build_confusion_grid(data))
    return Section("judgement", "The judgement", sentences, (), grids)


def build_measures_sections(data: ReportData) -> Iterator[Section]:
    """What the use case measures besides, in its own words; no section, where it measures nothing."""
    section = data.words.metric_section
    if section is None:
        return
    candidate, incumbent = format_own_measures(data, "candidate"), format_own_measures(data, "incumbent")
    names = [row.name for row in section.metrics]
    contested = any(name in incumbent for name in names)
    if not any(name in candidate for name in names):
        return
    rows = [
        (
            row.description,
            candidate.get(row.name, "unknown"),
            *([incumbent.get(row.name, "unknown")] if contested else []),
        )
        for row in section.metrics
    ]
    versus = (f"version {data.verdict['incumbent_version']}, champion before",) if contested else ()
    sentences = list(
        filter(None, (measures.fill_sentence(text, candidate) for text in (*section.sentences, section.summary)))
    )
    grid = Grid("Measured on the same unseen rows", ("", f"version {data.version}", *versus), rows, frozenset({1, 2}))
    yield Section("further", section.title, sentences, (), [grid])


def _describe_detectable_gain(data: ReportData) -> str:
    detectable = data.verdict.get("detectable")
    if detectable is None or pd.isna(detectable):
        return (
            f"There was nobody to compare with. A later candidate will be compared on rows like these "
            f"{format_count(len(data.holdout))}."
        )
    return (
        f"The smallest gain in average precision that this comparison could have seen is about {detectable:.3f}: a "
        f"smaller one may be there and not show on {format_count(len(data.holdout))} rows."
    )


def _build_confusion_grid(data: ReportData) -> Grid:
    words, label = data.words, data.holdout["label"].to_numpy()
    named = data.holdout["candidate_probability"].to_numpy() >= data.card.threshold
    cell = {
        (truth, said): int(((label == truth) & (named == said)).sum()) for truth in (0, 1) for said in (False, True)
    }
    return Grid(
        f"Right and wrong at the threshold of {data.card.threshold:.2f}",
        ("", "named", "not named"),
        [
            (words.outcomes[0], f"{format_count(cell[1, True])} found", f"{format_count(cell[1, False])} missed"),
            (
                words.outcomes[1],
                f"{format_count(cell[0, True])} false alarms",
                f"{format_count(cell[0, False])} rightly left alone",
            ),
        ],
        frozenset({1, 2}),
    )
