"""`RunDirectory`: a file is parsed once, and again when it has changed, whichever process did that."""

from __future__ import annotations

import json
import os
from pathlib import Path

from mlops_lib import atomic, event_log
from mlops_lib.events import Attempt, Epoch, Exit
from mlops_lib.records import RunResult
from mlops_lib.run_directory import RunDirectory
from mlops_lib.runner import protocol


def test_an_unchanged_file_is_parsed_once_and_a_replaced_one_again(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    path = tmp_path / protocol.TRAINING
    assert run.training is None
    result = RunResult(run_dir="a", state="finished")
    atomic.write_json(path, result.to_json())
    first = run.training
    assert first == result
    assert run.training is first
    atomic.write_json(path, RunResult(run_dir="b", state="finished").to_json())
    os.utime(path, (0, 0))  # a modification time proves nothing
    assert run.training is not None
    assert run.training.run_dir == "b"
    path.unlink()
    assert run.training is None


def test_appended_events_are_seen_and_torn_lines_left_out(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    journal = tmp_path / protocol.ATTEMPTS
    event_log.append(journal, {"event": "attempt", "attempt": 1})
    assert run.attempts == (Attempt(attempt=1),)
    event_log.append(journal, {"event": "exit", "exit_code": 0})
    assert run.attempts == (Attempt(attempt=1), Exit(exit_code=0))
    claims = tmp_path / protocol.INSIDE / protocol.EVENTS
    claims.parent.mkdir()
    claims.write_text(json.dumps({"event": "epoch", "epoch": 0, "fit": [1]}) + "\n[\n")
    assert run.events == (), "a claim of the wrong shape is none"
    claims.write_text(json.dumps({"event": "epoch", "epoch": 0, "fit": 1}) + '\n{"event": "e')
    assert run.events == (Epoch(epoch=0, fit=1),)


def test_a_link_out_of_the_container_is_not_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside.jsonl"
    outside.write_text('{"event": "epoch", "epoch": 0}\n')
    claims = tmp_path / "run" / protocol.INSIDE / protocol.EVENTS
    claims.parent.mkdir(parents=True)
    claims.symlink_to(outside)
    assert RunDirectory(tmp_path / "run").events == ()
