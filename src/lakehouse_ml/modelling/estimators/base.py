"""What every library of estimators can do for this project, and what may be asked of it: closed tables of names."""

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

    from lakehouse_ml.modelling.card import Candidate, ModelCard

LibraryName = Literal["sklearn", "mllib"]
# What is told of a batch of rows, given as Arrow and as pandas has it, the probability of each target, shape (n_rows,
# n_targets), or the one there is, shape (n_rows, 1), and the effect of each predictor for the likeliest target, shape
# (n_rows, n_predictors), or None where it wasn't asked for.
Tell = Callable[["pa.RecordBatch", "pd.DataFrame", "np.ndarray", "np.ndarray | None"], "pa.RecordBatch"]


class EstimatorBackend(Protocol):
    """What a library of estimators does here; search, evaluation, registry and scoring see no more of it.

    A fitted model takes predictors as `predictors` gives them, shape (n_rows, n_predictors): what encodes and fills
    them is inside it.
    """

    FLAVOR: str
    ENGINES: tuple[str, ...]

    def fit(
        self, spec: EstimatorSpec, rows: pd.DataFrame, label: np.ndarray, *, categorical: Sequence[str],
        numeric: Sequence[str], seed: int,
    ) -> Any:  # fmt: skip
        """Fit assembly and estimator together; labels are 0 or 1."""

    def calibrate(self, model: Any, rows: pd.DataFrame, label: np.ndarray) -> Any:
        """The fitted model with its scores bent to shares by a sigmoid, on rows that it was not fitted on."""

    def with_threshold(self, model: Any, threshold: float) -> Any:
        """The fitted model, deciding at this probability instead of 0.5."""

    def score(self, model: Any, rows: pd.DataFrame) -> np.ndarray:
        """Probability of the positive outcome, shape (n_rows,)."""

    def decide(self, model: Any, rows: pd.DataFrame) -> np.ndarray:
        """What the model itself decides by its threshold, 0 or 1, shape (n_rows,)."""

    def explain(self, model: Any, rows: pd.DataFrame, baseline: Mapping[str, Any]) -> np.ndarray:
        """Signed effect of each predictor on each row's probability, shape (n_rows, n_predictors), by occlusion.

        The effect of a predictor is the row's probability less what it would be had the predictor its baseline value;
        see Robnik-Šikonja and Kononenko (2008), "Explaining classifications for individual instances".
        """

    def over(
        self, model: Any, rows: DataFrame, card: ModelCard, key: Sequence[str], tell: Tell, schema: str, *,
        explained: bool,
    ) -> DataFrame:  # fmt: skip
        """What is told of each row of a frame, worked out where the rows lie; `key` identifies a row."""

    def each(self, fits: Sequence[Callable[[], Any]]) -> list[Any]:
        """The results of several fits, as many at once as the library can have."""

    def save_args(self, candidate: Candidate) -> dict[str, Any]:
        """What its MLflow flavour is told when a model is logged; packages are named without their versions."""

    def find_faults(self, copy: Path, description: Mapping[str, Any]) -> list[str]:
        """Why a stored model must not be loaded, judged by its files and its flavour's description alone."""


def estimator_backend(name: LibraryName) -> EstimatorBackend:
    """The library of that name; nothing else of it is imported before it is used."""
    return cast("EstimatorBackend", import_module(f"lakehouse_ml.modelling.estimators.{name}"))


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
        params: Its parameters, by scikit-learn's names; those that are not named are as the library has them.
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


def predictors(rows: pd.DataFrame, categorical: Sequence[str], numeric: Sequence[str]) -> pd.DataFrame:
    """The columns that a model takes, in its order and types: categories as they are (null is None), numbers double."""
    chosen = rows[[*categorical, *numeric]]
    texts = {name: chosen[name].astype(object).where(chosen[name].notna(), None) for name in categorical}
    numbers = {name: chosen[name].astype("float64") for name in numeric if chosen[name].dtype != "float64"}
    return chosen.assign(**texts, **numbers)
