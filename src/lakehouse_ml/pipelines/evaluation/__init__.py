"""Evaluation: measure the candidate on rows that no contender trained on, judge it once, promote it or not."""

from lakehouse_ml.pipelines.evaluation.pipeline import create_pipeline

__all__ = ["create_pipeline"]
