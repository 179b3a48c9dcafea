"""The watch over a run or a home: whoever keeps it goes on with what others asked for and died
over.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops_lib import config, run_directory, run_lock
from mlops_lib.errors import MlopsError
from mlops_lib.events import Observer
from mlops_lib.monitoring import takeover
from mlops_lib.pipeline import publishing, stages
from mlops_lib.pipeline.job import Job, prepare, prepared, silent
from mlops_lib.records import RunResult
from mlops_lib.run_directory import RunDirectory
from mlops_lib.runner import protocol
from mlops_lib.training import attempt_log, cancellation, requests

if TYPE_CHECKING:
    from typing import Unpack

    from mlops_lib.settings_arguments import SettingsArguments

SETTLED_S = 20.0
"""A run at rest for so long between two stages has nobody who goes on with it."""
POST_S = 5.0
"""How long the end of a watch waits for what it is sending."""
FLUSH_S = 60.0
"""How often a watch sends what could not be delivered before."""


def watch(
    project: str | Path | Job | None = None,
    *,
    until_done: bool = True,
    observer: Observer = silent,
    stopped: cancellation.Stop | None = None,
    **settings: Unpack[SettingsArguments],
) -> RunResult | None:
    """Watch a run, which may not exist yet, or all runs of a home, and go on with those whose
    program died.

    Ends when told to, or with `until_done` when there is nothing left to do. What it had taken over
    goes on in its container, for the next watchdog to take over.

    Args:
        project: the project or run; None for all runs of the home.
        until_done: end when the run has been answered; else go on for the next time it is started.
        observer: gets the decisions; a job's own is used where there is one.
        stopped: set by whoever wants this to end; a job's own is used where there is one.
        settings: as everywhere.

    Returns:
        How the run's training ended; None for a home, or where it has not.
    """
    if project is None:
        resolved = config.resolve(None, settings)
        watched = takeover.Watch(
            lambda: run_directory.known(resolved.home), take_over=_take_over, observer=observer
        )
        _keep_watch(
            watched,
            stopped or cancellation.Stop(),
            lambda pending: until_done and not pending,
            post=lambda: publishing.post(resolved, observer),
        )
        return None
    job = prepared(project, observer=observer, stopped=stopped, **settings)
    run_dir = job.run_dir.resolve()
    watched = takeover.Watch(lambda: [run_dir], take_over=_take_over, observer=job.observer)
    resting = time.monotonic()

    def done(pending: list[Path]) -> bool:
        nonlocal resting
        if pending or run_lock.is_driven(run_dir):
            resting = time.monotonic()
        return until_done and (
            _is_settled(run_dir) or (run_dir.is_dir() and time.monotonic() - resting > SETTLED_S)
        )

    _keep_watch(
        watched, job.stopped, done, post=lambda: publishing.post(job.settings, job.observer)
    )
    return takeover.result(run_dir)


def _keep_watch(
    watched: takeover.Watch,
    stopped: cancellation.Stop,
    done: Callable[[list[Path]], bool],
    *,
    post: Callable[[], object],
) -> None:
    stopped.attended = True  # a signal ends the watch in order
    posted = time.monotonic() - FLUSH_S - 1.0
    posting: threading.Thread | None = None
    try:
        while not stopped.is_set():
            is_free = posting is None or not posting.is_alive()
            if is_free and time.monotonic() - posted > FLUSH_S:
                # Beside the watch: a run whose program died does not wait for a receiver.
                posting = threading.Thread(target=post, name="mlops-post", daemon=True)
                posting.start()
                posted = time.monotonic()
            pending = watched.look()
            if not watched.at_work and done(pending):
                return
            stopped.wait(takeover.LOOK_S)
    finally:
        watched.let_go()
        if posting is not None:
            posting.join(timeout=POST_S)


def _is_settled(run_dir: Path) -> bool:
    """Whether nobody has anything more to do for the run: it is judged, and searched where that was
    called for.
    """
    run = RunDirectory(run_dir)
    if (
        requests.asked(run_dir) is not None
        or run_lock.is_driven(run_dir)
        or attempt_log.finished(run, 1) is None
    ):
        return False
    verdict = run.verdict
    return verdict is not None and (verdict.verdict != "rejected" or run.search is not None)


def _take_over(
    run_dir: Path, asked: requests.Asked, observer: Observer, stopped: cancellation.Stop
) -> None:
    """Go on with what was asked of a run."""

    def named(event: dict[str, Any]) -> None:
        if event.get("event") not in (
            protocol.EVENT_DECISION,
            protocol.EVENT_EXIT,
            protocol.EVENT_ATTEMPT,
        ):  # these are read from the run's own record
            observer({**event, "run_dir": str(run_dir)})

    job = _prepared_anew(run_dir, observer=named, stopped=stopped, settings=asked.settings)
    verb = {"run": stages.run, "train": stages.train, "search": stages.search}[asked.verb]
    verb(replace(job, taking_over=True))


def _prepared_anew(
    run_dir: Path, *, observer: Observer, stopped: cancellation.Stop, settings: Mapping[str, Any]
) -> Job:
    """The job as it was prepared first, where its project is still as it was; else what the run
    directory says of it.
    """
    known: dict[str, Any] = {"observer": observer, "stopped": stopped}
    spec = RunDirectory(run_dir).spec
    if spec is not None and Path(spec.project).is_dir():
        with contextlib.suppress(MlopsError):
            job = prepare(spec.project, **known, **{**settings, "entry": spec.entry})
            if job.spec.digest == spec.digest and job.run_dir.resolve() == run_dir:
                return job
    return prepare(run_dir, **known, **settings)
