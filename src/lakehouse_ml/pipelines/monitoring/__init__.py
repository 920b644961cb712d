"""Monitoring: compare batches with the training rows, measure scores by later outcomes, and write the report."""

from lakehouse_ml.pipelines.monitoring.pipeline import create_pipeline

__all__ = ["create_pipeline"]
