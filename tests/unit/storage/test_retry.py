"""Requests that an object store broke off are repeated a few times, and no others."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest
import tenacity.nap

from lakehouse_ml.storage.retry import with_retries

BROKEN_OFF = "Generic S3 error: response body error"


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds that would have been slept between attempts."""
    seconds: list[float] = []
    monkeypatch.setattr(tenacity.nap.time, "sleep", seconds.append)
    return seconds


def failing(times: int, message: str) -> tuple[Callable[[], str], list[int]]:
    """Work that fails so many times before it succeeds, and the numbers of its attempts."""
    attempts: list[int] = []

    def work() -> str:
        attempts.append(len(attempts) + 1)
        if len(attempts) <= times:
            raise OSError(message)
        return "done"

    return work, attempts


def test_work_that_succeeds_runs_once(pauses: list[float]) -> None:
    work, attempts = failing(0, BROKEN_OFF)

    assert (with_retries(work), attempts, pauses) == ("done", [1], [])


def test_a_transient_failure_is_retried_after_a_growing_pause(
    pauses: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    work, attempts = failing(2, BROKEN_OFF)

    with caplog.at_level(logging.INFO, "lakehouse_ml.storage.retry"):
        assert with_retries(work) == "done"

    assert (attempts, pauses) == ([1, 2, 3], [1.0, 2.0])
    assert [record.getMessage().strip() for record in caplog.records] == [
        f"the response of the object store broke off: attempt {number} of 6" for number in (2, 3)
    ]


@pytest.mark.parametrize("message", ["AccessDenied", "NoSuchBucket", "No such file or directory", "disk is full"])
def test_a_permanent_failure_is_not_retried(pauses: list[float], message: str) -> None:
    work, attempts = failing(1, message)

    with pytest.raises(OSError, match=message):
        with_retries(work)

    assert (attempts, pauses) == ([1], [])


def test_a_failure_that_becomes_permanent_ends_the_retries(pauses: list[float]) -> None:
    messages = iter([BROKEN_OFF, f"{BROKEN_OFF}: Status Code: 403"])

    def work() -> None:
        raise OSError(next(messages))

    with pytest.raises(OSError, match="403"):
        with_retries(work)

    assert pauses == [1.0]


def test_the_sixth_failure_is_raised_as_it_is(pauses: list[float]) -> None:
    work, attempts = failing(99, BROKEN_OFF)

    with pytest.raises(OSError, match=BROKEN_OFF):
        with_retries(work)

    assert (len(attempts), pauses) == (6, [1.0, 2.0, 3.0, 4.0, 5.0])
