"""From the champion and a batch to scores with reasons, and to the list of those worth acting on."""

from lakehouse_ml.pipelines.batch_scoring.pipeline import create_pipeline

__all__ = ["create_pipeline"]
