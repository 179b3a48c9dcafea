"""Ending a training from outside: by a signal, or from another thread."""

from __future__ import annotations

import threading


class Interrupted(KeyboardInterrupt):
    """The program is to end; the container is stopped and the run stays resumable.

    A KeyboardInterrupt, so that no library in between handles it as a failure of its own.
    """


class Stop(threading.Event):
    """A request to end a job.

    A supervised container is ended in order; anything else is interrupted at once.

    Args:
        detaches: whether a supervised container trains on, for another program to take over.
    """

    def __init__(self, *, detaches: bool = False) -> None:
        super().__init__()
        self.detaches = detaches
        self.is_supervised = False
        """True if a supervisor is at work that looks at this event."""

    def request(self) -> None:
        """Request the end; for signal handlers.

        Raises:
            Interrupted: no supervisor is at work.
        """
        self.set()
        if not self.is_supervised:
            raise Interrupted
