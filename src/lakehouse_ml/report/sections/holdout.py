"""The candidate on held-out rows: curves, segments and value."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from lakehouse_ml.report import charts
from lakehouse_ml.report.curves import (
    RARE_SHARE,
    choose_drawn_share,
    compute_by_threshold,
    compute_calibration,
    compute_found_share,
    compute_gain,
    compute_precision_recall,
    compute_roc,
    compute_value,
)
from lakehouse_ml.report.formatting import (
    capitalize,
    format_count,
    format_decimal,
    format_money,
    format_percent,
    format_share,
)
from lakehouse_ml.report.page import Grid, Picture, Section
from lakehouse_ml.report.phrases import describe_holdout

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lakehouse_ml.report.data import ReportData

    Floats = NDArray[np.float64]


def build_curves_section(data: ReportData) -> Section:
    """How well the candidate's scores separate the two outcomes."""
    label = data.holdout["label"].to_numpy(dtype=float)
    if not 0 < label.sum() < len(label):
        return Section(
            "curves", "How well it separates the outcomes", ["Without both outcomes there is nothing to draw."]
        )
    words, sides = data.words, list(_list_contenders(data))
    share = label.mean()
    part, riskiest = (0.2, "fifth") if share >= RARE_SHARE else (0.01, "hundredth")
    drawn_share = choose_drawn_share(label)
    share_of_positives = f"{compute_found_share(label, sides[0][1], part):.0%}"
    pictures = [
        Picture(
            charts.curves(
                {name: compute_roc(label, p) for name, p in sides},
                "false alarms, share of the others",
                f"found, share of {words.positives}",
                diagonal=True,
            ),
            f"ROC curve: the area below it is {format_decimal(data.metric('roc_auc'))}; guessing reaches 0.5.",
            "ROC: how many are found for how many false alarms. The further up on the left, the better.",
        ),
        Picture(
            charts.curves(
                {name: compute_precision_recall(label, p) for name, p in sides},
                f"found, share of {words.positives} (recall)",
                "right, share of those named (precision)",
            ),
            f"Precision-recall curve: average precision {format_decimal(data.metric('average_precision'))}; naming "
            f"every {words.row} would be right for {format_share(share)}.",
            "Precision and recall: finding more of them means more false alarms.",
        ),
        Picture(
            charts.calibration(
                {name: compute_calibration(label, p) for name, p in sides}, "predicted probability", "observed share"
            ),
            f"Calibration: {_describe_calibration(label, sides[0][1])}",
            f"Calibration: {words.calibration} On the dotted line, yes. Bars are 95 % intervals.",
        ),
        Picture(
            charts.curves(compute_by_threshold(label, sides[0][1]), "threshold", "value", mark=data.card.threshold),
            f"Precision, recall and F1 by threshold; the model's is {data.card.threshold:.2f}.",
            "The threshold: what happens if fewer or more are named. It was chosen on training rows.",
        ),
        Picture(
            charts.curves(
                {name: compute_gain(label, p) for name, p in sides},
                f"share of {words.row}s looked at, riskiest first",
                f"found, share of {words.positives}",
                diagonal=True,
                x_to=drawn_share,
            ),
            f"Gain curve: the riskiest {riskiest} holds {share_of_positives} of all {words.positives}.",
            f"Gain: the riskiest {riskiest} of all {words.row}s holds {share_of_positives} of the {words.positives}.",
        ),
        Picture(
            charts.two_histograms(
                {words.outcomes[0]: sides[0][1][label == 1], words.outcomes[1]: sides[0][1][label == 0]},
                data.card.threshold,
                "probability",
            ),
            f"Histograms of the probability: {words.outcomes[0]}, and {words.outcomes[1]}.",
            "How far the two groups lie apart. Where they overlap, no threshold is right for all.",
        ),
    ]
    sentence = (
        f"On {describe_holdout(data)} that took no part in training. Share that {words.outcomes[0]}: {share:.1%}."
    )
    return Section("curves", "How well it separates the outcomes", [sentence], pictures)


def build_segments_section(data: ReportData) -> Section:
    """The metrics of each segment."""
    groups = data.metrics["segment"].str.contains("=", regex=False)
    rows_of_candidate = data.metrics[(data.metrics["model"] == "candidate") & groups.astype(bool)]
    rows = []
    for segment in rows_of_candidate["segment"].unique():
        part = rows_of_candidate[rows_of_candidate["segment"] == segment]
        values = dict(zip(part["metric"], part["value"], strict=True))
        n, positives = int(part["n_rows"].iloc[0]), int(part["n_positives"].iloc[0])
        rows.append(
            (
                segment.replace("=", ": "),
                format_count(n),
                f"{positives / n:.1%}",
                *(format_decimal(values.get(name)) for name in ("precision", "recall", "f1", "roc_auc")),
                format_money(values.get("expected_value")),
            )
        )
    heads = (
        "segment",
        "rows",
        data.words.outcomes[0],
        "precision",
        "recall",
        "F1",
        "ROC-AUC",
        f"value per {data.words.row}",
    )
    sentences = [
        "The same model, group by group. A group in which few or nearly all had the outcome has a low or high F1 by "
        "itself; ROC-AUC is easier to compare. No intervals are given: with many groups, some always stand out."
    ]
    return Section("segments", "Group by group", sentences, (), [Grid("Segments", heads, rows, frozenset(range(1, 8)))])


def build_value_section(data: ReportData) -> Section:
    """What acting on the scores is worth."""
    money, words = data.economics, data.words
    sentences = [
        words.economics.format(
            cost=format_money(money.action_cost),
            share=format_percent(money.success_share),
            value=format_money(money.averted_value),
        )
        + "; all in the currency of the data. These three numbers are assumptions, under `economics` in "
        "parameters.yml: others give another list."
    ]
    sentences += filter(None, [words.value_note])
    label = data.holdout["label"].to_numpy(dtype=float)
    if not len(label):
        return Section("value", "What it is worth", sentences)
    probability = data.holdout["candidate_probability"].to_numpy()
    shares, values = compute_value(label, probability, money)
    best = int(np.argmax(values))
    sentences.append(
        f"On unseen rows, {words.action} for every {words.row} named by the threshold is worth "
        f"{format_money(data.metric('expected_value'))} per {words.row}. {capitalize(words.action)} for the riskiest "
        f"{format_share(shares[best])} is worth most, {format_money(values[best])}; for every {words.row} it is worth "
        f"{format_money(values[-1])}."
    )
    drawn_share = choose_drawn_share(label)
    picture = Picture(
        charts.curves(
            {f"version {data.version}": (shares, values)},
            f"share of {words.row}s with {words.action}",
            f"value per {words.row}",
            unit_y=False,
            x_to=drawn_share,
        ),
        f"Expected value by share of {words.row}s: highest, {format_money(values[best])}, at "
        f"{format_share(shares[best])}.",
        f"Value per {words.row}, if so many get {words.action}, the riskiest first."
        + (f" Only the riskiest {drawn_share:.0%} are drawn." if drawn_share < 1 else ""),
    )
    return Section("value", "What it is worth", sentences, [picture])


def _list_contenders(data: ReportData) -> Iterator[tuple[str, Floats]]:
    yield f"version {data.version}", data.holdout["candidate_probability"].to_numpy(dtype=float)
    theirs = data.holdout["incumbent_probability"].to_numpy(dtype=float)
    if len(theirs) and not np.isnan(theirs).any():
        yield f"version {data.verdict['incumbent_version']} (before)", theirs


def _describe_calibration(label: Floats, probability: Floats) -> str:
    predicted_share, share, low, high = compute_calibration(label, probability)
    kept = int(((predicted_share >= low) & (predicted_share <= high)).sum())
    return (
        f"in {kept} of {len(predicted_share)} groups the predicted probability lies within the interval of the "
        f"observed share; the widest gap is {np.abs(predicted_share - share).max():.2f}."
    )
