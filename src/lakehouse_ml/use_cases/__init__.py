"""The use cases that the pipelines serve. A further one is a folder beside these and a line here."""

from lakehouse_ml.use_cases.churn import CHURN
from lakehouse_ml.use_cases.predictive_maintenance import PREDICTIVE_MAINTENANCE

USE_CASES = (CHURN, PREDICTIVE_MAINTENANCE)
