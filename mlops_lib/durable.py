"""Files that are whole or absent: atomic replacement, locks that die with their holder, reads that trust nothing.

What is written here survives the machine stopping at any instruction: the new file is complete on the disk before it
takes its name, and the name is on the disk before the call returns.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

JSON_LIMIT = 16 * 1024 * 1024
"""Bytes; no JSON of ours comes near."""
LOCK_LOOK_S = 0.02
"""How often a lock is tried for which somebody waits a limited time."""


def write_bytes(path: Path, content: bytes) -> None:
    """Make `path` hold `content`, or leave it as it was; readers never see a part of it."""
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
    """Make `path` hold `value` as JSON, or leave it as it was."""
    write_bytes(path, (json.dumps(value, indent=1) + "\n").encode())


def sync_folder(folder: Path) -> None:
    """Return once the names in `folder` are on the disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def locked(path: Path) -> Iterator[int]:
    """Hold the lock that `path` names, waiting for it; the kernel gives it back when its holder dies.

    Yields its descriptor: a child that inherits it holds the lock too, until it ends.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def locked_while_there(path: Path, *, timeout_s: float | None = None) -> Iterator[bool]:
    """Hold a lock whose file exists only while somebody holds it, so that many names leave nothing behind.

    Args:
        path: names the lock.
        timeout_s: how long to wait for it; None for as long as it takes.

    Yields:
        Whether it is held; False if the time was over first.
    """
    deadline = None if timeout_s is None else time.monotonic() + timeout_s
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            if not _flocked(descriptor, deadline):
                yield False
                return
            if _names(path, descriptor):  # else its holder removed it meanwhile: that was another lock
                try:
                    yield True
                finally:
                    path.unlink(missing_ok=True)
                return
        finally:
            os.close(descriptor)


def _flocked(descriptor: int, deadline: float | None) -> bool:
    """Wait for the lock on a file; return whether it came in time."""
    if deadline is None:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        return True
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(LOCK_LOOK_S)
        else:
            return True


def _names(path: Path, descriptor: int) -> bool:
    """Return whether the path still names the file that is open."""
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def open_regular(path: Path, *, inside: Path | None = None) -> BinaryIO:
    """Open a file that somebody else may have written: no links are followed, and it is a regular file.

    Args:
        path: the file.
        inside: a folder above the file from which on no link is followed; None checks the last name only.

    Raises:
        OSError: it is missing, a link, or not a regular file.
    """
    # O_NONBLOCK: opening a FIFO without it would wait for a writer that never comes.
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    folder = os.open(
        inside or path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | (os.O_NOFOLLOW if inside else 0)
    )
    names = path.relative_to(inside).parts if inside else (path.name,)
    try:
        for name in names[:-1]:
            deeper = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
            os.close(folder)
            folder = deeper
        descriptor = os.open(names[-1], flags, dir_fd=folder)
    finally:
        os.close(folder)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(f"{path} is not a regular file")
    return os.fdopen(descriptor, "rb")


def read_json(path: Path, *, inside: Path | None = None, limit: int = JSON_LIMIT) -> Any:
    """The JSON value in a file that somebody else may have written.

    Raises:
        OSError: it is missing, a link, or not a regular file.
        ValueError: it is larger than `limit` bytes, or not JSON.
    """
    with open_regular(path, inside=inside) as file:
        content = file.read(limit + 1)
    if len(content) > limit:
        raise ValueError(f"{path} is larger than {limit} bytes")
    try:
        return json.loads(content)
    except RecursionError:
        raise ValueError(f"{path} is nested too deeply") from None
