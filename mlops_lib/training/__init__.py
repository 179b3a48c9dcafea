"""Training: run, supervise, restart and end one training; read its journal."""
