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
        noun: What a row describes, in the plural; names the tables from `feature_` to `score_`.
        sources: Contracts of the landing tables that are ingested and checked, by table name.
        key: Columns that identify a row of features: the entity, then its time.
        features: Clean tables and a spec to one row per key.
        labels: Clean tables and a spec to key, target and `label` (0/1), labelled rows only.
        categorical: Feature columns with categories (text); all others but the key are numbers.
        segments: Feature columns whose groups are judged one by one.
        wording: How a report speaks of it.
        meaning: What a feature column says, by its name.
        target: Column of a label beside the key that tells what it speaks of, where a row has several.
        recurring: Whether each row of an entity counts by itself. If not, rows are states of the entity over time: a
            batch holds the population of a day, and an entity whose outcome was 1 is gone.
        references: Landing tables whose rows those of others name.
        measures: What decisions about held-out rows (key, target, label) are worth besides: a function of them, their
            probabilities, the threshold, what acting costs, what it averts, and how many can be acted on a day; gives
            segment, metric, value, n_rows and n_positives.
        outcomes: Landing table whose rows tell later what happened; it may never come. None where `labels` do.
        outcome_labels: Rows of that table to key, target and `label`.
    """

    name: str
    noun: str
    sources: Mapping[str, Table]
    key: tuple[str, str]
    features: Features
    labels: Labels
    categorical: tuple[str, ...]
    segments: tuple[str, ...]
    wording: Wording
    meaning: Callable[[str], str]
    target: str | None = None
    recurring: bool = False
    references: tuple[str, ...] = ()
    measures: Measures | None = None
    outcomes: str | None = None
    outcome_labels: Labels | None = None

    @property
    def gathers_outcomes(self) -> bool:
        """Whether labels are gathered from snapshots and from outcomes that come later."""
        return bool(self.outcomes) or not self.recurring
