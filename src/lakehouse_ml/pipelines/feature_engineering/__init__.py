"""Feature engineering: build features and labels from clean rows by the use case's own functions."""

from lakehouse_ml.pipelines.feature_engineering.pipeline import create_pipeline

__all__ = ["create_pipeline"]
