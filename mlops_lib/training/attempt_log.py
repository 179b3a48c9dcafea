"""Conclusions from a run's journal of attempts: starts, exits and decisions."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mlops_lib import event_log, events
from mlops_lib.engine import LABEL_ATTEMPT, Container
from mlops_lib.events import Attempt, Checkpoint, Decision, End, Event, Exit, Observer, TrialEvent
from mlops_lib.records import Failure, RunSpec
from mlops_lib.run_directory import RunDirectory
from mlops_lib.runner import protocol

STOP = "stop"
"""Marker file in the run directory: a person stopped this run."""
CLOCKS_S = 5.0
"""Tolerated difference between the clocks of two machines that share a run directory."""


class AttemptJournal:
    """The journal of a run's attempts, `attempts.jsonl`.

    Args:
        run_dir: the run directory.
        observer: gets every line as well.
    """

    def __init__(self, run_dir: Path, observer: Observer) -> None:
        self._path = run_dir / protocol.ATTEMPTS
        self._observer = observer

    def write(self, kind: str, **fields: Any) -> None:
        """Append one event, with the time.

        Args:
            kind: one of `protocol.HOST_EVENTS`.
            fields: the event's further keys.
        """
        line = {"event": kind, "time": round(time.time(), 3), **fields}
        try:
            event_log.append(self._path, line)
        except OSError as error:
            # The disk may be full: the container must not go on unattended because of that.
            message = f"{protocol.ATTEMPTS} cannot be written: {error.strerror}"
            self._observer(events.warning(message))
        self._observer(line)

    def decision(self, do: str, *, why: str, **fields: Any) -> None:
        """Append a decision, one of `protocol.DECISIONS`."""
        self.write(protocol.EVENT_DECISION, do=do, why=why, **fields)


def given_up(attempts: Sequence[Event]) -> Failure | None:
    """Return why the run was given up after its last attempt, None if it was not.

    Args:
        attempts: the journal, or the end of it.
    """
    for event in reversed(attempts):
        if isinstance(event, Attempt):
            return None
        if not isinstance(event, Decision):
            continue
        if event.do == protocol.DO_GIVE_UP:
            with contextlib.suppress(ValueError):
                return Failure.from_json(event.failure)
        if event.do in (protocol.DO_FINISH, protocol.DO_RESTART, protocol.DO_STAY_STOPPED):
            return None
    return None


def stopped_since(run_dir: Path, moment: float) -> bool:
    """Return whether a person stopped the run after `moment`.

    Args:
        run_dir: the run directory.
        moment: Unix time; 0 for ever.
    """
    try:
        stop_time = (run_dir / STOP).stat().st_mtime
    except OSError:
        return False
    # A marker from the future was made before the clock was set back, so before any moment of now.
    return moment <= 0.0 or moment <= stop_time <= time.time() + CLOCKS_S


def reading(spec: RunSpec) -> list[str]:
    """Return the settings that locate the script's number.

    If only these change, the finished script runs once more.
    """
    return [spec.metric_pattern, spec.metrics_file]


def finished(run: RunDirectory, number_of_pass: int) -> End | None:
    """Return the terminal event of a pass that ended well, None if it has not."""
    ends = [
        event
        for event in run.events
        if isinstance(event, End) and event.number_of_pass == number_of_pass
    ]
    return ends[-1] if ends and ends[-1].exit_code == 0 else None


def attempt_number(container: Container) -> int:
    """Return which attempt a container is, by its label; 0 if it has none."""
    number = container.labels.get(LABEL_ATTEMPT, "")
    return int(number) if number.isdecimal() else 0


def progress_position(event: Checkpoint | TrialEvent) -> tuple[Any, ...]:
    """Return what identifies a step of progress; equal if the same step is made again."""
    if isinstance(event, TrialEvent):
        number = str(event.trial.get("number"))
        return (event.number_of_pass, "trial", number, str(event.trial.get("state")))
    return (event.number_of_pass, event.fit, event.trial, event.epoch, event.step)


def count_restarts(attempts: Sequence[Event]) -> int:
    """Return the number of restarts because of a problem, in all passes."""
    return sum(
        isinstance(event, Decision)
        and event.do == protocol.DO_RESTART
        and event.trouble != "grown"  # recycled on purpose, nothing was wrong
        for event in attempts
    )


def training_seconds(attempts: Sequence[Event]) -> float:
    """Return the time between starts and exits, in seconds."""
    total = 0.0
    began: float | None = None
    for event in attempts:
        if isinstance(event, Attempt):
            began = event.time
        elif isinstance(event, Exit) and began is not None:
            ended = began if event.time is None else event.time
            total += max(0.0, ended - began)  # the clock may have been set back
            began = None
    return round(total, 3)
