"""Which shape of model predicts failing components: rows per component, or a model with several outputs.

    .venv/bin/python benchmarks/maintenance_events.py [--horizons 24 84] [--rows 100000]

On the real events of 1,000 machines (no telemetry), a prediction every 12 h at 00:00 and 12:00 UTC: fitted on times
whose horizon is over on 2015-10-30, the threshold chosen on the month after (F1 over rows and components), judged from
2015-11-30 on. `long` is one binary model over a row per machine, time and component, the component being a feature;
`wide` is a model with an output per component. Both are fitted on the same machines and times, an even sample of so
many. Each fit has one thread, as in training: where other work runs beside it, boosting with two took 30 times as long.
Then on the real telemetry of 20 machines what telemetry adds.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from measuring.machines import COMPONENTS, CONF, EVENTS, TELEMETRY, Rows, rows, tables
from measuring.tables import markdown
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.model_selection import GroupKFold
from sklearn.multioutput import MultiOutputClassifier
from threadpoolctl import threadpool_limits

from lakehouse_ml.pipelines.evaluation.metrics import best_threshold
from lakehouse_ml.spark import ENGINE, EngineSpec
from lakehouse_ml.use_cases.predictive_maintenance.spec import MaintenanceSpec

FITTED_UNTIL, JUDGED_FROM = pd.Timestamp("2015-10-30", tz="UTC"), pd.Timestamp("2015-11-30", tz="UTC")
MARCH = pd.Timestamp("2015-03-01", tz="UTC")
LEAST = {24: 0.94, 84: 0.45}
OWN = "days_since_own"
UNREGULARISED = "wide, boosting without regularisation"
SEED = 0

Probability = Callable[[pd.DataFrame], np.ndarray]


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--horizons", type=int, nargs="+", default=[24, 84], help="hours")
    parser.add_argument("--rows", type=int, default=100_000, help="machines and times to fit on")
    given = parser.parse_args()
    if not (EVENTS.is_dir() and TELEMETRY.is_dir()):
        print(f"The real files aren't at {EVENTS.parent}: they lie only beside the project's own checkout.")
        return
    ENGINE.choose(EngineSpec(engine="sail"))
    with threadpool_limits(1):
        compare(given.horizons, given.rows)


def compare(horizons: Sequence[int], n_rows: int) -> None:
    """Print both tables."""
    print(markdown([row for hours in horizons for row in _events(hours, n_rows)]))
    print("\nF1 over (row, component) at a threshold chosen on the month before; `one class` predicts of each row the "
          "most probable of the components and none; seconds on this machine.\n")  # fmt: skip
    print(markdown(list(_telemetry())))
    print("\n20 machines, every 3 h, 24 h ahead, March 2015; a row counts as positive if any component fails. "
          "Intervals (95 %) are from 2,000 samples of machines.")  # fmt: skip


# --- 1,000 machines, events only


@dataclass(frozen=True)
class Shape:
    """A way to predict several components; `fit` gives a function to probabilities, shape (n_rows, n_components)."""

    name: str
    fit: Callable[[Rows], Probability]


def boosting(l2: float = 1.0) -> Any:
    """Gradient boosting; missing values are a branch of their own.

    Without regularisation it diverges on so rare outcomes: leaves whose rows are all certain have hardly any curvature.
    """
    return HistGradientBoostingClassifier(max_iter=100, l2_regularization=l2, early_stopping=False, random_state=SEED)


def forest() -> Any:
    """A random forest that is fitted in a minute."""
    return RandomForestClassifier(n_estimators=40, max_depth=15, min_samples_split=10, random_state=SEED)


def long_rows(x: pd.DataFrame, *, own: bool) -> pd.DataFrame:
    """A row per component below each other: all of comp1's first."""
    parts = []
    for number, component in enumerate(COMPONENTS):
        part = x.assign(component=float(number))
        parts.append(part.assign(**{OWN: x[f"days_since_{component}"]}) if own else part)
    return pd.concat(parts, ignore_index=True)


def long_shape(estimator: Callable[[], Any], *, own: bool) -> Callable[[Rows], Probability]:
    """One binary model."""

    def fit(train: Rows) -> Probability:
        model = estimator().fit(long_rows(train.x, own=own), train.y.T.ravel())
        return lambda x: model.predict_proba(long_rows(x, own=own))[:, 1].reshape(len(COMPONENTS), len(x)).T

    return fit


def wide_shape(estimator: Callable[[], Any]) -> Callable[[Rows], Probability]:
    """One model with an output per component."""

    def fit(train: Rows) -> Probability:
        model = estimator().fit(train.x, train.y)
        return lambda x: np.column_stack([p[:, 1] for p in model.predict_proba(x)])

    return fit


def one_class_shape(train: Rows) -> Probability:
    """The published shape: one of the classes none, comp1, ...; a row with two failing components keeps the first."""
    label = np.where(train.y.any(axis=1), train.y.argmax(axis=1) + 1, 0)
    model = boosting().fit(train.x, label)
    return lambda x: model.predict_proba(x)[:, 1:]


SHAPES = (
    Shape("long, boosting", long_shape(boosting, own=False)),
    Shape("long with the component's own days, boosting", long_shape(boosting, own=True)),
    Shape("long with the component's own days, forest", long_shape(forest, own=True)),
    Shape("wide, boosting", wide_shape(lambda: MultiOutputClassifier(boosting()))),
    Shape("wide, forest", wide_shape(forest)),
    Shape(UNREGULARISED, wide_shape(lambda: MultiOutputClassifier(boosting(l2=0.0)))),
    Shape("one class of five, boosting", one_class_shape),
)


def _events(hours: int, n_rows: int) -> Iterator[dict[str, str]]:
    found = rows(tables(EVENTS), MaintenanceSpec(**CONF | {"horizon_hours": hours}))
    horizon = pd.Timedelta(hours=hours)
    train = sample(found.where(found.at + horizon <= FITTED_UNTIL), n_rows)
    calibration = found.where((found.at >= FITTED_UNTIL) & (found.at + horizon <= JUDGED_FROM))
    test = found.where(found.at >= JUDGED_FROM)
    print(f"{hours} h: {len(train.x):,} rows to fit, {len(calibration.x):,} for the threshold, {len(test.x):,} to "
          f"judge, {test.y.any(axis=1).mean():.2%} of them positive", file=sys.stderr)  # fmt: skip
    for shape in SHAPES:
        row = _judged(shape, train, calibration, test)
        print(hours, row, file=sys.stderr)
        yield {"shape": shape.name, "horizon": f"{hours} h", "wanted": f"{LEAST.get(hours, 0):.2f}", **row}


def sample(of: Rows, n_rows: int) -> Rows:
    """So many rows of all, each as likely."""
    drawn = np.random.default_rng(SEED).permutation(len(of.x)) < n_rows
    return of.where(pd.Series(drawn))


def _judged(shape: Shape, train: Rows, calibration: Rows, test: Rows) -> dict[str, str]:
    started = time.perf_counter()
    probability = shape.fit(train)
    fitted = time.perf_counter()
    chosen_on = probability(calibration.x)
    again = time.perf_counter()
    scores = probability(test.x)
    scored = time.perf_counter()
    threshold = best_threshold(calibration.y.ravel(), chosen_on.ravel())
    each = np.array([best_threshold(calibration.y[:, n], chosen_on[:, n]) for n in range(len(COMPONENTS))])
    none = 1 - scores.sum(axis=1) if shape.fit is one_class_shape else (1 - scores).prod(axis=1)
    return {
        "F1": f"{micro_f1(test.y, scores >= threshold):.3f}",
        "threshold": f"{threshold:.2f}",
        "F1, a threshold each": f"{micro_f1(test.y, scores >= each):.3f}",
        "F1, one class": f"{micro_f1(test.y, one_class(scores, none)):.3f}",
        "fit s": f"{fitted - started:.1f}",
        "score s": f"{scored - again:.2f}",
    }


def micro_f1(label: np.ndarray, decision: np.ndarray) -> float:
    """F1 over all cells."""
    hit = (label.astype(bool) & decision).sum()
    return 2 * hit / max(label.sum() + decision.sum(), 1)


def one_class(scores: np.ndarray, none: np.ndarray) -> np.ndarray:
    """The most probable component of each row, unless none is more probable."""
    best = scores.argmax(axis=1)
    chosen = np.zeros(scores.shape, dtype=bool)
    chosen[np.arange(len(best)), best] = scores.max(axis=1) > none
    return chosen


# --- 20 machines with telemetry


def _telemetry() -> Iterator[dict[str, str]]:
    history = tables(TELEMETRY, "PdM_")
    shapes = [shape for shape in SHAPES if shape.name != UNREGULARISED and shape.fit is not one_class_shape]
    for telemetry in (True, False):
        spec = MaintenanceSpec(**CONF | {"step_hours": 3, "telemetry": telemetry})
        found = rows(history, spec)
        train = found.where(found.at + pd.Timedelta(hours=spec.horizon_hours) <= MARCH)
        test = found.where(found.at >= MARCH)
        for shape in shapes:
            print(f"20 machines, telemetry {telemetry}: {shape.name}", file=sys.stderr)
            yield {"shape": shape.name, "telemetry": "with" if telemetry else "without", **_any(shape, train, test)}


def _any(shape: Shape, train: Rows, test: Rows) -> dict[str, str]:
    """Too few machines for a month of calibration: the threshold is chosen out of fold, by machine."""
    folds = GroupKFold(5, shuffle=True, random_state=SEED).split(train.x, groups=train.machine)
    out_of_fold = np.zeros(train.y.shape)
    for fit_on, rest in folds:
        chosen = np.isin(np.arange(len(train.x)), fit_on)
        out_of_fold[rest] = shape.fit(train.where(pd.Series(chosen)))(train.x.iloc[rest])
    label = train.y.any(axis=1).astype(int)
    threshold = best_threshold(label, out_of_fold.max(axis=1))
    scores = shape.fit(train)(test.x)
    happened, decided = test.y.any(axis=1), scores.max(axis=1) >= threshold
    low, high = _interval(test.machine, happened, decided)
    strict = micro_f1(test.y, scores >= threshold)
    return {
        "any failure F1": f"{_f1(happened, decided):.3f} ({low:.3f} to {high:.3f})",
        "F1 by component": f"{strict:.3f}",
        "threshold": f"{threshold:.2f}",
        "positive rows": f"{happened.sum()} of {len(happened):,}",
    }


def _interval(machine: np.ndarray, happened: np.ndarray, decided: np.ndarray) -> tuple[float, float]:
    names = np.unique(machine)
    counts = np.array([
        [(happened & decided)[machine == name].sum(), happened[machine == name].sum() + decided[machine == name].sum()]
        for name in names
    ])  # fmt: skip
    drawn = np.random.default_rng(SEED).integers(len(names), size=(2000, len(names)))
    hits, both = counts[drawn].sum(axis=1).T
    low, high = np.quantile(2 * hits / np.maximum(both, 1), [0.025, 0.975])
    return float(low), float(high)


def _f1(happened: np.ndarray, decided: np.ndarray) -> float:
    return float(2 * (happened & decided).sum() / max(happened.sum() + decided.sum(), 1))


if __name__ == "__main__":
    main()
