"""`reporting.attempts`: starts of the script and their outcomes, from two sources of records."""

from __future__ import annotations

from typing import Any

import pytest

from mlops_lib.events import Event, from_json
from mlops_lib.records import Failure, RunResult
from mlops_lib.reporting import attempts


def events(*records: dict[str, Any]) -> list[Event]:
    return [from_json(record) for record in records]


def start(attempt: int, time: float, number_of_pass: int = 1) -> dict[str, Any]:
    return {"event": "start", "attempt": attempt, "time": time, "pass": number_of_pass}


def end(attempt: int, time: float, **more: Any) -> dict[str, Any]:
    return {"event": "end", "attempt": attempt, "time": time, **more}


def host(attempt: int, time: float, number_of_pass: int = 1) -> dict[str, Any]:
    return {"event": "attempt", "attempt": attempt, "time": time, "number_of_pass": number_of_pass}


def exit_(time: float, code: int) -> dict[str, Any]:
    return {"event": "exit", "time": time, "exit_code": code}


def test_the_hosts_times_and_outcomes_decide() -> None:
    found = attempts.attempts(
        events(start(1, 11.0), start(2, 21.0), end(2, 28.0, exit_code=0)),
        events(host(1, 10.0), exit_(15.0, 137), host(2, 20.0), exit_(29.0, 0)),
    )
    assert [(one.number, one.began, one.ended, one.outcome) for one in found] == [
        (1, 10.0, 15.0, "killed"),
        (2, 20.0, 29.0, "finished"),
    ]
    assert attempts.restarts(found) == 1


def test_a_start_without_an_end_was_killed_if_another_followed() -> None:
    found = attempts.attempts(events(start(1, 1.0), start(2, 5.0)), [])
    assert [one.outcome for one in found] == ["killed", "unknown"]


@pytest.mark.parametrize(
    ("last", "outcome"),
    [
        (end(1, 2.0, exit_code=0), "finished"),
        (end(1, 2.0, exit_code=3), "failed"),
        (end(1, 2.0, error={"type": "KeyError"}), "failed"),
    ],
)
def test_the_script_itself_says_how_it_ended(last: dict[str, Any], outcome: str) -> None:
    (found,) = attempts.attempts(events(start(1, 1.0), last), [])
    assert found.outcome == outcome


def test_the_first_start_of_the_search_is_no_restart() -> None:
    found = attempts.attempts([], events(host(1, 1.0), host(2, 5.0, 2), host(3, 9.0, 2)))
    assert [one.number_of_pass for one in found] == [1, 2, 2]
    assert attempts.restarts(found) == 1


@pytest.mark.parametrize(
    "bad", [{"attempt": -1}, {"attempt": "x"}, {"time": float("nan")}, {"time": "x"}]
)
def test_a_damaged_record_is_skipped(bad: dict[str, Any]) -> None:
    found = attempts.attempts(events({**start(1, 1.0), **bad}, start(2, 5.0)), [])
    assert [one.number for one in found] == [2]


def test_the_hosts_failure_comes_before_the_scripts() -> None:
    last = events(
        end(1, 2.0, error={"type": "ValueError", "message": "x", "file": "a.py", "line": 3})
    )
    own = attempts.failure(last, None)
    assert own is not None
    assert (own.message, own.where) == ("ValueError: x", "a.py, line 3")
    result = RunResult(
        state="failed",
        run_dir="/r",
        exit_code=1,
        restarts=0,
        seconds=1.0,
        failure=Failure(kind="oom", message="no memory", where="b.py"),
    )
    host_failure = attempts.failure(last, result)
    assert host_failure is not None
    assert (host_failure.kind, host_failure.message) == ("oom", "no memory")
    assert attempts.failure(events(end(1, 2.0, exit_code=0)), None) is None
