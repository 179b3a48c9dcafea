"""What an agent runs beside its builds: runs go on soon after it has booted, before Jenkins has
noticed anything.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

WATCH = Path(__file__).parents[2] / "deploy" / "agent" / "mlops-watch"
COMMAND = "#!/bin/sh\necho \"{name} $*\" >>'{log}'\nexec sleep 60\n"


@pytest.fixture
def booted(tmp_path: Path) -> Iterator[Callable[[], list[str]]]:
    """Boot the agent, whose home is in a folder with a space; returns what was started within some
    seconds.
    """
    programs: list[subprocess.Popen[bytes]] = []
    log = tmp_path / "started.txt"

    def boot() -> list[str]:
        path = f"{tmp_path / 'bin'}:{os.environ['PATH']}"
        environ = {"PATH": path, "MLOPS_HOME": str(tmp_path / "a home")}
        programs.append(subprocess.Popen([str(WATCH)], env=environ, start_new_session=True))
        deadline = time.monotonic() + 3
        while time.monotonic() < deadline and not log.exists():
            assert programs[-1].poll() is None
            time.sleep(0.05)
        return log.read_text().splitlines() if log.exists() else []

    program(tmp_path / "bin" / "mlops", "mlops", log)
    yield boot
    for one in programs:
        os.killpg(one.pid, signal.SIGKILL)
        one.wait(timeout=10)


def program(path: Path, name: str, log: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(COMMAND.format(name=name, log=log))
    path.chmod(0o755)


def ask(home: Path, run: str, *, stopped: bool = False) -> None:
    folder = home / "runs" / run
    folder.mkdir(parents=True)
    (folder / "asked.json").write_text("{}")
    if stopped:
        (folder / "stop").touch()


def test_a_run_that_somebody_waits_for_is_watched(
    tmp_path: Path, booted: Callable[[], list[str]]
) -> None:
    ask(tmp_path / "a home", "fraud-1")
    assert booted() == [f"mlops watch --until-done --home {tmp_path / 'a home'}"]


def test_the_version_that_a_build_used_last_watches(
    tmp_path: Path, booted: Callable[[], list[str]]
) -> None:
    ask(tmp_path / "a home", "fraud-1")
    for age, name in ((300, "older"), (100, "newest"), (200, "old"), (0, "newer.partial.x")):
        venv = tmp_path / "a home" / "jenkins" / name
        program(venv / "bin" / "python", name, tmp_path / "started.txt")
        os.utime(venv, (time.time() - age,) * 2)
    assert booted() == [f"newest -I -m mlops_lib watch --until-done --home {tmp_path / 'a home'}"]


def test_a_run_that_a_person_stopped_is_left_alone(
    tmp_path: Path, booted: Callable[[], list[str]]
) -> None:
    ask(tmp_path / "a home", "fraud-1", stopped=True)
    assert booted() == []


def test_the_service_starts_it_with_the_machine() -> None:
    unit = WATCH.with_name("mlops-watch.service").read_text()
    for line in (
        "ExecStart=/usr/local/bin/mlops-watch",
        "Restart=always",
        "WantedBy=multi-user.target",
    ):
        assert line in unit.splitlines()
