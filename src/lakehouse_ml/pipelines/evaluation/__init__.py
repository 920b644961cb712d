"""From a candidate to a verdict: measured on rows that no contender trained on, judged once, promoted or not."""

from lakehouse_ml.pipelines.evaluation.pipeline import create_pipeline

__all__ = ["create_pipeline"]
