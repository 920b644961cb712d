"""From raw files to monitored batch scores: one set of pipelines for a laptop and for Databricks."""

import fsspec

__version__ = "0.1.0"

# Wherever our code runs, in an engine's workers too, and imported only where such an address is opened.
fsspec.register_implementation("s3", "lakehouse_ml.storage.object_store.S3Files", clobber=True)
fsspec.register_implementation("abfss", "lakehouse_ml.storage.object_store.AzureFiles", clobber=True)
fsspec.register_implementation("gs", "lakehouse_ml.storage.object_store.GoogleFiles", clobber=True)
