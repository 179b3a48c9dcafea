"""Files that are never seen half-written, and never trusted if damaged."""

import contextlib
import hashlib
import json
import os
import tempfile
from typing import Any, Iterator, List, Optional

MAGIC = b"mlops-lib 1\n"
"""First line of a sealed file; the second is the sha256 of the rest."""
TEMPORARY = ".tmp-"
"""Prefix of the name of a file that is being written."""


def write_atomic(path: str, *pieces: Any, lasting: bool = True) -> None:
    """Replace `path` by the pieces: a reader or a crash sees the old or the new file.

    Args:
        path: the file.
        pieces: its content.
        lasting: whether it must survive a power failure, not only a kill. Content that can be
            computed again need not.

    Raises:
        OSError: the disk is full, read-only or gone; the old file is untouched.
    """
    folder = os.path.dirname(path) or "."
    descriptor, temporary = tempfile.mkstemp(dir=folder, prefix=TEMPORARY)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            for piece in pieces:
                stream.write(piece)
            stream.flush()
            if lasting:
                os.fsync(stream.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    if lasting:
        # Without it the rename itself may be lost in a power failure.
        sync_folder(folder)


def sync_folder(folder: str) -> None:
    """Make a rename in `folder` durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def digest(path: str) -> str:
    """Return the sha256 of a file."""
    checksum = hashlib.sha256()
    with open(path, "rb") as stream:
        for piece in iter(lambda: stream.read(1 << 20), b""):
            checksum.update(piece)
    return checksum.hexdigest()


def write_json(path: str, value: Any, *, lasting: bool = True) -> None:
    """Replace `path` by a JSON value; see `write_atomic`."""
    write_atomic(path, (json.dumps(value, indent=1, default=str) + "\n").encode(), lasting=lasting)


def read_json(path: str) -> Any:
    """Return the JSON value in `path`, or None if it is missing or damaged."""
    try:
        with open(path, "rb") as stream:
            return json.loads(stream.read().decode())
    except (OSError, ValueError):
        return None


def seal(*pieces: Any) -> List[Any]:
    """Return the pieces, preceded by their checksum."""
    digest = hashlib.sha256()
    for piece in pieces:
        digest.update(piece)
    return [MAGIC + digest.hexdigest().encode() + b"\n", *pieces]


def unseal(sealed: bytes) -> Optional[memoryview]:
    """Return the content of a sealed file, or None if it is truncated or altered."""
    if not sealed.startswith(MAGIC) or len(sealed) < len(MAGIC) + 65:
        return None
    claimed = sealed[len(MAGIC) : len(MAGIC) + 64]
    content = memoryview(sealed)[len(MAGIC) + 65 :]
    return content if hashlib.sha256(content).hexdigest().encode() == claimed else None


class Generations:
    """One value on disk, with its predecessor in case the newest file is damaged."""

    def __init__(self, folder: str, name: str) -> None:
        self.folder = folder
        self.paths = [os.path.join(folder, f"{name}.{i}") for i in (0, 1)]

    def write(self, number: int, pieces: List[Any]) -> int:
        """Store generation `number` over the older file; return the bytes written.

        Numbers must rise.

        Raises:
            OSError: the disk cannot be written; both generations are unchanged.
        """
        os.makedirs(self.folder, exist_ok=True)
        self._sweep()
        sealed = seal(number.to_bytes(8, "big"), *pieces)
        # Consecutive numbers alternate between the two files: the newest generation is never
        # overwritten.
        write_atomic(self.paths[number % 2], *sealed)
        return sum(len(piece) for piece in sealed)

    def _sweep(self) -> None:
        """Remove temporary files that killed processes left behind."""
        for name in os.listdir(self.folder):
            if name.startswith(TEMPORARY):
                os.unlink(os.path.join(self.folder, name))

    def read(self) -> Iterator["tuple[int, memoryview]"]:
        """Iterate over the undamaged generations, newest first, each with its number."""
        generations = []
        for path in self.paths:
            try:
                with open(path, "rb") as stream:
                    content = unseal(stream.read())
            except OSError:
                continue
            if content is not None and len(content) >= 8:
                generations.append((int.from_bytes(content[:8], "big"), content[8:]))
        return iter(sorted(generations, key=lambda pair: -pair[0]))
