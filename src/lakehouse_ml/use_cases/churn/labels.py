"""Who left: Yes is 1, No is 0, and a customer whose outcome isn't known has no label."""

from __future__ import annotations

from pyspark.sql import DataFrame
from pyspark.sql import functions as F


def build_labels(customers: DataFrame) -> DataFrame:
    """The outcome of each customer and snapshot that has one.

    Returns:
        One row per (customer_id, snapshot_on) with a known outcome: label 1 (left) or 0 (stayed).
    """
    label = F.when(F.col("churn") == "Yes", F.lit(1)).when(F.col("churn") == "No", F.lit(0))
    return customers.select("customer_id", "snapshot_on", label.cast("int").alias("label")).where("label is not null")
