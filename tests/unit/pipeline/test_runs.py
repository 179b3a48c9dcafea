"""`pipeline.runs`: the runs of a home, and two of them side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mlops_lib import atomic, run_directory, run_lock
from mlops_lib.environments import images
from mlops_lib.pipeline import runs
from mlops_lib.records import Environment, Failure, RunResult, RunSpec, Verdict
from mlops_lib.runner import protocol
from mlops_lib.training import attempt_log

IMAGE = images.plan(Environment(name="python", framework="none", family="none"))


def make(home: Path, name: str, created: float, *, verdict: str = "", **files: Any) -> Path:
    run_dir = home / "runs" / f"{name}-{created:.0f}"
    run_dir.mkdir(parents=True)
    spec = RunSpec(
        digest=f"{name}{created}",
        name=name,
        project="/p",
        entry="train.py",
        backend="process",
        image=IMAGE,
        created=created,
    )
    run_directory.write_spec(run_dir, spec)
    if verdict:
        record = Verdict(verdict=verdict, metric="accuracy", value=0.9, target=0.8)  # type: ignore[arg-type]
        atomic.write_json(run_dir / protocol.VERDICT, record.to_json())
    for file, content in files.items():
        atomic.write_json(run_dir / file, content)
    return run_dir


@pytest.fixture
def home(tmp_path: Path) -> Path:
    failed = RunResult(
        state="failed",
        run_dir="/r",
        exit_code=1,
        restarts=0,
        seconds=1.0,
        failure=Failure(kind="bug", message="x"),
    )
    make(tmp_path, "fraud", 3.0, verdict="rejected")
    make(tmp_path, "fraud", 1.0, verdict="accepted")
    make(tmp_path, "churn", 2.0, **{protocol.TRAINING: failed.to_json()})
    make(tmp_path, "churn", 4.0)
    stopped = make(tmp_path, "churn", 5.0)
    (stopped / attempt_log.STOP).touch()
    (tmp_path / "runs" / "no-run").mkdir()
    (tmp_path / "runs" / "a-file").touch()
    return tmp_path


def test_runs_are_listed_oldest_first_with_their_state(home: Path) -> None:
    found = [(run.name, run.state) for run in runs.runs(home)]
    assert found == [
        ("fraud", "accepted"),
        ("churn", "failed"),
        ("fraud", "rejected"),
        ("churn", "unfinished"),
        ("churn", "stopped"),
    ]


def test_they_are_chosen_by_state_and_by_name(home: Path) -> None:
    assert [run.created for run in runs.runs(home, name="fr*")] == [1.0, 3.0]
    assert [run.created for run in runs.runs(home, state="failed")] == [2.0]
    assert runs.runs(home, name="FRAUD") == []
    assert runs.runs(home / "none") == []


def test_a_run_that_a_program_drives_is_running(home: Path) -> None:
    run_dir = home / "runs" / "fraud-1"
    with run_lock.lease(run_dir) as free:
        assert free
        summary = runs.summary(run_dir)
    assert summary is not None
    assert summary.state == "running"


def test_two_runs_side_by_side(home: Path) -> None:
    compared = runs.compare(home / "runs" / "fraud-1", home / "runs" / "fraud-3")
    rows = {row.what: row for row in compared.rows}
    assert (rows["Verdict"].first, rows["Verdict"].second) == ("Accepted", "Rejected")
    assert rows["accuracy"].same
    assert compared.layers == ()
