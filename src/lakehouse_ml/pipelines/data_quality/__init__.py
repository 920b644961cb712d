"""From raw rows to clean ones: each row judged once, by named rules, and none lost."""

from lakehouse_ml.pipelines.data_quality.pipeline import create_pipeline

__all__ = ["create_pipeline"]
