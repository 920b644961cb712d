"""What each derived feature adds to the raw columns, and what further ideas would add.

    .venv/bin/python benchmarks/feature_worth.py [--salts 10]

Every set of predictors is searched, fitted and measured by the project's own functions on the same splits as the set
that the project uses, one estimator at a time; what is shown are paired differences.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from measuring.data import NUMERIC, Customers, customers, judge, one_trial, set_salt
from measuring.tables import markdown

from lakehouse_ml.use_cases.churn import CHURN
from lakehouse_ml.use_cases.churn.contracts import landing_customers

if TYPE_CHECKING:
    from lakehouse_ml.modelling.estimators.base import EstimatorSpec

SHOWN = {"f1": "F1", "roc_auc": "ROC-AUC", "average_precision": "average precision"}
PREDICTORS = (*CHURN.categorical, *NUMERIC)
DERIVED = tuple(name for name in PREDICTORS if name not in landing_customers.names)
ESTIMATORS = ("logistic_regression", "gradient_boosting")
_FIBRE = "internet_service = 'Fiber optic'"
_MONTHLY = "contract = 'Month-to-month'"
# Charge of a month as the services add up, in the file's currency: 20 for the phone, 25 for DSL, 50 for fibre, ...
_LIST_PRICE = " + ".join(
    f"case when {condition} then {price} else 0 end"
    for condition, price in {
        "phone_service = 'Yes'": 20,
        "internet_service = 'DSL'": 25,
        _FIBRE: 50,
        "multiple_lines = 'Yes'": 5,
        "online_security = 'Yes'": 5,
        "online_backup = 'Yes'": 5,
        "device_protection = 'Yes'": 5,
        "tech_support = 'Yes'": 5,
        "streaming_tv = 'Yes'": 10,
        "streaming_movies = 'Yes'": 10,
    }.items()
)
_PROTECTIONS = ("online_security", "online_backup", "device_protection", "tech_support")
_YES = "case when {} = 'Yes' then 1 else 0 end"
_SERVICES = ("phone_service", "multiple_lines", *_PROTECTIONS, "streaming_tv", "streaming_movies")
# Features that were thought of, as SQL over the features that there are. Text is a category. What a model uses by now
# is measured as such.
IDEAS: Mapping[str, str] = {
    "charge_rise_ratio": "monthly_charges / avg_monthly_charges",
    "n_services": " + ".join([*map(_YES.format, _SERVICES), "case when internet_service = 'No' then 0 else 1 end"]),
    "n_protections": " + ".join(map(_YES.format, _PROTECTIONS)),
    "pays_automatically": "case when payment_method like '%automatic%' then 1 else 0 end",
    "log_tenure": "ln(1 + tenure_months)",
    "is_new": "case when tenure_months <= 3 then 1 else 0 end",
    "monthly_contract_tenure": f"case when {_MONTHLY} then tenure_months else 0 end",
    "contract_and_tenure": "concat(contract, ', ', tenure_group)",
    "contract_and_internet": "concat(contract, ', ', internet_service)",
    "unprotected_fibre": f"case when {_FIBRE} and online_security = 'No' and tech_support = 'No' then 1 else 0 end",
    "months_to_renewal": "case contract when 'One year' then 12 - tenure_months % 12 "
    "when 'Two year' then 24 - tenure_months % 24 else 0 end",
    "above_list_price": f"monthly_charges - ({_LIST_PRICE})",
    "is_alone": "case when partner = 'No' and dependents = 'No' then 1 else 0 end",
}


@dataclass(frozen=True)
class Predictors:
    """A set of predictors."""

    categorical: tuple[str, ...]
    numeric: tuple[str, ...]

    def without(self, *names: str) -> Predictors:
        """The set less some of its columns."""
        kept = [tuple(name for name in group if name not in names) for group in (self.categorical, self.numeric)]
        return Predictors(*kept)

    def plus(self, name: str, kind: str) -> Predictors:
        """The set and one more column; one of text is a category."""
        if kind == "string":
            return Predictors((*self.categorical, name), self.numeric)
        return Predictors(self.categorical, (*self.numeric, name))


USED = Predictors(CHURN.categorical, NUMERIC)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--salts", type=int, default=10, help="splits, of salt 0, 1, ... (at least 2)")
    n_salts = parser.parse_args().salts
    with tempfile.TemporaryDirectory(prefix="lakehouse-ml-bench-") as folder:
        stored = customers(Path(folder), {})
        ideas = [name for name in IDEAS if name not in PREDICTORS]
        missing = [f"{IDEAS[name]} as {name}" for name in ideas if name not in stored.features.columns]
        computed = stored.features.selectExpr("*", *missing)
        rows = replace(stored, features=computed)
        # The first trial of its kind in conf stands for each estimator.
        trials = [next(trial for trial in rows.spec.trials if trial.estimator == name) for name in ESTIMATORS]
        sets = _others(dict(computed.dtypes), ideas)
        table = [row for trial in trials for row in _table(rows, trial, sets, n_salts)]
    print(markdown(table))
    print(
        f"\nHold-out metrics on {rows.description} over the hash salts 0-{n_salts - 1}: of the predictors that the "
        f"project uses, and the difference that each other set makes to them on the same splits ± its standard error, "
        f"which allows for hold-outs that overlap (Nadeau and Bengio, 2003)."
    )


def _others(kinds: Mapping[str, str], ideas: Sequence[str]) -> dict[str, Predictors]:
    """The sets that are compared with the one in use, by what makes them different."""
    sets = {"raw columns only": USED.without(*DERIVED)}
    sets |= {f"without {name}": USED.without(name) for name in DERIVED}
    return sets | {f"with {name}": USED.plus(name, kinds[name]) for name in ideas}


def _table(
    rows: Customers, trial: EstimatorSpec, sets: Mapping[str, Predictors], n_salts: int
) -> Iterator[dict[str, str]]:
    used = _measure(rows, trial, USED, n_salts)
    yield _row(trial.estimator, "as used", [f"{values.mean():.4f}" for values in used.values()])
    for name, predictors in sets.items():
        other = _measure(rows, trial, predictors, n_salts)
        share = rows.spec.split.holdout_share
        yield _row(trial.estimator, name, [_difference(other[metric] - used[metric], share) for metric in SHOWN])
        print(f"{trial.estimator} {name}", file=sys.stderr)


def _measure(rows: Customers, trial: EstimatorSpec, predictors: Predictors, n_salts: int) -> dict[str, np.ndarray]:
    """Each shown metric, shape (n_salts,)."""
    spec = one_trial(rows.spec, trial)
    by_salt = [
        judge(rows.split(salt), set_salt(spec, salt), predictors.categorical, predictors.numeric)
        for salt in range(n_salts)
    ]
    return {metric: np.array([metrics[metric] for metrics in by_salt]) for metric in SHOWN}


def _difference(differences: np.ndarray, holdout_share: float) -> str:
    """Mean and standard error, the variance being widened by the share of rows that two splits have in common."""
    widened = 1 / len(differences) + holdout_share / (1 - holdout_share)
    return f"{differences.mean():+.4f} ± {differences.std(ddof=1) * np.sqrt(widened):.4f}"


def _row(estimator: str, predictors: str, shown: Sequence[str]) -> dict[str, str]:
    return {"predictors": predictors, "estimator": estimator, **dict(zip(SHOWN.values(), shown, strict=True))}


if __name__ == "__main__":
    main()
