"""Spark MLlib's models behind the same names: they learn, score and are stored on the JVM of the engine `spark`.

They learn from the same rows in memory as scikit-learn's, which conf bounds; scoring is spread over the cluster.
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
    from lakehouse_ml.modelling.estimators.base import EstimatorSpec, Tell

log = logging.getLogger(__name__)

FLAVOR = "mlflow.spark"
ENGINES = ("spark",)
# What a stored model may consist of. Reviewed: each is a stock class of Spark that holds numbers and names. Others
# may run what they hold (SQLTransformer), or name a Python class that reading them imports.
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
    # The trees inside of the last two.
    "org.apache.spark.ml.classification.DecisionTreeClassificationModel",
    "org.apache.spark.ml.regression.DecisionTreeRegressionModel",
})  # fmt: skip
_DEEPEST = 30
_LABEL, _WEIGHT, _MARGIN = "_label", "_weight", "_margin"
_OWN, _NUMBER, _PROBABILITY = "_own", "_number", "_probability"
_PROBABILITIES, _EFFECTS = "_probabilities", "_effects"


def fit(
    spec: EstimatorSpec, rows: pd.DataFrame, label: np.ndarray, *, categorical: Sequence[str], numeric: Sequence[str],
    seed: int,
) -> Any:  # fmt: skip
    """Fit assembly and estimator together.

    Categories are encoded, a column each; an unknown one, like null, is none. Numbers without a value take the median.
    A predictor that has no value at all isn't looked at.

    Returns:
        A `PipelineModel` over the same columns, with `rawPrediction` and `probability`.
    """
    from pyspark.ml import Pipeline
    from pyspark.ml.feature import Imputer, OneHotEncoder, StringIndexer, VectorAssembler

    known = [name for name in categorical if rows[name].notna().any()]
    measured = [name for name in numeric if rows[name].notna().any()]
    encoded, filled = ([f"_encoded_{name}" for name in known], [f"_filled_{name}" for name in measured])
    indexed = [f"_index_{name}" for name in known]
    stages: list[Any] = []
    if known:
        stages += [
            StringIndexer(inputCols=known, outputCols=indexed, handleInvalid="keep"),
            OneHotEncoder(inputCols=indexed, outputCols=encoded),
        ]
    if measured:
        stages.append(Imputer(strategy="median", inputCols=measured, outputCols=filled))
    stages.append(VectorAssembler(inputCols=[*encoded, *filled], outputCol="features"))
    estimator = _BUILD[spec.estimator](dict(spec.params), len(rows), seed)
    frame = _frame(rows.assign(**{_LABEL: label.astype(float)}))
    return Pipeline(stages=[*stages, estimator.setLabelCol(_LABEL)]).fit(frame)


def calibrate(model: Any, rows: pd.DataFrame, label: np.ndarray) -> Any:
    """The fitted model with its margins bent to shares by a sigmoid (Platt, 1999); the order of scores stays.

    As Platt does it, a label counts as nearly certain only: of n rows with a label, n + 1 in n + 2. Without that, a
    calibration part whose labels the margins part in full would have no finite curve.
    """
    import numpy as np
    import pandas as pd
    from pyspark.ml import PipelineModel
    from pyspark.ml.classification import LogisticRegression
    from pyspark.ml.feature import VectorAssembler, VectorSlicer
    from pyspark.ml.functions import vector_to_array
    from pyspark.sql import functions as F

    *assembly, estimate = model.stages
    margins = model.transform(_frame(rows)).select(vector_to_array(F.col("rawPrediction"))[1].alias(_MARGIN))
    margin = margins.toPandas()[_MARGIN].to_numpy()
    positives = label.sum()
    certain = np.where(label == 1, (positives + 1) / (positives + 2), 1 / (len(label) - positives + 2))
    weighed = pd.DataFrame({
        _MARGIN: np.tile(margin, 2),
        _LABEL: np.repeat([1.0, 0.0], len(label)),
        _WEIGHT: np.concatenate([certain, 1 - certain]),
    })  # fmt: skip
    curve = LogisticRegression(featuresCol="margin", labelCol=_LABEL, weightCol=_WEIGHT, regParam=0.0)
    as_vector = VectorAssembler(inputCols=[_MARGIN], outputCol="margin")
    fitted = curve.fit(as_vector.transform(_frame(weighed)))
    estimate = estimate.copy().setProbabilityCol("_uncalibrated").setPredictionCol("_undecided")
    slicer = VectorSlicer(inputCol="rawPrediction", outputCol="margin", indices=[1])
    return PipelineModel([*assembly, estimate, slicer, fitted.setRawPredictionCol("_calibrated_margin")])


def with_threshold(model: Any, threshold: float) -> Any:
    """The fitted model, deciding at this probability instead of 0.5."""
    model.stages[-1].setThresholds([1.0 - threshold, threshold])
    return model


def score(model: Any, rows: pd.DataFrame) -> np.ndarray:
    """Probability of the positive outcome, shape (n_rows,)."""
    scored: pd.DataFrame = _scored(model, _frame(rows)).select(_PROBABILITY).toPandas()
    probability: np.ndarray = scored[_PROBABILITY].to_numpy()
    return probability


def decide(model: Any, rows: pd.DataFrame) -> np.ndarray:
    """0.0 or 1.0 by the model's own threshold, shape (n_rows,)."""
    decided: pd.DataFrame = model.transform(_frame(rows)).select("prediction").toPandas()
    decision: np.ndarray = decided["prediction"].to_numpy()
    return decision


def explain(model: Any, rows: pd.DataFrame, baseline: Mapping[str, Any]) -> np.ndarray:
    """Occlusion: one prediction per row and predictor, all of them in one go."""
    import pandas as pd

    typical = pd.DataFrame([baseline] * len(rows), index=rows.index)[list(rows.columns)].astype(rows.dtypes)
    replaced = [rows.assign(**{name: typical[name]}) for name in rows.columns]
    scores = score(model, pd.concat([rows, *replaced], ignore_index=True)).reshape(-1, len(rows))
    effects: np.ndarray = (scores[0] - scores[1:]).T
    return effects


def over(
    model: Any, rows: DataFrame, card: ModelCard, key: Sequence[str], tell: Tell, schema: str, *, explained: bool
) -> DataFrame:
    """What is told of each row: scored where the rows lie by the JVM, then told of by the engine's Python workers."""
    from pyspark.sql import functions as F

    typed = rows.withColumns(
        {name: F.col(name).cast("string") for name in card.categorical if name != card.target}
        | {name: F.col(name).cast("double") for name in card.numeric}
    )
    asked = _asked_of_each(model, typed, card, key)
    if explained:
        asked = _explained(model, asked, card, key)

    def told(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            if batch.num_rows:
                given = batch.drop_columns([_PROBABILITIES, *([_EFFECTS] if explained else [])])
                effects = _table(batch, _EFFECTS) if explained else None
                yield tell(given, given.to_pandas(), _table(batch, _PROBABILITIES), effects)

    return asked.mapInArrow(told, schema)


def each(fits: Sequence[Callable[[], Any]]) -> list[Any]:
    """The results of several fits, one after another: Spark spreads each over its cores."""
    return [fit() for fit in fits]


def save_args(candidate: Candidate) -> dict[str, Any]:  # noqa: ARG001 - MLflow would serve the model to try an example
    """Stored by Spark itself, in a folder of the run."""
    return {"artifact_path": "model", "pip_requirements": ["pyspark", "pandas", "numpy"]}


def find_faults(copy: Path, description: Mapping[str, Any]) -> list[str]:
    """Stages outside of the reviewed list, or files that tell of none."""
    folder = copy / str(description.get("model_data"))
    inside = folder.resolve().is_relative_to(copy.resolve())
    files = sorted(folder.rglob("metadata/part-*")) if inside else []
    strangers = sorted({str(_class_of(file)) for file in files} - TRUSTED_STAGES)
    found = [
        (not files, "it holds no stages of Spark"),
        (bool(strangers), f"it has stages that aren't on the allow-list: {', '.join(strangers)}"),
        (description.get("model_class") not in _PIPELINE, "it isn't a pipeline of Spark"),
    ]
    return [text for is_fault, text in found if is_fault]


_PIPELINE = ("pyspark.ml.pipeline.PipelineModel", "pyspark.ml.PipelineModel", None)


def _class_of(file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))["class"]
    except (ValueError, KeyError, TypeError):
        return f"{file.parent.parent.name} (unreadable)"


def _asked_of_each(model: Any, rows: DataFrame, card: ModelCard, key: Sequence[str]) -> DataFrame:
    """The rows with the probability of each target, and the likeliest target; or with the one probability."""
    from pyspark.sql import functions as F

    if not card.target:
        return _scored(model, rows).select(*rows.columns, F.array(_PROBABILITY).alias(_PROBABILITIES))
    targets = F.array(*map(F.lit, card.targets))
    asked = _scored(model, rows.withColumn(_OWN, F.struct(*rows.columns)).withColumn(card.target, F.explode(targets)))
    by_target = F.map_from_entries(F.collect_list(F.struct(card.target, _PROBABILITY)))
    found = asked.groupBy(*key).agg(F.any_value(_OWN).alias(_OWN), by_target.alias("_by"))
    found = found.select(f"{_OWN}.*", F.array(*(F.col("_by")[name] for name in card.targets)).alias(_PROBABILITIES))
    likeliest = F.element_at(targets, F.array_position(_PROBABILITIES, F.array_max(_PROBABILITIES)).cast("int"))
    return found.withColumn(card.target, likeliest)


def _explained(model: Any, rows: DataFrame, card: ModelCard, key: Sequence[str]) -> DataFrame:
    """The rows with the effect of each predictor on the greatest probability, in the order of the predictors."""
    from pyspark.sql import functions as F

    numbered = rows.withColumn(_OWN, F.struct(*rows.columns)).withColumn(
        _NUMBER, F.explode(F.array(*(F.lit(number) for number in range(len(card.predictors)))))
    )
    replaced = {
        name: F.when(F.col(_NUMBER) == number, _typical(card, name)).otherwise(F.col(name))
        for number, name in enumerate(card.predictors)
    }
    scored = _scored(model, numbered.withColumns(replaced))
    in_order = F.array_sort(F.collect_list(F.struct(_NUMBER, _PROBABILITY)))
    found = scored.groupBy(*key).agg(F.any_value(_OWN).alias(_OWN), in_order.alias("_without"))
    effects = F.transform("_without", lambda without: F.array_max(f"{_OWN}.{_PROBABILITIES}") - without[_PROBABILITY])
    return found.select(f"{_OWN}.*", effects.alias(_EFFECTS))


def _typical(card: ModelCard, name: str) -> Column:
    from pyspark.sql import functions as F

    return F.lit(card.baseline[name]).cast("string" if name in card.categorical else "double")


def _scored(model: Any, rows: DataFrame) -> DataFrame:
    """The rows, in their order, with their probability."""
    from pyspark.ml.functions import vector_to_array
    from pyspark.sql import functions as F

    own = [F.col(f"`{name}`") for name in rows.columns]
    scored: DataFrame = model.transform(rows)
    return scored.select(*own, vector_to_array(F.col("probability"))[1].alias(_PROBABILITY))


def _table(batch: pa.RecordBatch, column: str) -> np.ndarray:
    """A column of lists, all as long, as an array of shape (n_rows, length)."""
    values: np.ndarray = batch[column].flatten().to_numpy(zero_copy_only=False)
    return values.reshape(batch.num_rows, -1)


def _frame(rows: pd.DataFrame) -> DataFrame:
    from pyspark.sql import SparkSession

    return SparkSession.active().createDataFrame(rows)


def _logistic_regression(params: dict[str, Any], n_rows: int, seed: int) -> Any:  # noqa: ARG001 - nothing is random
    from pyspark.ml.classification import LogisticRegression

    # scikit-learn's C weighs the sum of losses, Spark's parameter the penalty beside their mean.
    return LogisticRegression(regParam=1.0 / (params.get("C", 1.0) * n_rows), maxIter=200)


def _random_forest(params: dict[str, Any], n_rows: int, seed: int) -> Any:  # noqa: ARG001 - depends on no count
    from pyspark.ml.classification import RandomForestClassifier

    return RandomForestClassifier(
        numTrees=params.get("n_estimators", 100),
        maxDepth=_depth(params.get("max_depth")),
        # Spark asks for so many rows on either side of a split: then there were at least twice as many before it.
        minInstancesPerNode=max(1, -(-params.get("min_samples_split", 2) // 2)),
        seed=seed,
    )


def _gradient_boosting(params: dict[str, Any], n_rows: int, seed: int) -> Any:  # noqa: ARG001 - depends on no count
    from pyspark.ml.classification import GBTClassifier

    if params.get("l2_regularization"):
        log.info("  MLlib's gradient boosting has no l2_regularization: it learns without.")
    return GBTClassifier(
        stepSize=params.get("learning_rate", 0.1),
        maxIter=params.get("max_iter", 100),
        maxDepth=_depth(params.get("max_depth", 5)),
        minInstancesPerNode=params.get("min_samples_leaf", 20),
        seed=seed,
    )


def _depth(asked: int | None) -> int:
    """Spark's trees end at a depth of 30."""
    return _DEEPEST if asked is None else min(asked, _DEEPEST)


_BUILD: Mapping[str, Callable[[dict[str, Any], int, int], Any]] = {
    "logistic_regression": _logistic_regression,
    "random_forest": _random_forest,
    "gradient_boosting": _gradient_boosting,
}
