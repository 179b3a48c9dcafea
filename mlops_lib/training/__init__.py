"""Train one run to its end: start containers, restart them, and stop when that cannot help."""
