"""Predictive maintenance: which component of which machine is likely to fail soon, and why."""

from lakehouse_ml.use_cases.base import UseCase
from lakehouse_ml.use_cases.predictive_maintenance.contracts import (
    landing_errors,
    landing_failures,
    landing_machines,
    landing_maintenance,
    landing_telemetry,
    model_input_machines,
)
from lakehouse_ml.use_cases.predictive_maintenance.features import CATEGORICAL, build_features
from lakehouse_ml.use_cases.predictive_maintenance.labels import build_labels
from lakehouse_ml.use_cases.predictive_maintenance.measures import worth_of_decisions
from lakehouse_ml.use_cases.predictive_maintenance.wording import WORDING

PREDICTIVE_MAINTENANCE = UseCase(
    name="predictive_maintenance",
    entity_plural="machines",
    sources={
        "telemetry": landing_telemetry,
        "errors": landing_errors,
        "maintenance": landing_maintenance,
        "failures": landing_failures,
        "machines": landing_machines,
    },
    key=("machine_id", "predicted_at"),
    features=build_features,
    labels=build_labels,
    categorical=CATEGORICAL,
    segments=("component", "model"),
    meaning=model_input_machines.meaning,
    wording=WORDING,
    label_dimension="component",
    multiple_rows_per_entity=True,
    references=("machines",),
    measures=worth_of_decisions,
)
