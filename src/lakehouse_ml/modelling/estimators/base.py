"""The protocol of libraries of estimators, and the closed table of estimators and parameters."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol, cast

from pydantic import Field, model_validator

from lakehouse_ml.config.spec import Spec

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    import pandas as pd
    import pyarrow as pa
    from pyspark.sql import DataFrame

    from lakehouse_ml.modelling.card import Candidate, LibraryName, ModelCard

# Formats the scores of a batch of rows as columns. Arguments: the rows as Arrow and as pandas; the probability of each
# value of the label dimension, shape (n_rows, n_values), or the only one, shape (n_rows, 1); and the effect of each
# predictor on the highest probability, shape (n_rows, n_predictors), or None if rows are not explained.
ScoreFormatter = Callable[["pa.RecordBatch", "pd.DataFrame", "np.ndarray", "np.ndarray | None"], "pa.RecordBatch"]


class EstimatorBackend(Protocol):
    """A library of estimators, as search, evaluation, registry and scoring use it.

    A fitted model takes predictors as `select_predictors` returns them, shape (n_rows, n_predictors): it encodes and
    imputes them itself.
    """

    FLAVOR: str
    ENGINES: tuple[str, ...]

    def fit(
        self,
        spec: EstimatorSpec,
        rows: pd.DataFrame,
        label: np.ndarray,
        *,
        categorical: Sequence[str],
        numeric: Sequence[str],
        seed: int,
    ) -> Any:
        """Fit preprocessing and estimator together; labels are 0 or 1."""

    def calibrate(self, model: Any, rows: pd.DataFrame, label: np.ndarray) -> Any:
        """Calibrate a fitted model by Platt scaling, on rows that it was not fitted on."""

    def set_threshold(self, model: Any, threshold: float) -> Any:
        """Let a fitted model decide at this probability instead of 0.5."""

    def score(self, model: Any, rows: pd.DataFrame) -> np.ndarray:
        """Probability of the positive outcome, shape (n_rows,)."""

    def decide(self, model: Any, rows: pd.DataFrame) -> np.ndarray:
        """Decision of the model at its own threshold, 0 or 1, shape (n_rows,)."""

    def explain(self, model: Any, rows: pd.DataFrame, baseline: Mapping[str, Any]) -> np.ndarray:
        """Signed effect of each predictor on each row's probability, shape (n_rows, n_predictors), by occlusion.

        The effect of a predictor is the row's probability less what it would be had the predictor its baseline value;
        see Robnik-Šikonja and Kononenko (2008), "Explaining classifications for individual instances".
        """

    def score_frame(
        self,
        model: Any,
        rows: DataFrame,
        card: ModelCard,
        key: Sequence[str],
        format_scores: ScoreFormatter,
        schema: str,
        *,
        should_explain: bool,
    ) -> DataFrame:
        """Score a frame where its rows are, without collecting them; `key` identifies a row."""

    def map_fits(self, fits: Sequence[Callable[[], Any]]) -> list[Any]:
        """Run several fits, as many at once as the library can, and return their results in order."""

    def build_save_args(self, candidate: Candidate) -> dict[str, Any]:
        """Arguments for its MLflow flavour when a model is logged; packages are named without their versions."""

    def find_faults(self, copy: Path, description: Mapping[str, Any]) -> list[str]:
        """Reasons not to load a stored model, found in its files and its flavour's description alone."""


def estimator_backend(name: LibraryName) -> EstimatorBackend:
    """Import the backend of a library; the library itself is imported when the backend first needs it."""
    return cast("EstimatorBackend", import_module(f"lakehouse_ml.modelling.estimators.{name}"))


class _Number(NamedTuple):
    """The numbers that scikit-learn accepts for a parameter."""

    minimum: float
    is_whole: bool = True
    is_exclusive: bool = False

    def accepts(self, value: float | None) -> bool:
        if value is None or (self.is_whole and not isinstance(value, int)):
            return False
        return value > self.minimum if self.is_exclusive else value >= self.minimum

    def __str__(self) -> str:
        kind = "a whole number" if self.is_whole else "a number"
        return f"{kind} above {self.minimum:g}" if self.is_exclusive else f"{kind} of at least {self.minimum:g}"


_PARAMS: Mapping[str, Mapping[str, _Number]] = {
    "logistic_regression": {"C": _Number(0, is_whole=False, is_exclusive=True)},
    "random_forest": {"n_estimators": _Number(1), "max_depth": _Number(1), "min_samples_split": _Number(2)},
    "gradient_boosting": {
        "learning_rate": _Number(0, is_whole=False, is_exclusive=True),
        "max_iter": _Number(1),
        "max_depth": _Number(1),
        "min_samples_leaf": _Number(1),
        "l2_regularization": _Number(0, is_whole=False),
    },
}
_NULLABLE = "max_depth"


class EstimatorSpec(Spec):
    """One point of the search: an estimator of the closed table, and its parameters.

    Attributes:
        estimator: Its name.
        params: Its parameters, by scikit-learn's names; others keep the library's defaults.
    """

    estimator: Literal["logistic_regression", "random_forest", "gradient_boosting"]
    params: dict[str, float | int | None] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _check_params(self) -> EstimatorSpec:
        unknown = sorted(set(self.params) - set(_PARAMS[self.estimator]))
        if unknown:
            allowed = ", ".join(sorted(_PARAMS[self.estimator]))
            raise ValueError(f"{self.estimator} has no parameter {', '.join(unknown)}; it has {allowed}")
        for name, value in self.params.items():
            number = _PARAMS[self.estimator][name]
            if not number.accepts(value) and not (value is None and name == _NULLABLE):
                raise ValueError(f"{name} of {self.estimator} can't be {value}: it is {number}")
        return self


def select_predictors(rows: pd.DataFrame, categorical: Sequence[str], numeric: Sequence[str]) -> pd.DataFrame:
    """Select the columns that a model takes, in its order and types: categories as text or None, numbers as double."""
    selected = rows[[*categorical, *numeric]]
    texts = {name: selected[name].astype(object).where(selected[name].notna(), None) for name in categorical}
    numbers = {name: selected[name].astype("float64") for name in numeric if selected[name].dtype != "float64"}
    return selected.assign(**texts, **numbers)
