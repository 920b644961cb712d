"""Delta tables: reading, and the writers of both engines."""
