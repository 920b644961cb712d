"""Seven stages, each a shape that every use case fills."""

# In the order in which data flows.
STAGES = (
    "data_ingestion",
    "data_quality",
    "feature_engineering",
    "training",
    "evaluation",
    "batch_scoring",
    "monitoring",
)
# The node that fits models, by its name below a use case's.
SEARCH = "training.search"
