"""What happened, in words: events of the runner and decisions of the host as moments of one
timeline.
"""

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


Told = tuple[Level, str, str]
"""Level, what, detail."""


@dataclass(frozen=True, kw_only=True)
class Moment:
    """Something that happened."""

    time: float
    level: Level
    what: str
    detail: str = ""
    attempt: int | None = None
    times: int = 1
    """How often it happened in a row."""


def moments(events: Iterable[Event], decisions: Iterable[Event]) -> tuple[Moment, ...]:
    """The timeline in order; repetitions are counted, and of a very long one the middle is left
    out.
    """
    told = [one for e in _restarts_only(events) if (one := happened(e)) is not None]
    told += [one for d in decisions if (one := decided(d)) is not None]
    shown: list[Moment] = []
    for one in sorted(told, key=lambda m: m.time):
        if shown and replace(one, time=0, times=1) == replace(shown[-1], time=0, times=1):
            shown[-1] = replace(shown[-1], times=shown[-1].times + 1)
        else:
            shown.append(one)
    if len(shown) <= MOMENTS_LIMIT:
        return tuple(shown)
    half = MOMENTS_LIMIT // 2
    gap = Moment(
        time=shown[half].time,
        level="info",
        what=f"{counted(len(shown) - 2 * half, 'further moment')} left out",
    )
    return (*shown[:half], gap, *shown[-half:])


def _restarts_only(events: Iterable[Event]) -> Iterator[Event]:
    """The events; the first start of a later pass finds the run's files too, but is no restart."""
    seen: set[Any] = set()
    for event in events:
        if event.get("event") == protocol.EVENT_START:
            number_of_pass = count(event.get("pass"))
            yield event if number_of_pass in seen else {**event, "resumed": False}
            seen.add(number_of_pass)
        else:
            yield event


def happened(event: Event) -> Moment | None:
    """An event of the runner as a moment; None for those that a person does not follow one by one."""
    tell = _TELL.get(text(event.get("event")))
    time = when(event.get("time"))
    if tell is None or time is None:
        return None
    told = tell(event)
    if told is None:
        return None
    level, what, detail = told
    return Moment(
        time=time, level=level, what=what, detail=detail, attempt=count(event.get("attempt"))
    )


def _start(event: Event) -> Told | None:
    number_of_pass = count(event.get("pass")) or 1
    purpose = {1: "Training", 2: "Search"}.get(number_of_pass, f"Pass {number_of_pass}")
    if event.get("resumed") is True:
        return "warning", f"{purpose} started again from its checkpoint", ""
    return "info", f"{purpose} started", text(event.get("entry"))


def _fit(event: Event) -> Told | None:
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


def _fit_end(event: Event) -> Told | None:
    epochs = count(event.get("epochs"))
    seconds = number(event.get("seconds"))
    about = ([f"after {counted(epochs, 'epoch')}"] if epochs and epochs > 1 else []) + (
        [duration(seconds)] if seconds else []
    )
    return "info", f"Fit {count(event.get('fit')) or '?'} finished", ", ".join(about)


def _metric(event: Event) -> Told | None:
    source = text(event.get("source"), limit=80)
    name = text(event.get("metric"), limit=60)
    if source.startswith("fit."):
        return None
    return (
        "info",
        f"Measured {metric_name(name)} {metric_value(name, number(event.get('value')))}",
        source,
    )


def _trial(event: Event) -> Told | None:
    trial = event.get("trial")
    if not isinstance(trial, dict) or trial.get("state") == "running":
        return None
    edits = trial.get("edits")
    words = [text(one) for one in edits if isinstance(one, str)] if isinstance(edits, list) else []
    state = text(trial.get("state"), limit=20) or "finished"
    return "info", f"Trial {count(trial.get('number')) or 0} {state}", "; ".join(words[:10])


def _warning(event: Event) -> Told | None:
    return "warning", "Warning", text(event.get("message"), limit=1000)


def _note(event: Event) -> Told | None:
    return "info", "Note", text(event.get("message"), limit=1000)


def _hook_error(event: Event) -> Told | None:
    return (
        "warning",
        f"Own error in {text(event.get('hook'), limit=80)}",
        text(event.get("message")),
    )


def _end(event: Event) -> Told | None:
    error = event.get("error")
    code = event.get("exit_code")
    if isinstance(error, dict):
        message = ": ".join(p for p in (text(error.get("type")), text(error.get("message"))) if p)
        return "bad", "Script failed", message
    if code:
        return "bad", "Script failed", f"exit code {text(str(code), limit=20)}"
    seconds = number(event.get("seconds"))
    return "good", "Script ended well", duration(seconds) if seconds is not None else ""


_TELL: dict[str, Callable[[Event], Told | None]] = {
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


def decided(line: Event) -> Moment | None:
    """A line of the host's attempts.jsonl as a moment; starts and good ends are told by the runner
    already.
    """
    time = when(line.get("time"))
    told: Told | None = None
    if line.get("event") == protocol.EVENT_EXIT and line.get("exit_code") != 0:
        memory = ", out of memory" if line.get("out_of_memory") is True else ""
        told = (
            "bad",
            "Container ended",
            f"exit code {text(str(line.get('exit_code')), limit=20)}{memory}",
        )
    elif line.get("event") == protocol.EVENT_DECISION:
        level, what = _DECISIONS.get(text(line.get("do")), ("info", ""))
        told = (level, what, text(line.get("why"))) if what else None
    if time is None or told is None:
        return None
    return Moment(time=time, level=told[0], what=told[1], detail=told[2])
