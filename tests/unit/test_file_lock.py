"""Locks between programs: they end with their holder, pass to children, and leave no files."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mlops_lib import file_lock

HOLDER = """
import sys, time
from pathlib import Path
from mlops_lib import file_lock
with file_lock.hold(Path(sys.argv[1]), shared=sys.argv[2] == "shared"):
    print("held", flush=True)
    time.sleep(600)
"""


@contextmanager
def another_program(path: Path, *, shared: bool = False) -> Iterator[subprocess.Popen[str]]:
    """A process of its own that holds the lock, killed in the end."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, path, "shared" if shared else "alone"],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    with process:
        try:
            assert process.stdout.readline() == "held\n"
            yield process
        finally:
            process.send_signal(signal.SIGKILL)


def test_a_lock_excludes_others_until_its_holder_dies(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with another_program(path):
        descriptor = file_lock.open_file(path)
        assert not file_lock.acquire(descriptor, timeout_s=0)
        assert not file_lock.acquire(descriptor, timeout_s=0.05)
        assert file_lock.is_held(path)
    assert file_lock.acquire(descriptor)
    os.close(descriptor)
    assert not file_lock.is_held(path)


def test_a_shared_lock_has_any_number_of_holders(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with another_program(path, shared=True):
        with file_lock.hold(path, shared=True) as descriptor:
            assert file_lock.is_held(path, shared=True)
            assert not file_lock.acquire(descriptor, timeout_s=0), "it is still shared"
        assert file_lock.is_held(path, shared=True)
    assert not file_lock.is_held(path, shared=True)


def test_a_child_that_inherits_the_descriptor_holds_the_lock_too(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with file_lock.hold(path) as descriptor:
        child = subprocess.Popen(["cat"], stdin=subprocess.PIPE, pass_fds=[descriptor])
    assert file_lock.is_held(path)
    child.communicate()
    assert not file_lock.is_held(path)


def test_a_temporary_lock_leaves_no_file_and_gives_up_in_time(tmp_path: Path) -> None:
    path = tmp_path / "locks" / "one"
    with file_lock.hold_temporary(path) as first, file_lock.hold_temporary(path, timeout_s=0) as no:
        assert (first, no) == (True, False)
        assert path.exists()
    assert list(path.parent.iterdir()) == []


def test_nothing_holds_a_missing_lock(tmp_path: Path) -> None:
    assert not file_lock.is_held(tmp_path / "none")
    assert not file_lock.is_held(tmp_path / "none", shared=True)
    assert not (tmp_path / "none").exists()


def test_folders_can_be_locked(tmp_path: Path) -> None:
    descriptor = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    assert file_lock.acquire(descriptor)
    assert file_lock.is_held(tmp_path)
    os.close(descriptor)
    assert not file_lock.is_held(tmp_path)
