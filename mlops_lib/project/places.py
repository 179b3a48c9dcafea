"""What the host writes into a project's folder, or removes from it: never through a link, and only what is its own.

A pushed project may hold any name, as a file, a folder or a link that leads elsewhere. So a place below it is made and
opened name by name without following links, and a folder is emptied only if it carries the mark that mlops put there.
Paths that the operator gives outside the project are the operator's own, links included.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
from contextlib import suppress
from pathlib import Path

from mlops_lib.errors import UsageError

MARK = ".mlops-results"
"""File in a folder that mlops fills, and empties when it fills it again."""
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def create(path: str | Path, content: bytes, *, root: Path, mode: int = 0o644) -> None:
    """Write a new file of the project, with the folders it lies in.

    Raises:
        UsageError: there is something of that name, or a part of the path is a link.
    """
    parts = _parts(path, root)
    holder = _holder(root, parts[:-1])
    try:
        descriptor = os.open(parts[-1], _NEW, mode, dir_fd=holder)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
    except FileExistsError:
        raise UsageError(
            "it exists and is not overwritten", where=str(root / path), remedy="Remove or rename it first."
        ) from None
    finally:
        os.close(holder)


def require_own(path: Path, *, project: Path | None = None) -> Path:
    """Return the absolute path of something that mlops writes, if no push decided where it leads.

    From the project's folder on (or from the current folder on, if that is where the path leads through) no part of the
    path may be a link.

    Raises:
        UsageError: a part of it is one.
    """
    place = Path(os.path.abspath(path.expanduser()))  # noqa: PTH100 - resolve() would follow the links
    roots = {os.path.realpath(one) for one in (project, Path.cwd()) if one is not None}
    within = next((one for one in reversed(place.parents) if os.path.realpath(one) in roots), None)
    if within is not None:
        part = within
        for name in place.relative_to(within).parts:
            part /= name
            if part.is_symlink():
                raise _is_link(part)
    return place


def fresh_folder(path: Path, *, project: Path | None = None) -> Path:
    """Return an empty folder with our mark; one that carries the mark already is emptied.

    Raises:
        UsageError: a part of the path is a link that was pushed, or the folder holds what is not mlops' own.
    """
    place = require_own(path, project=project)
    if place.is_dir() and any(place.iterdir()):
        mark = place / MARK
        if mark.is_symlink() or not mark.is_file():
            raise UsageError(
                "the folder holds files that mlops did not put there, and is left as it is", where=str(path),
                remedy="Give another folder, or empty this one.",
            )  # fmt: skip
        shutil.rmtree(place)  # on Linux it follows no link, not even one that appears meanwhile
    place.mkdir(parents=True, exist_ok=True)
    with os.fdopen(os.open(place / MARK, _NEW, 0o644), "wb"):
        pass
    return place


def copy_into(source: Path, path: str, *, root: Path) -> None:
    """Copy a regular file or a link, with its times, to a new place in a folder; a name that is taken stays.

    Raises:
        UsageError: a part of the path is a link.
    """
    parts = _parts(path, root)
    status = source.lstat()
    holder = _holder(root, parts[:-1])
    try:
        if stat.S_ISLNK(status.st_mode):
            os.symlink(source.readlink(), parts[-1], dir_fd=holder)
        elif stat.S_ISREG(status.st_mode):
            reading = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            writing = os.open(parts[-1], _NEW, stat.S_IMODE(status.st_mode), dir_fd=holder)
            with os.fdopen(reading, "rb") as old, os.fdopen(writing, "wb") as new:
                shutil.copyfileobj(old, new, 1 << 20)
                new.flush()
                os.utime(new.fileno(), ns=(status.st_atime_ns, status.st_mtime_ns))
    except FileExistsError:
        return
    finally:
        os.close(holder)


def _parts(path: str | Path, root: Path) -> tuple[str, ...]:
    parts = Path(path).parts
    if not parts or ".." in parts or Path(path).is_absolute():
        raise UsageError(
            "it is no place in the project", where=str(root / path), remedy="Give a path below its folder."
        )
    return parts


def _holder(root: Path, folders: tuple[str, ...]) -> int:
    """Return a descriptor of a folder below `root`, made if it is missing, reached without following a link."""
    holder = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    for name in folders:
        try:
            with suppress(FileExistsError):
                os.mkdir(name, dir_fd=holder)
            deeper = os.open(name, _FOLDER, dir_fd=holder)
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.ENOTDIR):
                raise _is_link(root.joinpath(*folders)) from None
            raise
        finally:
            os.close(holder)
        holder = deeper
    return holder


def _is_link(place: Path) -> UsageError:
    return UsageError(
        "it is a link or no folder, and nothing is written or removed through it", where=str(place),
        remedy="Remove it from the project, or give another place.",
    )  # fmt: skip
