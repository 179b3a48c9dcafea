"""Reading the files of a pushed project without obeying anything in it.

A path may come from the project itself (`-r ../../.ssh/id_rsa`), be a link (`requirements.txt ->
/proc/self/environ`) or a pipe that never ends. So every file is opened here: it lies inside the
project after its links are resolved, it is a regular file, and no more than a given number of bytes
is read. Links are resolved before the file is opened and none is followed while it is, so that a
link put in between leads nowhere.

This module is on the path of `mlops detect`: it loads nothing but `os` and `stat`.
"""

from __future__ import annotations

import errno
import os
import stat

from mlops_lib.errors import RefusedFileError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import BinaryIO

    Path = str | os.PathLike[str]

TEXT_LIMIT = 1_000_000
"""Bytes of a settings or requirements file."""
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# O_NONBLOCK: the kind is checked before, but a pipe put in its place meanwhile must not block the reader.
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_FOLDER_SAMPLE = 20
_LINKS = (errno.ELOOP, errno.ENOTDIR)


def read(path: Path, *, root: Path, limit: int = TEXT_LIMIT) -> bytes:
    """Return the content of a pushed file.

    Args:
        path: the file; a relative path counts from the project.
        root: the project's folder.
        limit: bytes; a larger file is refused, not cut.

    Raises:
        RefusedFileError: it is missing, lies outside the project, is no regular file, is too large
            or unreadable.
    """
    descriptor = _opened(path, root)
    try:
        size = os.fstat(descriptor).st_size
        content = b"" if size > limit else _read(descriptor, limit + 1)
    except OSError as error:
        raise _unreadable(path, root, error) from None
    finally:
        os.close(descriptor)
    if max(size, len(content)) > limit:
        raise RefusedFileError(
            f"it is larger than {_shown(limit)} and is not read",
            reason="large",
            where=name_of(path, root),
            remedy="Move data out of it into a file of its own.",
        )
    return content


def read_start(path: Path, *, root: Path, limit: int) -> bytes:
    """Return at most the first `limit` bytes of a pushed file.

    Raises:
        RefusedFileError: it is missing, lies outside the project, is no regular file or is
            unreadable.
    """
    descriptor = _opened(path, root)
    try:
        return _read(descriptor, limit)
    except OSError as error:
        raise _unreadable(path, root, error) from None
    finally:
        os.close(descriptor)


def read_text(path: Path, *, root: Path, limit: int = TEXT_LIMIT) -> str:
    """Return a pushed file as UTF-8 text, malformed bytes as replacement characters.

    Raises:
        RefusedFileError: as `read`.
    """
    return read(path, root=root, limit=limit).decode("utf-8", "replace")


def open_binary(path: Path, *, root: Path) -> BinaryIO:
    """Open a pushed file for reading; the caller bounds how much is read.

    Raises:
        RefusedFileError: it is missing, lies outside the project, is no regular file or is
            unreadable.
    """
    return os.fdopen(_opened(path, root), "rb")


def is_file(path: Path, *, root: Path) -> bool:
    """Return whether a path, its links resolved, is a regular file inside the project."""
    place = resolve(path, root=root)
    return place is not None and os.path.isfile(place)


def is_folder(path: Path, *, root: Path) -> bool:
    """Return whether there is a folder, inside the project after links are resolved."""
    place = resolve(path, root=root)
    return place is not None and os.path.isdir(place)


def exists(path: Path, *, root: Path) -> bool:
    """Return whether there is anything, inside the project after links are resolved."""
    place = resolve(path, root=root)
    return place is not None and os.path.lexists(place)


def names_in(path: Path, *, root: Path) -> list[str]:
    """Return the names in a folder of the project; none if it lies outside."""
    place = resolve(path, root=root)
    try:
        return [] if place is None else os.listdir(place)
    except OSError:
        return []


def resolve(path: Path, *, root: Path) -> str | None:
    """Return the path with its links resolved, None if that leads out of the project."""
    top = os.path.realpath(root)
    try:
        place = os.path.realpath(os.path.join(top, path))
    except (OSError, ValueError):  # a name too long, a null character
        return None
    return place if place == top or place.startswith(top.rstrip(os.sep) + os.sep) else None


def require_in_checkout(path: Path) -> None:
    """Refuse a project's path that leaves its checkout through a link.

    Otherwise a push would choose the folder that is trained. A checkout is a folder with `.git`, or
    a build server's `WORKSPACE`. Links above it, or in no checkout, are the operator's.

    Raises:
        RefusedFileError: it leaves.
    """
    place = os.path.abspath(os.path.expanduser(path))
    real = os.path.realpath(place)
    if real == place:
        return
    roots = [os.environ.get("WORKSPACE") or ""]
    above = place
    while above != os.path.dirname(above):
        above = os.path.dirname(above)
        if os.path.lexists(os.path.join(above, ".git")):
            roots.append(above)
    for root in filter(None, roots):
        top = os.path.realpath(root)
        if place.startswith(root.rstrip(os.sep) + os.sep) and not (real + os.sep).startswith(
            top.rstrip(os.sep) + os.sep
        ):
            raise RefusedFileError(
                "a link leads out of the checkout, and is not followed",
                reason="outside",
                where=os.fspath(path),
                remedy="Name the folder or script that it leads to, if you mean it.",
            )


def strays(root: Path, *, limit: int = 10) -> list[str]:
    """Return names in a project that are dangerous to a program that follows links.

    These are links out of the project, links to folders, pipes, sockets and devices: such a program
    would read files from elsewhere, or never end.
    """
    names: list[str] = []
    pending = [os.path.realpath(root)]
    while pending and len(names) < limit:
        for entry in os.scandir(pending.pop()):
            if entry.is_dir(follow_symlinks=False):
                pending.append(entry.path)
            elif not entry.is_file() or resolve(entry.path, root=root) is None:
                names.append(name_of(entry.path, os.path.realpath(root)))
    return names


def name_of(path: Path, root: Path) -> str:
    """Return a file's name for messages: relative to the project."""
    return os.path.relpath(os.path.join(root, path), root)


def is_lfs_pointer(content: bytes) -> bool:
    """Return whether a file's beginning is a Git LFS pointer in place of the content."""
    return (
        content.startswith(b"version https://git-lfs.github.com/spec/v1\n")
        and b"\noid sha256:" in content[:300]
    )


def lfs_pointers(names: Iterable[str], *, root: Path) -> list[str]:
    """Return those of some files that are Git LFS pointers.

    Of a folder, a sample of its files is checked.
    """
    pointers = []
    for name in names:
        place = os.path.join(root, name)
        candidates = [name]
        if is_folder(place, root=root):
            sample = sorted(names_in(place, root=root))[:_FOLDER_SAMPLE]
            candidates = [os.path.join(name, file_name) for file_name in sample]
        for candidate in candidates:
            try:
                if is_lfs_pointer(read_start(candidate, root=root, limit=400)):
                    pointers.append(candidate)
            except RefusedFileError:
                continue
    return pointers


def _opened(path: Path, root: Path) -> int:
    """Return a descriptor of a regular file inside the project."""
    top = os.path.abspath(root)
    relative = os.path.relpath(os.path.normpath(os.path.join(top, path)), top)
    try:
        descriptor = None
        if ".." not in os.fspath(path).split(os.sep) and not relative.startswith(".."):
            descriptor = _without_links(top, relative)
        if descriptor is None:
            descriptor = _through_links(path, root)
    except ValueError as error:
        raise _refused(path, root, str(error)) from None
    except OSError as error:
        raise _unreadable(path, root, error) from None
    if descriptor < 0:
        raise RefusedFileError(
            "it is no regular file and is not read",
            reason="kind",
            where=name_of(path, root),
            remedy="Replace the folder, pipe or device by a file, or remove it.",
        )
    return descriptor


def _through_links(path: Path, root: Path) -> int:
    """Open the file behind a path's links inside the project; -1 if it is not regular."""
    resolved = resolve(path, root=root)
    if resolved is None:
        raise RefusedFileError(
            "it lies outside the project and is not read",
            reason="outside",
            where=name_of(path, root),
            remedy="Put the file itself into the project; links and paths that leave it are not followed.",
        )
    top = os.path.realpath(root)
    descriptor = _without_links(top, os.path.relpath(resolved, top))
    if descriptor is None:  # a link that leads to itself, or one that appeared just now
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
    return descriptor


def _without_links(top: str, relative: str) -> int | None:
    """Open a file below a folder without following a link.

    None if there is a link, -1 if it is no regular file.
    """
    *folders, name = relative.split(os.sep)
    holder = os.open(top, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for folder in folders:
            try:
                deeper = os.open(folder, _FOLDER, dir_fd=holder)
            except OSError as error:
                if error.errno in _LINKS and _is_link(folder, holder):
                    return None
                raise
            os.close(holder)
            holder = deeper
        mode = os.stat(name, dir_fd=holder, follow_symlinks=False).st_mode
        if stat.S_ISLNK(mode):
            return None
        if not stat.S_ISREG(mode):
            return -1
        descriptor = os.open(name, _FILE, dir_fd=holder)
    finally:
        os.close(holder)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        return -1
    return descriptor


def _is_link(name: str, holder: int) -> bool:
    return stat.S_ISLNK(os.stat(name, dir_fd=holder, follow_symlinks=False).st_mode)


def _read(descriptor: int, limit: int) -> bytes:
    parts = []
    while limit > 0 and (part := os.read(descriptor, min(limit, 1 << 20))):
        parts.append(part)
        limit -= len(part)
    return b"".join(parts)


def _unreadable(path: Path, root: Path, error: OSError) -> RefusedFileError:
    is_missing = error.errno in (errno.ENOENT, errno.ENOTDIR)
    return _refused(
        path, root, error.strerror or str(error), reason="missing" if is_missing else "unreadable"
    )


def _refused(path: Path, root: Path, what: str, *, reason: str = "unreadable") -> RefusedFileError:
    return RefusedFileError(
        f"it cannot be read: {what}",
        reason=reason,
        where=name_of(path, root).replace("\0", "\\0"),
        remedy="Check that the file is there and may be read.",
    )


def _shown(limit: int) -> str:
    return f"{limit / 1e6:.0f} MB" if limit >= 1e6 else f"{limit / 1e3:.0f} kB"
