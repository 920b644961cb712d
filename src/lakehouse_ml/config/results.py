"""Where batch scoring puts its rows: into the table that conf names, or for one run into another one beside it.

A table beside conf's has everything that is made of its scores beside conf's too: its history of actions, the list that
is handed on, and what monitoring reports. So a range can be filled in again, or a model tried, and what is there stays.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

# Stands in conf's name for the noun of a use case.
_NOUN = "{table}"
_NAME = re.compile(r"[a-z][a-z0-9_]{0,99}")
_ACTIONS = "_actions"
_ALLOWED = "lower-case letters, digits and underscores only, at most 100, and a letter first"


def actions_of(table: str) -> str:
    """The table with the history of actions that goes with a table of scores."""
    return table.replace(_NOUN, "actions") if _NOUN in table else f"{table}{_ACTIONS}"


def list_of(table: str, usual: str) -> str:
    """The file with the newest actions that goes with a table of scores, where conf's is `usual`."""
    return "actions.csv" if table == usual else f"{actions_of(table)}.csv"


def reports_of(table: str, usual: str) -> str:
    """What the folder of reports has at its end for a table of scores; nothing for conf's, `usual`."""
    return "" if table == usual else f"/of_{table}"


def fault_of_usual(table: str) -> str | None:
    """Why conf's name, which may hold `{table}`, can't be a table's; None if it can."""
    return _fault(table.replace(_NOUN, "a", 1))


def fault(table: object, usual: str, nouns: Iterable[str]) -> str | None:
    """Why the name that a run is given can't be a table's beside conf's; None if it can.

    Args:
        table: The name.
        usual: Conf's, a valid one.
        nouns: Of all use cases.
    """
    if table == usual:
        return None
    if not isinstance(table, str) or not _NAME.fullmatch(table):
        return f"a table's name has {_ALLOWED}"
    own = {usual.replace(_NOUN, noun) for noun in (*nouns, "actions")}
    if table in own or actions_of(usual) in (table, actions_of(table)):
        return f"scores or actions of {usual}, the table that conf names, lie under that name; choose another one"
    return _fault(table)


def _fault(table: str) -> str | None:
    if not _NAME.fullmatch(table):
        return f"a table's name has {_ALLOWED}"
    if table.endswith(_ACTIONS):
        return f"names that end in {_ACTIONS} are those of lists of actions"
    return None
