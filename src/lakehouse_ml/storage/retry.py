"""Work that is done again where an object store's answer broke off."""

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
    """The result of `work`, which is called again after a broken answer of an object store, six times at most.

    The libraries' own retries repeat a request that wasn't answered, and not one whose answer began.
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
    log.info("  the store's answer broke off: attempt %d of %d", attempt.attempt_number + 1, _ATTEMPTS)
