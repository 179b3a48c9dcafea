"""The state of runs, and taking over those whose driving process has died."""
