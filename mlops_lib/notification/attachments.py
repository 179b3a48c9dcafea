"""The files that accompany a message.

They are read without following links, up to a limit. An unreadable file is left out, for the
message matters more.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from mlops_lib import atomic

PICTURE_BYTES = 2 * 1024 * 1024
_PNG = b"\x89PNG\r\n\x1a\n"


def pictures(paths: Iterable[str]) -> Iterator[tuple[str, bytes]]:
    """Yield name and content of the PNG files that have at most `PICTURE_BYTES`."""
    for path in paths:
        picture = content(Path(path), limit=PICTURE_BYTES)
        if picture.startswith(_PNG):
            yield Path(path).name, picture


def content(path: Path, *, limit: int) -> bytes:
    """Return a file's content; b"" if it is missing, a link, or larger than the limit."""
    with suppress(OSError), atomic.open_regular(path) as file:
        head = file.read(limit + 1)
        return head if len(head) <= limit else b""
    return b""
