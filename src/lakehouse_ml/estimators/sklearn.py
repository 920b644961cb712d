"""scikit-learn models: built from a closed table of names, with assembly and threshold inside."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from pydantic import Field, model_validator

from lakehouse_ml.spec import Spec

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

# What a stored model may consist of beside what skops trusts by itself. Reviewed: each is data of a stock scikit-learn
# class, none runs code when it is read. A model with any other type is refused, at saving and before loading.
TRUSTED_TYPES = (
    "numpy.dtype",
    # What calibration adds: a fitted estimator beside its curve, and the curve's two numbers.
    "sklearn.calibration._CalibratedClassifier",
    "sklearn.calibration._SigmoidCalibration",
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
    "sklearn.tree._tree.Tree",
)


class _Number(NamedTuple):
    """What scikit-learn takes for a parameter."""

    least: float
    whole: bool = True
    above: bool = False

    def takes(self, value: float | None) -> bool:
        if value is None or (self.whole and not isinstance(value, int)):
            return False
        return value > self.least if self.above else value >= self.least

    def __str__(self) -> str:
        kind = "a whole number" if self.whole else "a number"
        return f"{kind} above {self.least:g}" if self.above else f"{kind} of at least {self.least:g}"


_PARAMS: Mapping[str, Mapping[str, _Number]] = {
    "logistic_regression": {"C": _Number(0, whole=False, above=True)},
    "random_forest": {"n_estimators": _Number(1), "max_depth": _Number(1), "min_samples_split": _Number(2)},
    "gradient_boosting": {
        "learning_rate": _Number(0, whole=False, above=True),
        "max_iter": _Number(1),
        "max_depth": _Number(1),
        "min_samples_leaf": _Number(1),
        "l2_regularization": _Number(0, whole=False),
    },
}
_MAY_BE_NULL = "max_depth"


class EstimatorSpec(Spec):
    """One point of the search: an estimator of the closed table, and its parameters.

    Attributes:
        estimator: Its name.
        params: Its parameters; those that are not named are scikit-learn's.
    """

    estimator: Literal["logistic_regression", "random_forest", "gradient_boosting"]
    params: dict[str, float | int | None] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _params_are_known(self) -> EstimatorSpec:
        unknown = sorted(set(self.params) - set(_PARAMS[self.estimator]))
        if unknown:
            known = ", ".join(sorted(_PARAMS[self.estimator]))
            raise ValueError(f"{self.estimator} has no parameter {', '.join(unknown)}; it has {known}")
        for name, value in self.params.items():
            number = _PARAMS[self.estimator][name]
            if not number.takes(value) and not (value is None and name == _MAY_BE_NULL):
                raise ValueError(f"{name} of {self.estimator} can't be {value}: it is {number}")
        return self


def start_workers() -> None:
    """Start the processes that a search fits in, and let them import what they will need; returns at once.

    Importing scikit-learn takes longer than most fits, and the other core idles until a search begins.
    """
    from importlib import import_module
    from threading import Thread

    from joblib import Parallel, cpu_count, delayed

    importing = [delayed(import_module)("sklearn.ensemble")] * cpu_count()
    Thread(target=Parallel(n_jobs=-1), args=(importing,), daemon=True).start()


def predictors(rows: pd.DataFrame, categorical: Sequence[str], numeric: Sequence[str]) -> pd.DataFrame:
    """The columns that a model takes, in its order and types: categories as they are (null is None), numbers double."""
    chosen = rows[[*categorical, *numeric]]
    texts = {name: chosen[name].astype(object).where(chosen[name].notna(), None) for name in categorical}
    return chosen.assign(**texts, **{name: chosen[name].astype("float64") for name in numeric})


def fit(
    spec: EstimatorSpec, rows: pd.DataFrame, label: np.ndarray, *, categorical: Sequence[str], numeric: Sequence[str],
    seed: int,
) -> Any:  # fmt: skip
    """Fit assembly and estimator together.

    Args:
        spec: What to fit.
        rows: Predictors, shape (n_rows, n_predictors); nulls allowed.
        label: 0 or 1, shape (n_rows,).
        categorical: Columns to encode, a column a category (null is one); a category unknown to training is none.
        numeric: Columns to standardise after a power transform (Yeo and Johnson, 2000); nulls take the median.
        seed: Of everything random.

    Returns:
        A scikit-learn pipeline with `predict_proba` over the same columns.
    """
    from sklearn.compose import ColumnTransformer
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import OneHotEncoder, PowerTransformer

    encode = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    # Skewed numbers are bent towards a bell before they are standardised: a linear model sees early months apart.
    scale = Pipeline(
        [("impute", SimpleImputer(strategy="median", keep_empty_features=True)), ("scale", PowerTransformer())]
    )
    assemble = ColumnTransformer([("categorical", encode, list(categorical)), ("numeric", scale, list(numeric))])
    model = Pipeline([("assemble", assemble), ("estimate", _BUILD[spec.estimator](spec.params, seed))])
    return model.fit(rows, label)


def calibrate(model: Any, rows: pd.DataFrame, label: np.ndarray) -> Any:
    """The fitted model with its scores bent to shares, on rows that it was not fitted on; the order of scores stays.

    By a sigmoid (Platt, 1999), not by isotonic steps. On 12,000 held-out rows of simulated machines, with 30 or so
    positive rows to calibrate on, mean of four seeds, the Brier score raw, by sigmoid and by isotonic steps was
    0.00023, 0.00020 and 0.00021 for boosting, 0.00112, 0.00029 and 0.00016 for a forest, 0.00383, 0.00386 and
    0.00375 for a logistic regression. But steps left 2 to 22 distinct scores, which cost 0.03, 0.01 and 0.10 of
    average precision; a sigmoid costs none, and what is done about a row goes by the order of scores.

    Args:
        model: What `fit` returned; it isn't fitted again.
        rows: Predictors, shape (n_rows, n_predictors).
        label: 0 or 1, shape (n_rows,), at least two of each.
    """
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.frozen import FrozenEstimator

    # The estimator is frozen: folds only say in which order it scores the rows; one curve is fitted on all of them.
    return CalibratedClassifierCV(FrozenEstimator(model), method="sigmoid", cv=2, ensemble=False).fit(rows, label)


def with_threshold(model: Any, threshold: float) -> Any:
    """The fitted model, deciding at this probability instead of 0.5: served and batch decisions are then equal."""
    from sklearn.frozen import FrozenEstimator
    from sklearn.model_selection import FixedThresholdClassifier

    decided = FixedThresholdClassifier(FrozenEstimator(model), threshold=threshold, response_method="predict_proba")
    # Nothing is fitted again (the estimator is frozen); scikit-learn only asks to be told the classes.
    return decided.fit([[0], [1]], [0, 1])


def score(model: Any, rows: pd.DataFrame) -> np.ndarray:
    """Probability of the positive outcome, shape (n_rows,)."""
    probability: np.ndarray = model.predict_proba(rows)[:, 1]
    return probability


def explain(model: Any, rows: pd.DataFrame, baseline: Mapping[str, Any]) -> np.ndarray:
    """How much each predictor's value moves each row's probability, against a typical value (occlusion).

    The effect of a predictor is the row's probability less what it would be had the predictor its baseline value;
    see Robnik-Šikonja and Kononenko (2008), "Explaining classifications for individual instances". Works for every
    estimator and needs one prediction per row and predictor whose value isn't the baseline's.

    Returns:
        Signed effects, shape (n_rows, n_predictors), in the order of the columns of `rows`.
    """
    import numpy as np
    import pandas as pd

    assemble, estimate = _assembly_and_estimate(model)
    # Encoding costs more than most predictions: rows and baseline are encoded once, their columns then exchanged.
    encoded = assemble.transform(rows)
    typical = assemble.transform(pd.DataFrame([baseline])[list(rows.columns)].astype(rows.dtypes))[0]
    columns = _encoded_columns(assemble)
    probability = estimate.predict_proba(encoded)[:, 1]
    effects: np.ndarray = np.zeros(rows.shape)
    for number, name in enumerate(rows.columns):
        own = columns[name]
        differs = np.flatnonzero((encoded[:, own] != typical[own]).any(axis=1))
        if differs.size:
            replaced = encoded[differs]
            replaced[:, own] = typical[own]
            effects[differs, number] = probability[differs] - estimate.predict_proba(replaced)[:, 1]
    return effects


def _assembly_and_estimate(model: Any) -> tuple[Any, Any]:
    """What encodes the rows, and what gives the encoded ones a probability: calibrated, if the model is."""
    from copy import copy

    within = getattr(model, "estimator", model)
    curves = getattr(within, "calibrated_classifiers_", None)
    steps = (curves[0].estimator if curves else within).named_steps
    if not curves:
        return steps["assemble"], steps["estimate"]
    # The same curve over the last step alone: whatever it takes of the whole pipeline, it takes of that step.
    calibrated = copy(curves[0])
    calibrated.estimator = steps["estimate"]
    return steps["assemble"], calibrated


def _encoded_columns(assemble: Any) -> dict[str, slice]:
    """Where the assembly puts each predictor: a column a category, and one for a number."""
    names = [name for _, _, chosen in assemble.transformers_ for name in chosen]
    widths = [len(known) for known in assemble.named_transformers_["categorical"].categories_]
    widths += [1] * (len(names) - len(widths))
    ends = list(accumulate(widths))
    return {name: slice(end - width, end) for name, width, end in zip(names, widths, ends, strict=True)}


def _logistic_regression(params: Mapping[str, Any], seed: int) -> Any:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(max_iter=2000, random_state=seed, **params)


def _random_forest(params: Mapping[str, Any], seed: int) -> Any:
    from sklearn.ensemble import RandomForestClassifier

    return RandomForestClassifier(random_state=seed, **params)


def _gradient_boosting(params: Mapping[str, Any], seed: int) -> Any:
    from sklearn.ensemble import HistGradientBoostingClassifier

    return HistGradientBoostingClassifier(random_state=seed, early_stopping=False, **params)


_BUILD: Mapping[str, Callable[[Mapping[str, Any], int], Any]] = {
    "logistic_regression": _logistic_regression,
    "random_forest": _random_forest,
    "gradient_boosting": _gradient_boosting,
}
