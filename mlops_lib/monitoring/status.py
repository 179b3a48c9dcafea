"""The state of a run, read from its directory."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from mlops_lib import atomic, event_log, run_directory, run_lock
from mlops_lib.events import Attempt, Decision, Event, Exit
from mlops_lib.records import Record
from mlops_lib.run_directory import RunDirectory
from mlops_lib.runner import protocol
from mlops_lib.training import attempt_log, requests

OLD_S = 30.0
"""A list of workers that is older than this many seconds has no chief any more."""
SILENT_S = 10.0
"""A worker that has not called for this many seconds is shown as silent; they call twice a second."""
MOST_SHOWN = 1000
"""Workers of other machines that are shown."""
WORKERS_BYTES = 1 << 20
"""Largest list of workers that is read."""
State = Literal[
    "absent", "training", "searching", "deciding", "waiting", "stopped", "failed", "finished"
]


@dataclass(frozen=True, kw_only=True)
class Standing(Record):
    """The state of a run, or of a worker of its search."""

    run_dir: str
    name: str = ""
    state: State
    """"waiting": it was requested, and no program drives it."""
    attempt: int = 0
    fit: int | None = None
    epoch: int | None = None
    """From 0."""
    epochs: int | None = None
    step: int | None = None
    steps: int | None = None
    trial: int | None = None
    """The candidate under way, in a search."""
    steps_per_s: float | None = None
    memory_bytes: int | None = None
    restarts: int = 0
    trouble: str = ""
    """The newest decision about a problem, in words."""
    workers: tuple[Standing, ...] = ()
    """The workers of its search: first those of this machine."""
    where: str = ""
    """Address of a worker on another machine, as the chief sees it."""
    silent_s: float | None = None
    """Seconds since a worker on another machine last called the chief."""


def standing(run_dir: Path) -> Standing:
    """Return the state of a run, and of the workers of its search."""
    run = RunDirectory(run_dir)
    if run.spec is None:
        return Standing(run_dir=str(run_dir), state="absent")
    driven = run_lock.is_driven(run_dir)
    state = _state(run, driven=driven)
    workers = tuple(
        _local_worker(RunDirectory(place), driven=driven)
        for place in run_directory.workers(run_dir)
    )
    if state == "searching":
        workers += elsewhere(run_dir)
    return replace(_progress(run), name=run.spec.name, state=state, workers=workers)


def elsewhere(run_dir: Path) -> tuple[Standing, ...]:
    """Return the state of the workers on other machines, as the chief last wrote it."""
    place = run_dir / protocol.INSIDE / protocol.SEARCH / protocol.SEARCH_WORKERS
    try:
        if time.time() - place.lstat().st_mtime > OLD_S:
            return ()
        workers = atomic.read_json(place, inside=run_dir, limit=WORKERS_BYTES)["workers"]
        local = {path.name for path in run_directory.workers(run_dir)}
        return tuple(
            _remote_worker(worker) for worker in workers[:MOST_SHOWN] if worker["name"] not in local
        )
    except (OSError, ValueError, TypeError, KeyError):
        return ()


def _remote_worker(claim: dict[str, Any]) -> Standing:
    silent_s = float(claim["silent_s"])
    is_silent = silent_s >= SILENT_S
    return Standing(
        run_dir="",
        name=f"worker {str(claim['name'])[:60]}",
        state="waiting" if is_silent else "searching",
        trial=_integer(claim.get("trial")),
        epoch=_integer(claim.get("epoch")),
        epochs=_integer(claim.get("epochs")),
        where=str(claim["where"])[:60],
        silent_s=silent_s,
        trouble=f"not heard of for {silent_s:.0f} s" if is_silent else "",
    )


def _local_worker(run: RunDirectory, *, driven: bool) -> Standing:
    """Return the state of a worker, which the driver of its run drives as well."""
    state: State = "finished" if attempt_log.given_up(run.attempts) is None else "failed"
    if (run.path / attempt_log.STOP).exists():
        state = "stopped"
    elif _is_under_way(run.attempts):
        state = "searching" if driven else "waiting"
    return replace(_progress(run), name=f"worker {run.path.name}", state=state)


def _is_under_way(attempts: Sequence[Event]) -> bool:
    """Return whether the last attempt has not ended."""
    last = next((event for event in reversed(attempts) if isinstance(event, (Attempt, Exit))), None)
    return isinstance(last, Attempt)


def _last_attempt(attempts: Sequence[Event]) -> Attempt | None:
    return next((event for event in reversed(attempts) if isinstance(event, Attempt)), None)


def _progress(run: RunDirectory) -> Standing:
    """Return the attempts and the progress of a run; name and state are the caller's."""
    attempts = run.attempts
    last = _last_attempt(attempts)
    heartbeat = event_log.heartbeat(run.path) if _is_under_way(attempts) else {}
    step_s = heartbeat.get("step_s")
    troubles = [event for event in attempts if isinstance(event, Decision) and event.trouble]
    return Standing(
        run_dir=str(run.path),
        state="deciding",
        trial=_integer(heartbeat.get("trial")),
        attempt=0 if last is None else last.attempt or 0,
        fit=heartbeat.get("fit"),
        epoch=heartbeat.get("epoch"),
        epochs=_integer(heartbeat.get("epochs")),
        step=heartbeat.get("step"),
        steps=heartbeat.get("steps"),
        steps_per_s=round(1 / step_s, 2) if step_s else None,
        memory_bytes=_integer(heartbeat.get("rss")),
        restarts=attempt_log.count_restarts(attempts),
        trouble=troubles[-1].why if troubles else "",
    )


def _integer(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _state(run: RunDirectory, *, driven: bool) -> State:
    if (run.path / attempt_log.STOP).exists():
        return "stopped"
    if not driven:
        if requests.pending(run.path) is not None:
            return "waiting"
        return "finished" if attempt_log.given_up(run.attempts) is None else "failed"
    if not _is_under_way(run.attempts):
        return "deciding"
    last = _last_attempt(run.attempts)
    return "training" if last is None or last.number_of_pass == 1 else "searching"
