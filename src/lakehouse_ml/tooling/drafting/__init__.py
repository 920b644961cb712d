"""A use case drafted from a CSV: read the file, decide what columns are, render code and conf, place them."""
