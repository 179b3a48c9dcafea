"""Locks on files, shared by all programs of one machine.

They are the kernel's (`flock`): a program that is killed holds nothing any more, so no lock is ever
stale and none has to be broken by age. A lock belongs to the open file, not to the process: a child
that inherits the descriptor keeps it held until that child has ended too. Libraries of lock files
offer neither the inheritance, nor shared locks, nor locks on folders, and all three are used here.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LOOK_S = 0.02
"""Interval between two attempts to take a lock with a time limit; `flock` itself has none."""


def open_file(path: Path) -> int:
    """Return a descriptor of the lock's file, which is created if it is missing.

    It can be written: a network file system refuses an exclusive lock on a file open for reading.

    Raises:
        FileNotFoundError: its folder does not exist.
    """
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)


def acquire(descriptor: int, *, shared: bool = False, timeout_s: float | None = None) -> bool:
    """Lock an open file until its last descriptor is closed; return whether that was possible.

    Args:
        descriptor: the open file or folder.
        shared: several may hold the lock at once.
        timeout_s: how long to wait for it; None for as long as it takes, 0 for not at all.
    """
    kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    if timeout_s is None:
        fcntl.flock(descriptor, kind)
        return True
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                return False
            time.sleep(min(LOOK_S, left_s))
        else:
            return True


@contextmanager
def hold(path: Path, *, shared: bool = False) -> Iterator[int]:
    """Hold the lock that `path` names, after waiting for it.

    Yields its descriptor: a child process that inherits it holds the lock too.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = open_file(path)
    try:
        acquire(descriptor, shared=shared)
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def hold_temporary(path: Path, *, timeout_s: float | None = None) -> Iterator[bool]:
    """Hold a lock whose file exists only while it is held or waited for.

    So locks under many names leave no files behind.

    Args:
        path: names the lock.
        timeout_s: how long to wait for it; None for as long as it takes.

    Yields:
        Whether it is held; False if the time was over first.
    """
    deadline = None if timeout_s is None else time.monotonic() + timeout_s
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        descriptor = open_file(path)
        try:
            left_s = None if deadline is None else max(0.0, deadline - time.monotonic())
            if not acquire(descriptor, timeout_s=left_s):
                yield False
                return
            # The former holder removes the file before it releases the lock. If the name is gone,
            # or names a newer file, others lock that one, and this lock would exclude nobody.
            if _names(path, descriptor):
                try:
                    yield True
                finally:
                    path.unlink(missing_ok=True)
                return
        finally:
            os.close(descriptor)


def _names(path: Path, descriptor: int) -> bool:
    """Return whether the path still names the file that is open."""
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def is_held(path: Path, *, shared: bool = False) -> bool:
    """Return whether a living program holds the lock on a file or folder; False if it is missing.

    Args:
        path: names the lock.
        shared: whether its holders share it.
    """
    # The probe locks for an instant itself. If holders exclude each other it only needs to share,
    # so that two probes at once do not take each other for the holder.
    try:
        descriptor = os.open(path, (os.O_RDWR if shared else os.O_RDONLY) | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        return not acquire(descriptor, shared=not shared, timeout_s=0)
    finally:
        os.close(descriptor)
