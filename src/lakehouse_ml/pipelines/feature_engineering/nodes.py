"""Nodes of feature engineering: one set of labels from snapshots and later outcomes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pandas as pd
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from lakehouse_ml.modelling.population import KNOWN_AT, PopulationSpec, select_states
from lakehouse_ml.storage.writes import collect
from lakehouse_ml.use_cases.base import Labels
from lakehouse_ml.use_cases.columns import DUPLICATE, REASONS

COUNT_COLUMNS = (
    "day",
    "n_snapshot",
    "n_outcomes",
    "n_labels",
    "n_positives",
    "n_contradicted",
    "n_unknown",
    "n_returned",
)
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
    """Merge the labels of snapshots with later outcomes, which take precedence.

    A label in a snapshot is known on the snapshot's day, a later outcome at the end of the horizon.

    Args:
        known_states: One row per key: entities with a state, and its day.
        population: What a file of a day means, and the horizon.
        later_outcomes: Clean rows of the outcome table, one per key: the newest.
        refused_outcomes: Its quarantined rows; those that a newer row of the same key replaced are counted.
        key: Entity and day, in this order.
        label_dimension: Column that says what an outcome is about, where a row has several.
        labels: Builds key, label dimension and `label` from `tables`, the use case's clean tables.
        outcome_labels: Builds the same from the outcome table.
        tables: The clean tables that `labels` names.

    Returns:
        One row per key (and label dimension) with a state and a known outcome: `label` and `known_at`. And counts, one
        row per day: day, n_snapshot and n_outcomes (entities with an outcome of either source), n_labels (with a
        state), n_positives, n_contradicted (sources or files disagree), n_unknown (no state on that day) and n_returned
        (label 1, but a state on a later day).
    """
    grain = [*key, *([label_dimension] if label_dimension else [])]
    labels_by_source = labels(**tables).select(*grain, "label", F.lit(_OWN).alias(_SOURCE))
    if outcome_labels and later_outcomes is not None and refused_outcomes is not None:
        only = F.array(F.lit(DUPLICATE))
        replaced = refused_outcomes.where(F.col(REASONS) == only)
        for rows, source in ((later_outcomes, _LATER), (replaced, _REPLACED)):
            labels_by_source = labels_by_source.unionByName(
                outcome_labels(rows).select(*grain, "label", F.lit(source).alias(_SOURCE))
            )
    merged = _merge_sources(labels_by_source, grain, key[1], population)
    merged_states = merged.join(_find_states(known_states, merged, population, key), on=list(key), how="left")
    usable = merged_states.where((F.col("_state") == 1) & F.col("label").isNotNull())
    return usable.select(*grain, "label", KNOWN_AT), _count_by_day(merged_states, key)


def _merge_sources(
    labels_by_source: DataFrame, grain: Sequence[str], moment: str, population: PopulationSpec
) -> DataFrame:
    """One row per grain: the label, when it became known, and whether sources disagree."""
    own, later = _label_of_source(_OWN, F.max), _label_of_source(_LATER, F.max)
    by_source = labels_by_source.groupBy(*grain).agg(
        own.alias("_own"),
        later.alias("_later"),
        _label_of_source(_REPLACED, F.min).alias("_low"),
        _label_of_source(_REPLACED, F.max).alias("_high"),
    )
    day = F.col(moment).cast("date")
    known_at = F.when(F.col("_later").isNotNull(), F.date_add(day, population.horizon_days)).otherwise(day)
    label = F.coalesce("_later", "_own")
    differs = [F.coalesce(F.col(name) != label, F.lit(0) == F.lit(1)) for name in ("_own", "_low", "_high")]
    return by_source.select(
        *grain,
        label.alias("label"),
        known_at.alias(KNOWN_AT),
        F.col("_own").isNotNull().cast("int").alias("_own"),
        F.col("_later").isNotNull().cast("int").alias("_later"),
        (differs[0] | differs[1] | differs[2]).cast("int").alias("_differs"),
    )


def _label_of_source(source: str, pick: Callable[[Column], Column]) -> Column:
    return pick(F.when(F.col(_SOURCE) == source, F.col("label")))


def _find_states(states: DataFrame, wanted: DataFrame, population: PopulationSpec, key: Sequence[str]) -> DataFrame:
    """Find the wanted entities and days that have a state, and the day of each entity's newest state."""
    entity, moment = key
    present = select_states(states.select(*key), wanted, population, key).select(*key, F.lit(1).alias("_state"))
    last = states.groupBy(entity).agg(F.max(moment).alias("_last"))
    return present.join(last, on=entity, how="inner")


def _count_by_day(merged_states: DataFrame, key: Sequence[str]) -> pd.DataFrame:
    """Count entities by day, oldest first."""
    entity, moment = key
    has_state = F.coalesce("_state", F.lit(0))
    positive = F.coalesce(F.col("label"), F.lit(0)) * has_state
    rows = merged_states.select(
        entity,
        F.col(moment).cast("date").cast("string").alias("day"),
        "_own",
        "_later",
        "_differs",
        has_state.alias("_has_state"),
        positive.alias("_positive"),
        (positive * F.coalesce((F.col("_last") > F.col(moment)).cast("int"), F.lit(0))).alias("_returned"),
    )
    # An entity with several labels counts once.
    by_entity = rows.groupBy(entity, "day").agg(
        *(F.max(name).alias(name) for name in ("_own", "_later", "_differs", "_has_state", "_positive", "_returned"))
    )
    sums = {
        "n_snapshot": F.col("_own"),
        "n_outcomes": F.col("_later"),
        "n_labels": F.col("_has_state"),
        "n_positives": F.col("_positive"),
        "n_contradicted": F.col("_differs"),
        "n_unknown": 1 - F.col("_has_state"),
        "n_returned": F.col("_returned"),
    }
    table = collect(by_entity.groupBy("day").agg(*(F.sum(value).alias(name) for name, value in sums.items())))
    table = table.sort_values("day", ignore_index=True).astype(dict.fromkeys(sums, "int64"))
    return table[list(COUNT_COLUMNS)]
