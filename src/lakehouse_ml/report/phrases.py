"""Sentences and parts of sentences that several sections share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from lakehouse_ml.report import cautions, measures
from lakehouse_ml.report.formatting import capitalize, format_count, format_money, format_quantity, format_share

if TYPE_CHECKING:
    from lakehouse_ml.report.data import ReportData


# From how many tables on those without problems share a sentence.
_FEW_SOURCES = 2


def describe_simulated_data(data: ReportData) -> str | None:
    """How much of the data is simulated; None where nothing is."""
    return cautions.simulated_sentence({name: source.files for name, source in data.sources.items()})


def warn_of_perfect_scores(data: ReportData) -> str | None:
    """A caution about perfect hold-out metrics; None where they are not perfect."""
    return cautions.perfect_sentence(data.metrics, data.words, [name for name, _ in data.ranked_features])


def describe_batch_day(data: ReportData) -> str:
    """The batch's day, where it is known; else the batch's name."""
    return f"in batch {data.batch.batch}" if data.is_day_assumed else f"as of {data.batch.batch}"


def describe_action_list(data: ReportData) -> str:
    """The one answer to whom to act on: the list, where it lies, and why it is as long as it is."""
    words, batch, listed = data.words, data.batch, data.actions
    if not len(listed):
        return f"The list of actions names nobody: for no {words.one} {words.action} is expected to pay."
    said = (
        f"The list of actions, {data.list_file}, names "
        f"{words.listed.format(n=format_count(len(listed)), entities='')}, best "
        f"first; it is worth {format_money(float(listed['expected_gain'].sum()))} in total."
    )
    entities = f"{format_count(batch.n_paying)} of the {format_count(batch.n_entities)}"
    pays = f"{capitalize(words.action)} is expected to pay for {entities}"
    if batch.n_paying > len(listed):
        return (
            f"{said} {pays} ({format_share(batch.n_paying / batch.n_entities)}), worth {format_money(batch.gain)}; the "
            f"list ends at {format_count(len(listed))}, the `actions` in parameters.yml."
        )
    return f"{said} It names everybody for whom {words.action} is expected to pay."


def describe_holdout(data: ReportData) -> str:
    """The judged rows in words; where an entity has outcomes of several days, how many entities they are of."""
    words, n, entity = data.words, len(data.holdout), data.holdout.columns[0]
    n_entities = data.holdout[entity].nunique() if entity != "label" else n
    if data.horizon_days is None or n_entities == n:
        return f"{format_count(n)} {words.many}"
    return f"{format_count(n)} outcomes of {format_quantity(n_entities, words.entity)}"


def list_clean_sources(data: ReportData) -> list[str]:
    """Of more than a few tables those of which there is nothing to tell but that all is well: they hide the others."""
    names = [name for name, source in data.sources.items() if source.is_clean]
    return names if len(data.sources) > _FEW_SOURCES and len(names) > 1 else []


def describe_entities(data: ReportData) -> str:
    """Of how many entities the scored rows are, where some have several."""
    batch = data.batch
    return "" if batch.n_entities == batch.n_rows else f" of {format_quantity(batch.n_entities, data.words.entity)}"


def format_interval(data: ReportData, name: str) -> str:
    """The 95 % interval of a candidate's metric; empty where there is none."""
    rows = data.metric_rows(name)
    if not len(rows) or pd.isna(rows["low"].iloc[0]):
        return ""
    return f"{rows['low'].iloc[0]:.3f} to {rows['high'].iloc[0]:.3f}"


def format_own_measures(data: ReportData, model: str) -> dict[str, str]:
    """The use case's own measures of a contender, as texts by name."""
    assert data.words.measured
    return measures.format_measures(data.metrics, data.words.measured, model)
