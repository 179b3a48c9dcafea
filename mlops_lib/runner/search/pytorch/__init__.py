"""The search for PyTorch models, around the script's own training loop."""
