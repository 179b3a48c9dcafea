"""The files that go with a message: read without following links, bounded, and left out where they
cannot be had.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from mlops_lib import atomic

PICTURE_BYTES = 2 * 1024 * 1024
_PNG = b"\x89PNG\r\n\x1a\n"


def pictures(paths: Iterable[str]) -> Iterator[tuple[str, bytes]]:
    """Name and bytes of those that are PNG pictures of a bearable size."""
    for path in paths:
        found = content(Path(path), limit=PICTURE_BYTES)
        if found.startswith(_PNG):
            yield Path(path).name, found


def content(path: Path, *, limit: int) -> bytes:
    """A file's bytes; none for what is missing, a link or too large: the news matters more than
    what goes with it.
    """
    with suppress(OSError), atomic.open_regular(path) as file:
        read = file.read(limit + 1)
        return read if len(read) <= limit else b""
    return b""
