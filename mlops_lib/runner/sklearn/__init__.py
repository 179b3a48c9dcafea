"""Adapter for scikit-learn."""
