"""Nodes of feature engineering: one set of labels from snapshots and from outcomes that came later."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pandas as pd
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from lakehouse_ml.modelling.population import KNOWN_AT, PopulationSpec, select_states
from lakehouse_ml.storage.writes import collect
from lakehouse_ml.use_cases.base import Labels
from lakehouse_ml.use_cases.columns import DUPLICATE, REASONS

COUNTED = ("day", "n_snapshot", "n_outcomes", "n_labels", "n_positives", "n_contradicted", "n_unknown", "n_returned")
_SOURCE = "_source"
_OWN, _LATER, _REPLACED = "snapshot", "outcome", "replaced"


def gather_outcomes(
    known_states: DataFrame,
    population: PopulationSpec,
    later_outcomes: DataFrame | None = None,
    refused_outcomes: DataFrame | None = None,
    *,
    key: Sequence[str],
    label_dimension: str | None,
    labels: Labels,
    outcome_labels: Labels | None,
    **tables: DataFrame,
) -> tuple[DataFrame, pd.DataFrame]:
    """Make one set of labels of the snapshots' own outcomes and of those that came later; the later one counts.

    Of a label in a snapshot it is known on the snapshot's day, of an outcome that came later when the horizon is over.

    Args:
        known_states: One row per key: who has a state, and on which day.
        population: What a file of a day means, and the horizon.
        later_outcomes: Clean rows of the outcome table, one per key; of several the newest.
        refused_outcomes: Its quarantined rows: those that a newer row of the same key replaced are counted.
        key: Entity and day, in this order.
        label_dimension: Column that tells what an outcome is about, where a row has several.
        labels: Makes key, label dimension and `label` of `tables`, the use case's clean tables.
        outcome_labels: Makes the same of the outcome table.
        tables: Whatever `labels` names.

    Returns:
        One row per key (and label dimension) with a state and a known outcome: `label` and `known_at`. And counts, one
        row per day: day, n_snapshot and n_outcomes (entities with an outcome of either source), n_labels (with a
        state), n_positives, n_contradicted (sources or files say different things), n_unknown (without a state on
        that day) and n_returned (label 1, and seen on a later day again).
    """
    grain = [*key, *([label_dimension] if label_dimension else [])]
    said = labels(**tables).select(*grain, "label", F.lit(_OWN).alias(_SOURCE))
    if outcome_labels and later_outcomes is not None and refused_outcomes is not None:
        only = F.array(F.lit(DUPLICATE))
        replaced = refused_outcomes.where(F.col(REASONS) == only)
        for rows, source in ((later_outcomes, _LATER), (replaced, _REPLACED)):
            said = said.unionByName(outcome_labels(rows).select(*grain, "label", F.lit(source).alias(_SOURCE)))
    merged = _merged(said, grain, key[1], population)
    known = merged.join(_known(known_states, merged, population, key), on=list(key), how="left")
    usable = known.where((F.col("_state") == 1) & F.col("label").isNotNull())
    return usable.select(*grain, "label", KNOWN_AT), _counts(known, key)


def _merged(said: DataFrame, grain: Sequence[str], moment: str, population: PopulationSpec) -> DataFrame:
    """One row per grain: what each source says, and what counts."""
    own, later = _of(_OWN, F.max), _of(_LATER, F.max)
    found = said.groupBy(*grain).agg(
        own.alias("_own"),
        later.alias("_later"),
        _of(_REPLACED, F.min).alias("_low"),
        _of(_REPLACED, F.max).alias("_high"),
    )
    day = F.col(moment).cast("date")
    known_at = F.when(F.col("_later").isNotNull(), F.date_add(day, population.horizon_days)).otherwise(day)
    label = F.coalesce("_later", "_own")
    differs = [F.coalesce(F.col(name) != label, F.lit(0) == F.lit(1)) for name in ("_own", "_low", "_high")]
    return found.select(
        *grain,
        label.alias("label"),
        known_at.alias(KNOWN_AT),
        F.col("_own").isNotNull().cast("int").alias("_own"),
        F.col("_later").isNotNull().cast("int").alias("_later"),
        (differs[0] | differs[1] | differs[2]).cast("int").alias("_differs"),
    )


def _of(source: str, pick: Callable[[Column], Column]) -> Column:
    return pick(F.when(F.col(_SOURCE) == source, F.col("label")))


def _known(states: DataFrame, wanted: DataFrame, population: PopulationSpec, key: Sequence[str]) -> DataFrame:
    """Which of the wanted entities have a state on the wanted day, and when each was seen last."""
    entity, moment = key
    seen = select_states(states.select(*key), wanted, population, key).select(*key, F.lit(1).alias("_state"))
    last = states.groupBy(entity).agg(F.max(moment).alias("_last"))
    return seen.join(last, on=entity, how="inner")


def _counts(known: DataFrame, key: Sequence[str]) -> pd.DataFrame:
    """One row per day, oldest first."""
    entity, moment = key
    there = F.coalesce("_state", F.lit(0))
    positive = F.coalesce(F.col("label"), F.lit(0)) * there
    rows = known.select(
        entity,
        F.col(moment).cast("date").cast("string").alias("day"),
        "_own",
        "_later",
        "_differs",
        there.alias("_there"),
        positive.alias("_positive"),
        (positive * F.coalesce((F.col("_last") > F.col(moment)).cast("int"), F.lit(0))).alias("_returned"),
    )
    # Where a row has several labels, its entity counts once.
    each = rows.groupBy(entity, "day").agg(
        *(F.max(name).alias(name) for name in ("_own", "_later", "_differs", "_there", "_positive", "_returned"))
    )
    sums = {
        "n_snapshot": F.col("_own"), "n_outcomes": F.col("_later"), "n_labels": F.col("_there"),
        "n_positives": F.col("_positive"), "n_contradicted": F.col("_differs"),
        "n_unknown": 1 - F.col("_there"), "n_returned": F.col("_returned"),
    }  # fmt: skip
    table = collect(each.groupBy("day").agg(*(F.sum(value).alias(name) for name, value in sums.items())))
    table = table.sort_values("day", ignore_index=True).astype(dict.fromkeys(sums, "int64"))
    return table[list(COUNTED)]
