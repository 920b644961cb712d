"""What a customer's state says about the risk of leaving. One function for training and for scoring."""

from __future__ import annotations

from pydantic import Field, model_validator
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from lakehouse_ml.config.spec import Spec

CATEGORICAL = (
    "gender", "partner", "dependents", "phone_service", "multiple_lines", "internet_service", "online_security",
    "online_backup", "device_protection", "tech_support", "streaming_tv", "streaming_movies", "contract",
    "paperless_billing", "payment_method", "tenure_group",
)  # fmt: skip
_KEPT = (
    "gender", "senior_citizen", "partner", "dependents", "tenure_months", "phone_service", "multiple_lines",
    "internet_service", "online_security", "online_backup", "device_protection", "tech_support", "streaming_tv",
    "streaming_movies", "contract", "paperless_billing", "payment_method", "monthly_charges",
)  # fmt: skip


class ChurnFeatures(Spec):
    """Bounds of the tenure groups, in months.

    Attributes:
        short_below: Below, the tenure is short.
        medium_below: Below, and not short, it is medium; else long.
    """

    short_below: int = Field(ge=1)
    medium_below: int = Field(ge=2)

    @model_validator(mode="after")
    def _rise(self) -> ChurnFeatures:
        if self.medium_below <= self.short_below:
            raise ValueError(f"medium_below ({self.medium_below}) must lie above short_below ({self.short_below})")
        return self


def build_features(customers: DataFrame, spec: ChurnFeatures) -> DataFrame:
    """Describe each customer as of each snapshot, from that snapshot's row alone: nothing later can leak in.

    Args:
        customers: One row per (customer_id, snapshot_on). Charges in the file's currency, tenure in whole months.
        spec: Bounds of the tenure groups.

    Returns:
        One row per (customer_id, snapshot_on), columns as in the contract `feature_customers`. In the first month
        (tenure 0) nothing was charged yet: the total is 0 and the average is the current charge.
    """
    return customers.select(
        "customer_id",
        "snapshot_on",
        *_KEPT,
        _total_charge().alias("total_charges"),
        _tenure_group(spec).alias("tenure_group"),
        _average_charge().alias("avg_monthly_charges"),
    )


def _total_charge() -> Column:
    return F.when(F.col("tenure_months") == 0, F.coalesce("total_charges", F.lit(0.0))).otherwise(
        F.col("total_charges")
    )


def _average_charge() -> Column:
    months = F.col("tenure_months")
    return F.when(months == 0, F.col("monthly_charges")).when(months > 0, F.col("total_charges") / months)


def _tenure_group(spec: ChurnFeatures) -> Column:
    months = F.col("tenure_months")
    return (
        F.when(months < spec.short_below, F.lit("short"))
        .when(months < spec.medium_below, F.lit("medium"))
        .when(months.isNotNull(), F.lit("long"))
    )
