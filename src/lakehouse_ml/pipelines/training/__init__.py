"""From features and labels to a candidate: split once for all time, search, choose by cross-validated F1."""

from lakehouse_ml.pipelines.training.pipeline import create_pipeline

__all__ = ["create_pipeline"]
