"""Wait for the end of Docker containers, and copy their output meanwhile."""

from __future__ import annotations

import signal
import time
from dataclasses import replace
from typing import Any

from mlops_lib.engine import logs
from mlops_lib.engine.docker_connection import DockerConnection
from mlops_lib.engine.docker_events import Listener, is_stop_request
from mlops_lib.engine.docker_states import container_of, time_of
from mlops_lib.engine.interface import Container
from mlops_lib.runner import protocol

DISCONNECTED_POLL_S = 0.2
"""Polling interval in seconds while the engine's event stream is disconnected."""
POLL_S = 10.0
"""Polling interval in seconds although the event stream works, in case it misses an event."""
SIGNALLED_EXIT_CODES = (
    128 + signal.SIGTERM,
    128 + signal.SIGINT,
    128 + signal.SIGKILL,
    protocol.RECLAIMED,
)
"""Exit codes for which the event stream is searched for a stop request."""


class ContainerMonitor:
    """Follows the output and the events of running containers.

    Args:
        connection: the connection to the engine.
    """

    def __init__(self, connection: DockerConnection) -> None:
        self._connection = connection
        self._followers: dict[str, logs.Follower] = {}
        self._listener: Listener | None = None
        self._inspections: dict[str, tuple[tuple[int, int] | None, float, Container]] = {}
        """By running container: its event mark at the last inspection, the time, and the result."""

    def follow(self, container: Any) -> None:
        """Start to copy the container's output to its file, unless that runs already."""
        follower = self._followers.get(container.id)
        if follower is None or not (follower.alive or follower.complete):
            self._followers[container.id] = logs.Follower(container)

    def complete(self, container: Any) -> None:
        """Copy the rest of an ended container's output to its file."""
        follower = self._followers.pop(container.id, None)
        if follower is not None:
            follower.join()
        if follower is None or not follower.complete:
            self._connection.call(lambda: logs.copy(container, follow=False))

    def wait(self, container_id: str, *, timeout_s: float | None = None) -> Container:
        """Inspect the container whenever the event stream reports a change."""
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        if self._listener is None:
            self._listener = Listener(self._connection.client)
        while True:
            mark = self._listener.mark(container_id)
            container = self._unchanged(container_id, mark) or self._attend(container_id, mark)
            remaining_s = POLL_S if deadline is None else deadline - time.monotonic()
            if container.state != "running":
                last_mark, *_ = self._inspections.pop(container_id, (None, 0.0, None))
                return replace(
                    container, asked_to_end=self._stop_was_requested(container, last_mark)
                )
            if remaining_s <= 0:
                return container
            # With the mark from before the inspection: an event between the two ends the wait at
            # once.
            self._listener.sleep(container_id, mark, min(remaining_s, POLL_S))
            if mark is None:
                time.sleep(min(remaining_s, DISCONNECTED_POLL_S))

    def _unchanged(self, container_id: str, mark: tuple[int, int] | None) -> Container | None:
        """Return the last inspection if it ran then and no event came since, else None."""
        before, when, container = self._inspections.get(container_id, (None, 0.0, None))
        return (
            container
            if mark is not None and mark == before and time.monotonic() - when < POLL_S
            else None
        )

    def _attend(self, container_id: str, mark: tuple[int, int] | None) -> Container:
        """Return the container's state.

        Its output is followed, and complete once it has ended.
        """
        inspection = self._connection.inspect(container_id)
        if inspection is None:
            return Container(id=container_id, labels={}, state="gone")
        container = container_of(inspection)
        if container.state == "running":
            self.follow(inspection)
            self._inspections[container_id] = (mark, time.monotonic(), container)
        else:
            self.complete(inspection)
        return container

    def _stop_was_requested(self, container: Container, last_mark: tuple[int, int] | None) -> bool:
        """Return whether a stop was requested from the engine before the end.

        Args:
            container: an ended container.
            last_mark: its event mark when it was last observed running; None if it was not being watched.
        """
        if container.exit_code not in SIGNALLED_EXIT_CODES or container.ended is None:
            return False
        if last_mark is not None and self._listener is not None:
            return self._listener.stop_was_requested(container.id, last_mark)
        info = self._connection.call(lambda: self._connection.client.info())
        # Until now: a signal's event may come after the end.
        now = time_of(info["SystemTime"])
        period = {"since": container.started - 1, "until": now}
        only = {"event": ["start", "kill"], "container": container.id}
        events = self._connection.call(
            lambda: list(self._connection.client.events(decode=True, filters=only, **period))
        )
        # An engine remembers its own life only. One that did not start the container ended it when
        # it started itself, or with the machine, without a request.
        return any(event.get("Action") == "start" for event in events) and any(
            map(is_stop_request, events)
        )
