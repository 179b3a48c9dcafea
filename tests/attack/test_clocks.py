"""A clock that is set back stops no run and gives no negative time."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from mlops_lib.events import from_json
from mlops_lib.reporting.view import read_run
from mlops_lib.runner import protocol
from mlops_lib.training import attempt_log

pytestmark = pytest.mark.attack


@pytest.mark.parametrize(
    ("made_s", "since_s", "stopped"),
    [
        (-60, -3600, True),  # after the moment that is asked for
        (-60, -30, False),  # before it
        (
            86400 * 365,
            -30,
            False,
        ),  # "tomorrow": before the clock was set back, so before any moment of now
        (1, -30, True),  # another machine's clock is a little ahead
    ],
)
def test_a_stop_from_the_future_is_an_old_one(
    tmp_path: Path, made_s: float, since_s: float, stopped: bool
) -> None:
    marker, now = tmp_path / attempt_log.STOP, time.time()
    marker.touch()
    os.utime(marker, (now + made_s, now + made_s))
    assert attempt_log.stopped_since(tmp_path, now + since_s) is stopped
    assert attempt_log.stopped_since(tmp_path, 0.0), (
        "a watchdog leaves a run alone that a person stopped"
    )


def test_no_time_is_negative(tmp_path: Path) -> None:
    lines = [
        {"event": "attempt", "time": 5000.0, "attempt": 1, "number_of_pass": 1},
        {"event": "exit", "time": 1000.0},
        {"event": "attempt", "time": 1001.0, "attempt": 2, "number_of_pass": 1},
        {"event": "exit", "time": 1011.0},
    ]
    assert attempt_log.training_seconds([from_json(line) for line in lines]) == 10.0
    (tmp_path / protocol.INSIDE).mkdir()
    (tmp_path / protocol.ATTEMPTS).write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert read_run(tmp_path).seconds >= 0.0
