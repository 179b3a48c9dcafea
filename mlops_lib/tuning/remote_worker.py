"""Implement `mlops work`: join the search of this run on another machine.

The worker knows the project and the URL of the shared files. It reads the chief's address and its
credentials there: whoever can read that URL can join. Both machines derive the same run digest from
the same code, and the shared files are filed under it. A search that restarts is joined again.
"""

from __future__ import annotations

import contextlib
import json
import math
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from mlops_lib import events, run_directory
from mlops_lib.errors import EngineError, MlopsError, TrainingError, UsageError
from mlops_lib.events import Observer
from mlops_lib.records import RunResult, RunSpec
from mlops_lib.run_directory import RunDirectory
from mlops_lib.runner import protocol
from mlops_lib.training import attempt_log, cancellation
from mlops_lib.tuning import object_store
from mlops_lib.tuning.options import Execution

ALIVE = "alive"
"""Name of the heartbeat that changes as long as the search's process lives."""
POLL_S = 2.0
WAIT_S = 900.0
"""Seconds to wait for a search that has not started, or that has fallen silent.

The other machine may have to build an environment first, or may be rebooting.
"""
SILENT_S = 60.0
"""Seconds without a heartbeat after which a warning is sent."""
LINGER_S = 30.0
"""Seconds a worker stays after the end if the gate may still reject the winner."""
UPLOADS = ("search/trials/*.history.json", "search/trials/*.state.npz", "search/weights/*.npz")
"""Patterns of the files that a worker's machine uploads."""


def end_message(*, may_continue: bool) -> bytes:
    """Return the message that replaces the request when a search is over.

    Args:
        may_continue: whether it may begin again soon.
    """
    return json.dumps({"over": True, "goes_on": may_continue}).encode()


def work(spec: RunSpec, *, execution: Execution, url: str) -> RunResult:
    """Wait for the run's search on another machine, and work for it until it is over.

    The worker waits for a search that falls silent. It joins again if the search begins again,
    elsewhere or with another budget.

    Args:
        spec: the run, as this machine has it.
        execution: how the worker is executed; its run directory holds the worker's.
        url: of the files that both machines share.

    Raises:
        UsageError: there is no URL, it cannot be read, or no search appears.
        TrainingError: the script failed on this machine.
        EngineError: the search has been silent for too long.
        Interrupted: `execution.stopped` was set.
    """
    observer = execution.observer
    stopped = execution.stopped
    if not url:
        raise UsageError(
            "no shared files given",
            where="shared",
            remedy="Give --shared URL, the same as the search has.",
        )
    store = object_store.Store(f"{url.rstrip('/')}/{spec.digest}", stopped=stopped)
    place = execution.run_dir / run_directory.WORKERS / "1"
    run_directory.write_spec(place, spec)
    search = RemoteSearch(
        store, _wait_for_request(store, observer=observer, stopped=stopped), observer
    )
    while True:
        with _watching(search, stopped) as until:
            own = replace(execution, run_dir=place, taking_over=False, stopped=until)
            result = _join(spec, search.request, store, execution=own, stopped=stopped)
        if not _has_restarted(search, stopped):
            return result


def _join(
    spec: RunSpec,
    request: dict[str, Any],
    store: object_store.Store,
    *,
    execution: Execution,
    stopped: cancellation.Stop,
) -> RunResult:
    """Work on this request until the search is over or `execution.stopped` is set.

    Raises:
        TrainingError: the script failed on this machine.
        Interrupted: `stopped` was set, so that this process is to end.
    """
    place = execution.run_dir
    shared = place / "shared"
    mirror = object_store.Mirror(
        store,
        shared,
        uploads=UPLOADS,
        accepts=lambda name: name != protocol.SEARCH_REQUEST,
        observer=execution.observer,
    )
    mirror.once()
    mirror.start()
    try:
        result = execution.train(
            spec,
            request={**request, "worker": _name(place)},
            number_of_pass=int(request["pass"]),
            shared=shared,
        )
    except cancellation.Interrupted:
        if stopped.is_set():
            raise
        return RunResult(
            run_dir=str(place),
            state="stopped",
            restarts=attempt_log.count_restarts(RunDirectory(place).attempts),
        )
    finally:
        mirror.stop()
    if result.failure is not None:
        failure = result.failure
        raise TrainingError(
            failure.message,
            where=failure.where or str(place),
            remedy="See the log; the search goes on without this worker.",
            log=failure.log,
        )
    return result


class RemoteSearch:
    """The state of a search on another machine, read from the shared files.

    Args:
        store: the shared files.
        request: the search request they contained first.
        observer: receives a warning when the search falls silent, and when it is back.
    """

    def __init__(
        self, store: object_store.Store, request: dict[str, Any], observer: Observer
    ) -> None:
        self._store = store
        self.request = request
        self._observer = observer
        self._heartbeat = ""
        self._last_heartbeat = time.monotonic()
        self._is_silent = False

    def poll(self) -> dict[str, Any] | None:
        """Return the search's end, or the request of a new search; None if unchanged.

        Raises:
            EngineError: the search has been silent for too long.
            MlopsError: the files cannot be reached.
        """
        message = read_request(self._store)
        heartbeat = self._store.sign(ALIVE)
        if message not in (self.request, {}):
            return message
        self._check_heartbeat(heartbeat)
        return None

    def _check_heartbeat(self, heartbeat: str) -> None:
        now = time.monotonic()
        silent_s = now - self._last_heartbeat
        if heartbeat != self._heartbeat:
            if self._is_silent:
                self._warn("the machine of the search is back")
            self._heartbeat = heartbeat
            self._last_heartbeat = now
            self._is_silent = False
        elif silent_s > WAIT_S:
            minutes = f"{WAIT_S / 60:.0f} minutes"
            raise EngineError(
                f"the machine of the search has shown no sign of life for {minutes}",
                where=self._store.url,
                remedy="Run the search again there, then `mlops work` here: finished trials are"
                " kept on both.",
            )
        elif silent_s > SILENT_S and not self._is_silent:
            self._is_silent = True
            self._warn(
                f"the machine of the search has shown no sign of life for {SILENT_S:.0f} s:"
                f" waiting {WAIT_S / 60:.0f} minutes for it"
            )

    def _warn(self, message: str) -> None:
        self._observer(events.warning(message))


@contextlib.contextmanager
def _watching(search: RemoteSearch, stopped: cancellation.Stop) -> Iterator[cancellation.Stop]:
    """Provide a stop signal that is set when this process or the search ends.

    A worker in its container does not learn of the end if its chief died.

    Raises:
        EngineError: the search has been silent for too long.
    """
    until = cancellation.Stop()
    done = threading.Event()
    errors: list[MlopsError] = []

    def poll() -> None:
        try:
            while not (stopped.is_set() or done.wait(POLL_S) or search.poll()):
                pass
        except MlopsError as error:  # without the shared files, no result could be delivered
            errors.append(error)
        until.detaches = stopped.detaches
        until.set()

    thread = threading.Thread(target=poll, name="mlops-joined", daemon=True)
    thread.start()
    try:
        yield until
    finally:
        done.set()
        thread.join()
    if errors:
        raise errors[0]


def _has_restarted(search: RemoteSearch, stopped: cancellation.Stop) -> bool:
    """Wait for the end of the search.

    Return whether it began again with a new request instead.
    """
    deadline = math.inf
    while True:
        message = search.poll()
        if message is not None and message.get("chief"):
            search.request = message
            return True
        if message is not None:
            linger_s = LINGER_S if message.get("goes_on") else 0.0
            deadline = min(deadline, time.monotonic() + linger_s)
        if time.monotonic() >= deadline:
            return False
        if stopped.wait(POLL_S):
            raise cancellation.Interrupted


def read_request(store: object_store.Store) -> dict[str, Any]:
    """Return the search request, or the end message in its place; {} if there is none."""
    try:
        message = json.loads(store.get(protocol.SEARCH_REQUEST) or b"{}")
    except ValueError:
        return {}
    return message if isinstance(message, dict) else {}


def _wait_for_request(
    store: object_store.Store, *, observer: Observer, stopped: cancellation.Stop
) -> dict[str, Any]:
    """Wait for a running search of this run; return its request.

    Raises:
        UsageError: none appeared within `WAIT_S`.
        Interrupted: `stopped` was set.
    """
    is_reported = False
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        request = read_request(store)
        if request.get("chief"):
            return request
        if not is_reported:
            observer(
                {
                    "event": protocol.EVENT_DECISION,
                    "do": protocol.DO_WAIT,
                    "why": "no search of this run is under way yet",
                }
            )
            is_reported = True
        if stopped.wait(POLL_S):
            raise cancellation.Interrupted
    raise UsageError(
        "no search of this run has started",
        where=store.url,
        remedy="Start it with the same project, arguments and --shared, and with --listen"
        " ADDRESS:PORT.",
    )


def _name(place: Path) -> str:
    """Return this worker's name, made of the host name once and kept in `place`."""
    name_file = place / "name"
    if not name_file.exists():
        name_file.write_text(f"{socket.gethostname()[:30]}-{uuid.uuid4().hex[:6]}")
    return name_file.read_text()
