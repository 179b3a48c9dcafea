"""Process state that a restart restores: random state, time, files, checkpoints."""
