"""The restart policy: the decision about a container that ended or hangs.

Everything here is pure, from a situation to an action; the loop around it is `supervision`. What
the policy has to remember of earlier attempts is in the run's `attempts.jsonl`, so that any program
can continue with the run.
"""

from __future__ import annotations

import random
import re
import signal
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from mlops_lib.engine import Container
from mlops_lib.events import Attempt, Decision, End, Event, Exit
from mlops_lib.records import Failure, FailureKind
from mlops_lib.retry import RetryPolicy
from mlops_lib.runner import protocol

BACK_OFF = RetryPolicy(first_s=2.0, longest_s=30.0)
"""The pauses before the second and all further restarts without progress."""
LOST = 255
"""Docker's exit code of a container that had disappeared when the daemon came back."""

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
    """Summary of the attempts since a person last requested this pass."""

    restarts: int = 0
    """Restarts since the last progress."""
    hangs: int = 0
    """The number of these that killed a container that hung."""
    errors: tuple[tuple[Any, ...], ...] = ()
    """Places of the script's exceptions (`place`) since the last progress."""
    smaller: bool = False
    """True if it already runs with the smaller memory footprint."""


@dataclass(frozen=True, kw_only=True)
class Situation:
    """The facts about a container that has ended, and about its run."""

    container: Container
    end: End | None = None
    """The attempt's own end, None if it died without one."""
    past: Past = field(default_factory=Past)
    budget: int
    """Allowed restarts without progress in between."""
    asked_to_stop: bool = False
    """A person stopped the run."""
    hung: str = ""
    """The reason why it was killed for hanging, "" if it was not."""
    nan: str = ""
    """The fit whose loss was not a number at the end, in words, or ""."""
    disk_full: bool = False
    stepped: bool = True
    """True if the attempt reached its first fit, or worked for a while."""
    log: str = ""
    """End of the script's output."""
    crash: str = ""
    """More of it, in which a crash in native code may be described."""


@dataclass(frozen=True, kw_only=True)
class Action:
    """A decision about a run whose container has ended."""

    do: Literal["finish", "restart", "give up", "stay stopped"]
    why: str
    trouble: Trouble | None = None
    delay_s: float = 0.0
    failure: Failure | None = None
    smaller: bool = False
    """Restart with a smaller memory footprint."""


@dataclass(frozen=True)
class Response:
    """The response to one kind of trouble."""

    kind: FailureKind
    words: str
    restarts: bool = False
    """True if it is started again, within the budget; if not, a person must do something first."""


RESPONSES: dict[Trouble, Response] = {
    "bad start": Response("bug", "the runner cannot start"),
    "import": Response("import", "a package is missing"),
    "disk": Response("disk", "the disk is full or read-only"),
    "nan": Response("nan", "the training diverged"),
    "bug": Response("bug", "the script failed"),
    "repeated": Response("bug", "the script failed twice at the same place"),
    "early": Response("bug", "the script failed before its first step"),
    "exception": Response("bug", "the script failed, perhaps by accident", restarts=True),
    "oom": Response("oom", "out of memory", restarts=True),
    "network": Response("network", "the script could not reach something", restarts=True),
    "hang": Response("hang", "it stood still", restarts=True),
    "crash": Response("crash", "it died", restarts=True),
    "reclaimed": Response(
        "crash", "it was asked to end by a signal and has kept its state", restarts=True
    ),
    "grown": Response("crash", "it asked for a fresh process to go on in", restarts=True),
}
"""The response to each trouble; `decide` adds the budget, and one restart only for memory."""

TRANSIENT = frozenset(
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
"""Exceptions of the machine: the next attempt may not meet them, wherever they were raised."""
_BY_RUNNER: dict[str, Trouble] = {
    "import": "import",
    "disk": "disk",
    "oom": "oom",
    "network": "network",
    "bug": "bug",
    "stopped": "stopped",
}
"""The trouble for each kind of exception that the runner knows; any other is tried once more."""


def triage(situation: Situation) -> Trouble | None:
    """Return what went wrong; None if the script ended well."""
    end = situation.end
    container = situation.container
    if situation.asked_to_stop:
        return "stopped"
    if end is not None and end.exit_code == 0:
        return None  # even if its container was killed afterwards
    if end is not None and end.error is not None:
        return _classify_exception(situation, end.error)
    if container.exit_code == protocol.BAD_START:
        return "bad start"
    # Before the exit code: a stopped process ends with that of its signal, as a killed one does.
    if container.asked_to_end:
        return "stopped"
    # A script may end with this code itself; the runner then has journaled an end.
    if container.exit_code == protocol.RECYCLE and end is None:
        return "grown"
    if container.exit_code == protocol.RECLAIMED and end is None:
        return "reclaimed"
    # Before hang and crash: a full disk causes both.
    if situation.disk_full:
        return "disk"
    if situation.hung:
        return "hang"
    return "oom" if container.out_of_memory else "crash"


def _classify_exception(situation: Situation, error: Mapping[str, Any]) -> Trouble:
    trouble = _BY_RUNNER.get(str(error.get("kind")), "exception")
    # The exception is only where the numbers that were none came to light.
    if trouble in ("bug", "exception") and situation.nan:
        return "nan"
    if trouble == "exception" and situation.container.out_of_memory:
        return "oom"  # the kernel killed a worker process, and the script failed because of that
    if trouble != "exception" or str(error.get("type")) in TRANSIENT:
        return trouble
    # The same exception at the same line after a resume: chance would have moved it.
    if place(error) in situation.past.errors:
        return "repeated"
    # Code that has neither read data nor drawn random numbers is deterministic: a second attempt
    # would only show the same traceback later.
    return trouble if situation.stepped or situation.past.restarts else "early"


def place(error: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return the type and place of an exception; the same for the same failure."""
    return (error.get("type"), error.get("file"), error.get("line"))


def decide(situation: Situation, *, chance: Callable[[], float] = random.random) -> Action:
    """Decide about a run whose container has ended.

    Args:
        situation: the container's end, the journal and the budget.
        chance: returns a number from 0 to 1, for the jitter.
    """
    trouble = triage(situation)
    past = situation.past
    if trouble is None:
        return Action(do=protocol.DO_FINISH, why="the script ended well")
    if trouble == "stopped":
        return Action(do=protocol.DO_STAY_STOPPED, why="stopped by a person", trouble=trouble)
    response = RESPONSES[trouble]
    why = _why(trouble, situation)
    if not response.restarts or (trouble == "oom" and past.smaller):
        return Action(
            do=protocol.DO_GIVE_UP,
            why=why,
            trouble=trouble,
            failure=_failure(response.kind, why, situation),
        )
    if past.restarts >= situation.budget:
        why = f"{why}; that was restart {past.restarts} of {situation.budget} without progress"
        return Action(
            do=protocol.DO_GIVE_UP,
            why=why,
            trouble=trouble,
            failure=_failure(response.kind, why, situation),
        )
    delay_s = back_off(past.restarts, chance=chance)
    return Action(
        do=protocol.DO_RESTART, why=why, trouble=trouble, delay_s=delay_s, smaller=trouble == "oom"
    )


def back_off(restarts: int, *, chance: Callable[[], float] = random.random) -> float:
    """Return the seconds before the next restart: 0 at first, then more, up to a cap."""
    return replace(BACK_OFF, chance=chance).pause_s(restarts) if restarts else 0.0


def _why(trouble: Trouble, situation: Situation) -> str:
    words = RESPONSES[trouble].words
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
"""Exit code of a process that a signal ended, minus the signal's number."""


def signal_name(number: int) -> str:
    """Return a signal's number, name and meaning.

    Example:
        >>> signal_name(11)
        'signal 11 (SIGSEGV: Segmentation fault)'
    """
    try:
        known_signal = signal.Signals(number)
    except ValueError:
        return f"signal {number}"
    described = signal.strsignal(number)
    return f"signal {number} ({known_signal.name}{f': {described}' if described else ''})"


_FATAL = re.compile(
    r"^Fatal Python error: (?P<what>[^\n]{1,200})\n(?P<stack>(?:.*\n?){0,200})", re.MULTILINE
)
_FRAME = re.compile(r'^  File "(?P<file>[^"\n]{1,500})", line (?P<line>\d+) in ', re.MULTILINE)
_PROJECT_FOLDER = "/inside/work/"
"""Part of the path of every file in the working directory."""


def native_crash(log: str) -> tuple[str, str]:
    """Return what Python's `faulthandler` reported of a crash in native code.

    Args:
        log: the end of the script's output.

    Returns:
        The error, and the file and line of the project that was being executed; each "" if unknown.
    """
    reports = list(_FATAL.finditer(log))
    if not reports:
        return "", ""
    report = reports[-1]
    frames = [(frame["file"], frame["line"]) for frame in _FRAME.finditer(report["stack"])]
    own_frames = [(file, line) for file, line in frames if _PROJECT_FOLDER in file]
    if not frames:
        return report["what"].strip(), ""
    file, line = (own_frames or frames)[0]
    return report["what"].strip(), f"{file.rpartition(_PROJECT_FOLDER)[2]}:{line}"


def _failure(kind: FailureKind, why: str, situation: Situation) -> Failure:
    error = situation.end.error if situation.end is not None else None
    if error is None:
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


def recall(attempts: Iterable[Event], *, number_of_pass: int, progress: int) -> Past:
    """Summarize the attempts before this one.

    Args:
        attempts: the run's journal of attempts.
        number_of_pass: the pass under way.
        progress: how much progress there is now, to be compared with the `progress` of a decision:
            restarts before the newest progress do not count.
    """
    past = Past()
    error: Mapping[str, Any] | None = None
    for event in attempts:
        if isinstance(event, Attempt) and event.number_of_pass != number_of_pass:
            past = Past()
        elif isinstance(event, Exit):
            error = event.error
        elif isinstance(event, Decision) and event.do in _FINAL:
            # A person who stops and starts a run has not given it more memory, so that is kept.
            past = Past(smaller=past.smaller and event.do == protocol.DO_STAY_STOPPED)
        elif isinstance(event, Decision) and event.do == protocol.DO_RESTART:
            past = replace(past, smaller=past.smaller or event.smaller)
            if event.progress == progress:
                past = _with_restart(past, event, error)
    return past


_FINAL = (protocol.DO_GIVE_UP, protocol.DO_FINISH, protocol.DO_STAY_STOPPED)
"""Decisions after which only a person starts the run again."""


def _with_restart(past: Past, decision: Decision, error: Mapping[str, Any] | None) -> Past:
    return replace(
        past,
        restarts=past.restarts + 1,
        hangs=past.hangs + (decision.trouble == "hang"),
        errors=past.errors if error is None else (*past.errors, place(error)),
    )
