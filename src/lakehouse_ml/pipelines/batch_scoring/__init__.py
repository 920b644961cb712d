"""Batch scoring: score a batch with reasons by the champion, and list the rows worth acting on."""

from lakehouse_ml.pipelines.batch_scoring.pipeline import create_pipeline

__all__ = ["create_pipeline"]
