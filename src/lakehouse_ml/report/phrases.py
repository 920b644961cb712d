"""Sentences and parts of sentences that several sections share."""

from __future__ import annotations

from datetime import date, timedelta
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


def describe_scored_batch(data: ReportData) -> str:
    """How many rows were scored, as of which day, and how many reach the threshold."""
    words, batch = data.words, data.batch
    deadline = ""
    if data.horizon_days and not data.is_day_assumed:
        deadline = f", by {date.fromisoformat(str(batch.batch)) + timedelta(days=data.horizon_days)}"
    return (
        f"{format_quantity(batch.n_rows, words.row)}{describe_entities(data)} were scored {describe_batch_day(data)}; "
        f"{format_count(batch.n_positive)} of them reach the threshold of {batch.threshold:.2f} and are named as "
        f"{words.prediction}{deadline}."
    )


def describe_action_list(data: ReportData) -> str:
    """What the list of actions contains, where it is, and why it has this length."""
    words, batch, actions = data.words, data.batch, data.actions
    if not len(actions):
        return f"The {words.action_list} is empty: {words.action} is not expected to pay for any {words.entity}."
    content = (
        f"The {words.action_list}, {data.list_file}, names {format_quantity(len(actions), words.entity)}, best first; "
        f"it is worth {format_money(float(actions['expected_gain'].sum()))} in total."
    )
    if batch.n_paying <= len(actions):
        return f"{content} {capitalize(words.action)} is not expected to pay for any other {words.entity}."
    # Where an entity has several rows, their gains add up to more than acting once would bring.
    worth = f", worth {format_money(batch.gain)}" if batch.n_rows == batch.n_entities else ""
    return (
        f"{content} {capitalize(words.action)} is expected to pay for {format_count(batch.n_paying)} of the "
        f"{format_count(batch.n_entities)} ({format_share(batch.n_paying / batch.n_entities)}){worth}; the list ends "
        f"at {format_count(len(actions))}, `actions` in parameters.yml."
    )


def describe_holdout(data: ReportData) -> str:
    """The judged rows in words; where an entity has outcomes of several days, how many entities they are of."""
    words, n, entity = data.words, len(data.holdout), data.holdout.columns[0]
    n_entities = data.holdout[entity].nunique() if entity != "label" else n
    if data.horizon_days is None or n_entities == n:
        return format_quantity(n, words.row)
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
    assert data.words.metric_section
    return measures.format_measures(data.metrics, data.words.metric_section, model)
