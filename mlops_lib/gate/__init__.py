"""The verdict: whether a model meets its bar, and how sure that is."""
