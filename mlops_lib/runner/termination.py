"""SIGTERM and SIGUSR1 leave a training a few seconds: it keeps its state and ends, and the next
attempt goes on there.

Whoever takes the machine away (`docker stop`, a reclaimed spot instance, an eviction, an aborted
build) sends one of them and kills after a while. A handler in Python runs between two steps at
best, and not while a library computes. So the signal wakes a thread, which waits for what the
training thread can keep, within its time, and then ends the process.

A handler that the script installs takes the place of ours, and what it does is the script's own
affair.
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
"""After this the process ends with what it has; engines kill after ten seconds."""
LOOK_S = 0.005


class GracefulShutdown:
    """The wish that this process ends soon, and what is worth waiting for meanwhile."""

    def __init__(self) -> None:
        self.requested = False
        """Whether somebody asked this process to end."""
        self._keepers: List[Any] = []
        self._held = threading.local()
        self._journal: Optional[Journal] = None
        self._writer: Optional[Writer] = None

    def install(self, journal: Journal, writer: Writer) -> None:
        """Answer the signals from now on; in the main thread."""
        self._journal = journal
        self._writer = writer
        read, write = os.pipe()
        os.set_blocking(write, False)
        for number in SIGNALS:
            if signal.getsignal(number) is signal.SIG_DFL:
                signal.signal(number, self._on_signal)
        signal.set_wakeup_fd(write, warn_on_full_buffer=False)
        os.register_at_fork(
            before=self._hold_back, after_in_parent=self._let_through, after_in_child=self._forget
        )
        threading.Thread(target=self._work, args=(read,), name="mlops-grace", daemon=True).start()

    @contextlib.contextmanager
    def waiting_for(self, keeper: Any) -> Iterator[None]:
        """Wait for this one when asked to end.

        Args:
            keeper: has `unsaved`, whether a checkpoint that comes soon would keep what is lost
                otherwise; and perhaps `keep`, which writes it, called in another thread.
        """
        self._keepers.append(keeper)
        try:
            yield
        finally:
            self._keepers.remove(keeper)

    def block_if_requested(self) -> None:
        """Do nothing more if the process is about to end: what is computed now would be computed
        again.
        """
        while self.requested:
            time.sleep(1.0)

    def _on_signal(self, number: int, frame: Any) -> None:
        """Nothing: the thread was woken when the signal came."""

    def _hold_back(self) -> None:
        """Keep signals from a child by fork until it has forgotten us: it would wake this process
        with its own.
        """
        self._held.mask = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)

    def _let_through(self) -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, self._held.mask)

    def _forget(self) -> None:
        """Let a child by fork end as it would without us."""
        signal.set_wakeup_fd(-1)
        for number in SIGNALS:
            if signal.getsignal(number) == self._on_signal:
                signal.signal(number, signal.SIG_DFL)
        self._let_through()

    def _work(self, read: int) -> None:
        number = 0
        # Other signals wake this thread too, and a handler of the script's own answers for itself.
        while number not in SIGNALS or signal.getsignal(number) != self._on_signal:
            number = os.read(read, 1)[0]
        self.requested = True
        # Whatever blocks below, such as output that nobody reads, the process ends.
        last = threading.Timer(LIMIT_S + 1.0, execution.leave_at_once, (protocol.RECLAIMED,))
        last.daemon = True
        last.start()
        try:
            self._keep_until(time.monotonic() + LIMIT_S)
            self._say(signal.Signals(number).name)
        finally:
            execution.leave(protocol.RECLAIMED)

    def _say(self, name: str) -> None:
        assert self._journal is not None
        lost = (
            ", not all of what was computed since the last checkpoint"
            if self._is_anything_unsaved()
            else ""
        )
        self._journal.note(f"asked to end by {name}: the state is kept{lost}")

    def _keep_until(self, deadline: float) -> None:
        for keeper in list(self._keepers):
            keep = getattr(keeper, "keep", None)
            if keep is not None:
                keep()
        while self._is_anything_unsaved() and time.monotonic() < deadline:
            time.sleep(LOOK_S)
        assert self._writer is not None
        self._writer.wait(deadline)

    def _is_anything_unsaved(self) -> bool:
        return any(keeper.unsaved for keeper in list(self._keepers))
