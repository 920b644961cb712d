"""Customer churn: which of the customers who are still there are likely to leave, and why."""

from lakehouse_ml.use_cases.base import UseCase
from lakehouse_ml.use_cases.churn.contracts import feature_customers, landing_customers, landing_outcomes
from lakehouse_ml.use_cases.churn.features import CATEGORICAL, build_features
from lakehouse_ml.use_cases.churn.labels import build_labels
from lakehouse_ml.use_cases.wording import Wording

CHURN = UseCase(
    name="churn",
    entity_plural="customers",
    sources={"customers": landing_customers, "outcomes": landing_outcomes},
    key=("customer_id", "snapshot_on"),
    features=build_features,
    labels=build_labels,
    categorical=CATEGORICAL,
    segments=("contract", "tenure_group"),
    meaning=feature_customers.meaning,
    wording=Wording(
        title="Customer churn",
        entity="customer",
        row="customer",
        action="an offer",
        action_list="offer list",
        heads=("customer",),
        positives="customers who left{within}",
        outcomes=("left{within}", "did not leave{within}"),
        prediction="likely to leave{within}",
        calibration="Of customers scored 30 %, do 30 % leave{within}?",
        economics="An offer costs {cost}, {share} of those who would leave{within} accept, and then {value} are kept",
        next_outcomes="Put a file of who left into outcomes/ of the landing folder as soon as it is known",
    ),
    outcomes="outcomes",
    outcome_labels=build_labels,
)
