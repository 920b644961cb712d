"""Curves of labels (1 or 0) and probabilities, each as x and y."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lakehouse_ml.modelling.economics import Economics

    Floats = NDArray[np.float64]

# Below this share of positives, equal parts of the rows would hold almost none of them.
RARE_SHARE = 0.05
_CALIBRATION_BINS = 10
_95_PERCENT = 1.959964


def compute_roc(label: Floats, probability: Floats) -> tuple[Floats, Floats]:
    """Share of false alarms and share found, at every threshold."""
    from sklearn.metrics import roc_curve

    false, true, _ = roc_curve(label, probability)
    return false, true


def compute_precision_recall(label: Floats, probability: Floats) -> tuple[Floats, Floats]:
    """Share found and share right among those named, at every threshold."""
    from sklearn.metrics import precision_recall_curve

    precision, recall, _ = precision_recall_curve(label, probability)
    return recall[::-1], precision[::-1]


def _average_ties(label: Floats, probability: Floats) -> Floats:
    """Labels, of rows with the same probability their mean: which of these comes first would be chance."""
    _, group, n = np.unique(probability, return_inverse=True, return_counts=True)
    return (np.bincount(group, weights=label) / n)[group]


def compute_calibration(label: Floats, probability: Floats) -> tuple[Floats, Floats, Floats, Floats]:
    """Mean promise and observed share per tenth of the rows, with Wilson's interval (1927) of the share.

    Where outcomes are rare, per tenth of the probability: nine tenths of the rows would be promised nearly nothing.
    """
    order, label = np.argsort(probability, kind="stable"), _average_ties(label, probability)
    if label.mean() < RARE_SHARE:
        cuts = np.searchsorted(probability[order], np.arange(1, _CALIBRATION_BINS) / _CALIBRATION_BINS)
    else:
        cuts = None
    parts = np.array_split(order, min(_CALIBRATION_BINS, len(order))) if cuts is None else np.split(order, cuts)
    parts = [part for part in parts if len(part)]
    promised = np.array([probability[part].mean() for part in parts])
    share = np.array([label[part].mean() for part in parts])
    n = np.array([len(part) for part in parts], dtype=float)
    z = _95_PERCENT
    middle = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2)) / (1 + z**2 / n)
    return promised, share, np.clip(middle - half, 0, 1), np.clip(middle + half, 0, 1)


def compute_by_threshold(label: Floats, probability: Floats) -> dict[str, tuple[Floats, Floats]]:
    """F1, precision and recall at thresholds from 0.01 to 0.99."""
    cuts = np.linspace(0.01, 0.99, 99)
    n_named = np.array([(probability >= cut).sum() for cut in cuts], dtype=float)
    n_hits = np.array([label[probability >= cut].sum() for cut in cuts])
    precision = np.divide(n_hits, n_named, out=np.full_like(n_hits, np.nan), where=n_named > 0)
    f1 = 2 * n_hits / (n_named + label.sum())
    return {"F1": (cuts, f1), "precision": (cuts, precision), "recall": (cuts, n_hits / label.sum())}


def compute_gain(label: Floats, probability: Floats) -> tuple[Floats, Floats]:
    """Share of rows, riskiest first, and the share of all positives among them."""
    order, label = np.argsort(-probability, kind="stable"), _average_ties(label, probability)
    gain = np.concatenate([[0.0], np.cumsum(label[order])]) / label.sum()
    return np.linspace(0, 1, len(gain)), gain


def choose_drawn_share(label: Floats) -> float:
    """How much of the rows, riskiest first, is drawn: of a rare outcome the rest would press all into a corner."""
    return 1.0 if label.mean() >= RARE_SHARE else RARE_SHARE


def compute_found_share(label: Floats, probability: Floats, share: float) -> float:
    """Share of all positives among the riskiest `share` of the rows."""
    xs, ys = compute_gain(label, probability)
    return float(np.interp(share, xs, ys))


def compute_value(label: Floats, probability: Floats, money: Economics) -> tuple[Floats, Floats]:
    """Value per row if the riskiest first k rows get an action, by k / n."""
    order, label = np.argsort(-probability, kind="stable"), _average_ties(label, probability)
    n = len(label)
    kept = np.concatenate([[0.0], np.cumsum(label[order])]) * money.success_share * money.averted_value
    return np.linspace(0, 1, n + 1), (kept - money.action_cost * np.arange(n + 1)) / n
