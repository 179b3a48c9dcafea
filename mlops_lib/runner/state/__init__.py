"""State of a process that a restart has to give again: what it draws from the system, and the time."""
