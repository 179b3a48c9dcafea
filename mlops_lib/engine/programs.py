"""Start programs on the host: never in or from the pushed project.

The current folder usually is the project. An installer that starts there reads its settings, and
Python imports its modules. An empty or relative entry of PATH even finds programs in it.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

FOLDER = "/"
"""Current folder of every program that reads files from it: only the administrator writes there."""


Step = Callable[[list[str]], None]
"""Runs one command of an installation; raises ImageError if it fails."""


def search_path() -> str:
    """Return PATH without its relative entries, which mean the current folder."""
    return os.pathsep.join(folder for folder in os.get_exec_path() if Path(folder).is_absolute())


def find(name: str) -> str | None:
    """Return the path of a program on PATH, or None.

    Relative entries of PATH do not count: they mean the current folder.
    """
    return shutil.which(name, path=search_path() or os.defpath)
