"""The results of a run for a build server."""
