"""Make an environment real: build it, check its imports, keep it for the next run."""
