"""Fork processes at the entry of a training loop, in which the script's loop runs.

A forked process has the script's objects at the same addresses, so its findings (which module,
which data set) can be named by address. Its changes end with it.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import signal
import sys
import time
from typing import Any, Callable, Dict, Iterator, List, Optional

PR_SET_PDEATHSIG = 1
POLL_S = 0.5
BEAT_S = 0.5
"""Least time between two signs of life of a forked process."""

Message = Dict[str, Any]


class Forked:
    """A forked process, seen by its parent."""

    def __init__(self, pid: int, read_end: int) -> None:
        self.pid = pid
        self._read_end = read_end
        self._pending = b""

    def messages(self, *, silence_s: float, while_waiting: Callable[[], None]) -> Iterator[Message]:
        """Yield the messages of the process until it ends.

        Args:
            silence_s: the process is killed if it sends nothing for so long.
            while_waiting: called twice a second.
        """
        heard = time.monotonic()
        while True:
            ready, _, _ = select.select([self._read_end], [], [], POLL_S)
            while_waiting()
            if not ready:
                if time.monotonic() - heard > silence_s:
                    self.kill()
                    yield {"error": f"no sign of life for {silence_s:.0f} s"}
                    return
                continue
            content = os.read(self._read_end, 1 << 16)
            if not content:
                return
            heard = time.monotonic()
            *lines, self._pending = (self._pending + content).split(b"\n")
            for line in lines:
                yield json.loads(line)

    def kill(self) -> None:
        """End the process."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)

    def wait(self) -> int:
        """Wait for the end of the process; return its exit code, negative after a signal."""
        os.close(self._read_end)
        _, status = os.waitpid(self.pid, 0)
        return os.waitstatus_to_exitcode(status) if hasattr(os, "waitstatus_to_exitcode") else 0


class Reporter:
    """The way from a forked process to its parent."""

    def __init__(self, write_end: int) -> None:
        self._write_end = write_end
        self._last_s = 0.0

    def send(self, **message: Any) -> None:
        """Send a message; the process ends if its parent is gone."""
        content = json.dumps(message).encode() + b"\n"
        try:
            while content:
                content = content[os.write(self._write_end, content) :]
        except OSError:
            os._exit(1)

    def beat(self, *args: Any, **keys: Any) -> None:
        """Send a sign of life, a few times a second at most."""
        now = time.monotonic()
        if now - self._last_s >= BEAT_S:
            self._last_s = now
            self.send(beat=True)


def fork(log: str) -> "tuple[Optional[Forked], Optional[Reporter]]":
    """Fork this process.

    Args:
        log: receives the output of the forked process.

    Returns:
        In the parent (forked, None), in the forked process (None, reporter).
    """
    sys.stdout.flush()
    sys.stderr.flush()
    read_end, write_end = os.pipe()
    parent = os.getpid()
    pid = os.fork()
    if pid:
        os.close(write_end)
        return Forked(pid, read_end), None
    os.close(read_end)
    _die_with(parent)
    # OpenMP's threads are not forked; waiting for them would never end.
    sys.modules["torch"].set_num_threads(1)
    with open(log, "ab", 0) as stream:
        os.dup2(stream.fileno(), 1)
        os.dup2(stream.fileno(), 2)
    return None, Reporter(write_end)


def _die_with(parent: int) -> None:
    """Let this process be killed when its parent dies."""
    with contextlib.suppress(OSError, AttributeError):  # elsewhere a closed pipe ends it
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def alive(kinds: Any) -> List[Any]:
    """Return all objects of some classes that the process holds."""
    import gc

    # `isinstance` would ask proxies, which may do anything.
    return [item for item in gc.get_objects() if issubclass(type(item), kinds)]
