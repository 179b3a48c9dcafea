"""Show results and progress: on a terminal, in a log, in a notebook."""
