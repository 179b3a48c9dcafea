"""Keras around the script."""
