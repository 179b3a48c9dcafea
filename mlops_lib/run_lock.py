"""Locks of a run: one driver restarts it, and others can see that it lives."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from mlops_lib import file_lock

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
    run_dir.mkdir(parents=True, exist_ok=True)
    descriptor = file_lock.open_file(run_dir / "lease")
    try:
        is_held = file_lock.acquire(descriptor, timeout_s=0)
        while not is_held and meanwhile is not None:
            meanwhile()
            is_held = file_lock.acquire(descriptor, timeout_s=0)
        yield is_held
    finally:
        os.close(descriptor)


@contextmanager
def driven(run_dir: Path) -> Iterator[None]:
    """Hold the sign that a program drives this run, through its stages and between them.

    Several programs may hold it at once.
    """
    with file_lock.hold(run_dir / DRIVERS, shared=True):
        yield


def is_driven(run_dir: Path) -> bool:
    """Return whether a living program drives the run."""
    try:
        return file_lock.is_held(run_dir / DRIVERS, shared=True)
    except OSError:
        return False
