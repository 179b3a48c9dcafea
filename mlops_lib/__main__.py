"""The `mlops` command, also as `python -m mlops_lib`. Looking at code answers before the rest has loaded."""

import sys


def main() -> int:
    """Run the command; returns the exit code."""
    if sys.argv[1:2] == ["detect"]:
        from mlops_lib.detection.command import quickly

        code = quickly(sys.argv[2:])
        if code is not None:
            return code
    from mlops_lib.cli import main as whole

    return whole()


if __name__ == "__main__":
    raise SystemExit(main())
