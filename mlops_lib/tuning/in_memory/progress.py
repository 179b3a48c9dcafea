"""Progress of a search in the caller's process: to an observer, or to a view."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from mlops_lib import events
from mlops_lib.display import notebook
from mlops_lib.events import Observer
from mlops_lib.runner import protocol
from mlops_lib.tuning.in_memory.task import Task


class ObserverJournal:
    """The part of the runner's journal that a search needs.

    It forwards events to an observer.
    """

    def __init__(self, observe: Observer) -> None:
        self._observe = observe

    def write(self, event: str, **keys: Any) -> None:
        """Forward an event."""
        self._observe({"event": event, **keys})

    def progress(self, phase: str | None = None, **keys: Any) -> None:
        """Forward progress within a trial."""
        self._observe({"event": protocol.EVENT_PROGRESS, "phase": phase, **keys})

    def warn(self, message: str) -> None:
        """Forward a warning."""
        self._observe(events.warning(message))


@contextmanager
def progress_observer(
    observer: Observer | None, model: Any, task: Task, trials: int
) -> Iterator[Observer]:
    """Yield the caller's observer, or a view that closes at the end of the block."""
    if observer is not None:
        yield observer
        return
    view = notebook.view()
    view(
        {
            "event": protocol.EVENT_IMPROVE,
            "model": type(model).__name__,
            "metric": task.metric,
            "mode": task.mode,
            "target": task.target,
            "trials": trials,
        }
    )
    try:
        yield view
    finally:
        view.close()
