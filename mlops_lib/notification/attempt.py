"""One delivery attempt with a hard limit on its total time.

A socket's timeout bounds a single `recv`. A receiver that sends a byte now and then, in a banner, a
header, a body or a TLS handshake, never exceeds it, and a silent name server is not covered at all.
The attempt therefore runs in a thread of its own. When its time is over, its connections are shut
down; the error that this causes in the thread shows how far the attempt had got.
"""

from __future__ import annotations

import contextlib
import socket
import sys
import threading
from collections.abc import Callable
from typing import Any, Generic, TypeVar

T = TypeVar("T")
GRACE_S = 1.0
"""Time for a thread to report its error after its connections were shut down."""

_current = threading.local()
_installing = threading.Lock()
_is_installed = False


class OverdueError(Exception):
    """The attempt's time was over, and its progress is unknown.

    Args:
        connected: whether a connection was begun, so that something may have been sent.
    """

    def __init__(self, *, connected: bool) -> None:
        super().__init__("no answer in time")
        self.connected = connected


class Attempt(Generic[T]):
    """A piece of network work with a time limit.

    Args:
        work: the function to call; it must open every connection in the calling thread.
    """

    def __init__(self, work: Callable[[], T]) -> None:
        self.timed_out = False
        """Whether the connections were shut down because the time was over."""
        self._work = work
        self._lock = threading.Lock()
        self._duplicates: list[socket.socket] = []
        self._value: list[T] = []
        self._error: BaseException | None = None

    def run(self, seconds: float) -> T:
        """Return the work's value, or raise its error, within `seconds` and `GRACE_S`.

        Raises:
            OverdueError: the work did not end even then. Its thread is abandoned and can no longer
                open a connection.
        """
        _install_hook()
        thread = threading.Thread(target=self._run, name="mlops-delivery", daemon=True)
        thread.start()
        try:
            thread.join(seconds)
            if thread.is_alive():
                self._shut_down()
                thread.join(GRACE_S)
        finally:  # on an interrupt too, nothing is left behind that could still send
            self._shut_down(is_overdue=False)
        if self._error is not None:
            raise self._error
        if not self._value:
            raise OverdueError(connected=bool(self._duplicates))
        return self._value[0]

    def _run(self) -> None:
        _current.attempt = self
        try:
            self._value.append(self._work())
        except BaseException as error:  # noqa: BLE001 - raised again in the thread that waits
            self._error = error

    def watch(self, connection: socket.socket) -> None:
        """Register a connection that is about to be made.

        Raises:
            TimeoutError: the attempt is over.
        """
        with self._lock:
            if self.timed_out:
                raise TimeoutError("the attempt is over")
            # A duplicate stays the same connection when TLS takes over the socket's descriptor.
            self._duplicates.append(connection.dup())

    def _shut_down(self, *, is_overdue: bool = True) -> None:
        with self._lock:
            self.timed_out = (
                self.timed_out or is_overdue or (self._error is None and not self._value)
            )
            for connection in self._duplicates:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
                if not is_overdue:
                    connection.close()


def _install_hook() -> None:
    """Install the audit hook that sees every connection of an attempt's thread.

    It sees those of any library. Python offers no way to remove such a hook.
    """
    global _is_installed
    with _installing:
        if not _is_installed:
            _is_installed = True
            sys.addaudithook(_on_event)


def _on_event(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "socket.connect":
        attempt = getattr(_current, "attempt", None)
        if attempt is not None:
            attempt.watch(arguments[0])
