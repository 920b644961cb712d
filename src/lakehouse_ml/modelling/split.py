"""Split rows into training part and hold-out by a salted hash of the entity, or by time."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator
from pyspark.sql import Column
from pyspark.sql import functions as F

from lakehouse_ml.config.spec import Spec
from lakehouse_ml.errors import TrainingError

_BUCKETS = 2**32
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class HashSplit(Spec):
    """Split of entities into training part and hold-out; an entity never changes sides.

    Attributes:
        kind: `hash`, the default; `time` has other keys.
        holdout_share: Expected share of entities that are held out.
        salt: Another salt is another split.
        min_per_class: Rows of each class that each part must have.
        max_share_gap: Largest difference between the shares of positive rows of the parts.
    """

    kind: Literal["hash"] = "hash"
    holdout_share: float = Field(gt=0.0, lt=1.0)
    salt: int
    min_per_class: int = Field(ge=1)
    max_share_gap: float = Field(gt=0.0, le=1.0)


class TimeSplit(Spec):
    """Split of moments into training, calibration and hold-out, one after the other.

    With c = `calibrate_from` and t = `test_from`, each at 00:00 UTC: a row belongs to training if its label was known
    by c, to calibration if its moment lies at or after c and its label was known by t, to the hold-out if its moment
    lies at or after t. A row whose label was unknown when the next part began belongs to none: this leaves a gap of one
    horizon between the parts.

    Attributes:
        kind: `time`.
        calibrate_from: First day of calibration; null is `calibration_share` of the labelled span before `test_from`.
        test_from: First day of the hold-out; null is `test_share` of the labelled span before its end.
        calibration_share: Of the span from the first to the last labelled moment; the day is rounded down.
        test_share: Of that span; the day is rounded down.
        min_per_class: Rows of each class that each part must have.
    """

    kind: Literal["time"]
    calibrate_from: date | None = None
    test_from: date | None = None
    calibration_share: float = Field(default=0.15, gt=0.0, lt=1.0)
    test_share: float = Field(default=0.2, gt=0.0, lt=1.0)
    # Calibration needs two of each.
    min_per_class: int = Field(ge=2)

    @model_validator(mode="after")
    def _check_shares(self) -> Self:
        if self.calibration_share + self.test_share >= 1:
            raise ValueError(
                f"calibration_share ({self.calibration_share}) and test_share ({self.test_share}) leave nothing to "
                f"train on: together they must stay below 1"
            )
        return self


def _parse_split(values: Any) -> Any:
    # A discriminator of pydantic's would name its tag among the keys of every message.
    if not isinstance(values, Mapping):
        return values
    kinds: Mapping[str, type[Spec]] = {"hash": HashSplit, "time": TimeSplit}
    kind = values.get("kind", "hash")
    if kind not in kinds:
        raise ValueError(f"its kind is {' or '.join(kinds)}, not {kind}")
    return kinds[kind].model_validate(values)


SplitSpec = Annotated[HashSplit | TimeSplit, BeforeValidator(_parse_split)]


@dataclass(frozen=True)
class SplitDates:
    """First day of calibration and first day of the hold-out, each at 00:00 UTC."""

    calibrate_from: date
    test_from: date

    def describe_parts(self) -> dict[str, str]:
        """The bounds of each part in words."""
        return {
            "train": f"known by {self.calibrate_from} 00:00 UTC",
            "calibration": f"from {self.calibrate_from}, known by {self.test_from} 00:00 UTC",
            "holdout": f"from {self.test_from} 00:00 UTC",
        }


def is_held_out(entity: str, salt: int, share: float) -> bool:
    """Whether an entity is in the hold-out: the first 32 bits of MD5 of `salt:entity`, as a share of 2**32."""
    digest = hashlib.md5(f"{salt}:{entity}".encode(), usedforsecurity=False).hexdigest()
    return int(digest[:8], 16) / _BUCKETS < share


def hold_out_condition(entity: str, salt: int | str, share: float) -> Column:
    """The decision of `is_held_out` as a column expression, the same on every engine."""
    digest = F.md5(F.concat(F.lit(f"{salt}:"), F.col(entity).cast("string")))
    bucket = F.conv(F.substring(digest, 1, 8), 16, 10).cast("double") / F.lit(float(_BUCKETS))
    return bucket < F.lit(share)


def to_microseconds(moment: str) -> Column:
    """Convert a date (at 00:00 UTC) or timestamp to microseconds since 1970, which compare alike on every engine."""
    return F.unix_micros(F.col(moment).cast("timestamp"))


def from_microseconds(value: int) -> datetime:
    """Convert whole microseconds since 1970 to a moment in UTC."""
    return _EPOCH + value * _MICROSECOND


def hash_order(seed: int, key: Sequence[str]) -> Column:
    """A pseudo-random order of rows that is reproducible: MD5 of the seed and the whole key.

    Args:
        seed: Another seed gives another order.
        key: Entity, moment and further columns that identify a row.
    """
    entity, moment, *others = key
    parts = [F.col(entity), to_microseconds(moment), *map(F.col, others)]
    return F.md5(F.concat_ws(":", F.lit(str(seed)), *(part.cast("string") for part in parts)))


def choose_split_dates(spec: TimeSplit, first: datetime, last: datetime) -> SplitDates:
    """Choose the dates that conf names or, where it names none, derive them from the span of the labelled moments.

    Args:
        spec: Days, or shares of the span.
        first: First labelled moment.
        last: Last labelled moment.

    Raises:
        TrainingError: A day doesn't lie within the labelled moments, or they are out of order.
    """
    span = last - first
    test = spec.test_from or (last - spec.test_share * span).date()
    calibrate = spec.calibrate_from or (_midnight(test) - spec.calibration_share * span).date()
    rows = f"labelled rows go from {first:%Y-%m-%d %H:%M} to {last:%Y-%m-%d %H:%M} UTC"
    # The calibration date may be derived from the hold-out's: check that one first.
    for part, name, day in (("holdout", "test_from", test), ("calibration", "calibrate_from", calibrate)):
        if not first < _midnight(day) <= last:
            raise TrainingError(
                f"The {part} part can't begin on {day}: {rows}. Set {name} in conf to a day between, or land more rows."
            )
    if calibrate >= test:
        raise TrainingError(
            f"The calibration part can't begin on {calibrate}: it must begin before the holdout part, on {test}; "
            f"{rows}. Set calibrate_from in conf to a day before test_from."
        )
    return SplitDates(calibrate, test)


def assign_part(moment: str, known_at: str, dates: SplitDates) -> Column:
    """Assign a row to a part; null if its label was unknown when the next part began.

    Args:
        moment: Column with the row's moment.
        known_at: Column with the moment from which on its label was known.
        dates: First days of calibration and hold-out.
    """
    row_at, label_at = to_microseconds(moment), to_microseconds(known_at)
    calibrate, test = (F.lit(_since_epoch(_midnight(day))) for day in (dates.calibrate_from, dates.test_from))
    return (
        F.when(row_at >= test, "holdout")
        .when((row_at >= calibrate) & (label_at <= test), "calibration")
        .when((row_at < calibrate) & (label_at <= calibrate), "train")
    )


def describe_unseen(first: int) -> dict[str, Any]:
    """Describe the rows that a model never saw, for a split in time; see `ModelCard.unseen`.

    Args:
        first: Moment of the first row of the hold-out, in microseconds since 1970.
    """
    return {"kind": "time", "from": from_microseconds(first).isoformat()}


def unseen_condition(unseen: Mapping[str, Any], key: Sequence[str]) -> Column:
    """Whether a model never saw a row, in training or calibration, as a column expression.

    Args:
        unseen: `ModelCard.unseen`: `{"kind": "hash", "salt", "holdout_share"}`, or `{"kind": "time", "from"}` with the
            first moment in ISO 8601.
        key: Entity and moment.
    """
    entity, moment = key[:2]
    if unseen["kind"] == "time":
        return to_microseconds(moment) >= F.lit(_since_epoch(datetime.fromisoformat(unseen["from"])))
    return hold_out_condition(entity, unseen["salt"], unseen["holdout_share"])


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)


def _since_epoch(moment: datetime) -> int:
    return (moment - _EPOCH) // _MICROSECOND
