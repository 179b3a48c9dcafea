"""Mute a script while it is replayed: the attempt before has printed that already."""

import contextlib
import faulthandler
import os
import sys
from typing import Any, Dict, Iterator, List, Tuple

STREAMS = (1, 2)


class Output:
    """The standard output and error of this process."""

    def __init__(self) -> None:
        self._kept: List[Tuple[int, int]] = []

    def mute(self) -> None:
        """Discard output until `unmute`; only a crash in native code is still reported."""
        _flush()
        with contextlib.suppress(OSError):
            # Descriptors, not `sys.stdout`: libraries in C print as well.
            null = os.open(os.devnull, os.O_WRONLY)
            self._kept = [(number, os.dup(number)) for number in STREAMS]
            if faulthandler.is_enabled():
                # faulthandler writes to the descriptor that it was given, even while stderr is
                # muted.
                faulthandler.enable(self._kept[1][1])
            for number in STREAMS:
                os.dup2(null, number)
            os.close(null)

    def unmute(self) -> None:
        """Write again; does nothing if nothing was muted."""
        if not self._kept:
            return
        _flush()
        for number, duplicate in self._kept:
            os.dup2(duplicate, number)
        if faulthandler.is_enabled():
            faulthandler.enable()
        for _, duplicate in self._kept:
            os.close(duplicate)
        self._kept = []

    def shown(self) -> List[Dict[str, Any]]:
        """Return the output that the runner's own streams have collected so far."""
        return [
            {name: vars(stream)[name] for name in _KEPT if name in vars(stream)}
            for stream in _streams()
        ]

    def put_shown(self, contents: List[Dict[str, Any]]) -> None:
        """Restore what `shown` returned."""
        for stream, content in zip(_streams(), contents):
            for name, value in content.items():
                if isinstance(value, list):
                    vars(stream)[name][:] = value
                else:
                    vars(stream)[name] = value


_KEPT = ("_kept", "_length", "_outputs")


def _streams() -> Iterator[Any]:
    for stream in (sys.stdout, sys.stderr):
        while "_stream" in getattr(stream, "__dict__", {}):
            yield stream
            stream = vars(stream)["_stream"]


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            stream.flush()
