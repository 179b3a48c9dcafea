"""The `mlops` command, also as `python -m mlops_lib`.

Looking at code answers before the rest has loaded.
"""

import io
import os
import sys


def main() -> int:
    """Run the command; returns the exit code."""
    _open_standard_streams()
    for stream in (sys.stdout, sys.stderr):
        # A file name or a sign that the terminal's encoding lacks is no reason to fail.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    if sys.argv[1:2] == ["detect"]:
        from mlops_lib.cli.detect import quickly

        code = quickly(sys.argv[2:])
        if code is not None:
            return code
    from mlops_lib.cli import main as whole

    return whole()


def _open_standard_streams() -> None:
    """Open standard streams that are closed on the null device.

    Otherwise the next file that is opened would become standard output.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            descriptor = os.open(os.devnull, os.O_RDWR)
            if descriptor != number:
                os.dup2(descriptor, number)
                os.close(descriptor)
            setattr(sys, name, os.fdopen(number, "r" if number == 0 else "w", closefd=False))


if __name__ == "__main__":
    # `-m` puts the current folder first on the path: no module of a pushed project may shadow
    # one of this package.
    here = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))  # noqa: PTH120 - pathlib costs more than the work
    if sys.path and os.path.realpath(sys.path[0]) == os.path.realpath(os.curdir) != here:
        del sys.path[0]
    raise SystemExit(main())
