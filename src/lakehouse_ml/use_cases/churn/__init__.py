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
        one="customer",
        many="customers",
        all="customers",
        who="who",
        happens="leave{within}",
        happened="left{within}",
        action="an offer",
        whom="whom to make an offer",
        listed="the {n} to whom an offer is worth most",
        economics="An offer costs {cost}, {share} of those who would leave{within} accept, and then {value} are kept",
        later="As soon as it is known who left{within}, put that as a file into outcomes/ of the landing folder",
        everybody="everybody",
        share="{share} of them left{within}",
        named="are named as likely to leave{within}",
        heads=("customer",),
    ),
    outcomes="outcomes",
    outcome_labels=build_labels,
)
