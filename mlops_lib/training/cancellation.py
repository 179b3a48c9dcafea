"""Ending a training from outside: a signal of a person, or a request of another thread."""

from __future__ import annotations

import threading


class Interrupted(KeyboardInterrupt):
    """The program was asked to end; the container is stopped and the run stays resumable.

    A KeyboardInterrupt, so that no library in between takes it for a failure of its own.
    """


class Stop(threading.Event):
    """The wish that a job ends: what attends a container ends it in order, anything else is
    interrupted at once.
    """

    def __init__(self, *, leaves: bool = False) -> None:
        super().__init__()
        self.leaves = leaves
        """Whether a container that is attended goes on alone, for another program to take over."""
        self.attended = False

    def ask(self) -> None:
        """Ask for the end; what a signal handler calls.

        Raises:
            Interrupted: nothing attends to a container right now.
        """
        self.set()
        if not self.attended:
            raise Interrupted
