"""Telling people that a training is in trouble and that it has recovered, once each time that
changes.

How a run ended is told by `communication.notify`; this is about the time before. A message never
keeps a restart waiting: it is sent beside it, and one that cannot be delivered stays in the spool
for the next command.
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
from mlops_lib.events import Observer
from mlops_lib.records import Fact, Link, Notification, RunSpec
from mlops_lib.runner import protocol

QUIET_S = 3600.0
"""A training that falls again and again is told of once in so long."""
JOIN_S = 5.0


@contextmanager
def telling(
    spec: RunSpec, *, settings: Mapping[str, Any], home: Path, observer: Observer
) -> Iterator[Observer]:
    """An observer that passes everything on, and tells people of trouble and of recovery.

    Args:
        spec: the run.
        settings: the settings of notifications.
        home: folder of mlops' own files.
        observer: what everything is passed on to.
    """
    alarm = _Alarm(spec, settings, home, observer)
    try:
        yield alarm
    finally:
        alarm.close()


class _Alarm:
    def __init__(
        self, spec: RunSpec, settings: Mapping[str, Any], home: Path, observer: Observer
    ) -> None:
        self._spec = spec
        self._settings = settings
        self._home = home
        self._observer = observer
        self._attempt = 0
        self._troubled = False
        self._quiet_until = 0.0
        self._sending: list[threading.Thread] = []

    def __call__(self, event: dict[str, Any]) -> None:
        self._observer(event)
        if event.get("past"):
            return
        if event.get("event") == protocol.EVENT_ATTEMPT:
            self._attempt = int(event.get("attempt") or 0)
        if event.get("event") != protocol.EVENT_DECISION or event.get("trouble") == "grown":
            return
        if (
            event.get("do") == protocol.DO_RESTART
            and not self._troubled
            and time.monotonic() > self._quiet_until
        ):
            self._troubled = True
            self._quiet_until = time.monotonic() + QUIET_S
            self._tell("failed", event)
        elif event.get("do") == protocol.DO_RECOVERED and self._troubled:
            self._troubled = False
            self._tell("recovered", event)

    def _tell(self, state: Literal["failed", "recovered"], event: dict[str, Any]) -> None:
        url = str(self._settings.get("link_url") or "")
        self._send(
            trouble(
                self._spec, attempt=self._attempt, state=state, why=str(event.get("why")), url=url
            )
        )

    def _send(self, message: Notification) -> None:
        thread = threading.Thread(
            target=self._deliver, args=(message,), name="mlops-alarm", daemon=True
        )
        thread.start()
        self._sending.append(thread)

    def _deliver(self, message: Notification) -> None:
        try:
            notification.notify(message, settings=self._settings, home=self._home)
        except (MlopsError, OSError) as error:
            self._observer(events.warning(f"nobody was told: {error}"))

    def close(self) -> None:
        deadline = time.monotonic() + JOIN_S
        for thread in self._sending:
            thread.join(timeout=max(0.0, deadline - time.monotonic()))


def trouble(
    spec: RunSpec, *, attempt: int, state: Literal["failed", "recovered"], why: str, url: str = ""
) -> Notification:
    """What people are told while a run is under way.

    Args:
        spec: the run.
        attempt: the attempt that failed, or that recovered; the same change is told once, whoever
            notices it.
        state: what changed.
        why: in words.
        url: the build's page.
    """
    told: dict[str, tuple[Literal["good", "warning"], str]] = {
        "failed": ("warning", "died and is started again"),
        "recovered": ("good", "goes on where it was"),
    }
    level, words = told[state]
    return Notification(
        key=f"{spec.digest}:{state}:{attempt}",
        level=level,
        title=f"{spec.name}: the training {words}",
        text=why,
        facts=(Fact(label="Attempt", value=str(attempt)), Fact(label="Entry", value=spec.entry)),
        links=(Link(label="build", url=url),) if url else (),
        thread=f"{spec.name}/{spec.digest}",
    )
