"""Share equal files of virtual environments as hard links to one store.

Twenty environments with TensorFlow contain the same two gigabytes twenty times. After an
environment is built, its larger files become links to the store, by content and mode. An
environment of a pull request is excluded: its script is a stranger's, and a script can change files
of its environment. Installers replace files instead of writing into them, so that an upgrade in one
environment does not affect the others.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

LEAST_BYTES = 16 << 10
"""Size below which files are not shared: nearly all bytes are in larger ones."""
STORE = "files"
PYTHON_CACHE = "__pycache__"
SOURCE = ".py"
"""Source files are not shared: their bytecode records their time, which differs between copies."""


def share(folder: Path, store: Path) -> int:
    """Replace an environment's files by links to the store, or add them to it.

    Args:
        folder: the environment, which is not in use yet.
        store: folder of the shared files, on the same file system.

    Returns:
        The number of bytes saved; 0 if the file system has no hard links.
    """
    saved = 0
    try:
        for path in _files(folder):
            saved += _share_one(path, store)
    except OSError:  # no hard links here, or no more of them to one file
        return saved
    return saved


def _files(folder: Path) -> Iterator[Path]:
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if name != PYTHON_CACHE)
        for name in sorted(names):
            path = Path(place, name)
            if (
                path.suffix != SOURCE
                and not path.is_symlink()
                and path.stat().st_size >= LEAST_BYTES
            ):
                yield path


def _share_one(path: Path, store: Path) -> int:
    status = path.stat()
    with path.open("rb") as stream:
        digest = _digest(stream)
    stored = store / digest[:2] / f"{digest}-{status.st_mode & 0o7777:o}"
    stored.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(path, stored)
    except FileExistsError:
        if stored.stat().st_ino == status.st_ino:
            return 0
        fresh = path.with_name(f".{path.name}.shared")
        os.link(stored, fresh)
        fresh.replace(path)
        return status.st_size
    return 0


def _digest(stream: BinaryIO) -> str:
    digest = hashlib.sha256()
    for block in iter(lambda: stream.read(1 << 20), b""):
        digest.update(block)
    return digest.hexdigest()


def tidy(store: Path) -> int:
    """Remove files that no environment uses any more; return the freed bytes."""
    freed = 0
    for stored in store.rglob("*") if store.is_dir() else ():
        status = stored.lstat()
        if stored.is_file() and status.st_nlink == 1:
            stored.unlink(missing_ok=True)
            freed += status.st_size
    return freed


def own_bytes(path: Path) -> int:
    """Return the bytes that removing a file frees: 0 if it is shared."""
    status = path.lstat()
    return status.st_size if status.st_nlink <= 2 else 0
