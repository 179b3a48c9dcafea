"""Whether a training stands still: how long it may show no progress, by what it is doing.

While Keras makes steps, progress is a step, and a living thread is none: the allowance follows from
the time that the run's own steps take. Where there are no steps (loading, tracing, an estimator's
fit, saving, code between two fits) nobody can know how long is long; there, only a training that
does nothing at all stands still: no progress, next to no processor time, nothing read, written or
sent.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from mlops_lib.engine import Activity
from mlops_lib.records import Record

HANG_S = 30.0
"""A training that does nothing for shorter than this is never taken for hanging."""
HANG_STEPS = 5.0
"""… nor for fewer than this many of its own steps."""
GAP = 2.0
"""… nor for this many times the longest pause that it has made between two steps."""
IDLE_S = {
    "import": 900.0,
    "validation": 900.0,
    "evaluate": 900.0,
    "checkpoint": 900.0,
    "search": 900.0,
    "exit": 900.0,
}
"""How long nothing at all may happen in phases without steps.

Elsewhere a script may sleep on purpose (`idle_minutes`).
"""
FIRST_STEP_S = 900.0
BUSY = 0.02
"""Processors: a container that uses less than this does nothing …"""
BUSY_BYTES_S = 4096.0
"""… unless it reads, writes or sends more than this, bytes per second."""


@dataclass(frozen=True, kw_only=True)
class Pace(Record):
    """What was learned about one fit's steps, in this attempt or an earlier one."""

    step_s: float = 0.0
    stride: int = 1
    """Steps that it makes between two signs of progress (Keras' `steps_per_execution`)."""
    gap_s: float = 0.0
    """The longest pause between two signs of progress while it made steps."""

    def learn(self, before: Mapping[str, Any], now: Mapping[str, Any], gap_s: float) -> Pace:
        """With the next heartbeat, whose progress was seen so many seconds after that of the one
        before.
        """
        learned = self
        step_s = now.get("step_s")
        if isinstance(step_s, (int, float)) and step_s > 0:
            learned = replace(learned, step_s=float(step_s))
        if all(
            isinstance(one.get(key), int) for one in (before, now) for key in ("step", "progress")
        ):
            steps = now["step"] - before["step"]
            signs = now["progress"] - before["progress"]
            if steps > signs > 0:
                learned = replace(learned, stride=max(learned.stride, round(steps / signs)))
        return (
            replace(learned, gap_s=max(learned.gap_s, round(gap_s, 1)))
            if makes_steps(before)
            else learned
        )


@dataclass(frozen=True, kw_only=True)
class Allowance:
    """How long a training may go without progress."""

    seconds: float
    idle: bool
    """Whether it must also do nothing at all."""


def makes_steps(heartbeat: Mapping[str, Any]) -> bool:
    """Whether it is between two steps of an epoch: not before the first, which traces, nor after
    the last.
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
    """What a training in this state is allowed.

    Args:
        heartbeat: its last heartbeat; empty before the first one.
        pace: what was learned about the steps of the fit under way.
        hangs: how often it was killed as hanging since the last progress. Each doubles the
            allowance: a step that is slow every time is slow, and must not be killed for ever.
        idle_s: the allowance of phases in which a script may sleep on purpose.
    """
    phase = str(heartbeat.get("phase", "import"))
    patience = 2.0**hangs
    if makes_steps(heartbeat) and pace is not None and pace.step_s > 0:
        steps_s = max(HANG_S, HANG_STEPS * pace.step_s * pace.stride, GAP * pace.gap_s)
        return Allowance(seconds=patience * steps_s, idle=False)
    if phase == "fit" and isinstance(heartbeat.get("step"), int):
        return Allowance(seconds=patience * FIRST_STEP_S, idle=True)
    return Allowance(seconds=patience * IDLE_S.get(phase, idle_s), idle=True)


def is_busy(before: Activity, now: Activity, seconds: float) -> bool:
    """Whether a container did anything between two looks, so many seconds apart."""
    if seconds <= 0:
        return True
    processors = (
        abs(now.cpu_s - before.cpu_s) / seconds
    )  # less than before: a process ended, which is something too
    return processors >= BUSY or abs(now.io_bytes - before.io_bytes) / seconds >= BUSY_BYTES_S
