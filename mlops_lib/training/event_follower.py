"""Following the runner's events: progress, losses and the end of the script."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mlops_lib import event_log, events
from mlops_lib.events import Checkpoint, End, Epoch, Event, FitStarted, Observer, TrialEvent
from mlops_lib.runner import protocol
from mlops_lib.training.attempt_log import AttemptJournal, progress_position

MOST_SHOWN = 100_000
"""Events of a script that are passed on to the observer."""
MOST_STEPS = 200_000
"""Steps of progress that are remembered."""
MOST_FITS = 100
"""Diverged fits that are remembered, and warnings about such."""


class EventFollower:
    """Reads the events of a run as they come, and passes them on.

    The events are claims of the script's container, which may write any number of them: everything
    remembered here is bounded.

    Args:
        run_dir: the run directory.
        journal: gets the decisions that follow from events.
        observer: gets the events.
        number_of_pass: the pass whose end counts.
    """

    def __init__(
        self, run_dir: Path, *, journal: AttemptJournal, observer: Observer, number_of_pass: int = 1
    ) -> None:
        self._journal = journal
        self._observer = observer
        self._number_of_pass = number_of_pass
        self._events = event_log.Events(run_dir)
        self._attempt = 0
        self.end: End | None = None
        """The end of the script in the present attempt."""
        self.fitted = False
        """True if the present attempt has begun a fit."""
        self.recovering = False
        """True if the run was restarted and has not made progress since."""
        self._progress: set[tuple[Any, ...]] = set()
        # All checkpoints and trials ever: one that is made again after a restart is no progress.
        self._diverged: dict[int | None, int | None] = {}
        # Fit to the epoch since which its loss is not a number.
        self._shown = 0
        self._warnings = 0

    @property
    def progress(self) -> int:
        """The number of steps of progress in all attempts."""
        return len(self._progress)

    @property
    def divergence(self) -> str:
        """The fit and epoch since which the loss is not a number, in words, or ""."""
        if not self._diverged:
            return ""
        fit, epoch = list(self._diverged.items())[-1]
        return f"the loss of fit {fit} is no number since epoch {(epoch or 0) + 1}"

    def begin_attempt(self, number: int) -> None:
        """Forget the attempt before."""
        self._attempt = number
        self.end = None
        self.fitted = False

    def adopt_attempt(self, number: int) -> None:
        """Follow an attempt that another program began."""
        self._attempt = number

    def read(self, *, past: bool = False) -> None:
        """Read all events that have come.

        Args:
            past: they are of the time before this program followed the run.
        """
        offset = None
        while offset != self._events.offset:
            offset = self._events.offset
            for claim in self._events.new():
                self._follow(claim, past=past)

    def _follow(self, claim: dict[str, Any], *, past: bool) -> None:
        event = events.from_json(claim)
        if isinstance(event, (Checkpoint, TrialEvent)):
            self._note_progress(event)
        elif isinstance(event, Epoch):
            self._watch_loss(event, past=past)
        elif isinstance(event, FitStarted) and event.attempt == self._attempt:
            self.fitted = True
        elif isinstance(event, End) and self._is_present(event):
            self.end = event
        self._show(event, {**claim, "past": True} if past else claim)

    def _is_present(self, event: End) -> bool:
        return (event.number_of_pass, event.attempt) == (self._number_of_pass, self._attempt)

    def _note_progress(self, event: Checkpoint | TrialEvent) -> None:
        if len(self._progress) >= MOST_STEPS:
            return
        before = len(self._progress)
        self._progress.add(progress_position(event))
        if self.recovering and len(self._progress) > before:
            self.recovering = False
            self._journal.decision(protocol.DO_RECOVERED, why="it makes progress again")

    def _show(self, event: Event, claim: dict[str, Any]) -> None:
        """Pass an event on, unless there were too many to be of use to anybody."""
        self._shown += 1
        if self._shown <= MOST_SHOWN or isinstance(event, End):
            self._observer(claim)
        elif self._shown == MOST_SHOWN + 1:
            message = f"the script has reported {MOST_SHOWN} events: no more are shown"
            self._observer(events.warning(message))

    def _watch_loss(self, event: Epoch, *, past: bool) -> None:
        diverged = event.metrics.get("loss") in protocol.NOT_FINITE
        if not diverged:
            self._diverged.pop(event.fit, None)
        elif event.fit not in self._diverged and len(self._diverged) < MOST_FITS:
            self._diverged[event.fit] = event.epoch
            self._warnings += 1  # a loss that comes and goes must not fill the journal
            if not past and self._warnings <= MOST_FITS:
                why = f"{self.divergence}; it is left to end by itself"
                self._journal.decision(protocol.DO_WARN, why=why, trouble="nan")
