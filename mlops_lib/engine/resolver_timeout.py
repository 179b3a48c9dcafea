"""Stop an installer that tries one combination of releases after the other.

That may take hours. pip reports when it has rejected many releases of one distribution. If the
project pins versions there may be no compatible combination at all, and loosening them is faster.
"""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Callable

SEARCH_S = 120.0
"""Seconds that an installer has for its search once it has reported that this takes long."""
SIGN = "This is taking longer than usual"
STOPPED_LINE = (
    "ERROR: Could not find releases that go together: the versions asked for leave too many"
    " combinations to try\n"
)
"""Line that is added to the output of a stopped installer.

It reads as a refusal of pip's.
"""


def follow(
    process: subprocess.Popen[str],
    on_line: Callable[[str], None],
    *,
    asked: bool,
    patience_s: float = SEARCH_S,
) -> list[str]:
    """Yield the lines that an installer prints until it ends or is stopped.

    Args:
        process: the installer, with a pipe as its output.
        on_line: receives each line, without its end.
        asked: whether there are versions that could be loosened; otherwise it is never stopped.
        patience_s: seconds that its search may take.
    """
    assert process.stdout is not None
    lines: list[str] = []
    output: list[str] = []

    def end() -> None:
        output.append(STOPPED_LINE)
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
    return [*lines, *output]
