"""How good the pipeline is on real machines, on months that it never saw: events of 1,000, telemetry of 20.

    .venv/bin/python benchmarks/maintenance_quality.py [<folder>] [--horizons 24 84] [--only events|telemetry]

The folder holds `pdm_events_1000` and `pdm_telemetry_20`, files of Microsoft's public predictive maintenance data; by
default it is looked for beside the project. Each line is a lake of its own, made by `kedro run` of the stages from
ingestion to evaluation, with the parameters below in `conf/local`; its F1 is the one in `metrics_holdout`.

Events: a prediction every 12 h at 00:00 and 12:00 UTC. Training rows are those whose horizon is over on 2015-10-30;
calibration and threshold use rows from then on whose horizon is over on 2015-11-30; the hold-out starts 2015-11-30.
F1 counts (row, component). Beside it stand models that are fitted here, on an even sample of the same training rows and
judged on the very same held-out ones: the published rule (one model of the classes none, comp1, ...; of two that fail
at once it learns the first, and of each row it predicts the most probable class), the same model with a threshold, and
a model with an output per component, with and without regularisation. Thresholds are chosen on the calibration part.

Telemetry: every 3 h, 24 h ahead, March 2015 is judged, with the features of telemetry and without; a row counts as
positive if any component fails. Intervals are of samples of machines, each with all its rows: the pipeline's own
where `metrics_holdout` has one (F1 over components), else computed here from `outcome_holdout`, 2,000 samples.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from deltalake import DeltaTable
from measuring.processes import kedro, measure
from measuring.tables import markdown
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.multioutput import MultiOutputClassifier
from threadpoolctl import threadpool_limits

from lakehouse_ml.explore.notebook import catalog
from lakehouse_ml.modelling.metrics import choose_threshold

PROJECT = Path(__file__).resolve().parents[1]
NAME = "predictive_maintenance"
EVENTS, TELEMETRY = "pdm_events_1000", "pdm_telemetry_20"
STAGES = ("data_ingestion", "data_quality", "feature_engineering", "training", "evaluation")
KEY = ["machine_id", "predicted_at"]
WANTED = {24: 0.94, 84: 0.45}
WANTED_LOW = 0.75
PUBLISHED, AT_THRESHOLD = "published rule", "its model, at a threshold"
SEED, RESAMPLES = 0, 2_000

OWN, LARGER = "conf's search", "larger search"
# One row in 200 is positive: 400,000 rows hold 2,000. Trees of 31 leaves instead of 8 or 16 can ask of a component for
# its own days, its errors and the machine's model at once. Cross-validation on the training part decides between them.
SEARCHES: dict[str, dict[str, Any]] = {
    OWN: {},
    LARGER: {
        "max_rows": 400_000,
        "trials": [
            {
                "estimator": "gradient_boosting",
                "params": {"learning_rate": 0.1, "max_iter": n, "max_depth": depth, "l2_regularization": 1.0},
            }
            for n, depth in ((60, 3), (100, None), (200, None))
        ],
    },
}
# Every held-out row is judged, not a sample of machines.
EVALUATION = {"max_rows": 1_000_000}
EVENTS_SPLIT = {"calibrate_from": "2015-10-30", "test_from": "2015-11-30"}
# With conf's share, the calibration part starts on 2015-02-15.
TELEMETRY_SPLIT = {"test_from": "2015-03-01"}
# Without it, files without telemetry would end with their last event, and fewer rows be judged.
TELEMETRY_UNTIL = "2015-04-01 05:00:00"

Floats = np.ndarray


@dataclass(frozen=True)
class Holdout:
    """The hold-out of a run, as its lake stores it.

    Attributes:
        rows: One row per machine and prediction time, in order of both: `KEY`.
        label: Whether each component fails within the horizon, shape (n_rows, n_components).
        probability: That each component fails, shape (n_rows, n_components).
        threshold: Probability from which on a component is predicted to fail.
        metrics: `metrics_holdout` of the candidate: value, low and high by (segment, metric).
        trial: The line of the search's choice in `metrics_trials`.
    """

    rows: pd.DataFrame
    label: np.ndarray
    probability: Floats
    threshold: float
    metrics: pd.DataFrame
    trial: pd.Series

    @property
    def machine(self) -> np.ndarray:
        """Of each row."""
        return self.rows["machine_id"].to_numpy()

    @property
    def decision(self) -> np.ndarray:
        """What the pipeline takes to fail, shape (n_rows, n_components)."""
        return self.probability >= self.threshold


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    beside = PROJECT.parent / "shared" / "data"
    parser.add_argument("folder", type=Path, nargs="?", default=beside, help="of both sets of files")
    parser.add_argument("--horizons", type=int, nargs="+", default=list(WANTED), help="hours, for the events")
    parser.add_argument("--only", choices=("events", "telemetry"), help="one of the two parts")
    arguments = parser.parse_args()
    missing = [name for name in (EVENTS, TELEMETRY) if not (arguments.folder / name).is_dir()]
    if missing:
        print(
            f"There is no {' and no '.join(missing)} in {arguments.folder}: name the folder that holds the real files; "
            f"they are no part of the project."
        )
        return
    with threadpool_limits(1):
        if arguments.only != "telemetry":
            events(arguments.folder / EVENTS, arguments.horizons)
        if arguments.only != "events":
            telemetry(arguments.folder / TELEMETRY)


# --- 1,000 machines, events only


def events(landing: Path, horizons: Sequence[int]) -> None:
    """Print the tables of the pipeline, of its dates and of other shapes."""
    quality, dates, others = [], [], []
    for hours in horizons:
        for search, training in SEARCHES.items():
            features = {"telemetry": False, "step_hours": 12, "phase_hours": 0, "horizon_hours": hours}
            with tempfile.TemporaryDirectory(prefix="lakehouse-ml-bench-") as folder:
                lake = run_end_to_end(landing, Path(folder), features, {"split": EVENTS_SPLIT, **training})
                holdout = read_holdout(lake)
                if search == OWN:
                    labelled = table(lake, f"05_model_input/{NAME}/model_input_machines")
                    beside = dict(shapes(labelled, holdout, SEARCHES[LARGER]["max_rows"] // holdout.label.shape[1]))
                    dates += [{"horizon": f"{hours} h", **row} for row in parts(labelled)]
            quality.append(_quality(hours, search, holdout, beside[PUBLISHED]))
            print(quality[-1], file=sys.stderr)
        others += [_other(hours, name, holdout, decision) for name, decision in beside.items()]
    for rows in (quality, others, dates):
        print(markdown(rows), end="\n\n")


def _quality(hours: int, search: str, holdout: Holdout, published: np.ndarray) -> dict[str, str]:
    f1 = holdout.metrics.loc[("all", "f1")]
    counts = [count_hits(holdout.machine, holdout.label, decision) for decision in (holdout.decision, published)]
    gain = counts_f1(counts[0].sum(axis=0)) - counts_f1(counts[1].sum(axis=0))
    params = json.loads(holdout.trial["params"])
    likeliest = one_class(np.column_stack([(1 - holdout.probability).prod(axis=1), holdout.probability]))
    return {
        "horizon": f"{hours} h",
        "search": search,
        "F1 (95 %)": _interval(f1["value"], f1["low"], f1["high"]),
        "wanted": f"{WANTED[hours]:.2f}" if hours in WANTED else "",
        "published rule": _f1_with_interval(counts[1]),
        "better by": _interval(gain, *differing(*counts), sign="+"),
        "one class of the pipeline's probabilities": _f1_with_interval(
            count_hits(holdout.machine, holdout.label, likeliest)
        ),
        "failures seen": f"{holdout.metrics.loc[('hours_ahead', 'seen_share'), 'value']:.1%}",
        "F1 out of fold": f"{holdout.trial['f1']:.3f}",
        "trial": f"{params['max_iter']} trees, depth {params['max_depth'] or 'any'}",
    }


def _other(hours: int, name: str, holdout: Holdout, decision: np.ndarray) -> dict[str, str]:
    return {
        "shape": name,
        "horizon": f"{hours} h",
        "F1 (95 %)": _f1_with_interval(count_hits(holdout.machine, holdout.label, decision)),
    }


def shapes(labelled: pd.DataFrame, holdout: Holdout, n_rows: int) -> Iterator[tuple[str, np.ndarray]]:
    """Decisions of other models about the held-out rows; each is fitted on at most `n_rows` machines and times."""
    wide = labelled.pivot(index=KEY, columns="component", values="label").sort_index()
    x = labelled[labelled["component"] == wide.columns[0]].set_index(KEY).sort_index()
    part = x["part"].to_numpy()
    numbers = x.drop(columns=["component", "label", "part"]).assign(model=x["model"].astype("category").cat.codes)
    numbers, y = numbers.astype("float64"), wide.to_numpy()
    is_holdout = part == "holdout"
    if (
        not (wide.index[is_holdout] == pd.MultiIndex.from_frame(holdout.rows)).all()
        or (y[is_holdout] != holdout.label).any()
    ):
        raise ValueError("The rows that the pipeline was judged on aren't the held-out rows of its model input.")
    train = np.random.default_rng(SEED).permutation(np.flatnonzero(part == "train"))[:n_rows]
    fits = {
        PUBLISHED: boosting().fit(numbers.iloc[train], first_failing(y[train])),
        "an output per component": MultiOutputClassifier(boosting()).fit(numbers.iloc[train], y[train]),
        "the same without regularisation": MultiOutputClassifier(boosting(l2=0.0)).fit(numbers.iloc[train], y[train]),
    }
    for name, model in fits.items():
        chosen, scores = (probabilities(model, numbers[rows]) for rows in (part == "calibration", is_holdout))
        threshold = choose_threshold(y[part == "calibration"].ravel(), chosen.ravel())
        if name == PUBLISHED:
            yield name, one_class(np.column_stack([1 - scores.sum(axis=1), scores]))
        yield AT_THRESHOLD if name == PUBLISHED else name, scores >= threshold


def probabilities(model: Any, x: pd.DataFrame) -> Floats:
    """Of each component, shape (n_rows, n_components), of a model of classes or of outputs."""
    predicted = model.predict_proba(x)
    return np.column_stack([each[:, 1] for each in predicted]) if isinstance(predicted, list) else predicted[:, 1:]


def boosting(l2: float = 1.0) -> Any:
    """Gradient boosting of 100 trees a class with 31 leaves."""
    return HistGradientBoostingClassifier(max_iter=100, l2_regularization=l2, early_stopping=False, random_state=SEED)


def first_failing(label: np.ndarray) -> np.ndarray:
    """0 where no component fails, else the number of the first that does, from 1 on."""
    return np.where(label.any(axis=1), label.argmax(axis=1) + 1, 0)


def one_class(probability: Floats) -> np.ndarray:
    """The published rule: of none and the components, in the order of columns, the most probable one.

    Args:
        probability: Shape (n_rows, 1 + n_components).

    Returns:
        Whether each component is the one, shape (n_rows, n_components); of equal ones it is the first.
    """
    best = probability.argmax(axis=1)
    return best[:, None] == np.arange(1, probability.shape[1])


def parts(labelled: pd.DataFrame) -> Iterator[dict[str, str]]:
    """From when to when the rows of each part go, how many (row, component) they are, and how many positive."""
    for name in ("train", "calibration", "holdout"):
        rows = labelled[labelled["part"] == name]
        first, last = (f"{at:%Y-%m-%d %H:%M}" for at in (rows["predicted_at"].min(), rows["predicted_at"].max()))
        yield {
            "part": name,
            "first": first,
            "last": last,
            "(row, component)": f"{len(rows):,}",
            "positive": f"{int(rows['label'].sum()):,}",
        }


# --- 20 machines with telemetry


def telemetry(landing: Path) -> None:
    """Print the table of both models."""
    holdouts, dates = {}, []
    for on in (True, False):
        features = {"telemetry": on, "step_hours": 3, "horizon_hours": 24, "known_until": TELEMETRY_UNTIL}
        with tempfile.TemporaryDirectory(prefix="lakehouse-ml-bench-") as folder:
            lake = run_end_to_end(landing, Path(folder), features, {"split": TELEMETRY_SPLIT})
            holdouts["with" if on else "without"] = read_holdout(lake)
            dates += [
                {"telemetry": "with" if on else "without", **row}
                for row in parts(table(lake, f"05_model_input/{NAME}/model_input_machines"))
            ]
    with_telemetry, without_telemetry = holdouts.values()
    if (
        not with_telemetry.rows.equals(without_telemetry.rows)
        or (with_telemetry.label != without_telemetry.label).any()
    ):
        raise ValueError("The two models were judged on different rows.")
    happened = with_telemetry.label.any(axis=1)
    counts = {
        name: count_hits(holdout.machine, happened, holdout.decision.any(axis=1)) for name, holdout in holdouts.items()
    }
    print(markdown([_with(name, holdout, counts[name]) for name, holdout in holdouts.items()]), end="\n\n")
    gain = counts_f1(counts["with"].sum(axis=0)) - counts_f1(counts["without"].sum(axis=0))
    low = resample_f1(counts["with"], counts["without"])[0]
    verdict = f"{'reaches' if np.quantile(low, 0.025) >= WANTED_LOW else 'does NOT reach'} the {WANTED_LOW} wanted"
    print(
        f"Telemetry adds {_interval(gain, *differing(*counts.values()), sign='+')}; the lower bound with it {verdict}. "
        f"{happened.sum()} of {len(happened):,} rows are positive.\n"
    )
    print(markdown(dates))


def _with(name: str, holdout: Holdout, counts: np.ndarray) -> dict[str, str]:
    failures = holdout.metrics.loc[("hours_ahead", "seen_share")]
    return {
        "telemetry": name,
        "any failure F1 (95 %)": _f1_with_interval(counts),
        "F1 by component (95 %)": _interval(*holdout.metrics.loc[("all", "f1"), ["value", "low", "high"]]),
        "failures seen": f"{failures['value']:.0%} of {failures['n_positives']:.0f}",
        "threshold": f"{holdout.threshold:.2f}",
    }


# --- what a run leaves


def run_end_to_end(landing: Path, folder: Path, features: Mapping[str, Any], training: Mapping[str, Any]) -> Path:
    """Take the files to a judged model, in a lake of their own in `folder`."""
    conf, lake = folder / "conf", folder / "lake"
    # Of conf only what everybody has: whoever measures may have values of their own in conf/local.
    shutil.copytree(PROJECT / "conf", conf, ignore=shutil.ignore_patterns("local"))
    (conf / "local").mkdir()
    parameters = {NAME: {"features": features, "training": training, "evaluation": EVALUATION}}
    (conf / "local" / "parameters.yml").write_text(yaml.safe_dump(parameters), encoding="utf-8")
    params = f"landing={landing.resolve()},lake={lake}"
    stages = ["--namespaces", NAME, "--pipelines", ",".join(STAGES)]
    print(f"{landing.name}: {parameters}", file=sys.stderr)
    usage = measure(kedro("run", *stages, "--conf-source", str(conf), "--params", params), folder)
    print(f"{usage.seconds:.0f} s\n{usage.output}", file=sys.stderr)
    return lake


def read_holdout(lake: Path) -> Holdout:
    """Read the hold-out of a run, and check that both of its tables give the same F1."""
    rows = table(lake, f"06_models/{NAME}/outcome_holdout")
    label, probability = (
        rows.pivot(index=KEY, columns="component", values=name).sort_index()
        for name in ("label", "candidate_probability")
    )
    metrics = table(lake, f"06_models/{NAME}/metrics_holdout")
    metrics = metrics[metrics["model"] == "candidate"].set_index(["segment", "metric"]).sort_index()
    model = catalog(str(lake)).load(f"{NAME}.candidate_model")
    trials = table(lake, f"06_models/{NAME}/metrics_trials")
    holdout = Holdout(
        label.index.to_frame(index=False),
        label.to_numpy(),
        probability.to_numpy(),
        model.card.threshold,
        metrics,
        trials[trials["chosen"]].iloc[0],
    )
    again = {
        "all": count_hits(holdout.machine, holdout.label, holdout.decision),
        "any": count_hits(holdout.machine, holdout.label.any(axis=1), holdout.decision.any(axis=1)),
    }
    for segment, counts in again.items():
        there, here = metrics.loc[(segment, "f1"), "value"], counts_f1(counts.sum(axis=0))
        if not np.isclose(there, here):
            raise ValueError(f"F1 of {segment} is {there} in metrics_holdout and {here} by outcome_holdout.")
    return holdout


def table(lake: Path, name: str) -> pd.DataFrame:
    """A table of a lake in memory."""
    return DeltaTable(lake / name).to_pandas()


# --- F1 and its interval


def count_hits(machine: np.ndarray, label: np.ndarray, decision: np.ndarray) -> np.ndarray:
    """Counts from which F1 follows, machine by machine.

    Args:
        machine: Of each row, shape (n_rows,).
        label: Shape (n_rows,) or (n_rows, n_components).
        decision: Like `label`.

    Returns:
        Hits, and positive plus decided cells: shape (n_machines, 2), in order of machine.
    """
    names, number = np.unique(machine, return_inverse=True)
    happened, decided = (values.astype(bool).reshape(len(machine), -1) for values in (label, decision))
    cells = ((happened & decided).sum(axis=1), happened.sum(axis=1) + decided.sum(axis=1))
    return np.column_stack([np.bincount(number, weights=each, minlength=len(names)) for each in cells])


def counts_f1(counts: np.ndarray) -> np.ndarray:
    """F1 of such counts, along the last axis; 0 where nothing is positive or decided."""
    return 2 * counts[..., 0] / np.maximum(counts[..., 1], 1)


def resample_f1(*models: np.ndarray) -> list[Floats]:
    """F1 of each model on the same samples of machines, drawn with replacement: shape (RESAMPLES,) each."""
    n_machines = len(models[0])
    drawn = np.random.default_rng(SEED).integers(n_machines, size=(RESAMPLES, n_machines))
    return [counts_f1(counts[drawn].sum(axis=1)) for counts in models]


def differing(ours: np.ndarray, theirs: np.ndarray) -> tuple[float, float]:
    """The interval with 95 % of the differences in F1 on the same samples of machines."""
    first, second = resample_f1(ours, theirs)
    low, high = np.quantile(first - second, [0.025, 0.975])
    return float(low), float(high)


def _f1_with_interval(counts: np.ndarray) -> str:
    return _interval(counts_f1(counts.sum(axis=0)), *np.quantile(resample_f1(counts)[0], [0.025, 0.975]))


def _interval(value: float, low: float, high: float, sign: str = "") -> str:
    return f"{value:{sign}.3f} ({low:{sign}.3f} to {high:{sign}.3f})"


if __name__ == "__main__":
    main()
