"""Remember what was found out about large projects, by their content.

A result is found again only if every file that detection reads has the same content, all others have
the same names and sizes, and neither this package nor the question has changed. It is a file of the
user's cache directory that only the user can write; one that cannot be read is made anew.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
import sys
from pathlib import Path

from mlops_lib import atomic
from mlops_lib.detection.words import words
from mlops_lib.errors import DetectionError, RefusedFileError
from mlops_lib.project import files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

REFUSED = "refused"
"""Key of an error's message."""
ENTRIES_LIMIT = 64
RESULT_LIMIT = 2_000_000
"""Bytes of one result."""
PLACES_LIMIT = 100_000
"""Files and folders of a project: with more of them nothing is remembered."""
READ_LIMIT = 30_000_000
"""Bytes of one file whose content counts, as far as detection reads any."""
DATA = frozenset(
    f".{ending}"
    for ending in words("""
        csv parquet npy npz h5 hdf5 pkl pickle joblib pt pth bin safetensors onnx png jpg jpeg gif
        webp svg mp4 wav mp3 zip gz bz2 xz tar 7z pdf ttf woff woff2 so dll pyc keras tflite db sqlite
    """)
)
"""Endings of files that are never opened: their names and sizes count."""


def folder() -> Path:
    """Return the folder of the remembered results."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return Path(base, "mlops", "detection")


def key(project: str, question: str) -> str:
    """Return the name of a result, "" if the project is too large or cannot be read.

    Args:
        project: the project's folder, with its links resolved.
        question: what is asked about it.
    """
    digest = hashlib.sha256(f"{project}\0{question}\0{sys.version}".encode())
    package = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    try:
        for part in (os.path.join(package, "detection"), os.path.join(package, "project")):
            for name, status in _places(part):
                digest.update(f"{name}\0{status.st_size}\0{status.st_mtime_ns}\n".encode())
        for name, status in _places(project):
            digest.update(f"{name}\0{status.st_mode}\0".encode("utf-8", "surrogateescape"))
            digest.update(_content(project, name, status))
    except (OSError, RefusedFileError):
        return ""
    return digest.hexdigest()


def _places(top: str) -> Iterator[tuple[str, os.stat_result]]:
    """Yield the files, links and folders of a folder, in an order of their own, but Git's.

    Raises:
        OSError: one cannot be read, or there are too many.
    """
    pending = [""]
    count = 0
    while pending:
        place = pending.pop()
        with os.scandir(os.path.join(top, place)) as found:
            entries = sorted(found, key=lambda one: one.name)
        for entry in entries:
            count += 1
            if count > PLACES_LIMIT:
                raise OSError("too many files")
            name = os.path.join(place, entry.name)
            if entry.is_dir(follow_symlinks=False):
                if entry.name not in (".git", "__pycache__"):
                    pending.append(name)
            else:
                yield name, entry.stat(follow_symlinks=False)


def _content(project: str, name: str, status: os.stat_result) -> bytes:
    """Return what identifies the content of a file or link.

    Raises:
        RefusedFileError: it has become another kind of file, or grown, since it was listed.
    """
    if stat.S_ISLNK(status.st_mode):
        return os.fsencode(os.readlink(os.path.join(project, name)))
    is_read = stat.S_ISREG(status.st_mode) and status.st_size <= READ_LIMIT
    if not is_read or os.path.splitext(name)[1].lower() in DATA:
        return f"{status.st_size}\n".encode()
    return hashlib.sha256(files.read(name, root=project, limit=READ_LIMIT)).digest()


def recall(name: str) -> dict[str, Any] | None:
    """Return a remembered result, None if there is none that can be trusted and read.

    Raises:
        DetectionError: it was an error.
    """
    path = folder() / f"{name}.json"
    try:
        status = os.stat(folder())
        if status.st_uid != os.getuid() or status.st_mode & 0o022:
            return None
        with atomic.open_regular(path) as file:
            content = file.read(RESULT_LIMIT + 1)
        result = json.loads(content) if len(content) <= RESULT_LIMIT else None
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(result, dict):
        return None
    refusal = result.get(REFUSED)
    if isinstance(refusal, list) and len(refusal) == 3 and all(isinstance(r, str) for r in refusal):
        raise DetectionError(refusal[0], where=refusal[1], remedy=refusal[2])
    return result if {"entry", "framework", "evidence"} <= result.keys() else None


def remember_refusal(name: str, error: DetectionError) -> None:
    """Write that nothing is concluded, and why."""
    remember(name, {REFUSED: [error.what, str(error.where or ""), str(error.remedy or "")]})


def remember(name: str, result: dict[str, Any]) -> None:
    """Store a result and remove the oldest beyond the limit; write failures are ignored."""
    content = json.dumps(result).encode()
    if len(content) > RESULT_LIMIT:
        return
    try:
        folder().mkdir(parents=True, exist_ok=True, mode=0o700)
        atomic.write_bytes(folder() / f"{name}.json", content)
        kept = sorted(folder().glob("*.json"), key=lambda one: one.stat().st_mtime, reverse=True)
        for old in kept[ENTRIES_LIMIT:]:
            old.unlink(missing_ok=True)
    except OSError:
        return
