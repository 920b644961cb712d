"""A model's card, and what training, evaluation and the registry exchange about a version."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError

from lakehouse_ml.errors import RegistryError

LibraryName = Literal["sklearn", "mllib"]
# The cards of stored models keep the former names of these fields.
_JSON_NAMES = {"label_dimension": "target", "label_values": "targets"}


@dataclass(frozen=True)
class ModelCard:
    """What scoring and monitoring need beside a model's weights; stored inside the model and covered by its digest.

    Attributes:
        library: The library of estimators that fitted it.
        estimator: Name in the closed table of estimators.
        params: The estimator's parameters.
        categorical: Predictors with categories, in order.
        numeric: Predictors with numbers, in order, after the categorical ones.
        threshold: The decision is positive for probabilities of at least this.
        baseline: A typical row (mode, median); a row's reasons are effects against it.
        reference: Profiles that monitoring compares batches with: of each predictor over the training rows of the kind
            that batches hold, and of the scores of rows that the model did not learn from (out of fold, or of the
            calibration part).
        unseen: The rows that this model never saw: `{"kind": "hash", "salt", "holdout_share"}`, or
            `{"kind": "time", "from"}` with the first moment of its hold-out; see `split.unseen_condition`.
        importance: Mean absolute effect of each predictor on the probability.
        metrics: Cross-validated metrics of the trial, at the threshold that is best out of fold.
        label_dimension: The categorical predictor that says which of an entity's labels a row is about; None where rows
            have one label.
        label_values: Its values in training, sorted: those that the model can score.
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
    label_dimension: str | None = None
    label_values: tuple[str, ...] = ()

    @property
    def predictors(self) -> list[str]:
        """Columns that the model takes, in order."""
        return [*self.categorical, *self.numeric]

    def to_json(self) -> str:
        """One line of JSON."""
        return json.dumps({_JSON_NAMES.get(name, name): value for name, value in asdict(self).items()}, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> ModelCard:
        """Read the card that `to_json` wrote.

        Raises:
            RegistryError: It has other fields.
            ValueError: It isn't JSON, or a field has a value that it can't have.
        """
        values = json.loads(text)
        names = {_JSON_NAMES.get(one.name, one.name): one.name for one in fields(cls)}
        if set(values) != set(names):
            differing = ", ".join(sorted(set(names) ^ set(values)))
            raise RegistryError(
                f"its card was written by other code (it differs in {differing}): go back to that, or "
                f"start a new lake with LAKE=<folder>."
            )
        try:
            return TypeAdapter(cls).validate_python({names[name]: value for name, value in values.items()})
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            raise ValueError(f"the card's {where} can't be {first['input']!r} ({first['msg']})") from error


@dataclass(frozen=True)
class Candidate:
    """A fitted model to register, with a few rows of input for its signature."""

    model: Any
    card: ModelCard
    example: Any


@dataclass(frozen=True)
class Promotion:
    """A verdict that the registry applies: `approve` moves the champion's alias, nothing else does."""

    version: str
    incumbent: str | None
    decision: str
    reason: str
    evidence: str


@dataclass(frozen=True)
class RegistryStatus:
    """The champion, the newest candidate, and its verdict."""

    champion: str | None
    candidate: str | None = None
    decision: str | None = None
    reason: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)

    @property
    def awaits_approval(self) -> bool:
        """Whether the newest candidate is promoted as soon as somebody approves it."""
        return self.decision == "request"
