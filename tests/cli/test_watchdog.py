"""Programs killed at random: watchdogs go on with what was asked, and the result is the same."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from bench import chaos
from mlops_lib import rundir
from mlops_lib.runner import protocol

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = """
import os, time
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.svm import SVC
x, x_test, y, y_test = train_test_split(*load_digits(return_X_y=True), random_state=0)
model = SVC().fit(x, y)
print("fitted", flush=True)
while not os.path.exists(os.path.join(os.environ["MLOPS_INSIDE"], "go")):
    time.sleep(0.05)
print("score", model.score(x_test, y_test))
"""


def start(home: Path, *words: object) -> subprocess.Popen[str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("MLOPS_", "BUILD_"))}
    return subprocess.Popen(
        [sys.executable, "-m", "mlops_lib", *map(str, words)], env={**kept, "MLOPS_HOME": str(home), "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


@pytest.mark.slow
def test_watchdogs_go_on_with_a_run_whose_program_was_killed(home: Path, tmp_path: Path) -> None:
    project, run_dir = tmp_path / "project", tmp_path / "run"
    project.mkdir()
    (project / "train.py").write_text(SCRIPT)
    program = start(home, "run", project, "--run-dir", run_dir, "--backend", "process", "--target", "0.97")
    deadline = time.monotonic() + 300
    log = run_dir / "log.txt"
    while not (log.exists() and "fitted" in log.read_text()):
        assert program.poll() is None, program.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    program.send_signal(signal.SIGKILL)
    program.communicate()
    watchdogs = [start(home, "watch", run_dir, "--until-done", "--json") for _ in range(2)]
    while not any(line.get("do") == "adopt" for line in rundir.read_lines(run_dir / protocol.ATTEMPTS)):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    (run_dir / "inside" / "go").touch()
    answers: list[dict[str, Any]] = []
    for one in watchdogs:
        output, errors = one.communicate(timeout=120)
        assert one.returncode == 0, errors
        answers.append(json.loads(output.splitlines()[-1]))
        assert "adopt" in [json.loads(line).get("do") for line in output.splitlines()]
    assert [answer["state"] for answer in answers] == ["finished", "finished"]
    result = json.loads((run_dir / "result.json").read_text())
    assert (result["verdict"], result["target"], result["restarts"]) == ("accepted", 0.97, 0)
    attempts = [line for line in rundir.read_lines(run_dir / protocol.ATTEMPTS) if line["event"] == "attempt"]
    assert len(attempts) == 1, "nothing was started twice"


@pytest.mark.slow
def test_chaos_resume_killed_anywhere_it_ends_the_same(home: Path, tmp_path: Path) -> None:
    outcome = chaos.chaos(
        "sklearn", backend="process", kills=5, length=12, folder=tmp_path, home=home, seed=5, pause_s=(0.5, 3.0)
    )
    assert outcome.state == "finished"
    assert outcome.differences == ()
    assert outcome.identical
    assert outcome.left == 0
    assert outcome.hits.total() >= 1
