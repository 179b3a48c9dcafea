"""Watching over runs: how each stands, who drives it, and going on with those whose program died.

A watchdog keeps no state of its own. `asked.json` in a run's directory says what somebody asked for
and has not been answered; the lock on its `drivers` says whether a living program sees to that. So
any number of watchdogs may come and go, on this home, and every unanswered run is taken over once:
the run's lease decides between two that try.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

from mlops_lib import event_log, run_lock
from mlops_lib.errors import EngineLostError, MlopsError
from mlops_lib.events import Observer
from mlops_lib.records import RunResult
from mlops_lib.run_directory import RunDirectory
from mlops_lib.runner import protocol
from mlops_lib.training import attempt_log, cancellation
from mlops_lib.training.requests import Asked, asked

TakeOver = Callable[[Path, "Asked", Observer, cancellation.Stop], object]
LOOK_S = 0.5
TAKE_OVER_S = 2.0
"""A run whose program died is taken over after this."""
AGAIN_S = 10.0
"""… and after this, where the engine did not answer when it was tried."""


class Watch:
    """Looks at runs, tells what is decided about them, and takes over those that nobody sees to.

    Args:
        places: the run directories to look at, asked again each time: new ones come.
        take_over: goes on with a run; runs in a thread of its own, one for each run.
        observer: gets every decision about these runs as a line of `attempts.jsonl` with its
            `run_dir`, whoever took it.
    """

    def __init__(
        self, places: Callable[[], list[Path]], *, take_over: TakeOver, observer: Observer
    ) -> None:
        self._places = places
        self._take_over = take_over
        self._observer = observer
        self._resting: dict[Path, float] = {}
        """Since when nobody sees to a run."""
        self._later: dict[Path, float] = {}
        """When a run may be tried again."""
        self._broken: dict[Path, Asked] = {}
        """What was asked of runs that cannot be gone on with."""
        self._told: dict[Path, int] = {}
        self._workers: dict[Path, tuple[threading.Thread, cancellation.Stop]] = {}

    def look(self) -> list[Path]:
        """Look at every run once; returns those that are not answered."""
        pending = []
        places = self._places()
        self._observer({"event": protocol.EVENT_LOOK, "run_dirs": [str(place) for place in places]})
        for run_dir in places:
            self._tell(run_dir)
            wanted = asked(run_dir)
            if wanted is None or (run_dir / attempt_log.STOP).exists():
                continue
            pending.append(run_dir)
            if run_lock.is_driven(run_dir):
                self._resting.pop(run_dir, None)
            elif self._is_due(run_dir, wanted):
                self._begin(run_dir, wanted)
        return [one for one in pending if one not in self._broken]

    def _is_due(self, run_dir: Path, wanted: Asked) -> bool:
        now = time.monotonic()
        since = self._resting.setdefault(run_dir, now)
        worker = self._workers.get(run_dir)
        at_work = worker is not None and worker[0].is_alive()
        return (
            not at_work
            and now - since > TAKE_OVER_S
            and now > self._later.get(run_dir, 0.0)
            and self._broken.get(run_dir) != wanted
        )

    def _begin(self, run_dir: Path, wanted: Asked) -> None:
        why = f"nobody sees to `{wanted.verb}`, which was asked and is not answered"
        self._observer(
            {
                "event": protocol.EVENT_DECISION,
                "do": protocol.DO_TAKE_OVER,
                "why": why,
                "run_dir": str(run_dir),
            }
        )
        stopped = cancellation.Stop(leaves=True)
        thread = threading.Thread(
            target=self._work,
            args=(run_dir, wanted, stopped),
            name=f"mlops-{run_dir.name}",
            daemon=True,
        )
        self._workers[run_dir] = (thread, stopped)
        thread.start()

    def _work(self, run_dir: Path, wanted: Asked, stopped: cancellation.Stop) -> None:
        try:
            self._take_over(run_dir, wanted, self._observer, stopped)
        except cancellation.Interrupted:
            return
        except EngineLostError as error:
            self._later[run_dir] = time.monotonic() + AGAIN_S
            self._warn(run_dir, error.what)
        except MlopsError as error:
            self._warn(run_dir, str(error))
            self._leave_alone(run_dir)
        except Exception as error:  # noqa: BLE001 - one run's trouble must not end the watch over the others
            self._leave_alone(run_dir)
            self._warn(run_dir, f"a bug of ours: {type(error).__name__}: {error}")

    def _leave_alone(self, run_dir: Path) -> None:
        """Until somebody asks for it anew."""
        unanswered = asked(run_dir)
        if unanswered is not None:
            self._broken[run_dir] = unanswered

    def _warn(self, run_dir: Path, message: str) -> None:
        self._observer(
            {"event": protocol.EVENT_WARNING, "message": message, "run_dir": str(run_dir)}
        )

    def _tell(self, run_dir: Path) -> None:
        """What was decided since the last look, by whoever drives the run; not what was decided
        before the first.
        """
        lines = event_log.read_lines(run_dir / protocol.ATTEMPTS)
        for line in lines[self._told.get(run_dir, len(lines)) :]:
            self._observer({**line, "run_dir": str(run_dir)})
        self._told[run_dir] = len(lines)

    @property
    def at_work(self) -> bool:
        """Whether it goes on with any run."""
        return any(thread.is_alive() for thread, _ in self._workers.values())

    def let_go(self) -> None:
        """Leave the runs to the next watchdog; their containers go on."""
        for _, stopped in self._workers.values():
            stopped.set()
        for thread, _ in self._workers.values():
            thread.join(timeout=5.0)


def result(run_dir: Path) -> RunResult | None:
    """How the run's training ended, None if it has not."""
    return RunDirectory(run_dir).training
