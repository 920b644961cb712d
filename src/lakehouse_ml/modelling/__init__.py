"""What decides about models, pure: estimators, splits, metrics, gates, drift and who belongs to a day."""
