"""Messages about a training that is in trouble, and about its recovery.

How a run ended is reported by `publishing.notify`; this is about the time before. A message never
delays a restart: it is sent in a thread, and one that cannot be delivered stays in the outbox for the
next command.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from mlops_lib import events, notification
from mlops_lib.errors import MlopsError
from mlops_lib.events import Attempt, Decision, Observer
from mlops_lib.records import Fact, Link, Notification, RunSpec
from mlops_lib.runner import protocol

QUIET_S = 3600.0
"""Least time between two messages about a training that fails again and again."""
JOIN_S = 5.0
"""Time to wait at the end for messages that are being sent."""


@contextmanager
def alerting(
    spec: RunSpec, *, settings: Mapping[str, Any], home: Path, observer: Observer
) -> Iterator[Observer]:
    """Yield an observer that also sends messages about trouble and recovery.

    Args:
        spec: the run.
        settings: the settings of notifications.
        home: folder of mlops' own files.
        observer: gets all events.
    """
    alerts = _Alerts(spec, settings, home, observer)
    try:
        yield alerts
    finally:
        alerts.close()


class _Alerts:
    def __init__(
        self, spec: RunSpec, settings: Mapping[str, Any], home: Path, observer: Observer
    ) -> None:
        self._spec = spec
        self._settings = settings
        self._home = home
        self._observer = observer
        self._attempt = 0
        self._is_in_trouble = False
        self._quiet_until = 0.0
        self._threads: list[threading.Thread] = []

    def __call__(self, line: dict[str, Any]) -> None:
        self._observer(line)
        event = events.from_json(line)
        if event.past:  # a program before this one has reported it
            return
        if isinstance(event, Attempt):
            self._attempt = event.attempt or 0
        elif isinstance(event, Decision) and event.trouble != "grown":
            self._handle_decision(event)

    def _handle_decision(self, decision: Decision) -> None:
        if decision.do == protocol.DO_RECOVERED and self._is_in_trouble:
            self._is_in_trouble = False
            self._send("recovered", decision.why)
        elif decision.do == protocol.DO_RESTART and not self._is_in_trouble:
            self._report_failure(decision)

    def _report_failure(self, decision: Decision) -> None:
        now = time.monotonic()
        if now > self._quiet_until:
            self._is_in_trouble = True
            self._quiet_until = now + QUIET_S
            self._send("failed", decision.why)

    def _send(self, state: Literal["failed", "recovered"], why: str) -> None:
        url = str(self._settings.get("link_url") or "")
        content = message(self._spec, attempt=self._attempt, state=state, why=why, url=url)
        thread = threading.Thread(
            target=self._deliver, args=(content,), name="mlops-alarm", daemon=True
        )
        thread.start()
        self._threads.append(thread)

    def _deliver(self, content: Notification) -> None:
        try:
            notification.notify(content, settings=self._settings, home=self._home)
        except (MlopsError, OSError) as error:
            self._observer(events.warning(f"Could not send notifications: {error}"))

    def close(self) -> None:
        deadline = time.monotonic() + JOIN_S
        for thread in self._threads:
            thread.join(timeout=max(0.0, deadline - time.monotonic()))


def message(
    spec: RunSpec, *, attempt: int, state: Literal["failed", "recovered"], why: str, url: str = ""
) -> Notification:
    """Return the message about a run under way that failed or recovered.

    Args:
        spec: the run.
        attempt: the attempt that failed or recovered; each such change is reported once, however
            many programs notice it.
        state: the change.
        why: its cause, in words.
        url: the build's page.
    """
    wordings: dict[str, tuple[Literal["good", "warning"], str]] = {
        "failed": ("warning", "died and is started again"),
        "recovered": ("good", "goes on where it was"),
    }
    level, words = wordings[state]
    return Notification(
        key=f"{spec.digest}:{state}:{attempt}",
        level=level,
        title=f"{spec.name}: the training {words}",
        text=why,
        facts=(Fact(label="Attempt", value=str(attempt)), Fact(label="Entry", value=spec.entry)),
        links=(Link(label="build", url=url),) if url else (),
        thread=f"{spec.name}/{spec.digest}",
    )
