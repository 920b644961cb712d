"""Which rows are held out: decided by a salted hash of the entity, so it never changes for a known one."""

from __future__ import annotations

import hashlib

from pydantic import Field
from pyspark.sql import Column
from pyspark.sql import functions as F

from lakehouse_ml.spec import Spec

_BUCKETS = 2**32


class SplitSpec(Spec):
    """The split of entities into a training part and a hold-out.

    Attributes:
        holdout_share: Expected share of entities that are held out.
        salt: Another salt is another split.
        min_per_class: Rows of each class that each part must have.
        max_share_gap: How far the parts' shares of positive rows may lie apart.
    """

    holdout_share: float = Field(gt=0.0, lt=1.0)
    salt: int
    min_per_class: int = Field(ge=1)
    max_share_gap: float = Field(gt=0.0, le=1.0)


def is_held_out(entity: str, salt: int, share: float) -> bool:
    """Whether an entity belongs to the hold-out: the first 32 bits of MD5 of `salt:entity`, as a share of all."""
    digest = hashlib.md5(f"{salt}:{entity}".encode(), usedforsecurity=False).hexdigest()
    return int(digest[:8], 16) / _BUCKETS < share


def held_out(entity: str, salt: int, share: float) -> Column:
    """The same decision as a column of any engine."""
    digest = F.md5(F.concat(F.lit(f"{salt}:"), F.col(entity).cast("string")))
    bucket = F.conv(F.substring(digest, 1, 8), 16, 10).cast("double") / F.lit(float(_BUCKETS))
    return bucket < F.lit(share)
