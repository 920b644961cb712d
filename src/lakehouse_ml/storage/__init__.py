"""Where data lies: tables, landing files, their provenance, locks and retries."""
