"""Nodes of batch scoring: pick who is to be scored, score them where they lie, rank the offers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from pydantic import Field
from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from lakehouse_ml.errors import LakehouseError, RegistryError
from lakehouse_ml.estimators import sklearn as estimators
from lakehouse_ml.models import Model, Standing
from lakehouse_ml.pipelines.evaluation.metrics import Economics
from lakehouse_ml.spec import Spec
from lakehouse_ml.tables import Batch, collect
from lakehouse_ml.use_cases.columns import ACTION, SCORE

if TYPE_CHECKING:
    import pyarrow as pa

_REASONS = "array<struct<feature:string,value:string,effect:double>>"


class ScoringSpec(Spec):
    """Which batch is scored, and what is said of it.

    Attributes:
        batch: Day as of which rows are scored; by default the newest snapshot's.
        reasons: How many reasons a row gets.
        offers: How many customers the action list holds at most.
    """

    batch: date | None = None
    reasons: int = Field(ge=1, le=20)
    offers: int = Field(ge=1)


def score_rows(
    features: DataFrame, labels: DataFrame, standing: Standing, champion: Model | None, spec: ScoringSpec,
    clock: datetime, key: Sequence[str],
) -> Batch:  # fmt: skip
    """Score everybody who is still there as of the batch's day, each by their newest state known then.

    Args:
        features: One row per key.
        labels: Known outcomes; a row whose outcome is 1 has left and is not scored.
        standing: Who is champion; an input, so that a promotion in the same run comes first.
        champion: That version, loaded.
        spec: Batch and number of reasons.
        clock: Time of the run, UTC.
        key: Entity and time.

    Returns:
        One row per entity: key and `SCORE`, in place of this batch's earlier rows. None, while approval is awaited
        and there is no champion yet.

    Raises:
        RegistryError: There is no champion and none awaits approval, or it needs columns that aren't there.
    """
    if champion is None:
        if standing.awaits_approval:
            return Batch(_nothing(features, key), "batch", ())
        raise RegistryError(
            f"There is no champion to score with: {standing.reason or 'no candidate was judged yet'} "
            f"Look at the metrics, change data or conf, and run training and evaluation again."
        )
    champion.check_columns(features.columns)
    batch = spec.batch or _newest(features, key[1])
    scored = _active(features, labels, batch, key).mapInArrow(_scorer(champion, spec.reasons, key), _schema(key))
    rows = _complete(scored, champion, batch.isoformat(), clock, key)
    return Batch(rows, "batch", (batch.isoformat(),))


def rank_actions(
    scores: DataFrame, spec: ScoringSpec, economics: Economics, key: Sequence[str]
) -> tuple[Batch, pd.DataFrame]:
    """Those of the newest (or the named) batch to whom an offer is worth most.

    The expected gain of an offer is probability * acceptance * kept value - cost of the offer, in the currency of
    the economics; only gains above zero are listed.

    Returns:
        One row per listed entity, best first: key and `ACTION`; as a batch of the history, and as the list to hand on.
    """
    batch = spec.batch.isoformat() if spec.batch else collect(scores.agg(F.max("batch").alias("b")))["b"].item()
    gain = F.col("probability") * economics.acceptance * economics.kept_value - economics.offer_cost
    raising = F.filter("reasons", lambda reason: reason["effect"] > 0)
    listed = collect(
        scores.where(F.col("batch") == batch)
        .withColumn("expected_gain", gain)
        .where(F.col("expected_gain") > 0)
        .orderBy(F.desc("expected_gain"), key[0])
        .limit(spec.offers)
        .select(*key, "probability", "expected_gain", _sentence(raising).alias("main_reason"), "model_version", "batch")
    ).sort_values(["expected_gain", key[0]], ascending=[False, True], ignore_index=True)
    ranked = listed.assign(rank=np.arange(1, len(listed) + 1, dtype=np.int32))
    ranked = ranked[[*key, *(column.name for column in ACTION)]]
    # The engine's types, so that a list without rows is stored like any other, and there is one to read.
    types = ", ".join(f"`{column.name}` {column.type}" for column in ACTION)
    rows = scores.sparkSession.createDataFrame(ranked, f"`{key[0]}` string, `{key[1]}` date, {types}")
    return Batch(rows, "batch", (batch,) if batch else ()), ranked


def _sentence(reasons: Column) -> Column:
    first = F.get(reasons, F.lit(0))
    return F.concat(first["feature"], F.lit(" = "), F.coalesce(first["value"], F.lit("(missing)")))


def _complete(scored: DataFrame, champion: Model, batch: str, clock: datetime, key: Sequence[str]) -> DataFrame:
    """Probabilities and reasons with the rest of `SCORE`."""
    return scored.select(
        *key,
        "probability",
        (F.col("probability") >= F.lit(champion.card.threshold)).cast("int").alias("decision"),
        F.lit(champion.card.threshold).alias("threshold"),
        "reasons",
        F.lit(champion.name).alias("model_name"),
        F.lit(champion.version).alias("model_version"),
        F.lit(batch).alias("batch"),
        F.lit(clock).cast("timestamp").alias("scored_at"),
    )


def _nothing(features: DataFrame, key: Sequence[str]) -> DataFrame:
    """No rows with the columns of a score table, so that there is one to read."""
    empty = features.where(F.lit(0) == F.lit(1))
    return empty.select(*key, *(F.lit(None).cast(column.type).alias(column.name) for column in SCORE))


def _newest(features: DataFrame, moment: str) -> date:
    newest = collect(features.agg(F.max(moment).alias("day")))["day"].item()
    if newest is None:
        raise LakehouseError("There are no rows to score: the feature table is empty. Land data and run again.")
    day: date = pd.Timestamp(newest).date()
    return day


def _active(features: DataFrame, labels: DataFrame, batch: date, key: Sequence[str]) -> DataFrame:
    entity, moment = key
    newest = Window.partitionBy(entity).orderBy(F.desc(moment))
    known = features.where(F.col(moment) <= F.lit(batch)).withColumn("_rank", F.row_number().over(newest))
    left = labels.where(F.col("label") == 1).select(*key)
    return known.where(F.col("_rank") == 1).drop("_rank").join(left, on=list(key), how="left_anti")


def _schema(key: Sequence[str]) -> str:
    return f"`{key[0]}` string, `{key[1]}` date, probability double, reasons {_REASONS}"


def _scorer(
    champion: Model, n_reasons: int, key: Sequence[str]
) -> Callable[[Iterable[pa.RecordBatch]], Iterable[pa.RecordBatch]]:
    """A function over Arrow batches that carries the model along: nothing is fetched by the workers."""
    model, card, keys = champion.model, champion.card, list(key)

    def scored(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        import pyarrow as pa
        from threadpoolctl import threadpool_limits

        # The engine runs as many tasks as there are cores: each needs one thread.
        with threadpool_limits(1):
            for batch in batches:
                if batch.num_rows:
                    rows = estimators.predictors(batch.to_pandas(), card.categorical, card.numeric)
                    columns = {
                        **{name: batch[name] for name in keys},
                        "probability": estimators.score(model, rows),
                        "reasons": _reasons(model, rows, card.baseline, n_reasons),
                    }
                    yield pa.RecordBatch.from_pydict(columns)

    return scored


def _reasons(model: Any, rows: pd.DataFrame, baseline: Any, most: int) -> pa.Array:
    """The strongest effects of each row, strongest first, as lists of structs."""
    import pyarrow as pa

    effects = estimators.explain(model, rows, baseline)
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
        names=["feature", "value", "effect"],
    )
    offsets = np.arange(0, len(rows) * strongest.shape[1] + 1, strongest.shape[1], dtype=np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), structs)
