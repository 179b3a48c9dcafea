"""An installer that tries one combination of releases after the other may go on for hours: it gets a while, and is ended.

pip says when it has rejected many releases of one distribution. Where the project pins versions there may be no combination at
all, and loosening them is the quicker way.
"""

from __future__ import annotations

import subprocess
import threading

PATIENCE_S = 120.0
"""How long an installer may look on for releases that go together once it has said that this takes long."""
SIGN = "This is taking longer than usual"
GAVE_UP = "ERROR: Could not find releases that go together: the versions asked for leave too many combinations to try\n"
"""What is added to the output of an installer that was ended; it reads as a refusal."""


class Patience:
    """Watches an installer's output while it runs.

    Args:
        process: the installer.
        asked: whether it was asked for versions that could be loosened; else it goes on.
        patience_s: the while that it gets.
    """

    def __init__(self, process: subprocess.Popen[str], *, asked: bool, patience_s: float = PATIENCE_S) -> None:
        self.said: list[str] = []
        self._process = process
        self._asked = asked
        self._timer = threading.Timer(patience_s, self._end)
        self._timer.daemon = True

    def __enter__(self) -> Patience:
        return self

    def saw(self, line: str) -> None:
        """One line of the output."""
        if self._asked and SIGN in line and self._timer.ident is None:
            self._timer.start()

    def _end(self) -> None:
        self.said.append(GAVE_UP)
        self._process.terminate()

    def __exit__(self, *error: object) -> None:
        self._timer.cancel()
