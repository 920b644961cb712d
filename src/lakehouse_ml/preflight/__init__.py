"""What can be said of an environment before a run: its conf, addresses, and what it would compute with."""
