"""The watchdog's takeovers: which runs, when, and what follows from a failure."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mlops_lib import atomic, run_lock
from mlops_lib.errors import EngineLostError, UsageError
from mlops_lib.monitoring import takeover
from mlops_lib.runner import protocol
from mlops_lib.training import attempt_log, cancellation
from mlops_lib.training.requests import Request

DEADLINE_S = 60.0


class Home:
    """Runs on disk, and a watchdog over them whose takeovers are recorded."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.events: list[dict[str, Any]] = []
        self.begun: list[tuple[str, Request]] = []
        self.error: Exception | None = None
        self.release = threading.Event()
        self.release.set()
        self.watchdog = takeover.Watchdog(
            lambda: sorted(folder.iterdir()), take_over=self._take_over, observer=self.events.append
        )

    def _take_over(
        self, run_dir: Path, request: Request, observer: Any, stopped: cancellation.Stop
    ) -> None:
        self.begun.append((run_dir.name, request))
        assert self.release.wait(DEADLINE_S)
        if self.error is not None:
            raise self.error
        (run_dir / protocol.ASKED).unlink()

    def ask(self, name: str, *, when: float = 1.0) -> Path:
        run_dir = self.folder / name
        request = Request(verb="train", settings={}, time=when)
        atomic.write_json(run_dir / protocol.ASKED, request.to_json())
        return run_dir

    def check_until(self, condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + DEADLINE_S
        while not condition():
            assert time.monotonic() < deadline, self.events
            self.watchdog.check()
            time.sleep(0.01)

    @property
    def warnings(self) -> list[str]:
        return [e["message"] for e in self.events if e["event"] == protocol.EVENT_WARNING]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.setattr(takeover, "TAKE_OVER_S", 0.05)
    (tmp_path / "runs").mkdir()
    return Home(tmp_path / "runs")


def test_a_request_without_a_driver_is_taken_over_once(home: Home) -> None:
    home.release.clear()
    run_dir = home.ask("a")
    home.check_until(lambda: home.begun)
    for _ in range(20):
        assert home.watchdog.check() == [run_dir]
    assert home.watchdog.is_driving
    home.release.set()
    home.check_until(lambda: not home.watchdog.is_driving)
    assert home.watchdog.check() == []
    assert [name for name, _ in home.begun] == ["a"]


def test_a_run_that_is_driven_stopped_or_answered_is_left_alone(home: Home) -> None:
    driven, stopped, answered = (home.ask(name) for name in ("driven", "stopped", "answered"))
    (stopped / attempt_log.STOP).touch()
    (answered / protocol.ASKED).unlink()
    home.ask("z")
    with run_lock.driven(driven):
        home.check_until(lambda: home.begun and not home.watchdog.is_driving)
        assert [name for name, _ in home.begun] == ["z"]
        assert home.watchdog.check() == [driven]
    home.check_until(lambda: len(home.begun) == 2)
    assert home.begun[1][0] == "driven"


def test_a_request_that_cannot_be_answered_is_not_tried_again_until_it_is_a_new_one(
    home: Home,
) -> None:
    home.error = UsageError("no such entry", where="train.py", remedy="Name another.")
    home.ask("a")
    home.check_until(lambda: home.warnings and not home.watchdog.is_driving)
    for _ in range(20):
        assert home.watchdog.check() == []
    assert "no such entry" in home.warnings[0]
    assert len(home.begun) == 1
    home.error = None
    home.ask("a", when=2.0)
    home.check_until(lambda: len(home.begun) == 2)


def test_an_engine_that_is_away_is_tried_again(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(takeover, "AGAIN_S", 0.05)
    home.error = EngineLostError("Docker does not answer")
    home.ask("a")
    home.check_until(lambda: len(home.begun) == 3)


def test_a_failure_of_one_run_does_not_end_the_watch_over_others(home: Home) -> None:
    home.error = RuntimeError("a bug")
    home.ask("a")
    home.ask("b")
    home.check_until(lambda: len(home.begun) == 2 and len(home.warnings) == 2)
    assert all("Internal error: RuntimeError" in warning for warning in home.warnings)


def test_decisions_in_a_journal_are_passed_on_from_the_first_look_on(home: Home) -> None:
    run_dir = home.ask("a")
    journal = run_dir / protocol.ATTEMPTS
    journal.write_text('{"event": "decision", "do": "restart", "time": 1}\n')
    with run_lock.driven(run_dir):
        home.watchdog.check()
        home.events.clear()
        with journal.open("a") as file:
            file.write('{"event": "decision", "do": "give up", "time": 2}\n')
        home.watchdog.check()
    decisions = [e for e in home.events if e["event"] == protocol.EVENT_DECISION]
    assert [(e["do"], e["run_dir"]) for e in decisions] == [("give up", str(run_dir))]
