"""The watchdog at work: real trainings that really die, in plain processes and in containers."""

from __future__ import annotations

import functools
import json
import os
import signal
import site as python_site
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import waiting

from mlops_lib import atomic, event_log, run_directory, run_lock
from mlops_lib.engine import LABEL_RUN, Engine
from mlops_lib.engine.docker import DockerEngine
from mlops_lib.engine.process import ProcessEngine
from mlops_lib.environments import images
from mlops_lib.errors import EngineLostError, MlopsError, TrainingError
from mlops_lib.monitoring import status
from mlops_lib.records import Environment, Limits, RunResult, RunSpec
from mlops_lib.runner import protocol
from mlops_lib.training import cancellation, hang_detection, progress, requests, supervision

ENVIRONMENT = Environment(name="python", framework="none", family="none")
ATTEMPT = "import json, os, signal, sys, time\nattempt = json.loads(os.environ['MLOPS_SPEC'])['attempt']\n"
PARK = "print('ready', flush=True)\nwhile attempt == 1: time.sleep(0.1)\n"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


class Run:
    """A run of one script, trained by this process."""

    def __init__(self, folder: Path, home: Path, engine: Engine) -> None:
        self.project, self.run_dir = folder / "project", folder / "run"
        self.project.mkdir()
        self.run_dir.mkdir()
        self.home, self.engine, self.digest = home, engine, uuid.uuid4().hex
        self.image = images.plan(ENVIRONMENT)
        engine.build(self.image, on_line=lambda line: None)
        self.limits = Limits()
        self.results: list[RunResult | BaseException] = []

    def spec(self, script: str) -> RunSpec:
        (self.project / "train.py").write_text(ATTEMPT + script)
        return RunSpec(
            digest=self.digest,
            name="test",
            project=str(self.project),
            entry="train.py",
            backend=self.engine.name,
            image=self.image,
            limits=self.limits,
        )

    def train(self, script: str, **more: Any) -> RunResult:
        spec = run_directory.write_spec(self.run_dir, self.spec(script))
        return supervision.train(
            spec, engine=self.engine, run_dir=self.run_dir, home=self.home, **more
        )

    def beside(self, script: str, **more: Any) -> threading.Thread:
        """Train in a thread; its result or error is added to `results`."""

        def work() -> None:
            try:
                self.results.append(self.train(script, **more))
            except cancellation.Interrupted as error:
                self.results.append(error)

        thread = threading.Thread(target=work)
        thread.start()
        return thread

    def lines(self, event: str) -> list[dict[str, Any]]:
        return [
            one
            for one in event_log.read_lines(self.run_dir / protocol.ATTEMPTS)
            if one["event"] == event
        ]

    def did(self) -> list[str]:
        return [one["do"] for one in self.lines("decision")]

    def until_logged(self, word: str, times: int = 1) -> None:
        log = self.run_dir / "log.txt"
        until(lambda: log.exists() and log.read_text().count(word) >= times)

    def containers(self) -> list[str]:
        return [
            one.id for one in self.engine.find({LABEL_RUN: self.digest}) if one.state == "running"
        ]


until = functools.partial(waiting.until, timeout_s=90.0)


@pytest.fixture
def run(tmp_path: Path, home: Path) -> Iterator[Run]:
    made = Run(tmp_path, home, ProcessEngine(home=str(home)))
    yield made
    clean(made)


@pytest.fixture
def docker_run(tmp_path: Path, home: Path) -> Iterator[Run]:
    made = Run(tmp_path, home, DockerEngine())
    yield made
    clean(made)


@pytest.fixture(params=["process", pytest.param("docker", marks=pytest.mark.docker)])
def any_run(request: pytest.FixtureRequest) -> Run:
    return request.getfixturevalue("run" if request.param == "process" else "docker_run")  # type: ignore[no-any-return]


def clean(made: Run) -> None:
    for container in made.engine.find({LABEL_RUN: made.digest}):
        made.engine.kill(container.id)
        made.engine.remove(container.id)


FIT = (
    "with open('../events.jsonl', 'a') as events:\n"
    "    print(json.dumps({'event': 'fit', 'fit': 1, 'attempt': attempt}), file=events)\n"
)
"""What a script does whose framework is hooked, where none is installed."""
SCRIPTS: dict[str, tuple[str, str, str | None, int]] = {
    "killed once": ("if attempt == 1: os.kill(os.getpid(), signal.SIGKILL)", "finished", None, 1),
    "killed whenever": ("os.kill(os.getpid(), signal.SIGKILL)", "failed", "crash", 1),
    "out of reach once": ("if attempt == 1: raise ConnectionError('refused')", "finished", None, 1),
    "out of reach, said by another exception": (
        "try:\n    if attempt == 1: raise TimeoutError('late')\nexcept OSError as e: raise Exception('download') from e",
        "finished",
        None,
        1,
    ),
    "a strange exception": (f"{FIT}raise RuntimeError(str(time.time()))", "failed", "bug", 1),
    "a strange exception before its first step": (
        "raise RuntimeError(str(time.time()))",
        "failed",
        "bug",
        0,
    ),
    "the machine's exception before its first step": (
        "raise OSError('device busy')",
        "failed",
        "bug",
        1,
    ),
    "ends itself": (f"{FIT}sys.exit(3)", "failed", "bug", 1),
    "ends itself before its first step": ("sys.exit(3)", "failed", "bug", 0),
    "a mistake": ("undefined", "failed", "bug", 0),
    "no such package": ("import no_such_package", "failed", "import", 0),
    "no room": ("raise OSError(28, 'No space left on device')", "failed", "disk", 0),
    "no room, as HDF5 says it": (
        "raise OSError('file write failed: No space left on device')",
        "failed",
        "disk",
        0,
    ),
    "too large whenever": ("raise MemoryError", "failed", "oom", 1),
    "interrupted": ("raise KeyboardInterrupt", "stopped", None, 0),
}


@pytest.mark.parametrize("name", SCRIPTS)
def test_each_trouble_is_answered_by_its_own_decision(name: str, run: Run) -> None:
    script, state, kind, restarts = SCRIPTS[name]
    result = run.train(script + "\nprint('done')\n", restarts=1)
    assert (result.state, result.restarts) == (state, restarts), run.lines("decision")
    assert (None if result.failure is None else result.failure.kind) == kind
    assert run.containers() == []
    assert run.engine.find({LABEL_RUN: run.digest}) == [], "what ended is put away"


def test_a_failure_shows_the_last_attempts_output_only(run: Run) -> None:
    result = run.train("print('attempt', attempt, flush=True)\n" + FIT + "raise RuntimeError('no')")
    assert result.failure is not None
    assert "attempt 2" in result.failure.log
    assert "attempt 1" not in result.failure.log


def test_out_of_memory_restarts_smaller_and_says_so(run: Run) -> None:
    script = "smaller = json.loads(os.environ['MLOPS_SPEC'])['smaller']\nif not smaller: raise MemoryError\n"
    assert (
        run.train(script + "assert os.environ['TF_FORCE_GPU_ALLOW_GROWTH'] == 'true'").state
        == "finished"
    )
    assert [(one["do"], one["smaller"]) for one in run.lines("decision")] == [
        ("restart", True),
        ("finish", False),
    ]


def test_a_killed_container_is_replaced(any_run: Run) -> None:
    thread = any_run.beside(PARK)
    any_run.until_logged("ready")
    any_run.engine.kill(any_run.containers()[0])
    thread.join(timeout=60)
    assert [one.state for one in any_run.results if isinstance(one, RunResult)] == ["finished"]
    assert any_run.did() == ["restart", "finish"]


def test_mlops_stop_keeps_it_stopped(any_run: Run) -> None:
    thread = any_run.beside(PARK)
    any_run.until_logged("ready")
    assert supervision.stop(any_run.run_dir, any_run.spec(PARK), engine=any_run.engine) == 1
    thread.join(timeout=60)
    assert [one.state for one in any_run.results if isinstance(one, RunResult)] == ["stopped"]
    assert any_run.train(PARK, taking_over=True).state == "stopped", "a watchdog leaves it alone"
    assert any_run.train(PARK).state == "finished", "a person starts it again"


@pytest.mark.docker
def test_docker_stop_keeps_it_stopped_and_docker_kill_and_restart_do_not(docker_run: Run) -> None:
    thread = docker_run.beside("print('ready', flush=True)\nwhile attempt < 3: time.sleep(0.1)\n")
    for number, verb in enumerate(("kill", "restart", "stop"), 1):
        docker_run.until_logged("ready", number)
        subprocess.run(
            ["/usr/bin/docker", verb, docker_run.containers()[0]], check=True, capture_output=True
        )
    thread.join(timeout=60)
    assert docker_run.did() == ["restart", "stay stopped", "adopt", "stay stopped"], (
        docker_run.lines("exit")
    )
    assert docker_run.containers() == []


@pytest.mark.docker
def test_docker_stop_that_nobody_saw_keeps_it_stopped(docker_run: Run) -> None:
    stopped = cancellation.Stop(detaches=True)
    thread = docker_run.beside(PARK, stopped=stopped)
    docker_run.until_logged("ready")
    stopped.set()
    thread.join(timeout=60)
    assert isinstance(docker_run.results[0], cancellation.Interrupted)
    subprocess.run(
        ["/usr/bin/docker", "stop", docker_run.containers()[0]], check=True, capture_output=True
    )
    assert docker_run.train(PARK, taking_over=True).state == "stopped"


@pytest.mark.docker
def test_a_container_killed_for_its_memory_is_told_from_a_crash(docker_run: Run) -> None:
    docker_run.limits = Limits(memory_bytes=64 << 20)
    result = docker_run.train("x = bytearray(10**9)\nfor i in range(0, len(x), 4096): x[i] = 1\n")
    assert (result.state, result.restarts) == ("failed", 1), docker_run.lines("decision")
    assert result.failure is not None
    assert result.failure.kind == "oom"


def test_a_watchdog_that_ends_leaves_the_training_to_the_next(any_run: Run) -> None:
    script = "print('ready', flush=True)\ngo = os.path.join(os.environ['MLOPS_INSIDE'], 'go')\n"
    script += "while not os.path.exists(go): time.sleep(0.05)\n"
    stopped = cancellation.Stop(detaches=True)
    thread = any_run.beside(script, stopped=stopped)
    any_run.until_logged("ready")
    stopped.set()
    thread.join(timeout=60)
    before = any_run.containers()
    assert len(before) == 1
    threads = [any_run.beside(script, taking_over=True) for _ in range(2)]
    until(lambda: "adopt" in any_run.did())
    assert any_run.containers() == before, "none is started twice"
    (any_run.run_dir / "inside" / "go").touch()
    for one in threads:
        one.join(timeout=60)
    assert [one.state for one in any_run.results[1:] if isinstance(one, RunResult)] == [
        "finished",
        "finished",
    ]
    assert len(any_run.lines("attempt")) == 1


def test_what_died_while_nobody_watched_is_restarted(any_run: Run) -> None:
    stopped = cancellation.Stop(detaches=True)
    thread = any_run.beside(PARK, stopped=stopped)
    any_run.until_logged("ready")
    stopped.set()
    thread.join(timeout=60)
    any_run.engine.kill(any_run.containers()[0])
    assert any_run.train(PARK, taking_over=True).state == "finished"
    assert any_run.did() == ["adopt", "restart", "finish"]


def test_it_returns_on_the_terminal_event_not_when_the_container_exits(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hang_detection, "END_S", 1.0)
    monkeypatch.setattr(hang_detection, "ACTIVITY_S", 0.2)
    script = "import threading\nthreading.Thread(target=time.sleep, args=(600,)).start()\nprint('done')\n"
    assert run.train(script).state == "finished"
    assert run.did() == ["finish"]
    assert run.containers() == []


def test_a_second_program_reports_what_the_first_one_found_out(run: Run) -> None:
    script = "print('ready', flush=True)\ntime.sleep(1)\nundefined\n"
    threads = [run.beside(script)]
    run.until_logged("ready")
    threads.append(run.beside(script))
    for one in threads:
        one.join(timeout=60)
    failures = [one.failure for one in run.results if isinstance(one, RunResult)]
    assert [one.message for one in failures if one is not None] == [
        "NameError: name 'undefined' is not defined"
    ] * 2
    assert len(run.lines("attempt")) == 1, "the script is not run again to fail again"


def test_a_script_that_does_nothing_at_all_is_a_hang_and_one_that_works_is_none(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hang_detection, "ACTIVITY_S", 0.3)
    script = (
        "end = time.monotonic() + 4\nwhile time.monotonic() < end: pass\nprint('worked', flush=True)\n"
        "if attempt == 1: time.sleep(600)\n"
    )
    assert run.train(script, idle_minutes=1.5 / 60).state == "finished"
    assert run.did() == ["kill", "restart", "finish"]
    assert [one["trouble"] for one in run.lines("decision")[1:]] == ["hang", None]
    assert (run.run_dir / "log.txt").read_text().count("worked") == 2, (
        "it was left in peace while it worked"
    )


KERAS = """
import keras, numpy as np
class Slow(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        # Not the global: what a callback uses is put back by the resume, as it was before the kill.
        if json.loads(os.environ["MLOPS_SPEC"])["attempt"] == 1 and self.epoch == 1 and batch == 5:
            time.sleep(600)
    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch
    def on_train_batch_begin(self, batch, logs=None):
        if batch == 0 and self.epoch == 0: time.sleep(3)
    def on_test_begin(self, logs=None):
        if self.epoch == 1: time.sleep(3)
    def on_epoch_end(self, epoch, logs=None):
        if epoch == 1: time.sleep(3)
x, y = np.random.default_rng(0).random((96, 4)), np.arange(96) % 2
model = keras.Sequential([keras.layers.Dense(1, activation="sigmoid")])
model.compile("adam", "binary_crossentropy", metrics=["accuracy"])
model.fit(x, y, epochs=3, batch_size=4, validation_data=(x, y), callbacks=[Slow()], verbose=0)
time.sleep(3)
print(model.evaluate(x, y, verbose=0))
"""


@pytest.mark.slow
def test_a_hang_in_the_middle_of_an_epoch_is_found_by_its_steps_and_slow_phases_are_none(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "HANG_S", 1.5)
    place = next(run.home.glob("environments/python-*/lib/python*/site-packages"))
    (place / "tests.pth").write_text(
        "\n".join(python_site.getsitepackages())
    )  # the frameworks of this process
    result = run.train(KERAS)
    assert result.state == "finished", result.failure
    assert run.did() == ["kill", "restart", "recovered", "finish"]
    assert "it made no step" in run.lines("decision")[0]["why"]
    assert hang_detection.read_paces(run.run_dir)["1"].step_s > 0
    states = [one["state"] for one in event_log.events(run.run_dir) if one["event"] == "fit"]
    assert states == ["started", "resumed"]


def test_a_runs_standing(run: Run) -> None:
    thread = run.beside(PARK, stopped=(stopped := cancellation.Stop(detaches=True)))
    run.until_logged("ready")
    with run_lock.driven(run.run_dir):
        assert status.standing(run.run_dir).state == "training"
    stopped.set()
    thread.join(timeout=60)
    atomic.write_json(
        run.run_dir / protocol.ASKED, {"schema": 1, "verb": "train", "settings": {}, "time": 0.0}
    )
    assert status.standing(run.run_dir).state == "waiting"
    supervision.stop(run.run_dir, run.spec(PARK), engine=run.engine)
    assert status.standing(run.run_dir).state == "stopped"
    assert status.standing(run.run_dir / "nowhere").state == "absent"


def test_an_answer_is_left_to_whoever_still_sees_to_the_run(tmp_path: Path) -> None:
    with run_lock.driven(tmp_path):
        with requests.opened(tmp_path, "train", {}):
            pass
        assert requests.pending(tmp_path) is not None
    with requests.opened(tmp_path, "run", {"target": 0.9}):
        with requests.opened(tmp_path, "train", {}):
            pass
        asked = requests.pending(tmp_path)
        assert asked is not None
        assert (asked.verb, asked.settings) == ("run", {"target": 0.9})
    assert requests.pending(tmp_path) is None
    for error, left in (
        (TrainingError("no"), False),
        (EngineLostError("gone"), True),
        (KeyboardInterrupt(), True),
    ):
        with suppress(MlopsError, KeyboardInterrupt), requests.opened(tmp_path, "run", {}):
            raise error
        assert (requests.pending(tmp_path) is not None) == left


def test_torn_and_foreign_lines_of_the_record_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / protocol.ATTEMPTS
    event_log.append(path, {"event": "attempt"})
    with path.open("ab") as stream:
        stream.write(b'{"event": "deci')  # the disk was full
    event_log.append(path, {"event": "exit"})
    assert [one["event"] for one in event_log.read_lines(path)] == ["attempt", "exit"]
    assert json.loads(path.read_text().splitlines()[-1]) == {"event": "exit"}


def test_a_killed_supervisor_is_a_crash_like_any_other(run: Run) -> None:
    thread = run.beside(PARK)
    run.until_logged("ready")
    place = run.home / "containers" / run.containers()[0] / "supervisor.json"
    os.kill(json.loads(place.read_text())["pid"], signal.SIGKILL)
    thread.join(timeout=60)
    assert run.did() == ["restart", "finish"]


def test_events_that_a_full_disk_did_not_take_follow_when_it_can(tmp_path: Path) -> None:
    script = (
        "import resource\nfrom mlops_lib.runner.journal import Journal\nimport sys, os\n"
        "journal = Journal(sys.argv[1], number_of_pass=1, attempt=1)\njournal.write('a', n=0)\n"
        "size = os.path.getsize(journal.path)\nsoft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)\n"
        "import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (size + 10, hard))\n"
        "for n in range(1, 5): journal.write('a', n=n)\nassert os.path.getsize(journal.path) == size\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))\njournal.write('a', n=5)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    lines = (tmp_path / "events.jsonl").read_text().splitlines()
    assert [json.loads(line)["n"] for line in lines] == [0, 1, 2, 3, 4, 5]
    assert done.stderr.count("cannot write to the run directory") == 1
