"""What can go wrong for a reason that the user can mend, each with its remedy in the message.

Everything else is a defect of ours and keeps its stack trace.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

# An engine hands back the text of an exception raised inside a task, not its class: the marker survives the journey.
_MARK = re.compile(r"lakehouse_ml\.refused: (.+?) \(end of message\)", re.DOTALL)


class LakehouseError(Exception):
    """A mistake or a state of the world that stops the run; the message names place and remedy."""


class ConfError(LakehouseError):
    """A file of conf can't be used as it is."""


class LandingError(LakehouseError):
    """A landing folder or file can't be used as it is."""


class ContractError(LakehouseError):
    """A table doesn't have the columns and types that its contract declares."""


class QualityError(LakehouseError):
    """A rule with action `fail` was broken by more rows than it tolerates."""


class TableError(LakehouseError):
    """A stored table is missing, damaged, or a write would break its promise."""


class TrainingError(LakehouseError):
    """The labelled rows don't suffice to fit and judge a model."""


class RegistryError(LakehouseError):
    """A model version is missing, or what the registry holds isn't what was registered."""


class EngineError(LakehouseError):
    """The chosen engine can't be had in this environment."""


class BusyError(LakehouseError):
    """Another run works on the same lake."""


def refusal(message: str) -> ValueError:
    """An exception for code that runs inside an engine's task; `find` recovers the sentence from its text."""
    return ValueError(f"lakehouse_ml.refused: {message} (end of message)")


def chain(error: BaseException) -> Iterator[BaseException]:
    """An exception and what it was raised from or while handling, from the outside in."""
    seen: BaseException | None = error
    while seen is not None:
        yield seen
        seen = seen.__cause__ or seen.__context__


def first_line(error: BaseException) -> str:
    """What a library said, in a line: of Spark the first with a name of its own, which others may come before."""
    told = str(error).strip() or type(error).__name__
    named = re.search(r"\[[A-Z_.]+\] [^\n]*", told)
    return named[0] if named else told.splitlines()[0]


def find(error: BaseException) -> LakehouseError | None:
    """The user's mistake behind an exception, however deep a framework or an engine has wrapped it."""
    for seen in chain(error):
        if isinstance(seen, LakehouseError):
            return seen
        told = _MARK.search(str(seen))
        if told:
            return LandingError(told.group(1))
    return None
