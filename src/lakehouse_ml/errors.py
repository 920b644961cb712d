"""What can go wrong for a reason that the user can mend, each with its remedy in the message.

Everything else is a defect of ours and keeps its stack trace.
"""

from __future__ import annotations

import re
import shlex
import unicodedata
from collections.abc import Iterable, Iterator
from difflib import get_close_matches

# An engine hands back the text of an exception raised inside a task, not its class: the marker survives the journey.
_MARK = re.compile(r"lakehouse_ml\.refused: (.+?) \(end of message\)", re.DOTALL)
# What a run says after Ctrl-C.
STOPPED = "Stopped. Run again to resume."
# How many known names a message lists.
_SHOWN = 8


def printable(text: str) -> str:
    r"""Text on one line that no terminal takes for a command: line ends, control characters and the like are escaped.

    Names of files, headers and values are somebody else's text; a byte of a name that isn't UTF-8 is `\xfc`.
    """
    return text if text.isprintable() else "".join(map(_escape, text))


def shell_word(text: str) -> str:
    """Text as one word of a command that can be copied into bash or zsh, on one line."""
    if text.isprintable():
        return shlex.quote(text)
    return "$'" + printable(text.replace("\\", "\\\\").replace("'", "\\'")) + "'"


def is_utf8(text: str) -> bool:
    """Whether a name or an argument is text, as the system hands it over: bytes that aren't UTF-8 become surrogates."""
    return not any("\ud800" <= letter <= "\udfff" for letter in text)


def _escape(letter: str) -> str:
    if letter.isprintable() or unicodedata.category(letter) == "Zs":  # spaces of another width
        return letter
    if "\udc80" <= letter <= "\udcff":
        return f"\\x{ord(letter) - 0xDC00:02x}"
    if letter < "\x80":
        return letter.encode("unicode_escape").decode()
    return f"\\u{ord(letter):04x}" if letter <= "\uffff" else f"\\U{ord(letter):08x}"


class LakehouseError(Exception):
    """A mistake or a state of the world that stops the run; the message names place and remedy."""

    def __str__(self) -> str:
        return printable(super().__str__())


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
    """The chosen engine is unavailable in this environment."""


class BusyError(LakehouseError):
    """Another run works on the same lake."""


def refusal(message: str) -> ValueError:
    """An exception for code that runs inside an engine's task; `find` recovers the sentence from its text."""
    return ValueError(f"lakehouse_ml.refused: {message} (end of message)")


def chain(error: BaseException) -> Iterator[BaseException]:
    """An exception and what it was raised from or while handling, from the outside in."""
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__ or cause.__context__


def first_line(error: BaseException) -> str:
    """What a library said, in a line: of Spark the first with a name of its own, which others may come before."""
    text = str(error).strip() or type(error).__name__
    match = re.search(r"\[[A-Z_.]+\] [^\n]*", text)
    return match[0] if match else text.splitlines()[0]


def find(error: BaseException) -> LakehouseError | None:
    """The user's mistake behind an exception, however deep a framework or an engine has wrapped it."""
    for cause in chain(error):
        if isinstance(cause, LakehouseError):
            return cause
        match = _MARK.search(str(cause))
        if match:
            return LandingError(match.group(1))
    return None


def suggest_name(name: str, names: Iterable[str]) -> str:
    """Return a hint: the valid name nearest to a wrong one, else the valid names, if they are few."""
    names = sorted(names)
    # A name without its use case, or in another spelling, is near as well.
    tails = {one.split(".", 1)[-1]: one for one in reversed(names)} | {one: one for one in names}
    if near := get_close_matches(name, tails, n=1, cutoff=0.6):
        return f"Did you mean {tails[near[0]]}?"
    if not names:
        return "There are none."
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"Known: {', '.join(names[:_SHOWN])}{more}."
