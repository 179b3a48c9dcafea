"""The watchdog: continue runs whose driving process has died.

A watchdog keeps no state of its own. `asked.json` in a run's directory holds the request that has not
been answered; the lock on its `drivers` shows whether a living program drives the run. So any number
of watchdogs may come and go, and every unanswered run is taken over once: the run's lease decides
between two that try.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

from mlops_lib import event_log, run_lock
from mlops_lib.errors import EngineLostError, MlopsError
from mlops_lib.events import Observer
from mlops_lib.runner import protocol
from mlops_lib.training import attempt_log, cancellation, requests

TakeOver = Callable[[Path, requests.Request, Observer, cancellation.Stop], object]
"""Continues with a run to answer a request."""
LOOK_S = 0.5
"""Interval between two looks at all runs."""
TAKE_OVER_S = 2.0
"""Time without a driver after which a run is taken over."""
AGAIN_S = 10.0
"""Time before the next attempt if the engine did not answer."""
RELEASE_S = 5.0
"""Time to wait for each thread at the end."""


class Watchdog:
    """Checks runs, reports decisions about them, takes over those without a driver.

    Args:
        run_dirs: returns the run directories to check; called each time, as new ones come.
        take_over: continues with a run; called in a thread for each run.
        observer: gets every decision about these runs, whichever program took it, as a line of
            `attempts.jsonl` with its `run_dir`.
    """

    def __init__(
        self, run_dirs: Callable[[], list[Path]], *, take_over: TakeOver, observer: Observer
    ) -> None:
        self._run_dirs = run_dirs
        self._take_over = take_over
        self._observer = observer
        self._idle_since: dict[Path, float] = {}
        # Since when a run has had no driver.
        self._not_before: dict[Path, float] = {}
        # When a run whose engine did not answer may be tried again.
        self._failed: dict[Path, requests.Request] = {}
        # Requests that cannot be answered; only a new request changes that.
        self._reported: dict[Path, int] = {}
        # How many lines of a run's journal have been passed on.
        self._drivers: dict[Path, tuple[threading.Thread, cancellation.Stop]] = {}

    def check(self) -> list[Path]:
        """Check every run once, and return those whose request is not answered."""
        pending = []
        run_dirs = self._run_dirs()
        self._observer(
            {"event": protocol.EVENT_LOOK, "run_dirs": [str(run_dir) for run_dir in run_dirs]}
        )
        for run_dir in run_dirs:
            self._report_decisions(run_dir)
            request = requests.pending(run_dir)
            if request is None or (run_dir / attempt_log.STOP).exists():
                continue
            pending.append(run_dir)
            if run_lock.is_driven(run_dir):
                self._idle_since.pop(run_dir, None)
            elif self._is_due(run_dir, request):
                self._begin(run_dir, request)
        return [run_dir for run_dir in pending if run_dir not in self._failed]

    def _is_due(self, run_dir: Path, request: requests.Request) -> bool:
        now = time.monotonic()
        idle_since = self._idle_since.setdefault(run_dir, now)
        driver = self._drivers.get(run_dir)
        is_driving = driver is not None and driver[0].is_alive()
        return (
            not is_driving
            and now - idle_since > TAKE_OVER_S
            and now > self._not_before.get(run_dir, 0.0)
            # Compared by value: a person who asks again, with other settings or at another time,
            # gets another try.
            and self._failed.get(run_dir) != request
        )

    def _begin(self, run_dir: Path, request: requests.Request) -> None:
        why = f"no program drives this run, and `{request.verb}` is not answered"
        self._observer(
            {
                "event": protocol.EVENT_DECISION,
                "do": protocol.DO_TAKE_OVER,
                "why": why,
                "run_dir": str(run_dir),
            }
        )
        # At the end of the watch the containers train on, for the next watchdog to adopt them.
        stopped = cancellation.Stop(detaches=True)
        thread = threading.Thread(
            target=self._drive,
            args=(run_dir, request, stopped),
            name=f"mlops-{run_dir.name}",
            daemon=True,
        )
        self._drivers[run_dir] = (thread, stopped)
        thread.start()

    def _drive(self, run_dir: Path, request: requests.Request, stopped: cancellation.Stop) -> None:
        try:
            self._take_over(run_dir, request, self._observer, stopped)
        except cancellation.Interrupted:
            return
        except EngineLostError as error:
            # An engine that is away is no fault of the request, which is tried again.
            self._not_before[run_dir] = time.monotonic() + AGAIN_S
            self._warn(run_dir, error.what)
        except MlopsError as error:
            self._warn(run_dir, str(error))
            self._ignore_request(run_dir)
        except Exception as error:  # noqa: BLE001 - one run's trouble must not end the watch over the others
            self._ignore_request(run_dir)
            self._warn(run_dir, f"Internal error: {type(error).__name__}: {error}")

    def _ignore_request(self, run_dir: Path) -> None:
        """Leave the run alone until there is a new request."""
        request = requests.pending(run_dir)
        if request is not None:
            self._failed[run_dir] = request

    def _warn(self, run_dir: Path, message: str) -> None:
        self._observer(
            {"event": protocol.EVENT_WARNING, "message": message, "run_dir": str(run_dir)}
        )

    def _report_decisions(self, run_dir: Path) -> None:
        """Pass on the lines of the journal since the last look; of the first look, none."""
        lines = event_log.read_lines(run_dir / protocol.ATTEMPTS)
        for line in lines[self._reported.get(run_dir, len(lines)) :]:
            self._observer({**line, "run_dir": str(run_dir)})
        self._reported[run_dir] = len(lines)

    @property
    def is_driving(self) -> bool:
        """Return whether it drives any run."""
        return any(thread.is_alive() for thread, _ in self._drivers.values())

    def release(self) -> None:
        """Leave the runs to the next watchdog; their containers train on."""
        for _, stopped in self._drivers.values():
            stopped.set()
        for thread, _ in self._drivers.values():
            thread.join(timeout=RELEASE_S)
