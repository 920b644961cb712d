"""What conf says about predictive maintenance: when predictions are made, of what, and how far ahead."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime

from pydantic import field_validator, model_validator

from lakehouse_ml.config.spec import Spec

HOURS_A_DAY = 24
_NAME = re.compile(r"[a-z][a-z0-9_]*")


class MaintenanceSpec(Spec):
    """Prediction times, windows and horizon; features and labels share one, so that they can't disagree.

    A prediction is made every `step_hours`, the first time of a day `phase_hours` after 00:00 UTC. A window of w hours
    that ends at t is (t - w, t]: an event at t is in, one exactly w earlier is out. The horizon is (t, t + h].

    Attributes:
        step_hours: From one prediction time to the next; divides 24.
        phase_hours: From 00:00 UTC to the first prediction time of a day; below `step_hours`.
        horizon_hours: How far ahead a failure counts.
        telemetry: Whether features use telemetry; false if you have none.
        window_hours: Windows over telemetry.
        error_window_hours: Window over errors.
        errors: Kinds of error; each is a feature.
        components: Components; each is a feature, and what is predicted.
        starts_at: First prediction time in the feature table; null is the first that the data allow. Without an
            offset it is UTC.
        ends_at: Last one; null is the last that the data allow.
        known_until: Until when all tables are complete; null is their newest event. No prediction time lies later, and
            no horizon that ends later is labelled. Set it where failures are reported later than the rest.
    """

    step_hours: int
    phase_hours: int
    horizon_hours: int
    telemetry: bool
    window_hours: tuple[int, ...]
    error_window_hours: int
    errors: tuple[str, ...]
    components: tuple[str, ...]
    starts_at: datetime | None = None
    ends_at: datetime | None = None
    known_until: datetime | None = None

    @field_validator("step_hours")
    @classmethod
    def _divides_a_day(cls, hours: int) -> int:
        divisors = [n for n in range(1, HOURS_A_DAY + 1) if HOURS_A_DAY % n == 0]
        if hours not in divisors:
            raise ValueError(
                f"{hours} hours don't divide a day, and prediction times would fall on other hours each day; "
                f"take one of {', '.join(map(str, divisors))}"
            )
        return hours

    @field_validator("horizon_hours", "error_window_hours")
    @classmethod
    def _lasts(cls, hours: int) -> int:
        if hours < 1:
            raise ValueError(f"{hours} hours hold no event; take at least 1")
        return hours

    @field_validator("window_hours")
    @classmethod
    def _windows_last_and_differ(cls, windows: tuple[int, ...]) -> tuple[int, ...]:
        if any(hours < 1 for hours in windows):
            raise ValueError(f"a window of {min(windows)} hours holds no row; take at least 1")
        _refuse_twice(windows)
        return windows

    @field_validator("errors", "components")
    @classmethod
    def _can_name_columns(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        unfit = [name for name in names if not _NAME.fullmatch(name)]
        if unfit:
            raise ValueError(
                f"{', '.join(map(repr, unfit))} can't be part of a column's name: small letters, digits and _ can, "
                f"beginning with a letter"
            )
        _refuse_twice(names)
        return names

    @field_validator("components")
    @classmethod
    def _something_is_predicted(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if not names:
            raise ValueError("at least one component is needed: without any nothing is predicted")
        return names

    @field_validator("starts_at", "ends_at", "known_until")
    @classmethod
    def _in_utc(cls, moment: datetime | None) -> datetime | None:
        if moment is None:
            return None
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)

    @model_validator(mode="after")
    def _fit_together(self) -> MaintenanceSpec:
        if not 0 <= self.phase_hours < self.step_hours:
            raise ValueError(
                f"phase_hours ({self.phase_hours}) must lie from 0 to below step_hours ({self.step_hours})"
            )
        if self.telemetry and not self.window_hours:
            raise ValueError("telemetry is on, but window_hours names no window; name one, or set telemetry to false")
        if self.starts_at and self.ends_at and self.starts_at > self.ends_at:
            raise ValueError(
                f"starts_at ({self.starts_at:%Y-%m-%d %H:%M}) lies after ends_at ({self.ends_at:%Y-%m-%d %H:%M})"
            )
        return self


def _refuse_twice(values: Sequence[object]) -> None:
    twice = sorted({str(value) for value in values if values.count(value) > 1})
    if twice:
        raise ValueError(f"{', '.join(twice)} is named twice")
