"""What acting on scored rows costs and brings: per row of a hold-out, and per scored row."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike
from pydantic import ConfigDict, Field

from lakehouse_ml.config.spec import Spec
from lakehouse_ml.modelling.metrics import check_rows

if TYPE_CHECKING:
    from pyspark.sql import Column


class Economics(Spec):
    """Cost of acting on a row and value of what it may avert, all money in one currency.

    Attributes:
        action_cost: Cost of acting on one row, needed or not (an offer, a visit), >= 0.
        averted_value: Value of one averted outcome (a customer who stays, a failure that is prevented), >= 0.
        success_share: Share in [0, 1] of the outcomes that acting averts.
    """

    model_config = ConfigDict(strict=True)

    action_cost: float = Field(ge=0)
    averted_value: float = Field(ge=0)
    success_share: float = Field(ge=0, le=1)


def expected_value(outcome: ArrayLike, decision: ArrayLike, economics: Economics) -> float:
    """Value acting on every row that is decided positive.

    Acting on one with the outcome brings `success_share * averted_value - action_cost`, on another it costs
    `action_cost`. What isn't acted on brings 0: a missed outcome is the world without acting, never a gain.

    Args:
        outcome: Shape (n,), 1 for a row with the outcome.
        decision: Shape (n,), 1 for a row that is acted on.
        economics: Costs and values in one currency.

    Returns:
        The expected value per row, in that currency, against never acting.

    Raises:
        ValueError: If there are no rows, the lengths differ, or anything but 0 and 1 occurs.
    """
    happens, acted = check_rows(outcome, decision)
    if not np.isin(acted, (0, 1)).all():
        raise ValueError("A decision must be 0 or 1; apply the threshold to probabilities first.")
    averted = economics.success_share * economics.averted_value * np.sum(happens * acted)
    return float((averted - economics.action_cost * np.sum(acted)) / happens.size)


def expected_gain(economics: Economics) -> Column:
    """Value of acting on a scored row: probability * success share * averted value - cost."""
    from pyspark.sql import functions as F

    return F.col("probability") * economics.success_share * economics.averted_value - economics.action_cost
