"""The ledger of a search: its oracle's questions and answers, as JSON lines.

Lines are appended and never rewritten. A line is written before it is acted upon, so a killed
process loses none. `commit` flushes all lines so far against a power failure, at the price of one
flush for however many there are: the chief of many workers answers a whole batch of calls after
one.
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
    """The lines of one search; only the process that decides may write.

    Args:
        directory: the search's directory.

    Raises:
        OSError: the disk is full or read-only.
    """

    def __init__(self, directory: str) -> None:
        path = os.path.join(directory, protocol.LEDGER)
        is_new = not os.path.exists(path)
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        self._is_unflushed = False
        self._truncate_partial_line()
        # A new file's name is lost in a power failure unless its folder is flushed as well.
        if is_new:
            atomic.sync_folder(directory)

    def _truncate_partial_line(self) -> None:
        """Drop a last line that was left unfinished."""
        content = self._content()
        os.ftruncate(self._descriptor, content.rfind(b"\n") + 1)

    def _content(self) -> bytes:
        with os.fdopen(os.dup(self._descriptor), "rb") as stream:
            stream.seek(0)
            return stream.read()

    def lines(self) -> Iterator[Dict[str, Any]]:
        """Return all lines so far; damaged ones (after a power failure) are left out."""
        for line in self._content().splitlines():
            with contextlib.suppress(ValueError):
                content = json.loads(line.decode())
                if isinstance(content, dict):
                    yield content

    def add(self, **line: Any) -> None:
        """Append a line, completely or not at all.

        Raises:
            OSError: the disk is full or read-only.
        """
        # One write call: another process that reads the file sees the line or nothing of it.
        content = json.dumps(line, default=str).encode() + b"\n"
        before = os.fstat(self._descriptor).st_size
        if os.write(self._descriptor, content) < len(content):
            os.ftruncate(self._descriptor, before)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._is_unflushed = True

    def commit(self) -> None:
        """Return once every line so far is on the disk."""
        if self._is_unflushed:
            os.fdatasync(self._descriptor)
            self._is_unflushed = False

    def records(self) -> Dict[int, Dict[str, Any]]:
        """Return the records of trials by number; the last one of each trial counts."""
        return {
            int(line["record"]["number"]): line["record"]
            for line in self.lines()
            if "record" in line
        }
