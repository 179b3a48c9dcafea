"""An installer that tries one combination of releases after the other may go on for hours: it gets
a while, and is ended.

pip says when it has rejected many releases of one distribution. Where the project pins versions
there may be no combination at all, and loosening them is the quicker way.
"""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Callable

PATIENCE_S = 120.0
"""How long an installer may look on for releases that go together once it has said that this takes
long.
"""
SIGN = "This is taking longer than usual"
GAVE_UP = "ERROR: Could not find releases that go together: the versions asked for leave too many combinations to try\n"
"""What is added to the output of an installer that was ended; it reads as a refusal."""


def followed(
    process: subprocess.Popen[str],
    on_line: Callable[[str], None],
    *,
    asked: bool,
    patience_s: float = PATIENCE_S,
) -> list[str]:
    """The lines that an installer prints until it ends, or is ended.

    Args:
        process: the installer, its output a pipe.
        on_line: told each line, without its end.
        asked: whether it was asked for versions that could be loosened; else it goes on.
        patience_s: the while that it gets.
    """
    assert process.stdout is not None
    lines: list[str] = []
    said: list[str] = []

    def end() -> None:
        said.append(GAVE_UP)
        process.terminate()

    timer = threading.Timer(patience_s, end)
    timer.daemon = True
    try:
        for line in process.stdout:
            lines.append(line)
            if asked and SIGN in line and timer.ident is None:
                timer.start()
            on_line(line.rstrip("\n"))
    finally:
        timer.cancel()
    return [*lines, *said]
