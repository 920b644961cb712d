"""Ways to fit, score and explain, behind the same three functions."""
