"""Ingest new files of a landing folder as raw rows, by a declared schema; every other line goes to quarantine."""

from lakehouse_ml.pipelines.data_ingestion.pipeline import create_pipeline

__all__ = ["create_pipeline"]
