"""Where a run goes on when it is started again, in words: what an aborted build shows."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlops_lib import event_log
from mlops_lib.runner import protocol
from mlops_lib.training import attempt_log

BEGINNING = "stopped before its first checkpoint; starts at its beginning next time"


def words(run_dir: Path) -> str:
    """Say how far a run has come and where it goes on.

    The run's events are a claim of the script's container, so only numbers are taken from them.
    """
    events = event_log.events(run_dir)
    if attempt_log.finished(run_dir, 2) is not None:
        return "the search had ended; nothing is trained again next time"
    attempts = [
        line
        for line in event_log.read_lines(run_dir / protocol.ATTEMPTS)
        if line.get("event") == protocol.EVENT_ATTEMPT
    ]
    if attempts and attempts[-1].get("number_of_pass") == 2:
        return _searched(events)
    if attempt_log.finished(run_dir, 1) is not None:
        return "the training had ended; it is judged next time, without training again"
    points = [
        event
        for event in events
        if event["event"] == protocol.EVENT_CHECKPOINT and _whole(event, "epoch") is not None
    ]
    return _trained(points[-1], events) if points else BEGINNING


def _searched(events: list[dict[str, Any]]) -> str:
    trials = [
        event["trial"]
        for event in events
        if event["event"] == protocol.EVENT_TRIAL and isinstance(event.get("trial"), dict)
    ]
    ended = {_whole(one, "number") for one in trials if one.get("state") != "running"} - {None, 0}
    done = f"{len(ended)} trial{'' if len(ended) == 1 else 's'}"
    return f"stopped in the search, after {done}; goes on there next time"


def _trained(point: Mapping[str, Any], events: list[dict[str, Any]]) -> str:
    fit = _whole(point, "fit")
    epoch = int(point["epoch"])
    step = _whole(point, "step") or 0
    fits = [event for event in events if event["event"] == protocol.EVENT_FIT]
    planned = next(
        (_whole(one, "epochs") for one in reversed(fits) if _whole(one, "fit") == fit), None
    )
    which = f" of fit {fit}" if len({_whole(one, "fit") for one in fits}) > 1 else ""
    if point.get("done"):
        return f"stopped after fit {fit}; goes on behind it next time"
    of = f" of {planned}" if planned else ""
    if step:
        begun = f"stopped in epoch {epoch + 2}{of}{which}"
        return f"{begun}; goes on at its step {step + 1} next time"
    return f"stopped after epoch {epoch + 1}{of}{which}; continues at epoch {epoch + 2} next time"


def _whole(event: Mapping[str, Any], key: str) -> int | None:
    value = event.get(key)
    return value if isinstance(value, int) and not isinstance(value, bool) else None
