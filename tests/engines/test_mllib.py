"""Spark MLlib behind the same protocol as scikit-learn: as good, and reported, stored and refused the same way."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from kedro.io import DatasetError
from pyspark.sql import functions as F

from lakehouse_ml.datasets.registered_model import RegisteredModel
from lakehouse_ml.errors import find
from lakehouse_ml.modelling.card import Candidate, ModelCard, RegistryStatus
from lakehouse_ml.modelling.estimators import mllib, sklearn
from lakehouse_ml.modelling.estimators.base import EstimatorBackend, EstimatorSpec, estimator_backend, select_predictors
from lakehouse_ml.modelling.metrics import bootstrap_intervals, choose_threshold, classification_metrics
from lakehouse_ml.modelling.model import Model
from lakehouse_ml.pipelines.batch_scoring.nodes import ScoringSpec, score_rows
from lakehouse_ml.pipelines.training.nodes import TrainingSpec, search

pytestmark = pytest.mark.jvm

CATEGORICAL, NUMERIC = ("model", "component"), ("age", "load")
PARTS = ("belt", "motor")
SPECS = {
    "logistic_regression": {"C": 1.0},
    "random_forest": {"n_estimators": 20, "max_depth": 6, "min_samples_split": 10},
    "gradient_boosting": {"learning_rate": 0.1, "max_iter": 30, "max_depth": 3, "min_samples_leaf": 20},
}
BASELINE = {"model": "a", "component": "belt", "age": 10.0, "load": 0.0}


def machines(n: int, seed: int = 0) -> pd.DataFrame:
    """Belts of old machines fail, motors under load; a tenth of the values is missing."""
    draw = np.random.default_rng(seed)
    rows = pd.DataFrame(
        {
            "machine_id": np.arange(n),
            "at": pd.Timestamp("2024-05-01", tz="UTC") + pd.to_timedelta(draw.integers(0, 24, n), unit="h"),
            "model": draw.choice(["a", "b"], n),
            "component": draw.choice(PARTS, n),
            "age": draw.normal(10, 4, n),
            "load": draw.normal(0, 1, n),
        }
    )
    belt = rows["component"] == "belt"
    logit = np.where(belt, (rows["age"] - 12) / 2, 2 * rows["load"] - 1) + (rows["model"] == "b") - 0.5
    rows["label"] = (draw.random(n) < 1 / (1 + np.exp(-logit))).astype(int)
    for name in ("model", "age", "load"):
        rows.loc[draw.random(n) < 0.1, name] = None
    return rows


def select_inputs(rows: pd.DataFrame) -> pd.DataFrame:
    return select_predictors(rows, CATEGORICAL, NUMERIC)


def fitted(name: str, rows: pd.DataFrame, by: EstimatorBackend = mllib) -> Any:
    spec = EstimatorSpec(estimator=name, params=SPECS[name])
    label = rows["label"].to_numpy()
    return by.fit(spec, select_inputs(rows), label, categorical=CATEGORICAL, numeric=NUMERIC, seed=0)


@pytest.fixture(scope="module")
def learned(spark: Any) -> pd.DataFrame:
    """Rows to learn from."""
    return machines(3_000)


@pytest.fixture(scope="module", params=list(SPECS))
def each_model(request: pytest.FixtureRequest, spark: Any, learned: pd.DataFrame) -> Any:
    """Each estimator of the closed table, fitted."""
    return fitted(request.param, learned)


@pytest.fixture(scope="module")
def boosting(spark: Any, learned: pd.DataFrame) -> Any:
    return fitted("gradient_boosting", learned)


def card(**changes: Any) -> ModelCard:
    fields = {
        "library": "mllib",
        "estimator": "gradient_boosting",
        "params": {},
        "categorical": CATEGORICAL,
        "numeric": NUMERIC,
        "threshold": 0.4,
        "baseline": BASELINE,
        "reference": {},
        "importance": {"age": 0.1},
        "metrics": {},
        "unseen": {"kind": "hash", "salt": 0, "holdout_share": 0.2},
    }
    return ModelCard(**{**fields, **changes})


# As good


@pytest.mark.parametrize("name", list(SPECS))
def test_both_libraries_agree_on_metrics_within_the_interval_that_is_reported(
    spark: Any, learned: pd.DataFrame, name: str
) -> None:
    unseen = machines(4_000, seed=1)
    label = unseen["label"].to_numpy()
    one, other = (by.score(fitted(name, learned, by), select_inputs(unseen)) for by in (mllib, sklearn))
    threshold = choose_threshold(label, other)
    bands = bootstrap_intervals(label, other, threshold, resamples=300, seed=0)
    metrics = classification_metrics(label, one, choose_threshold(label, one))
    for metric in ("f1", "average_precision", "roc_auc"):
        low, high = bands[metric]
        assert low < metrics[metric] < high, metric
        assert high - low < 0.06, metric
    assert np.corrcoef(one, other)[0, 1] > 0.95


def test_rows_in_memory_are_computed_by_tasks_and_not_by_the_planner(spark: Any) -> None:
    # The planner computes on local rows in one thread: for a forest over sixty columns, eight to thirty times as long.
    frame = mllib._to_spark(select_inputs(machines(50)).assign(n=range(50)))
    plan = frame.withColumn("more", F.col("n") + 1)._jdf.queryExecution().optimizedPlan().toString()
    assert [line.strip(" :+-").split()[0] for line in plan.splitlines()] == ["Project", "Repartition", "LocalRelation"]
    assert frame.rdd.getNumPartitions() == spark.sparkContext.defaultParallelism
    assert [row.n for row in frame.collect()] == list(range(50))


def test_a_search_by_either_library_reports_the_same_of_its_trials(spark: Any, learned: pd.DataFrame) -> None:
    split = {"holdout_share": 0.2, "salt": 0, "min_per_class": 5, "max_share_gap": 0.5}
    trials = [{"estimator": name, "params": SPECS[name]} for name in ("logistic_regression", "gradient_boosting")]
    rows = spark.createDataFrame(learned.assign(part=np.where(learned["machine_id"] % 5 == 0, "holdout", "train")))
    results = {}
    for name in ("sklearn", "mllib"):
        spec = TrainingSpec.model_validate(
            {"library": name, "split": split, "folds": 3, "seed": 0, "max_rows": 10_000, "trials": trials}
        )
        results[name] = search(rows, spec, ("machine_id", "at"), ("model",), "component")
    (one, one_trials), (other, other_trials) = results["sklearn"], results["mllib"]
    assert (one.card.library, other.card.library) == ("sklearn", "mllib")
    assert one_trials.columns.tolist() == other_trials.columns.tolist()
    assert one_trials[["trial", "estimator", "params"]].equals(other_trials[["trial", "estimator", "params"]])
    assert (one_trials["f1"] - other_trials["f1"]).abs().max() < 0.02
    assert set(one.card.importance) == set(other.card.importance)
    assert (one.card.label_dimension, one.card.label_values) == (other.card.label_dimension, other.card.label_values)


# What is asked of a model


def test_an_unknown_category_counts_as_none_and_a_missing_number_as_the_median(each_model: Any) -> None:
    rows = pd.DataFrame(
        [["z", "belt", 9.0, 0.1], [None, "belt", 9.0, 0.1], ["a", "belt", np.nan, 0.1]],
        columns=[*CATEGORICAL, *NUMERIC],
    )
    median = float(machines(3_000)["age"].median())
    unknown, none, missing = mllib.score(each_model, select_inputs(rows))
    assert unknown == none
    assert missing == pytest.approx(mllib.score(each_model, select_inputs(rows.assign(age=median)))[2], abs=0.02)


def test_predictors_without_any_value_are_ignored(spark: Any) -> None:
    rows = machines(300)
    label, inputs = rows["label"].to_numpy(), select_inputs(rows.assign(load=np.nan, model=None))
    spec = EstimatorSpec(estimator="random_forest", params={"n_estimators": 3, "max_depth": 3})
    model = mllib.fit(spec, inputs, label, categorical=CATEGORICAL, numeric=NUMERIC, seed=0)
    probability = mllib.score(model, select_inputs(rows))
    assert probability.tolist() == mllib.score(model, inputs).tolist()
    assert len(set(probability)) > 1


def test_the_model_itself_decides_at_its_threshold(each_model: Any) -> None:
    rows = select_inputs(machines(200, seed=2))
    score = mllib.score(each_model, rows)
    threshold = float(np.quantile(score, 0.7)) + 1e-9
    decided = mllib.decide(mllib.set_threshold(each_model, threshold), rows)
    assert decided.tolist() == (score > threshold).astype(float).tolist()


def test_an_effect_is_what_the_probability_loses_with_a_typical_value(each_model: Any) -> None:
    rows = select_inputs(machines(50, seed=3))
    effects = mllib.explain(each_model, rows, BASELINE)
    here = mllib.score(each_model, rows)
    for number, name in enumerate(rows.columns):
        without = mllib.score(each_model, rows.assign(**{name: BASELINE[name]}))
        assert effects[:, number] == pytest.approx(here - without, abs=1e-12)
    assert np.abs(effects).max() > 0.05


def test_calibration_equals_scikit_learns_and_keeps_the_order_of_scores(spark: Any, learned: pd.DataFrame) -> None:
    model = fitted("gradient_boosting", learned)
    rows = machines(1_000, seed=4)
    inputs, label = select_inputs(rows), rows["label"].to_numpy()
    raw = mllib.score(model, inputs)
    calibrated = mllib.score(mllib.calibrate(model, inputs, label), inputs)
    from sklearn.calibration import _sigmoid_calibration

    # Spark's boosting has p = 1 / (1 + exp(-2 margin)).
    slope, offset = _sigmoid_calibration(np.log(raw / (1 - raw)) / 2, label)
    margin = np.log(raw / (1 - raw)) / 2
    assert calibrated == pytest.approx(1 / (1 + np.exp(slope * margin + offset)), abs=1e-3)
    assert np.argsort(raw, kind="stable").tolist() == np.argsort(calibrated, kind="stable").tolist()
    assert calibrated.mean() == pytest.approx(label.mean(), abs=0.005)


def test_a_calibrated_model_scores_and_is_explained_like_any_other(spark: Any, learned: pd.DataFrame) -> None:
    rows = machines(400, seed=5)
    model = mllib.calibrate(fitted("random_forest", learned), select_inputs(rows), rows["label"].to_numpy())
    inputs = select_inputs(rows.head(20))
    score = mllib.score(model, inputs)
    effects = mllib.explain(model, inputs, BASELINE)
    assert effects[:, 2] == pytest.approx(score - mllib.score(model, inputs.assign(age=10.0)), abs=1e-12)
    assert mllib.decide(mllib.set_threshold(model, 0.6), inputs).tolist() == (score > 0.6).astype(float).tolist()


# A scored table


def scored(spark: Any, model: Any, model_card: ModelCard, rows: pd.DataFrame, **params: Any) -> pd.DataFrame:
    features = spark.createDataFrame(rows)
    labels = features.select("machine_id", "at", F.lit("belt").alias("component"), F.lit(0).alias("label"))
    spec = ScoringSpec.model_validate({"reasons": 2, "actions": 10} | params)
    champion = Model("machines", "3", model, model_card)
    (batch,) = score_rows(
        features,
        labels,
        RegistryStatus(champion="3"),
        champion,
        spec,
        pd.Timestamp("2024-06-01", tz="UTC").to_pydatetime(),
        None,
        ("machine_id", "at"),
        label_dimension=model_card.label_dimension,
    )
    return batch.rows.toPandas().sort_values("machine_id", ignore_index=True)


def test_a_table_scored_with_targets_has_the_same_columns_and_the_models_own_numbers(
    spark: Any, learned: pd.DataFrame, boosting: Any
) -> None:
    rows = machines(60, seed=6).drop(columns=["component", "label"])
    model_card = card(label_dimension="component", label_values=PARTS, categorical=("model", "component"))
    table = scored(spark, boosting, model_card, rows)
    by_sklearn = card(library="sklearn", label_dimension="component", label_values=PARTS)
    other = scored(spark, fitted("gradient_boosting", learned, sklearn), by_sklearn, rows)
    assert table.columns.tolist() == other.columns.tolist()
    assert table.dtypes.astype(str).tolist() == other.dtypes.astype(str).tolist()

    each = np.column_stack([mllib.score(boosting, select_inputs(rows.assign(component=part))) for part in PARTS])
    likeliest = np.array(PARTS)[each.argmax(axis=1)]
    assert table[[f"probability_{part}" for part in PARTS]].to_numpy() == pytest.approx(each, abs=1e-12)
    assert table["component"].tolist() == likeliest.tolist()
    assert table["probability"].to_numpy() == pytest.approx(1 - (1 - each).prod(axis=1), abs=1e-12)
    assert table["decision"].tolist() == (each.max(axis=1) >= 0.4).astype(int).tolist()
    effects = mllib.explain(boosting, select_inputs(rows.assign(component=likeliest)), BASELINE)[:, [0, 2, 3]]
    names = np.array(["model", "age", "load"])
    for row, effect in zip(table["reasons"], effects, strict=True):
        strongest = np.argsort(-np.abs(effect), kind="stable")[:2]
        assert [reason["feature"] for reason in row] == names[strongest].tolist()
        assert [reason["effect"] for reason in row] == pytest.approx(effect[strongest].tolist(), abs=1e-12)


def test_a_table_scored_without_targets_and_reasons_holds_probabilities(spark: Any, boosting: Any) -> None:
    rows = machines(60, seed=7).drop(columns="label")
    table = scored(spark, boosting, card(), rows, reasons=0)
    assert table["probability"].to_numpy() == pytest.approx(mllib.score(boosting, select_inputs(rows)), abs=1e-12)
    assert {len(reasons) for reasons in table["reasons"]} == {0}


# In the registry


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with a tracking store, a registry and its digests."""
    import mlflow

    folder = tmp_path_factory.mktemp("store")
    tracking_uri = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(f"sqlite:///{folder / 'mlflow.db'}")
    mlflow.create_experiment("tests", artifact_location=str(folder / "artifacts"))
    mlflow.set_experiment("tests")
    with mlflow.start_run():
        yield folder
    mlflow.set_tracking_uri(tracking_uri)


def challenger(store: Path, name: str) -> RegisteredModel:
    return RegisteredModel(name=name, role="challenger", digests=str(store / f"digests_{name}"))


@pytest.fixture(scope="module")
def registered(store: Path, spark: Any, learned: pd.DataFrame) -> tuple[RegisteredModel, Any]:
    """A registered model, and the model that was registered."""
    rows = machines(400, seed=8)
    calibrated = mllib.calibrate(fitted("gradient_boosting", learned), select_inputs(rows), rows["label"].to_numpy())
    model = mllib.set_threshold(calibrated, 0.4)
    role = challenger(store, "machines")
    role.save(Candidate(model, card(), select_inputs(rows.head())))
    return role, model


def test_a_registered_model_scores_as_before_with_its_assembly_inside(registered: tuple[RegisteredModel, Any]) -> None:
    role, model = registered
    rows = machines(100, seed=9)
    loaded = role.load()
    assert loaded is not None
    assert (loaded.version, loaded.card) == ("1", card())
    assert loaded.score(rows).tolist() == mllib.score(model, select_inputs(rows)).tolist()


def test_a_version_says_what_goes_in_and_what_it_needs(store: Path, registered: tuple[RegisteredModel, Any]) -> None:
    import mlflow

    folder = Path(mlflow.artifacts.download_artifacts("models:/machines/1", dst_path=str(store / "copy")))
    described = mlflow.models.Model.load(str(folder))
    assert described.signature is not None
    assert described.signature.inputs.input_names() == [*CATEGORICAL, *NUMERIC]
    required = (folder / "requirements.txt").read_text().splitlines()
    assert {line.split("==")[0] for line in required} == {"mlflow", "pyspark", "pandas", "numpy"}
    served = mlflow.pyfunc.load_model(str(folder)).predict(select_inputs(machines(20, seed=10)))
    assert set(served) <= {0.0, 1.0}


def test_a_changed_byte_of_a_stored_model_is_refused(store: Path, spark: Any, learned: pd.DataFrame) -> None:
    import mlflow

    role = challenger(store, "flipped")
    role.save(Candidate(fitted("logistic_regression", learned), card(), select_inputs(learned.head())))
    (version,) = mlflow.MlflowClient().search_model_versions("name='flipped'")
    folder = Path(mlflow.artifacts.download_artifacts(version.source))
    data = min(folder.rglob("*LogisticRegression*/data/part-*.parquet"))
    content = bytearray(data.read_bytes())
    content[len(content) // 2] ^= 1
    data.write_bytes(bytes(content))
    with pytest.raises(DatasetError) as caught:
        role.load()
    assert "is not what was registered" in str(find(caught.value))


def sql_inside(spark: Any, learned: pd.DataFrame) -> Any:
    """A pipeline with a stage that runs any SQL when it is asked."""
    from pyspark.ml import PipelineModel
    from pyspark.ml.feature import SQLTransformer

    stages = fitted("logistic_regression", learned).stages
    return PipelineModel([SQLTransformer(statement="SELECT * FROM __THIS__"), *stages])


def python_inside(spark: Any, learned: pd.DataFrame) -> Any:
    return fitted("logistic_regression", learned)


@pytest.mark.parametrize(
    ("kind", "stranger"),
    [("sql", "org.apache.spark.ml.feature.SQLTransformer"), ("python", "os.path.Whatever"), ("broken", "(unreadable)")],
)
def test_a_stage_outside_of_the_reviewed_list_is_refused_before_it_is_read(
    store: Path, spark: Any, learned: pd.DataFrame, kind: str, stranger: str
) -> None:
    model = sql_inside(spark, learned) if kind == "sql" else python_inside(spark, learned)
    folder = store / f"stranger_{kind}"
    model.write().overwrite().save(str(folder / "sparkml"))
    if kind != "sql":
        (described,) = folder.glob("sparkml/stages/*Imputer*/metadata/part-*")
        description = json.loads(described.read_text())
        changed = json.dumps(description | {"class": "os.path.Whatever"}) if kind == "python" else "{"
        described.write_text(changed)
    (why,) = mllib.find_faults(folder, {"model_data": "sparkml"})
    assert why.startswith("it has stages that aren't on the allow-list: ")
    assert stranger in why


@pytest.mark.parametrize("elsewhere", ["../stranger_sql/sparkml", "nowhere"])
def test_a_description_that_leads_elsewhere_is_refused(tmp_path: Path, elsewhere: str) -> None:
    assert mllib.find_faults(tmp_path, {"model_data": elsewhere}) == ["it holds no stages of Spark"]


def test_every_kind_of_model_that_is_fitted_consists_of_reviewed_stages(each_model: Any, tmp_path: Path) -> None:
    rows = machines(200, seed=11)
    calibrated = mllib.calibrate(each_model, select_inputs(rows), rows["label"].to_numpy())
    calibrated.write().save(str(tmp_path / "sparkml"))
    assert estimator_backend("mllib").find_faults(tmp_path, {"model_data": "sparkml"}) == []
