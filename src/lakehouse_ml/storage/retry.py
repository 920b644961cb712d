"""Retries for requests to an object store whose response broke off."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_attempt, wait_incrementing

from lakehouse_ml.storage.failures import is_transient

T = TypeVar("T")
log = logging.getLogger(__name__)

_ATTEMPTS = 6
_FIRST_PAUSE_SECONDS = 1.0


def with_retries(work: Callable[[], T]) -> T:
    """Call `work` and return its result; call it again after a transient failure of an object store, six times at most.

    The libraries' own retries repeat a request without a response, and not one whose response began.
    """
    attempts = Retrying(
        retry=retry_if_exception(is_transient),
        stop=stop_after_attempt(_ATTEMPTS),
        wait=wait_incrementing(start=_FIRST_PAUSE_SECONDS, increment=_FIRST_PAUSE_SECONDS),
        before_sleep=_log_retry,
        reraise=True,
    )
    return attempts(work)


def _log_retry(attempt: RetryCallState) -> None:
    log.info("  the response of the object store broke off: attempt %d of %d", attempt.attempt_number + 1, _ATTEMPTS)
