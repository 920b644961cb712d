"""The model registry and the tracking store behind it."""
