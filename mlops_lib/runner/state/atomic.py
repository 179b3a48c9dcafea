"""Files that are never seen half-written, and never believed when damaged."""

import contextlib
import hashlib
import json
import os
import tempfile
from typing import Any, Iterator, List, Optional

MAGIC = b"mlops-lib 1\n"
"""First line of a sealed file; the second is the sha256 of the rest."""
TEMPORARY = ".tmp-"
"""Begin of the name of a file that is being written."""


def write_atomic(path: str, *pieces: Any, lasting: bool = True) -> None:
    """Replace `path` by the pieces: a reader, or a crash, sees the old file or the new one.

    Args:
        path: the file.
        pieces: its content.
        lasting: whether it must be whole after a power failure too, not only after a kill: what can
            be made again need not.

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
        sync_folder(folder)


def sync_folder(folder: str) -> None:
    """Make a rename in `folder` durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def digest(path: str) -> str:
    """The sha256 of a file."""
    whole = hashlib.sha256()
    with open(path, "rb") as stream:
        for piece in iter(lambda: stream.read(1 << 20), b""):
            whole.update(piece)
    return whole.hexdigest()


def write_json(path: str, value: Any, *, lasting: bool = True) -> None:
    """`write_atomic` of a JSON value."""
    write_atomic(path, (json.dumps(value, indent=1, default=str) + "\n").encode(), lasting=lasting)


def read_json(path: str) -> Any:
    """The JSON value in `path`, or None where there is none or it is damaged."""
    try:
        with open(path, "rb") as stream:
            return json.loads(stream.read().decode())
    except (OSError, ValueError):
        return None


def seal(*pieces: Any) -> List[Any]:
    """The pieces with their checksum before them."""
    digest = hashlib.sha256()
    for piece in pieces:
        digest.update(piece)
    return [MAGIC + digest.hexdigest().encode() + b"\n", *pieces]


def unseal(sealed: bytes) -> Optional[memoryview]:
    """The content of a sealed file, or None where it is truncated or altered."""
    if not sealed.startswith(MAGIC) or len(sealed) < len(MAGIC) + 65:
        return None
    claimed = sealed[len(MAGIC) : len(MAGIC) + 64]
    content = memoryview(sealed)[len(MAGIC) + 65 :]
    return content if hashlib.sha256(content).hexdigest().encode() == claimed else None


class Generations:
    """One value on disk, with the value before it kept in case the newest is damaged."""

    def __init__(self, folder: str, name: str) -> None:
        self.folder = folder
        self.paths = [os.path.join(folder, f"{name}.{i}") for i in (0, 1)]

    def write(self, number: int, pieces: List[Any]) -> int:
        """Store generation `number` (rising), over the older of the two; returns the bytes written.

        Raises:
            OSError: the disk refuses; both generations are as they were.
        """
        os.makedirs(self.folder, exist_ok=True)
        self._sweep()
        sealed = seal(number.to_bytes(8, "big"), *pieces)
        write_atomic(self.paths[number % 2], *sealed)
        return sum(len(piece) for piece in sealed)

    def _sweep(self) -> None:
        """Remove what kills in the middle of a write have left."""
        for name in os.listdir(self.folder):
            if name.startswith(TEMPORARY):
                os.unlink(os.path.join(self.folder, name))

    def read(self) -> Iterator["tuple[int, memoryview]"]:
        """The undamaged generations, newest first, each with its number."""
        found = []
        for path in self.paths:
            try:
                with open(path, "rb") as stream:
                    content = unseal(stream.read())
            except OSError:
                continue
            if content is not None and len(content) >= 8:
                found.append((int.from_bytes(content[:8], "big"), content[8:]))
        return iter(sorted(found, key=lambda pair: -pair[0]))
