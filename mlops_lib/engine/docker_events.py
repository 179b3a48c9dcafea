"""The Docker engine's event stream: one connection for all waiting callers.

The stream is never trusted alone: an event only triggers an inspection. The stream ends when the
engine does; the containers' states show what happened until it is connected again.
"""

from __future__ import annotations

import signal
import threading
import time
from collections import Counter
from collections.abc import Mapping
from typing import Any

from mlops_lib.engine.interface import LABEL_RUN

EVENTS = ["die", "kill", "pause", "unpause"]
STOP_SIGNALS = {str(int(number)) for number in (signal.SIGTERM, signal.SIGINT)}
"""Signals that request an end; SIGKILL is not a request."""
RECONNECT_S = 0.2
OVERLAP_S = 1.0
"""Seconds before the connection from which events are requested, as some occur while connecting."""


class Listener:
    """Counts the events of each container of this package, in a thread of its own.

    Args:
        client: the SDK's client.
    """

    def __init__(self, client: Any) -> None:
        self._client = client
        self._news = threading.Condition()
        self._seen: Counter[str] = Counter()
        self._stop_requests: dict[str, int] = {}
        """Containers whose stop was requested, and the connection on which that was observed."""
        self._connections = 0
        self._connected = False
        self._thread = threading.Thread(target=self._work, name="mlops-events", daemon=True)
        self._thread.start()

    def mark(self, container_id: str) -> tuple[int, int] | None:
        """Return a mark that changes with the container's next event.

        It is None without a connection.
        """
        with self._news:
            return (self._connections, self._seen[container_id]) if self._connected else None

    def stop_was_requested(self, container_id: str, mark: tuple[int, int]) -> bool:
        """Return whether its stop was requested on the connection of the mark.

        An engine that restarts ends running containers with the same events, but those arrive on a
        new connection.
        """
        with self._news:
            return self._stop_requests.get(container_id) == mark[0]

    def sleep(self, container_id: str, mark: tuple[int, int] | None, timeout_s: float) -> None:
        """Wait until the container's mark changes, or the time is over."""
        with self._news:
            self._news.wait_for(
                lambda: (
                    mark is None
                    or not self._connected
                    or (self._connections, self._seen[container_id]) != mark
                ),
                timeout=timeout_s,
            )

    def _work(self) -> None:
        import docker.errors
        import requests

        while True:
            try:
                self._listen()
            except (docker.errors.DockerException, requests.RequestException, OSError, ValueError):
                pass  # the engine went away, perhaps in the middle of a line
            finally:
                self._lose()
            time.sleep(RECONNECT_S)

    def _listen(self) -> None:
        since = time.time() - OVERLAP_S
        stream = self._client.events(
            decode=True, since=since, filters={"event": EVENTS, "label": LABEL_RUN}
        )
        with self._news:
            self._connections += 1
            self._connected = True
            self._news.notify_all()
        for event in stream:
            with self._news:
                self._seen[str(event.get("id"))] += 1
                if is_stop_request(event):
                    self._stop_requests[str(event.get("id"))] = self._connections
                self._news.notify_all()

    def _lose(self) -> None:
        with self._news:
            self._connected = False
            self._news.notify_all()


def is_stop_request(event: Mapping[str, Any]) -> bool:
    """Return whether an event is a request to stop a container (`docker stop`)."""
    attributes = (event.get("Actor") or {}).get("Attributes") or {}
    return event.get("Action") == "kill" and str(attributes.get("signal")) in STOP_SIGNALS
