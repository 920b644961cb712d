"""Nodes of batch scoring: choose the rows of a batch, score them in the engine, rank the actions."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from lakehouse_ml.errors import LakehouseError, RegistryError
from lakehouse_ml.modelling.batch import ScoringSpec, choose_batch, find_newest_scored, make_edition
from lakehouse_ml.modelling.card import ModelCard, RegistryStatus
from lakehouse_ml.modelling.economics import Economics, expected_gain
from lakehouse_ml.modelling.estimators.base import ScoreFormatter, estimator_backend, select_predictors
from lakehouse_ml.modelling.label_dimension import PROBABILITY_PREFIX
from lakehouse_ml.modelling.model import Model
from lakehouse_ml.modelling.population import KNOWN_AT, LEARNED_UNTIL, PopulationSpec, find_population, list_days
from lakehouse_ml.storage.writes import Edition, ReplaceBatch, collect
from lakehouse_ml.use_cases.columns import ACTION, SCORE

if TYPE_CHECKING:
    import pyarrow as pa

log = logging.getLogger(__name__)

_MAX_DAYS_LISTED = 12
_NO_FEATURES = "There are no rows to score: the feature table is empty. Land data and run again."
_REASON = ["feature", "value", "effect"]
_REASONS = "array<struct<feature:string,value:string,effect:double>>"


def score_rows(
    features: DataFrame,
    labels: DataFrame,
    status: RegistryStatus,
    champion: Model | None,
    spec: ScoringSpec,
    clock: datetime,
    population: PopulationSpec | None,
    key: Sequence[str],
    *,
    label_dimension: str | None = None,
) -> Iterator[ReplaceBatch]:
    """Score a batch, or each day of a range as a batch of its own.

    If rows are states of entities over time, a batch is the population of a day; otherwise it is all rows of the day.
    A stored batch whose outcomes are known by now stays unchanged unless conf names it: only scores that were made in
    time can be measured against outcomes.

    Args:
        features: One row per key.
        labels: Known outcomes, with `known_at` where there is a population.
        status: Champion and newest verdict; as an input, it lets a promotion in the same run come first.
        champion: The champion's version, loaded.
        spec: Days and number of reasons.
        clock: Time of the run, UTC.
        population: What a file of a day means, if rows are states of entities over time; otherwise None.
        key: Entity and time.
        label_dimension: Column of the labels that says what each is about, where a row has several.

    Yields:
        Key and `SCORE`, which replace this batch's earlier rows. With a label dimension, its likeliest value comes
        before `SCORE` and the probability of each value after it; with a population, the newest day that the champion
        learned from is the last column. No rows while the first champion awaits approval.

    Raises:
        RegistryError: No champion, and none awaits approval; or the champion needs columns that are missing.
        LakehouseError: Nothing to score: no features at all, or none on that day or within the range.
    """
    if champion is None:
        if status.awaits_approval:
            yield ReplaceBatch(
                _empty_scores(features, labels, key, label_dimension, states=population is not None), "batch", ()
            )
            return
        raise RegistryError(
            f"There is no champion to score with: {status.reason or 'no candidate was judged yet'} "
            f"Look at the metrics, change data or conf, and run training and evaluation again."
        )
    champion.check_columns(features.columns)
    if population:
        is_named = spec.batch is not None or spec.from_day is not None
        days = _choose_snapshots(features, spec, key[1])
        for number, day in enumerate(days, 1):
            rows = find_population(features, labels, day, population, key)
            has_later_outcomes = _has_later_outcomes(labels, day, key[1])
            if has_later_outcomes and is_named:
                log.warning(
                    "The outcomes of %s are known already: scoring it again replaces scores that were made in time, "
                    "and with them its live performance. To keep them, name another table: results_table=<name>.",
                    day,
                )
            score_table = _add_score_columns(
                _score(champion, rows, spec.reasons, key), champion, day.isoformat(), clock, key
            )
            learned_until = F.lit(champion.card.unseen.get(LEARNED_UNTIL)).cast("date").alias(LEARNED_UNTIL)
            yield ReplaceBatch(
                score_table.select("*", learned_until),
                "batch",
                (day.isoformat(),),
                number,
                len(days),
                keeps_stored=has_later_outcomes and not is_named,
            )
        return
    days = _choose_days(features, spec, key[1])
    for number, day in enumerate(days, 1):
        scored = _score(champion, _select_day(features, day, key[1]), spec.reasons, key)
        score_table = _add_score_columns(scored, champion, day.isoformat(), clock, key)
        yield ReplaceBatch(score_table, "batch", (day.isoformat(),), number, len(days))


def rank_actions(
    scores: DataFrame,
    features: DataFrame,
    spec: ScoringSpec,
    economics: Economics,
    key: Sequence[str],
    label_dimension: str | None = None,
    *,
    states: bool = False,
) -> tuple[ReplaceBatch, Edition]:
    """Rank the rows of a batch (named, newest, or last of a range) by the expected gain of acting.

    The expected gain is probability * success share * averted value - cost, in the currency of the economics. Only
    gains above zero are listed, each entity once, by its newest row.

    Returns:
        One row per listed entity, highest gain first: key, label dimension and `ACTION`; as a batch of the history, and
        as the list to hand on, which has its own file name for a batch older than the newest.
    """
    batch = choose_batch(scores, features, spec, key[1], states=states)
    gain = expected_gain(economics)
    raising_reasons = F.filter("reasons", lambda reason: reason["effect"] > 0)
    grain = [*key, *([label_dimension] if label_dimension else [])]
    newest = Window.partitionBy(key[0]).orderBy(F.desc(key[1]))
    listed = collect(
        scores.where(F.col("batch") == F.lit(batch))
        .withColumns({"expected_gain": gain, "_rank": F.row_number().over(newest)})
        .where((F.col("expected_gain") > 0) & (F.col("_rank") == 1))
        .orderBy(F.desc("expected_gain"), key[0])
        .limit(spec.actions)
        .select(
            *grain,
            "probability",
            "expected_gain",
            _format_reason(raising_reasons).alias("main_reason"),
            "model_version",
            "batch",
        )
    ).sort_values(["expected_gain", key[0]], ascending=[False, True], ignore_index=True)
    ranked = listed.assign(rank=np.arange(1, len(listed) + 1, dtype=np.int32))
    ranked = ranked[[*grain, *(column.name for column in ACTION)]]
    # The engine's types: an empty list is stored like any other, and can be read.
    types = dict(scores.dtypes) | {column.name: column.type for column in ACTION}
    schema = ", ".join(f"`{name}` {types[name]}" for name in ranked.columns)
    rows = scores.sparkSession.createDataFrame(ranked, schema)
    return ReplaceBatch(rows, "batch", (batch,) if batch else ()), make_edition(
        ranked, batch, find_newest_scored(scores)
    )


def _format_reason(reasons: Column) -> Column:
    first = F.get(reasons, F.lit(0))
    return F.concat(first["feature"], F.lit(" = "), F.coalesce(first["value"], F.lit("(missing)")))


def _add_score_columns(
    scored: DataFrame, champion: Model, batch: str, clock: datetime, key: Sequence[str]
) -> DataFrame:
    """Add the other columns of `SCORE` to probabilities and reasons."""
    label_dimension, names = champion.card.label_dimension, champion.card.label_values
    probabilities = [F.col(f"{PROBABILITY_PREFIX}{name}") for name in names] or [F.col("probability")]
    highest = F.greatest(*probabilities) if len(probabilities) > 1 else probabilities[0]
    return scored.select(
        *key,
        *([label_dimension] if label_dimension else []),
        "probability",
        (highest >= F.lit(champion.card.threshold)).cast("int").alias("decision"),
        F.lit(champion.card.threshold).alias("threshold"),
        "reasons",
        F.lit(champion.name).alias("model_name"),
        F.lit(champion.version).alias("model_version"),
        F.lit(batch).alias("batch"),
        F.lit(clock).cast("timestamp").alias("scored_at"),
        *(f"{PROBABILITY_PREFIX}{name}" for name in names),
    )


def _empty_scores(
    features: DataFrame, labels: DataFrame, key: Sequence[str], label_dimension: str | None, *, states: bool
) -> DataFrame:
    """An empty score table, which later stages can read and later scores fit into."""
    values = sorted(collect(labels.select(label_dimension).distinct())[label_dimension]) if label_dimension else []
    columns = [(label_dimension, "string")] if label_dimension else []
    columns += [(column.name, column.type) for column in SCORE]
    columns += [(f"{PROBABILITY_PREFIX}{name}", "double") for name in values]
    columns += [(LEARNED_UNTIL, "date")] if states else []
    empty = features.where(F.lit(0) == F.lit(1))
    return empty.select(*key, *(F.lit(None).cast(kind).alias(name) for name, kind in columns))


def _choose_snapshots(features: DataFrame, spec: ScoringSpec, moment: str) -> list[date]:
    """Choose the days whose populations are scored, oldest first."""
    days = list_days(features, moment)
    if not days:
        raise LakehouseError(_NO_FEATURES)
    last = spec.batch or spec.to_day or days[-1]
    first = spec.from_day or last
    chosen = [day for day in days if first <= day <= last]
    if not chosen:
        listed_days = ", ".join(map(str, days[-_MAX_DAYS_LISTED:]))
        more = f" and {len(days) - _MAX_DAYS_LISTED} earlier ones" if len(days) > _MAX_DAYS_LISTED else ""
        if spec.from_day:
            span, advice = f"from {first} to {last}", "Choose a range that has one of them."
        else:
            span, advice = f"on {last}", "Name one of them as batch, or leave batch out for the newest."
        raise LakehouseError(f"There are no rows to score {span}: the days with rows are {listed_days}{more}. {advice}")
    return chosen


def _has_later_outcomes(labels: DataFrame, day: date, moment: str) -> bool:
    """Whether outcomes of a day became known after it."""
    return not labels.where((F.col(moment).cast("date") == F.lit(day)) & (F.col(KNOWN_AT) > F.lit(day))).isEmpty()


def _choose_days(features: DataFrame, spec: ScoringSpec, moment: str) -> list[date]:
    """Choose the days to score, oldest first."""
    days = features.select(F.col(moment).cast("date").alias("day"))
    oldest, newest = collect(days.agg(F.min("day").alias("oldest"), F.max("day").alias("newest"))).iloc[0]
    if newest is None:
        raise LakehouseError(_NO_FEATURES)
    last = spec.batch or spec.to_day or pd.Timestamp(newest).date()
    first = spec.from_day or last
    present = collect(days.where(F.col("day").between(F.lit(first), F.lit(last))).distinct())["day"]
    if present.empty:
        days_text = f"on {last}" if first == last else f"from {first} " + (f"to {last}" if first < last else "on")
        raise LakehouseError(
            f"There are no rows to score {days_text}: features go from {pd.Timestamp(oldest).date()} to "
            f"{pd.Timestamp(newest).date()}. Name days that lie in the data."
        )
    return sorted(pd.Timestamp(day).date() for day in present)


def _select_day(features: DataFrame, day: date, moment: str) -> DataFrame:
    start = datetime.combine(day, time(), UTC)
    first, end = (F.lit(at).cast("timestamp") for at in (start, start + timedelta(days=1)))
    return features.where((F.col(moment) >= first) & (F.col(moment) < end))


def _score_schema(features: DataFrame, card: ModelCard, key: Sequence[str]) -> str:
    types = {name: kind for name, kind in features.dtypes if name in key}
    types |= {card.label_dimension: "string"} if card.label_dimension else {}
    types |= {"probability": "double", "reasons": _REASONS} | {
        f"{PROBABILITY_PREFIX}{name}": "double" for name in card.label_values
    }
    return ", ".join(f"`{name}` {kind}" for name, kind in types.items())


def _score(champion: Model, rows: DataFrame, n_reasons: int, key: Sequence[str]) -> DataFrame:
    card = champion.card
    format_scores, schema = _make_formatter(card, n_reasons, key), _score_schema(rows, card, key)
    return estimator_backend(card.library).score_frame(
        champion.model, rows, card, key, format_scores, schema, should_explain=n_reasons > 0
    )


def _make_formatter(card: ModelCard, n_reasons: int, key: Sequence[str]) -> ScoreFormatter:
    """Make the function that formats a batch's scores: likeliest value of the label dimension, probabilities, reasons.

    The probability that any label is 1 is 1 - (1 - p1)(1 - p2)…: labels count as independent, given the features.
    """
    values = np.array(card.label_values, dtype=object)

    def format_scores(
        batch: pa.RecordBatch, rows: pd.DataFrame, probabilities: np.ndarray, effects: np.ndarray | None
    ) -> pa.RecordBatch:
        import pyarrow as pa

        columns: dict[str, Any] = {name: batch[name] for name in key}
        if card.label_dimension:
            columns[card.label_dimension] = values[probabilities.argmax(axis=1)]
        columns["probability"] = (
            1.0 - np.prod(1.0 - probabilities, axis=1) if card.label_dimension else probabilities[:, 0]
        )
        columns["reasons"] = _format_reasons(rows, effects, card, n_reasons)
        columns |= {
            f"{PROBABILITY_PREFIX}{name}": probabilities[:, number] for number, name in enumerate(card.label_values)
        }
        return pa.RecordBatch.from_pydict(columns)

    return format_scores


def _format_reasons(rows: pd.DataFrame, effects: np.ndarray | None, card: ModelCard, n_reasons: int) -> pa.Array:
    """The strongest effects of each row, strongest first, as lists of structs; the label dimension is no reason."""
    import pyarrow as pa

    if effects is None:
        none = pa.StructArray.from_arrays([pa.array([], pa.string())] * 2 + [pa.array([], pa.float64())], _REASON)
        return pa.ListArray.from_arrays(pa.array(np.zeros(len(rows) + 1, dtype=np.int32)), none)
    explaining = [n for n, name in enumerate(card.predictors) if name != card.label_dimension]
    effects = effects[:, explaining]
    rows = select_predictors(rows, [name for name in card.categorical if name != card.label_dimension], card.numeric)
    strongest = np.argsort(-np.abs(effects), axis=1, kind="stable")[:, :n_reasons]
    names = np.array(rows.columns, dtype=object)[strongest]
    values = np.take_along_axis(rows.astype(object).to_numpy(), strongest, axis=1)
    texts = [
        None if pd.isna(value) else f"{value:g}" if isinstance(value, float) else str(value) for value in values.ravel()
    ]
    structs = pa.StructArray.from_arrays(
        [
            pa.array(names.ravel(), pa.string()),
            pa.array(texts, pa.string()),
            pa.array(np.take_along_axis(effects, strongest, axis=1).ravel(), pa.float64()),
        ],
        names=_REASON,
    )
    offsets = np.arange(len(rows) + 1, dtype=np.int32) * strongest.shape[1]
    return pa.ListArray.from_arrays(pa.array(offsets), structs)
