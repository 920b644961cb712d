"""The use cases that the pipelines serve. A further one is a folder beside these and a line here."""

from lakehouse_ml.use_cases.churn import CHURN

USE_CASES = (CHURN,)
