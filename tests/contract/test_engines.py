"""Every engine behaves the same: the same tests run against Docker and against plain processes."""

from __future__ import annotations

import functools
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import waiting

from mlops_lib.engine import LABEL_RUN, Container, Engine, Launch
from mlops_lib.engine.docker import DockerEngine
from mlops_lib.engine.process import ProcessEngine
from mlops_lib.environments import images
from mlops_lib.errors import EngineError
from mlops_lib.records import Environment, Image, Limits
from mlops_lib.runner import protocol
from mlops_lib.testing import FakeEngine

ENVIRONMENT = Environment(name="python", framework="none", family="none")


@pytest.fixture(scope="session")
def process_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(params=["fake", "process", pytest.param("docker", marks=pytest.mark.docker)])
def engine(request: pytest.FixtureRequest, process_home: Path) -> Engine:
    if request.param == "fake":
        return FakeEngine()
    if request.param == "process":
        return ProcessEngine(home=str(process_home))
    made = DockerEngine()
    try:
        made.check()
    except EngineError as error:
        pytest.skip(str(error))
    return made


@pytest.fixture
def image(engine: Engine) -> Image:
    planned = images.plan(ENVIRONMENT)
    engine.build(planned, on_line=lambda line: None)
    assert engine.has(planned)
    return planned


class Site:
    """A project, a run directory and a way to start containers for them."""

    def __init__(self, folder: Path, engine: Engine, image: Image) -> None:
        self.project, self.inside, self.log = (
            folder / "prö ject",
            folder / "in side",
            folder / "log.txt",
        )
        self.project.mkdir()
        self.engine, self.image, self.label = engine, image, uuid.uuid4().hex

    def start(self, script: str, *args: str, **variables: str) -> Container:
        return self.engine.start(self.launch(script, *args, **variables))

    def launch(self, script: str, *args: str, **variables: str) -> Launch:
        (self.project / "main.py").write_text(script)
        return Launch(
            image=self.image,
            project=str(self.project),
            inside=str(self.inside),
            entry="main.py",
            args=args,
            variables=variables,
            labels={LABEL_RUN: self.label},
            log=str(self.log),
        )

    def until_logged(self, word: str) -> None:
        deadline = time.monotonic() + 60
        while not self.log.exists() or word not in self.log.read_text():
            assert time.monotonic() < deadline, (
                self.log.read_text() if self.log.exists() else "no log"
            )
            time.sleep(0.02)


@pytest.fixture
def site(tmp_path: Path, engine: Engine, image: Image) -> Iterator[Site]:
    made = Site(tmp_path, engine, image)
    yield made
    for container in engine.find({LABEL_RUN: made.label}):
        engine.kill(container.id)
        engine.remove(container.id)


SLEEP = "import time, sys\nprint('ready', flush=True)\ntime.sleep(600)\n"


def test_output_arguments_variables_and_exit_code(site: Site) -> None:
    started = site.start(
        "import os, sys\nprint(sys.argv[1:], os.environ['X'])\nsys.exit(7)",
        "a b",
        "$HOME",
        "ü",
        X="y z",
    )
    ended = site.engine.wait(started.id, timeout_s=60)
    assert (ended.state, ended.exit_code) == ("exited", 7)
    assert "['a b', '$HOME', 'ü'] y z" in site.log.read_text()
    assert [c.id for c in site.engine.find({LABEL_RUN: site.label})] == [started.id]
    site.engine.remove(started.id)
    assert site.engine.get(started.id).state == "gone"
    assert site.engine.find({LABEL_RUN: site.label}) == []


def test_the_project_is_never_written_to(site: Site) -> None:
    (site.project / "notes.txt").write_text("as pushed")
    (site.project / "picture.bin").write_bytes(b"pushed" * 1000)
    script = (
        "open('notes.txt', 'w').write('changed')\nopen('new.txt', 'w').write('x')\n"
        "open('picture.bin', 'ab').write(b'more')\nassert open('picture.bin', 'rb').read().endswith(b'more')\n"
    )
    ended = site.engine.wait(site.start(script).id, timeout_s=60)
    assert ended.exit_code == 0, site.log.read_text()
    assert (site.project / "notes.txt").read_text() == "as pushed"
    assert (site.project / "picture.bin").read_bytes() == b"pushed" * 1000
    assert not (site.project / "new.txt").exists()
    assert (site.inside / "outputs" / "new.txt").read_text() == "x"
    shutil.rmtree(site.inside)  # whatever the training wrote, its caller can remove


def test_no_variable_of_ours_reaches_the_script(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLOPS_SLACK_WEBHOOK", "https://example.com/secret")
    script = (
        "import os\nassert 'secret' not in str(dict(os.environ)), os.environ\n"
        "if os.getppid():\n    assert b'secret' not in open(f'/proc/{os.getppid()}/environ', 'rb').read()\n"
    )
    assert site.engine.wait(site.start(script).id, timeout_s=60).exit_code == 0


def test_death_is_noticed_at_once(site: Site) -> None:
    started = site.start(SLEEP)
    site.until_logged("ready")
    assert site.engine.wait(started.id, timeout_s=0.2).state == "running"
    seen: list[float] = []
    waiting = threading.Thread(
        target=lambda: (site.engine.wait(started.id), seen.append(time.monotonic()))
    )
    waiting.start()
    time.sleep(0.1)
    site.engine.kill(started.id)
    killed = time.monotonic()
    waiting.join(timeout=10)
    assert seen
    assert seen[0] - killed < 1.0
    assert site.engine.get(started.id).exit_code == 128 + signal.SIGKILL


def test_who_asked_for_an_end_is_told(site: Site, engine: Engine) -> None:
    started = site.start(SLEEP)
    site.until_logged("ready")
    if isinstance(engine, DockerEngine):
        subprocess.run(["/usr/bin/docker", "stop", started.id], check=True, capture_output=True)
        assert engine.wait(started.id, timeout_s=10).asked_to_end
        started = site.start(SLEEP)
        subprocess.run(["/usr/bin/docker", "kill", started.id], check=True, capture_output=True)
    else:
        engine.kill(started.id)
    assert not engine.wait(started.id, timeout_s=10).asked_to_end, "a SIGKILL asks nothing"


def test_a_paused_container_is_no_dead_one(site: Site, engine: Engine) -> None:
    started = site.start("import os\nprint('pid', os.getpid(), flush=True)\n" + SLEEP)
    site.until_logged("ready")
    if isinstance(engine, DockerEngine):
        for verb, paused in (("pause", True), ("unpause", False)):
            subprocess.run(["/usr/bin/docker", verb, started.id], check=True, capture_output=True)
            now = engine.wait(started.id, timeout_s=0.5)
            assert (now.state, now.paused) == ("running", paused)
    else:
        os.kill(int(site.log.read_text().split()[1]), signal.SIGSTOP)
        until(lambda: engine.wait(started.id, timeout_s=0.1).paused)


def test_activity_tells_work_from_sleep(site: Site) -> None:
    started = site.start("import time\nfor _ in range(3 * 10**6): pass\n" + SLEEP)
    site.until_logged("ready")
    used = site.engine.activity(started.id)
    assert used is not None
    assert used.cpu_s > 0.02
    assert used.memory_bytes > 1 << 20
    site.engine.kill(started.id)
    assert site.engine.activity(started.id) is None


until = functools.partial(waiting.until, timeout_s=20.0)


def test_stop_asks_first(site: Site) -> None:
    script = "import signal, sys, time\nsignal.signal(signal.SIGTERM, lambda *_: (print('asked', flush=True), sys.exit(3)))\n"
    started = site.start(script + SLEEP)
    site.until_logged("ready")
    site.engine.stop(started.id, grace_s=10)
    ended = site.engine.wait(started.id, timeout_s=10)
    assert ended.state == "exited"
    assert "asked" in site.log.read_text()
    site.engine.stop(started.id)  # again, of what has ended: nothing happens


def test_a_grace_is_used_by_both_engines_alike(site: Site) -> None:
    """Asked to end, a training ends by itself, at once, and with a code that says so."""
    for word, ask in (
        ("stop", site.engine.stop),
        ("signal", functools.partial(_send, site.engine)),
    ):
        started = site.start(SLEEP.replace("ready", word))
        site.until_logged(word)
        began = time.monotonic()
        ask(started.id)
        ended = site.engine.wait(started.id, timeout_s=10)
        assert (ended.state, ended.exit_code) == ("exited", protocol.RECLAIMED)
        assert time.monotonic() - began < 8
        site.engine.remove(started.id)


def _send(engine: Engine, container: str) -> None:
    """Send SIGUSR1 to the script, as one does who takes the machine away."""
    if isinstance(engine, DockerEngine):
        engine._client.containers.get(container).kill(signal="SIGUSR1")
    elif isinstance(engine, FakeEngine):
        engine._children[container].process.send_signal(signal.SIGUSR1)
    else:
        assert isinstance(engine, ProcessEngine)
        engine._signal(container, signal.SIGUSR1)


@pytest.mark.attack
@pytest.mark.docker
def test_a_docker_container_is_caged(tmp_path: Path) -> None:
    engine = DockerEngine()
    planned = images.plan(ENVIRONMENT)
    engine.build(planned, on_line=lambda line: None)
    site = Site(tmp_path, engine, planned)
    script = (
        "import os, subprocess\nassert os.getuid() != 0\nstatus = open('/proc/self/status').read()\n"
        "assert 'CapEff:\\t0000000000000000' in status and 'NoNewPrivs:\\t1' in status\n"
        "for path in ('/usr/x', '/mlops/project/x', '/etc/x'):\n"
        # By another program: the project's own paths lead to the working directory in this one.
        "    done = subprocess.run(['sh', '-c', 'echo x > ' + path], stderr=subprocess.DEVNULL)\n"
        "    assert done.returncode, path\n"
    )
    started = site.start(script)
    ended = engine.wait(started.id, timeout_s=60)
    assert ended.exit_code == 0, site.log.read_text()
    engine.remove(started.id)


def test_a_process_outlives_the_program_that_started_it(tmp_path: Path, process_home: Path) -> None:
    engine = ProcessEngine(home=str(process_home))
    planned = images.plan(ENVIRONMENT)
    engine.build(planned, on_line=lambda line: None)
    site = Site(tmp_path, engine, planned)
    started = site.start(SLEEP)
    site.until_logged("ready")
    other = ProcessEngine(home=str(process_home))  # as another program sees it
    assert [c.id for c in other.find({LABEL_RUN: site.label})] == [started.id]
    other.kill(started.id)
    assert other.wait(started.id, timeout_s=10).exit_code == 128 + signal.SIGKILL


@pytest.mark.parametrize(
    ("given", "own", "seen"), [(False, "", "-1"), (True, "", "0,3"), (True, "3", "3")]
)
def test_a_process_sees_the_gpus_that_it_is_given(
    given: bool,
    own: str,
    seen: str,
    tmp_path: Path,
    process_home: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,3")
    engine = ProcessEngine(home=str(process_home))
    planned = images.plan(ENVIRONMENT)
    engine.build(planned, on_line=lambda line: None)
    site = Site(tmp_path, engine, planned)
    launch = site.launch("import os\nprint('sees', os.environ['CUDA_VISIBLE_DEVICES'])")
    started = engine.start(replace(launch, limits=Limits(gpus=given), gpu=own))
    assert engine.wait(started.id, timeout_s=60).exit_code == 0
    assert site.log.read_text().splitlines()[-1] == f"sees {seen}"


def test_a_killed_supervisor_takes_its_script_along(tmp_path: Path, process_home: Path) -> None:
    engine = ProcessEngine(home=str(process_home))
    planned = images.plan(ENVIRONMENT)
    engine.build(planned, on_line=lambda line: None)
    site = Site(tmp_path, engine, planned)
    started = site.start("import os\nprint('pid', os.getpid(), flush=True)\n" + SLEEP)
    site.until_logged("ready")
    script = int(site.log.read_text().split()[1])
    listed = subprocess.run(
        ["ps", "-o", "ppid=", "-p", str(script)], capture_output=True, text=True, check=True
    )
    os.kill(int(listed.stdout), signal.SIGKILL)
    assert engine.wait(started.id, timeout_s=10).state == "exited"
    deadline = time.monotonic() + 10
    while Path(f"/proc/{script}").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not Path(f"/proc/{script}").exists()


def test_what_a_killed_script_had_started_dies_before_the_next_attempt(
    tmp_path: Path, process_home: Path
) -> None:
    engine = ProcessEngine(home=str(process_home))
    planned = images.plan(ENVIRONMENT)
    engine.build(planned, on_line=lambda line: None)
    site = Site(tmp_path, engine, planned)
    script = "import subprocess\nworker = subprocess.Popen(['sleep', '600'])\nprint('worker', worker.pid, flush=True)\n"
    started = site.start(script + SLEEP)
    site.until_logged("ready")
    worker = int(site.log.read_text().split()[1])
    supervisor = json.loads(
        (process_home / "containers" / started.id / "supervisor.json").read_text()
    )["pid"]
    os.kill(supervisor, signal.SIGKILL)
    assert engine.wait(started.id, timeout_s=10).state == "exited"
    until(
        lambda: (
            not Path(f"/proc/{worker}").exists()
            or " Z " in Path(f"/proc/{worker}/stat").read_text()
        )
    )


def test_a_container_that_was_removed_is_not_started_by_a_late_supervisor(
    tmp_path: Path, process_home: Path
) -> None:
    folder = process_home / "containers" / "late"
    folder.mkdir(parents=True)
    order = {
        "id": "late",
        "labels": {},
        "log": str(tmp_path / "log"),
        "command": ["touch", str(tmp_path / "ran")],
    }
    (folder / "container.json").write_text(
        json.dumps({**order, "variables": {}, "started": time.time()})
    )
    ProcessEngine(home=str(process_home)).remove("late")
    subprocess.run([sys.executable, "-m", "mlops_lib.engine.supervisor", str(folder)], check=True)
    assert not (tmp_path / "ran").exists()
    assert not folder.exists()


def test_a_saved_model_is_measured_in_a_process_that_gets_a_folder_and_nothing_else(
    engine: Engine, image: Image, tmp_path: Path
) -> None:
    folder = tmp_path / "measure"
    folder.mkdir(mode=0o755)
    order = {
        "token": "token-1:",
        "model": "model.keras",
        "entry": {"recipe": {}, "examples": {"file": "0.npz"}},
    }
    (folder / "order.json").write_text(json.dumps(order))
    (folder / "order.json").chmod(0o644)
    output = engine.measure(image, str(folder), limits=Limits(pids=64), timeout_s=60)
    answer = next(line for line in output.splitlines() if line.startswith("token-1:"))
    told = json.loads(answer.removeprefix("token-1:"))
    assert told["state"] == "failed"
    assert "cannot be read" in told["note"]
    assert [path.name for path in folder.iterdir()] == ["order.json"]


def test_a_measurement_that_takes_too_long_is_killed(
    engine: Engine, image: Image, tmp_path: Path
) -> None:
    folder = tmp_path / "measure"
    folder.mkdir(mode=0o755)
    os.mkfifo(folder / "order.json", 0o644)  # nobody writes to it: the program waits for ever
    began = time.monotonic()
    assert engine.measure(image, str(folder), limits=Limits(), timeout_s=3).strip() == ""
    assert time.monotonic() - began < 60
