"""From scores to whether they can still be trusted: drift against training, and outcomes that came later."""

from lakehouse_ml.pipelines.monitoring.pipeline import create_pipeline

__all__ = ["create_pipeline"]
