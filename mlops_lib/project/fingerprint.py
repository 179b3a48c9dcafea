"""The content of a project and its data as digests, which name a run."""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from mlops_lib.errors import RefusedFileError
from mlops_lib.project import files, repository
from mlops_lib.runner import protocol

CODE = {".py", ".ipynb", ".toml", ".cfg", ".ini", ".yml", ".yaml", ".lock", ".r", ".sh"}


MAYBE_CODE = {".txt", ".json"}
"""Code beside the entry (requirements.txt, layers.json), data in folders of thousands."""


CODE_BYTES = 1 << 20
"""Code-like files up to this size are named by content, everything else by path, size and time."""


NOT_PROJECT = {
    ".git",
    ".mlops",
    "__pycache__",
    ".venv",
    "venv",
    "node_modules",
    ".tox",
    ".mypy_cache",
    ".pytest_cache",
}


SETTINGS_FILE = "mlops.toml"
"""Not part of a run's name: a changed bar continues the same run."""


def manifest(project: Path, *, left_out: Collection[str] = ()) -> str:
    """Return a digest of the project without reading its data.

    It covers only the files that decide a run if `left_out` names the others.
    """
    return manifest_digest(identities(project, left_out=left_out))


def manifest_digest(identities: Mapping[str, str]) -> str:
    """The digest of a project's files, each with what identifies it."""
    digest = hashlib.sha256()
    for path, identity in identities.items():
        digest.update(f"{path}\0{identity}\0".encode(errors="surrogateescape"))
    return digest.hexdigest()


def identities(project: Path, *, left_out: Collection[str] = ()) -> dict[str, str]:
    """Return an identity of each file of a project, in order, without reading its data.

    Files that git tracks and that are unchanged are named by git's own content hash, so that a
    fresh checkout of the same commit is the same project; other code is hashed; other data is named
    by path, size and modification time.
    """
    checkout = repository.find(project)
    tracked = {} if checkout is None else checkout.unchanged(project)
    identity_of: dict[str, str] = {}
    for path, full in _files(project):
        if path != SETTINGS_FILE and path not in left_out:
            identity_of[path] = tracked.get(path) or _identify(
                full, root=project, is_code=_is_code(path)
            )
    return identity_of


def project_files(project: Path) -> set[str]:
    """The paths, relative to the project, of what belongs to it."""
    return {path for path, _ in _files(project)}


def data_manifest(source: Path) -> str:
    """Return a digest of a mounted file or folder by paths, sizes and times only."""
    data_files = [("", source)] if source.is_file() else _files(source)
    digest = hashlib.sha256()
    for path, full in data_files:
        digest.update(
            f"{path}\0{_identify(full, root=source, is_code=False)}\0".encode(
                errors="surrogateescape"
            )
        )
    return digest.hexdigest()


def _is_code(path: str) -> bool:
    suffix = Path(path).suffix.lower()
    return suffix in CODE or (suffix in MAYBE_CODE and os.sep not in path)


def _files(project: Path) -> Iterator[tuple[str, Path]]:
    for folder, folders, names in os.walk(project):
        if folder != str(project) and protocol.is_own_folder([*folders, *names]):
            folders.clear()
            continue
        folders[:] = sorted(name for name in folders if name not in NOT_PROJECT)
        for name in sorted(names):
            full = Path(folder, name)
            yield os.path.relpath(full, project), full


def _identify(path: Path, *, root: Path, is_code: bool) -> str:
    """Return a file's identity: of code its content, of data its size and time.

    Neither data nor the target of a link out of the project is read.
    """
    try:
        status = path.stat()
    except OSError:
        return "unreadable"
    if is_code and stat.S_ISREG(status.st_mode) and status.st_size <= CODE_BYTES:
        with suppress(RefusedFileError):
            # git's own name for the content, so that an untracked copy and a tracked one are the
            # same project.
            return repository.blob_name(files.read(path, root=root, limit=CODE_BYTES))
    return f"{status.st_size}:{status.st_mtime_ns}"


def digest(*parts: Any) -> str:
    """Return the run's digest over the JSON values that decide its result."""
    content = json.dumps([2, *parts])
    return hashlib.sha256(content.encode(errors="surrogateescape")).hexdigest()
