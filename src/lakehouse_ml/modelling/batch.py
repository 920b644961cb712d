"""Which batch is scored, and which batch lists, drift and report describe."""

from __future__ import annotations

from datetime import date
from typing import Any, Self

from pydantic import Field, model_validator
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from lakehouse_ml.config.spec import Spec
from lakehouse_ml.modelling.population import find_newest_day, list_days
from lakehouse_ml.storage.writes import Edition, collect


class ScoringSpec(Spec):
    """Which batch is scored, and how many reasons and actions it gets.

    Attributes:
        batch: Day whose rows are scored; by default the newest day of the features.
        from_day: First day of a range to score instead, each day with rows as a batch of its own.
        to_day: Last day of the range; by default the newest day of the features.
        reasons: Number of reasons per row. More reasons take no extra time; 0 is many times faster.
        actions: Most rows of the action list.
    """

    batch: date | None = None
    from_day: date | None = None
    to_day: date | None = None
    reasons: int = Field(ge=0, le=20)
    actions: int = Field(ge=1)

    @model_validator(mode="after")
    def _check_days(self) -> Self:
        if self.batch and (self.from_day or self.to_day):
            raise ValueError("batch names one day, from_day and to_day a range: set one or the other")
        if self.to_day and not self.from_day:
            raise ValueError(f"to_day ({self.to_day}) ends a range that from_day has to begin")
        if self.from_day and self.to_day and self.from_day > self.to_day:
            raise ValueError(f"from_day ({self.from_day}) lies after to_day ({self.to_day}): no day lies between")
        return self


def choose_batch(scores: DataFrame, features: DataFrame, spec: ScoringSpec, moment: str, *, states: bool) -> str | None:
    """Choose the batch that list, drift and report describe: the named one, the newest day's, or the last of a range.

    Args:
        scores: One row per key and batch.
        features: Features; batches after their newest day are ignored.
        spec: May name the day.
        moment: Column of the features' day.
        states: Whether rows are states over time: a batch may then be empty.
    """
    if spec.batch:
        return spec.batch.isoformat()
    newest = find_newest_day(features, moment)
    if states and newest is not None and spec.to_day:
        days = [day for day in list_days(features, moment) if day <= spec.to_day]
        return days[-1].isoformat() if days else None
    if states or newest is None:
        return newest.isoformat() if newest else None
    return _find_newest_batch(scores, min(newest, spec.to_day or date.max))


def find_newest_scored(scores: DataFrame) -> str | None:
    """Find the newest batch with scores; None without scores."""
    newest: str | None = collect(scores.agg(F.max("batch").alias("b")))["b"].item()
    return newest


def make_edition(content: Any, batch: str | None, newest: str | None) -> Edition:
    """Wrap a file's content about a batch; `newest` is the newest batch with scores."""
    return Edition(content, batch, batch is None or newest is None or batch >= newest)


def _find_newest_batch(scores: DataFrame, until: date) -> str | None:
    """Find the newest batch up to `until`, since a range may end on a day without rows; None without scores."""
    return find_newest_scored(scores.where(F.col("batch") <= F.lit(until.isoformat())))
