"""Implement `mlops watch`: monitor runs and resume those whose driver has died."""

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
from mlops_lib.events import HOST_EVENTS, Observer, from_json
from mlops_lib.monitoring import takeover
from mlops_lib.pipeline import publishing, stages
from mlops_lib.pipeline.job import Job, prepare, prepared, silent
from mlops_lib.records import RunResult
from mlops_lib.run_directory import RunDirectory
from mlops_lib.training import attempt_log, cancellation, requests

if TYPE_CHECKING:
    from typing import Unpack

    from mlops_lib.settings_arguments import SettingsArguments

SETTLED_S = 20.0
"""A run without a driver for this long is not between two stages but abandoned."""
POST_S = 5.0
"""Time to wait at the end of a watch for messages under way."""
FLUSH_S = 60.0
"""Interval at which a watch sends messages that could not be delivered before."""


def watch(
    project: str | Path | Job | None = None,
    *,
    until_done: bool = True,
    observer: Observer = silent,
    stopped: cancellation.Stop | None = None,
    **settings: Unpack[SettingsArguments],
) -> RunResult | None:
    """Watch a run or all runs of a home; resume those whose driving process has died.

    Return when `stopped` is set, or with `until_done` when nothing is left to do. The containers of
    runs that it has taken over train on, for the next watchdog to adopt.

    Args:
        project: the project or run, which may not exist yet; None for all runs of the home.
        until_done: return when the request to the run is answered; else wait for the next one.
        observer: gets the decisions; a job's own is preferred.
        stopped: set from outside to end this; a job's own is preferred.
        settings: any setting.

    Returns:
        The outcome of the run's training; None for a home, or if it has not ended.

    Raises:
        EngineError: the container engine does not answer.

    Example:
        >>> import mlops_lib as mlops
        >>> outcome = mlops.watch("model_repo/digits_tree")  # it has ended, so there is no wait
        >>> outcome.state
        'finished'
    """
    if project is None:
        resolved = config.resolve(None, settings)
        watchdog = takeover.Watchdog(
            lambda: run_directory.known(resolved.home), take_over=_take_over, observer=observer
        )
        _watch(
            watchdog,
            stopped or cancellation.Stop(),
            lambda pending: until_done and not pending,
            post=lambda: publishing.post(resolved, observer),
        )
        return None
    job = prepared(project, observer=observer, stopped=stopped, **settings)
    run_dir = job.run_dir.resolve()
    watchdog = takeover.Watchdog(lambda: [run_dir], take_over=_take_over, observer=job.observer)
    last_driven = time.monotonic()

    def is_done(pending: list[Path]) -> bool:
        nonlocal last_driven
        if pending or run_lock.is_driven(run_dir):
            last_driven = time.monotonic()
        is_abandoned = run_dir.is_dir() and time.monotonic() - last_driven > SETTLED_S
        return until_done and (_is_settled(run_dir) or is_abandoned)

    _watch(watchdog, job.stopped, is_done, post=lambda: publishing.post(job.settings, job.observer))
    return RunDirectory(run_dir).training


def _watch(
    watchdog: takeover.Watchdog,
    stopped: cancellation.Stop,
    is_done: Callable[[list[Path]], bool],
    *,
    post: Callable[[], object],
) -> None:
    stopped.is_supervised = True  # a signal ends the watch in order
    # In the past, so that waiting messages are sent as the watch begins.
    posted = time.monotonic() - FLUSH_S - 1.0
    posting: threading.Thread | None = None
    try:
        while not stopped.is_set():
            is_free = posting is None or not posting.is_alive()
            if is_free and time.monotonic() - posted > FLUSH_S:
                # In a thread: a run whose driver died must not wait for a slow receiver.
                posting = threading.Thread(target=post, name="mlops-post", daemon=True)
                posting.start()
                posted = time.monotonic()
            pending = watchdog.check()
            if not watchdog.is_driving and is_done(pending):
                return
            stopped.wait(takeover.LOOK_S)
    finally:
        watchdog.release()
        if posting is not None:
            posting.join(timeout=POST_S)


def _is_settled(run_dir: Path) -> bool:
    """Return whether nothing is left to do: judged, and searched if it was rejected."""
    run = RunDirectory(run_dir)
    if (
        requests.pending(run_dir) is not None
        or run_lock.is_driven(run_dir)
        or attempt_log.finished(run, 1) is None
    ):
        return False
    verdict = run.verdict
    return verdict is not None and (verdict.verdict != "rejected" or run.search is not None)


def _take_over(
    run_dir: Path, request: requests.Request, observer: Observer, stopped: cancellation.Stop
) -> None:
    """Continue with a run to answer a request."""

    def pass_on(event: dict[str, Any]) -> None:
        # The watchdog reads the host's events from the journal, whichever program drives the run.
        if not isinstance(from_json(event), HOST_EVENTS):
            observer({**event, "run_dir": str(run_dir)})

    job = _prepare_again(run_dir, observer=pass_on, stopped=stopped, settings=request.settings)
    verb = {"run": stages.run, "train": stages.train, "search": stages.search}[request.verb]
    verb(replace(job, taking_over=True))


def _prepare_again(
    run_dir: Path, *, observer: Observer, stopped: cancellation.Stop, settings: Mapping[str, Any]
) -> Job:
    """Return the job of a run, prepared again.

    If the project is as it was, it is prepared from the project; else from the run directory.
    """
    context: dict[str, Any] = {"observer": observer, "stopped": stopped}
    spec = RunDirectory(run_dir).spec
    if spec is not None and Path(spec.project).is_dir():
        with contextlib.suppress(MlopsError):
            job = prepare(spec.project, **context, **{**settings, "entry": spec.entry})
            # The project may have been pushed anew since. Then the run is continued from what its
            # directory has.
            if job.spec.digest == spec.digest and job.run_dir.resolve() == run_dir:
                return job
    return prepare(run_dir, **context, **settings)
