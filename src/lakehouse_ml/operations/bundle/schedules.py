"""Whether a schedule can be one: Quartz cron expressions and time zones.

The format: https://www.quartz-scheduler.org/documentation/quartz-2.3.0/tutorials/crontrigger.html
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
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
_DAY_OF_MONTH, _DAY_OF_WEEK = 3, 5


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
            if not _is_part(part, low, high, names):
                words = f" or {names[0]} to {names[-1]}" if names else ""
                return f"{name} can't be {part!r}: it is {low} to {high}{words}"
    return None


_SPECIAL = {
    "day of month": re.compile(r"L(-\d{1,2})?|LW|\d{1,2}W"),
    "day of week": re.compile(r"[1-7]L|[1-7]#[1-5]|(SUN|MON|TUE|WED|THU|FRI|SAT)(L|#[1-5])"),
}


def _is_part(part: str, low: int, high: int, names: tuple[str, ...]) -> bool:
    """Whether it is a number, a range, or either with a step."""
    values, slash, step = part.partition("/")
    if slash and not (step.isdigit() and 0 < int(step) <= high):
        return False
    if values == "*":
        return bool(slash)
    numbers = [low + names.index(one) if one in names else one for one in values.split("-")]
    return len(numbers) in (1, 2) and all(str(one).isdigit() and low <= int(one) <= high for one in numbers)
