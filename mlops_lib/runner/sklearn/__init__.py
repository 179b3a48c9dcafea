"""scikit-learn around the script."""
