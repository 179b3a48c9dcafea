"""The workers of a search on this machine; others can join them.

Each worker is a container of its own, started, supervised and restarted like any training. Its
directory, `workers/<n>` in the run's, has the structure of a run directory: its own lease,
attempts, log and `inside/`. The run's `inside/search` is shared: weights are exchanged there.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mlops_lib import events, run_directory
from mlops_lib.engine import choose
from mlops_lib.errors import MlopsError, TrainingError
from mlops_lib.events import HOST_EVENTS, Decision, Observer
from mlops_lib.records import Failure, RunResult, RunSpec
from mlops_lib.run_directory import RunDirectory
from mlops_lib.runner import protocol
from mlops_lib.training import attempt_log, cancellation
from mlops_lib.tuning import mutual_tls, object_store, remote_worker
from mlops_lib.tuning.options import Execution, Workers

TOKEN = "search-token"
"""File in the run's directory, outside `inside/`, that authenticates chief and workers."""
END_S = 15.0
"""Seconds that workers have to end by themselves after the run has ended."""


def train(
    spec: RunSpec, *, execution: Execution, request: dict[str, Any], workers: Workers
) -> RunResult:
    """Train pass 2 with `workers` beside the run's own container.

    Args:
        spec: the run.
        execution: how the run's container is executed; workers get restarts and limits of it.
        request: the search request.
        workers: how many workers there are, and where.

    Raises:
        TrainingError: no worker is able to work.
    """
    number_of_pass = int(request["pass"])
    if workers.count < 2 and not workers.are_remote:
        return execution.train(spec, request=request, number_of_pass=number_of_pass)
    run_dir = execution.run_dir
    request = {**request, "token": token(run_dir)}

    def work(number: int, stop: cancellation.Stop) -> RunResult:
        return _train_worker(spec, number, stop, execution=execution, request=request)

    local_count = 0 if workers.ray_address else workers.count
    chief_request = request
    worker_request = request
    publish = ""
    if workers.are_remote:
        certificates = mutual_tls.of(run_dir)
        publish = workers.listen if spec.backend == "docker" else ""
        listen = f"0.0.0.0:{publish.rpartition(':')[2]}" if publish else workers.listen
        chief_request = {**request, "listen": listen, "tls": certificates.chief}
        worker_request = {
            **request,
            "chief": workers.listen,
            "mirrored": True,
            "tls": certificates.worker,
        }
    with (
        _worker_pool(
            work, local_count, observer=execution.observer, stopped=execution.stopped
        ) as pool,
        _on_cluster(workers, spec, execution),
        _open(workers, spec, worker_request, run_dir, execution.observer),
    ):
        try:
            return execution.train(
                spec, request=chief_request, number_of_pass=number_of_pass, publish=publish
            )
        except cancellation.Interrupted:
            if not local_count or len(pool.failures) < local_count:
                raise
            execution.stopped.clear()
            (run_dir / attempt_log.STOP).unlink(missing_ok=True)
            raise _no_worker_works(pool.failures, run_dir) from None


def _train_worker(
    spec: RunSpec,
    number: int,
    stop: cancellation.Stop,
    *,
    execution: Execution,
    request: dict[str, Any],
) -> RunResult:
    place = execution.run_dir / run_directory.WORKERS / str(number)
    run_directory.write_spec(place, spec)
    own = replace(
        execution,
        engine=choose(spec.backend, home=str(execution.home)),
        run_dir=place,
        taking_over=False,
        observer=_of_worker(execution.observer, number),
        stopped=stop,
    )
    return own.train(
        spec,
        request={**request, "worker": str(number)},
        number_of_pass=int(request["pass"]),
        shared=execution.run_dir / protocol.INSIDE,
    )


def _on_cluster(
    workers: Workers, spec: RunSpec, execution: Execution
) -> contextlib.AbstractContextManager[None]:
    if not (workers.are_remote and workers.ray_address):
        return contextlib.nullcontext()
    from mlops_lib.tuning import ray_workers

    return ray_workers.worker_pool(spec, workers=workers, execution=execution)


@contextlib.contextmanager
def _open(
    workers: Workers,
    spec: RunSpec,
    request: dict[str, Any],
    run_dir: Path,
    observer: Observer,
) -> Iterator[None]:
    """Let workers of other machines join while the context is open."""
    if not workers.are_remote:
        yield
        return
    store = object_store.Store(f"{workers.shared.rstrip('/')}/{spec.digest}")
    fits = [f"fits/{number}/**/*" for number in range(1, int(request["fit"]) + 1)]
    uploads = (
        *fits,
        "fits/candidates-*/**/*",
        "search/trials/*.json",
        "search/trials/*.npz",
        "search/weights/*.npz",
    )
    if remote_worker.read_request(store).get("token") != request["token"]:
        # These files belong to another search whose process was killed. Files of this search are
        # kept: its workers may have left results there.
        store.remove()
    mirror = object_store.Mirror(
        store,
        run_dir / protocol.INSIDE,
        uploads=uploads,
        accepts=object_store.is_of_workers,
        observer=observer,
        alive=remote_worker.ALIVE,
    )
    mirror.once()
    store.put(protocol.SEARCH_REQUEST, json.dumps(request).encode())
    mirror.start()
    try:
        yield
    finally:
        mirror.stop()
        try:
            store.remove()
            end = remote_worker.end_message(may_continue=_may_continue(run_dir))
            store.put(protocol.SEARCH_REQUEST, end)
        except MlopsError as error:  # the results are in the run directory all the same
            observer(
                events.warning(
                    "workers of other machines could not be notified of the end of"
                    f" the search: {error}"
                )
            )


def _may_continue(run_dir: Path) -> bool:
    """Return whether the gate may reject the winner, so that another search follows."""
    outcome = RunDirectory(run_dir).search_result
    return outcome is not None and outcome.stopped == "bar"


def token(run_dir: Path) -> str:
    """Return the token of the run's search; the first call creates it."""
    place = run_dir / TOKEN
    with contextlib.suppress(FileExistsError):
        descriptor = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "w") as stream:
            stream.write(secrets.token_hex(32))
    return place.read_text()


@dataclass
class WorkerPool:
    """The local workers of one search."""

    stops: list[cancellation.Stop] = field(default_factory=list)
    threads: list[threading.Thread] = field(default_factory=list)
    failures: dict[int, Failure] = field(default_factory=dict)
    """Failures of the workers that were given up, by worker number."""


@contextlib.contextmanager
def _worker_pool(
    work: Callable[[int, cancellation.Stop], RunResult],
    count: int,
    *,
    observer: Observer,
    stopped: cancellation.Stop,
) -> Iterator[WorkerPool]:
    """Run `count` workers in threads; `stopped` is set once all of them have failed."""
    pool = WorkerPool()

    def supervise(number: int, stop: cancellation.Stop) -> None:
        failure = _failure(lambda: work(number, stop))
        if failure is None:
            return
        pool.failures[number] = failure
        observer(events.warning(f"worker {number} is given up: {failure.message}"))
        if len(pool.failures) == count:
            stopped.set()

    for number in range(1, count + 1):
        stop = cancellation.Stop()
        thread = threading.Thread(
            target=supervise, args=(number, stop), name=f"mlops-worker-{number}", daemon=True
        )
        pool.stops.append(stop)
        pool.threads.append(thread)
        thread.start()
    over = False
    try:
        yield pool
        over = True
    finally:
        for thread in pool.threads if over else ():
            thread.join(END_S / len(pool.threads))
        for stop in pool.stops:
            stop.detaches = stopped.is_set() and stopped.detaches
            stop.set()
        for thread in pool.threads:
            thread.join(END_S)


def _failure(work: Callable[[], RunResult]) -> Failure | None:
    """Return why a worker failed, or None if it did not."""
    try:
        return work().failure
    except cancellation.Interrupted:
        return None
    except MlopsError as error:
        return Failure(kind="crash", message=str(error))


def _of_worker(observer: Observer, number: int) -> Observer:
    """Return an observer for one worker that forwards the events about its container."""

    def forward(event: dict[str, Any]) -> None:
        typed = events.from_json(event)
        is_end = isinstance(typed, Decision) and typed.do == protocol.DO_FINISH
        if isinstance(typed, HOST_EVENTS) and not is_end:
            observer({**event, "worker": number})

    return forward


def _no_worker_works(failures: dict[int, Failure], run_dir: Path) -> TrainingError:
    failure = next(iter(failures.values()))
    return TrainingError(
        f"no worker of the search is able to work: {failure.message}",
        where=failure.where or str(run_dir / run_directory.WORKERS),
        remedy="Give fewer --workers, or fix the cause in the log; finished trials are kept.",
        log=failure.log,
    )
