"""Randomness of the operating system, made repeatable.

Scripts and trackers name what they make by `uuid.uuid4()`, `secrets` or an unseeded generator.
After a restart, files put back from a checkpoint (a tracker's database, say) still hold the old
name, while the script would go on with a new one. So `os.urandom` becomes streams that are a
function of the run's seed, one for each module that asks: a library that fills a cache on its first
import, and draws a name for that, must not move the names of others. Their positions are part of
every checkpoint. It is not for
secrets: a key that a training script makes can be made again by whoever knows the seed.
"""

import hashlib
import os
import random
import sys
import threading
from typing import Any, Dict, Mapping

PASSING_ON = frozenset(["uuid", "secrets", "random", "os", "tempfile", "shutil", __name__])
"""Modules that draw for others."""


class Stream:
    """Bytes that depend on a key, on who asks, and on how often that one has asked.

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
        """Return the next `size` bytes for whoever has this name."""
        with self._lock:
            position = self.positions[name] = self.positions.get(name, 0) + 1
        return hashlib.shake_256(self._key + name.encode() + position.to_bytes(8, "big")).digest(
            size
        )

    def skip_to(self, positions: Mapping[str, int]) -> None:
        """Go on from the positions of a checkpoint; never back, because names must not be given
        twice.
        """
        with self._lock:
            for name, position in positions.items():
                self.positions[name] = max(self.positions.get(name, 0), position)

    def count_fork(self) -> None:
        """Note that a child process begins: it must not draw what its parent and its siblings draw."""
        self._forks += 1

    def become_child(self) -> None:
        """Change the key, in a child process."""
        self._lock = threading.Lock()
        self._key = hashlib.sha256(self._key + b"fork" + self._forks.to_bytes(8, "big")).digest()
        self._forks = 0


_stream = Stream(b"")
_installed = False


def install(seed: int) -> None:
    """Let everything in this process that asks the operating system for randomness repeat with
    `seed`.

    Covered are `os.urandom` and what is built on it in Python (`uuid`, `secrets`, numpy's
    generators without a seed) and `random.Random()` without a seed. Libraries that ask the system
    from C are not.
    """
    global _stream, _installed
    _stream = Stream(hashlib.sha256(b"entropy %d" % seed).digest())
    if _installed:
        return
    _installed = True
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
    return _stream.read(size, _asking())


def _asking() -> str:
    """Return the name of the module that wants the bytes."""
    frame = sys._getframe(2)
    while frame is not None:
        name = str(frame.f_globals.get("__name__", ""))
        if name not in PASSING_ON:
            return name
        frame = frame.f_back  # type: ignore[assignment]
    return ""


def positions() -> Dict[str, int]:
    """Return how often each module has drawn."""
    return dict(_stream.positions)


def skip_to(saved: Mapping[str, int]) -> None:
    """Go on where a checkpoint was taken."""
    _stream.skip_to(saved)


class SeparateStream:
    """Draw from a stream of its own for a while: what a search draws does not move the script's
    names.

    Args:
        name: names the stream.
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
