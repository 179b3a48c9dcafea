"""The ledger of a search: what its oracle was asked and told, one line each, appended and never
rewritten.

A line is written before anybody acts on it, so a killed process loses none. `commit` makes all
lines so far outlast a power failure too, at the price of one flush for however many there are: the
chief of many workers answers a whole batch of calls after one.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
from typing import Any, Dict, Iterator

from mlops_lib.runner import protocol
from mlops_lib.runner.state import atomic


class Ledger:
    """The lines of one search. One process writes at a time: the one that decides.

    Args:
        directory: the search's directory.

    Raises:
        OSError: the disk refuses.
    """

    def __init__(self, directory: str) -> None:
        path = os.path.join(directory, protocol.LEDGER)
        is_new = not os.path.exists(path)
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        self._is_late = False
        self._mend()
        if is_new:
            atomic.sync_folder(directory)

    def _mend(self) -> None:
        """Drop a last line that was left unfinished."""
        content = self._content()
        os.ftruncate(self._descriptor, content.rfind(b"\n") + 1)

    def _content(self) -> bytes:
        with os.fdopen(os.dup(self._descriptor), "rb") as stream:
            stream.seek(0)
            return stream.read()

    def lines(self) -> Iterator[Dict[str, Any]]:
        """All lines so far; what a power failure has damaged is left out."""
        for line in self._content().splitlines():
            with contextlib.suppress(ValueError):
                found = json.loads(line.decode())
                if isinstance(found, dict):
                    yield found

    def add(self, **line: Any) -> None:
        """Append a line: all of it, or nothing.

        Raises:
            OSError: the disk refuses.
        """
        content = json.dumps(line, default=str).encode() + b"\n"
        before = os.fstat(self._descriptor).st_size
        if os.write(self._descriptor, content) < len(content):
            os.ftruncate(self._descriptor, before)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._is_late = True

    def commit(self) -> None:
        """Return once every line so far is on the disk."""
        if self._is_late:
            os.fdatasync(self._descriptor)
            self._is_late = False

    def records(self) -> Dict[int, Dict[str, Any]]:
        """The records of trials in it, by number; the last of each counts."""
        return {
            int(line["record"]["number"]): line["record"]
            for line in self.lines()
            if "record" in line
        }
