"""Locks of a run: one driver restarts it, and others can see that it lives."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

DRIVERS = "drivers"
"""File that every program which drives the run holds a shared lock on; the kernel gives it back
when it dies.
"""


@contextmanager
def lease(run_dir: Path, *, meanwhile: Callable[[], None] | None = None) -> Iterator[bool]:
    """Hold the right to start containers for this run.

    Args:
        run_dir: the run directory.
        meanwhile: called again and again while another program has it; takes its time, and may
            raise. None: do not wait, yield False instead.
    """
    import fcntl

    run_dir.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(run_dir / "lease", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        is_held = False
        while not is_held:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                is_held = True
            except BlockingIOError:
                if meanwhile is None:
                    break
                meanwhile()
        yield is_held
    finally:
        os.close(descriptor)


@contextmanager
def driven(run_dir: Path) -> Iterator[None]:
    """Hold the sign that a program drives this run, through its stages and between them.

    Several programs may hold it at once.
    """
    import fcntl

    run_dir.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(run_dir / DRIVERS, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        yield
    finally:
        os.close(descriptor)


def is_driven(run_dir: Path) -> bool:
    """Return whether a living program drives the run."""
    import fcntl

    try:
        descriptor = os.open(run_dir / DRIVERS, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
