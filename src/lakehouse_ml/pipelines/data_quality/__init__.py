"""Check every raw row once by named rules, and split clean rows from quarantined ones; no row is lost."""

from lakehouse_ml.pipelines.data_quality.pipeline import create_pipeline

__all__ = ["create_pipeline"]
