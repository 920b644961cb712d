"""What the search tried, and what the chosen model looks at."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lakehouse_ml.report import charts
from lakehouse_ml.report.formatting import format_params
from lakehouse_ml.report.page import Grid, Picture, Section

if TYPE_CHECKING:
    from lakehouse_ml.report.data import ReportData

_SHOWN_FEATURES = 15


def build_features_section(data: ReportData) -> Section:
    """Which features move the probability most."""
    ranked = data.ranked_features
    top = ranked[:_SHOWN_FEATURES]
    names, values = [name for name, _ in top], [value for _, value in top]
    picture = Picture(
        charts.ranked_bars(names, values, "mean change of the probability"),
        f"Bars: the features that move the probability most are {', '.join(names[:5])}.",
        "How far a feature's value moves the probability, on average, against a typical value of it.",
    )
    rows = [(name, f"{value:.4f}", data.meaning(name)) for name, value in ranked]
    return Section(
        "features",
        "What the model looks at",
        [
            "A feature at the top matters to the model; that doesn't make it a cause. Correlated features "
            "share importance."
        ],
        [picture],
        [
            Grid(
                "All features and what they mean",
                ("feature", "mean change", "meaning"),
                rows,
                frozenset({1}),
                folded=True,
            )
        ],
    )


def build_trials_section(data: ReportData) -> Section:
    """The trials of the search."""
    rows = [
        (
            f"{t.trial}",
            "chosen" if t.chosen else "",
            t.estimator.replace("_", " "),
            f"{t.f1:.3f}",
            f"{t.roc_auc:.3f}",
            f"{t.average_precision:.3f}",
            f"{t.threshold:.2f}",
            f"{t.fit_seconds:.1f}",
            format_params(t.params),
        )
        for t in data.trials.itertuples()
    ]
    heads = (
        "trial",
        "chosen",
        "kind of model",
        "F1",
        "ROC-AUC",
        "average precision",
        "threshold",
        "seconds",
        "settings",
    )
    return Section(
        "trials",
        "What was tried",
        [
            "Each trial was fitted on parts of the training rows and measured on the part that it had not seen. The "
            "highest F1 was chosen; differences in the third digit are chance."
        ],
        (),
        [Grid("Trials of the search", heads, rows, frozenset({0, 3, 4, 5, 6, 7}))],
    )
