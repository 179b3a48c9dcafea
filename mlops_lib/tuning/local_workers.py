"""The workers of a search: each a container of its own, started, watched over and restarted like
any training.

A worker's directory, `workers/<n>` in the run's, is one like a run's: its own lease, attempts, log
and `inside/`. What it shares with the run is the run's `inside/search`, where it finds weights and
leaves its own.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mlops_lib import events, run_directory
from mlops_lib.engine import Engine, choose
from mlops_lib.errors import MlopsError, TrainingError
from mlops_lib.events import Observer
from mlops_lib.records import Failure, RunResult, RunSpec, SearchResult
from mlops_lib.runner import protocol
from mlops_lib.training import attempt_log, cancellation, supervision
from mlops_lib.tuning import mutual_tls, object_store, remote_worker

TOKEN = "search-token"
"""File in the run's directory, which no container sees: what the chief of a search and its workers
know each other by.
"""
END_S = 15.0
"""How long workers may take to end by themselves when the run has ended."""


@dataclass(frozen=True)
class Opened:
    """A search that workers of other machines may join."""

    listen: str
    """ADDRESS:PORT of this machine at which the chief listens; nowhere else."""
    shared: str
    """URL of the files that the machines share."""
    on: str = ""
    """Ray cluster that the workers are on; "" for this machine."""


def train(
    spec: RunSpec,
    *,
    engine: Engine,
    run_dir: Path,
    search: dict[str, Any],
    opened: Opened | None = None,
    home: Path,
    observer: Observer,
    stopped: cancellation.Stop | None,
    taking_over: bool,
    **further: Any,
) -> RunResult:
    """As `training.train`, with as many workers as the search is to have.

    Raises:
        TrainingError: no worker can work.
    """
    count, stopped = int(search.get("workers", 1)), stopped or cancellation.Stop()
    if count < 2 and opened is None:
        return supervision.train(
            spec,
            engine=engine,
            run_dir=run_dir,
            search=search,
            home=home,
            observer=observer,
            stopped=stopped,
            taking_over=taking_over,
            **further,
        )
    search = {**search, "token": token(run_dir)}

    def work(number: int, stop: cancellation.Stop) -> RunResult:
        place = run_dir / run_directory.WORKERS / str(number)
        run_directory.write_spec(place, spec)
        return supervision.train(
            spec,
            engine=choose(spec.backend, home=str(home)),
            run_dir=place,
            search={**search, "worker": str(number)},
            shared=run_dir / protocol.INSIDE,
            home=home,
            observer=_of_worker(observer, number),
            stopped=stop,
            **further,
        )

    how = {
        "restarts": further["restarts"],
        "idle_minutes": further["idle_minutes"],
        "observer": observer,
    }
    here = 0 if opened is not None and opened.on else count
    own = search
    orders = search
    publish = ""
    if opened is not None:
        shown = mutual_tls.of(run_dir)
        publish = opened.listen if spec.backend == "docker" else ""
        listen = f"0.0.0.0:{publish.rpartition(':')[2]}" if publish else opened.listen
        own = {**search, "listen": listen, "tls": shown.chief}
        orders = {**search, "chief": opened.listen, "mirrored": True, "tls": shown.worker}
    with (
        _at_work(work, here, observer=observer, stopped=stopped) as crew,
        _on_cluster(opened, spec, count=count, **how),
        _open(opened, spec, orders, run_dir, observer),
    ):
        try:
            return supervision.train(
                spec,
                engine=engine,
                run_dir=run_dir,
                search=own,
                home=home,
                observer=observer,
                stopped=stopped,
                publish=publish,
                taking_over=taking_over,
                **further,
            )
        except cancellation.Interrupted:
            if not here or len(crew.failures) < here:
                raise
            stopped.clear()
            (run_dir / attempt_log.STOP).unlink(missing_ok=True)
            raise _nobody_works(crew.failures, run_dir) from None


def _on_cluster(
    opened: Opened | None, spec: RunSpec, *, count: int, **how: Any
) -> contextlib.AbstractContextManager[None]:
    if opened is None or not opened.on:
        return contextlib.nullcontext()
    from mlops_lib.tuning import ray_workers

    return ray_workers.at_work(spec, on=opened.on, count=count, url=opened.shared, **how)


@contextlib.contextmanager
def _open(
    opened: Opened | None,
    spec: RunSpec,
    orders: dict[str, Any],
    run_dir: Path,
    observer: Observer,
) -> Iterator[None]:
    """Let workers of other machines join meanwhile."""
    if opened is None:
        yield
        return
    store = object_store.Store(f"{opened.shared.rstrip('/')}/{spec.digest}")
    fits = [f"fits/{number}/**/*" for number in range(1, int(orders["fit"]) + 1)]
    gives = (
        *fits,
        "fits/candidates-*/**/*",
        "search/trials/*.json",
        "search/trials/*.npz",
        "search/weights/*.npz",
    )
    if remote_worker.orders_in(store).get("token") != orders["token"]:
        # another search's, whose program was killed; of this one's its workers have left something
        # there
        store.remove()
    mirror = object_store.Mirror(
        store,
        run_dir / protocol.INSIDE,
        gives=gives,
        takes=object_store.is_of_workers,
        observer=observer,
        alive=remote_worker.ALIVE,
    )
    mirror.once()
    store.put(protocol.SEARCH_REQUEST, json.dumps(orders).encode())
    mirror.start()
    try:
        yield
    finally:
        mirror.stop()
        try:
            store.remove()
            store.put(protocol.SEARCH_REQUEST, remote_worker.over(goes_on=_may_go_on(run_dir)))
        except MlopsError as error:  # what was found is here all the same
            observer(
                events.warning(f"workers of other machines were not told that it is over: {error}")
            )


def _may_go_on(run_dir: Path) -> bool:
    """Whether the gate is to judge a winner that it may reject, so that another search may follow."""
    found = run_directory.read_record(
        run_dir / protocol.INSIDE / protocol.SEARCH / protocol.RESULT, SearchResult, inside=run_dir
    )
    return found is not None and found.stopped == "bar"


def token(run_dir: Path) -> str:
    """The token of the run's search, made at first."""
    place = run_dir / TOKEN
    with contextlib.suppress(FileExistsError):
        descriptor = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "w") as stream:
            stream.write(secrets.token_hex(32))
    return place.read_text()


@dataclass
class Crew:
    """The workers of one search."""

    stops: list[cancellation.Stop] = field(default_factory=list)
    threads: list[threading.Thread] = field(default_factory=list)
    failures: dict[int, Failure] = field(default_factory=dict)
    """Why a worker was given up, by its number."""


@contextlib.contextmanager
def _at_work(
    work: Callable[[int, cancellation.Stop], RunResult],
    count: int,
    *,
    observer: Observer,
    stopped: cancellation.Stop,
) -> Iterator[Crew]:
    """Let workers work meanwhile; `stopped` is set when none is left that can."""
    crew = Crew()

    def attend(number: int, stop: cancellation.Stop) -> None:
        failure = _failure(lambda: work(number, stop))
        if failure is None:
            return
        crew.failures[number] = failure
        observer(events.warning(f"worker {number} is given up: {failure.message}"))
        if len(crew.failures) == count:
            stopped.set()

    for number in range(1, count + 1):
        stop = cancellation.Stop()
        thread = threading.Thread(
            target=attend, args=(number, stop), name=f"mlops-worker-{number}", daemon=True
        )
        crew.stops.append(stop)
        crew.threads.append(thread)
        thread.start()
    over = False
    try:
        yield crew
        over = True
    finally:
        for thread in crew.threads if over else ():
            thread.join(END_S / len(crew.threads))
        for stop in crew.stops:
            stop.leaves = stopped.is_set() and stopped.leaves
            stop.set()
        for thread in crew.threads:
            thread.join(END_S)


def _failure(work: Callable[[], RunResult]) -> Failure | None:
    """Why a worker's work came to a bad end, None if it did not."""
    try:
        return work().failure
    except cancellation.Interrupted:
        return None
    except MlopsError as error:
        return Failure(kind="crash", message=str(error))


def _of_worker(observer: Observer, number: int) -> Observer:
    """Only what is decided about a worker is told: what it trains, the chief says."""

    def told(event: dict[str, Any]) -> None:
        if event.get("event") in protocol.HOST_EVENTS and event.get("do") != protocol.DO_FINISH:
            observer({**event, "worker": number})

    return told


def _nobody_works(failures: dict[int, Failure], run_dir: Path) -> TrainingError:
    failure = next(iter(failures.values()))
    return TrainingError(
        f"no worker of the search can work: {failure.message}",
        where=failure.where or str(run_dir / run_directory.WORKERS),
        remedy="Give fewer --workers, or mend what the log says; finished trials are kept.",
        log=failure.log,
    )
