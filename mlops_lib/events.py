"""Typed events of a run, as `events.jsonl`, `attempts.jsonl` and observers have them.

In the files, and for an observer, an event is a JSON object whose `event` names its kind
(docs/run-directory.md). `from_json` turns it into a frozen object of the class for that kind, so that
code matches classes and not strings. What a script's container wrote is a claim: a field of the wrong
type, or out of bounds, reads as if it were missing, and unknown fields are kept in `fields` only.

Example:
    >>> from_json({"event": "epoch", "fit": 1, "epoch": 0, "metrics": {"loss": 0.3}, "pass": 1}).epoch
    0
    >>> from_json({"event": "of a newer release", "fit": 1}).kind
    'of a newer release'
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from mlops_lib.runner import protocol

Observer = Callable[[dict[str, Any]], None]
"""Called with each event of a command as it happens, as a JSON object."""

LARGEST = 1 << 53
"""Numbers beyond this are not exact in JSON readers, and nothing here counts so far."""
TEXT_LIMIT = 10_000
"""Characters of a text field that are kept."""
LIST_LIMIT = 1_000
"""Items of a list field that are kept."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Event:
    """Any event; of this very class if its kind has no class of its own."""

    kind: str = ""
    time: float | None = None
    """Unix time in seconds."""
    number_of_pass: int | None = None
    attempt: int | None = None
    past: bool = False
    """Whether it happened before the present program began to follow the run."""
    fields: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)
    """The JSON object that it was read from."""


# --- The runner's, in events.jsonl


@dataclass(frozen=True, kw_only=True, slots=True)
class Start(Event):
    """The runner is about to execute the script."""

    kind: str = protocol.EVENT_START
    entry: str = ""
    args: tuple[str, ...] = ()
    python: str = ""
    resumed: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class FitStarted(Event):
    """A fit begins, continues or is restored."""

    kind: str = protocol.EVENT_FIT
    fit: int | None = None
    framework: str = ""
    model: str = ""
    """Class of the model."""
    state: str = ""
    """started, resumed or restored."""
    epochs: int | None = None
    epoch: int | None = None
    """The first epoch to be trained now."""
    steps: int | None = None
    parameters: int | None = None
    continues: int | None = None
    """The earlier fit of the same model."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Epoch(Event):
    """An epoch is complete, and a checkpoint holds it."""

    kind: str = protocol.EVENT_EPOCH
    fit: int | None = None
    trial: int | None = None
    epoch: int | None = None
    """From 0."""
    metrics: Mapping[str, Any] = field(default_factory=dict)
    """By name; numbers that are not finite are the texts in `protocol.NOT_FINITE`."""
    seconds: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Checkpoint(Event):
    """A checkpoint is durable."""

    kind: str = protocol.EVENT_CHECKPOINT
    fit: int | None = None
    trial: int | None = None
    epoch: int | None = None
    """The last complete epoch, from 0."""
    step: int | None = None
    """Steps of the epoch after that; 0 at the end of an epoch."""
    bytes: int | None = None
    seconds: float | None = None
    done: bool = False
    """Whether the fit is complete."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FitEnded(Event):
    """A fit is complete."""

    kind: str = protocol.EVENT_FIT_END
    fit: int | None = None
    epochs: int | None = None
    seconds: float | None = None
    metrics: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Metric(Event):
    """An evaluation, as in metrics.json; `fields` has the whole of it."""

    kind: str = protocol.EVENT_METRIC
    metric: str = ""
    value: float | None = None
    source: str = ""
    fit: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured(Event):
    """A number that the saved and reloaded model gave for an evaluation."""

    kind: str = protocol.EVENT_MEASURED
    metric: str = ""
    recomputed: float | None = None
    source: str = ""
    fit: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class TrialEvent(Event):
    """The state of one candidate of the search."""

    kind: str = protocol.EVENT_TRIAL
    trial: Mapping[str, Any] = field(default_factory=dict)
    """A `records.Trial` as JSON, unchecked."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Note(Event):
    """A remark on something that was done, for example by the search."""

    kind: str = protocol.EVENT_NOTE
    message: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class RunWarning(Event):
    """A problem that the developer should know about."""

    kind: str = protocol.EVENT_WARNING
    message: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class HookError(Event):
    """A failure of injected code; the script went on without it."""

    kind: str = protocol.EVENT_HOOK_ERROR
    hook: str = ""
    message: str = ""
    traceback: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Output(Event):
    """A file that the script wrote."""

    kind: str = protocol.EVENT_OUTPUT
    path: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class End(Event):
    """The script has ended."""

    kind: str = protocol.EVENT_END
    exit_code: int | None = None
    seconds: float | None = None
    error: Mapping[str, Any] | None = None
    """The script's exception: `type`, `message`, `file`, `line`, `kind`."""


# --- The host's, in attempts.jsonl


@dataclass(frozen=True, kw_only=True, slots=True)
class Attempt(Event):
    """A container was started."""

    kind: str = protocol.EVENT_ATTEMPT
    container: str = ""
    reading: tuple[str, ...] | None = None
    """The settings that locate the script's number (`attempt_log.reading`)."""
    log_from: int | None = None
    """Size of the log in bytes when it was started."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Exit(Event):
    """A container has ended."""

    kind: str = protocol.EVENT_EXIT
    container: str = ""
    exit_code: int | None = None
    out_of_memory: bool = False
    error: Mapping[str, Any] | None = None
    """The script's exception: `type`, `file`, `line`, `kind`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Decision(Event):
    """A decision of the watchdog."""

    kind: str = protocol.EVENT_DECISION
    do: str = ""
    """One of `protocol.DECISIONS`."""
    why: str = ""
    trouble: str = ""
    delay_s: float | None = None
    smaller: bool = False
    """Whether the next attempt has a smaller memory footprint."""
    progress: int | None = None
    failure: Mapping[str, Any] | None = None
    """A `records.Failure` as JSON, of a run that is given up."""


# --- For observers only


@dataclass(frozen=True, kw_only=True, slots=True)
class Stage(Event):
    """A stage of the pipeline begins."""

    kind: str = protocol.EVENT_STAGE
    stage: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class BuildOutput(Event):
    """A line that the build of an image printed."""

    kind: str = protocol.EVENT_BUILD
    line: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class VerdictGiven(Event):
    """The gate has judged."""

    kind: str = protocol.EVENT_VERDICT
    verdict: Mapping[str, Any] = field(default_factory=dict)
    """A `records.Verdict` as JSON."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Heartbeat(Event):
    """The runner's heartbeat, as the supervisor saw it; `fields` has the whole of it."""

    kind: str = protocol.EVENT_HEARTBEAT
    phase: str = ""
    fit: int | None = None
    epoch: int | None = None
    step: int | None = None
    steps: int | None = None
    progress: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class ImproveStarted(Event):
    """A search in the caller's own process begins."""

    kind: str = protocol.EVENT_IMPROVE
    model: str = ""
    """Class of the model."""
    metric: str = ""
    mode: str = ""
    """max or min."""
    target: float | None = None
    trials: int | None = None
    """The most that will be tried."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrialProgress(Event):
    """Progress within a trial of a search in the caller's own process."""

    kind: str = protocol.EVENT_PROGRESS
    phase: str = ""
    trial: int | None = None
    epoch: int | None = None
    """From 0."""
    metrics: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Look(Event):
    """A watch is about to look at these runs."""

    kind: str = protocol.EVENT_LOOK
    run_dirs: tuple[str, ...] = ()


CLASSES: dict[str, type[Event]] = {
    protocol.EVENT_START: Start,
    protocol.EVENT_FIT: FitStarted,
    protocol.EVENT_EPOCH: Epoch,
    protocol.EVENT_CHECKPOINT: Checkpoint,
    protocol.EVENT_FIT_END: FitEnded,
    protocol.EVENT_METRIC: Metric,
    protocol.EVENT_MEASURED: Measured,
    protocol.EVENT_TRIAL: TrialEvent,
    protocol.EVENT_NOTE: Note,
    protocol.EVENT_WARNING: RunWarning,
    protocol.EVENT_HOOK_ERROR: HookError,
    protocol.EVENT_OUTPUT: Output,
    protocol.EVENT_END: End,
    protocol.EVENT_ATTEMPT: Attempt,
    protocol.EVENT_EXIT: Exit,
    protocol.EVENT_DECISION: Decision,
    protocol.EVENT_STAGE: Stage,
    protocol.EVENT_BUILD: BuildOutput,
    protocol.EVENT_VERDICT: VerdictGiven,
    protocol.EVENT_HEARTBEAT: Heartbeat,
    protocol.EVENT_IMPROVE: ImproveStarted,
    protocol.EVENT_PROGRESS: TrialProgress,
    protocol.EVENT_LOOK: Look,
}
"""The class for each kind of event."""

HOST_EVENTS = (Attempt, Exit, Decision)
"""Classes of the events in `attempts.jsonl`."""


def from_json(value: Mapping[str, Any]) -> Event:
    """Return the event of a JSON object; malformed fields have their defaults."""
    kind = _text(value.get("event")) or ""
    event_class = CLASSES.get(kind, Event)
    arguments: dict[str, Any] = {"kind": kind, "fields": value}
    for name, read in _READERS[event_class]:
        item = value.get(name)
        checked = None if item is None else read(item)
        if checked is not None:
            arguments[name] = checked
    # The runner's events call it `pass`, which is no name for a field; the host's have the long one.
    number_of_pass = _integer(value.get("pass"))
    if number_of_pass is not None:
        arguments["number_of_pass"] = number_of_pass
    return event_class(**arguments)


def stage(name: str) -> dict[str, Any]:
    """Return the event that a stage begins, for an observer."""
    return {"event": protocol.EVENT_STAGE, "stage": name}


def warning(message: str) -> dict[str, Any]:
    """Return a warning for an observer."""
    return {"event": protocol.EVENT_WARNING, "message": message}


def build_output(line: str) -> dict[str, Any]:
    """Return a line of a build's output, for an observer."""
    return {"event": protocol.EVENT_BUILD, "line": line}


def _integer(value: Any) -> int | None:
    is_integer = isinstance(value, int) and not isinstance(value, bool)
    return value if is_integer and abs(value) <= LARGEST else None


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(value) if abs(value) <= LARGEST else None  # false for nan too


def _text(value: Any) -> str | None:
    return value[:TEXT_LIMIT] if isinstance(value, str) else None


def _flag(value: Any) -> bool | None:
    return value if isinstance(value, bool) else None


def _object(value: Any) -> Mapping[str, Any] | None:
    return value if isinstance(value, Mapping) else None


def _texts(value: Any) -> tuple[str, ...] | None:
    if not isinstance(value, (list, tuple)):
        return None
    texts = [_text(item) for item in value[:LIST_LIMIT]]
    return tuple(text for text in texts if text is not None)


_BY_ANNOTATION: dict[str, Callable[[Any], Any]] = {
    "int | None": _integer,
    "float | None": _number,
    "str": _text,
    "bool": _flag,
    "Mapping[str, Any]": _object,
    "Mapping[str, Any] | None": _object,
    "tuple[str, ...]": _texts,
    "tuple[str, ...] | None": _texts,
}
"""Functions that return a field's value, or None if it is malformed."""


def _readers(event_class: type[Event]) -> tuple[tuple[str, Callable[[Any], Any]], ...]:
    """Return name and reader of each field, for use with very many events."""
    return tuple(
        (attribute.name, _BY_ANNOTATION[str(attribute.type)])
        for attribute in dataclasses.fields(event_class)
        if attribute.name not in ("kind", "fields")
    )


_CLASSES: tuple[type[Event], ...] = (Event, *CLASSES.values())
_READERS = {event_class: _readers(event_class) for event_class in _CLASSES}
