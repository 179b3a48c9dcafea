"""The log of a run's attempts: starts, exits and decisions, and what follows from them."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import Any

from mlops_lib import event_log
from mlops_lib.engine import LABEL_ATTEMPT, Container
from mlops_lib.records import Failure, RunSpec
from mlops_lib.runner import protocol


def given_up(lines: list[dict[str, Any]]) -> Failure | None:
    """Why the last attempt of these lines of `attempts.jsonl` was the last one, None if it was not
    given up.
    """
    for line in reversed(lines):
        if line.get("event") == protocol.EVENT_DECISION and line.get("do") == protocol.DO_GIVE_UP:
            with contextlib.suppress(ValueError):
                return Failure.from_json(line.get("failure"))
        if line.get("event") == protocol.EVENT_ATTEMPT or line.get("do") in (
            protocol.DO_FINISH,
            protocol.DO_RESTART,
            protocol.DO_STAY_STOPPED,
        ):
            break
    return None


def stopped_since(run_dir: Path, moment: float) -> bool:
    """Return whether a person stopped the run after that moment (Unix time); 0 for whether one did
    at all.

    A marker from the future was made before the clock was set back, so before any moment of now.
    """
    try:
        made = (run_dir / STOP).stat().st_mtime
    except OSError:
        return False
    return moment <= 0.0 or moment <= made <= time.time() + CLOCKS_S


def reading(spec: RunSpec) -> list[str]:
    """What says where the script's number is; a change of it alone asks for the finished script
    once more.
    """
    return [spec.metric_pattern, spec.metrics_file]


def finished(run_dir: Path, number_of_pass: int) -> dict[str, Any] | None:
    """The terminal event of a pass that has ended well, None if it has not."""
    ends = [
        e
        for e in event_log.events(run_dir)
        if e["event"] == protocol.EVENT_END and e.get("pass") == number_of_pass
    ]
    return ends[-1] if ends and ends[-1].get("exit_code") == 0 else None


def attempt_number(container: Container) -> int:
    number = container.labels.get(LABEL_ATTEMPT, "")
    return int(number) if number.isdecimal() else 0


def progress_position(event: dict[str, Any]) -> tuple[Any, ...]:
    trial = event.get("trial")
    if isinstance(trial, dict):
        return (event.get("pass"), "trial", str(trial.get("number")), str(trial.get("state")))
    return (event.get("pass"), event.get("fit"), trial, event.get("epoch"), event.get("step"))


def count_restarts(run_dir: Path) -> int:
    """How often the run's containers were restarted because something was wrong, in all passes."""
    lines = event_log.read_lines(run_dir / protocol.ATTEMPTS)
    return sum(
        line.get("event") == protocol.EVENT_DECISION
        and line.get("do") == protocol.DO_RESTART
        and line.get("trouble") != "grown"
        for line in lines
    )


def training_seconds(lines: list[dict[str, Any]]) -> float:
    """Time between starts and exits."""
    total = 0.0
    began = None
    for line in lines:
        if line.get("event") == protocol.EVENT_ATTEMPT:
            began = line.get("time")
        elif line.get("event") == protocol.EVENT_EXIT and began is not None:
            total += max(
                0.0, float(line.get("time", began)) - float(began)
            )  # a clock may have been set back
            began = None
    return round(total, 3)


CLOCKS_S = 5.0
"""How much the clocks may differ of two machines that share a run directory."""


STOP = "stop"
"""Marker in the run directory: a person stopped this run."""
