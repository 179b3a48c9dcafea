"""Writing into a project's folder, and removing from it, never through a link.

A pushed project may hold any name, as a file, a folder or a link that leads elsewhere. So a place
below it is made and opened name by name without following links, and a folder is emptied only if it
carries the mark that mlops put there. Paths that the operator gives outside the project are the
operator's own, links included.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

from mlops_lib.errors import UsageError
from mlops_lib.project import repository

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
            "it exists and is not overwritten",
            where=str(root / path),
            remedy="Remove or rename it first.",
        ) from None
    finally:
        os.close(holder)


def require_own(path: Path, *, project: Path | None = None) -> Path:
    """Return the absolute path of a file of mlops; refuse links that were pushed.

    From the folder of the project or of its checkout on (of a relative path, from the current
    folder on), whichever comes first, no part of the path may be a link.

    Raises:
        UsageError: a part of it is one.
    """
    place = Path(os.path.abspath(path.expanduser()))  # noqa: PTH100 - resolve() would follow the links
    checkout = None if project is None else repository.find(project)
    here = None if path.is_absolute() else Path.cwd()
    folders = (project, here, None if checkout is None else checkout.top)
    roots = {os.path.realpath(folder) for folder in folders if folder is not None}
    inside = [folder for folder in place.parents if os.path.realpath(folder) in roots]
    if inside:
        part = inside[-1]  # the outermost one
        for name in place.relative_to(inside[-1]).parts:
            part /= name
            if part.is_symlink():
                raise _is_link(part)
    return place


def require_home(home: Path, *, project: Path) -> Path:
    """Return a home that no push has made.

    Raises:
        UsageError: it lies in the project, and a part of the path is a link, or files in it are
            under version control.
    """
    place = require_own(home, project=project)
    checkout = repository.find(project)
    if (
        checkout is not None
        and place.resolve().is_relative_to(checkout.top)
        and checkout.tracked(place)
    ):
        raise UsageError(
            "the folder of mlops' own files holds files that were pushed",
            where=str(home),
            remedy="Give another --home (or MLOPS_HOME), outside the project.",
        )
    return place


def fresh_folder(path: Path, *, project: Path | None = None, names: Collection[str] = ()) -> Path:
    """Return an empty folder with mlops' mark; one that carries the mark is emptied.

    Args:
        path: the folder.
        project: the project's folder, below which no link is followed.
        names: names of files that mlops writes. A folder without the mark is emptied too if it has
            no other ones, as before there was a mark.

    Raises:
        UsageError: a part of the path is a link that was pushed, or the folder holds other files
            than mlops' own.
    """
    place = require_own(path, project=project)
    if place.is_dir() and any(place.iterdir()):
        is_marked = stat.S_ISREG(_mode(place / MARK))
        if not is_marked and not all(
            entry.name in names and stat.S_ISREG(_mode(entry)) for entry in place.iterdir()
        ):
            raise UsageError(
                "the folder holds files that mlops did not put there, and is left as it is",
                where=str(path),
                remedy="Give another folder, or empty this one.",
            )
        shutil.rmtree(place)  # on Linux it follows no link, not even one that appears meanwhile
    try:
        place.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise _is_link(place) from None
    with os.fdopen(os.open(place / MARK, _NEW, 0o644), "wb"):
        pass
    return place


def _mode(path: Path) -> int:
    try:
        return path.lstat().st_mode
    except OSError:
        return 0


def copy_into(source: Path, path: str, *, root: Path) -> None:
    """Copy a regular file or a link with its times; an existing name stays.

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
            "it is no place in the project",
            where=str(root / path),
            remedy="Give a path below its folder.",
        )
    return parts


def _holder(root: Path, folders: tuple[str, ...]) -> int:
    """Return a descriptor of a folder below `root`; make it, and follow no links."""
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
        "it is a link or no folder, and nothing is written or removed through it",
        where=str(place),
        remedy="Remove it from the project, or give another place.",
    )
