"""What a use case is: a value that fills the shapes of the seven stages."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lakehouse_ml.use_cases.contracts import Table
from lakehouse_ml.use_cases.wording import Wording

if TYPE_CHECKING:
    import pandas as pd
    from pyspark.sql import DataFrame

Features = Callable[..., "DataFrame"]
Labels = Callable[..., "DataFrame"]
Measures = Callable[..., "pd.DataFrame"]


@dataclass(frozen=True)
class UseCase:
    """A prediction problem: what it reads, what a row is, and how features and labels are made.

    The functions of a use case name by their parameters the clean tables that they read; one named `spec` is conf's
    `features`.

    Attributes:
        name: Namespace, folder and registered model, `[a-z][a-z0-9_]*`.
        entity_plural: What a row describes, in the plural; part of the tables' names from `feature_` to `score_`.
        sources: Contracts of the landing tables that are ingested and checked, by table name.
        key: Columns that identify a row of features: the entity, then its time.
        features: Function of clean tables and a spec; returns one row per key.
        labels: Function of clean tables and a spec; returns key, label dimension and `label` (0/1), for labelled rows
            only.
        categorical: Feature columns with categories (text); all others but the key are numbers.
        segments: Feature columns whose groups are judged one by one.
        wording: The report's sentences for this use case.
        meaning: What a feature column says, by its name.
        label_dimension: Column of a label, beside the key, that says which of an entity's several labels it is
            (`component`); it is a categorical predictor too. None where a row has one label.
        multiple_rows_per_entity: Whether each row of an entity counts by itself. If not, rows are states of the entity
            over time: a batch holds the population of a day, and an entity whose outcome was 1 is gone.
        references: Landing tables that rows of other tables refer to.
        measures: Further metrics of decisions, computed from held-out rows (key, label dimension, label), their
            probabilities, the threshold, the cost of acting, the value of a prevented outcome, and how many entities
            can be acted on per day; returns segment, metric, value, n_rows and n_positives.
        outcomes: Landing table that says later what happened; it may stay empty. None where `labels` do.
        outcome_labels: Function of that table; returns key, label dimension and `label`.
    """

    name: str
    entity_plural: str
    sources: Mapping[str, Table]
    key: tuple[str, str]
    features: Features
    labels: Labels
    categorical: tuple[str, ...]
    segments: tuple[str, ...]
    wording: Wording
    meaning: Callable[[str], str]
    label_dimension: str | None = None
    multiple_rows_per_entity: bool = False
    references: tuple[str, ...] = ()
    measures: Measures | None = None
    outcomes: str | None = None
    outcome_labels: Labels | None = None

    @property
    def gathers_outcomes(self) -> bool:
        """Whether labels are gathered from snapshots and from outcomes that come later."""
        return bool(self.outcomes) or not self.multiple_rows_per_entity
