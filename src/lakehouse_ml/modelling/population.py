"""Population of a day: the states that files describe, and the outcomes that become known later.

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
# Newest day whose outcomes the scoring model learned from.
LEARNED_UNTIL = "learned_until"
_DAY = "_day"
_LEFT = "_left"


class PopulationSpec(Spec):
    """What a file of a day means, and the horizon of outcomes.

    Attributes:
        snapshots: `full`: a file's rows are all entities of its day. `changes`: a file has new and changed entities
            only; the others keep their newest state, unless they are known to be gone.
        horizon_days: An outcome of a day says what happened within this many days after it.
    """

    snapshots: Literal["full", "changes"] = "full"
    horizon_days: int = Field(ge=1)


def select_states(states: DataFrame, days: DataFrame, spec: PopulationSpec, key: Sequence[str]) -> DataFrame:
    """Select the state of an entity on a day.

    Args:
        states: One row per key (entity and day of the state).
        days: Entities and days; other columns and repeated rows are ignored.
        spec: `full`: the state of that very day. `changes`: the newest state up to that day.
        key: Entity and day, in this order.

    Returns:
        One row per entity and day that has a state: the columns of `states`, with the day of `days` as the day.
    """
    entity, moment = key
    days = days.select(entity, F.col(moment).alias(_DAY)).distinct()
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
    """Find the entities of a day, without those that are known to be gone.

    An entity is gone if it left by the day's own file or by an outcome of an earlier day, unless it has a newer state.
    An outcome of an earlier day counts before its horizon is over, too: the day within the horizon is unknown, and
    leaving out one entity that is still there costs less than acting on many that are gone.

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
    state_day = F.col(moment).cast("date")
    if spec.snapshots == "full":
        present = states.where(state_day == F.lit(day))
    else:
        newest = states.where(state_day <= F.lit(day)).groupBy(entity).agg(F.max(moment).alias(moment))
        present = states.join(newest, on=list(key), how="left_semi")
    is_known = (state_day < F.lit(day)) | (F.col(KNOWN_AT) <= F.lit(day))
    last_departures = labels.where((F.col("label") == 1) & is_known).groupBy(entity).agg(F.max(moment).alias(_LEFT))
    # A state of a later day brings an entity back.
    is_present = F.col(_LEFT).isNull() | (F.col(moment) > F.col(_LEFT))
    return present.join(last_departures, on=entity, how="left").where(is_present).select(*states.columns)


def list_days(states: DataFrame, moment: str) -> list[date]:
    """List the days that have rows, oldest first."""
    days = collect(states.select(F.col(moment).cast("date").alias("day")).distinct())["day"]
    return sorted(pd.Timestamp(day).date() for day in days)


def find_newest_day(states: DataFrame, moment: str) -> date | None:
    """Find the newest day that has rows; None without rows."""
    day = collect(states.agg(F.max(F.col(moment).cast("date")).alias("day")))["day"].item()
    return None if pd.isna(day) else pd.Timestamp(day).date()
