"""Deterministic replacement for the operating system's randomness.

Scripts and trackers name their files and runs by `uuid.uuid4()`, `secrets` or an unseeded
generator. After a restart, files restored from a checkpoint (a tracker's database, say) still hold
the old name, while the script would continue with a new one. So `os.urandom` is replaced by streams
that are a function of the run's seed. Each calling module has a stream of its own: a library that
fills a cache on its first import, and draws a name for it, must not shift the names of others. The
positions of the streams are part of every checkpoint.

It is not suited for secrets: anyone who knows the seed can reproduce a key that a script
generates.
"""

import hashlib
import os
import random
import sys
import threading
from typing import Any, Dict, Mapping

PASS_THROUGH_MODULES = frozenset(
    ["uuid", "secrets", "random", "os", "tempfile", "shutil", __name__]
)
"""Modules that draw on behalf of their callers."""


class Stream:
    """Bytes that depend on a key, the caller's name and the number of its calls.

    Example:
        >>> Stream(b"run").read(2, "a") == Stream(b"run").read(2, "a")
        True
    """

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._lock = threading.Lock()
        self._forks = 0
        self.positions: Dict[str, int] = {}

    def read(self, size: int, name: str) -> bytes:
        """Return the next `size` bytes for the caller of this name."""
        with self._lock:
            position = self.positions[name] = self.positions.get(name, 0) + 1
        return hashlib.shake_256(self._key + name.encode() + position.to_bytes(8, "big")).digest(
            size
        )

    def skip_to(self, positions: Mapping[str, int]) -> None:
        """Continue at the positions of a checkpoint.

        A stream never moves back: that would issue a name twice.
        """
        with self._lock:
            for name, position in positions.items():
                self.positions[name] = max(self.positions.get(name, 0), position)

    def count_fork(self) -> None:
        """Count a child process; it must not draw the bytes of its parent or siblings."""
        self._forks += 1

    def become_child(self) -> None:
        """Change the key, in a child process."""
        # Another thread of the parent may have held the lock at the fork.
        self._lock = threading.Lock()
        self._key = hashlib.sha256(self._key + b"fork" + self._forks.to_bytes(8, "big")).digest()
        self._forks = 0


_stream = Stream(b"")
_is_installed = False


def install(seed: int) -> None:
    """Make the operating system's randomness in this process a function of `seed`.

    This covers `os.urandom`, its users in Python (`uuid`, `secrets`, numpy's generators without a
    seed) and `random.Random()` without a seed. Libraries that call the system from C are not
    covered.
    """
    global _stream, _is_installed
    _stream = Stream(hashlib.sha256(b"entropy %d" % seed).digest())
    if _is_installed:
        return
    _is_installed = True
    os.urandom = _urandom
    random._urandom = _urandom  # type: ignore[attr-defined]
    plain_seed = random.Random.seed

    def seed_(self: Any, a: Any = None, version: int = 2) -> None:
        if a is None and not isinstance(self, random.SystemRandom):
            a = int.from_bytes(_urandom(32), "big")
        plain_seed(self, a, version)

    random.Random.seed = seed_  # type: ignore[method-assign]
    os.register_at_fork(
        before=lambda: _stream.count_fork(), after_in_child=lambda: _stream.become_child()
    )


def _urandom(size: int) -> bytes:
    return _stream.read(size, _calling_module())


def _calling_module() -> str:
    """Return the name of the module that draws the bytes."""
    # Frame 0 is this function, frame 1 is `_urandom`.
    frame = sys._getframe(2)
    while frame is not None:
        name = str(frame.f_globals.get("__name__", ""))
        if name not in PASS_THROUGH_MODULES:
            return name
        frame = frame.f_back  # type: ignore[assignment]
    return ""


def positions() -> Dict[str, int]:
    """Return the number of draws per module."""
    return dict(_stream.positions)


def skip_to(saved: Mapping[str, int]) -> None:
    """Continue at the positions of a checkpoint."""
    _stream.skip_to(saved)


class SeparateStream:
    """Draw from a separate stream within the context.

    The draws of a search then do not shift the script's names.

    Args:
        name: name of the stream.
    """

    def __init__(self, name: str) -> None:
        self._name = name.encode()

    def __enter__(self) -> None:
        global _stream
        self._before = _stream
        _stream = Stream(hashlib.sha256(self._before._key + self._name).digest())

    def __exit__(self, *error: Any) -> None:
        global _stream
        _stream = self._before
