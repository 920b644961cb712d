"""Quartz cron expressions and time zones: whether they are valid, and how often they start a job.

The format: https://www.quartz-scheduler.org/documentation/quartz-2.3.0/tutorials/crontrigger.html
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from datetime import date, timedelta
from zoneinfo import available_timezones

_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_DAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
# Name, lowest and highest number, names for the numbers from the lowest on.
_FIELDS: tuple[tuple[str, int, int, tuple[str, ...]], ...] = (
    ("seconds", 0, 59, ()),
    ("minutes", 0, 59, ()),
    ("hours", 0, 23, ()),
    ("day of month", 1, 31, ()),
    ("month", 1, 12, _MONTHS),
    ("day of week", 1, 7, _DAYS),
    ("year", 1970, 2099, ()),
)  # fmt: skip
_DAY_OF_MONTH, _MONTH, _DAY_OF_WEEK = 3, 4, 5
# Every fourth year is a leap year.
_FOUR_YEARS = [date(2025, 1, 1) + timedelta(days=day) for day in range(4 * 365 + 1)]
DAYS_A_MONTH = len(_FOUR_YEARS) / 48


def find_schedule_faults(schedule: Mapping[str, object]) -> Iterator[str]:
    """Find what is wrong with a job's `schedule`, a clause each."""
    expression, zone = str(schedule.get("quartz_cron_expression") or ""), str(schedule.get("timezone_id") or "")
    if fault := find_cron_fault(expression):
        yield f"quartz_cron_expression can't be {expression!r}: {fault}"
    if zone not in available_timezones():
        yield f"timezone_id can't be {zone!r}: it is a name such as UTC or Europe/Berlin"


def find_cron_fault(expression: str) -> str | None:
    """Find why a text is no Quartz cron expression; None if it is one."""
    fields = expression.upper().split()
    if len(fields) not in (6, 7):
        return f"it has {len(fields)} fields, and Quartz takes 6 or 7 (seconds first)"
    if (fields[_DAY_OF_MONTH] == "?") == (fields[_DAY_OF_WEEK] == "?"):
        return "exactly one of day of month and day of week is ?"
    for text, (name, low, high, names) in zip(fields, _FIELDS, strict=False):
        special = _SPECIAL.get(name)
        if text in ("*", "?") or (special and special.fullmatch(text)):
            continue
        for part in text.split(","):
            if not _expand(part, low, high, names):
                words = f" or {names[0]} to {names[-1]}" if names else ""
                return f"{name} can't be {part!r}: it is {low} to {high}{words}"
    return None


_SPECIAL = {
    "day of month": re.compile(r"L(-\d{1,2})?|LW|\d{1,2}W"),
    "day of week": re.compile(r"[1-7]L|[1-7]#[1-5]|(SUN|MON|TUE|WED|THU|FRI|SAT)(L|#[1-5])"),
}


def count_monthly_runs(expression: str) -> float:
    """Count how often a valid expression fires a month, on average over four years; its year is ignored."""
    fields = expression.upper().split()
    values = [_expand_field(text, field) for text, field in zip(fields, _FIELDS, strict=False)]
    daily = math.prod(len(one) for one in values[:_DAY_OF_MONTH])
    days = sum(
        day.month in values[_MONTH]
        and _is_on_day(fields[_DAY_OF_MONTH], values[_DAY_OF_MONTH], day)
        and _is_on_weekday(fields[_DAY_OF_WEEK], values[_DAY_OF_WEEK], day)
        for day in _FOUR_YEARS
    )
    return daily * days / 48


def _is_on_day(text: str, days: frozenset[int], day: date) -> bool:
    # L, LW and 15W name one day of each month, whichever it is.
    return day.day == 1 if _SPECIAL["day of month"].fullmatch(text) else day.day in days


def _is_on_weekday(text: str, weekdays: frozenset[int], day: date) -> bool:
    weekday = day.isoweekday() % 7 + 1  # Quartz begins with Sunday
    if not _SPECIAL["day of week"].fullmatch(text):
        return weekday in weekdays
    (named,) = _expand(re.split("#|L$", text)[0], 1, 7, _DAYS)
    week = int(text.partition("#")[2] or 1)  # the last Friday is as frequent as the first
    return weekday == named and (day.day - 1) // 7 + 1 == week


def _expand_field(text: str, field: tuple[str, int, int, tuple[str, ...]]) -> frozenset[int]:
    name, low, high, names = field
    if text in ("*", "?") or (name in _SPECIAL and _SPECIAL[name].fullmatch(text)):
        return frozenset(range(low, high + 1))
    return frozenset().union(*(_expand(part, low, high, names) for part in text.split(",")))


def _expand(part: str, low: int, high: int, names: tuple[str, ...]) -> frozenset[int]:
    """The values of a number, a range, or either with a step; none if it is invalid."""
    values, slash, step = part.partition("/")
    if slash and not (step.isdigit() and 0 < int(step) <= high):
        return frozenset()
    if values == "*":
        return frozenset(range(low, high + 1, int(step))) if slash else frozenset()
    texts = [str(low + names.index(one)) if one in names else one for one in values.split("-")]
    if len(texts) > 2 or not all(one.isdigit() and low <= int(one) <= high for one in texts):
        return frozenset()
    first, last = int(texts[0]), int(texts[-1]) if len(texts) == 2 or not slash else high
    # FRI-MON goes over the end of the week.
    every = range(first, last + 1) if first <= last else [*range(first, high + 1), *range(low, last + 1)]
    return frozenset(every[:: int(step) if slash else 1])
