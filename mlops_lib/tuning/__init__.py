"""Pass 2 from outside: the search of a rejected run, its workers here and elsewhere."""
