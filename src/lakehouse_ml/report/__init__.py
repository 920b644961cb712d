"""The page that a run leaves for people: what was done, how good it is, and what to do next."""
