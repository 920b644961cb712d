"""Who belongs to a day: the states that files describe, and the outcomes that become known after them.

An outcome of (entity, day) says what happened within the horizon after that day.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Literal

import pandas as pd
from pydantic import Field
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from lakehouse_ml.config.spec import Spec
from lakehouse_ml.storage.writes import collect

# Day from which on a label was known (00:00 UTC).
KNOWN_AT = "known_at"
# Newest day whose outcomes the model learned from that made a score.
LEARNED_UNTIL = "learned_until"
_DAY = "_day"
_LEFT = "_left"


class PopulationSpec(Spec):
    """What a file of a day means, and how far ahead an outcome looks.

    Attributes:
        snapshots: `full`: a file's rows are everybody who is there on its day. `changes`: a file holds only who is new
            or has changed; everybody else keeps their newest state, unless they are known to be gone.
        horizon_days: An outcome of a day says what happened within so many days after it.
    """

    snapshots: Literal["full", "changes"] = "full"
    horizon_days: int = Field(ge=1)


def select_states(states: DataFrame, wanted: DataFrame, spec: PopulationSpec, key: Sequence[str]) -> DataFrame:
    """The state that counts for an entity on a day.

    Args:
        states: One row per key (entity and day of the state).
        wanted: Entities and days; other columns and repeated rows don't matter.
        spec: `full`: the state of that very day. `changes`: the newest state up to that day.
        key: Entity and day, in this order.

    Returns:
        One row per wanted entity and day that has a state: the columns of `states`, with the wanted day as the day.
    """
    entity, moment = key
    days = wanted.select(entity, F.col(moment).alias(_DAY)).distinct()
    if spec.snapshots == "full":
        return states.join(days.withColumnRenamed(_DAY, moment), on=list(key), how="left_semi")
    newest = (
        states.select(*key)
        .join(days, on=entity)
        .where(F.col(moment) <= F.col(_DAY))
        .groupBy(entity, _DAY)
        .agg(F.max(moment).alias(moment))
    )
    names = [F.col(_DAY).alias(name) if name == moment else F.col(name) for name in states.columns]
    return states.join(newest, on=list(key), how="inner").select(*names)


def find_population(
    states: DataFrame, labels: DataFrame, day: date, spec: PopulationSpec, key: Sequence[str]
) -> DataFrame:
    """Everybody who is there on a day, without those who are known to be gone.

    Gone is who left by the day's own file or by an outcome of an earlier day, unless a newer state has them again. An
    outcome of an earlier day counts before its horizon is over, too: nobody says on which day of it somebody left, and
    to leave out one who is still there costs less than to write to many who are not.

    Args:
        states: One row per key.
        labels: One row per key with a known outcome: `label`, 1 if they left, and `known_at`.
        day: The day.
        spec: `full`: the rows of that day. `changes`: the newest state up to it of each entity.
        key: Entity and day, in this order.

    Returns:
        One row per entity: its state, as it is stored.
    """
    entity, moment = key
    at = F.col(moment).cast("date")
    if spec.snapshots == "full":
        there = states.where(at == F.lit(day))
    else:
        newest = states.where(at <= F.lit(day)).groupBy(entity).agg(F.max(moment).alias(moment))
        there = states.join(newest, on=list(key), how="left_semi")
    known = (at < F.lit(day)) | (F.col(KNOWN_AT) <= F.lit(day))
    left = labels.where((F.col("label") == 1) & known).groupBy(entity).agg(F.max(moment).alias(_LEFT))
    # A state of a later day has them again.
    stays = F.col(_LEFT).isNull() | (F.col(moment) > F.col(_LEFT))
    return there.join(left, on=entity, how="left").where(stays).select(*states.columns)


def list_days(states: DataFrame, moment: str) -> list[date]:
    """The days that have rows, oldest first."""
    found = collect(states.select(F.col(moment).cast("date").alias("day")).distinct())["day"]
    return sorted(pd.Timestamp(day).date() for day in found)


def find_newest_day(states: DataFrame, moment: str) -> date | None:
    """The newest day that has rows; None without rows."""
    found = collect(states.agg(F.max(F.col(moment).cast("date")).alias("day")))["day"].item()
    return None if pd.isna(found) else pd.Timestamp(found).date()
