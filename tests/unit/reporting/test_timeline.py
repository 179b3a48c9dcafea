"""`reporting.timeline`: events of the runner and decisions of the host, in words."""

from __future__ import annotations

from typing import Any

import pytest

from mlops_lib.events import Event, from_json
from mlops_lib.reporting import timeline


def told(
    *records: dict[str, Any], decisions: tuple[dict[str, Any], ...] = ()
) -> list[tuple[str, str, str, int]]:
    def read(some: Any) -> list[Event]:
        return [from_json({"time": float(place), **one}) for place, one in enumerate(some, 1)]

    return [
        (m.level, m.what, m.detail, m.times)
        for m in timeline.moments(read(records), read(decisions))
    ]


@pytest.mark.parametrize(
    ("record", "level", "what", "detail"),
    [
        ({"event": "start", "entry": "train.py"}, "info", "Training started", "train.py"),
        ({"event": "start", "pass": 2}, "info", "Search started", ""),
        (
            {"event": "fit", "fit": 1, "model": "Sequential", "epochs": 5, "parameters": 1200},
            "info",
            "Fit 1 started",
            "Sequential, 5 epochs, 1,200 parameters",
        ),
        (
            {"event": "fit", "fit": 2, "state": "resumed", "epoch": 3},
            "good",
            "Fit 2 goes on with epoch 4",
            "",
        ),
        (
            {"event": "fit", "fit": 2, "state": "restored"},
            "info",
            "Fit 2 restored, it had finished",
            "",
        ),
        (
            {"event": "metric", "metric": "accuracy", "value": 0.91, "source": "keras.evaluate"},
            "info",
            "Measured accuracy 91\u202f%",
            "keras.evaluate",
        ),
        ({"event": "warning", "message": "careful"}, "warning", "Warning", "careful"),
        ({"event": "end", "exit_code": 2}, "bad", "Script failed", "exit code 2"),
        (
            {"event": "end", "error": {"type": "OSError", "message": "full"}},
            "bad",
            "Script failed",
            "OSError: full",
        ),
        (
            {"event": "trial", "trial": {"number": 3, "state": "finished", "edits": ["a", 7, "b"]}},
            "info",
            "Trial 3 finished",
            "a; b",
        ),
    ],
)
def test_an_event_in_words(record: dict[str, Any], level: str, what: str, detail: str) -> None:
    assert told(record) == [(level, what, detail, 1)]


@pytest.mark.parametrize(
    "record",
    [
        {"event": "metric", "metric": "loss", "value": 1.0, "source": "fit.validation"},
        {"event": "trial", "trial": {"number": 3, "state": "running"}},
        {"event": "epoch", "epoch": 1},
        {"event": "unheard of"},
    ],
)
def test_what_would_flood_the_timeline_is_left_out(record: dict[str, Any]) -> None:
    assert told(record) == []


def test_only_a_second_start_of_a_pass_is_a_restart() -> None:
    resumed = {"event": "start", "resumed": True}
    moments = told({"event": "start"}, {**resumed, "pass": 2}, {**resumed, "pass": 2})
    assert [what for _, what, _, _ in moments] == [
        "Training started",
        "Search started",
        "Search started again from its checkpoint",
    ]


def test_repetitions_are_counted() -> None:
    same = {"event": "warning", "message": "again"}
    assert told(same, same, same) == [("warning", "Warning", "again", 3)]


def test_the_hosts_decisions_stand_between() -> None:
    moments = told(
        {"event": "note", "message": "first"},
        decisions=(
            {"event": "exit", "exit_code": 137, "out_of_memory": True, "time": 2.0},
            {"event": "exit", "exit_code": 0, "time": 3.0},
            {"event": "decision", "do": "restart", "why": "it died", "time": 4.0},
        ),
    )
    assert moments == [
        ("info", "Note", "first", 1),
        ("bad", "Container ended", "exit code 137, out of memory", 1),
        ("warning", "Watchdog starts it again", "it died", 1),
    ]


def test_the_middle_of_a_long_timeline_is_left_out() -> None:
    moments = told(*({"event": "note", "message": str(number)} for number in range(1000)))
    assert len(moments) == timeline.MOMENTS_LIMIT + 1
    assert moments[150][1] == "700 further moments left out"
    assert (moments[0][2], moments[-1][2]) == ("0", "999")
