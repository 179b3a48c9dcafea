"""One attempt at a delivery, all of it within one limit of time, whatever the receiver does.

A timeout of a socket bounds one `recv`. A receiver that sends a byte now and then, in a banner, a
header, a body or a TLS handshake, never meets it, and neither does a name server that stays silent.
So the attempt runs in a thread of its own, and when its time is over its connections are shut: the
thread's own error then says how far it had come.
"""

from __future__ import annotations

import contextlib
import socket
import sys
import threading
from collections.abc import Callable
from typing import Any, Generic, TypeVar

T = TypeVar("T")
LAST_S = 1.0
"""How long a thread whose connections were shut may take to say what it knows."""

_current = threading.local()
_installing = threading.Lock()
_is_listening = False


class OverdueError(Exception):
    """The time was over, and the attempt did not even say how far it had come.

    Args:
        connected: whether it had begun to connect, so that something may have been sent.
    """

    def __init__(self, *, connected: bool) -> None:
        super().__init__("no answer in time")
        self.connected = connected


class Attempt(Generic[T]):
    """A piece of work that talks to somebody.

    Args:
        work: what is done; every connection that it opens must be opened in its own thread.
    """

    def __init__(self, work: Callable[[], T]) -> None:
        self.was_cut = False
        """Whether the connections were shut because the time was over."""
        self._work = work
        self._lock = threading.Lock()
        self._duplicates: list[socket.socket] = []
        self._value: list[T] = []
        self._error: BaseException | None = None

    def run(self, seconds: float) -> T:
        """Do the work and return its value, or raise its error, within this time and at most
        `LAST_S` more.

        Raises:
            OverdueError: the work did not end even then; it is left behind and can open no
                connection any more.
        """
        _listen()
        thread = threading.Thread(target=self._run, name="mlops-delivery", daemon=True)
        thread.start()
        try:
            thread.join(seconds)
            if thread.is_alive():
                self._cut()
                thread.join(LAST_S)
        finally:  # an interrupt too leaves nothing behind that could still send
            self._cut(is_overdue=False)
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
        """Note a connection that is about to be made.

        Raises:
            TimeoutError: the attempt is over.
        """
        with self._lock:
            if self.was_cut:
                raise TimeoutError("the attempt is over")
            # A duplicate stays the same connection when TLS takes over the socket's descriptor.
            self._duplicates.append(connection.dup())

    def _cut(self, *, is_overdue: bool = True) -> None:
        with self._lock:
            self.was_cut = self.was_cut or is_overdue or (self._error is None and not self._value)
            for one in self._duplicates:
                with contextlib.suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)
                if not is_overdue:
                    one.close()


def _listen() -> None:
    """See every connection that an attempt's thread makes, by whatever library: hooks of this kind
    stay for ever.
    """
    global _is_listening
    with _installing:
        if not _is_listening:
            _is_listening = True
            sys.addaudithook(_on_event)


def _on_event(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "socket.connect":
        attempt = getattr(_current, "attempt", None)
        if attempt is not None:
            attempt.watch(arguments[0])
