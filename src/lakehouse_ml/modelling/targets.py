"""What a score table says of each target, where a row of it has several."""

from __future__ import annotations

from collections.abc import Sequence

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

# A score's columns with the probability of each target begin with this.
OF = "probability_"


def by_target(scores: DataFrame, key: Sequence[str], target: str) -> DataFrame:
    """Scores with a row per target: key, target, its probability and decision, and what a score tells besides."""
    names = [name.removeprefix(OF) for name in scores.columns if name.startswith(OF)]
    told = F.explode(F.array(*(F.struct(F.lit(name).alias("name"), F.col(f"{OF}{name}").alias("p")) for name in names)))
    kept = ["batch", "threshold", "model_version"]
    return scores.select(*key, *kept, told.alias("told")).select(
        *key,
        F.col("told.name").alias(target),
        F.col("told.p").alias("probability"),
        (F.col("told.p") >= F.col("threshold")).cast("int").alias("decision"),
        *kept,
    )
