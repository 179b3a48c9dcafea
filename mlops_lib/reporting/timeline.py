"""The run's timeline: events of the runner and decisions of the host, in words."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from mlops_lib.events import (
    Decision,
    End,
    Event,
    Exit,
    FitEnded,
    FitStarted,
    HookError,
    Metric,
    Note,
    RunWarning,
    Start,
    TrialEvent,
)
from mlops_lib.formatting import counted, duration, metric_name, metric_value
from mlops_lib.reporting.untrusted_files import count, number, text, when
from mlops_lib.runner import protocol

MOMENTS_LIMIT = 300

Level = Literal["info", "good", "warning", "bad"]


Description = tuple[Level, str, str]
"""Level, title, detail."""


@dataclass(frozen=True, kw_only=True)
class Moment:
    """An entry of the timeline."""

    time: float
    level: Level
    what: str
    detail: str = ""
    attempt: int | None = None
    times: int = 1
    """Number of consecutive repetitions."""


def moments(events: Iterable[Event], decisions: Iterable[Event]) -> tuple[Moment, ...]:
    """Return the timeline in order.

    Repetitions are counted; the middle of a very long timeline is left out.
    """
    all_moments = [
        moment for e in _mark_restarts(events) if (moment := event_moment(e)) is not None
    ]
    all_moments += [moment for d in decisions if (moment := decision_moment(d)) is not None]
    selected: list[Moment] = []
    for moment in sorted(all_moments, key=lambda m: m.time):
        if selected and replace(moment, time=0, times=1) == replace(selected[-1], time=0, times=1):
            selected[-1] = replace(selected[-1], times=selected[-1].times + 1)
        else:
            selected.append(moment)
    if len(selected) <= MOMENTS_LIMIT:
        return tuple(selected)
    half = MOMENTS_LIMIT // 2
    gap = Moment(
        time=selected[half].time,
        level="info",
        what=f"{counted(len(selected) - 2 * half, 'further moment')} left out",
    )
    return (*selected[:half], gap, *selected[-half:])


def _mark_restarts(events: Iterable[Event]) -> Iterator[Event]:
    """Yield the events with `resumed` on real restarts only.

    The first start of a later pass finds the run's files too, but is no restart.
    """
    passes: set[int | None] = set()
    for event in events:
        if isinstance(event, Start):
            number_of_pass = count(event.number_of_pass)
            yield event if number_of_pass in passes else replace(event, resumed=False)
            passes.add(number_of_pass)
        else:
            yield event


def event_moment(event: Event) -> Moment | None:
    """Return a runner's event as a moment, or None if the timeline leaves it out."""
    time = when(event.time)
    description = _described(event)
    if time is None or description is None:
        return None
    level, what, detail = description
    return Moment(time=time, level=level, what=what, detail=detail, attempt=count(event.attempt))


def _described(event: Event) -> Description | None:
    match event:
        case Start():
            return _start(event)
        case FitStarted():
            return _fit(event)
        case FitEnded():
            return _fit_end(event)
        case Metric():
            return _metric(event)
        case TrialEvent():
            return _trial(event.trial)
        case Note():
            return "info", "Note", text(event.message, limit=1000)
        case RunWarning():
            return "warning", "Warning", text(event.message, limit=1000)
        case HookError():
            return "warning", f"Own error in {text(event.hook, limit=80)}", text(event.message)
        case End():
            return _end(event)
        case _:
            return None


def _start(event: Start) -> Description:
    number_of_pass = count(event.number_of_pass) or 1
    purpose = {1: "Training", 2: "Search"}.get(number_of_pass, f"Pass {number_of_pass}")
    if event.resumed:
        return "warning", f"{purpose} started again from its checkpoint", ""
    return "info", f"{purpose} started", text(event.entry)


def _fit(event: FitStarted) -> Description:
    name = f"Fit {count(event.fit) or '?'}"
    epochs = count(event.epochs)
    parameters = count(event.parameters)
    about = [text(event.model, limit=80)]
    about += [counted(epochs, "epoch")] if epochs and epochs > 1 else []
    about += [counted(parameters, "parameter")] if parameters else []
    detail = ", ".join(part for part in about if part)
    if event.state == "restored":
        return "info", f"{name} restored, it had finished", detail
    if event.state == "resumed":
        return "good", f"{name} goes on with epoch {(count(event.epoch) or 0) + 1}", detail
    return "info", f"{name} started", detail


def _fit_end(event: FitEnded) -> Description:
    epochs = count(event.epochs)
    seconds = number(event.seconds)
    about = ([f"after {counted(epochs, 'epoch')}"] if epochs and epochs > 1 else []) + (
        [duration(seconds)] if seconds else []
    )
    return "info", f"Fit {count(event.fit) or '?'} finished", ", ".join(about)


def _metric(event: Metric) -> Description | None:
    source = text(event.source, limit=80)
    name = text(event.metric, limit=60)
    if source.startswith("fit."):
        return None
    value = metric_value(name, number(event.value))
    return "info", f"Measured {metric_name(name)} {value}", source


def _trial(trial: Mapping[str, Any]) -> Description | None:
    if not trial or trial.get("state") == "running":
        return None
    edits = trial.get("edits")
    words = (
        [text(edit) for edit in edits if isinstance(edit, str)] if isinstance(edits, list) else []
    )
    state = text(trial.get("state"), limit=20) or "finished"
    return "info", f"Trial {count(trial.get('number')) or 0} {state}", "; ".join(words[:10])


def _end(event: End) -> Description:
    if event.error is not None:
        parts = (text(event.error.get("type")), text(event.error.get("message")))
        return "bad", "Script failed", ": ".join(part for part in parts if part)
    if event.exit_code:
        return "bad", "Script failed", f"exit code {event.exit_code}"
    return (
        "good",
        "Script ended well",
        duration(event.seconds) if event.seconds is not None else "",
    )


_DECISIONS: dict[str, tuple[Level, str]] = {
    protocol.DO_RESTART: ("warning", "Watchdog starts it again"),
    protocol.DO_KILL: ("bad", "Watchdog kills it"),
    protocol.DO_GIVE_UP: ("bad", "Watchdog gives up"),
    protocol.DO_STAY_STOPPED: ("warning", "Stopped by a person"),
    protocol.DO_ADOPT: ("info", "A training under way is taken over"),
    protocol.DO_RECOVERED: ("good", "The training goes on"),
    protocol.DO_WARN: ("warning", "Watchdog notices"),
    protocol.DO_WAIT_FOR_ENGINE: ("warning", "The container engine does not answer"),
}


def decision_moment(line: Event) -> Moment | None:
    """Return a line of the host's attempts.jsonl as a moment, or None.

    Starts and successful ends are left to the runner's events.
    """
    time = when(line.time)
    description: Description | None = None
    if isinstance(line, Exit) and line.exit_code != 0:
        memory = ", out of memory" if line.out_of_memory else ""
        description = ("bad", "Container ended", f"exit code {line.exit_code}{memory}")
    elif isinstance(line, Decision):
        level, what = _DECISIONS.get(line.do, ("info", ""))
        description = (level, what, text(line.why)) if what else None
    if time is None or description is None:
        return None
    return Moment(time=time, level=description[0], what=description[1], detail=description[2])
