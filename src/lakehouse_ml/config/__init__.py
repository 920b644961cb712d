"""What conf says: typed parameters, where a lake lies, and how conf is read."""
