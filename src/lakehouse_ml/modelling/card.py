"""A model as it travels between stages: what was fitted, what it needs, and what it was judged to be."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter, ValidationError

from lakehouse_ml.errors import RegistryError
from lakehouse_ml.modelling.estimators.base import LibraryName, estimator_backend, predictors

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd


@dataclass(frozen=True)
class ModelCard:
    """What has to be known of a model besides its weights; stored inside the model and covered by its digest.

    Attributes:
        library: Which library of estimators fitted it.
        estimator: Name in the closed table of estimators, and its parameters in `params`.
        categorical: Predictors with categories, in order.
        numeric: Predictors with numbers, in order, after the categorical ones.
        threshold: Probability from which on the decision is positive.
        baseline: A typical row (mode, median): what a row's reasons are measured against.
        reference: Profile of each predictor over the training rows that are like those a batch holds, and of the score
            that such rows get when the model hasn't learned from them: out of fold, or calibrated in the calibration
            part; monitoring compares batches with it.
        unseen: Which rows this model never saw: `{"kind": "hash", "salt", "holdout_share"}`, or
            `{"kind": "time", "from"}` with the first moment of its hold-out; see `training.split.never_seen`.
        importance: Mean absolute effect of each predictor on the probability.
        metrics: Cross-validated metrics of the trial, at the threshold that is best out of fold.
        target: The categorical predictor that tells what a row's label is about; None where rows have one label.
        targets: Its values in training, sorted: what may be asked of the model.
    """

    library: LibraryName
    estimator: str
    params: Mapping[str, Any]
    categorical: tuple[str, ...]
    numeric: tuple[str, ...]
    threshold: float
    baseline: Mapping[str, Any]
    reference: Mapping[str, Any]
    unseen: Mapping[str, Any]
    importance: Mapping[str, float]
    metrics: Mapping[str, float]
    target: str | None = None
    targets: tuple[str, ...] = ()

    @property
    def predictors(self) -> list[str]:
        """Columns that the model takes, in order."""
        return [*self.categorical, *self.numeric]

    def to_json(self) -> str:
        """One line of JSON."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> ModelCard:
        """The card that `to_json` wrote.

        Raises:
            RegistryError: It has other fields.
            ValueError: It isn't JSON, or a field has a value that it can't have.
        """
        values = json.loads(text)
        names = {each.name for each in fields(cls)}
        if set(values) != names:
            differing = ", ".join(sorted(names ^ set(values)))
            raise RegistryError(
                f"its card was written by other code (it differs in {differing}): go back to that, or "
                f"start a new lake with LAKE=<folder>."
            )
        try:
            return TypeAdapter(cls).validate_python(values)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            raise ValueError(f"the card's {where} can't be {first['input']!r} ({first['msg']})") from error


@dataclass(frozen=True)
class Candidate:
    """A fitted model on its way into the registry: with a few rows of input that show its signature."""

    model: Any
    card: ModelCard
    example: Any


@dataclass(frozen=True)
class Model:
    """A registered version, loaded and checked."""

    name: str
    version: str
    model: Any
    card: ModelCard

    def score(self, rows: pd.DataFrame) -> np.ndarray:
        """Probability of the positive outcome of rows in memory, shape (n_rows,); other columns don't matter.

        Raises:
            RegistryError: Names the predictors that are missing.
        """
        self.check_columns(rows.columns)
        return estimator_backend(self.card.library).score(
            self.model, predictors(rows, self.card.categorical, self.card.numeric)
        )

    def check_columns(self, columns: Iterable[str]) -> None:
        """Make sure that rows with these columns can be scored; the target isn't one, but asked for.

        Raises:
            RegistryError: Names the predictors that are missing.
        """
        missing = sorted(set(self.card.predictors) - {self.card.target} - set(columns))
        if missing:
            raise RegistryError(
                f"Version {self.version} of {self.name} needs columns that the features no longer have: "
                f"{', '.join(missing)}. It was trained by other code: go back to that, or start a new lake with "
                f"LAKE=<folder>."
            )


@dataclass(frozen=True)
class Promotion:
    """What a verdict asks of the registry: `approve` moves the champion's alias, nothing else does."""

    version: str
    incumbent: str | None
    decision: str
    reason: str
    evidence: str


@dataclass(frozen=True)
class RegistryStatus:
    """Who is champion now, and what the newest candidate was judged to be."""

    champion: str | None
    candidate: str | None = None
    decision: str | None = None
    reason: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)

    @property
    def awaits_approval(self) -> bool:
        """Whether the newest candidate may be promoted as soon as somebody approves."""
        return self.decision == "request"
