"""The watchdog: what to do about a container that ended or stands still.

Everything here is pure: from what is known to what is done. The loop around it is `training`, which
holds the run's lease. A watchdog keeps no state of its own: what it has to remember is in the run's
`attempts.jsonl`.
"""

from __future__ import annotations

import random
import re
import signal
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from mlops_lib.engine import Container
from mlops_lib.records import Failure, FailureKind
from mlops_lib.runner import protocol

BACK_OFF_S = (0.0, 2.0, 4.0, 8.0, 16.0, 30.0)
JITTER = 0.25
LOST = 255
"""What Docker says of a container that was gone when the engine came back."""

Trouble = Literal[
    "stopped",
    "bad start",
    "import",
    "disk",
    "nan",
    "bug",
    "repeated",
    "early",
    "exception",
    "oom",
    "network",
    "hang",
    "crash",
    "grown",
    "reclaimed",
]


@dataclass(frozen=True, kw_only=True)
class Past:
    """What the attempts before have shown, since a person last asked for this pass."""

    restarts: int = 0
    """Restarts since the last progress."""
    hangs: int = 0
    """How many of them killed a container that stood still."""
    errors: tuple[tuple[Any, ...], ...] = ()
    """Where the script's exceptions came from (`place`), since the last progress."""
    smaller: bool = False
    """Whether it runs with a smaller memory footprint already."""


@dataclass(frozen=True, kw_only=True)
class Situation:
    """What is known when a container has ended."""

    container: Container
    end: Mapping[str, Any] | None = None
    """The attempt's own `end` event, None if it died without one."""
    past: Past = field(default_factory=Past)
    budget: int
    """Restarts without progress in between."""
    asked_to_stop: bool = False
    """A person stopped the run."""
    hung: str = ""
    """Why it was killed as hanging, "" if it was not."""
    nan: str = ""
    """Where the training's loss was no number at its end, "" if it was one."""
    disk_full: bool = False
    stepped: bool = True
    """Whether the attempt came as far as its first fit, or worked for a while."""
    log: str = ""
    crash: str = ""
    """More of the log's end, in which a crash in native code may be described."""


@dataclass(frozen=True, kw_only=True)
class Action:
    """What is done."""

    do: Literal["finish", "restart", "give up", "stay stopped"]
    why: str
    trouble: Trouble | None = None
    delay_s: float = 0.0
    failure: Failure | None = None
    smaller: bool = False
    """Restart with a smaller memory footprint."""


@dataclass(frozen=True)
class Answer:
    """The answer to one kind of trouble."""

    kind: FailureKind
    words: str
    restarts: bool = False
    """Whether it is started again, within the budget; else a person must do something first."""


ANSWERS: dict[Trouble, Answer] = {
    "bad start": Answer("bug", "the runner cannot start"),
    "import": Answer("import", "a package is missing"),
    "disk": Answer("disk", "the disk is full or read-only"),
    "nan": Answer("nan", "the training diverged"),
    "bug": Answer("bug", "the script failed"),
    "repeated": Answer("bug", "the script failed twice at the same place"),
    "early": Answer("bug", "the script failed before its first step"),
    "exception": Answer("bug", "the script failed, perhaps by accident", restarts=True),
    "oom": Answer("oom", "out of memory", restarts=True),
    "network": Answer("network", "the script could not reach something", restarts=True),
    "hang": Answer("hang", "it stood still", restarts=True),
    "crash": Answer("crash", "it died", restarts=True),
    "reclaimed": Answer(
        "crash", "it was asked to end by a signal and has kept its state", restarts=True
    ),
    "grown": Answer("crash", "it asked for a fresh process to go on in", restarts=True),
}
"""Every trouble with its answer; `decide` adds that memory is tried for once only, and the budget.
"""

PASSING = frozenset(
    (
        "OSError",
        "BlockingIOError",
        "InterruptedError",
        "TimeoutError",
        "InternalError",
        "UnavailableError",
        "AbortedError",
        "CancelledError",
        "DeadlineExceededError",
        "CudaError",
        "AcceleratorError",
    )
)
"""Exceptions of the machine, which may be over at the next try, wherever they come."""
_SAID: dict[str, Trouble] = {
    "import": "import",
    "disk": "disk",
    "oom": "oom",
    "network": "network",
    "bug": "bug",
    "stopped": "stopped",
}
"""The runner's word for an exception; one that it cannot place is tried once more."""


def triage(situation: Situation) -> Trouble | None:
    """What the matter is; None if the script ended well."""
    end = situation.end
    container = situation.container
    error = end.get("error") if end is not None else None
    if situation.asked_to_stop:
        return "stopped"
    if end is not None and end.get("exit_code") == 0:
        return None
    if isinstance(error, Mapping):
        return _exception(situation, error)
    if container.exit_code == protocol.BAD_START:
        return "bad start"
    if container.asked_to_end:
        return "stopped"
    if container.exit_code == protocol.RECYCLE and end is None:
        return "grown"
    if container.exit_code == protocol.RECLAIMED and end is None:
        return "reclaimed"
    if situation.disk_full:
        return "disk"
    if situation.hung:
        return "hang"
    return "oom" if container.out_of_memory else "crash"


def _exception(situation: Situation, error: Mapping[str, Any]) -> Trouble:
    said = _SAID.get(str(error.get("kind")), "exception")
    if said in ("bug", "exception") and situation.nan:
        return "nan"
    if said == "exception" and situation.container.out_of_memory:
        return "oom"  # a worker was killed, and the script fell over that
    if said != "exception" or str(error.get("type")) in PASSING:
        return said
    if place(error) in situation.past.errors:
        return "repeated"
    # What has read no data and drawn no number yet does the same again: a second try shows the same
    # traceback later.
    return said if situation.stepped or situation.past.restarts else "early"


def place(error: Mapping[str, Any]) -> tuple[Any, ...]:
    """What makes two tracebacks the same: the exception's type and where it was raised."""
    return (error.get("type"), error.get("file"), error.get("line"))


def decide(situation: Situation, *, chance: Callable[[], float] = random.random) -> Action:
    """What to do about a container that has ended.

    Args:
        situation: what is known.
        chance: a number from 0 to 1, for the jitter.
    """
    trouble = triage(situation)
    past = situation.past
    if trouble is None:
        return Action(do=protocol.DO_FINISH, why="the script ended well")
    if trouble == "stopped":
        return Action(do=protocol.DO_STAY_STOPPED, why="stopped by a person", trouble=trouble)
    answer = ANSWERS[trouble]
    why = _why(trouble, situation)
    if not answer.restarts or (trouble == "oom" and past.smaller):
        return Action(
            do=protocol.DO_GIVE_UP,
            why=why,
            trouble=trouble,
            failure=_failure(answer.kind, why, situation),
        )
    if past.restarts >= situation.budget:
        why = f"{why}; that was restart {past.restarts} of {situation.budget} without progress"
        return Action(
            do=protocol.DO_GIVE_UP,
            why=why,
            trouble=trouble,
            failure=_failure(answer.kind, why, situation),
        )
    delay_s = back_off(past.restarts, chance=chance)
    return Action(
        do=protocol.DO_RESTART, why=why, trouble=trouble, delay_s=delay_s, smaller=trouble == "oom"
    )


def back_off(restarts: int, *, chance: Callable[[], float] = random.random) -> float:
    """Seconds before the next restart: the first at once, later ones capped exponential with
    jitter.
    """
    base = BACK_OFF_S[min(restarts, len(BACK_OFF_S) - 1)]
    return base * (1 + JITTER * (2 * chance() - 1))


def _why(trouble: Trouble, situation: Situation) -> str:
    words = ANSWERS[trouble].words
    code = situation.container.exit_code
    if trouble == "hang":
        return situation.hung
    if trouble == "nan":
        return f"{words}: {situation.nan}"
    if trouble == "oom":
        return f"{words}, with the smaller footprint too" if situation.past.smaller else words
    if trouble != "crash":
        return words
    if code is None or situation.container.state == "gone":
        return "it vanished"
    if code == LOST:
        return "it ended with the engine or the machine"
    if code > SIGNALS:
        return f"it was killed by {signal_name(code - SIGNALS)}"
    return f"it ended with exit code {code} without saying why"


SIGNALS = 128
"""A process that a signal ended has an exit code above this, by as much as the signal's number."""


def signal_name(number: int) -> str:
    """Return a signal as people know it.

    Example:
        >>> signal_name(11)
        'signal 11 (SIGSEGV: Segmentation fault)'
    """
    try:
        known = signal.Signals(number)
    except ValueError:
        return f"signal {number}"
    described = signal.strsignal(number)
    return f"signal {number} ({known.name}{f': {described}' if described else ''})"


_FATAL = re.compile(
    r"^Fatal Python error: (?P<what>[^\n]{1,200})\n(?P<stack>(?:.*\n?){0,200})", re.MULTILINE
)
_FRAME = re.compile(r'^  File "(?P<file>[^"\n]{1,500})", line (?P<line>\d+) in ', re.MULTILINE)
_OF_THE_PROJECT = "/inside/work/"
"""Part of the path of a file in the working directory."""


def native_crash(log: str) -> tuple[str, str]:
    """Return what Python's `faulthandler` wrote about a crash in native code.

    Args:
        log: the end of the script's output.

    Returns:
        what happened, and the file and line of the project that was being executed; "" for what is
        not known.
    """
    reports = list(_FATAL.finditer(log))
    if not reports:
        return "", ""
    found = reports[-1]
    frames = [(frame["file"], frame["line"]) for frame in _FRAME.finditer(found["stack"])]
    own = [one for one in frames if _OF_THE_PROJECT in one[0]] or frames[:1]
    where = f"{own[0][0].rpartition(_OF_THE_PROJECT)[2]}:{own[0][1]}" if own else ""
    return found["what"].strip(), where


def _failure(kind: FailureKind, why: str, situation: Situation) -> Failure:
    error = situation.end.get("error") if situation.end is not None else None
    if not isinstance(error, Mapping):
        what, where = (
            native_crash(situation.crash or situation.log) if kind == "crash" else ("", "")
        )
        message = f"{why}: {what} in native code" if what else why
        return Failure(kind=kind, message=message, where=where, log=situation.log)
    where = f"{error['file']}:{error['line']}" if error.get("file") else ""
    message = f"{error.get('type')}: {error.get('message')}"
    if kind == "nan":
        message = f"{why}; then {message}"
    return Failure(kind=kind, message=message[:2000], where=where[:500], log=situation.log)


def recall(lines: Iterable[Mapping[str, Any]], *, number_of_pass: int, progress: int) -> Past:
    """What a run's `attempts.jsonl` says about the attempts before this one.

    Args:
        lines: its lines.
        number_of_pass: the pass under way.
        progress: how much progress there is now (the `progress` of a decision, when it was taken).
    """
    restarts = 0
    hangs = 0
    smaller = False
    errors: list[tuple[Any, ...]] = []
    error: Any = None
    for line in lines:
        if (
            line.get("event") == protocol.EVENT_ATTEMPT
            and line.get("number_of_pass") != number_of_pass
        ):
            restarts = 0
            hangs = 0
            smaller = False
            errors = []
        elif line.get("event") == protocol.EVENT_EXIT:
            error = line.get("error")
        elif line.get("event") == protocol.EVENT_DECISION and line.get("do") in (
            protocol.DO_GIVE_UP,
            protocol.DO_FINISH,
            protocol.DO_STAY_STOPPED,
        ):
            restarts = 0
            hangs = 0
            errors = []
            smaller = smaller and line.get("do") == protocol.DO_STAY_STOPPED
        elif line.get("event") == protocol.EVENT_DECISION and line.get("do") == protocol.DO_RESTART:
            smaller = smaller or line.get("smaller") is True
            if line.get("progress") == progress:
                restarts += 1
                hangs += line.get("trouble") == "hang"
                errors += [place(error)] if isinstance(error, Mapping) else []
    return Past(restarts=restarts, hangs=hangs, errors=tuple(errors), smaller=smaller)
