"""Quartz cron expressions and time zones."""

from __future__ import annotations

import pytest

from lakehouse_ml.operations.bundle.schedules import find_cron_fault, find_schedule_faults


@pytest.mark.parametrize(
    "expression",
    [
        "0 0 3 1 * ?", "0 0 5 ? * SUN", "0 0/15 * * * ?", "0 0 12 ? * MON-FRI", "0 0 3 L * ?", "0 0 3 L-3 * ?",
        "0 0 3 15W * ?", "0 0 3 ? * 6L", "0 0 3 ? * MON#1", "0 0,30 8-17 ? * 2,3 2030", "*/5 * * ? * *",
        "0 0 3 1 JAN,JUL ?",
    ],
)  # fmt: skip
def test_what_quartz_takes_is_taken(expression: str) -> None:
    assert find_cron_fault(expression) is None


@pytest.mark.parametrize(
    ("expression", "fault"),
    [
        ("0 3 * * *", "it has 5 fields, and Quartz takes 6 or 7 (seconds first)"),
        ("", "it has 0 fields"),
        ("0 0 3 * * *", "exactly one of day of month and day of week is ?"),
        ("0 0 3 ? * ?", "exactly one of"),
        ("0 60 3 * * ?", "minutes can't be '60': it is 0 to 59"),
        ("0 0 24 * * ?", "hours can't be '24'"),
        ("0 0 3 32 * ?", "day of month can't be '32'"),
        ("0 0 3 1 13 ?", "month can't be '13': it is 1 to 12 or JAN to DEC"),
        ("0 0 3 ? * MOON", "day of week can't be 'MOON': it is 1 to 7 or SUN to SAT"),
        ("0 0/0 3 * * ?", "minutes can't be '0/0'"),
        ("0 0 3 1-2-3 * ?", "day of month can't be '1-2-3'"),
        ("0 0 3 1 * ? 1900", "year can't be '1900'"),
    ],
)
def test_what_quartz_refuses_is_refused_with_the_field(expression: str, fault: str) -> None:
    assert fault in str(find_cron_fault(expression))


def test_a_time_zone_is_a_name_of_the_database() -> None:
    sound = {"quartz_cron_expression": "0 0 3 1 * ?", "timezone_id": "Europe/Berlin"}
    assert list(find_schedule_faults(sound)) == []
    assert list(find_schedule_faults(sound | {"timezone_id": "Berlin"})) == [
        "timezone_id can't be 'Berlin': it is a name such as UTC or Europe/Berlin"
    ]
