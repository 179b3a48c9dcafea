"""A worker on another machine: joins the search of the same project's run there, and joins it again
when it comes back.

It has nothing but the project, the URL of the shared files, and what they tell: who the chief is
and how it knows its own. Whoever may read that URL may join. The run is found by its name, which is
the same wherever the same code is.
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
from pathlib import Path
from typing import Any

from mlops_lib import events, run_directory
from mlops_lib.engine import Engine
from mlops_lib.errors import EngineError, MlopsError, TrainingError, UsageError
from mlops_lib.events import Observer
from mlops_lib.records import RunResult, RunSpec
from mlops_lib.runner import protocol
from mlops_lib.training import attempt_log, cancellation, supervision
from mlops_lib.tuning import object_store

ALIVE = "alive"
"""The sign that changes as long as the search's program lives."""
LOOK_S = 2.0
WAIT_S = 900.0
"""How long a search that is not there yet is waited for: the other machine may have an environment
to build. And one that has fallen silent: its machine may start again.
"""
SILENT_S = 60.0
"""A search that shows no sign of life for so long is told of."""
LINGER_S = 30.0
"""How long a worker stays when the gate may send the winner back: the search would go on."""
GIVES = ("search/trials/*.history.json", "search/trials/*.state.npz", "search/weights/*.npz")
"""What a worker's machine has to give."""


def over(*, goes_on: bool) -> bytes:
    """The word that a search is over.

    Args:
        goes_on: whether it may begin again soon.
    """
    return json.dumps({"over": True, "goes_on": goes_on}).encode()


def work(
    spec: RunSpec,
    *,
    engine: Engine,
    url: str,
    run_dir: Path,
    home: Path,
    restarts: int,
    idle_minutes: float,
    observer: Observer,
    stopped: cancellation.Stop,
) -> RunResult:
    """Wait for the run's search on another machine, and work for it until it is over.

    A search that falls silent is waited for; one that begins again, elsewhere or with another
    budget, is joined again.

    Raises:
        UsageError: there is no URL, nothing can be read there, or no search comes.
        TrainingError: the script failed here.
        EngineError: the search has been silent for too long.
        Interrupted: `stopped` was set.
    """
    if not url:
        raise UsageError(
            "no shared files given",
            where="shared",
            remedy="Give --shared URL, the same as the search has.",
        )
    store = object_store.Store(f"{url.rstrip('/')}/{spec.digest}", stopped=stopped)
    place = run_dir / run_directory.WORKERS / "1"
    run_directory.write_spec(place, spec)
    search = Search(store, _await(store, observer=observer, stopped=stopped), observer)
    while True:
        with _watching(search, stopped) as until:
            result = _join(
                spec,
                search.orders,
                store,
                place,
                until=until,
                engine=engine,
                home=home,
                restarts=restarts,
                idle_minutes=idle_minutes,
                observer=observer,
                stopped=stopped,
            )
        if not _is_joined_again(search, stopped):
            return result


def _join(
    spec: RunSpec,
    orders: dict[str, Any],
    store: object_store.Store,
    place: Path,
    *,
    until: cancellation.Stop,
    engine: Engine,
    home: Path,
    restarts: int,
    idle_minutes: float,
    observer: Observer,
    stopped: cancellation.Stop,
) -> RunResult:
    """Work by these orders until the search is over, or `until` is set."""
    shared = place / "shared"
    mirror = object_store.Mirror(
        store,
        shared,
        gives=GIVES,
        takes=lambda name: name != protocol.SEARCH_REQUEST,
        observer=observer,
    )
    mirror.once()
    mirror.start()
    try:
        result = supervision.train(
            spec,
            engine=engine,
            run_dir=place,
            number_of_pass=int(orders["pass"]),
            shared=shared,
            home=home,
            search={**orders, "worker": _name(place)},
            restarts=restarts,
            idle_minutes=idle_minutes,
            observer=observer,
            stopped=until,
        )
    except cancellation.Interrupted:
        if stopped.is_set():
            raise
        return RunResult(
            run_dir=str(place), state="stopped", restarts=attempt_log.count_restarts(place)
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


class Search:
    """The search of another machine, as far as the shared files tell of it.

    Args:
        store: these.
        orders: its orders.
        observer: is told when it falls silent, and when it is back.
    """

    def __init__(
        self, store: object_store.Store, orders: dict[str, Any], observer: Observer
    ) -> None:
        self._store = store
        self.orders = orders
        self._observer = observer
        self._sign = ""
        self._heard = time.monotonic()
        self._is_silent = False

    def look(self) -> dict[str, Any] | None:
        """What it says other than its orders: that it is over, or those of a search that has begun
        again.

        Raises:
            EngineError: it has been silent for too long.
            MlopsError: the files cannot be reached.
        """
        found = orders_in(self._store)
        sign = self._store.sign(ALIVE)
        if found not in (self.orders, {}):
            return found
        self._listen(sign)
        return None

    def _listen(self, sign: str) -> None:
        now = time.monotonic()
        if sign != self._sign:
            if self._is_silent:
                self._tell("the machine of the search is back")
            self._sign = sign
            self._heard = now
            self._is_silent = False
        elif now - self._heard > WAIT_S:
            raise EngineError(
                f"the machine of the search has shown no sign of life for {WAIT_S / 60:.0f} minutes",
                where=self._store.url,
                remedy="Run the search again there, then `mlops work` here: what was trained is kept on both.",
            )
        elif now - self._heard > SILENT_S and not self._is_silent:
            self._is_silent = True
            self._tell(
                f"the machine of the search has shown no sign of life for {SILENT_S:.0f} s:"
                f" waiting {WAIT_S / 60:.0f} minutes for it"
            )

    def _tell(self, message: str) -> None:
        self._observer(events.warning(message))


@contextlib.contextmanager
def _watching(search: Search, stopped: cancellation.Stop) -> Iterator[cancellation.Stop]:
    """What ends the work: this program's own end, or that of the search, which a worker does not
    hear of if its chief died.

    Raises:
        EngineError: the search has been silent for too long.
    """
    until = cancellation.Stop()
    done = threading.Event()
    trouble: list[MlopsError] = []

    def look() -> None:
        try:
            while not (stopped.is_set() or done.wait(LOOK_S) or search.look()):
                pass
        except MlopsError as error:  # without the files nothing that is trained here would be known
            trouble.append(error)
        until.leaves = stopped.leaves
        until.set()

    thread = threading.Thread(target=look, name="mlops-joined", daemon=True)
    thread.start()
    try:
        yield until
    finally:
        done.set()
        thread.join()
    if trouble:
        raise trouble[0]


def _is_joined_again(search: Search, stopped: cancellation.Stop) -> bool:
    """Wait until the search says that it is over; whether it has begun again instead, by the orders
    that it has then.
    """
    deadline = math.inf
    while True:
        found = search.look()
        if found is not None and found.get("chief"):
            search.orders = found
            return True
        if found is not None:
            deadline = min(deadline, time.monotonic() + (LINGER_S if found.get("goes_on") else 0.0))
        if time.monotonic() >= deadline:
            return False
        if stopped.wait(LOOK_S):
            raise cancellation.Interrupted


def orders_in(store: object_store.Store) -> dict[str, Any]:
    """What the search says; nothing where there is none."""
    try:
        found = json.loads(store.get(protocol.SEARCH_REQUEST) or b"{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _await(
    store: object_store.Store, *, observer: Observer, stopped: cancellation.Stop
) -> dict[str, Any]:
    """The orders of a search that is under way."""
    told = False
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        orders = orders_in(store)
        if orders.get("chief"):
            return orders
        if not told:
            observer(
                {
                    "event": protocol.EVENT_DECISION,
                    "do": protocol.DO_WAIT,
                    "why": "no search of this run is under way yet",
                }
            )
            told = True
        if stopped.wait(LOOK_S):
            raise cancellation.Interrupted
    raise UsageError(
        "no search of this run has come",
        where=store.url,
        remedy="Start it with the same project, arguments and --shared, and with --listen ADDRESS:PORT.",
    )


def _name(place: Path) -> str:
    """What this worker is called: by its machine, and as long as its directory lives the same."""
    named = place / "name"
    if not named.exists():
        named.write_text(f"{socket.gethostname()[:30]}-{uuid.uuid4().hex[:6]}")
    return named.read_text()
