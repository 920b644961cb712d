"""From a landing folder to raw rows: new files only, by a declared schema, nothing silently lost."""

from lakehouse_ml.pipelines.data_ingestion.pipeline import create_pipeline

__all__ = ["create_pipeline"]
