"""Training: assign rows to the parts of the split, and choose the candidate from a search by cross-validated F1."""

from lakehouse_ml.pipelines.training.pipeline import create_pipeline

__all__ = ["create_pipeline"]
