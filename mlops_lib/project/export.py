"""Writing the files of a commit into a new folder.

The result is that of `git checkout`, except that nothing in the repository takes effect.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops_lib.errors import RefusedFileError
from mlops_lib.project import files

if TYPE_CHECKING:
    from dulwich.object_format import ObjectFormat

    from mlops_lib.project.repository import Objects

FILES_LIMIT = 1_000_000
LFS_LIMIT = 2 << 30
"""Bytes."""
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class _Export:
    """One export under way."""

    def __init__(self, objects: Objects, now: Path) -> None:
        self.objects = objects
        self.now = now
        self.entries: dict[bytes, Any] = {}

    def folder(self, tree: str, holder: int, prefix: bytes, *, depth: int) -> None:
        """Write a folder's content.

        Every name is made anew, so nothing is written through a link that was made before.
        """
        from mlops_lib.project.repository import DEPTH_LIMIT

        for name, (mode, sha) in self.objects.tree(tree).items():
            if not _is_name(name) or depth > DEPTH_LIMIT or len(self.entries) > FILES_LIMIT:
                raise ValueError("the commit holds a name that no checkout has")
            kind = stat.S_IFMT(mode)
            if kind in (stat.S_IFDIR, 0o160000):  # the latter is a submodule
                os.mkdir(name, 0o755, dir_fd=holder)
                inner = os.open(name, _FOLDER, dir_fd=holder)
                try:
                    if kind == stat.S_IFDIR:
                        self.folder(sha, inner, prefix + name + b"/", depth=depth + 1)
                finally:
                    os.close(inner)
            else:
                self.file(name, mode, sha, holder, prefix)

    def file(self, name: bytes, mode: int, sha: str, holder: int, prefix: bytes) -> None:
        """Write a file or link, and note it for the index."""
        from dulwich.index import index_entry_from_stat
        from dulwich.objects import ObjectID

        from mlops_lib.project.repository import BLOB_LIMIT

        kind, content = self.objects.get(sha, limit=BLOB_LIMIT)
        if not kind:
            raise ValueError("the repository lacks a file of the commit")
        if stat.S_ISLNK(mode):
            os.symlink(content, name, dir_fd=holder)
        else:
            descriptor = os.open(name, _NEW, 0o755 if mode & 0o100 else 0o644, dir_fd=holder)
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(self.smudged(prefix + name, content))
        status = os.stat(name, dir_fd=holder, follow_symlinks=False)
        self.entries[prefix + name] = index_entry_from_stat(status, ObjectID(sha.encode()))

    def smudged(self, path: bytes, content: bytes) -> bytes:
        """Return the content that a Git LFS pointer stands for, if the checkout has it.

        Any other content is returned unchanged.
        """
        wanted_digest = (
            re.search(rb"\noid sha256:([0-9a-f]{64})\n", content)
            if files.is_lfs_pointer(content[:300])
            else None
        )
        if wanted_digest is None:
            return content
        with suppress(RefusedFileError):
            present = files.read(os.fsdecode(path), root=self.now, limit=LFS_LIMIT)
            if hashlib.sha256(present).hexdigest().encode() == wanted_digest[1]:
                return present
        return content


def write(
    objects: Objects, tree: str, place: Path, *, commit: str, object_format: ObjectFormat, now: Path
) -> None:
    """Write a commit's tree into a new folder, with a minimal repository of its own.

    Args:
        objects: the objects of the repository.
        tree: the name of the commit's tree.
        place: the folder; it must not exist.
        commit: the commit's name.
        object_format: how objects are named.
        now: the present checkout, from which the content of Git LFS pointers is taken.
    """
    from dulwich.index import Index

    place.mkdir(parents=True)
    export = _Export(objects, now)
    holder = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        export.folder(tree, holder, b"", depth=0)
    finally:
        os.close(holder)
    git = place / ".git"
    for name in ("objects", "refs"):
        (git / name).mkdir(parents=True)
    (git / "config").write_text(
        f"[core]\n\trepositoryformatversion = 1\n[extensions]\n\tobjectformat = {object_format.name}\n"
    )
    index = Index(git / "index", read=False, object_format=object_format)
    for path, entry in export.entries.items():
        index[path] = entry
    index.write()
    (git / "HEAD").write_text(f"{commit}\n")


def _is_name(name: bytes) -> bool:
    """Return whether a name of a commit may become one of a file."""
    return (
        bool(name)
        and b"/" not in name
        and b"\0" not in name
        and name not in (b".", b"..")
        and name.lower() != b".git"
    )
