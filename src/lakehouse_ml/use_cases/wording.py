"""The report's sentences that differ from use case to use case."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal


@dataclass(frozen=True)
class ReportedMetric:
    """One of a use case's further metrics, as a report shows it.

    Attributes:
        segment: Segment of the metric.
        metric: Name of the metric.
        description: What it measures, in words.
        unit: A share, a score from 0 to 1, a count, money, or hours.
    """

    segment: str
    metric: str
    description: str
    unit: Literal["share", "score", "count", "money", "hours"]

    @property
    def name(self) -> str:
        """Its placeholder in sentences: segment and metric."""
        return f"{self.segment}_{self.metric}"


@dataclass(frozen=True)
class MetricSection:
    """The section with a use case's further metrics.

    Sentences are templates with `ReportedMetric.name` as placeholders. A sentence is left out if one of its values is
    missing.

    Attributes:
        title: Heading of the section.
        sentences: First sentences of the section.
        summary: Sentence that follows them, and that the page's summary repeats.
        metrics: Rows of its table.
        tile: Label, value and note of the tile at the top of the page, in place of the value per row.
        brief: Head and text of the last line of the metrics in a run's summary.
        cases: Segment and metric that count the cases, and the noun for them; None where each positive row is a case.
    """

    title: str
    sentences: tuple[str, ...]
    summary: str
    metrics: tuple[ReportedMetric, ...]
    tile: tuple[str, str, str]
    brief: tuple[str, str]
    cases: tuple[str, str, str] | None = None


@dataclass(frozen=True)
class Wording:
    """A use case's nouns and sentences in a report. Nouns take an s in the plural.

    `{within}` in any of them is the horizon, where the use case has one: " within 30 days".

    Attributes:
        title: Heading of the page.
        entity: Whom or what the list of actions names: customer.
        row: A row that is judged or scored: customer.
        action: What is done for a row, with its article: an offer.
        action_list: Name of the list of actions: offer list.
        heads: Heads of the list's first columns: whom it names, and where a list needs it, when and what of them.
        positives: The positive rows, in the past: customers who left.
        outcomes: The positive and the negative outcome, in the past, for legends: left, did not leave.
        prediction: What a score at the threshold says: likely to leave.
        calibration: The question that the picture of calibration answers.
        economics: Sentence with `{cost}` of acting, `{share}` of outcomes averted, and `{value}` of one.
        next_outcomes: How to hand in what happened.
        judgement_note: What a row is and what follows for the judgement; empty where a row is an entity.
        value_note: How to read the value of a row; empty where nothing needs a note.
        metric_section: The use case's further metrics, if it has any.
    """

    title: str
    entity: str
    row: str
    action: str
    action_list: str
    heads: tuple[str, ...]
    positives: str
    outcomes: tuple[str, str]
    prediction: str
    calibration: str
    economics: str
    next_outcomes: str
    judgement_note: str = ""
    value_note: str = ""
    metric_section: MetricSection | None = None

    def within(self, days: int | None) -> Wording:
        """Insert the horizon; without one, nothing."""
        horizon = "" if days is None else f" within {days} day{'' if days == 1 else 's'}"
        texts: dict[str, Any] = {name: value for name, value in vars(self).items() if isinstance(value, str)}
        inserted = {name: text.replace("{within}", horizon) for name, text in texts.items()}
        positive, negative = (text.replace("{within}", horizon) for text in self.outcomes)
        return replace(self, **inserted, outcomes=(positive, negative))
