"""From raw files to monitored batch scores: one set of pipelines for a laptop and for Databricks."""

__version__ = "0.1.0"
