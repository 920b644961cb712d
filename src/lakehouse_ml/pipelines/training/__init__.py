"""Training: split features and labels once and for all, search, choose the candidate by cross-validated F1."""

from lakehouse_ml.pipelines.training.pipeline import create_pipeline

__all__ = ["create_pipeline"]
