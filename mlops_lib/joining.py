"""A worker on another machine: joins the search of the same project's run there.

It has nothing but the project, the URL of the shared files, and what they tell: who the chief is and how it knows its own.
Whoever may read that URL may join. The run is found by its name, which is the same wherever the same code is.
"""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mlops_lib import rundir, sharing, training
from mlops_lib.engine import Engine
from mlops_lib.errors import MlopsError, TrainingError, UsageError
from mlops_lib.records import RunResult, RunSpec

SEARCH = "search.json"
"""Name of the search's orders in the store; empty once it is over."""
OVER = b"{}"
LOOK_S = 2.0
WAIT_S = 900.0
"""How long a search that is not there yet is waited for: the other machine may have an environment to build."""
GIVES = ("search/trials/*.history.json", "search/trials/*.state.npz", "search/weights/*.npz")
"""What a worker's machine has to give."""


def work(
    spec: RunSpec, *, engine: Engine, url: str, run_dir: Path, home: Path, restarts: int, idle_minutes: float,
    observer: training.Observer, stopped: training.Stop,
) -> RunResult:  # fmt: skip
    """Wait for the run's search on another machine, and work for it until it is over.

    Raises:
        UsageError: there is no URL, nothing can be read there, or no search comes.
        TrainingError: the script failed here.
        Interrupted: `stopped` was set.
    """
    if not url:
        raise UsageError(
            "no shared files given", where="shared", remedy="Give --shared URL, the same as the search has."
        )
    store = sharing.Store(f"{url.rstrip('/')}/{spec.digest}", stopped=stopped)
    orders = _await(store, observer=observer, stopped=stopped)
    place = run_dir / rundir.WORKERS / "1"
    shared = place / "shared"
    rundir.write_spec(place, spec)
    mirror = sharing.Mirror(store, shared, gives=GIVES, takes=lambda name: name != SEARCH, observer=observer)
    mirror.once()
    mirror.start()
    try:
        with _until_over(store, stopped) as until:
            result = training.train(
                spec, engine=engine, run_dir=place, number_of_pass=int(orders["pass"]), shared=shared, home=home,
                search={**orders, "worker": _name(place)}, restarts=restarts, idle_minutes=idle_minutes,
                observer=observer, stopped=until,
            )  # fmt: skip
    except training.Interrupted:
        if stopped.is_set():
            raise
        return RunResult(run_dir=str(place), state="stopped", restarts=training.count_restarts(place))
    finally:
        mirror.stop()
    if result.failure is not None:
        failure = result.failure
        raise TrainingError(
            failure.message, where=failure.where or str(place), remedy="See the log; the search goes on without this worker.",
            log=failure.log,
        )  # fmt: skip
    return result


@contextlib.contextmanager
def _until_over(store: sharing.Store, stopped: training.Stop) -> Iterator[training.Stop]:
    """What ends the work: this program's own end, or that of the search, which a worker does not hear of if its chief died."""
    until, done = training.Stop(), threading.Event()

    def look() -> None:
        while not done.wait(LOOK_S):
            if stopped.is_set() or _is_over(store):
                until.leaves = stopped.leaves
                until.set()
                return

    thread = threading.Thread(target=look, name="mlops-joined", daemon=True)
    thread.start()
    try:
        yield until
    finally:
        done.set()
        thread.join()


def _is_over(store: sharing.Store) -> bool:
    try:
        return store.get(SEARCH) == OVER
    except MlopsError:  # without the files nothing that is trained here would be known
        return True


def _await(store: sharing.Store, *, observer: training.Observer, stopped: training.Stop) -> dict[str, Any]:
    """The orders of a search that is under way."""
    told, deadline = False, time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        orders = json.loads(store.get(SEARCH) or OVER)
        if isinstance(orders, dict) and orders.get("chief"):
            return orders
        if not told:
            observer({"event": "decision", "do": "wait", "why": "no search of this run is under way yet"})
            told = True
        if stopped.wait(LOOK_S):
            raise training.Interrupted
    raise UsageError(
        "no search of this run has come", where=store.url,
        remedy="Start it with the same project, arguments and --shared, and with --listen ADDRESS:PORT.",
    )  # fmt: skip


def _name(place: Path) -> str:
    """What this worker is called: by its machine, and as long as its directory lives the same."""
    named = place / "name"
    if not named.exists():
        named.write_text(f"{socket.gethostname()[:30]}-{uuid.uuid4().hex[:6]}")
    return named.read_text()
