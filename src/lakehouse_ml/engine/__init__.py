"""The engine that computes: Sail in this process, Apache Spark, or a session of Databricks."""
