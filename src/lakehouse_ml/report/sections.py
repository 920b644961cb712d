"""What a report says: tables of a lake in, sentences, pictures and tables for people out."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from lakehouse_ml.modelling.card import ModelCard, RegistryStatus
from lakehouse_ml.modelling.drift import STATUS_WORDS
from lakehouse_ml.modelling.metrics import TITLES, Economics
from lakehouse_ml.report import cautions, charts, measured, outcomes
from lakehouse_ml.report.page import Grid, Page, Picture, Section, Tile, Tone

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lakehouse_ml.use_cases.wording import Wording

    Floats = NDArray[np.float64]

_METRICS = {
    **{name: TITLES[name] for name in ("f1", "precision", "recall", "accuracy", "roc_auc", "average_precision")},
    "expected_value": "value per {one}",
}
_DECISIONS: Mapping[str, tuple[str, Tone]] = {
    "approve": ("promoted", "good"), "refuse": ("refused", "bad"), "request": ("awaits approval", "neutral")
}  # fmt: skip
_DRIFT: Mapping[str, tuple[str, Tone]] = {
    "stable": ("none seen", "good"), "warn": ("a warning", "neutral"), "drift": ("an alarm", "bad"),
    "not_assessable": ("not assessable", "neutral"),
}  # fmt: skip
_SHOWN_FEATURES = 15
_SHOWN_ACTIONS = 10
_SHOWN_FILES = 10
_FEW_SOURCES = 2
_SHOWN_BATCHES = 12
# Where the outcome is rarer than this, equal parts of the rows would hold nearly none of it.
_RARE = 0.05
_CALIBRATION_BINS = 10
_95_PERCENT = 1.959964
# Stands where nothing can be measured.
_DASH = "–"


@dataclass(frozen=True)
class Source:
    """One landing table: its files (manifest), refused lines (a few), columns and rules as data_quality found them."""

    files: pd.DataFrame
    refused: pd.DataFrame
    columns: pd.DataFrame
    rules: pd.DataFrame
    key: tuple[str, ...] = ()


class Scored(NamedTuple):
    """A batch.

    Attributes:
        batch: Its day; None without one.
        n_rows: Its rows.
        n_positive: Those whose decision is 1.
        n_entities: Its entities.
        n_paying: Entities for which acting is expected to pay.
        gain: What that is expected to bring, over all such rows.
        threshold: Of the model that scored.
    """

    batch: str | None
    n_rows: int
    n_positive: int
    n_entities: int
    n_paying: int = 0
    gain: float = 0.0
    threshold: float = float("nan")


@dataclass(frozen=True)
class Material:
    """Everything that a report is made of.

    Attributes:
        words: How the use case is spoken of.
        made_at: Time of the run, UTC.
        sources: Landing tables by name.
        meaning: What a feature column says, by its name.
        version: The candidate's.
        card: The candidate's.
        trials: One row per trial of the search.
        holdout: One row per held-out row: label and both contenders' probabilities.
        metrics: One row per contender, segment and metric.
        verdict: The newest verdict's row.
        standing: Who is champion.
        economics: What an offer costs and a kept customer is worth.
        batch: The batch that the report is about.
        actions: The list of actions of that batch, best first.
        drift: One row per column of the newest batch.
        drift_levels: PSI from which a column's change is a warning, and from which it is an alarm.
        drift_verdict: That batch's verdict; None without one.
        live: One row per batch and model version whose outcomes are known.
        horizon_days: An outcome of a day says what happened within so many days; None where that is no day's matter.
        list_file: Where the list of actions lies, below the lake.
        most_actions: How many it names at most.
        batches: One row per batch: n_rows, n_named.
        drift_verdicts: One row per batch.
        labels: How many outcomes are known, one row per day; None where they don't come later.
        performance: How outcomes compare with the hold-out; None where none is known.
        assumed_day: The day that conf gives to files whose names tell none; None where each day is known.
    """

    words: Wording
    made_at: datetime
    sources: Mapping[str, Source]
    meaning: Callable[[str], str]
    version: str
    card: ModelCard
    trials: pd.DataFrame
    holdout: pd.DataFrame
    metrics: pd.DataFrame
    verdict: Mapping[str, Any]
    standing: RegistryStatus
    economics: Economics
    batch: Scored
    actions: pd.DataFrame
    drift: pd.DataFrame
    drift_levels: tuple[float, float]
    drift_verdict: Mapping[str, Any] | None
    live: pd.DataFrame
    horizon_days: int | None = None
    list_file: str = "actions.csv"
    most_actions: int = 0
    batches: pd.DataFrame = field(default_factory=pd.DataFrame)
    drift_verdicts: pd.DataFrame = field(default_factory=pd.DataFrame)
    labels: pd.DataFrame | None = None
    performance: Mapping[str, Any] | None = None
    assumed_day: str | None = None


def page(given: Material) -> Page:
    """The whole report."""
    sections = [
        _data(given), _quality(given), _features(given), _trials(given), _judgement(given), *_further(given),
        _curves(given), _segments(given), _value(given), _scores(given), _drift(given), _outcomes(given),
        outcomes.trend(given.batches, given.drift_verdicts, given.live, given.words),
    ]  # fmt: skip
    return Page(
        title=f"{given.words.title}: data, model and scores",
        made_at=f"Made on {given.made_at:%d %B %Y, %H:%M} UTC",
        summary=list(_summary(given)),
        tiles=_tiles(given),
        steps=list(_steps(given)),
        sections=sections,
    )


# --- what is to be seen at once


def _summary(given: Material) -> Iterator[str]:
    words = given.words
    yield from filter(None, [_simulated(given)])
    if given.performance:
        yield outcomes.performance_sentence(given.performance, words)
    quiet = _quiet(given)
    for name, source in given.sources.items():
        if len(source.files) and name not in quiet:
            clean, quarantined = _counts(source)
            n_lines = source.files["n_lines"].sum()
            yield (
                f"{_n(n_lines)} rows of {name} were read from {_count(len(source.files), 'file')}: "
                f"{_n(clean)} are clean, {_n(_refused(source) + quarantined)} were set aside."
            )
    if quiet:
        told = _listed([f"{_n(_counts(given.sources[name])[0])} of {name}" for name in quiet])
        yield f"All other rows that were read are clean: {told}."
    precision, recall = (_metric(given, name) for name in ("precision", "recall"))
    if recall is not None:
        right = "it names none" if precision is None else (
            f"of those that it names, {_of_100(precision)} do {words.happens}"
        )  # fmt: skip
        yield (
            f"Of {words.all} {words.who} {words.happens}, the new model (version {given.version}) finds "
            f"{_of_100(recall)}; {right}. Measured on {_unseen_rows(given)} that it never saw."
        )
    yield from filter(None, [_perfect(given)])
    if words.measured:
        yield from filter(None, [measured.sentence(words.measured.summary, _known(given, "candidate"))])
    yield _verdict_sentence(given)
    yield from filter(None, [_nothing_new(given)])
    batch, n, positive, *_ = given.batch
    if batch and given.horizon_days:
        until = "" if _day_is_assumed(given) else f", by {outcomes.last_day(batch, given.horizon_days)}"
        yield (
            f"{_n(n)} {words.many} were scored {_as_of(given)}; {_n(positive)} of them reach the threshold of "
            f"{given.batch.threshold:.2f}, and so {words.named}{until}. {_whom(given)}"
        )
    elif batch:
        listed = words.listed.format(n=_n(len(given.actions)), entities=_count(len(given.actions), words.entity))
        yield (
            f"{_n(n)} {words.many}{_of_entities(given)} were scored {_as_of(given)}; {_n(positive)} of them reach the "
            f"threshold of {given.batch.threshold:.2f}, and so {words.named}. The list of actions names {listed}."
        )
    if given.drift_verdict:
        status, reason = given.drift_verdict["status"], given.drift_verdict["reason"]
        yield f"Change since training: {_DRIFT[status][0]}." + (f" {reason}" if status == "not_assessable" else "")


def _simulated(given: Material) -> str | None:
    return cautions.simulated_sentence({name: source.files for name, source in given.sources.items()})


def _perfect(given: Material) -> str | None:
    ranked = sorted(_importance(given).items(), key=lambda item: -item[1])
    return cautions.perfect_sentence(given.metrics, given.words, [name for name, _ in ranked])


def _importance(given: Material) -> dict[str, float]:
    """Mean effect of each feature; a target is what is asked, not what the answer is taken from."""
    return {name: value for name, value in given.card.importance.items() if name != given.card.target}


def _day_is_assumed(given: Material) -> bool:
    return given.batch.batch is not None and given.batch.batch == given.assumed_day


def _as_of(given: Material) -> str:
    """The batch's day, where it is known; else the batch's name."""
    return f"in batch {given.batch.batch}" if _day_is_assumed(given) else f"as of {given.batch.batch}"


def _whom(given: Material) -> str:
    """The one answer to whom to act on: the list, where it lies, and why it is as long as it is."""
    words, batch, listed = given.words, given.batch, given.actions
    if not len(listed):
        return f"The list of actions names nobody: for no {words.one} {words.action} is expected to pay."
    said = (
        f"The list of actions, {given.list_file}, names {words.listed.format(n=_n(len(listed)), entities='')}, best "
        f"first; it is worth {_money(float(listed['expected_gain'].sum()))} in total."
    )
    pays = f"{_a(words.action)} is expected to pay for {_n(batch.n_paying)} of the {_n(batch.n_entities)}"
    if batch.n_paying > len(listed):
        return (
            f"{said} {pays} ({_fine(batch.n_paying / batch.n_entities)}), worth {_money(batch.gain)}; the list ends at "
            f"{_n(len(listed))}, the `actions` in parameters.yml."
        )
    return f"{said} It names everybody for whom {words.action} is expected to pay."


def _nothing_new(given: Material) -> str | None:
    """Says where a run had nothing to learn from: judged before, and no outcome of a newer day is known."""
    judged, learned = given.verdict.get("judged_at"), given.card.unseen.get("learned_until")
    if given.labels is None or not len(given.labels) or judged is None or learned is None:
        return None
    if pd.Timestamp(judged) >= pd.Timestamp(given.made_at) or given.labels["day"].max() > learned:
        return None
    after = "no further outcome" if learned == given.assumed_day else f"no outcome of a day after {learned}"
    return f"There was nothing new to learn from: {after} is known."


def _unseen_rows(given: Material) -> str:
    """The judged rows in words; where an entity has outcomes of several days, how many entities they are of."""
    words, n, entity = given.words, len(given.holdout), given.holdout.columns[0]
    n_entities = given.holdout[entity].nunique() if entity != "label" else n
    if given.horizon_days is None or n_entities == n:
        return f"{_n(n)} {words.many}"
    return f"{_n(n)} outcomes of {_count(n_entities, words.entity)}"


def _verdict_sentence(given: Material) -> str:
    told = {
        "approve": f"Version {given.verdict['version']} was promoted to champion.",
        "refuse": f"Version {given.verdict['version']} was refused"
        + (f"; version {given.standing.champion} stays champion." if given.standing.champion else "; nobody scores."),
        "request": f"Version {given.verdict['version']} may be promoted as soon as somebody approves.",
    }
    return f"{told[given.verdict['decision']]} {given.verdict['reason']}"


def _tiles(given: Material) -> list[Tile]:
    clean, quarantined = (sum(_counts(s)[n] for s in given.sources.values()) for n in (0, 1))
    refused = sum(_refused(source) for source in given.sources.values())
    decision, tone = _DECISIONS[given.verdict["decision"]]
    batch, n, *_ = given.batch
    real = [outcomes.performance_tile(given.performance)] if given.performance else []
    champion = f"version {given.standing.champion}" if given.standing.champion else "none"
    drift, drift_tone = _DRIFT[given.drift_verdict["status"] if given.drift_verdict else "not_assessable"]
    return [
        *real,
        Tile("Clean rows", _n(clean), f"{_n(refused + quarantined)} set aside"),
        Tile("Candidate", f"version {given.version}", decision, tone),
        Tile("Champion", champion, "the one that scores", "neutral" if given.standing.champion else "bad"),
        Tile("F1 on unseen rows", _decimal(_metric(given, "f1")), _band(given, "f1")),
        Tile("ROC-AUC on unseen rows", _decimal(_metric(given, "roc_auc")), _band(given, "roc_auc")),
        _worth_tile(given),
        Tile("Scored", _n(n), _scored_note(given) if batch else "no batch yet"),
        Tile("Drift", drift, f"batch {batch}" if batch else "no batch yet", drift_tone),
    ]


def _scored_note(given: Material) -> str:
    known = f"batch {given.batch.batch}, day unknown" if _day_is_assumed(given) else f"as of {given.batch.batch}"
    return f"{_of_entities(given)} {known}".strip()


def _worth_tile(given: Material) -> Tile:
    """What decisions are worth: in the use case's own words, where it measures that by itself."""
    words = given.words
    if words.measured:
        known = _known(given, "candidate")
        label, value, note = (measured.sentence(text, known) or "" for text in words.measured.tile)
        return Tile(label, value, note)
    return Tile(f"Value per {words.one}", _money(_metric(given, "expected_value")), "against doing nothing")


def _quiet(given: Material) -> list[str]:
    """Of more than a few tables those of which there is nothing to tell but that all is well: they hide the others."""
    names = [
        name
        for name, source in given.sources.items()
        if len(source.files) and not _refused(source) and len(source.rules) and not source.rules["n_failed"].any()
    ]
    return names if len(given.sources) > _FEW_SOURCES and len(names) > 1 else []


def _of_entities(given: Material) -> str:
    """Of how many entities the scored rows are, where some have several."""
    batch = given.batch
    return "" if batch.n_entities == batch.n_rows else f" of {_count(batch.n_entities, given.words.entity)}"


def _known(given: Material, model: str) -> dict[str, str]:
    assert given.words.measured
    return measured.values(given.metrics, given.words.measured, model)


def _urgent_steps(given: Material) -> Iterator[str]:
    """What comes before everything else."""
    if given.performance:
        yield from filter(None, [outcomes.performance_step(given.performance)])
    batch = given.batch.batch
    if batch and batch > f"{given.made_at:%Y-%m-%d}":
        yield (
            f"The batch {batch} lies in the future. If a file's name has a wrong date, correct the name and take out "
            f"what was made of it: kedro withdraw file <name>."
        )


def _steps(given: Material) -> Iterator[str]:
    words = given.words
    yield from _urgent_steps(given)
    yield from filter(None, [_perfect(given)])
    if _day_is_assumed(given):
        yield cautions.assumed_day_sentence(str(given.batch.batch))
    for name, source in given.sources.items():
        if _refused(source):
            yield (
                f"{_count(_refused(source), 'line')} of {name} could not be read: see the examples below, mend the "
                f"file under its own name, and run again. All of them are in quarantine_lines_{name}."
            )
        for rule in source.rules[source.rules["outcome"] != "ok"].to_dict("records"):
            kept = "and were kept" if rule["outcome"] == "warned" else f"and are in quarantine_{name}"
            broken = _count(rule["n_failed"], "row")
            yield f"{broken} of {name} break the rule {rule['rule']} {kept}: ask where they come from."
    if given.labels is not None:
        yield from outcomes.label_sentences(given.labels, words)
    if given.verdict["decision"] == "refuse":
        yield "The candidate was refused. More labelled rows or other features change that; running again does not."
    if given.verdict["decision"] == "request":
        yield f"Read the judgement below, and approve version {given.verdict['version']} or leave it."
    if len(given.actions) and given.horizon_days:
        listed = words.listed.format(n=_n(len(given.actions)), entities="")
        yield f"{words.whom[0].upper()}{words.whom[1:]}: {listed}, in {given.list_file}, best first."
    elif len(given.actions):
        listed = _count(len(given.actions), words.entity)
        yield f"Hand on the list of actions, the CSV file beside the scores: {listed}, best first."
    status = given.drift_verdict["status"] if given.drift_verdict else None
    if status == "drift":
        yield "The batch differs from what the champion learned from: look at its columns, and train on newer rows."
    if status == "warn":
        yield "Some columns begin to differ from training: watch them in the next batch."
    if not len(given.live):
        yield f"{words.later}: only that tells how good the scores were."


# --- one function a section


def _data(given: Material) -> Section:
    grids = [_file_grid(name, source.files) for name, source in given.sources.items() if len(source.files)]
    grids += [
        Grid(
            f"Lines of {name} that could not be read: examples",
            ("file", "line", "text", "what is wrong"),
            [
                (r.source_file, _n(r.line_number), _short(r.line_text), _problems(r.problems))
                for r in s.refused.itertuples()
            ],
            frozenset({1}),
        )
        for name, s in given.sources.items()
        if len(s.refused)
    ]
    empty = [name for name, source in given.sources.items() if not len(source.files)]
    said = [
        "Every row keeps its file, the file's fingerprint and its line, so that each score leads back to its source."
    ]
    said += filter(None, [_simulated(given)])
    said += [f"No file of {name} has arrived so far." for name in empty]
    said += [
        f"Of the {_n(len(source.files))} files of {name}, {_SHOWN_FILES} are shown: those with refused lines first, "
        f"then the newest. All are in manifest_{name}."
        for name, source in given.sources.items()
        if len(source.files) > _SHOWN_FILES
    ]
    return Section("data", "Which data", said, (), grids)


def _file_grid(name: str, files: pd.DataFrame) -> Grid:
    """All files of a table; of many the newest, and those with refused lines before them."""
    caption, shown = f"Files of {name}", files
    if len(files) > _SHOWN_FILES:
        shown = files.sort_values(["ingested_at", "source_file"], ascending=False)
        shown = shown.sort_values("n_quarantined", ascending=False, key=lambda n: n > 0, kind="stable").head(
            _SHOWN_FILES
        )
        caption += f": {len(shown)} of {_n(len(files))}"
    rows = [
        (f.source_file, _n(f.n_lines), _n(f.n_quarantined), f"{f.ingested_at:%Y-%m-%d %H:%M}", f.file_sha256[:12])
        for f in shown.itertuples()
    ]
    return Grid(caption, ("file", "rows", "refused at parsing", "read (UTC)", "fingerprint"), rows, frozenset({1, 2}))


def _quality(given: Material) -> Section:
    grids: list[Grid] = []
    said: list[str] = []
    for name, source in given.sources.items():
        rules = source.rules
        if not len(rules) or not int(rules["n_rows"].iloc[0]):
            continue
        clean, quarantined = _counts(source)
        quiet = name in _quiet(given)
        broken = int((rules["outcome"] != "ok").sum())
        told = f"{name}: {_n(clean)} of {_n(clean + quarantined)} rows are clean. " + (
            f"{broken} of {len(rules)} rules set rows aside or were broken by more rows than they tolerate."
            if broken
            else f"None of {len(rules)} rules is broken by more rows than it tolerates."
        )
        said += [] if quiet else [told]
        grids.append(
            Grid(
                f"Rules for {name}",
                ("rule", "rows that break it", "share", "what happened", "in a good row"),
                [(r.rule, _n(r.n_failed), _small(r.failed_share), r.outcome, r.predicate) for r in rules.itertuples()],
                frozenset({1, 2}),
                folded=quiet,
            )
        )
        grids += list(_examples(name, rules, source.key))
        grids.append(_column_grid(name, source.columns))
    if calm := _quiet(given):
        n = sum(_counts(given.sources[name])[0] for name in calm)
        said.append(f"{_listed(calm)}: all {_n(n)} rows are clean, and no rule is broken.")
    return Section("quality", "How good the data is", said, (), grids)


def _examples(name: str, rules: pd.DataFrame, key: Sequence[str]) -> Iterator[Grid]:
    for rule in rules.itertuples():
        examples = json.loads(rule.examples)
        if not examples:
            continue
        asked = [column for column in examples[0] if re.search(rf"\b{re.escape(column)}\b", rule.predicate)]
        first = next(iter(examples[0]))
        # A rule that names no column is about the key.
        shown = list(dict.fromkeys([first, *(asked or key)]))
        yield Grid(
            f"{name}: examples of rows that break {rule.rule}",
            ("file", "line", *shown),
            [
                (str(e["source_file"]), _n(e["line_number"]), *(_short(_blank(e.get(column))) for column in shown))
                for e in examples
            ],
            frozenset({1}),
        )


def _column_grid(name: str, columns: pd.DataFrame) -> Grid:
    rows = []
    for c in columns.itertuples():
        tops = ", ".join(f"{_blank(value)} ({_n(n)})" for value, n in json.loads(c.top_values))
        spread = "" if pd.isna(c.min) else f"{c.min:g} to {c.max:g}, half below {c.p50:g}, mean {c.mean:.4g}"
        rows.append((c.column, c.type, f"{c.null_share:.1%}", _n(c.n_distinct), spread or _short(tops)))
    heads = ("column", "type", "missing", "distinct (about)", "values")
    return Grid(f"What the columns of {name} hold", heads, rows, frozenset({2, 3}), folded=True)


def _features(given: Material) -> Section:
    ranked = sorted(_importance(given).items(), key=lambda item: -item[1])
    top = ranked[:_SHOWN_FEATURES]
    names, values = [name for name, _ in top], [value for _, value in top]
    picture = Picture(
        charts.ranked_bars(names, values, "mean change of the probability"),
        f"Bars: the features that move the probability most are {', '.join(names[:5])}.",
        "How far a feature's value moves the probability, on average, against a typical value of it.",
    )
    rows = [(name, f"{value:.4f}", given.meaning(name)) for name, value in ranked]
    return Section(
        "features",
        "What the model looks at",
        [
            "A feature that is far up matters to the model; that doesn't make it a cause. Features that tell the same "
            "share their weight."
        ],
        [picture],
        [
            Grid(
                "All features and what they mean",
                ("feature", "mean change", "meaning"),
                rows,
                frozenset({1}),
                folded=True,
            )
        ],
    )


def _trials(given: Material) -> Section:
    rows = [
        (
            f"{t.trial}", "chosen" if t.chosen else "", t.estimator.replace("_", " "), f"{t.f1:.3f}",
            f"{t.roc_auc:.3f}", f"{t.average_precision:.3f}", f"{t.threshold:.2f}", f"{t.fit_seconds:.1f}",
            _params(t.params),
        )
        for t in given.trials.itertuples()
    ]  # fmt: skip
    heads = (
        "trial",
        "chosen",
        "kind of model",
        "F1",
        "ROC-AUC",
        "average precision",
        "threshold",
        "seconds",
        "settings",
    )
    return Section(
        "trials",
        "What was tried",
        [
            "Each trial was fitted on parts of the training rows and measured on the part that it had not seen. The "
            "highest F1 was chosen; differences in the third digit are chance."
        ],
        (),
        [Grid("Trials of the search", heads, rows, frozenset({0, 3, 4, 5, 6, 7}))],
    )


def _judgement(given: Material) -> Section:
    everybody = given.metrics[given.metrics["segment"] == "all"]
    contested = bool((everybody["model"] == "incumbent").any())
    rows = []
    for name, title in _METRICS.items():
        mine = _metric(given, name)
        if name in set(everybody["metric"]):
            theirs = [_decimal(_metric(given, name, "incumbent"))] if contested else []
            shown = title.format(one=given.words.one)
            rows.append((shown, _decimal(mine), _band(given, name) or _DASH, *theirs))
    heads = ("on unseen rows", f"version {given.version}", "95 % interval")
    versus = (f"version {given.verdict['incumbent_version']}, champion before",) if contested else ()
    said = [given.verdict["reason"], _smallest(given), *filter(None, [given.words.rows])]
    unseen = "neither of the two" if contested else "the model never"
    grids = [
        Grid(f"Measured on {_unseen_rows(given)} that {unseen} saw", (*heads, *versus), rows, frozenset({1, 2, 3}))
    ]
    if len(given.holdout):
        grids.append(_confusion(given))
    return Section("judgement", "The judgement", said, (), grids)


def _further(given: Material) -> Iterator[Section]:
    """What the use case measures besides, in its own words; no section, where it measures nothing."""
    told = given.words.measured
    if told is None:
        return
    mine, theirs = _known(given, "candidate"), _known(given, "incumbent")
    names = [row.name for row in told.rows]
    contested = any(name in theirs for name in names)
    if not any(name in mine for name in names):
        return
    rows = [
        (row.says, mine.get(row.name, "unknown"),
         *([theirs.get(row.name, "unknown")] if contested else []))
        for row in told.rows
    ]  # fmt: skip
    versus = (f"version {given.verdict['incumbent_version']}, champion before",) if contested else ()
    said = list(filter(None, (measured.sentence(text, mine) for text in (*told.sentences, told.summary))))
    grid = Grid("Measured on the same unseen rows", ("", f"version {given.version}", *versus), rows, frozenset({1, 2}))
    yield Section("further", told.title, said, (), [grid])


def _smallest(given: Material) -> str:
    detectable = given.verdict.get("detectable")
    if detectable is None or pd.isna(detectable):
        return (
            f"There was nobody to compare with. A later candidate will be compared on rows like these "
            f"{_n(len(given.holdout))}."
        )
    return (
        f"The smallest gain in average precision that this comparison could have seen is about {detectable:.3f}: a "
        f"smaller one may be there and not show on {_n(len(given.holdout))} rows."
    )


def _confusion(given: Material) -> Grid:
    words, label = given.words, given.holdout["label"].to_numpy()
    named = given.holdout["candidate_probability"].to_numpy() >= given.card.threshold
    cell = {
        (truth, said): int(((label == truth) & (named == said)).sum()) for truth in (0, 1) for said in (False, True)
    }
    return Grid(
        f"Right and wrong at the threshold of {given.card.threshold:.2f}",
        ("", f"named: will {words.happens}", "not named"),
        [
            (f"did {words.happens}", f"{_n(cell[1, True])} found", f"{_n(cell[1, False])} missed"),
            (
                f"did not {words.happens}",
                f"{_n(cell[0, True])} false alarms",
                f"{_n(cell[0, False])} rightly left alone",
            ),
        ],
        frozenset({1, 2}),
    )


def _curves(given: Material) -> Section:
    label = given.holdout["label"].to_numpy(dtype=float)
    if not 0 < label.sum() < len(label):
        return Section("curves", "How well it tells them apart", ["Without both outcomes there is nothing to draw."])
    words, sides = given.words, list(_sides(given))
    share = label.mean()
    part, riskiest = (0.2, "fifth") if share >= _RARE else (0.01, "hundredth")
    near = _near(label)
    held = f"{_found_in(label, sides[0][1], part):.0%}"
    pictures = [
        Picture(
            charts.curves({name: roc(label, p) for name, p in sides}, "false alarms, share of the others",
                          f"found, share of those {words.who} {words.happens}", diagonal=True),
            f"ROC curve: the area below it is {_decimal(_metric(given, 'roc_auc'))}; guessing reaches 0.5.",
            "ROC: how many are found for how many false alarms. The further up on the left, the better.",
        ),
        Picture(
            charts.curves({name: precision_recall(label, p) for name, p in sides},
                          f"found, share of those {words.who} {words.happens} (recall)",
                          "right, share of those named (precision)"),
            f"Precision-recall curve: average precision {_decimal(_metric(given, 'average_precision'))}; naming "
            f"{words.everybody} would be right for {_fine(share)}.",
            "Precision and recall: who wants to find more, is wrong more often.",
        ),
        Picture(
            charts.calibration({name: _calibrated(label, p) for name, p in sides}, "promised probability",
                               f"share {words.who} did {words.happens}"),
            f"Calibration: {_calibration_told(label, sides[0][1])}",
            "Calibration: of those promised 30 %, do 30 % come true? On the dotted line, yes. Bars are 95 % intervals.",
        ),
        Picture(
            charts.curves(_by_threshold(label, sides[0][1]), "threshold", "value", mark=given.card.threshold),
            f"Precision, recall and F1 by threshold; the model's is {given.card.threshold:.2f}.",
            "The threshold: what happens if fewer or more are named. It was chosen on training rows.",
        ),
        Picture(
            charts.curves({name: _gain(label, p) for name, p in sides},
                          f"share of {words.many} looked at, riskiest first",
                          f"found, share of those {words.who} {words.happens}", diagonal=True, x_to=near),
            f"Gain curve: the riskiest {riskiest} holds {held} of all {words.who} {words.happens}.",
            f"Gain: the riskiest {riskiest} of all {words.many} holds {held} of those {words.who} "
            f"{words.happens}.",
        ),
        Picture(
            charts.two_histograms({f"did {words.happens}": sides[0][1][label == 1],
                                   f"did not {words.happens}": sides[0][1][label == 0]},
                                  given.card.threshold, "probability"),
            f"Histograms of the probability for those {words.who} did {words.happens} and those {words.who} did not.",
            "How far the two groups lie apart. Where they overlap, no threshold is right for all.",
        ),
    ]  # fmt: skip
    told = words.share.format(share=f"{share:.1%}")
    said = [f"On {_unseen_rows(given)} that took no part in training; {told}."]
    return Section("curves", "How well it tells them apart", said, pictures)


def _segments(given: Material) -> Section:
    groups = given.metrics["segment"].str.contains("=", regex=False)
    own = given.metrics[(given.metrics["model"] == "candidate") & groups.astype(bool)]
    rows = []
    for segment in own["segment"].unique():
        part = own[own["segment"] == segment]
        values = dict(zip(part["metric"], part["value"], strict=True))
        n, positives = int(part["n_rows"].iloc[0]), int(part["n_positives"].iloc[0])
        rows.append((
            segment.replace("=", ": "), _n(n), f"{positives / n:.1%}",
            *(_decimal(values.get(name)) for name in ("precision", "recall", "f1", "roc_auc")),
            _money(values.get("expected_value")),
        ))  # fmt: skip
    heads = (
        "segment",
        "rows",
        f"{given.words.who} {given.words.happened}",
        "precision",
        "recall",
        "F1",
        "ROC-AUC",
        f"value per {given.words.one}",
    )
    said = [
        "The same model, group by group. A group in which few or nearly all had the outcome has a low or high F1 by "
        "itself; ROC-AUC is easier to compare. No intervals are given: with many groups, some always stand out."
    ]
    return Section("segments", "Group by group", said, (), [Grid("Segments", heads, rows, frozenset(range(1, 8)))])


def _value(given: Material) -> Section:
    money, words = given.economics, given.words
    said = [
        words.economics.format(
            cost=_money(money.action_cost), share=_share(money.success_share), value=_money(money.averted_value)
        )
        + "; all in the currency of the data. These three numbers are assumptions, under `economics` in "
        "parameters.yml: others give another list."
    ]
    said += filter(None, [words.worth])
    label = given.holdout["label"].to_numpy(dtype=float)
    if not len(label):
        return Section("value", "What it is worth", said)
    probability = given.holdout["candidate_probability"].to_numpy()
    shares, values = _value_curve(label, probability, money)
    best = int(np.argmax(values))
    said.append(
        f"On the unseen rows, {words.action} for {words.everybody} named by the threshold is worth "
        f"{_money(_metric(given, 'expected_value'))} per {words.one}; most is reached with the riskiest "
        f"{_fine(shares[best])}, {_money(values[best])}; {words.action} for {words.everybody} would bring "
        f"{_money(values[-1])}."
    )
    near = _near(label)
    picture = Picture(
        charts.curves({f"version {given.version}": (shares, values)}, f"share of {words.many} with {words.action}",
                      f"value per {words.one}", unit_y=False, x_to=near),
        f"Expected value by share of {words.many}: highest, {_money(values[best])}, at {_fine(shares[best])}.",
        f"Value per {words.one}, if so many get {words.action}, the riskiest first."
        + (f" Only the riskiest {near:.0%} are drawn." if near < 1 else ""),
    )  # fmt: skip
    return Section("value", "What it is worth", said, [picture])


def _scores(given: Material) -> Section:
    batch, n, positive, *_ = given.batch
    if not batch:
        nobody = "Nobody was there to score as of the batch's day."
        why = nobody if given.standing.champion else "Nothing is scored yet: there is no champion."
        return Section("scores", "The scores", [why])
    said = [
        f"{_n(n)} {given.words.many}{_of_entities(given)} were scored {_as_of(given)}. {_n(positive)} reach the "
        f"threshold. Each score names what moved it most."
    ]
    if given.horizon_days:
        until = "" if _day_is_assumed(given) else (
            f", for what happens by {outcomes.last_day(batch, given.horizon_days)}"
        )  # fmt: skip
        said = [
            f"{_n(n)} {given.words.many} were scored {_as_of(given)}{until}. {_n(positive)} reach the threshold. Each "
            f"score names what moved it most.",
            f"{_whom(given)} The threshold plays no part in that: it says who is likely to {given.words.happens}, the "
            f"list who is worth acting on.",
        ]
    heads = given.words.heads
    rows = [
        (
            f"{a.rank}",
            *(_cell(value) for value in a[1 : 1 + len(heads)]),
            f"{a.probability:.2f}",
            _money(a.expected_gain),
            str(_blank(a.main_reason)),
            a.model_version,
        )
        for a in given.actions.head(_SHOWN_ACTIONS).itertuples()
    ]
    columns = ("rank", *heads, "probability", "expected gain", "strongest reason", "model version")
    numeric = frozenset({0, len(heads) + 1, len(heads) + 2})
    grids = [Grid("The top of the list of actions", columns, rows, numeric)] if rows else []
    return Section("scores", "The scores", said, (), grids)


def _drift(given: Material) -> Section:
    if given.drift_verdict is None or not len(given.drift):
        return Section("drift", "Change since training", ["No batch was scored yet, so nothing can have changed."])
    rows = [
        (d.column, _decimal(d.psi), _p(d.p_adjusted), STATUS_WORDS[d.status], d.reason)
        for d in given.drift.itertuples()
    ]
    heads = ("column", "PSI", "adjusted p", "status", "why")
    return Section(
        "drift",
        "Change since training",
        [given.drift_verdict["reason"], _compared_with(given)],
        list(_drift_drawn(given)),
        [Grid("Every column of the batch", heads, rows, frozenset({1, 2}), folded=True)],
    )


def _compared_with(given: Material) -> str:
    """What a batch is compared with."""
    if given.horizon_days is None:
        return "A batch is compared with the training rows of the champion."
    words = given.words
    return (
        f"A batch is compared with the champion's training rows of those {words.all} {words.who} were still there, for "
        f"no batch holds the others."
    )


def _drift_drawn(given: Material) -> Iterator[Picture]:
    """The columns that changed most; nothing where no column could be tested."""
    changed = given.drift[given.drift["psi"].notna()].sort_values("psi", ascending=False)
    top = changed.head(_SHOWN_FEATURES)
    if not len(top):
        return
    clock = (top["status"] == "clock").tolist()
    levels = dict(zip(("warning", "alarm"), given.drift_levels, strict=True))
    yield Picture(
        charts.levels(top["column"].tolist(), top["psi"].tolist(), levels, "population stability index (PSI)", clock),
        f"Bars: the largest change is that of {top['column'].iloc[0]}, PSI {top['psi'].iloc[0]:.3f}.",
        f"How far a column's distribution lies from training. Below {given.drift_levels[0]:g} is usual; an alarm also "
        f"needs more than chance."
        + (" Grey bars change with time by themselves and never alarm." if any(clock) else ""),
    )


def _outcomes(given: Material) -> Section:
    words = given.words
    grids = (
        []
        if given.labels is None or not len(given.labels)
        else [outcomes.label_grid(given.labels, words, given.assumed_day)]
    )
    if not len(given.live):
        unknown = f"It isn't known yet which of the scored {words.all} {words.happened}."
        return Section("outcomes", "Scores and real outcomes", [unknown], (), grids)
    live = given.live.sort_values("batch", kind="stable")
    heads = (
        "batch",
        "model version",
        "known outcomes",
        f"{words.who} {words.happened}",
        *(_METRICS[name] for name in _LIVE),
    )
    rows = [
        (r.batch, r.model_version, _n(r.n_rows), _n(r.n_positives), *(_decimal(float(getattr(r, m))) for m in _LIVE))
        for r in live.itertuples()
    ]
    said = [outcomes.performance_sentence(given.performance, words)] if given.performance else []
    said += ["Scores beside what happened later. Few outcomes, or outcomes of a choice of rows only, tell little."]
    numeric = frozenset(range(2, 8))
    if len(rows) <= _SHOWN_BATCHES:
        grids = [Grid("Live metrics", heads, rows, numeric), *grids]
    else:
        grids = [
            Grid(
                f"Live metrics: the newest {_SHOWN_BATCHES} of {_n(len(rows))}", heads, rows[-_SHOWN_BATCHES:], numeric
            ),
            Grid("Live metrics of the batches before", heads, rows[:-_SHOWN_BATCHES], numeric, folded=True),
            *grids,
        ]
    return Section("outcomes", "Scores and real outcomes", said, list(_over_time(live)), grids)


def _over_time(live: pd.DataFrame) -> Iterator[Picture]:
    """Precision, recall and F1 by batch, from two batches on."""
    if live["batch"].nunique() < 2:
        return
    parts = {
        str(version): (
            [date.fromisoformat(batch) for batch in part["batch"]],
            {_METRICS[name]: part[name].to_numpy(dtype=float) for name in _DRAWN},
        )
        for version, part in live.groupby("model_version", sort=False)
    }
    told = "; ".join(
        f"{_METRICS[name]} from {_decimal(known.min())} to {_decimal(known.max())}"
        for name in _DRAWN
        if len(known := live[name].dropna())
    )
    versions = list(parts)
    by = f"All scored by version {versions[0]}." if len(versions) == 1 else (
        f"Scored by versions {', '.join(versions[:-1])} and {versions[-1]}: each has its own lines and marks."
    )  # fmt: skip
    yield Picture(
        charts.over_time(parts, "batch"),
        f"Lines over {_n(live['batch'].nunique())} batches, {live['batch'].min()} to {live['batch'].max()}"
        f"{': ' + told if told else ''}.",
        f"Batch by batch. A gap is a day without known outcomes, or one on which a measure has no meaning: none of "
        f"them where nothing happened, no precision where nothing was named. {by}",
    )


_DRAWN = ("precision", "recall", "f1")
_LIVE = (*_DRAWN, "roc_auc")


# --- curves of labels (1 or 0) and probabilities, each as x and y


def _sides(given: Material) -> Iterator[tuple[str, Floats]]:
    yield f"version {given.version}", given.holdout["candidate_probability"].to_numpy(dtype=float)
    theirs = given.holdout["incumbent_probability"].to_numpy(dtype=float)
    if len(theirs) and not np.isnan(theirs).any():
        yield f"version {given.verdict['incumbent_version']} (before)", theirs


def roc(label: Floats, probability: Floats) -> tuple[Floats, Floats]:
    """Share of false alarms and share found, at every threshold."""
    from sklearn.metrics import roc_curve

    false, true, _ = roc_curve(label, probability)
    return false, true


def precision_recall(label: Floats, probability: Floats) -> tuple[Floats, Floats]:
    """Share found and share right among those named, at every threshold."""
    from sklearn.metrics import precision_recall_curve

    precision, recall, _ = precision_recall_curve(label, probability)
    return recall[::-1], precision[::-1]


def _evened(label: Floats, probability: Floats) -> Floats:
    """Labels, of rows with the same probability their mean: which of these comes first would be chance."""
    _, group, n = np.unique(probability, return_inverse=True, return_counts=True)
    return (np.bincount(group, weights=label) / n)[group]


def _calibrated(label: Floats, probability: Floats) -> tuple[Floats, Floats, Floats, Floats]:
    """Mean promise and observed share per tenth of the rows, with Wilson's interval (1927) of the share.

    Where outcomes are rare, per tenth of the probability: nine tenths of the rows would be promised nearly nothing.
    """
    order, label = np.argsort(probability, kind="stable"), _evened(label, probability)
    if label.mean() < _RARE:
        cuts = np.searchsorted(probability[order], np.arange(1, _CALIBRATION_BINS) / _CALIBRATION_BINS)
    else:
        cuts = None
    parts = np.array_split(order, min(_CALIBRATION_BINS, len(order))) if cuts is None else np.split(order, cuts)
    parts = [part for part in parts if len(part)]
    promised = np.array([probability[part].mean() for part in parts])
    share = np.array([label[part].mean() for part in parts])
    n = np.array([len(part) for part in parts], dtype=float)
    z = _95_PERCENT
    middle = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2)) / (1 + z**2 / n)
    return promised, share, np.clip(middle - half, 0, 1), np.clip(middle + half, 0, 1)


def _calibration_told(label: Floats, probability: Floats) -> str:
    promised, share, low, high = _calibrated(label, probability)
    kept = int(((promised >= low) & (promised <= high)).sum())
    return (
        f"in {kept} of {len(promised)} groups the promised probability lies within the interval of what came; the "
        f"widest gap is {np.abs(promised - share).max():.2f}."
    )


def _by_threshold(label: Floats, probability: Floats) -> dict[str, tuple[Floats, Floats]]:
    cuts = np.linspace(0.01, 0.99, 99)
    named = np.array([(probability >= cut).sum() for cut in cuts], dtype=float)
    found = np.array([label[probability >= cut].sum() for cut in cuts])
    precision = np.divide(found, named, out=np.full_like(found, np.nan), where=named > 0)
    f1 = 2 * found / (named + label.sum())
    return {"F1": (cuts, f1), "precision": (cuts, precision), "recall": (cuts, found / label.sum())}


def _gain(label: Floats, probability: Floats) -> tuple[Floats, Floats]:
    order, label = np.argsort(-probability, kind="stable"), _evened(label, probability)
    found = np.concatenate([[0.0], np.cumsum(label[order])]) / label.sum()
    return np.linspace(0, 1, len(found)), found


def _near(label: Floats) -> float:
    """How much of the rows, riskiest first, is drawn: of a rare outcome the rest would press all into a corner."""
    return 1.0 if label.mean() >= _RARE else _RARE


def _found_in(label: Floats, probability: Floats, share: float) -> float:
    xs, ys = _gain(label, probability)
    return float(np.interp(share, xs, ys))


def _value_curve(label: Floats, probability: Floats, money: Economics) -> tuple[Floats, Floats]:
    """Value per row if the riskiest first k rows get an action, by k / n."""
    order, label = np.argsort(-probability, kind="stable"), _evened(label, probability)
    n = len(label)
    kept = np.concatenate([[0.0], np.cumsum(label[order])]) * money.success_share * money.averted_value
    return np.linspace(0, 1, n + 1), (kept - money.action_cost * np.arange(n + 1)) / n


# --- words


def _counts(source: Source) -> tuple[int, int]:
    if not len(source.rules):
        return 0, 0
    return int(source.rules["n_clean"].iloc[0]), int(source.rules["n_quarantined"].iloc[0])


def _refused(source: Source) -> int:
    return int(source.files["n_quarantined"].sum()) if len(source.files) else 0


def _metric(given: Material, name: str, model: str = "candidate") -> float | None:
    rows = given.metrics
    found = rows[(rows["model"] == model) & (rows["segment"] == "all") & (rows["metric"] == name)]
    return float(found["value"].iloc[0]) if found["value"].notna().any() else None


def _band(given: Material, name: str) -> str:
    rows = given.metrics
    found = rows[(rows["model"] == "candidate") & (rows["segment"] == "all") & (rows["metric"] == name)]
    if not len(found) or pd.isna(found["low"].iloc[0]):
        return ""
    return f"{found['low'].iloc[0]:.3f} to {found['high'].iloc[0]:.3f}"


def _n(number: Any) -> str:
    return f"{int(number):,}"


def _count(number: Any, noun: str) -> str:
    return f"{_n(number)} {noun}{'' if int(number) == 1 else 's'}"


def _listed(texts: Sequence[str]) -> str:
    return " and ".join([", ".join(texts[:-1]), texts[-1]] if len(texts) > 1 else texts)


def _decimal(number: float | None) -> str:
    return _DASH if number is None or pd.isna(number) else f"{number:.3f}"


def _money(number: float | None) -> str:
    return _DASH if number is None or pd.isna(number) else f"{number:,.2f}"


def _share(number: float) -> str:
    return f"{number:.0%}"


def _of_100(share: float) -> str:
    return f"{round(100 * share)} of 100"


def _small(share: float) -> str:
    """A share whose rounding must not turn some rows into none."""
    return "< 0.1%" if 0 < share < 0.0005 else f"{share:.1%}"


def _fine(share: float) -> str:
    """A share in whole percents; a small one in tenths, so that it isn't nothing."""
    return f"{share:.0%}" if share >= _RARE or share == 0 else f"{share:.1%}"


def _cell(value: Any) -> str:
    return f"{value:%Y-%m-%d %H:%M}" if isinstance(value, datetime) else _blank(value)


def _p(number: float) -> str:
    return _DASH if pd.isna(number) else "< 0.001" if number < 0.001 else f"{number:.3f}"


def _a(action: str) -> str:
    return action[0].upper() + action[1:]


def _blank(value: Any) -> str:
    return "(missing)" if pd.isna(value) else str(value)


def _short(text: Any, most: int = 120) -> str:
    told = _blank(text)
    return told if len(told) <= most else f"{told[:most]}…"


def _problems(problems: Sequence[Mapping[str, Any]]) -> str:
    told = (f"{p['column']}: {p['reason']}" if p["column"] else str(p["reason"]) for p in problems)
    return _short("; ".join(told))


def _params(text: str) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in json.loads(text).items())
