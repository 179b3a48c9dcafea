"""The starts of the script with their outcomes, and the run's final failure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from mlops_lib.events import Attempt as AttemptEvent
from mlops_lib.events import End, Event, Exit, Start
from mlops_lib.records import RunResult
from mlops_lib.reporting.untrusted_files import count, text, when

ATTEMPTS_LIMIT = 500

Outcome = Literal["finished", "failed", "killed", "unknown"]


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One start of the script."""

    number: int
    began: float
    ended: float
    """Unix time of its end, or of its last sign of life if the end was not recorded."""
    number_of_pass: int
    """1 the script as written, 2 the search."""
    outcome: Outcome


@dataclass(frozen=True, kw_only=True)
class Problem:
    """A failure, with its own message."""

    kind: str
    message: str
    where: str = ""
    trace: str = ""


def attempts(events: Iterable[Event], decisions: Iterable[Event]) -> tuple[Attempt, ...]:
    """Return the attempts in order.

    The host's records decide on an attempt's times and outcome; the runner's events fill the gaps.
    """
    runner_events: dict[int, list[Event]] = {}
    for event in events:
        number = count(event.attempt, limit=10**6)
        if number is not None and when(event.time) is not None:
            runner_events.setdefault(number, []).append(event)
    host_records = _host_records(decisions)
    numbers = sorted({*runner_events, *host_records})[:ATTEMPTS_LIMIT]
    return tuple(
        _attempt(n, runner_events.get(n, []), host_records.get(n, {}), last=n == numbers[-1])
        for n in numbers
    )


def _host_records(decisions: Iterable[Event]) -> dict[int, dict[str, Any]]:
    """Return by attempt its start, end and exit code as recorded by the host."""
    records: dict[int, dict[str, Any]] = {}
    current: dict[str, Any] = {}
    for line in decisions:
        time = when(line.time)
        if time is None:
            continue
        if isinstance(line, AttemptEvent):
            number = count(line.attempt, limit=10**6) or len(records) + 1
            current = records.setdefault(number, {})
            current.update(began=time, number_of_pass=_pass(line) or 1)
        elif isinstance(line, Exit):
            current.update(ended=time, code=line.exit_code, memory=line.out_of_memory)
    return records


def _attempt(
    number: int, runner_events: list[Event], host_record: Mapping[str, Any], *, last: bool
) -> Attempt:
    times = [time for event in runner_events if (time := when(event.time)) is not None]
    times += [host_record[key] for key in ("began", "ended") if key in host_record]
    return Attempt(
        number=number,
        began=host_record.get("began", min(times)),
        ended=host_record.get("ended", max(times)),
        number_of_pass=host_record.get("number_of_pass")
        or max((_pass(event) or 1 for event in runner_events), default=1),
        outcome=_outcome(runner_events, host_record, last=last),
    )


def _outcome(runner_events: list[Event], host_record: Mapping[str, Any], *, last: bool) -> Outcome:
    end = next((event for event in reversed(runner_events) if isinstance(event, End)), None)
    if end is not None:
        return "failed" if end.error or end.exit_code else "finished"
    if "code" in host_record:
        return "finished" if host_record["code"] == 0 else "killed"
    # A process that is killed together with its host leaves no last line; only the next attempt
    # proves that it ended.
    return "unknown" if last else "killed"


def _pass(event: Event) -> int | None:
    return count(event.number_of_pass, limit=99)


def last_boundary(events: Sequence[Event]) -> Start | End | None:
    """Return the last start or end of the script, None if it never started."""
    return next((event for event in reversed(events) if isinstance(event, (Start, End))), None)


def restarts(all_attempts: Iterable[Attempt]) -> int:
    """Return the number of starts beyond the first of each pass."""
    passes = [attempt.number_of_pass for attempt in all_attempts]
    return len(passes) - len(set(passes))


def failure(events: Sequence[Event], result: RunResult | None) -> Problem | None:
    """Return the failure that ended the run, or None.

    The host's record comes first, then the script's last event.
    """
    if result is not None and result.failure is not None:
        host_failure = result.failure
        return Problem(
            kind=host_failure.kind,
            message=text(host_failure.message, limit=1000),
            where=text(host_failure.where),
        )
    last = last_boundary(events)
    if not isinstance(last, End) or (last.error is None and not last.exit_code):
        return None
    error = last.error or {}
    file = text(error.get("file"))
    line = count(error.get("line"))
    parts = [text(error.get("type"), limit=80), text(error.get("message"), limit=1000)]
    return Problem(
        kind=text(error.get("kind"), limit=40) or "crash",
        message=": ".join(part for part in parts if part) or f"exit code {last.exit_code}",
        where=f"{file}, line {line}" if file and line else file,
    )
