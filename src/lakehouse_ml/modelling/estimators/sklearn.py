"""scikit-learn models: built from a closed table of names, with assembly and threshold inside."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from lakehouse_ml.modelling.estimators.base import predictors

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    import pandas as pd
    import pyarrow as pa
    from pyspark.sql import DataFrame

    from lakehouse_ml.modelling.card import Candidate, ModelCard
    from lakehouse_ml.modelling.estimators.base import EstimatorSpec, Tell

FLAVOR = "mlflow.sklearn"
ENGINES = ("sail", "spark", "connect", "databricks")
# Rows that a worker predicts for in one go.
_AT_ONCE = 50_000

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


def start_workers() -> None:
    """Start the processes that a search fits in, and let them import what they will need; returns at once.

    Importing scikit-learn takes longer than most fits, and the other core idles until a search begins. Only waiting for
    it is another thread's: a pool can't be set up by a thread while the process ends.
    """
    from threading import Thread

    from joblib import Parallel, cpu_count, delayed

    importing = [delayed(_import)()] * cpu_count()
    started = Parallel(n_jobs=-1, return_as="generator")(importing)
    Thread(target=list, args=(started,), daemon=True).start()


def _import() -> None:
    """Nothing is given back: a module would be imported once more by whoever gets it, while it imports it itself."""
    import sklearn.ensemble  # noqa: F401


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


def decide(model: Any, rows: pd.DataFrame) -> np.ndarray:
    """0 or 1 by the model's own threshold, shape (n_rows,)."""
    decision: np.ndarray = model.predict(rows)
    return decision


def explain(model: Any, rows: pd.DataFrame, baseline: Mapping[str, Any]) -> np.ndarray:
    """Occlusion; works for every estimator and needs one prediction per row and predictor that isn't the baseline's."""
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


def over(
    model: Any, rows: DataFrame, card: ModelCard, key: Sequence[str], tell: Tell, schema: str, *,  # noqa: ARG001 - a row is told where it is
    explained: bool,
) -> DataFrame:  # fmt: skip
    """What is told of each row, batch by batch in the engine's Python workers, which the model is sent to."""

    def told(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        from threadpoolctl import threadpool_limits

        # The engine runs as many tasks as there are cores. A day's rows are often one task, which a second thread then
        # helps; where both of two cores have a task, it neither helps nor harms (3,000,000 rows: 16 s either way).
        with threadpool_limits(2):
            for batch in _joined(batches):
                given = batch.to_pandas()
                yield tell(batch, given, *_answers(model, card, given, explained=explained))

    return rows.mapInArrow(told, schema)


def _joined(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """The rows in greater batches: a prediction costs as much for itself as for a few thousand rows."""
    import pyarrow as pa

    held: list[pa.RecordBatch] = []
    for batch in batches:
        held.append(batch)
        if sum(each.num_rows for each in held) >= _AT_ONCE:
            yield from pa.Table.from_batches(held).combine_chunks().to_batches()
            held = []
    if any(each.num_rows for each in held):
        yield from pa.Table.from_batches(held).combine_chunks().to_batches()


def _answers(
    model: Any, card: ModelCard, rows: pd.DataFrame, *, explained: bool
) -> tuple[np.ndarray, np.ndarray | None]:
    """Probabilities and effects as `Tell` takes them."""
    import numpy as np

    def asked(target: Any) -> pd.DataFrame:
        chosen = rows.assign(**{card.target: target}) if card.target else rows
        return predictors(chosen, card.categorical, card.numeric)

    probabilities = np.column_stack([score(model, asked(target)) for target in card.targets or (None,)])
    if not explained:
        return probabilities, None
    likeliest = np.array(card.targets or (None,), dtype=object)[probabilities.argmax(axis=1)]
    return probabilities, explain(model, asked(likeliest), card.baseline)


def each(fits: Sequence[Callable[[], Any]]) -> list[Any]:
    """The results of several fits, as many at once as there are cores.

    In processes: trees are grown in so small steps that threads wait for each other (18 s instead of 16 s on 2 cores).
    """
    from joblib import Parallel, delayed

    return list(Parallel(n_jobs=-1)(delayed(fit)() for fit in fits))


def save_args(candidate: Candidate) -> dict[str, Any]:
    """Stored by skops, of types on the list alone."""
    return {
        "input_example": candidate.example,
        "pip_requirements": ["scikit-learn", "skops", "pandas", "numpy"],
        "serialization_format": "skops",
        "skops_trusted_types": list(TRUSTED_TYPES),
    }


def find_faults(copy: Path, description: Mapping[str, Any]) -> list[str]:  # noqa: ARG001 - skops looks at the types itself
    """Another format than skops, or a type outside the allow-list."""
    strangers = sorted(set(description.get("skops_trusted_types") or ()) - set(TRUSTED_TYPES))
    found = [
        (description.get("serialization_format") != "skops", "it isn't stored as skops"),
        (bool(strangers), f"it trusts types that aren't on the allow-list: {', '.join(strangers)}"),
    ]
    return [text for is_fault, text in found if is_fault]


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
    (_, encode, categorical), (_, _, numeric), *_ = assemble.transformers_
    names = [*categorical, *numeric]
    # Without a column to encode it was never fitted.
    widths = [len(known) for known in encode.categories_] if categorical else []
    widths += [1] * len(numeric)
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
