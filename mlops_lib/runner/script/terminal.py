"""A terminal's size for scripts that ask: there is none here, and what they want is the width of a
bar of progress.
"""

import functools
import os
from typing import Any

COLUMNS = 80
LINES = 24


def install() -> None:
    """Answer where a terminal would be asked."""
    size = os.get_terminal_size
    popen = os.popen

    @functools.wraps(size)
    def get_terminal_size(*args: Any) -> os.terminal_size:
        try:
            return size(*args)
        except (OSError, ValueError):
            return os.terminal_size((COLUMNS, LINES))

    @functools.wraps(popen)
    def popen_(cmd: str, *args: Any, **kwargs: Any) -> Any:
        asked = isinstance(cmd, str) and cmd.split()[:2] == ["stty", "size"]
        return popen(
            f"{cmd} 2>/dev/null || echo {LINES} {COLUMNS}" if asked else cmd, *args, **kwargs
        )

    os.get_terminal_size, os.popen = get_terminal_size, popen_
