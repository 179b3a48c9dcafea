"""A signal that asks a training to end: what the runner does, and what is left to the script."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mlops_lib.engine import Container
from mlops_lib.events import End
from mlops_lib.runner import protocol
from mlops_lib.training.restart_policy import Situation, decide

ROOT = Path(__file__).resolve().parents[2]
READY = "print('ready', flush=True)\n"


class Training:
    """A runner with a script of its own."""

    def __init__(self, folder: Path, script: str, *, attempt: int = 1) -> None:
        self.folder, self.inside = folder, folder / "inside"
        project = folder / "project"
        project.mkdir(exist_ok=True)
        self.inside.mkdir(exist_ok=True)
        (project / "train.py").write_text(script)
        environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "PYTHONHASHSEED": "1",
            "MLOPS_PROJECT": str(project),
            "MLOPS_INSIDE": str(self.inside),
            "MLOPS_STRICT": "1",
            "PYTHONUNBUFFERED": "1",
            "MLOPS_SPEC": json.dumps({"seed": 5, "attempt": attempt}),
        }
        self.process = subprocess.Popen(
            [sys.executable, "-m", "mlops_lib.runner", "train.py"],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def until(self, line: str) -> None:
        assert self.process.stdout is not None
        for said in self.process.stdout:
            if said.strip() == line:
                return
        raise AssertionError(f"it never said {line}")

    def ask(self, number: signal.Signals = signal.SIGTERM) -> tuple[int, float]:
        """Its exit code, and the seconds that its end took."""
        began = time.monotonic()
        self.process.send_signal(number)
        return self.end(), time.monotonic() - began

    def end(self) -> int:
        output, _ = self.process.communicate(timeout=60)
        (self.folder / "output").write_text(output)
        return self.process.returncode

    def events(self, kind: str) -> list[dict[str, object]]:
        lines = (self.inside / "events.jsonl").read_text().splitlines()
        return [event for event in map(json.loads, lines) if event["event"] == kind]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_script_with_nothing_to_keep_ends_at_once_and_apart(
    tmp_path: Path, number: signal.Signals
) -> None:
    training = Training(tmp_path, f"import time\n{READY}time.sleep(60)\n")
    training.until("ready")
    code, seconds = training.ask(number)
    assert code == protocol.RECLAIMED
    assert seconds < 5
    assert training.events("end") == [], "the script has not ended"
    (note,) = training.events("note")
    assert number.name in str(note["message"])


def test_a_library_that_computes_without_python_is_not_waited_for(tmp_path: Path) -> None:
    busy = "import hashlib\nhashlib.pbkdf2_hmac('sha256', b'', b'', 10**9)\n"
    training = Training(tmp_path, READY + busy)
    training.until("ready")
    code, seconds = training.ask()
    assert code == protocol.RECLAIMED
    assert seconds < 5


def test_output_that_nobody_reads_keeps_nobody_waiting(tmp_path: Path) -> None:
    training = Training(tmp_path, READY + "while True:\n    print('x' * 5000)\n")
    training.until("ready")
    time.sleep(
        0.5
    )  # the pipe is full: the script waits in `print`, and holds the lock of its output
    training.process.send_signal(signal.SIGTERM)
    assert training.process.wait(timeout=9) == protocol.RECLAIMED
    training.end()


def test_a_handler_of_the_scripts_own_wins(tmp_path: Path) -> None:
    own = """
import signal, sys, time
def handler(number, frame):
    print("mine", flush=True)
    sys.exit(3)
signal.signal(signal.SIGTERM, handler)
"""
    training = Training(tmp_path, f"{own}{READY}time.sleep(60)\n")
    training.until("ready")
    code, _ = training.ask()
    assert code == 3
    assert "mine" in (tmp_path / "output").read_text()
    assert [event["exit_code"] for event in training.events("end")] == [3]


def test_a_signal_that_the_script_ignores_is_ignored(tmp_path: Path) -> None:
    training = Training(
        tmp_path,
        f"import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n{READY}time.sleep(1)\n",
    )
    training.until("ready")
    assert training.ask()[0] == 0


def test_the_scripts_children_end_as_ever_and_take_nobody_along(tmp_path: Path) -> None:
    children = """
import multiprocessing, os, signal, subprocess, sys, time
def work():
    time.sleep(60)
if __name__ == "__main__":
    child = multiprocessing.get_context("fork").Process(target=work)
    child.start()
    other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    time.sleep(0.3)
    child.terminate()
    other.terminate()
    child.join()
    print("ends", child.exitcode, other.wait())
    for _ in range(60):  # a child that is killed before it is quite there
        if (young := os.fork()) == 0:
            time.sleep(60)
        os.kill(young, signal.SIGTERM)
        assert os.waitstatus_to_exitcode(os.waitpid(young, 0)[1]) == -signal.SIGTERM
    signal.signal(signal.SIGALRM, lambda *_: None)
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    time.sleep(0.2)
"""
    training = Training(tmp_path, children)
    assert training.end() == 0, (tmp_path / "output").read_text()
    assert "ends -15 -15" in (tmp_path / "output").read_text()


def test_a_cross_validation_goes_on_at_its_next_candidate(tmp_path: Path) -> None:
    script = f"""
import os, sys, time, warnings
import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.model_selection import cross_val_score
class Slow(ClassifierMixin, BaseEstimator):
    def fit(self, x, y):
        with open({str(tmp_path / "fitted")!r}, "a") as file:
            file.write(".")
        self.classes_ = np.unique(y)
        self.draw_ = np.random.rand()
        if len(open({str(tmp_path / "fitted")!r}).read()) == 4:
            print("ready", flush=True)
            time.sleep(30)
        return self
    def predict(self, x):
        return np.where(np.random.rand(len(x)) > self.draw_, 1, 0)
x = np.random.rand(60, 2)
print(cross_val_score(Slow(), x, (x[:, 0] > 0.5).astype(int), cv=6))
"""
    first = Training(tmp_path, script)
    first.until("ready")
    code, seconds = first.ask()
    assert (code, seconds < 5) == (protocol.RECLAIMED, True)
    assert Training(tmp_path, script, attempt=2).end() == 0, (tmp_path / "output").read_text()
    # Six candidates, the one that was under way, and at the end the model that is kept.
    assert (tmp_path / "fitted").read_text() == "." * 8, "candidates were fitted again"
    resumed = (tmp_path / "output").read_text()
    alone = tmp_path / "alone"
    alone.mkdir()
    (tmp_path / "fitted").write_text("." * 10)
    assert Training(alone, script).end() == 0
    assert resumed == (alone / "output").read_text(), "the result is another"


@pytest.mark.parametrize(
    ("by_a_person", "marked", "does"),
    [(False, False, "restart"), (True, False, "stay stopped"), (False, True, "stay stopped")],
)
def test_it_is_started_again_unless_a_person_stopped_it(
    by_a_person: bool, marked: bool, does: str
) -> None:
    ended = Container(
        id="1", labels={}, state="exited", exit_code=protocol.RECLAIMED, asked_to_end=by_a_person
    )
    action = decide(Situation(container=ended, budget=5, asked_to_stop=marked))
    assert (action.do, action.delay_s) == (does, 0.0)
    own = End(exit_code=protocol.RECLAIMED, error={"type": "SystemExit", "kind": "bug"})
    script = decide(Situation(container=ended, end=own, budget=5))
    assert script.do == "give up", "a script that ends with that code of its own has failed"
