"""The gate: whether a model meets its bar, with the evidence for the answer."""
