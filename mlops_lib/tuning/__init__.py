"""Pass 2 on the host: the search on a rejected run, and its workers."""
