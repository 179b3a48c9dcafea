"""Files of JSON lines: journals of the host, events of containers.

Events of a container are claims: they are bounded and checked.
"""

from __future__ import annotations

import errno
import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeGuard

from mlops_lib import atomic
from mlops_lib.events import warning
from mlops_lib.runner import protocol


def append(path: Path, line: dict[str, Any]) -> None:
    """Append one JSON object as a line, with one write.

    A torn line before it (the disk was full) stays a line of its own.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        size = os.fstat(descriptor).st_size
        torn = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
        content = b"\n" * torn + json.dumps(line).encode() + b"\n"
        if os.write(descriptor, content) < len(content):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Return the objects in a file of the host's own; skip torn and foreign lines."""
    objects = []
    with suppress(OSError):
        for line in path.read_text(errors="replace").splitlines():
            with suppress(ValueError):
                value = json.loads(line)
                if isinstance(value, dict):
                    objects.append(value)
    return objects


WHOLE = (int, type(None))


SHAPES: dict[str, tuple[type, ...]] = {
    "event": (str,),
    "time": (int, float, type(None)),
    "pass": WHOLE,
    "attempt": WHOLE,
    "fit": WHOLE,
    "epoch": WHOLE,
    "epochs": WHOLE,
    "step": WHOLE,
    "steps": WHOLE,
    "exit_code": WHOLE,
    "metrics": (dict, type(None)),
    "error": (dict, type(None)),
    "trial": (dict, int, type(None)),
    "progress": WHOLE,
    "phase": (str,),
    "step_s": (int, float, type(None)),
    "seconds": (int, float, type(None)),
}


LARGEST = 1 << 53


def _well_formed(claim: Any) -> TypeGuard[dict[str, Any]]:
    """Return whether a claim has the shapes of an event (docs/run-directory.md)."""
    if not isinstance(claim, dict):
        return False
    return all(
        isinstance(claim[key], kinds)
        and not isinstance(claim[key], bool)
        and not (isinstance(claim[key], (int, float)) and not abs(claim[key]) <= LARGEST)
        for key, kinds in SHAPES.items()
        if key in claim
    )


def events(run_dir: Path) -> list[dict[str, Any]]:
    """Return the runner's events so far.

    Of too many, these are the first and the last, with a warning at the beginning.
    """
    return Events(run_dir).new()


class Events:
    """Reads the runner's events.jsonl as it grows, in bounded time and memory."""

    def __init__(self, run_dir: Path) -> None:
        self._run_dir = run_dir
        self._lines = atomic.Lines()
        self._is_shortened = False

    @property
    def offset(self) -> int:
        """Bytes read so far."""
        return self._lines.offset

    def new(self) -> list[dict[str, Any]]:
        """Return the events since the last call.

        A torn line waits until it is whole; lines that are no events are dropped.
        """
        try:
            with atomic.open_regular(
                self._run_dir / protocol.INSIDE / protocol.EVENTS, inside=self._run_dir
            ) as stream:
                lines = self._lines.new(stream)
        except OSError:
            return []
        events_read = []
        for line in lines:
            with suppress(ValueError, RecursionError):
                event = json.loads(line)
                if _well_formed(event) and "event" in event:
                    events_read.append(event)
        if self._lines.skipped and not self._is_shortened:
            self._is_shortened = True
            events_read.insert(0, _shortened(self._lines.skipped))
        return events_read


def _shortened(skipped: int) -> dict[str, Any]:
    """Return the warning that not all events were read."""
    size = f"{skipped / (1 << 20):.1f} MiB of it were"
    return warning(
        f"{protocol.EVENTS} is too long: {size} not read, its beginning and its end were"
    )


def heartbeat(run_dir: Path) -> dict[str, Any]:
    """Return the runner's heartbeat; empty if there is none."""
    try:
        value = atomic.read_json(
            run_dir / protocol.INSIDE / protocol.HEARTBEAT, inside=run_dir, limit=1 << 16
        )
    except (OSError, ValueError):
        return {}
    return value if _well_formed(value) else {}
