"""What a build server keeps and shows of a run."""
