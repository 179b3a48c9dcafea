"""The working directory: a writable copy of the project that shares its data.

Folders are real, and files are copied, by reference if the file system supports it. Data that is
only read (pictures, big tables) and very large files are symbolic links into the read-only project.
A Python `open` for writing through such a link first replaces the link by a copy, and so do the
libraries in `native_writers`, which open files by themselves: the project itself is never written
to.
"""

import builtins
import contextlib
import functools
import io
import os
import shutil
import sys
import weakref
from typing import Any, Callable, Dict, Iterator, List, Mapping, Optional, Tuple

from mlops_lib.runner import protocol

MAX_TEXT_BYTES = 1 << 20
"""Files up to this size are copied if their suffix means text or code."""
TEXT_SUFFIXES = {
    ".py",
    ".ipynb",
    ".txt",
    ".json",
    ".toml",
    ".yaml",
    ".yml",
    ".cfg",
    ".ini",
    ".md",
    ".csv",
    ".tsv",
    ".log",
    ".sh",
    "",
}
MAX_COPY_BYTES = 64 << 20
"""Files up to this size are copied if their suffix does not mean data that is only read."""
LINKED_SUFFIXES = {
    *(
        ".jpg",
        ".jpeg",
        ".png",
        ".gif",
        ".bmp",
        ".tif",
        ".tiff",
        ".webp",
        ".ppm",
        ".pgm",
        ".svg",
        ".dcm",
        ".nii",
    ),
    *(".wav", ".mp3", ".flac", ".ogg", ".mp4", ".avi", ".mov", ".mkv"),
    *(
        ".npy",
        ".npz",
        ".mat",
        ".parquet",
        ".feather",
        ".arrow",
        ".tfrecord",
        ".tfrecords",
        ".arff",
        ".xls",
        ".xlsx",
    ),
    *(".zip", ".gz", ".tgz", ".tar", ".bz2", ".xz", ".7z", ".jsonl", ".xml", ".pdf"),
}
"""Suffixes of data that scripts read, often thousands of files: linked, not copied."""
MAX_TOTAL_COPY_BYTES = 256 << 20
SKIPPED = {
    ".ipynb_checkpoints",  # a folder of pictures would have it for a class
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

OPENED: "weakref.WeakSet[Any]" = weakref.WeakSet()
"""The file objects that the script opened for writing."""

Manifest = Dict[str, Tuple[int, int, int]]
"""Relative path to (size, mtime in ns, inode)."""


def build(project: str, work: str, links: Optional[Mapping[str, str]] = None) -> None:
    """Create `work` anew from `project`.

    Args:
        project: the pushed project.
        work: the working directory.
        links: data outside the project: its path relative to `work`, to its file or folder.

    Raises:
        OSError: the run directory cannot be written.
    """
    discard(work)
    _mirror(project, work, MAX_TOTAL_COPY_BYTES)
    for name, source in (links or {}).items():
        place = os.path.join(work, name)
        os.makedirs(os.path.dirname(place), exist_ok=True)
        if os.path.isdir(source):
            _mirror(source, place, 0)
        else:
            if os.path.lexists(place):
                os.remove(place)
            os.symlink(os.path.realpath(source), place)


def _mirror_folders(
    folder: str, folders: List[str], target: str, *, project: str, work: str
) -> None:
    """Create a folder's subfolders in `target`; links are copied, and not walked into.

    Args:
        folder: the project's folder.
        folders: the names of its subfolders; links are removed from the list, in place.
        target: the counterpart of `folder` in the working directory.
        project: the project's root.
        work: the working directory.
    """
    for name in list(folders):
        path = os.path.join(folder, name)
        if os.path.islink(path):
            folders.remove(name)
            if not os.path.lexists(os.path.join(target, name)):
                os.symlink(_link_target(path, project, work), os.path.join(target, name))
        else:
            os.makedirs(os.path.join(target, name), exist_ok=True)


def _copy_status(source: str, place: str) -> None:
    """Give a copy the times and the mode of its source, but writable."""
    # Build tools and scripts compare times, for example of a cache and of the data that it was made
    # of.
    shutil.copystat(source, place)
    # The project is mounted read-only; its copies must be writable.
    os.chmod(place, os.stat(place).st_mode | 0o600)


def _mirror(project: str, work: str, most: int) -> None:
    """Create folders, copy small files up to `most` bytes in all, link all others."""
    os.makedirs(work, exist_ok=True)
    copied = 0
    clones = True
    own = os.path.realpath(work)
    for folder, folders, names in os.walk(project):
        # Runs of a home inside the project are not part of it, and would grow with each run.
        if folder != project and protocol.is_own_folder([*folders, *names]):
            folders.clear()
            os.rmdir(os.path.join(work, os.path.relpath(folder, project)))
            continue
        folders[:] = [
            name
            for name in folders
            if name not in SKIPPED
            # A run directory inside the project would be copied into itself without end.
            and not own.startswith(os.path.realpath(os.path.join(folder, name)) + os.sep)
        ]
        target = os.path.join(work, os.path.relpath(folder, project))
        _mirror_folders(folder, folders, target, project=project, work=work)
        # Once per folder: for each of 10,000 pictures it would cost more than the links.
        real = os.path.realpath(folder)
        for name in names:
            source = os.path.join(folder, name)
            place = os.path.join(target, name)
            try:
                size = os.stat(source).st_size
            except OSError:
                # A dangling link, or a file that has vanished: the script would not find it either.
                continue
            if os.path.lexists(place):
                os.remove(place)
            if _should_copy(name, size) and copied + size <= most:
                # After one refusal, cloning is not tried again: source and target do not change
                # file systems.
                clones = clones and _clone(source, place)
                if not clones:
                    copied += size
                    shutil.copyfile(source, place)
                _copy_status(source, place)
            else:
                os.symlink(
                    os.path.realpath(source)
                    if os.path.islink(source)
                    else os.path.join(real, name),
                    place,
                )


def _link_target(link: str, project: str, work: str) -> str:
    """Return the target of a link to a folder.

    Targets within the project are replaced by their copies in the working directory.
    """
    real = os.path.realpath(link)
    root = os.path.realpath(project)
    if real == root or real.startswith(root + os.sep):
        return os.path.normpath(os.path.join(os.path.realpath(work), os.path.relpath(real, root)))
    return real


def _should_copy(name: str, size: int) -> bool:
    suffix = os.path.splitext(name)[1].lower()
    return suffix not in LINKED_SUFFIXES and size <= (
        MAX_TEXT_BYTES if suffix in TEXT_SUFFIXES else MAX_COPY_BYTES
    )


FICLONE = 0x40049409
"""Linux' ioctl that lets two files share blocks until either is written (Btrfs, XFS)."""


def _clone(source: str, place: str) -> bool:
    """Return whether `place` now shares the content of `source` without copying it."""
    try:
        import fcntl

        with open(source, "rb") as original, open(place, "wb") as copy:
            fcntl.ioctl(copy.fileno(), FICLONE, original.fileno())
    except (OSError, ImportError):
        return False
    return True


def copy_finished_fits(shared: str, inside: str, *, last: int) -> None:
    """Copy the run's finished fits to a worker that has none, to save training them.

    Args:
        shared: the run's own `inside/`.
        inside: the worker's `inside/`.
        last: number of the last fit that the worker needs.
    """
    own = os.path.join(inside, "fits")
    source = os.path.join(shared, "fits")
    if os.path.isdir(own) or not os.path.isdir(source):
        return
    fresh = own + ".new"
    discard(fresh)
    os.makedirs(fresh)
    names = [
        name for name in os.listdir(source) if name.startswith("candidates-") or name.isdigit()
    ]
    for name in names:
        if not name.isdigit() or int(name) <= last:
            # Files that the run replaces during the copy are left out: the worker trains a fit
            # again whose checkpoint is incomplete.
            with contextlib.suppress(shutil.Error):
                shutil.copytree(os.path.join(source, name), os.path.join(fresh, name))
    os.replace(fresh, own)


def discard(work: str) -> None:
    """Remove a working directory; links in it are removed, never followed."""
    if os.path.lexists(work):
        shutil.rmtree(work)


def manifest(work: str) -> Manifest:
    """Return the present files of the working directory; they are not opened."""
    files: Manifest = {}
    pending = [work]
    while pending:
        folder = pending.pop()
        with contextlib.suppress(FileNotFoundError), os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    if entry.name != "__pycache__":
                        pending.append(entry.path)
                    continue
                if entry.is_symlink():
                    # Links to data are never written through, and there may be very many of them:
                    # `stat` is spared.
                    files[os.path.relpath(entry.path, work)] = (0, 0, entry.inode())
                    continue
                with contextlib.suppress(FileNotFoundError):
                    status = entry.stat(follow_symlinks=False)
                    files[os.path.relpath(entry.path, work)] = (
                        status.st_size,
                        status.st_mtime_ns,
                        status.st_ino,
                    )
    return files


def folders(work: str) -> "set[str]":
    """Return the present folders of the working directory."""
    return {
        os.path.relpath(os.path.join(root, name), work)
        for root, names, _ in os.walk(work)
        for name in names
    }


def changed(before: Manifest, after: Manifest) -> Iterator[str]:
    """Iterate over the paths written between two manifests."""
    return (path for path, status in sorted(after.items()) if before.get(path) != status)


def collect_outputs(work: str, outputs: str, start: Manifest) -> "list[str]":
    """Move the script's files to `outputs` and remove the working directory.

    Returns:
        the paths of the moved files.
    """
    fresh = outputs + ".new"
    discard(fresh)
    os.makedirs(fresh)
    paths = [
        path
        for path in changed(start, manifest(work))
        if not os.path.islink(os.path.join(work, path))
    ]
    for path in paths:
        target = os.path.join(fresh, path)
        os.makedirs(os.path.dirname(target), exist_ok=True)
        os.replace(os.path.join(work, path), target)
    discard(outputs)
    # Outputs appear at once or not at all: a kill must not leave a part of them.
    os.replace(fresh, outputs)
    discard(work)
    return paths


MUTATING_FUNCTIONS = ("truncate", "chmod", "utime", "setxattr", "removexattr")
"""Functions of `os` that change the file behind a link."""


def _detaching(function: Callable[..., Any], detach: Callable[[Any], None]) -> Callable[..., Any]:
    @functools.wraps(function)
    def call(path: Any, *args: Any, **kwargs: Any) -> Any:
        # Without following, the function changes the link itself, which is the working directory's
        # own.
        if kwargs.get("follow_symlinks", True):
            with contextlib.suppress(OSError):
                detach(path)
        return function(path, *args, **kwargs)

    return call


class CopyOnWrite:
    """Replace links into the project by copies that belong to the working directory."""

    def __init__(self) -> None:
        self.roots: "list[str]" = []

    def detach(self, path: Any) -> None:
        """Make a path safe to write to.

        Raises:
            OSError: the file cannot be copied.
        """
        if not isinstance(path, (str, bytes, os.PathLike)):
            return
        name = os.fsdecode(path)
        source = os.path.realpath(name)
        if os.path.islink(name) and any(
            source == root or source.startswith(root + os.sep) for root in self.roots
        ):
            # A rename, so that no reader sees an incomplete file; named by process, as forked
            # processes may do the same at once.
            temporary = f"{name}.{os.getpid()}.mlops-copy"
            shutil.copy2(source, temporary)
            os.chmod(temporary, 0o644)
            os.replace(temporary, name)


COPY_ON_WRITE = CopyOnWrite()


def unbound(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that stays one as an attribute of a class.

    Before Python 3.11 a class of `pathlib` holds `io.open` and functions of `os`: built-in ones are
    not bound to an instance there, those that take their place would be.
    """
    if sys.version_info >= (3, 11):
        return function
    return functools.update_wrapper(functools.partial(function), function)


def install_copy_on_write(*sources: str) -> Callable[[], None]:
    """Copy a linked file of `sources` when it is opened for writing.

    Returns:
        the function that undoes it.
    """
    plain_open = builtins.open
    plain_io_open = io.open
    plain_os_open = os.open
    COPY_ON_WRITE.roots = [os.path.realpath(source) for source in sources]
    detach = COPY_ON_WRITE.detach

    @functools.wraps(plain_open)
    def open_(file: Any, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
        if isinstance(mode, str) and any(letter in mode for letter in "wax+"):
            with contextlib.suppress(OSError):
                detach(file)
            opened = plain_open(file, mode, *args, **kwargs)
            OPENED.add(opened)
            return opened
        return plain_open(file, mode, *args, **kwargs)

    @functools.wraps(plain_os_open)
    def os_open(path: Any, flags: int, *args: Any, **kwargs: Any) -> int:
        if flags & (os.O_WRONLY | os.O_RDWR):
            with contextlib.suppress(OSError):
                detach(path)
        return plain_os_open(path, flags, *args, **kwargs)

    builtins.open, io.open, os.open = open_, unbound(open_), unbound(os_open)
    plain = {name: getattr(os, name) for name in MUTATING_FUNCTIONS if hasattr(os, name)}
    for name, function in plain.items():
        setattr(os, name, unbound(_detaching(function, detach)))

    def undo() -> None:
        builtins.open, io.open, os.open = plain_open, plain_io_open, plain_os_open
        for name, function in plain.items():
            setattr(os, name, function)
        COPY_ON_WRITE.roots = []

    return undo
