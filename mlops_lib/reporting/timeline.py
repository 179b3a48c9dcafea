"""The run's timeline: events of the runner and decisions of the host, in words."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from mlops_lib.formatting import counted, duration, metric_name, metric_value
from mlops_lib.reporting.untrusted_files import count, number, text, when
from mlops_lib.runner import protocol

MOMENTS_LIMIT = 300

Event = Mapping[str, Any]
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
    shown: list[Moment] = []
    for moment in sorted(all_moments, key=lambda m: m.time):
        if shown and replace(moment, time=0, times=1) == replace(shown[-1], time=0, times=1):
            shown[-1] = replace(shown[-1], times=shown[-1].times + 1)
        else:
            shown.append(moment)
    if len(shown) <= MOMENTS_LIMIT:
        return tuple(shown)
    half = MOMENTS_LIMIT // 2
    gap = Moment(
        time=shown[half].time,
        level="info",
        what=f"{counted(len(shown) - 2 * half, 'further moment')} left out",
    )
    return (*shown[:half], gap, *shown[-half:])


def _mark_restarts(events: Iterable[Event]) -> Iterator[Event]:
    """Yield the events with `resumed` on real restarts only.

    The first start of a later pass finds the run's files too, but is no restart.
    """
    passes: set[Any] = set()
    for event in events:
        if event.get("event") == protocol.EVENT_START:
            number_of_pass = count(event.get("pass"))
            yield event if number_of_pass in passes else {**event, "resumed": False}
            passes.add(number_of_pass)
        else:
            yield event


def event_moment(event: Event) -> Moment | None:
    """Return a runner's event as a moment, or None if the timeline leaves it out."""
    describe = _DESCRIBERS.get(text(event.get("event")))
    time = when(event.get("time"))
    if describe is None or time is None:
        return None
    description = describe(event)
    if description is None:
        return None
    level, what, detail = description
    return Moment(
        time=time, level=level, what=what, detail=detail, attempt=count(event.get("attempt"))
    )


def _start(event: Event) -> Description | None:
    number_of_pass = count(event.get("pass")) or 1
    purpose = {1: "Training", 2: "Search"}.get(number_of_pass, f"Pass {number_of_pass}")
    if event.get("resumed") is True:
        return "warning", f"{purpose} started again from its checkpoint", ""
    return "info", f"{purpose} started", text(event.get("entry"))


def _fit(event: Event) -> Description | None:
    name = f"Fit {count(event.get('fit')) or '?'}"
    epochs = count(event.get("epochs"))
    parameters = count(event.get("parameters"))
    about = [text(event.get("model"), limit=80)]
    about += [counted(epochs, "epoch")] if epochs and epochs > 1 else []
    about += [counted(parameters, "parameter")] if parameters else []
    detail = ", ".join(part for part in about if part)
    state = event.get("state")
    if state == "restored":
        return "info", f"{name} restored, it had finished", detail
    if state == "resumed":
        return "good", f"{name} goes on with epoch {(count(event.get('epoch')) or 0) + 1}", detail
    return "info", f"{name} started", detail


def _fit_end(event: Event) -> Description | None:
    epochs = count(event.get("epochs"))
    seconds = number(event.get("seconds"))
    about = ([f"after {counted(epochs, 'epoch')}"] if epochs and epochs > 1 else []) + (
        [duration(seconds)] if seconds else []
    )
    return "info", f"Fit {count(event.get('fit')) or '?'} finished", ", ".join(about)


def _metric(event: Event) -> Description | None:
    source = text(event.get("source"), limit=80)
    name = text(event.get("metric"), limit=60)
    if source.startswith("fit."):
        return None
    return (
        "info",
        f"Measured {metric_name(name)} {metric_value(name, number(event.get('value')))}",
        source,
    )


def _trial(event: Event) -> Description | None:
    trial = event.get("trial")
    if not isinstance(trial, dict) or trial.get("state") == "running":
        return None
    edits = trial.get("edits")
    words = (
        [text(edit) for edit in edits if isinstance(edit, str)] if isinstance(edits, list) else []
    )
    state = text(trial.get("state"), limit=20) or "finished"
    return "info", f"Trial {count(trial.get('number')) or 0} {state}", "; ".join(words[:10])


def _warning(event: Event) -> Description | None:
    return "warning", "Warning", text(event.get("message"), limit=1000)


def _note(event: Event) -> Description | None:
    return "info", "Note", text(event.get("message"), limit=1000)


def _hook_error(event: Event) -> Description | None:
    return (
        "warning",
        f"Own error in {text(event.get('hook'), limit=80)}",
        text(event.get("message")),
    )


def _end(event: Event) -> Description | None:
    error = event.get("error")
    code = event.get("exit_code")
    if isinstance(error, dict):
        message = ": ".join(p for p in (text(error.get("type")), text(error.get("message"))) if p)
        return "bad", "Script failed", message
    if code:
        return "bad", "Script failed", f"exit code {text(str(code), limit=20)}"
    seconds = number(event.get("seconds"))
    return "good", "Script ended well", duration(seconds) if seconds is not None else ""


_DESCRIBERS: dict[str, Callable[[Event], Description | None]] = {
    protocol.EVENT_START: _start,
    protocol.EVENT_FIT: _fit,
    protocol.EVENT_FIT_END: _fit_end,
    protocol.EVENT_METRIC: _metric,
    protocol.EVENT_TRIAL: _trial,
    protocol.EVENT_NOTE: _note,
    protocol.EVENT_WARNING: _warning,
    protocol.EVENT_HOOK_ERROR: _hook_error,
    protocol.EVENT_END: _end,
}

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
    time = when(line.get("time"))
    description: Description | None = None
    if line.get("event") == protocol.EVENT_EXIT and line.get("exit_code") != 0:
        memory = ", out of memory" if line.get("out_of_memory") is True else ""
        description = (
            "bad",
            "Container ended",
            f"exit code {text(str(line.get('exit_code')), limit=20)}{memory}",
        )
    elif line.get("event") == protocol.EVENT_DECISION:
        level, what = _DECISIONS.get(text(line.get("do")), ("info", ""))
        description = (level, what, text(line.get("why"))) if what else None
    if time is None or description is None:
        return None
    return Moment(time=time, level=description[0], what=description[1], detail=description[2])
