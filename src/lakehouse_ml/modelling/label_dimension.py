"""Scores of rows that have several labels, such as one for each component of a machine."""

from __future__ import annotations

from collections.abc import Sequence

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

# Prefix of a score table's columns that hold the probability of each value of the label dimension.
PROBABILITY_PREFIX = "probability_"


def explode_label_values(scores: DataFrame, key: Sequence[str], label_dimension: str) -> DataFrame:
    """Turn one row per key into one row per key and value of the label dimension.

    Returns:
        Key, label dimension, probability and decision of that value, batch, threshold and model_version.
    """
    values = [name.removeprefix(PROBABILITY_PREFIX) for name in scores.columns if name.startswith(PROBABILITY_PREFIX)]
    structs = [F.struct(F.lit(name).alias("name"), F.col(f"{PROBABILITY_PREFIX}{name}").alias("p")) for name in values]
    shared = ["batch", "threshold", "model_version"]
    return scores.select(*key, *shared, F.explode(F.array(*structs)).alias("value")).select(
        *key,
        F.col("value.name").alias(label_dimension),
        F.col("value.p").alias("probability"),
        (F.col("value.p") >= F.col("threshold")).cast("int").alias("decision"),
        *shared,
    )
