"""Benign or malignant, from the shape of cell nuclei."""
