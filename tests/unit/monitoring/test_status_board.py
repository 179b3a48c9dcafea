"""`monitoring.status_board`: a line for each run, and a watchdog's decisions."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest

from mlops_lib.monitoring.status import Standing
from mlops_lib.monitoring.status_board import Decisions, row


@pytest.mark.parametrize(
    ("state", "cells"),
    [
        (
            Standing(run_dir="/h/runs/a-1", state="waiting"),
            ("a-1", "waiting", "", "", "", "", "0", ""),
        ),
        (
            Standing(
                run_dir="/h/runs/a-1",
                state="training",
                attempt=2,
                fit=1,
                epoch=4,
                step=10,
                steps=50,
                steps_per_s=12.345,
                memory_bytes=3 << 30,
                restarts=1,
                trouble="it died",
            ),
            ("a-1", "training", "2", "fit 1: 5, step 10/50", "12.3", "3.0 GiB", "1", "it died"),
        ),
        (
            Standing(run_dir="/h/runs/a-1", state="searching", trial=3),
            ("a-1", "searching", "", "trial 3", "", "", "0", ""),
        ),
        (
            Standing(run_dir="/h/runs/a-1", state="training", name="worker 2", where="10.0.0.7"),
            ("worker 2 (10.0.0.7)", "training", "", "", "", "", "0", ""),
        ),
    ],
)
def test_a_run_in_one_line(state: Any, cells: tuple[str, ...]) -> None:
    assert row(state) == cells


def test_a_cell_stays_on_its_line() -> None:
    cells = row(Standing(run_dir="/h/runs/a", state="failed", trouble="a\nb\x1b[31m" + "c" * 200))
    assert "\n" not in cells[-1]
    assert "\x1b" not in cells[-1]
    assert len(cells[-1]) <= 60


def test_decisions_are_printed_with_the_runs_name_and_as_json() -> None:
    words, lines = io.StringIO(), io.StringIO()
    decisions = Decisions(stream=words, stream_json=lines)
    decisions({"event": "decision", "do": "restart", "why": "it died", "run_dir": "/h/runs/a-1"})
    decisions({"event": "epoch", "epoch": 1, "run_dir": "/h/runs/a-1"})
    assert words.getvalue().startswith("a-1: ")
    assert "it died" in words.getvalue()
    (line,) = lines.getvalue().splitlines()
    assert json.loads(line)["do"] == "restart"
    assert json.loads(line)["schema"] == 1
