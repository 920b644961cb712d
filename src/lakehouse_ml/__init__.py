"""From raw files to monitored batch scores: one set of pipelines for a laptop and for Databricks."""

import fsspec

__version__ = "0.1.0"

# Wherever our code runs, in an engine's workers too, and imported only where such an address is opened.
for protocol, files in {"s3": "S3Files", "abfss": "AzureFiles", "gs": "GoogleFiles"}.items():
    fsspec.register_implementation(protocol, f"lakehouse_ml.object_store.{files}", clobber=True)
