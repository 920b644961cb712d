"""From clean rows to features and labels, by the use case's own two functions."""

from lakehouse_ml.pipelines.feature_engineering.pipeline import create_pipeline

__all__ = ["create_pipeline"]
