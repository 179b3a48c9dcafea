"""Build an environment, check its imports, and cache it for later runs."""
