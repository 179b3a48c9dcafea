"""Give folders to a container's user without following links in them.

Only root does this. A folder that a running container can write is left alone: between the check of
a name and the change of its owner, the container could put another file under that name.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from mlops_lib.errors import EngineError


class Owner(NamedTuple):
    """The user and group of a training's processes and files."""

    user: int
    group: int


def hand_over(folder: Path, owner: Owner, *, is_mounted: Callable[[Path], bool]) -> None:
    """Change the owner of a folder and its contents, unless that is done already.

    The folder itself comes last, so that an interrupted change is repeated.

    Args:
        folder: a folder of a run.
        owner: the new owner.
        is_mounted: returns whether a running container has a folder mounted.

    Raises:
        EngineError: it is a link or no folder, or a running container of another user has it
            mounted.
    """
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        raise EngineError(
            f"the folder cannot be opened: {error.strerror}",
            where=str(folder),
            remedy="Remove it; it is made again.",
        ) from None
    try:
        if os.fstat(descriptor).st_uid == owner.user:
            return
        if os.listdir(descriptor):  # noqa: PTH208 (by the descriptor: the name could lead elsewhere by now)
            if is_mounted(folder):
                raise EngineError(
                    "a running container of another user writes there",
                    where=str(folder),
                    remedy="`mlops stop` the run that has it, or run mlops as the same user as"
                    " before.",
                )
            _hand_over_contents(descriptor, owner)
        os.fchown(descriptor, *owner)
    finally:
        os.close(descriptor)


def _hand_over_contents(descriptor: int, owner: Owner) -> None:
    # fwalk opens each folder relative to its parent, without following links, and checks that it is
    # the one it saw.
    for _, folders, names, parent in os.fwalk(
        ".", topdown=False, follow_symlinks=False, dir_fd=descriptor
    ):
        for name in (*folders, *names):
            status = os.stat(name, dir_fd=parent, follow_symlinks=False)
            # Another name of the same file may lie anywhere on this disk: a hard link is somebody
            # else's file.
            shared = status.st_nlink > 1 and not stat.S_ISDIR(status.st_mode)
            if status.st_uid != owner.user and not shared:
                os.chown(name, *owner, dir_fd=parent, follow_symlinks=False)
