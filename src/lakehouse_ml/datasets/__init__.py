"""The I/O that kedro-datasets doesn't have. Imported by name from the catalog, so that each brings only its own."""
