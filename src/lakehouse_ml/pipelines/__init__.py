"""Seven stages, each a shape that every use case fills."""
