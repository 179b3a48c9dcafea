"""Text from outside made fit to be shown: the characters a person would see on a terminal, and no
others.
"""

from __future__ import annotations

import re

_TERMINAL = re.compile(r"\x1b(\[[0-9;?]*[ -/]*[@-~]|\][^\x07\x1b]*(\x07|\x1b\\)?|[@-Z\\^_])")


def printable(text: str) -> str:
    """`text` without terminal control, control characters, text direction overrides and lone
    surrogates.

    A line that was written over itself, as progress bars do, counts as it stood last.
    """
    lines = _TERMINAL.sub("", text).replace("\r\n", "\n").replace("\t", "    ").split("\n")
    return "\n".join(_shown(line.rstrip("\r").rpartition("\r")[2]) for line in lines)


def one_line(text: str) -> str:
    """`text` as one line."""
    return " ".join(printable(text.replace("\r", " ")).split())


def _shown(line: str) -> str:
    return "".join(character if character.isprintable() else " " for character in line).rstrip()
