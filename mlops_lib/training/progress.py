"""The time that a training may make no progress before it counts as hung.

While a framework makes steps, only a step is progress, not a living thread: the allowance follows
from the duration of the run's own steps. Without steps (loading, tracing, an estimator's fit,
saving, code between two fits) no duration is too long in itself; there, a training is hung only if
it is idle: no progress, next to no processor time, nothing read, written or sent.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from mlops_lib.engine import Activity
from mlops_lib.records import Record

HANG_S = 30.0
"""Least allowance between two steps."""
HANG_STEPS = 5.0
"""Least allowance in multiples of the duration of the run's own steps."""
GAP = 2.0
"""Least allowance in multiples of the longest pause so far between two steps."""
IDLE_S = {
    "import": 900.0,
    "validation": 900.0,
    "evaluate": 900.0,
    "checkpoint": 900.0,
    "search": 900.0,
    "exit": 900.0,
}
"""Allowed idle time in phases without steps.

In other phases a script may sleep on purpose; there the setting `idle_minutes` counts.
"""
FIRST_STEP_S = 900.0
"""Allowed idle time before the first step of an epoch, which traces, or after the last."""
BUSY = 0.02
"""Processors in use below which a container is idle, if it does no input or output either."""
BUSY_BYTES_S = 4096.0
"""Bytes per second, read, written or sent, from which on a container is busy."""


@dataclass(frozen=True, kw_only=True)
class Pace(Record):
    """The measured pace of one fit, from this attempt and earlier ones."""

    step_s: float = 0.0
    """Duration of a step in seconds; 0 if unknown."""
    stride: int = 1
    """Steps between two reports of progress (Keras' `steps_per_execution`)."""
    gap_s: float = 0.0
    """Longest time between two reports of progress while it made steps, in seconds."""

    def learn(self, before: Mapping[str, Any], now: Mapping[str, Any], gap_s: float) -> Pace:
        """Return the pace updated by a new heartbeat.

        Args:
            before: the heartbeat before it.
            now: the new heartbeat.
            gap_s: seconds between the progress of the two.
        """
        learned = self
        step_s = now.get("step_s")
        if isinstance(step_s, (int, float)) and step_s > 0:
            learned = replace(learned, step_s=float(step_s))
        if all(
            isinstance(heartbeat.get(key), int)
            for heartbeat in (before, now)
            for key in ("step", "progress")
        ):
            steps = now["step"] - before["step"]
            signs = now["progress"] - before["progress"]
            # Keras reports progress once for several steps with `steps_per_execution`. Counting
            # them is surer than to read the argument, which other frameworks name differently.
            if steps > signs > 0:
                learned = replace(learned, stride=max(learned.stride, round(steps / signs)))
        return (
            replace(learned, gap_s=max(learned.gap_s, round(gap_s, 1)))
            if makes_steps(before)
            else learned
        )


@dataclass(frozen=True, kw_only=True)
class Allowance:
    """The time that a training may make no progress."""

    seconds: float
    idle: bool
    """True if it is hung only if it was idle for that long."""


def makes_steps(heartbeat: Mapping[str, Any]) -> bool:
    """Return whether the training is between two steps of an epoch.

    Before the first step it traces, and after the last it may validate.
    """
    step = heartbeat.get("step")
    steps = heartbeat.get("steps")
    return (
        heartbeat.get("phase") == "fit"
        and isinstance(step, int)
        and isinstance(steps, int)
        and 1 <= step < steps
    )


def allowance(
    heartbeat: Mapping[str, Any], pace: Pace | None, *, hangs: int = 0, idle_s: float
) -> Allowance:
    """Return the allowance of a training in its present state.

    Args:
        heartbeat: its last heartbeat; empty before the first one.
        pace: the pace of the fit under way.
        hangs: how often it was killed for hanging since the last progress. Each doubles the
            allowance: a step that is slow every time must not be killed for ever.
        idle_s: the allowance of phases in which a script may sleep on purpose, in seconds.
    """
    phase = str(heartbeat.get("phase", "import"))
    patience = 2.0**hangs
    if makes_steps(heartbeat) and pace is not None and pace.step_s > 0:
        # The longest pause counts too: a callback that saves every thousand steps is not a hang.
        steps_s = max(HANG_S, HANG_STEPS * pace.step_s * pace.stride, GAP * pace.gap_s)
        return Allowance(seconds=patience * steps_s, idle=False)
    if phase == "fit" and isinstance(heartbeat.get("step"), int):
        return Allowance(seconds=patience * FIRST_STEP_S, idle=True)
    return Allowance(seconds=patience * IDLE_S.get(phase, idle_s), idle=True)


def is_busy(before: Activity, now: Activity, seconds: float) -> bool:
    """Return whether a container was busy between two measurements.

    Args:
        before: the earlier measurement.
        now: the later one.
        seconds: the time between them.
    """
    if seconds <= 0:
        return True
    # Less processor time than before means that a process ended, which is activity as well.
    processors = abs(now.cpu_s - before.cpu_s) / seconds
    return processors >= BUSY or abs(now.io_bytes - before.io_bytes) / seconds >= BUSY_BYTES_S
