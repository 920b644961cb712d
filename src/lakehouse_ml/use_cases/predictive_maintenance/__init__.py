"""Predictive maintenance: which component of which machine is likely to fail soon, and why."""

from lakehouse_ml.use_cases.base import UseCase, Wording
from lakehouse_ml.use_cases.predictive_maintenance.contracts import (
    feature_machines,
    landing_errors,
    landing_failures,
    landing_machines,
    landing_maintenance,
    landing_telemetry,
)
from lakehouse_ml.use_cases.predictive_maintenance.features import CATEGORICAL, build_features
from lakehouse_ml.use_cases.predictive_maintenance.labels import build_labels
from lakehouse_ml.use_cases.predictive_maintenance.measures import worth_of_decisions

PREDICTIVE_MAINTENANCE = UseCase(
    name="predictive_maintenance",
    noun="machines",
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
    meaning=feature_machines.meaning,
    wording=Wording(
        title="Predictive maintenance",
        entity="machine",
        one="prediction",
        many="predictions",
        all="components",
        who="that",
        happens="fail",
        happened="failed",
        action="a visit",
        whom="which to visit",
        listed="to which a visit is worth most",
        economics="A visit costs {cost}; {share} of failures are prevented by one, and each would cost {value}",
        later="Land the days that follow: as soon as a prediction's horizon is over, it is compared with the failures",
    ),
    target="component",
    recurring=True,
    references=("machines",),
    measures=worth_of_decisions,
)
