"""Every engine behaves the same: the same tests run against Docker and against plain processes."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlops_lib import images
from mlops_lib.engine import LABEL_RUN, Container, Engine, Launch
from mlops_lib.engine.docker import DockerEngine
from mlops_lib.engine.process import ProcessEngine
from mlops_lib.errors import EngineError
from mlops_lib.records import Environment, Image

ENVIRONMENT = Environment(name="python", framework="none", family="none")


@pytest.fixture(scope="session")
def process_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(params=["process", pytest.param("docker", marks=pytest.mark.docker)])
def engine(request: pytest.FixtureRequest, process_home: Path) -> Engine:
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
        self.project, self.inside, self.log = folder / "prö ject", folder / "in side", folder / "log.txt"
        self.project.mkdir()
        self.engine, self.image, self.label = engine, image, uuid.uuid4().hex

    def start(self, script: str, *args: str, **variables: str) -> Container:
        (self.project / "main.py").write_text(script)
        return self.engine.start(
            Launch(
                image=self.image,
                project=str(self.project),
                inside=str(self.inside),
                entry="main.py",
                args=args,
                variables=variables,
                labels={LABEL_RUN: self.label},
                log=str(self.log),
            )
        )

    def until_logged(self, word: str) -> None:
        deadline = time.monotonic() + 60
        while not self.log.exists() or word not in self.log.read_text():
            assert time.monotonic() < deadline, self.log.read_text() if self.log.exists() else "no log"
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
        "import os, sys\nprint(sys.argv[1:], os.environ['X'])\nsys.exit(7)", "a b", "$HOME", "ü", X="y z"
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


def test_no_variable_of_ours_reaches_the_script(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLOPS_SLACK_WEBHOOK", "https://example.com/secret")
    script = "import os\nassert 'secret' not in str(dict(os.environ)), os.environ\n"
    assert site.engine.wait(site.start(script).id, timeout_s=60).exit_code == 0


def test_death_is_noticed_at_once(site: Site) -> None:
    started = site.start(SLEEP)
    site.until_logged("ready")
    assert site.engine.wait(started.id, timeout_s=0.2).state == "running"
    seen: list[float] = []
    waiting = threading.Thread(target=lambda: (site.engine.wait(started.id), seen.append(time.monotonic())))
    waiting.start()
    time.sleep(0.1)
    site.engine.kill(started.id)
    killed = time.monotonic()
    waiting.join(timeout=10)
    assert seen
    assert seen[0] - killed < 1.0
    assert site.engine.get(started.id).exit_code == 128 + signal.SIGKILL


def test_deaths_are_streamed(site: Site) -> None:
    found: list[str] = []
    done = threading.Event()
    listening = threading.Thread(
        target=lambda: [found.append(c.id) for c in site.engine.deaths(stop=done.is_set)], daemon=True
    )
    started = site.start(SLEEP)
    site.until_logged("ready")
    listening.start()
    time.sleep(0.5)
    site.engine.kill(started.id)
    deadline = time.monotonic() + 20
    while started.id not in found and time.monotonic() < deadline:
        time.sleep(0.02)
    done.set()
    assert started.id in found


def test_stop_asks_first(site: Site) -> None:
    script = "import signal, sys, time\nsignal.signal(signal.SIGTERM, lambda *_: (print('asked', flush=True), sys.exit(3)))\n"
    started = site.start(script + SLEEP)
    site.until_logged("ready")
    site.engine.stop(started.id, grace_s=10)
    ended = site.engine.wait(started.id, timeout_s=10)
    assert ended.state == "exited"
    assert "asked" in site.log.read_text()
    site.engine.stop(started.id)  # again, of what has ended: nothing happens


@pytest.mark.docker
def test_a_docker_container_is_caged(tmp_path: Path) -> None:
    engine = DockerEngine()
    planned = images.plan(ENVIRONMENT)
    engine.build(planned, on_line=lambda line: None)
    site = Site(tmp_path, engine, planned)
    script = (
        "import os\nassert os.getuid() != 0\nstatus = open('/proc/self/status').read()\n"
        "assert 'CapEff:\\t0000000000000000' in status and 'NoNewPrivs:\\t1' in status\n"
        "for path in ('/usr/x', '/mlops/project/x', '/etc/x'):\n"
        "    try:\n        open(path, 'w')\n    except OSError:\n        continue\n    raise SystemExit(path)\n"
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


def test_a_killed_supervisor_takes_its_script_along(tmp_path: Path, process_home: Path) -> None:
    engine = ProcessEngine(home=str(process_home))
    planned = images.plan(ENVIRONMENT)
    engine.build(planned, on_line=lambda line: None)
    site = Site(tmp_path, engine, planned)
    started = site.start("import os\nprint('pid', os.getpid(), flush=True)\n" + SLEEP)
    site.until_logged("ready")
    script = int(site.log.read_text().split()[1])
    listed = subprocess.run(["ps", "-o", "ppid=", "-p", str(script)], capture_output=True, text=True, check=True)
    os.kill(int(listed.stdout), signal.SIGKILL)
    assert engine.wait(started.id, timeout_s=10).state == "exited"
    deadline = time.monotonic() + 10
    while Path(f"/proc/{script}").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not Path(f"/proc/{script}").exists()
