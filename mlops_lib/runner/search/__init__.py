"""The search for a better model from the developer's own, for every framework."""
