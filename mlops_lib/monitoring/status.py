"""The state of a run, read from its directory."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeGuard

from mlops_lib import atomic, event_log, run_directory, run_lock
from mlops_lib.records import Record, RunSpec
from mlops_lib.runner import protocol
from mlops_lib.training import attempt_log
from mlops_lib.training.requests import asked

OLD_S = 30.0
"""What has not been renewed for so long tells nothing: there is no chief."""


SILENT_S = 10.0
"""A worker that has not been heard of for so long is shown as such; they call twice a second."""


MOST_SHOWN = 1000


WORKERS_BYTES = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Standing(Record):
    """How a run stands now."""

    run_dir: str
    name: str = ""
    state: Literal[
        "absent", "training", "searching", "deciding", "waiting", "stopped", "failed", "finished"
    ]
    """"waiting": somebody asked for it and nobody sees to it."""
    attempt: int = 0
    fit: int | None = None
    epoch: int | None = None
    """From 0, as the script's framework counts."""
    epochs: int | None = None
    step: int | None = None
    steps: int | None = None
    trial: int | None = None
    """Of a search: the candidate under way."""
    steps_per_s: float | None = None
    memory_bytes: int | None = None
    restarts: int = 0
    trouble: str = ""
    """The last decision that something was wrong led to, in words."""
    workers: tuple[Standing, ...] = ()
    """How the workers of its search stand, in their order: first those of this machine."""
    where: str = ""
    """Of a worker on another machine: its address, as the chief sees it."""
    silent_s: float | None = None
    """Of a worker on another machine: seconds since the chief heard of it."""


def standing(run_dir: Path) -> Standing:
    """Read how a run stands."""
    spec = run_directory.read_record(run_dir / protocol.SPEC, RunSpec)
    if spec is None:
        return Standing(run_dir=str(run_dir), state="absent")
    lines = event_log.read_lines(run_dir / protocol.ATTEMPTS)
    state = _state(run_dir, lines, under_way=_is_under_way(lines))
    driven = run_lock.is_driven(run_dir)
    workers = tuple(_worker(place, driven=driven) for place in run_directory.workers(run_dir))
    if state == "searching":
        workers += elsewhere(run_dir)
    return replace(_shown(run_dir, lines), name=spec.name, state=state, workers=workers)


def elsewhere(run_dir: Path) -> tuple[Standing, ...]:
    """The workers of other machines, as the search's chief has written down what it hears of them."""
    place = run_dir / protocol.INSIDE / protocol.SEARCH / protocol.SEARCH_WORKERS
    try:
        if time.time() - place.lstat().st_mtime > OLD_S:
            return ()
        found = atomic.read_json(place, inside=run_dir, limit=WORKERS_BYTES)["workers"][:MOST_SHOWN]
        own = {one.name for one in run_directory.workers(run_dir)}
        return tuple(_of_another_machine(one) for one in found if one["name"] not in own)
    except (OSError, ValueError, TypeError, KeyError):
        return ()


def _of_another_machine(one: dict[str, Any]) -> Standing:
    whole = {
        key: one.get(key) if _is_whole(one.get(key)) else None
        for key in ("trial", "epoch", "epochs", "begun")
    }
    silent_s = float(one["silent_s"])
    return Standing(
        run_dir="",
        name=f"worker {str(one['name'])[:60]}",
        state="searching" if silent_s < SILENT_S else "waiting",
        trial=whole["trial"],
        epoch=whole["epoch"],
        epochs=whole["epochs"],
        where=str(one["where"])[:60],
        silent_s=silent_s,
        trouble="" if silent_s < SILENT_S else f"not heard of for {silent_s:.0f} s",
    )


def _worker(place: Path, *, driven: bool) -> Standing:
    """How a worker stands; its run's program sees to it."""
    lines = event_log.read_lines(place / protocol.ATTEMPTS)
    state: Any = "finished" if attempt_log.given_up(lines) is None else "failed"
    if (place / attempt_log.STOP).exists():
        state = "stopped"
    elif _is_under_way(lines):
        state = "searching" if driven else "waiting"
    return replace(_shown(place, lines), name=f"worker {place.name}", state=state)


def _is_under_way(lines: list[dict[str, Any]]) -> bool:
    """Whether the last attempt has not ended."""
    known = [
        line["event"]
        for line in lines
        if line.get("event") in (protocol.EVENT_ATTEMPT, protocol.EVENT_EXIT)
    ]
    return known[-1:] == ["attempt"]


def _shown(run_dir: Path, lines: list[dict[str, Any]]) -> Standing:
    """What its attempts and its heartbeat show."""
    starts = [line for line in lines if line.get("event") == protocol.EVENT_ATTEMPT]
    under_way = _is_under_way(lines)
    heartbeat = event_log.heartbeat(run_dir) if under_way else {}
    step_s = heartbeat.get("step_s")
    memory = heartbeat.get("rss")
    epochs = heartbeat.get("epochs")
    trial = heartbeat.get("trial")
    return Standing(
        run_dir=str(run_dir),
        state="deciding",
        trial=trial if _is_whole(trial) else None,
        attempt=int(starts[-1].get("attempt") or 0) if starts else 0,
        fit=heartbeat.get("fit"),
        epoch=heartbeat.get("epoch"),
        epochs=epochs if _is_whole(epochs) else None,
        step=heartbeat.get("step"),
        steps=heartbeat.get("steps"),
        steps_per_s=round(1 / step_s, 2) if step_s else None,
        memory_bytes=memory if _is_whole(memory) else None,
        restarts=attempt_log.count_restarts(run_dir),
        trouble=next((str(one.get("why")) for one in reversed(lines) if one.get("trouble")), ""),
    )


def _is_whole(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _state(run_dir: Path, lines: list[dict[str, Any]], *, under_way: bool) -> Any:
    if (run_dir / attempt_log.STOP).exists():
        return "stopped"
    if not run_lock.is_driven(run_dir):
        if asked(run_dir) is not None:
            return "waiting"
        return "finished" if attempt_log.given_up(lines) is None else "failed"
    if not under_way:
        return "deciding"
    number = next(
        (
            one.get("number_of_pass")
            for one in reversed(lines)
            if one.get("event") == protocol.EVENT_ATTEMPT
        ),
        1,
    )
    return "training" if number == 1 else "searching"
