"""A run that receives SIGTERM saves its state, ends in time, and resumes.

The scripts are those of tests/cases/resume, with signals at random moments.
`MLOPS_GRACE_GROUPS=all` includes every group, `MLOPS_GRACE_SIGNALS=30` sets the number of moments
in each.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from resume import test_matrix as matrix

from mlops_lib.runner import protocol

GROUPS = os.environ.get("MLOPS_GRACE_GROUPS", "epochs")
SIGNALS = int(os.environ.get("MLOPS_GRACE_SIGNALS", "6"))
END_S = 8.0
"""Time limit for the end of the process; engines kill after ten seconds."""
COUNTING = """
import os, sys
def _count(module):
    plain = module.CallbackList.on_train_batch_end
    def counted(self, *args, **kwargs):
        plain(self, *args, **kwargs)
        file = os.open(os.environ["MLOPS_TEST_STEPS"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(file, b".")
        os.close(file)
    module.CallbackList.on_train_batch_end = counted
for _name in ("keras.src.callbacks.callback_list", "tf_keras.src.callbacks"):
    if _name in sys.modules:
        _count(sys.modules[_name])
"""
"""Count the executed steps in a place that no restart restores."""


@pytest.fixture
def forks(request: pytest.FixtureRequest) -> Iterator[matrix.Forks]:
    served = matrix.Forks(request.param)
    yield served
    served.close()


def groups() -> list[str]:
    return (
        sorted(path.name for path in matrix.CASES.iterdir() if path.is_dir())
        if GROUPS == "all"
        else GROUPS.split(",")
    )


def started(forks: matrix.Forks, project: Path, inside: Path, attempt: int) -> int:
    inside.parent.mkdir(exist_ok=True)
    return forks.start(project, inside, attempt, MLOPS_TEST_STEPS=str(inside.parent / "steps"))


@pytest.mark.slow
@pytest.mark.parametrize("forks", groups(), indirect=True)
def test_run_stopped_at_any_moment_saves_its_state(forks: matrix.Forks, tmp_path: Path) -> None:
    project = tmp_path / "project"
    project.mkdir()
    (project / "train.py").write_text(COUNTING + matrix.script(forks.group))
    alone, asked = tmp_path / "alone" / "inside", tmp_path / "asked" / "inside"
    began = time.monotonic()
    started(forks, project, alone, 1)
    assert forks.answer() == 0, (alone.parent / "log.txt").read_text()[-3000:]
    took = time.monotonic() - began

    chosen, codes, slowest = random.Random(11), [], 0.0
    for attempt in range(1, SIGNALS + 1):
        pid = started(forks, project, asked, attempt)
        moment = time.monotonic() + chosen.uniform(0.0, 2.5 * took / SIGNALS)
        while time.monotonic() < moment and matrix._runs(pid):
            time.sleep(0.002)
        if matrix._runs(pid):
            os.kill(pid, signal.SIGUSR1 if attempt % 3 == 0 else signal.SIGTERM)
        sent = time.monotonic()
        codes.append(forks.answer())
        slowest = max(slowest, time.monotonic() - sent)
        # Before the runner is there, the signal ends the process as it would any other.
        allowed = (0, protocol.RECLAIMED, -signal.SIGTERM, -signal.SIGUSR1)
        assert codes[-1] in allowed, (asked.parent / "log.txt").read_text()[-3000:]
    sys.stdout.write(f"{forks.group}: {codes}, the slowest end took {slowest:.2f} s\n")
    assert protocol.RECLAIMED in codes
    assert slowest < END_S
    started(forks, project, asked, len(codes) + 1)
    assert forks.answer() == 0, (asked.parent / "log.txt").read_text()[-3000:]

    results = [
        (inside / "outputs" / "results.txt").read_text().splitlines() for inside in (alone, asked)
    ]
    assert results[1] == results[0]
    assert matrix.outputs(asked) == matrix.outputs(alone)
    assert matrix.epochs(asked) == matrix.epochs(alone), "one history: every epoch exactly once"
    steps = [
        (inside.parent / "steps").stat().st_size if (inside.parent / "steps").exists() else 0
        for inside in (alone, asked)
    ]
    times = codes.count(protocol.RECLAIMED)
    sys.stdout.write(f"{forks.group}: {steps[0]} steps alone, {steps[1]} with {times} ends\n")
    assert steps[1] <= steps[0] + times, "more than one step was lost by a signal"
