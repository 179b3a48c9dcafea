"""The workers of a search: containers of this machine, or actors on a Ray cluster.

Each local worker is a container of its own, started, supervised and restarted like any training. Its
directory, `workers/<n>` in the run's, has the structure of a run directory: its own lease,
attempts, log and `inside/`. The run's `inside/search` is shared: weights are exchanged there.
"""

from __future__ import annotations

import contextlib
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
from mlops_lib.runner import protocol
from mlops_lib.training import attempt_log, cancellation
from mlops_lib.tuning.options import Execution, Workers

TOKEN = "search-token"
"""File in the run's directory, outside `inside/`, that authenticates chief and workers."""
END_S = 15.0
"""Seconds that workers have to end by themselves after the run has ended."""
Work = Callable[[int, cancellation.Stop], RunResult]
"""Run one worker, given by its number, until the search is over or the stop is requested."""


def train(
    spec: RunSpec, *, execution: Execution, request: dict[str, Any], workers: Workers
) -> RunResult:
    """Train pass 2 with `workers` beside the run's own container.

    Args:
        spec: the run.
        execution: the execution of the run's container; workers use its restarts and limits.
        request: the search request.
        workers: the number of workers, and their machines.

    Raises:
        TrainingError: no worker is able to work.
    """
    number_of_pass = int(request["pass"])
    if workers.count < 2 and not workers.are_remote:
        return execution.train(spec, request=request, number_of_pass=number_of_pass)
    run_dir = execution.run_dir
    request = {**request, "token": token(run_dir)}

    # A chief trains nothing itself; without any worker it would wait for ever.
    count = max(1, workers.count)

    def work(number: int, stop: cancellation.Stop) -> RunResult:
        return _train_worker(spec, number, stop, execution=execution, request=request)

    with (
        _on_cluster(workers, spec, request, execution) as work_on_cluster,
        _worker_pool(
            work_on_cluster or work,
            count,
            observer=execution.observer,
            stopped=execution.stopped,
        ) as pool,
    ):
        try:
            return execution.train(
                spec,
                request={**request, "remote": workers.are_remote},
                number_of_pass=number_of_pass,
            )
        # The pool interrupts the training itself once no worker is left: that is a failure, not a
        # stop by a person.
        except cancellation.Interrupted:
            if len(pool.failures) < count:
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


@contextlib.contextmanager
def _on_cluster(
    workers: Workers, spec: RunSpec, request: dict[str, Any], execution: Execution
) -> Iterator[Work | None]:
    """Yield the function that runs a worker on a Ray cluster, or None for local ones."""
    if not workers.are_remote:
        yield None
        return
    from mlops_lib.tuning import ray_workers

    with ray_workers.cluster(
        spec, workers=workers, request=request, execution=execution
    ) as cluster:
        yield cluster.work


def token(run_dir: Path) -> str:
    """Return the token of the run's search; the first call creates it."""
    place = run_dir / TOKEN
    # Created exclusively, with the mode from the start: no other user can ever read it.
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
    work: Work,
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
            # Daemons: a worker that hangs must not keep this program from ending.
            target=supervise,
            args=(number, stop),
            name=f"mlops-worker-{number}",
            daemon=True,
        )
        pool.stops.append(stop)
        pool.threads.append(thread)
        thread.start()
    over = False
    try:
        yield pool
        over = True
    finally:
        # After a search, workers end by themselves as soon as they learn of it.
        for thread in pool.threads if over else ():
            thread.join(END_S / len(pool.threads))
        for stop in pool.stops:
            # A program that only detaches leaves its workers' containers running.
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
        # The end of a worker is no end of the run.
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
