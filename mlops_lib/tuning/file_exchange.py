"""Exchange files between the machines of one search.

They are fits, weights, checkpoints and records. Both sides have a folder, and send each other new
and changed files of some patterns. A script can write anything into its folder: only regular files
are sent, names are checked, and no link is followed when a file is read or written.
"""

from __future__ import annotations

import os
import re
import secrets
import threading
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from mlops_lib import atomic
from mlops_lib.runner import protocol

LARGEST_BYTES = 8 << 30
BATCH_BYTES = 256 << 20
"""Size from which on a batch of files is sent; one file may be larger."""
State = tuple[int, int]
"""Modification time in nanoseconds and size of a file."""
Files = dict[str, bytes]
"""Contents by name, relative to the folder, with slashes."""

_OF_WORKERS = re.compile(r"search/(weights/\d+\.npz|trials/\d+\.(history\.json|state\.npz))")
WORKER_PATTERNS = (
    "search/trials/*.history.json",
    "search/trials/*.state.npz",
    "search/weights/*.npz",
)
"""Patterns of the files that workers write."""


def chief_patterns(fit: int) -> tuple[str, ...]:
    """Return the patterns of the files that a worker on the judged fit `fit` needs."""
    return (
        *(f"fits/{number}/**/*" for number in range(1, fit + 1)),
        "fits/candidates-*/**/*",
        "search/trials/*.json",
        "search/trials/*.npz",
        "search/weights/*.npz",
        f"search/{protocol.SEARCH_OVER}",
    )


def is_of_workers(name: str) -> bool:
    """Return whether this is a file that workers write."""
    return _OF_WORKERS.fullmatch(name) is not None


class Outbox:
    """The files of a folder that one peer does not have yet.

    Args:
        folder: the folder.
        patterns: patterns of the names to send.
    """

    def __init__(self, folder: Path, patterns: Iterable[str]) -> None:
        self._folder = folder
        self._patterns = tuple(patterns)
        self._sent: dict[str, State] = {}

    def batch(self) -> Files:
        """Return new and changed files, some at a time; empty if the peer has everything."""
        files: Files = {}
        size = 0
        for name in self._names():
            # A bounded message: memory on both sides, and calls that wait behind it.
            if size >= BATCH_BYTES:
                break
            with suppress(OSError):  # gone meanwhile, or no regular file
                place = self._folder / name
                with atomic.open_regular(place, inside=self._folder) as stream:
                    # Of the opened file: the name may lead to another one a moment later.
                    state = _state(os.fstat(stream.fileno()))
                    if self._sent.get(name) == state:
                        continue
                    files[name] = stream.read(LARGEST_BYTES)
                size += len(files[name])
                self._sent[name] = state
        return files

    def note_peer_has(self, name: str) -> None:
        """Note that the peer has the present content of a file."""
        with suppress(OSError):
            self._sent[name] = _state((self._folder / name).lstat())

    def size(self, name: str) -> int | None:
        """Return the size of a file here, or None if there is none."""
        try:
            return (self._folder / name).lstat().st_size
        except OSError:
            return None

    def forget(self) -> None:
        """Note that the peer has lost everything."""
        self._sent.clear()

    def _names(self) -> Iterator[str]:
        for pattern in self._patterns:
            for place in self._folder.glob(pattern):
                yield place.relative_to(self._folder).as_posix()


class Inbox:
    """The folder that receives files of peers, and who sent each last. Thread-safe."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._senders: dict[str, str] = {}
        self._lock = threading.Lock()

    def receive(self, files: Files, *, sender: str) -> list[str]:
        """Write the files that workers may write; return their names, durably written."""
        received = []
        for name, content in files.items():
            if not is_of_workers(name):
                continue
            try:
                write_inside(self._folder, name, content)
            except NotADirectoryError:  # the script has put a link in the way
                continue
            with self._lock:
                self._senders[name] = sender
            received.append(name)
        return received

    def sent_by(self, name: str) -> str:
        """Return the sender of the present content of a name, or ""."""
        with self._lock:
            return self._senders.get(name, "")


def write_inside(folder: Path, name: str, content: bytes) -> None:
    """Replace a file below `folder` atomically; no link below it is followed.

    Raises:
        OSError: a link or a file is in the place of a folder.
        ValueError: the name leads out of `folder`.
    """
    *parents, last = name.split("/")
    if any(part in ("", ".", "..") for part in (*parents, last)):
        raise ValueError(f"{name!r} leads out of {folder}")
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    # A random name, because a script could have put a link at a known one.
    fresh = f".{last}.{secrets.token_hex(6)}"
    try:
        for part in parents:
            with suppress(FileExistsError):
                os.mkdir(part, dir_fd=descriptor)
            deeper = os.open(part, flags, dir_fd=descriptor)
            os.close(descriptor)
            descriptor = deeper
        new = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        try:
            with os.fdopen(os.open(fresh, new, 0o644, dir_fd=descriptor), "wb") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
            os.replace(fresh, last, src_dir_fd=descriptor, dst_dir_fd=descriptor)
        except BaseException:
            with suppress(FileNotFoundError):
                os.unlink(fresh, dir_fd=descriptor)
            raise
        # The new name is durable only with its folder.
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def inventory(folder: Path, patterns: Iterable[str]) -> dict[str, int]:
    """Return the sizes of a folder's files, by name."""
    sizes = {}
    for pattern in patterns:
        for place in folder.glob(pattern):
            with suppress(OSError):
                sizes[place.relative_to(folder).as_posix()] = place.lstat().st_size
    return sizes


def _state(status: os.stat_result) -> State:
    return status.st_mtime_ns, status.st_size
