"""The listener of the engine's events: what wakes a waiting caller, and what counts as a stop."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from mlops_lib.engine.docker_events import Listener, is_stop_request

DEADLINE_S = 60.0


class Engine:
    """The SDK's event stream, fed by the test; `lose` ends it as an engine that goes away."""

    def __init__(self) -> None:
        self._events: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self.connections = 0

    def events(self, **filters: Any) -> Iterator[dict[str, Any]]:
        self.connections += 1
        while (event := self._events.get()) is not None:
            yield event

    def send(self, identity: str, action: str, **attributes: str) -> None:
        self._events.put({"id": identity, "Action": action, "Actor": {"Attributes": attributes}})

    def lose(self) -> None:
        self._events.put(None)


def mark_of(listener: Listener, identity: str, *, beside: object = None) -> tuple[int, int]:
    """The mark of a container once it is another one than `beside`."""
    deadline = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline:
        mark = listener.mark(identity)
        if mark is not None and mark != beside:
            return mark
        time.sleep(0.01)
    raise AssertionError("no other mark in time")


def test_an_event_of_the_container_ends_the_wait_and_another_one_does_not() -> None:
    engine = Engine()
    listener = Listener(engine)
    before = mark_of(listener, "a")
    woken = threading.Event()

    def wait() -> None:
        listener.sleep("a", before, DEADLINE_S)
        woken.set()

    thread = threading.Thread(target=wait)
    thread.start()
    other = listener.mark("b")
    engine.send("b", "die")
    mark_of(listener, "b", beside=other)
    assert not woken.is_set()
    engine.send("a", "die")
    assert woken.wait(DEADLINE_S)
    thread.join()


def test_an_engine_that_is_lost_wakes_all_and_marks_change_with_its_return() -> None:
    engine = Engine()
    listener = Listener(engine)
    before = mark_of(listener, "a")
    engine.lose()
    listener.sleep("a", before, DEADLINE_S)  # returns: no event can come any more
    after = mark_of(listener, "a", beside=before)
    assert engine.connections == 2
    assert after[0] > before[0]


def test_a_stop_counts_only_on_the_connection_on_which_the_container_ran() -> None:
    engine = Engine()
    listener = Listener(engine)
    running = mark_of(listener, "a")
    engine.send("a", "kill", signal="15")
    seen = mark_of(listener, "a", beside=running)
    assert listener.stop_was_requested("a", running)
    assert listener.stop_was_requested("a", seen)
    assert not listener.stop_was_requested("b", seen)
    engine.lose()
    later = mark_of(listener, "a", beside=seen)
    # An engine that restarts ends containers with the same event; that is not a person's request.
    assert not listener.stop_was_requested("a", later)


@pytest.mark.parametrize(
    ("action", "signal", "expected"),
    [
        ("kill", "15", True),
        ("kill", "2", True),
        ("kill", "9", False),
        ("die", "15", False),
        ("kill", "", False),
    ],
)
def test_only_a_signal_that_can_be_handled_is_a_request(
    action: str, signal: str, expected: bool
) -> None:
    event = {"Action": action, "Actor": {"Attributes": {"signal": signal}}}
    assert is_stop_request(event) is expected
    assert not is_stop_request({"Action": action})
