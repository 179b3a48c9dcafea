"""Graceful shutdown: on SIGTERM and SIGUSR1 a training saves its state and exits.

`docker stop`, a reclaimed spot instance, an eviction and an aborted build send one of these signals
and kill a few seconds later. The next attempt resumes at the saved state.

A signal handler in Python runs between two bytecodes at best, and not while a library computes. So
the signal wakes a thread instead. It waits a limited time until the training thread has saved what
it can, and then ends the process.

A handler that the script installs replaces this one, and its effect is up to the script.
"""

import contextlib
import os
import signal
import threading
import time
from typing import Any, Iterator, List, Optional

from mlops_lib.runner import protocol
from mlops_lib.runner.journal import Journal
from mlops_lib.runner.script import execution
from mlops_lib.runner.state.checkpoint import Writer

SIGNALS = (signal.SIGTERM, signal.SIGUSR1)
LIMIT_S = 6.0
"""Time after which the process exits with the state it has; engines kill after ten seconds."""
POLL_S = 0.005


class GracefulShutdown:
    """The pending request to exit, and the savers that are worth waiting for."""

    def __init__(self) -> None:
        self.requested = False
        """Set once a signal has asked this process to exit."""
        self._savers: List[Any] = []
        self._thread_state = threading.local()
        self._journal: Optional[Journal] = None
        self._writer: Optional[Writer] = None

    def install(self, journal: Journal, writer: Writer) -> None:
        """Handle the signals from now on; call it in the main thread."""
        self._journal = journal
        self._writer = writer
        read_end, write_end = os.pipe()
        os.set_blocking(write_end, False)
        for number in SIGNALS:
            if signal.getsignal(number) is signal.SIG_DFL:
                signal.signal(number, self._on_signal)
        signal.set_wakeup_fd(write_end, warn_on_full_buffer=False)
        os.register_at_fork(
            before=self._block_signals,
            after_in_parent=self._unblock_signals,
            after_in_child=self._detach_child,
        )
        threading.Thread(
            target=self._work, args=(read_end,), name="mlops-grace", daemon=True
        ).start()

    @contextlib.contextmanager
    def waiting_for(self, keeper: Any) -> Iterator[None]:
        """Wait for `keeper` if a shutdown is requested within the context.

        Args:
            keeper: has `unsaved` (whether a checkpoint that comes soon would save work that is lost
                otherwise) and optionally `keep()`, which writes one and is called in another
                thread.
        """
        self._savers.append(keeper)
        try:
            yield
        finally:
            self._savers.remove(keeper)

    def block_if_requested(self) -> None:
        """Block until the process ends if a shutdown is requested.

        The next attempt would compute the same again, so further work is wasted.
        """
        while self.requested:
            time.sleep(1.0)

    def _on_signal(self, number: int, frame: Any) -> None:
        """Do nothing: the wake-up descriptor has already woken the thread."""

    def _block_signals(self) -> None:
        """Block the signals until a forked child has been detached.

        The child inherits the wake-up descriptor: its signals would wake this process.
        """
        self._thread_state.mask = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)

    def _unblock_signals(self) -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, self._thread_state.mask)

    def _detach_child(self) -> None:
        """Restore the default signal handling in a forked child."""
        signal.set_wakeup_fd(-1)
        for number in SIGNALS:
            if signal.getsignal(number) == self._on_signal:
                signal.signal(number, signal.SIG_DFL)
        self._unblock_signals()

    def _work(self, read_end: int) -> None:
        number = 0
        # Every signal with a Python handler wakes this thread, and the script may have replaced the
        # handler; only a signal that still belongs to this module counts.
        while number not in SIGNALS or signal.getsignal(number) != self._on_signal:
            number = os.read(read_end, 1)[0]
        self.requested = True
        # A flush to a pipe that is not read can block for ever: the timer ends the process anyway.
        last = threading.Timer(LIMIT_S + 1.0, execution.exit_without_flush, (protocol.RECLAIMED,))
        last.daemon = True
        last.start()
        try:
            self._save_until(time.monotonic() + LIMIT_S)
            self._note_shutdown(signal.Signals(number).name)
        finally:
            execution.exit_process(protocol.RECLAIMED)

    def _note_shutdown(self, name: str) -> None:
        assert self._journal is not None
        addition = (
            ", not all of what was computed since the last checkpoint"
            if self._has_unsaved()
            else ""
        )
        self._journal.note(f"stopped by {name}: the state is saved{addition}")

    def _save_until(self, deadline: float) -> None:
        for keeper in list(self._savers):
            keep = getattr(keeper, "keep", None)
            if keep is not None:
                keep()
        while self._has_unsaved() and time.monotonic() < deadline:
            time.sleep(POLL_S)
        assert self._writer is not None
        self._writer.wait(deadline)

    def _has_unsaved(self) -> bool:
        return any(keeper.unsaved for keeper in list(self._savers))
