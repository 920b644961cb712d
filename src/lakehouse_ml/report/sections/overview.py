"""The top of the page: summary, tiles and next steps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import pandas as pd

from lakehouse_ml.report import cautions, measures
from lakehouse_ml.report.formatting import (
    capitalize,
    format_count,
    format_decimal,
    format_money,
    format_of_100,
    format_quantity,
    join_words,
)
from lakehouse_ml.report.page import Tile, Tone
from lakehouse_ml.report.phrases import (
    describe_action_list,
    describe_entities,
    describe_holdout,
    describe_scored_batch,
    describe_simulated_data,
    format_interval,
    format_own_measures,
    list_clean_sources,
    warn_of_perfect_scores,
)
from lakehouse_ml.report.sections import outcomes

if TYPE_CHECKING:
    from lakehouse_ml.report.data import ReportData

_DECISIONS: Mapping[str, tuple[str, Tone]] = {
    "approve": ("promoted", "good"),
    "refuse": ("refused", "bad"),
    "request": ("awaits approval", "neutral"),
}
_DRIFT_STATUS: Mapping[str, tuple[str, Tone]] = {
    "stable": ("none seen", "good"),
    "warn": ("a warning", "neutral"),
    "drift": ("an alarm", "bad"),
    "not_assessable": ("not assessable", "neutral"),
}


def write_summary(data: ReportData) -> Iterator[str]:
    """The page's first sentences."""
    words = data.words
    yield from filter(None, [describe_simulated_data(data)])
    if data.performance:
        yield outcomes.describe_performance(data.performance, words)
    quiet = list_clean_sources(data)
    for name, source in data.sources.items():
        if len(source.files) and name not in quiet:
            clean, quarantined = source.n_clean, source.n_quarantined
            n_lines = source.files["n_lines"].sum()
            yield (
                f"{format_count(n_lines)} rows of {name} were read from {format_quantity(len(source.files), 'file')}: "
                f"{format_count(clean)} are clean, {format_count(source.n_refused + quarantined)} were set aside."
            )
    if quiet:
        counts = join_words([f"{format_count(data.sources[name].n_clean)} of {name}" for name in quiet])
        yield f"All other rows that were read are clean: {counts}."
    precision, recall = (data.metric(name) for name in ("precision", "recall"))
    if recall is not None:
        correct = "it names none" if precision is None else f"of 100 that it names, {round(100 * precision)} are right"
        yield (
            f"The new model (version {data.version}) finds {format_of_100(recall)} {words.positives}; {correct}. "
            f"Measured on {describe_holdout(data)} that it never saw."
        )
    yield from filter(None, [warn_of_perfect_scores(data)])
    if words.metric_section:
        own = format_own_measures(data, "candidate")
        yield from filter(None, [measures.fill_sentence(words.metric_section.summary, own)])
    yield _describe_verdict(data)
    yield from filter(None, [_explain_unchanged_outcomes(data)])
    if data.batch.batch:
        yield f"{describe_scored_batch(data)} {describe_action_list(data)}"
    if data.drift_verdict:
        status, reason = data.drift_verdict["status"], data.drift_verdict["reason"]
        yield f"Change since training: {_DRIFT_STATUS[status][0]}." + (
            f" {reason}" if status == "not_assessable" else ""
        )


def _explain_unchanged_outcomes(data: ReportData) -> str | None:
    """Says where a run had nothing to learn from: judged before, and no outcome of a newer day is known."""
    judged_at, learned_until = data.verdict.get("judged_at"), data.card.unseen.get("learned_until")
    if data.labels is None or not len(data.labels) or judged_at is None or learned_until is None:
        return None
    if pd.Timestamp(judged_at) >= pd.Timestamp(data.made_at) or data.labels["day"].max() > learned_until:
        return None
    after = "no further outcome" if learned_until == data.assumed_day else f"no outcome of a day after {learned_until}"
    return f"There was nothing new to learn from: {after} is known."


def _describe_verdict(data: ReportData) -> str:
    sentences = {
        "approve": f"Version {data.verdict['version']} was promoted to champion.",
        "refuse": f"Version {data.verdict['version']} was refused"
        + (f"; version {data.standing.champion} stays champion." if data.standing.champion else "; nobody scores."),
        "request": f"Version {data.verdict['version']} may be promoted as soon as somebody approves.",
    }
    return f"{sentences[data.verdict['decision']]} {data.verdict['reason']}"


def build_tiles(data: ReportData) -> list[Tile]:
    """The figures at the top of the page."""
    clean = sum(source.n_clean for source in data.sources.values())
    quarantined = sum(source.n_quarantined for source in data.sources.values())
    refused = sum(source.n_refused for source in data.sources.values())
    decision, tone = _DECISIONS[data.verdict["decision"]]
    batch, n, *_ = data.batch
    real = [outcomes.build_performance_tile(data.performance)] if data.performance else []
    champion = f"version {data.standing.champion}" if data.standing.champion else "none"
    drift, drift_tone = _DRIFT_STATUS[data.drift_verdict["status"] if data.drift_verdict else "not_assessable"]
    return [
        *real,
        Tile("Clean rows", format_count(clean), f"{format_count(refused + quarantined)} set aside"),
        Tile("Candidate", f"version {data.version}", decision, tone),
        Tile("Champion", champion, "the one that scores", "neutral" if data.standing.champion else "bad"),
        Tile("F1 on unseen rows", format_decimal(data.metric("f1")), format_interval(data, "f1")),
        Tile("ROC-AUC on unseen rows", format_decimal(data.metric("roc_auc")), format_interval(data, "roc_auc")),
        _build_value_tile(data),
        Tile("Scored", format_count(n), _describe_scored(data) if batch else "no batch yet"),
        Tile("Drift", drift, f"batch {batch}" if batch else "no batch yet", drift_tone),
    ]


def _describe_scored(data: ReportData) -> str:
    batch_text = f"batch {data.batch.batch}, day unknown" if data.is_day_assumed else f"as of {data.batch.batch}"
    return f"{describe_entities(data)} {batch_text}".strip()


def _build_value_tile(data: ReportData) -> Tile:
    """What decisions are worth: in the use case's own words, where it measures that by itself."""
    words = data.words
    if words.metric_section:
        own = format_own_measures(data, "candidate")
        label, value, note = (measures.fill_sentence(text, own) or "" for text in words.metric_section.tile)
        return Tile(label, value, note)
    return Tile(f"Value per {words.row}", format_money(data.metric("expected_value")), "against doing nothing")


def list_steps(data: ReportData) -> Iterator[str]:
    """What to do next, urgent steps first."""
    words = data.words
    yield from _list_urgent_steps(data)
    yield from filter(None, [warn_of_perfect_scores(data)])
    if data.is_day_assumed:
        yield cautions.assumed_day_sentence(str(data.batch.batch))
    for name, source in data.sources.items():
        if source.n_refused:
            yield (
                f"{format_quantity(source.n_refused, 'line')} of {name} could not be read: see the examples below, "
                f"mend the file under its own name, and run again. All of them are in quarantine_lines_{name}."
            )
        for rule in source.rules[source.rules["outcome"] != "ok"].to_dict("records"):
            kept = "and were kept" if rule["outcome"] == "warned" else f"and are in quarantine_{name}"
            broken = format_quantity(rule["n_failed"], "row")
            yield f"{broken} of {name} break the rule {rule['rule']} {kept}: ask where they come from."
    if data.labels is not None:
        yield from outcomes.describe_label_problems(data.labels, words)
    if data.verdict["decision"] == "refuse":
        yield "The candidate was refused. More labelled rows or other features change that; running again does not."
    if data.verdict["decision"] == "request":
        yield f"Read the judgement below, and approve version {data.verdict['version']} or leave it."
    if len(data.actions):
        listed = format_quantity(len(data.actions), words.entity)
        yield f"{capitalize(words.action_list)}: {listed}, in {data.list_file}, best first."
    status = data.drift_verdict["status"] if data.drift_verdict else None
    if status == "drift":
        yield "The batch differs from what the champion learned from: look at its columns, and train on newer rows."
    if status == "warn":
        yield "Some columns begin to differ from training: watch them in the next batch."
    if not len(data.live):
        yield f"{words.next_outcomes}. Only that shows how good the scores were."


def _list_urgent_steps(data: ReportData) -> Iterator[str]:
    """What comes before everything else."""
    if data.performance:
        yield from filter(None, [outcomes.advise_on_performance(data.performance)])
    batch = data.batch.batch
    if batch and batch > f"{data.made_at:%Y-%m-%d}":
        yield (
            f"The batch {batch} lies in the future. If a file's name has a wrong date, correct the name and take out "
            f"what was made of it: kedro withdraw file <name>."
        )
