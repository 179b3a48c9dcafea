"""Measurements of models: evaluations, comparisons, stored examples and leaks."""
