"""The rows that the model benchmarks measure on, and one judgement of a set of predictors on them."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lakehouse_ml.modelling.estimators import sklearn as estimators
from lakehouse_ml.modelling.estimators.base import EstimatorSpec, select_predictors
from lakehouse_ml.modelling.metrics import classification_metrics
from lakehouse_ml.modelling.population import PopulationSpec
from lakehouse_ml.pipelines.training.nodes import Columns, TrainingSpec, assemble_rows, search
from lakehouse_ml.use_cases.churn import CHURN
from lakehouse_ml.use_cases.churn.contracts import feature_customers

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

PROJECT = Path(__file__).resolve().parents[2]
_TELCO = PROJECT.parent / "shared" / "data" / "telco"
_STAGES = ("data_ingestion", "data_quality", "feature_engineering")
_OF_A_LABEL = ("label", "known_at", "part")
NUMERIC = Columns.from_names(feature_customers.names, CHURN.key, CHURN.categorical, None).numeric


@dataclass(frozen=True)
class Customers:
    """Features and labels of churn, and the training that conf asks for.

    Attributes:
        description: Which rows these are, in a few words.
        features: One row per customer and day.
        labels: One row per customer and day with a known outcome.
        spec: Split and search of `conf/base`.
        population: What a file of a day means, of `conf/base`.
    """

    description: str
    features: DataFrame
    labels: DataFrame
    spec: TrainingSpec
    population: PopulationSpec

    def split(self, salt: int) -> DataFrame:
        """Labelled rows with their part, as `assemble_rows` gives them under this salt."""
        return assemble_rows(self.features, self.labels, set_salt(self.spec, salt), self.population, CHURN.key)


def landing(folder: Path) -> tuple[Path, str]:
    """The folder with the real Telco file where it lies beside the project, else with the simulated sample."""
    if _TELCO.is_dir():
        return _TELCO, "the real Telco file (7,043 customers)"
    from lakehouse_ml.use_cases.churn.synthetic import write_csv

    write_csv(folder / "customers_simulated.csv")
    return folder, "the simulated sample (5,000 customers; the real Telco file isn't beside the project)"


def customers(folder: Path, changed: Mapping[str, object]) -> Customers:
    """Take the rows through ingestion, quality and features by Kedro, once, into a lake in `folder`.

    Args:
        folder: For files and lake.
        changed: Training parameters that take the place of those in conf.
    """
    from kedro.framework.project import settings
    from kedro.framework.startup import bootstrap_project

    bootstrap_project(PROJECT)
    files, description = landing(folder / "landing")
    params = {"landing": str(files), "lake": str(folder / "lake")}
    # The run's summary is no part of the benchmark's table.
    with (
        contextlib.redirect_stdout(sys.stderr),
        settings.SESSION_CLASS.create(PROJECT, runtime_params=params) as session,
    ):
        session.run(pipeline_names=list(_STAGES), namespaces=[CHURN.name])
        context = session.load_context()
    tables = [context.catalog.load(f"{CHURN.name}.{layer}_{CHURN.entity_plural}") for layer in ("feature", "label")]
    conf = context.params[CHURN.name]
    training = TrainingSpec.model_validate(conf["training"] | changed)
    return Customers(description, *tables, training, PopulationSpec.model_validate(conf["population"]))


def set_salt(spec: TrainingSpec, salt: int) -> TrainingSpec:
    """The same training with another split."""
    return spec.model_copy(update={"split": spec.split.model_copy(update={"salt": salt})})


def one_trial(spec: TrainingSpec, trial: EstimatorSpec) -> TrainingSpec:
    """The same training with a search of one point."""
    return spec.model_copy(update={"trials": (trial,)})


def judge(
    model_input: DataFrame, spec: TrainingSpec, categorical: Sequence[str], numeric: Sequence[str]
) -> Mapping[str, float]:
    """Search on the training part; metrics of the winner, at its own threshold, on the hold-out."""
    rows = model_input.select(*CHURN.key, *categorical, *numeric, *_OF_A_LABEL)
    candidate, _ = search(rows, spec, CHURN.key, categorical)
    return measure_model(model_input, candidate.model, candidate.card.threshold, (categorical, numeric))


def measure_model(
    model_input: DataFrame, model: object, threshold: float, kinds: tuple[Sequence[str], Sequence[str]]
) -> Mapping[str, float]:
    """Metrics of a fitted model on the hold-out."""
    rows = model_input.where("part = 'holdout'").toPandas()
    probability = estimators.score(model, select_predictors(rows, *kinds))
    return classification_metrics(rows["label"].to_numpy(), probability, threshold)
