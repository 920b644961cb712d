"""How good the project's own search is on rows that it never saw: hold-out metrics over many hash splits.

    .venv/bin/python benchmarks/telco_salts.py [--salts 20] [--folds 5]

Features are computed once, by the engine. For each salt the rows are split, searched and fitted by the functions that
`kedro run --pipelines training` calls, and measured on that salt's hold-out at the threshold that the search chose.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from measuring.data import NUMERIC, Customers, customers, measure_model, set_salt
from measuring.tables import markdown

from lakehouse_ml.modelling.estimators import sklearn as estimators
from lakehouse_ml.modelling.estimators.base import EstimatorSpec, select_predictors
from lakehouse_ml.pipelines.training.nodes import search
from lakehouse_ml.use_cases.churn import CHURN

if TYPE_CHECKING:
    import pandas as pd
    from pyspark.sql import DataFrame

CHOSEN = "the search's choice"
SHOWN = {"f1": "F1", "roc_auc": "ROC-AUC", "average_precision": "average precision"}
MEANS = {"cv_f1": "F1 out of fold", "untuned_f1": "F1 at 0.5", "threshold": "threshold"}
UNTUNED = 0.5
LEAST = {"f1": 0.62, "roc_auc": 0.84}
LEAK = {"f1": 0.66, "roc_auc": 0.87}
PREDICTORS = (CHURN.categorical, NUMERIC)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--salts", type=int, default=20, help="splits, of salt 0, 1, ...")
    parser.add_argument("--folds", type=int, default=None, help="of the cross-validation, instead of conf's")
    arguments = parser.parse_args()
    n_salts = arguments.salts
    with tempfile.TemporaryDirectory(prefix="lakehouse-ml-bench-") as folder:
        rows = customers(Path(folder), {"folds": arguments.folds} if arguments.folds else {})
        by_model: dict[str, list[Mapping[str, float]]] = {}
        for salt in range(n_salts):
            print(f"salt {salt}", file=sys.stderr)
            for name, metrics in _one_salt(rows, salt):
                by_model.setdefault(name, []).append(metrics)
        print(markdown([_row(name, metrics) for name, metrics in by_model.items()]))
        print(
            f"\nHold-out metrics on {rows.description}, mean ± standard deviation (least to greatest) over the hash "
            f"salts 0-{n_salts - 1}, {rows.spec.folds} folds; {_describe_verdict(by_model[CHOSEN])}"
        )


def _one_salt(rows: Customers, salt: int) -> Iterator[tuple[str, Mapping[str, float]]]:
    """The search's choice, then each of its trials fitted on the whole training part, on this salt's hold-out."""
    spec = set_salt(rows.spec, salt)
    model_input = rows.split(salt)
    candidate, trials = search(model_input, spec, CHURN.key, CHURN.categorical)
    best = _hold_out(model_input, candidate.model, candidate.card.threshold)
    yield CHOSEN, {**best, "chosen": 1.0, "cv_f1": candidate.card.metrics["f1"]}
    train = model_input.where("part = 'train'").toPandas().sort_values(CHURN.key[0], ignore_index=True)
    for trial, row in zip(spec.trials, trials.to_dict("records"), strict=True):
        metrics = best if row["chosen"] else _hold_out(model_input, _fit(trial, train, spec.seed), row["threshold"])
        name = f"{trial.estimator} {json.dumps(trial.params)}"
        yield name, {**metrics, "chosen": float(row["chosen"]), "cv_f1": row["f1"]}


def _hold_out(model_input: DataFrame, model: object, threshold: float) -> dict[str, float]:
    """Metrics at the threshold, and the F1 that the usual one would give."""
    untuned = measure_model(model_input, model, UNTUNED, PREDICTORS)["f1"]
    return {**measure_model(model_input, model, threshold, PREDICTORS), "untuned_f1": untuned, "threshold": threshold}


def _fit(trial: EstimatorSpec, train: pd.DataFrame, seed: int) -> object:
    categorical, numeric = PREDICTORS
    rows = select_predictors(train, categorical, numeric)
    return estimators.fit(trial, rows, train["label"].to_numpy(), categorical=categorical, numeric=numeric, seed=seed)


def _row(name: str, by_salt: list[Mapping[str, float]]) -> dict[str, str]:
    metric_texts = {title: _spread([metrics[metric] for metrics in by_salt]) for metric, title in SHOWN.items()}
    means = {metric: statistics.fmean(metrics[metric] for metrics in by_salt) for metric in MEANS}
    times = sum(int(metrics["chosen"]) for metrics in by_salt)
    beside = {title: f"{means[metric]:.3f}" for metric, title in MEANS.items()}
    return {"model": name, **metric_texts, **beside, "chosen": f"{times} of {len(by_salt)}"}


def _spread(values: list[float]) -> str:
    deviation = statistics.stdev(values) if len(values) > 1 else 0.0
    return f"{statistics.fmean(values):.4f} ± {deviation:.4f} ({min(values):.3f} to {max(values):.3f})"


def _describe_verdict(by_salt: list[Mapping[str, float]]) -> str:
    means = {metric: statistics.fmean(metrics[metric] for metrics in by_salt) for metric in LEAST}
    ranges = ", ".join(f"{SHOWN[metric]} {LEAST[metric]:.2f} to {LEAK[metric]:.2f}" for metric in LEAST)
    short = [SHOWN[metric] for metric in LEAST if means[metric] < LEAST[metric]]
    above = [SHOWN[metric] for metric in LEAST if means[metric] > LEAK[metric]]
    verdict = f"too low: {', '.join(short)}" if short else f"a leak: {', '.join(above)}" if above else "both hold"
    return f"wanted of the search's choice on the real file are means of {ranges} (more would be a leak): {verdict}."


if __name__ == "__main__":
    main()
