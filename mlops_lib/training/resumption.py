"""The point at which a run continues, in words, for an aborted build."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mlops_lib.events import Attempt, Checkpoint, Event, FitStarted, TrialEvent
from mlops_lib.run_directory import RunDirectory
from mlops_lib.training import attempt_log

BEGINNING = "stopped before its first checkpoint; starts at its beginning next time"


def words(run_dir: Path) -> str:
    """Return how far a run has come and at which point it continues, in words.

    The run's events are a claim of the script's container, so only numbers are taken from them.
    """
    run = RunDirectory(run_dir)
    if attempt_log.finished(run, 2) is not None:
        return "the search had ended; nothing is trained again next time"
    attempts = [event for event in run.attempts if isinstance(event, Attempt)]
    if attempts and attempts[-1].number_of_pass == 2:
        return _describe_search(run.events)
    if attempt_log.finished(run, 1) is not None:
        return "the training had ended; it is judged next time, without training again"
    checkpoints = [
        event for event in run.events if isinstance(event, Checkpoint) and event.epoch is not None
    ]
    return _describe_training(checkpoints[-1], run.events) if checkpoints else BEGINNING


def _describe_search(events: Sequence[Event]) -> str:
    trials = [event.trial for event in events if isinstance(event, TrialEvent)]
    numbers = {_integer(trial.get("number")) for trial in trials if trial.get("state") != "running"}
    count = len(numbers - {None, 0})  # trial 0 is the developer's own model
    ended = f"{count} trial{'' if count == 1 else 's'}"
    return f"stopped in the search, after {ended}; goes on there next time"


def _describe_training(checkpoint: Checkpoint, events: Sequence[Event]) -> str:
    if checkpoint.done:
        return f"stopped after fit {checkpoint.fit}; goes on behind it next time"
    fits = [event for event in events if isinstance(event, FitStarted)]
    same_fit = [event for event in fits if event.fit == checkpoint.fit]
    planned = same_fit[-1].epochs if same_fit else None
    which = f" of fit {checkpoint.fit}" if len({event.fit for event in fits}) > 1 else ""
    of = f" of {planned}" if planned else ""
    # Epochs count from 0 in events and from 1 in words.
    completed = (checkpoint.epoch or 0) + 1
    if checkpoint.step:
        where = f"stopped in epoch {completed + 1}{of}{which}"
        return f"{where}; goes on at its step {checkpoint.step + 1} next time"
    return (
        f"stopped after epoch {completed}{of}{which}; continues at epoch {completed + 1} next time"
    )


def _integer(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
