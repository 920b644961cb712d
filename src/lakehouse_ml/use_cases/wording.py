"""How a report speaks of a use case and of its further measures."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal


@dataclass(frozen=True)
class Told:
    """One of a use case's further measures, as a report tells it.

    Attributes:
        segment: Of the measure.
        metric: Of the measure.
        says: What it is, in words.
        unit: Whether it is a share, a score from 0 to 1 like a share, a number of things, money, or hours.
    """

    segment: str
    metric: str
    says: str
    unit: Literal["share", "score", "count", "money", "hours"]

    @property
    def name(self) -> str:
        """What sentences call it: segment and metric."""
        return f"{self.segment}_{self.metric}"


@dataclass(frozen=True)
class Measured:
    """How a use case's further measures are told; a sentence is left out if a value that it names is unknown.

    Sentences name values in braces as `Told.name` has them.

    Attributes:
        title: Heading of the section.
        sentences: What the section begins with.
        summary: What follows them there, and stands among the page's first sentences.
        rows: Its table, a measure a row.
        tile: Label, value and note of the figure that is seen at a glance, in place of the value of a row.
        brief: The line that ends the metrics of a run's summary: its head, and what it says.
        cases: Segment and metric of the number of cases, where several rows tell of one, and what a case is called.
    """

    title: str
    sentences: tuple[str, ...]
    summary: str
    rows: tuple[Told, ...]
    tile: tuple[str, str, str]
    brief: tuple[str, str]
    cases: tuple[str, str, str] | None = None


@dataclass(frozen=True)
class Wording:
    """How a use case is spoken of in a report.

    `{within}` in any of them is the horizon, where the use case has one: " within 30 days".

    Attributes:
        title: As a heading.
        entity: Whom the list of actions names.
        one: A row that is judged or scored.
        many: Several of them.
        all: To what in the plural it happens.
        who: The pronoun that goes with them.
        happens: What is predicted, as a verb in the plural: they leave.
        happened: The same in the past: they left.
        action: What is done about it: an offer.
        whom: What the list of actions says: whom to make an offer.
        listed: The same of a number `{n}` of them, or `{entities}` with their noun: the {n} to whom an offer is worth
            most.
        economics: A sentence with `{cost}` of acting, `{share}` of outcomes averted, and `{value}` of one.
        later: How it becomes known what happened.
        everybody: All of those to whom it may happen, in the singular: everybody.
        share: A clause with the `{share}` of judged rows to which it happened.
        named: What scored rows that reach the threshold do, as a clause: are named as likely to leave.
        heads: Heads of the list's first columns: whom it names, and where a list needs it, when and what of them.
        rows: What a row is and what follows from it, in sentences; empty where a row is an entity.
        worth: What must be known to read the value of a row; empty where nothing must.
        measured: How the further measures are told, where there are some.
    """

    title: str
    entity: str
    one: str
    many: str
    all: str
    who: str
    happens: str
    happened: str
    action: str
    whom: str
    listed: str
    economics: str
    later: str
    everybody: str
    share: str
    named: str
    heads: tuple[str, ...]
    rows: str = ""
    worth: str = ""
    measured: Measured | None = None

    def within(self, days: int | None) -> Wording:
        """The same with the horizon in its place; without a horizon nothing stands there."""
        told = "" if days is None else f" within {days} day{'' if days == 1 else 's'}"
        texts: dict[str, Any] = {name: value for name, value in vars(self).items() if isinstance(value, str)}
        return replace(self, **{name: text.replace("{within}", told) for name, text in texts.items()})
