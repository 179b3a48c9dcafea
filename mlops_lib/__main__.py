"""`python -m mlops_lib` is the `mlops` command."""

from mlops_lib.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
