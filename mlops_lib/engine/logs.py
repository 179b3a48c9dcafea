"""Copy a container's output to a file, complete and only once.

The offset at which a container's output begins in the file is fixed at its creation and stored in
its labels. Every block is written at its own offset. So a program that takes over writes the same
bytes to the same places, and two followers at once do no harm.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlops_lib import atomic

LABEL_LOG = "org.mlops-lib.log"
"""Label with the offset in bytes at which the container's output begins, and the file."""
JOIN_S = 10.0
TRIM_EVERY = 8 << 20
ENGINE_LOG = {"max-size": "64m", "max-file": "2"}
"""Options that limit the engine's own copy of the output."""


def labels(log: str) -> dict[str, str]:
    """Return the labels of a container whose output is appended to this file."""
    if not log:
        return {}
    path = Path(log)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return {LABEL_LOG: f"{path.stat().st_size} {path}"}


class Follower:
    """Copies the output of one container continuously, in a thread of its own."""

    def __init__(self, container: Any) -> None:
        self.complete = False
        self._container = container
        self._thread = threading.Thread(target=self._work, name="mlops-log", daemon=True)
        self._thread.start()

    def _work(self) -> None:
        import docker.errors
        import requests

        try:
            copy(self._container, follow=True)
            self.complete = True
        except (docker.errors.DockerException, requests.RequestException, OSError):
            # the engine went away, or the disk is full: whoever asks for the container next goes on
            return

    @property
    def alive(self) -> bool:
        """Return whether it is still copying."""
        return self._thread.is_alive()

    def join(self) -> None:
        """Wait for the rest of the output of an ended container."""
        self._thread.join(timeout=JOIN_S)


def copy(container: Any, *, follow: bool) -> None:
    """Write the container's output to the place that its labels name.

    Args:
        container: the SDK's container.
        follow: until the container has ended; else only the output so far.
    """
    place = _place(container.labels)
    if place is None:
        return
    position, path = place
    trim = position + atomic.LOG_HEAD + atomic.LOG_TAIL
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        for block in container.logs(stream=True, follow=follow):
            view = memoryview(block)
            while view:
                written = os.pwrite(descriptor, view, position)
                position += written
                view = view[written:]
            if position >= trim:  # output without end must not fill the disk
                atomic.keep_ends(
                    descriptor, begin=place[0], head=atomic.LOG_HEAD, tail=atomic.LOG_TAIL
                )
                trim = position + TRIM_EVERY
    finally:
        os.close(descriptor)


def _place(container_labels: Mapping[str, str]) -> tuple[int, Path] | None:
    position, _, path = container_labels.get(LABEL_LOG, "").partition(" ")
    if not position.isdecimal() or not Path(path).parent.is_dir():
        return None  # none was asked for, or its folder is gone
    return int(position), Path(path)
