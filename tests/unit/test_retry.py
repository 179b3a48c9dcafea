"""The retry policy: growing pauses, limits of attempts and time, and waits that can be ended."""

from __future__ import annotations

import pytest

from mlops_lib.retry import RetryPolicy


class Clock:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.time = 100.0
        self.pauses: list[float] = []

    def __call__(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.time += seconds


class Server:
    """Fails a number of times before it answers."""

    def __init__(self, failures: int, error: type[Exception] = ConnectionError) -> None:
        self.failures = failures
        self.error = error
        self.calls = 0

    def __call__(self) -> str:
        self.calls += 1
        if self.calls <= self.failures:
            raise self.error(f"failure {self.calls}")
        return "answer"


def is_connection_error(error: Exception) -> bool:
    return isinstance(error, ConnectionError)


def policy(clock: Clock, **limits: float) -> RetryPolicy:
    return RetryPolicy(clock=clock, sleep=clock.sleep, jitter=0.0, **limits)  # type: ignore[arg-type]


def test_temporary_failures_are_repeated_with_growing_pauses() -> None:
    clock, server = Clock(), Server(failures=4)
    limits = policy(clock, first_s=1.0, longest_s=3.0)
    assert limits.call(server, is_temporary=is_connection_error) == "answer"
    assert clock.pauses == [1.0, 2.0, 3.0, 3.0]


def test_the_last_failure_is_raised_when_attempts_or_time_are_used_up() -> None:
    clock, server = Clock(), Server(failures=99)
    with pytest.raises(ConnectionError, match="failure 3"):
        policy(clock, attempts=3).call(server, is_temporary=is_connection_error)
    clock, server = Clock(), Server(failures=99)
    with pytest.raises(ConnectionError):
        policy(clock, first_s=4.0, limit_s=10.0).call(server, is_temporary=is_connection_error)
    assert clock.pauses == [4.0]  # a second pause of 8 s would end after the limit


def test_time_before_the_first_failure_does_not_count() -> None:
    clock, server = Clock(), Server(failures=1)

    def slow() -> str:
        clock.time += 3600.0
        return server()

    limits = policy(clock, limit_s=5.0)
    assert limits.call(slow, is_temporary=is_connection_error) == "answer"


def test_a_lasting_failure_is_raised_at_once() -> None:
    clock, server = Clock(), Server(failures=9, error=ValueError)
    with pytest.raises(ValueError, match="failure 1"):
        policy(clock).call(server, is_temporary=is_connection_error)
    assert clock.pauses == []


def test_a_wait_that_is_interrupted_ends_the_attempts() -> None:
    server = Server(failures=9)
    with pytest.raises(ConnectionError, match="failure 1"):
        RetryPolicy().call(server, is_temporary=is_connection_error, sleep=lambda _: True)


def test_a_server_can_lengthen_a_pause_and_jitter_only_shortens_it() -> None:
    limits = RetryPolicy(first_s=2.0, longest_s=8.0, jitter=0.5, chance=lambda: 1.0)
    assert [limits.pause_s(attempt) for attempt in (1, 2, 9, 5000)] == [1.0, 2.0, 4.0, 4.0]
    assert limits.pause_s(1, at_least_s=30.0) == 30.0
