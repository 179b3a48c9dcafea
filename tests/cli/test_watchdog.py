"""Programs killed at random: watchdogs go on with what was asked, and the result is the same."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench import chaos
from mlops_lib import event_log
from mlops_lib.engine import LABEL_RUN_DIR, choose
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


WAITING = """
import os, time
print("fitted", flush=True)
while not os.path.exists(os.path.join(os.environ["MLOPS_INSIDE"], "go")):
    time.sleep(0.05)
"""


def start(home: Path, *words: object) -> subprocess.Popen[str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("MLOPS_", "BUILD_"))}
    return subprocess.Popen(
        [sys.executable, "-m", "mlops_lib", *map(str, words)],
        env={**kept, "MLOPS_HOME": str(home), "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.slow
def test_watchdogs_go_on_with_a_run_whose_program_was_killed(home: Path, tmp_path: Path) -> None:
    project, run_dir = tmp_path / "project", tmp_path / "run"
    project.mkdir()
    (project / "train.py").write_text(SCRIPT)
    program = start(
        home, "run", project, "--run-dir", run_dir, "--backend", "process", "--target", "0.97"
    )
    deadline = time.monotonic() + 300
    log = run_dir / "log.txt"
    while not (log.exists() and "fitted" in log.read_text()):
        assert program.poll() is None, program.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    program.send_signal(signal.SIGKILL)
    program.communicate()
    watchdogs = [start(home, "watch", run_dir, "--until-done", "--json") for _ in range(2)]
    while not any(
        line.get("do") == "adopt" for line in event_log.read_lines(run_dir / protocol.ATTEMPTS)
    ):
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
    attempts = [
        line
        for line in event_log.read_lines(run_dir / protocol.ATTEMPTS)
        if line["event"] == "attempt"
    ]
    assert len(attempts) == 1, "nothing was started twice"


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["process", pytest.param("docker", marks=pytest.mark.docker)])
def test_a_watch_beside_a_training_goes_on_when_its_program_is_killed(
    home: Path, tmp_path: Path, backend: str
) -> None:
    """`kill -9` of `mlops train` alone, and then of its container: the watch adopts, restarts,
    finishes and says so.
    """
    project, run_dir = tmp_path / "project", tmp_path / "run"
    project.mkdir()
    (project / "train.py").write_text(WAITING)
    asked = (project, "--entry", "train.py", "--run-dir", run_dir, "--backend", backend)
    watchdog = start(home, "watch", *asked, "--until-done", "--json")
    program = start(home, "train", *asked)
    deadline = time.monotonic() + 300
    log = run_dir / "log.txt"

    def until(condition: Callable[[], bool]) -> None:
        while not condition():
            assert time.monotonic() < deadline
            assert watchdog.poll() is None, watchdog.communicate()
            time.sleep(0.05)

    def decided(what: str) -> bool:
        return any(
            line.get("do") == what for line in event_log.read_lines(run_dir / protocol.ATTEMPTS)
        )

    until(lambda: log.exists() and "fitted" in log.read_text())
    program.send_signal(signal.SIGKILL)
    program.communicate()
    until(lambda: decided("adopt"))
    engine = choose(backend, home=str(home))  # type: ignore[arg-type]
    (container,) = engine.find({LABEL_RUN_DIR: str(run_dir.resolve())})
    engine.kill(container.id)
    until(lambda: decided("restart"))
    (run_dir / "inside" / "go").touch()
    output, errors = watchdog.communicate(timeout=120)
    assert watchdog.returncode == 0, errors
    assert json.loads(output.splitlines()[-1])["state"] == "finished"
    training = json.loads((run_dir / protocol.TRAINING).read_text())
    assert (training["state"], training["restarts"]) == ("finished", 1)
    assert not (run_dir / protocol.ASKED).exists(), "it is not answered"
    assert engine.find({LABEL_RUN_DIR: str(run_dir.resolve())}) == []


@pytest.mark.slow
def test_chaos_resume_killed_anywhere_it_ends_the_same(home: Path, tmp_path: Path) -> None:
    outcome = chaos.chaos(
        "sklearn",
        backend="process",
        kills=5,
        length=12,
        folder=tmp_path,
        home=home,
        seed=5,
        pause_s=(0.5, 3.0),
    )
    assert outcome.state == "finished"
    assert outcome.differences == ()
    assert outcome.identical
    assert outcome.left == 0
    assert outcome.hits.total() >= 1
