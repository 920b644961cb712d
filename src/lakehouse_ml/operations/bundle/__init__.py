"""The bundle that Databricks deploys: read as the Databricks CLI reads it, and checked without a network."""
