"""Nodes of batch scoring: pick who is to be scored, score them where they lie, rank the actions."""

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
from lakehouse_ml.modelling.card import Model, ModelCard, RegistryStatus
from lakehouse_ml.modelling.economics import Economics, expected_gain
from lakehouse_ml.modelling.estimators.base import ScoreFormatter, estimator_backend, select_predictors
from lakehouse_ml.modelling.label_dimension import PROBABILITY_PREFIX
from lakehouse_ml.modelling.population import KNOWN_AT, LEARNED_UNTIL, PopulationSpec, find_population, list_days
from lakehouse_ml.storage.writes import Edition, ReplaceBatch, collect
from lakehouse_ml.use_cases.columns import ACTION, SCORE

if TYPE_CHECKING:
    import pyarrow as pa

log = logging.getLogger(__name__)

_SHOWN_DAYS = 12
_NO_FEATURES = "There are no rows to score: the feature table is empty. Land data and run again."
_REASON = ["feature", "value", "effect"]
_REASONS = "array<struct<feature:string,value:string,effect:double>>"


def score_rows(
    features: DataFrame,
    labels: DataFrame,
    standing: RegistryStatus,
    champion: Model | None,
    spec: ScoringSpec,
    clock: datetime,
    population: PopulationSpec | None,
    key: Sequence[str],
    *,
    label_dimension: str | None = None,
) -> Iterator[ReplaceBatch]:
    """Score a batch, or a range of days one after another, each as a batch of its own.

    Where rows are states of entities over time, a batch is the population of a day; else it is all rows of the day.
    A stored batch whose outcomes came in meanwhile stays as it is, unless conf names it: its scores are what was said
    in time, and only those can be measured against what happened.

    Args:
        features: One row per key.
        labels: Known outcomes, with `known_at` where there is a population.
        standing: Who is champion; an input, so that a promotion in the same run comes first.
        champion: That version, loaded.
        spec: Days and number of reasons.
        clock: Time of the run, UTC.
        population: What a file of a day means, where rows are states of entities over time; else None.
        key: Entity and time.
        label_dimension: Column of the labels that tells what each speaks of, where a row has several.

    Yields:
        Key and `SCORE`, in place of this batch's earlier rows; before `SCORE` the likeliest value of
        the label dimension and after it the probability of each value, where there is one; with a population the newest
        day that the champion learned from. No rows, while approval is awaited and there is no champion yet.

    Raises:
        RegistryError: There is no champion and none awaits approval, or it needs columns that aren't there.
        LakehouseError: There is nothing to score: no features at all, or none on that day or within the range.
    """
    if champion is None:
        if standing.awaits_approval:
            yield ReplaceBatch(
                _nothing(features, labels, key, label_dimension, states=population is not None), "batch", ()
            )
            return
        raise RegistryError(
            f"There is no champion to score with: {standing.reason or 'no candidate was judged yet'} "
            f"Look at the metrics, change data or conf, and run training and evaluation again."
        )
    champion.check_columns(features.columns)
    if population:
        day = _day(features, spec, key[1])
        rows = find_population(features, labels, day, population, key)
        over = _is_over(labels, day, key[1])
        if over and spec.batch:
            log.warning(
                "The outcomes of %s are known already: scoring it again replaces scores that were made in time, and "
                "with them its real performance. results_table=<name> leaves them as they are.",
                day,
            )
        complete = _complete(_scored(champion, rows, spec.reasons, key), champion, day.isoformat(), clock, key)
        learned = F.lit(champion.card.unseen.get(LEARNED_UNTIL)).cast("date").alias(LEARNED_UNTIL)
        yield ReplaceBatch(
            complete.select("*", learned), "batch", (day.isoformat(),), keeps_stored=over and not spec.batch
        )
        return
    days = _days(features, spec, key[1])
    for number, day in enumerate(days, 1):
        scored = _scored(champion, _of_day(features, day, key[1]), spec.reasons, key)
        complete = _complete(scored, champion, day.isoformat(), clock, key)
        yield ReplaceBatch(complete, "batch", (day.isoformat(),), number, len(days))


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
    """Those of the newest (or the named) batch, in a range its last, for whom acting is worth most.

    The expected gain is probability * success share * averted value - cost, in the currency of the economics; only
    gains above zero are listed, each entity once, by its newest row.

    Returns:
        One row per listed entity, best first: key, label dimension and `ACTION`; as a batch of the history, and as
        the list to hand on, under a name of its own for an earlier batch than the newest.
    """
    batch = choose_batch(scores, features, spec, key[1], states=states)
    gain = expected_gain(economics)
    raising = F.filter("reasons", lambda reason: reason["effect"] > 0)
    who = [*key, *([label_dimension] if label_dimension else [])]
    newest = Window.partitionBy(key[0]).orderBy(F.desc(key[1]))
    listed = collect(
        scores.where(F.col("batch") == F.lit(batch))
        .withColumns({"expected_gain": gain, "_rank": F.row_number().over(newest)})
        .where((F.col("expected_gain") > 0) & (F.col("_rank") == 1))
        .orderBy(F.desc("expected_gain"), key[0])
        .limit(spec.actions)
        .select(*who, "probability", "expected_gain", _sentence(raising).alias("main_reason"), "model_version", "batch")
    ).sort_values(["expected_gain", key[0]], ascending=[False, True], ignore_index=True)
    ranked = listed.assign(rank=np.arange(1, len(listed) + 1, dtype=np.int32))
    ranked = ranked[[*who, *(column.name for column in ACTION)]]
    # The engine's types, so that a list without rows is stored like any other, and there is one to read.
    types = dict(scores.dtypes) | {column.name: column.type for column in ACTION}
    schema = ", ".join(f"`{name}` {types[name]}" for name in ranked.columns)
    rows = scores.sparkSession.createDataFrame(ranked, schema)
    return ReplaceBatch(rows, "batch", (batch,) if batch else ()), make_edition(
        ranked, batch, find_newest_scored(scores)
    )


def _sentence(reasons: Column) -> Column:
    first = F.get(reasons, F.lit(0))
    return F.concat(first["feature"], F.lit(" = "), F.coalesce(first["value"], F.lit("(missing)")))


def _complete(scored: DataFrame, champion: Model, batch: str, clock: datetime, key: Sequence[str]) -> DataFrame:
    """Probabilities and reasons with the rest of `SCORE`."""
    target, names = champion.card.label_dimension, champion.card.label_values
    likeliest = [F.col(f"{PROBABILITY_PREFIX}{name}") for name in names] or [F.col("probability")]
    decisive = F.greatest(*likeliest) if len(likeliest) > 1 else likeliest[0]
    return scored.select(
        *key,
        *([target] if target else []),
        "probability",
        (decisive >= F.lit(champion.card.threshold)).cast("int").alias("decision"),
        F.lit(champion.card.threshold).alias("threshold"),
        "reasons",
        F.lit(champion.name).alias("model_name"),
        F.lit(champion.version).alias("model_version"),
        F.lit(batch).alias("batch"),
        F.lit(clock).cast("timestamp").alias("scored_at"),
        *(f"{PROBABILITY_PREFIX}{name}" for name in names),
    )


def _nothing(
    features: DataFrame, labels: DataFrame, key: Sequence[str], label_dimension: str | None, *, states: bool
) -> DataFrame:
    """No rows with the columns of a score table, so that there is one to read, and one that scores fit into."""
    told = sorted(collect(labels.select(label_dimension).distinct())[label_dimension]) if label_dimension else []
    columns = [(label_dimension, "string")] if label_dimension else []
    columns += [(column.name, column.type) for column in SCORE]
    columns += [(f"{PROBABILITY_PREFIX}{name}", "double") for name in told]
    columns += [(LEARNED_UNTIL, "date")] if states else []
    empty = features.where(F.lit(0) == F.lit(1))
    return empty.select(*key, *(F.lit(None).cast(kind).alias(name) for name, kind in columns))


def _day(features: DataFrame, spec: ScoringSpec, moment: str) -> date:
    """The day whose population is scored."""
    if spec.from_day:
        raise LakehouseError(
            f"from_day ({spec.from_day}) begins a range of days, and here a batch holds everybody as of one day. "
            f"Name that day instead: batch, in batch_scoring's part of conf."
        )
    days = list_days(features, moment)
    if not days:
        raise LakehouseError(_NO_FEATURES)
    if spec.batch and spec.batch not in days:
        shown = ", ".join(map(str, days[-_SHOWN_DAYS:]))
        more = f" and {len(days) - _SHOWN_DAYS} earlier ones" if len(days) > _SHOWN_DAYS else ""
        raise LakehouseError(
            f"There are no rows to score on {spec.batch}: the days with rows are {shown}{more}. Name one of them as "
            f"batch, or leave batch out for the newest."
        )
    return spec.batch or days[-1]


def _is_over(labels: DataFrame, day: date, moment: str) -> bool:
    """Whether outcomes of this day are known by now that were not known on it."""
    return not labels.where((F.col(moment).cast("date") == F.lit(day)) & (F.col(KNOWN_AT) > F.lit(day))).isEmpty()


def _days(features: DataFrame, spec: ScoringSpec, moment: str) -> list[date]:
    """The days to score, oldest first."""
    days = features.select(F.col(moment).cast("date").alias("day"))
    oldest, newest = collect(days.agg(F.min("day").alias("oldest"), F.max("day").alias("newest"))).iloc[0]
    if newest is None:
        raise LakehouseError(_NO_FEATURES)
    last = spec.batch or spec.to_day or pd.Timestamp(newest).date()
    first = spec.from_day or last
    there = collect(days.where(F.col("day").between(F.lit(first), F.lit(last))).distinct())["day"]
    if there.empty:
        asked = f"on {last}" if first == last else f"from {first} " + (f"to {last}" if first < last else "on")
        raise LakehouseError(
            f"There are no rows to score {asked}: features go from {pd.Timestamp(oldest).date()} to "
            f"{pd.Timestamp(newest).date()}. Name days that lie in the data."
        )
    return sorted(pd.Timestamp(day).date() for day in there)


def _of_day(features: DataFrame, day: date, moment: str) -> DataFrame:
    start = datetime.combine(day, time(), UTC)
    first, end = (F.lit(at).cast("timestamp") for at in (start, start + timedelta(days=1)))
    return features.where((F.col(moment) >= first) & (F.col(moment) < end))


def _schema(features: DataFrame, card: ModelCard, key: Sequence[str]) -> str:
    types = {name: kind for name, kind in features.dtypes if name in key}
    types |= {card.label_dimension: "string"} if card.label_dimension else {}
    types |= {"probability": "double", "reasons": _REASONS} | {
        f"{PROBABILITY_PREFIX}{name}": "double" for name in card.label_values
    }
    return ", ".join(f"`{name}` {kind}" for name, kind in types.items())


def _scored(champion: Model, rows: DataFrame, n_reasons: int, key: Sequence[str]) -> DataFrame:
    card = champion.card
    tell, schema = _teller(card, n_reasons, key), _schema(rows, card, key)
    return estimator_backend(card.library).score_frame(
        champion.model, rows, card, key, tell, schema, should_explain=n_reasons > 0
    )


def _teller(card: ModelCard, n_reasons: int, key: Sequence[str]) -> ScoreFormatter:
    """Puts into columns what the champion says of a batch: likeliest label, probabilities and reasons.

    That any of the labels comes true is 1 - (1 - p1)(1 - p2)…: given the features, they are taken to be independent.
    """
    targets = np.array(card.label_values, dtype=object)

    def tell(
        batch: pa.RecordBatch, rows: pd.DataFrame, probabilities: np.ndarray, effects: np.ndarray | None
    ) -> pa.RecordBatch:
        import pyarrow as pa

        told: dict[str, Any] = {name: batch[name] for name in key}
        if card.label_dimension:
            told[card.label_dimension] = targets[probabilities.argmax(axis=1)]
        told["probability"] = (
            1.0 - np.prod(1.0 - probabilities, axis=1) if card.label_dimension else probabilities[:, 0]
        )
        told["reasons"] = _reasons(rows, effects, card, n_reasons)
        told |= {
            f"{PROBABILITY_PREFIX}{name}": probabilities[:, number] for number, name in enumerate(card.label_values)
        }
        return pa.RecordBatch.from_pydict(told)

    return tell


def _reasons(rows: pd.DataFrame, effects: np.ndarray | None, card: ModelCard, most: int) -> pa.Array:
    """The strongest effects of each row, strongest first, as lists of structs; what was asked for is no reason."""
    import pyarrow as pa

    if effects is None:
        none = pa.StructArray.from_arrays([pa.array([], pa.string())] * 2 + [pa.array([], pa.float64())], _REASON)
        return pa.ListArray.from_arrays(pa.array(np.zeros(len(rows) + 1, dtype=np.int32)), none)
    besides = [n for n, name in enumerate(card.predictors) if name != card.label_dimension]
    effects = effects[:, besides]
    rows = select_predictors(rows, [name for name in card.categorical if name != card.label_dimension], card.numeric)
    strongest = np.argsort(-np.abs(effects), axis=1, kind="stable")[:, :most]
    names = np.array(rows.columns, dtype=object)[strongest]
    values = np.take_along_axis(rows.astype(object).to_numpy(), strongest, axis=1)
    shown = [
        None if pd.isna(value) else f"{value:g}" if isinstance(value, float) else str(value) for value in values.ravel()
    ]
    structs = pa.StructArray.from_arrays(
        [
            pa.array(names.ravel(), pa.string()),
            pa.array(shown, pa.string()),
            pa.array(np.take_along_axis(effects, strongest, axis=1).ravel(), pa.float64()),
        ],
        names=_REASON,
    )
    offsets = np.arange(len(rows) + 1, dtype=np.int32) * strongest.shape[1]
    return pa.ListArray.from_arrays(pa.array(offsets), structs)
