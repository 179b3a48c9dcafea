"""Every start of the script: when it ran, how it ended, and what stopped the run in the end."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from mlops_lib.records import RunResult
from mlops_lib.reporting.untrusted_files import count, text, when
from mlops_lib.runner import protocol

ATTEMPTS_LIMIT = 500

Outcome = Literal["finished", "failed", "killed", "unknown"]
Event = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One start of the script."""

    number: int
    began: float
    ended: float
    """When it ended; the last that was heard of it where nobody saw the end."""
    number_of_pass: int
    """1 the script as written, 2 the search."""
    outcome: Outcome


@dataclass(frozen=True, kw_only=True)
class Problem:
    """Something that went wrong, in its own words."""

    kind: str
    message: str
    where: str = ""
    trace: str = ""


def attempts(events: Iterable[Event], decisions: Iterable[Event]) -> tuple[Attempt, ...]:
    """The attempts in order.

    The host's notes say how each ended; the runner's events fill in what they lack.
    """
    heard: dict[int, list[Event]] = {}
    for event in events:
        number = count(event.get("attempt"), limit=10**6)
        time = when(event.get("time"))
        if number is not None and time is not None:
            heard.setdefault(number, []).append(event)
    noted = _noted(decisions)
    numbers = sorted({*heard, *noted})[:ATTEMPTS_LIMIT]
    return tuple(
        _attempt(n, heard.get(n, []), noted.get(n, {}), last=n == numbers[-1]) for n in numbers
    )


def _noted(decisions: Iterable[Event]) -> dict[int, dict[str, Any]]:
    """By attempt: when the host started it, when it ended, and its exit code."""
    found: dict[int, dict[str, Any]] = {}
    current: dict[str, Any] = {}
    for line in decisions:
        time = when(line.get("time"))
        if time is None:
            continue
        if line.get("event") == protocol.EVENT_ATTEMPT:
            current = found.setdefault(
                count(line.get("attempt"), limit=10**6) or len(found) + 1, {}
            )
            current.update(
                began=time, number_of_pass=count(line.get("number_of_pass"), limit=99) or 1
            )
        elif line.get("event") == protocol.EVENT_EXIT:
            current.update(
                ended=time, code=line.get("exit_code"), memory=line.get("out_of_memory") is True
            )
    return found


def _attempt(number: int, heard: list[Event], noted: Mapping[str, Any], *, last: bool) -> Attempt:
    times = [time for event in heard if (time := when(event.get("time"))) is not None]
    times += [noted[key] for key in ("began", "ended") if key in noted]
    return Attempt(
        number=number,
        began=noted.get("began", min(times)),
        ended=noted.get("ended", max(times)),
        number_of_pass=noted.get("number_of_pass")
        or max((count(e.get("pass"), limit=99) or 1 for e in heard), default=1),
        outcome=_outcome(heard, noted, last=last),
    )


def _outcome(heard: list[Event], noted: Mapping[str, Any], *, last: bool) -> Outcome:
    end = next((e for e in reversed(heard) if e.get("event") == protocol.EVENT_END), None)
    if end is not None:
        return "failed" if end.get("error") or end.get("exit_code") else "finished"
    if "code" in noted:
        return "finished" if noted["code"] == 0 else "killed"
    # Nobody writes a last line for what was killed together with its host; the next attempt is the
    # proof.
    return "unknown" if last else "killed"


def restarts(made: Iterable[Attempt]) -> int:
    """Starts beyond the first of each pass."""
    passes = [one.number_of_pass for one in made]
    return len(passes) - len(set(passes))


def failure(events: list[dict[str, Any]], result: RunResult | None) -> Problem | None:
    """What the run did not recover from: what the host says, else how the script says it ended."""
    if result is not None and result.failure is not None:
        found = result.failure
        return Problem(
            kind=found.kind, message=text(found.message, limit=1000), where=text(found.where)
        )
    last: Event = next(
        (
            e
            for e in reversed(events)
            if e.get("event") in (protocol.EVENT_START, protocol.EVENT_END)
        ),
        {},
    )
    error = last.get("error")
    if last.get("event") != protocol.EVENT_END or not (
        isinstance(error, dict) or last.get("exit_code")
    ):
        return None
    error = error if isinstance(error, dict) else {}
    file = text(error.get("file"))
    line = count(error.get("line"))
    said = [text(error.get("type"), limit=80), text(error.get("message"), limit=1000)]
    return Problem(
        kind=text(error.get("kind"), limit=40) or "crash",
        message=": ".join(part for part in said if part)
        or f"exit code {text(str(last.get('exit_code')), limit=20)}",
        where=f"{file}, line {line}" if file and line else file,
    )
