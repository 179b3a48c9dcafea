"""Detect a training that makes no progress, or a process that outlives its script."""

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
"""How often a training that shows no progress is asked for other signs of life."""


END_S = 10.0
"""How long a container whose script has ended may do nothing: a server left running, a thread that
nobody ends.
"""


END_BUSY_S = 900.0
"""… and how long it may go on doing something: threads that finish their work."""


class HangDetector:
    """What one container shows of itself while it runs."""

    def __init__(self, run_dir: Path, *, attempt: int, hangs: int, idle_s: float) -> None:
        self.run_dir = run_dir
        self.attempt = attempt
        self.hangs = hangs
        self.idle_s = idle_s
        self.paces = read_paces(run_dir)
        self.heartbeat: dict[str, Any] = {}
        self.progressed = self.lived = time.monotonic()
        """When it last made progress; when it last did anything."""
        self._ended: float | None = None
        self._activity: tuple[float, Activity] | None = None

    def look(self, container: Container) -> dict[str, Any]:
        """Take in the heartbeat, and return it."""
        now = time.monotonic()
        before = self.heartbeat
        heartbeat = event_log.heartbeat(self.run_dir)
        if (
            heartbeat.get("attempt", self.attempt) == self.attempt
        ):  # an earlier attempt's says nothing
            self.heartbeat = heartbeat
        if self.heartbeat.get("progress") != before.get("progress") or container.paused:
            fit = str(self.heartbeat.get("fit"))
            if before and not container.paused:
                self.paces[fit] = self.paces.get(fit, progress.Pace()).learn(
                    before, self.heartbeat, now - self.progressed
                )
            self.progressed = self.lived = now
            self._activity = None
        return self.heartbeat

    def outlives_its_script(self, activity: Callable[[], Activity | None]) -> bool:
        """Whether the container has nothing to do any more and yet does not end."""
        now = time.monotonic()
        self._ended = self._ended or now
        self._ask_for_life(now, activity)
        return now - max(self.lived, self._ended) > END_S or now - self._ended > END_BUSY_S

    def hangs_because(self, activity: Callable[[], Activity | None]) -> str:
        """Why it hangs, "" if it does not."""
        fit = self.paces.get(str(self.heartbeat.get("fit")))
        allowed = progress.allowance(self.heartbeat, fit, hangs=self.hangs, idle_s=self.idle_s)
        now = time.monotonic()
        if allowed.idle and now - self.progressed > ACTIVITY_S:
            self._ask_for_life(now, activity)
        if now - (self.lived if allowed.idle else self.progressed) <= allowed.seconds:
            return ""
        what = "it did nothing at all" if allowed.idle else "it made no step"
        return f"{what} for {allowed.seconds:.0f} s in phase {self.heartbeat.get('phase', 'start')}"

    def _ask_for_life(self, now: float, activity: Callable[[], Activity | None]) -> None:
        when, before = self._activity or (0.0, None)
        if now - when < ACTIVITY_S:
            return
        used = activity()
        if used is None or before is None or progress.is_busy(before, used, now - when):
            self.lived = now
        self._activity = None if used is None else (now, used)

    def keep(self) -> None:
        """Let later attempts know what was learned."""
        learned = {fit: one.to_json() for fit, one in self.paces.items() if one.step_s}
        if learned:
            with contextlib.suppress(OSError):
                atomic.write_json(self.run_dir / protocol.PACE, learned)


def read_paces(run_dir: Path) -> dict[str, progress.Pace]:
    """What was learned about each fit's steps in this run."""
    try:
        found = atomic.read_json(run_dir / protocol.PACE)
        return {str(fit): progress.Pace.from_json(one) for fit, one in found.items()}
    except (OSError, ValueError, AttributeError):
        return {}
