"""Predictive maintenance: which component of which machine is about to fail."""
