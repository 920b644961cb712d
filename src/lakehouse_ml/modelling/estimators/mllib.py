"""Spark MLlib's models behind the same protocol: fitted, scored and stored on the JVM of the engine `spark`.

They are fitted on the same rows in memory as scikit-learn's, which conf bounds; the cluster distributes scoring.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    import pandas as pd
    import pyarrow as pa
    from pyspark.sql import Column, DataFrame

    from lakehouse_ml.modelling.card import Candidate, ModelCard
    from lakehouse_ml.modelling.estimators.base import EstimatorSpec, ScoreFormatter

log = logging.getLogger(__name__)

FLAVOR = "mlflow.spark"
ENGINES = ("spark",)
# Classes that a stored model may have. Reviewed: each is a stock class of Spark that holds numbers and names. Others
# may run their content (SQLTransformer), or name a Python class that reading them imports.
TRUSTED_STAGES = frozenset({
    "org.apache.spark.ml.PipelineModel",
    "org.apache.spark.ml.feature.StringIndexerModel",
    "org.apache.spark.ml.feature.OneHotEncoderModel",
    "org.apache.spark.ml.feature.ImputerModel",
    "org.apache.spark.ml.feature.VectorAssembler",
    "org.apache.spark.ml.feature.VectorSlicer",
    "org.apache.spark.ml.classification.LogisticRegressionModel",
    "org.apache.spark.ml.classification.RandomForestClassificationModel",
    "org.apache.spark.ml.classification.GBTClassificationModel",
    # The trees inside the last two.
    "org.apache.spark.ml.classification.DecisionTreeClassificationModel",
    "org.apache.spark.ml.regression.DecisionTreeRegressionModel",
})  # fmt: skip
_MAX_DEPTH = 30
_LABEL, _WEIGHT, _MARGIN = "_label", "_weight", "_margin"
_OWN, _NUMBER, _PROBABILITY = "_own", "_number", "_probability"
_PROBABILITIES, _EFFECTS = "_probabilities", "_effects"


def fit(
    spec: EstimatorSpec,
    rows: pd.DataFrame,
    label: np.ndarray,
    *,
    categorical: Sequence[str],
    numeric: Sequence[str],
    seed: int,
) -> Any:
    """Fit preprocessing and estimator together.

    Categories are one-hot encoded; an unknown one, like null, sets no column. Missing numbers become the median. A
    predictor without any value is ignored.

    Returns:
        A `PipelineModel` over the same columns, with `rawPrediction` and `probability`.
    """
    from pyspark.ml import Pipeline
    from pyspark.ml.feature import Imputer, OneHotEncoder, StringIndexer, VectorAssembler

    categories = [name for name in categorical if rows[name].notna().any()]
    numbers = [name for name in numeric if rows[name].notna().any()]
    indexed, encoded = [f"_index_{name}" for name in categories], [f"_encoded_{name}" for name in categories]
    imputed = [f"_filled_{name}" for name in numbers]
    stages: list[Any] = []
    if categories:
        stages += [
            StringIndexer(inputCols=categories, outputCols=indexed, handleInvalid="keep"),
            OneHotEncoder(inputCols=indexed, outputCols=encoded),
        ]
    if numbers:
        stages.append(Imputer(strategy="median", inputCols=numbers, outputCols=imputed))
    stages.append(VectorAssembler(inputCols=[*encoded, *imputed], outputCol="features"))
    estimator = _BUILD[spec.estimator](dict(spec.params), len(rows), seed)
    frame = _to_spark(rows.assign(**{_LABEL: label.astype(float)}))
    return Pipeline(stages=[*stages, estimator.setLabelCol(_LABEL)]).fit(frame)


def calibrate(model: Any, rows: pd.DataFrame, label: np.ndarray) -> Any:
    """Calibrate a fitted model by Platt scaling (1999) of its margins; the order of scores stays.

    With Platt's smoothed labels: (n + 1) / (n + 2) instead of 1 for n rows with that label. Otherwise, margins that
    separate the labels of the calibration part completely would have no finite curve.
    """
    import numpy as np
    import pandas as pd
    from pyspark.ml import PipelineModel
    from pyspark.ml.classification import LogisticRegression
    from pyspark.ml.feature import VectorAssembler, VectorSlicer
    from pyspark.ml.functions import vector_to_array
    from pyspark.sql import functions as F

    *assembly, estimate = model.stages
    margins = model.transform(_to_spark(rows)).select(vector_to_array(F.col("rawPrediction"))[1].alias(_MARGIN))
    margin = margins.toPandas()[_MARGIN].to_numpy()
    positives = label.sum()
    smoothed = np.where(label == 1, (positives + 1) / (positives + 2), 1 / (len(label) - positives + 2))
    weighted = pd.DataFrame(
        {
            _MARGIN: np.tile(margin, 2),
            _LABEL: np.repeat([1.0, 0.0], len(label)),
            _WEIGHT: np.concatenate([smoothed, 1 - smoothed]),
        }
    )
    curve = LogisticRegression(featuresCol="margin", labelCol=_LABEL, weightCol=_WEIGHT, regParam=0.0)
    as_vector = VectorAssembler(inputCols=[_MARGIN], outputCol="margin")
    fitted = curve.fit(as_vector.transform(_to_spark(weighted)))
    estimate = estimate.copy().setProbabilityCol("_uncalibrated").setPredictionCol("_undecided")
    slicer = VectorSlicer(inputCol="rawPrediction", outputCol="margin", indices=[1])
    return PipelineModel([*assembly, estimate, slicer, fitted.setRawPredictionCol("_calibrated_margin")])


def set_threshold(model: Any, threshold: float) -> Any:
    """Let a fitted model decide at this probability instead of 0.5."""
    model.stages[-1].setThresholds([1.0 - threshold, threshold])
    return model


def score(model: Any, rows: pd.DataFrame) -> np.ndarray:
    """Probability of the positive outcome, shape (n_rows,)."""
    scored: pd.DataFrame = _add_probability(model, _to_spark(rows)).select(_PROBABILITY).toPandas()
    probability: np.ndarray = scored[_PROBABILITY].to_numpy()
    return probability


def decide(model: Any, rows: pd.DataFrame) -> np.ndarray:
    """Decision of the model at its own threshold, 0.0 or 1.0, shape (n_rows,)."""
    predictions: pd.DataFrame = model.transform(_to_spark(rows)).select("prediction").toPandas()
    decision: np.ndarray = predictions["prediction"].to_numpy()
    return decision


def explain(model: Any, rows: pd.DataFrame, baseline: Mapping[str, Any]) -> np.ndarray:
    """Explain by occlusion: one prediction per row and predictor, all in one call."""
    import pandas as pd

    typical = pd.DataFrame([baseline] * len(rows), index=rows.index)[list(rows.columns)].astype(rows.dtypes)
    replaced = [rows.assign(**{name: typical[name]}) for name in rows.columns]
    scores = score(model, pd.concat([rows, *replaced], ignore_index=True)).reshape(-1, len(rows))
    effects: np.ndarray = (scores[0] - scores[1:]).T
    return effects


def score_frame(
    model: Any,
    rows: DataFrame,
    card: ModelCard,
    key: Sequence[str],
    format_scores: ScoreFormatter,
    schema: str,
    *,
    should_explain: bool,
) -> DataFrame:
    """Score rows on the JVM, then format the scores in the engine's Python workers."""
    from pyspark.sql import functions as F

    converted_rows = rows.withColumns(
        {name: F.col(name).cast("string") for name in card.categorical if name != card.label_dimension}
        | {name: F.col(name).cast("double") for name in card.numeric}
    )
    scored = _score_each_value(model, converted_rows, card, key)
    if should_explain:
        scored = _add_effects(model, scored, card, key)

    def format_batches(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            if batch.num_rows:
                features = batch.drop_columns([_PROBABILITIES, *([_EFFECTS] if should_explain else [])])
                effects = _to_matrix(batch, _EFFECTS) if should_explain else None
                yield format_scores(features, features.to_pandas(), _to_matrix(batch, _PROBABILITIES), effects)

    return scored.mapInArrow(format_batches, schema)


def map_fits(fits: Sequence[Callable[[], Any]]) -> list[Any]:
    """Run several fits, one after another: Spark uses all cores for each."""
    return [fit() for fit in fits]


def build_save_args(candidate: Candidate) -> dict[str, Any]:  # noqa: ARG001 - MLflow would serve the model to try an example
    """Store by Spark itself, in a folder of the run."""
    return {"artifact_path": "model", "pip_requirements": ["pyspark", "pandas", "numpy"]}


def find_faults(copy: Path, description: Mapping[str, Any]) -> list[str]:
    """Find stages outside the allow-list, or files without any stage."""
    folder = copy / str(description.get("model_data"))
    is_inside = folder.resolve().is_relative_to(copy.resolve())
    files = sorted(folder.rglob("metadata/part-*")) if is_inside else []
    strangers = sorted({str(_read_class(file)) for file in files} - TRUSTED_STAGES)
    faults = [
        (not files, "it holds no stages of Spark"),
        (bool(strangers), f"it has stages that aren't on the allow-list: {', '.join(strangers)}"),
        (description.get("model_class") not in _PIPELINE, "it isn't a pipeline of Spark"),
    ]
    return [text for is_fault, text in faults if is_fault]


_PIPELINE = ("pyspark.ml.pipeline.PipelineModel", "pyspark.ml.PipelineModel", None)


def _read_class(file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))["class"]
    except (ValueError, KeyError, TypeError):
        return f"{file.parent.parent.name} (unreadable)"


def _score_each_value(model: Any, rows: DataFrame, card: ModelCard, key: Sequence[str]) -> DataFrame:
    """Add the probability of each value of the label dimension, and the likeliest value; or the only probability."""
    from pyspark.sql import functions as F

    if not card.label_dimension:
        return _add_probability(model, rows).select(*rows.columns, F.array(_PROBABILITY).alias(_PROBABILITIES))
    values = F.array(*map(F.lit, card.label_values))
    scored = _add_probability(
        model, rows.withColumn(_OWN, F.struct(*rows.columns)).withColumn(card.label_dimension, F.explode(values))
    )
    by_value = F.map_from_entries(F.collect_list(F.struct(card.label_dimension, _PROBABILITY)))
    rows = scored.groupBy(*key).agg(F.any_value(_OWN).alias(_OWN), by_value.alias("_by"))
    rows = rows.select(f"{_OWN}.*", F.array(*(F.col("_by")[name] for name in card.label_values)).alias(_PROBABILITIES))
    likeliest = F.element_at(values, F.array_position(_PROBABILITIES, F.array_max(_PROBABILITIES)).cast("int"))
    return rows.withColumn(card.label_dimension, likeliest)


def _add_effects(model: Any, rows: DataFrame, card: ModelCard, key: Sequence[str]) -> DataFrame:
    """Add the effect of each predictor on the highest probability, in the order of the predictors."""
    from pyspark.sql import functions as F

    numbered = rows.withColumn(_OWN, F.struct(*rows.columns)).withColumn(
        _NUMBER, F.explode(F.array(*(F.lit(number) for number in range(len(card.predictors)))))
    )
    replaced = {
        name: F.when(F.col(_NUMBER) == number, _baseline_value(card, name)).otherwise(F.col(name))
        for number, name in enumerate(card.predictors)
    }
    scored = _add_probability(model, numbered.withColumns(replaced))
    in_order = F.array_sort(F.collect_list(F.struct(_NUMBER, _PROBABILITY)))
    collected = scored.groupBy(*key).agg(F.any_value(_OWN).alias(_OWN), in_order.alias("_without"))
    effects = F.transform("_without", lambda without: F.array_max(f"{_OWN}.{_PROBABILITIES}") - without[_PROBABILITY])
    return collected.select(f"{_OWN}.*", effects.alias(_EFFECTS))


def _baseline_value(card: ModelCard, name: str) -> Column:
    from pyspark.sql import functions as F

    return F.lit(card.baseline[name]).cast("string" if name in card.categorical else "double")


def _add_probability(model: Any, rows: DataFrame) -> DataFrame:
    """Add the probability, and keep columns and order."""
    from pyspark.ml.functions import vector_to_array
    from pyspark.sql import functions as F

    own = [F.col(f"`{name}`") for name in rows.columns]
    scored: DataFrame = model.transform(rows)
    return scored.select(*own, vector_to_array(F.col("probability"))[1].alias(_PROBABILITY))


def _to_matrix(batch: pa.RecordBatch, column: str) -> np.ndarray:
    """Convert a column of lists of equal length to an array, shape (n_rows, length)."""
    values: np.ndarray = batch[column].flatten().to_numpy(zero_copy_only=False)
    return values.reshape(batch.num_rows, -1)


def _to_spark(rows: pd.DataFrame) -> DataFrame:
    """Distribute rows over the cores, in their order.

    Spark's planner would compute on a local table by itself: in one thread, and stage by stage. It does not look behind
    `coalesce`, which has nothing to do here: no table has more parts than rows.
    """
    from pyspark.sql import SparkSession

    return SparkSession.active().createDataFrame(rows).coalesce(max(len(rows), 1))


def _logistic_regression(params: dict[str, Any], n_rows: int, seed: int) -> Any:  # noqa: ARG001 - nothing is random
    from pyspark.ml.classification import LogisticRegression

    # scikit-learn's C weights the sum of losses, Spark's regParam the penalty beside their mean.
    return LogisticRegression(regParam=1.0 / (params.get("C", 1.0) * n_rows), maxIter=200)


def _random_forest(params: dict[str, Any], n_rows: int, seed: int) -> Any:  # noqa: ARG001 - depends on no count
    from pyspark.ml.classification import RandomForestClassifier

    return RandomForestClassifier(
        numTrees=params.get("n_estimators", 100),
        maxDepth=_limit_depth(params.get("max_depth")),
        # Spark bounds the rows on either side of a split: a split then needs at least twice as many.
        minInstancesPerNode=max(1, -(-params.get("min_samples_split", 2) // 2)),
        seed=seed,
    )


def _gradient_boosting(params: dict[str, Any], n_rows: int, seed: int) -> Any:  # noqa: ARG001 - depends on no count
    from pyspark.ml.classification import GBTClassifier

    if params.get("l2_regularization"):
        log.info("  MLlib's gradient boosting has no l2_regularization: it is ignored.")
    return GBTClassifier(
        stepSize=params.get("learning_rate", 0.1),
        maxIter=params.get("max_iter", 100),
        maxDepth=_limit_depth(params.get("max_depth", 5)),
        minInstancesPerNode=params.get("min_samples_leaf", 20),
        seed=seed,
    )


def _limit_depth(depth: int | None) -> int:
    """Spark's trees end at a depth of 30."""
    return _MAX_DEPTH if depth is None else min(depth, _MAX_DEPTH)


_BUILD: Mapping[str, Callable[[dict[str, Any], int, int], Any]] = {
    "logistic_regression": _logistic_regression,
    "random_forest": _random_forest,
    "gradient_boosting": _gradient_boosting,
}
