"""A client of a workspace that answers or gives up within seconds, and its errors as sentences without secrets."""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from lakehouse_ml.engine.workspace import SignIn, read_sign_in
from lakehouse_ml.errors import EngineError, chain, first_line

if TYPE_CHECKING:
    from databricks.sdk import WorkspaceClient
    from databricks.sdk.core import DatabricksError

T = TypeVar("T")

# A usual answer takes less than one second. The SDK's own limits are 60 s for an answer and 300 s of retries: somebody
# waits at a terminal.
ANSWER_SECONDS = 5
RETRY_SECONDS = 5
# The Databricks CLI and identity providers have their own limits, some have none.
SIGN_IN_SECONDS = 30
# All questions together.
TOTAL_SECONDS = 60
# The SDK adds up to this much to each pause, at random.
_JITTER_SECONDS = 1.0
# What the SDK adds to a message about rights: its configuration.
_DEBUG = re.compile(r"\.? (Config: host=|Config: profile=|Env: DATABRICKS_).*", re.DOTALL)


class Waits:
    """The pauses between attempts of one request, as the SDK's clock.

    The SDK pauses for as long as the platform asks (Retry-After), even beyond its own time limit.

    Attributes:
        longest: Seconds; a longer pause ends the request. Below 0: no second attempt.
    """

    def __init__(self, longest: float = RETRY_SECONDS) -> None:
        """Set the longest pause."""
        self.longest = longest

    def time(self) -> float:
        """Seconds since 1970."""
        return time.time()

    def sleep(self, seconds: float) -> None:
        """Pause before the next attempt.

        Raises:
            TimeoutError: The pause would be too long.
        """
        if seconds >= self.longest + _JITTER_SECONDS:
            raise TimeoutError(f"no second attempt within {self.longest:g} s")
        self.pause(seconds)

    def pause(self, seconds: float) -> None:
        """Let time pass."""
        time.sleep(seconds)

    @contextmanager
    def forbid_retries(self) -> Iterator[None]:
        """Send a request once: a repeated one could have its effect twice."""
        longest, self.longest = self.longest, -_JITTER_SECONDS
        try:
            yield
        finally:
            self.longest = longest


@dataclass(frozen=True)
class Limits:
    """How long to wait for a workspace.

    Attributes:
        answer: Seconds for one answer.
        retry: Seconds of attempts for one question.
        sign_in: Seconds to sign in.
        total: Seconds for all questions.
        waits: The pauses between attempts.
    """

    answer: float = ANSWER_SECONDS
    retry: int = RETRY_SECONDS
    sign_in: float = SIGN_IN_SECONDS
    total: float = TOTAL_SECONDS
    waits: Waits = field(default_factory=Waits)


LIMITS = Limits()


@dataclass(frozen=True)
class Identity:
    """Who is asked about.

    Attributes:
        name: The name that grants use: an e-mail address or an application id.
        groups: Its groups; None: unknown.
        is_service_principal: Whether it is one.
    """

    name: str
    groups: frozenset[str] | None = None
    is_service_principal: bool = False


@dataclass(frozen=True)
class Connection:
    """A workspace that somebody is signed in to.

    Attributes:
        client: The SDK's client.
        user: Who is signed in.
        sign_in: Where and how.
        limits: Time limits.
    """

    client: WorkspaceClient
    user: Identity
    sign_in: SignIn
    limits: Limits


@dataclass(frozen=True)
class Answer(Generic[T]):
    """An answer of a workspace.

    Attributes:
        value: The answer; None if there is none.
        is_absent: Whether the workspace says that there is no such thing.
        refusal: Why there is no answer; empty if there is one.
    """

    value: T | None = None
    is_absent: bool = False
    refusal: str = ""


def connect(limits: Limits | None = None) -> Connection:
    """Sign in to the workspace that variables and profiles name, and ask who that is.

    Raises:
        EngineError: No workspace is named, it can't be reached, or it refuses the identity; with the remedy.
    """
    limits = limits or LIMITS
    sign_in = read_sign_in()
    if not sign_in.host:
        raise EngineError(
            f"No workspace is named: neither DATABRICKS_HOST nor a profile of {sign_in.config_file} names one. Create "
            f"a profile: databricks auth login --host https://<your workspace> --profile <name>; then set "
            f"DATABRICKS_CONFIG_PROFILE=<name>."
        )
    with _without_log():
        return _within(limits.sign_in, lambda: _connect(sign_in, limits), sign_in)


def ask(call: Callable[[], T], *, is_late: bool = False) -> Answer[T]:
    """Ask a question; whatever goes wrong is a refusal, and no error.

    Args:
        call: Sends it.
        is_late: Whether the time for questions is over: then it is not sent.
    """
    if is_late:
        return Answer(refusal="the time for questions was over")
    try:
        with _without_log():
            return Answer(call())
    except Exception as error:
        return Answer(is_absent=is_absent(error), refusal=explain(error))


def is_absent(error: BaseException) -> bool:
    """Whether a workspace says that there is no such thing; an endpoint that it lacks says nothing."""
    from databricks.sdk.errors import NotFound

    return isinstance(error, NotFound) and error.error_code != "ENDPOINT_NOT_FOUND"


def is_denied(error: BaseException) -> bool:
    """Whether a workspace refuses because of who asks."""
    from databricks.sdk.errors import PermissionDenied, Unauthenticated

    return isinstance(error, PermissionDenied | Unauthenticated)


def is_unanswered(error: BaseException) -> bool:
    """Whether a request may have had its effect without an answer: no connection, a time-out, an overloaded service."""
    import requests
    from databricks.sdk.core import DatabricksError
    from databricks.sdk.errors import (
        DeadlineExceeded,
        InternalError,
        TemporarilyUnavailable,
        TooManyRequests,
    )

    if isinstance(error, DatabricksError):
        return isinstance(error, DeadlineExceeded | InternalError | TemporarilyUnavailable | TooManyRequests)
    return isinstance(error, TimeoutError | requests.ConnectionError | requests.Timeout)


def explain(error: BaseException) -> str:
    """What went wrong, in a clause without secrets."""
    import requests
    from databricks.sdk.core import DatabricksError

    causes = list(chain(error))
    refusal = next((one for one in causes if isinstance(one, DatabricksError)), None)
    if refusal is not None:
        return _explain_refusal(refusal)
    for kind, clause in (
        (requests.exceptions.JSONDecodeError, "the answer is no JSON, so not a workspace's"),
        (requests.exceptions.SSLError, "its TLS certificate was refused"),
        (requests.Timeout, "no answer in time"),
        (requests.ConnectionError, _explain_connection(causes)),
    ):
        if any(isinstance(one, kind) for one in causes):
            return clause
    return _clean(error)


def hide_secrets(text: str) -> str:
    """Replace the secrets of variables and profiles in a message."""
    with suppress(EngineError):
        for secret in sorted(read_sign_in().secrets, key=len, reverse=True):
            text = text.replace(secret, "***")
    return text


def _explain_refusal(error: DatabricksError) -> str:
    from databricks.sdk.errors import TooManyRequests

    if isinstance(error, TooManyRequests):
        return f"the workspace limits requests ({_clean(error)})"
    # Of some errors the code is the number of the HTTP status.
    code = error.error_code or ""
    return f"{code}: {_clean(error)}" if code.isupper() else _clean(error)


def _clean(error: BaseException) -> str:
    return hide_secrets(_DEBUG.sub("", first_line(error)).rstrip(". "))


def _explain_connection(causes: list[BaseException]) -> str:
    text = " ".join(map(str, causes))
    for part, clause in {
        "Name or service not known": "no such host",
        "Failed to resolve": "no such host",
        "nodename nor servname": "no such host",
        "refused": "the connection was refused",
        "Unable to connect to proxy": "the proxy was not reached",
        "Network is unreachable": "the network is unreachable",
    }.items():
        if part in text:
            return clause
    return "the connection was lost"


def _connect(sign_in: SignIn, limits: Limits) -> Connection:
    import requests
    from databricks.sdk import WorkspaceClient
    from databricks.sdk.config import Config

    # The SDK would ask a host that is not there several times, for each thing that it looks up.
    try:
        requests.get(sign_in.host, timeout=limits.answer, stream=True, allow_redirects=False).close()
    except (requests.RequestException, ValueError) as error:
        raise EngineError(
            f"{sign_in.host} can't be reached: {explain(error)}. Check the address (from {sign_in.origin}), the "
            f"network and the proxy."
        ) from error
    try:
        config = Config(
            http_timeout_seconds=limits.answer,
            retry_timeout_seconds=limits.retry,
            clock=cast("Any", limits.waits),
            product="lakehouse-ml",
        )
        client = WorkspaceClient(config=config)
        user = client.current_user.me()
    except Exception as error:
        raise _refuse_sign_in(error, sign_in) from error
    name = str(user.user_name or user.display_name)
    groups = frozenset(str(group.display) for group in user.groups or ())
    return Connection(client, Identity(name, groups, is_service_principal="@" not in name), sign_in, limits)


def _refuse_sign_in(error: Exception, sign_in: SignIn) -> EngineError:
    profile = f" --profile {sign_in.profile}" if sign_in.profile else ""
    login = f"databricks auth login --host {sign_in.host}{profile}"
    why = explain(error)
    if "cannot configure default credentials" in why:
        return EngineError(
            f"{sign_in.host}: nothing says how to sign in (address from {sign_in.origin}). Sign in: {login}"
        )
    if is_denied(error):
        return EngineError(f"{sign_in.host} refuses to sign in ({sign_in.method}): {why}. Sign in again: {login}")
    if is_unanswered(error):
        return EngineError(f"{sign_in.host} does not answer: {why}. Try again later.")
    return EngineError(
        f"{sign_in.host}: can't sign in ({sign_in.method}): {why}. Check the address, or sign in: {login}"
    )


def _within(seconds: float, call: Callable[[], Connection], sign_in: SignIn) -> Connection:
    """Call in a thread that nobody waits for any longer: not each way to sign in has a time limit."""
    results: list[Connection | BaseException] = []

    def run() -> None:
        try:
            results.append(call())
        except BaseException as error:
            results.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    if not results:
        raise EngineError(
            f"{sign_in.host}: signing in ({sign_in.method}) took longer than {seconds:g} s. Try again, or sign in with "
            f"databricks auth login --host {sign_in.host}."
        )
    result = results[0]
    if isinstance(result, BaseException):
        raise result
    return result


@contextmanager
def _without_log() -> Iterator[None]:
    """Hide the SDK's warnings; what matters of them is in our messages."""
    logger = logging.getLogger("databricks.sdk")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
