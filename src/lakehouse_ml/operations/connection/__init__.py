"""Questions to a Databricks workspace, by its SDK: what a target needs and lacks there, and its cluster policies."""
