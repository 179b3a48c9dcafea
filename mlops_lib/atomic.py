"""Files that are whole or absent: atomic replacement, and reads of untrusted files.

What is written here survives the machine stopping at any instruction: the new file is complete on
the disk before it takes its name, and the name is on the disk before the call returns.
"""

from __future__ import annotations

import ctypes
import json
import os
import secrets
import stat
import sys
from pathlib import Path
from typing import Any, BinaryIO

JSON_LIMIT = 16 * 1024 * 1024
"""Bytes; far more than any JSON file that mlops writes."""
VALUES_LIMIT = 1_000_000
"""Values in one file: a small text of empty lists takes twenty times its size in memory."""
LOG_HEAD = LOG_TAIL = 32 << 20
"""Bytes at the beginning and at the end of one container's output that are kept on the disk."""


def write_bytes(path: Path, content: bytes) -> None:
    """Replace the content of `path`, or leave it as it was; readers never see a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
    try:
        with fresh.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def write_json(path: Path, value: Any) -> None:
    """Replace the content of `path` by `value` as JSON, or leave it as it was."""
    write_bytes(path, (json.dumps(value, indent=1) + "\n").encode())


def sync_folder(folder: Path) -> None:
    """Return once the names in `folder` are on the disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def open_regular(path: Path, *, inside: Path | None = None) -> BinaryIO:
    """Open an untrusted file: no links are followed, and it must be a regular file.

    Args:
        path: the file.
        inside: a folder above the file from which on no link is followed; None checks the last name
            only.

    Raises:
        OSError: it is missing, a link, or not a regular file.
    """
    # O_NONBLOCK: opening a FIFO without it would wait for a writer that never comes.
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    folder = os.open(
        inside or path.parent,
        os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | (os.O_NOFOLLOW if inside else 0),
    )
    names = path.relative_to(inside).parts if inside else (path.name,)
    try:
        for name in names[:-1]:
            deeper = os.open(
                name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder
            )
            os.close(folder)
            folder = deeper
        descriptor = os.open(names[-1], flags, dir_fd=folder)
    finally:
        os.close(folder)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(f"{path} is not a regular file")
    return os.fdopen(descriptor, "rb")


def read_json(
    path: Path, *, inside: Path | None = None, limit: int = JSON_LIMIT, values: int = VALUES_LIMIT
) -> Any:
    """Return the JSON value in an untrusted file.

    Args:
        path: the file.
        inside: a folder above it from which on no link is followed.
        limit: largest size in bytes.
        values: largest number of values in it.

    Raises:
        OSError: it is missing, a link, or not a regular file.
        ValueError: it is larger than `limit` bytes, has more than `values` values, or is not JSON.
    """
    with open_regular(path, inside=inside) as file:
        content = file.read(limit + 1)
    if len(content) > limit:
        raise ValueError(f"{path} is larger than {limit} bytes")
    if _values(content) > values:
        raise ValueError(f"{path} has more than {values} values")
    try:
        return json.loads(content)
    except RecursionError:
        raise ValueError(f"{path} is nested too deeply") from None


def _values(content: bytes) -> int:
    """Return an upper bound of the number of values in a JSON text, without parsing it."""
    return content.count(b",") + content.count(b"[") + content.count(b"{")


_PUNCH_HOLE = 0x01 | 0x02
"""`FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE` of Linux' <linux/falloc.h>."""
_BLOCK = 1 << 12


def keep_ends(descriptor: int, *, begin: int, head: int, tail: int) -> int:
    """Free the disk space of a file's middle.

    Every byte stays at its offset, so other processes may write the file meanwhile.

    Args:
        descriptor: open for writing.
        begin: offset of the part that is kept in bounds.
        head: bytes of that part to keep.
        tail: bytes at the file's end to keep.

    Returns:
        The number of bytes that read as zeros now; 0 if that was not needed, or is not supported.
    """
    first = -(-(begin + head) // _BLOCK) * _BLOCK
    last = (os.fstat(descriptor).st_size - tail) // _BLOCK * _BLOCK
    punch = getattr(_libc(), "fallocate64", None)
    if last <= first or punch is None:
        return 0
    offset = ctypes.c_longlong
    failed = punch(descriptor, _PUNCH_HOLE, offset(first), offset(last - first))
    return 0 if failed else last - first


def _libc() -> Any:
    return ctypes.CDLL(None) if sys.platform == "linux" else None


LINE_LIMIT = 1 << 20
"""Bytes of one line; a longer one is skipped."""
END_COST = 12 << 20
"""Cost up to which a file of lines is read at its beginning, and again at its end: its bytes, and
`VALUE_COST` for each value.
"""
VALUE_COST = 16
END_LINES = 25_000
"""Lines that are read at most at the beginning, and again at the end: the epochs of a hundred long
trainings.
"""


class Lines:
    """Reads an untrusted file of lines as it grows, in bounded time and memory.

    Of a file that is too long, the beginning and the end are read, and `skipped` counts the bytes
    in between. Both matter: the beginning shows what was trained, the end the present state.
    """

    def __init__(self) -> None:
        self.offset = 0
        """Bytes read so far."""
        self.skipped = 0
        self._cost = END_COST
        self._lines = END_LINES

    def new(self, file: BinaryIO) -> list[bytes]:
        """Return the whole lines since the last call; an incomplete line waits for its end."""
        size = os.fstat(file.fileno()).st_size
        self.offset = min(self.offset, size)  # a restart cut off a torn line
        lines = self._beginning(file, size)
        if self.offset < size and not (self._cost > 0 and self._lines > 0):
            lines += self._end(file, size)
        return lines

    def _beginning(self, file: BinaryIO, size: int) -> list[bytes]:
        lines = []
        file.seek(self.offset)
        while self._cost > 0 and self._lines > 0 and self.offset < size:
            line = file.readline(LINE_LIMIT)
            if not line.endswith(b"\n"):
                if len(line) < LINE_LIMIT:
                    break
                self._skip_line(file, size)
                continue
            self.offset += len(line)
            self._cost -= _cost(line)
            self._lines -= 1
            lines.append(line)
        return lines

    def _skip_line(self, file: BinaryIO, size: int) -> None:
        """Skip a line that is too long, at the expense of the cost that may still be spent."""
        before = self.offset
        self.offset = file.tell()
        while self._cost > 0 and self.offset < size:
            block = file.readline(LINE_LIMIT)
            self.offset += len(block)
            self._cost -= len(block)
            if not block or block.endswith(b"\n"):
                break
        self._cost -= LINE_LIMIT
        self.skipped += self.offset - before

    def _end(self, file: BinaryIO, size: int) -> list[bytes]:
        start = max(self.offset, size - END_COST)
        file.seek(start)
        content = file.read(size - start)
        first = content.find(b"\n") + 1 if start > self.offset else 0
        end = content.rfind(b"\n") + 1
        if end <= first:  # a line under way; if it is too long already, its beginning is not kept
            if len(content) > LINE_LIMIT:
                self.skipped += size - self.offset
                self.offset = size
            return []
        begin = end
        cost = END_COST
        lines = END_LINES
        selected: list[bytes] = []
        while begin > first and lines > 0:
            before = max(first, content.rfind(b"\n", first, begin - 1) + 1)
            line = content[before:begin]
            cost -= _cost(line) if len(line) <= LINE_LIMIT else 0
            if cost < 0:
                break
            selected += [line] if len(line) <= LINE_LIMIT else []
            begin, lines = before, lines - 1
        self.skipped += start - self.offset + begin
        self.offset = start + end
        return selected[::-1]


def _cost(line: bytes) -> int:
    return len(line) + VALUE_COST * _values(line)
