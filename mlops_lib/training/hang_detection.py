"""Detection of hung trainings, and of processes that outlive their script."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mlops_lib import atomic, event_log
from mlops_lib.engine import Activity, Container
from mlops_lib.runner import protocol
from mlops_lib.training import progress

ACTIVITY_S = 5.0
"""Interval between two measurements of the activity of a training that shows no progress."""
END_S = 10.0
"""Idle time after which a container is stopped whose script has ended: a server left running, a
thread that is never joined.
"""
END_BUSY_S = 900.0
"""Time after which it is stopped even if it is busy: threads that finish their work."""


class HangDetector:
    """Watches the heartbeat and the activity of one container.

    Args:
        run_dir: the run directory.
        attempt: the container's attempt.
        hangs: how often the run was killed for hanging since its last progress.
        idle_s: how long the script may be idle outside of steps, in seconds.
    """

    def __init__(self, run_dir: Path, *, attempt: int, hangs: int, idle_s: float) -> None:
        self._run_dir = run_dir
        self._attempt = attempt
        self._hangs = hangs
        self._idle_s = idle_s
        self._paces = read_paces(run_dir)
        self._heartbeat: dict[str, Any] = {}
        self._progress_time = time.monotonic()
        self._activity_time = self._progress_time
        self._end_time: float | None = None
        self._measurement: tuple[float, Activity] | None = None
        # When the activity was measured last, and the measurement.

    def observe(self, container: Container) -> dict[str, Any]:
        """Read the heartbeat, learn from it, and return it."""
        now = time.monotonic()
        before = self._heartbeat
        heartbeat = event_log.heartbeat(self._run_dir)
        # That of an earlier attempt says nothing about this one.
        if heartbeat.get("attempt", self._attempt) == self._attempt:
            self._heartbeat = heartbeat
        if self._heartbeat.get("progress") != before.get("progress") or container.paused:
            if before and not container.paused:
                self._learn_pace(before, now - self._progress_time)
            # A person has paused the container: that time does not count against the training.
            self._progress_time = self._activity_time = now
            self._measurement = None
        return self._heartbeat

    def _learn_pace(self, before: dict[str, Any], gap_s: float) -> None:
        fit = str(self._heartbeat.get("fit"))
        pace = self._paces.get(fit, progress.Pace())
        self._paces[fit] = pace.learn(before, self._heartbeat, gap_s)

    def lingers_after_exit(self, activity: Callable[[], Activity | None]) -> bool:
        """Return whether the container does not end although its script has.

        Args:
            activity: measures the container's activity, None if that is impossible.
        """
        now = time.monotonic()
        self._end_time = self._end_time or now
        self._measure_activity(now, activity)
        idle_since = max(self._activity_time, self._end_time)
        # A process that still works may be writing its results; one that is idle after its end
        # waits for nothing that will come.
        return now - idle_since > END_S or now - self._end_time > END_BUSY_S

    def hang_reason(self, activity: Callable[[], Activity | None]) -> str:
        """Return why the training is considered hung, in words; "" if it is not.

        Args:
            activity: measures the container's activity, None if that is impossible.
        """
        pace = self._paces.get(str(self._heartbeat.get("fit")))
        allowed = progress.allowance(self._heartbeat, pace, hangs=self._hangs, idle_s=self._idle_s)
        now = time.monotonic()
        if allowed.idle and now - self._progress_time > ACTIVITY_S:
            self._measure_activity(now, activity)
        since = self._activity_time if allowed.idle else self._progress_time
        if now - since <= allowed.seconds:
            return ""
        what = "it did nothing at all" if allowed.idle else "it made no step"
        phase = self._heartbeat.get("phase", "start")
        return f"{what} for {allowed.seconds:.0f} s in phase {phase}"

    def _measure_activity(self, now: float, activity: Callable[[], Activity | None]) -> None:
        when, before = self._measurement or (0.0, None)
        # Over a shorter time the counters are too coarse to tell idle from busy.
        if now - when < ACTIVITY_S:
            return
        current = activity()
        # Without two measurements nothing can be said, and a training is not killed for that.
        if current is None or before is None or progress.is_busy(before, current, now - when):
            self._activity_time = now
        self._measurement = None if current is None else (now, current)

    def save_paces(self) -> None:
        """Keep the learned paces for later attempts."""
        # By fit: a script may train a small model first, whose steps say nothing about the large
        # one's.
        learned = {fit: pace.to_json() for fit, pace in self._paces.items() if pace.step_s}
        if learned:
            with contextlib.suppress(OSError):
                atomic.write_json(self._run_dir / protocol.PACE, learned)


def read_paces(run_dir: Path) -> dict[str, progress.Pace]:
    """Return the learned pace of each fit of the run, by the fit's number as text."""
    try:
        paces = atomic.read_json(run_dir / protocol.PACE)
        return {str(fit): progress.Pace.from_json(pace) for fit, pace in paces.items()}
    except (OSError, ValueError, AttributeError):
        return {}
