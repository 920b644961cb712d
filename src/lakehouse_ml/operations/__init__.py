"""What surrounds the pipelines: jobs on Databricks. Front doors import it; it imports the rest, never the reverse."""
