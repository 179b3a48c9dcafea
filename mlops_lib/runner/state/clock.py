"""The time, as far as the project's own code asks for it, repeated after a restart.

A script that writes to `runs/<date and time>` would go on in a second folder after a restart,
beside the one that was put back from the checkpoint. So calls such as `datetime.now()` in the
project's sources are compiled to ones that note their answer, and give it again when the script is
started again. Libraries keep the real time. `time.time()` and `time.time_ns()` go on from the last
noted answer, so that the pause between two attempts is in no measured duration.
"""

import ast
import datetime
import os
import time
from typing import Any, Callable, Dict, List, Optional, Tuple

NAME = "__mlops_repeated_time__"
"""What the wrapper is called in compiled sources."""
CALLS = frozenset(
    [
        "now",
        "utcnow",
        "today",
        "time",
        "time_ns",
        "strftime",
        "localtime",
        "gmtime",
        "ctime",
        "asctime",
    ]
)
"""Attributes and names whose calls are looked at."""
MOST = 5000
"""So many answers are noted; a loop that asks more often gets the real time from then on."""
FILE = "times"

Epoch = int
"""Nanoseconds since 1970."""


class Clock:
    """The answers given so far, in a file that the next attempt reads.

    Args:
        folder: where the file is.
    """

    def __init__(self, folder: str) -> None:
        self._path = os.path.join(folder, FILE)
        self._noted = _read(self._path)
        self.position = 0
        self._behind_ns = 0
        self._process = os.getpid()

    def ask(self) -> Epoch:
        """Return the time: the noted one if this was asked before, else the current one."""
        if self.position < len(self._noted):
            answer = self._noted[self.position]
            self.position += 1
            self._behind_ns = time.time_ns() - answer
            return answer
        answer = time.time_ns()
        if self.position < MOST:
            self._note(answer)
        return answer

    def ask_for_duration(self) -> Epoch:
        """Return the time without the pause before this attempt."""
        if self.position < len(self._noted):
            return self.ask()
        answer = time.time_ns() - self._behind_ns
        if self.position < MOST:
            self._note(answer)
        return answer

    def skip_to(self, position: int) -> None:
        """Go on where a checkpoint was taken: what was asked until then is not asked again."""
        if position > self.position:
            self.position = min(position, len(self._noted))
            if self.position:
                self._behind_ns = time.time_ns() - self._noted[self.position - 1]

    def _note(self, answer: Epoch) -> None:
        if os.getpid() != self._process:  # a child's answers would stand among its parent's
            return
        self._noted.append(answer)
        self.position += 1
        with open(self._path, "a", encoding="ascii") as stream:
            stream.write(f"{answer}\n")


def _read(path: str) -> List[Epoch]:
    try:
        with open(path, encoding="ascii") as stream:
            lines = stream.read().splitlines(keepends=True)
    except (OSError, UnicodeDecodeError):
        return []
    whole = [line for line in lines if line.endswith("\n")]
    if len(whole) < len(lines):  # killed while it was written
        with open(path, "w", encoding="ascii") as stream:
            stream.writelines(whole)
    return [int(line) for line in whole if line.strip().lstrip("-").isdigit()]


_clock: Optional[Clock] = None


def install(folder: str) -> None:
    """Read what the attempts before have noted.

    Args:
        folder: the container's part of the run directory.
    """
    global _clock
    _clock = Clock(folder)


def position() -> int:
    """Return how often the time was asked for."""
    return 0 if _clock is None else _clock.position


def skip_to(saved: int) -> None:
    """Go on where a checkpoint was taken."""
    if _clock is not None:
        _clock.skip_to(saved)


def replay(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that answers as `function` does, with the noted time; others are returned
    as they are.
    """
    if _clock is None:
        return function
    owner = getattr(function, "__self__", None)
    if isinstance(owner, type) and issubclass(owner, datetime.date):
        made = _DATES.get(getattr(function, "__name__", ""))
        return function if made is None else _Dated(_clock, owner, made)
    timed = _TIMES.get(id(function))
    return function if timed is None else _Timed(_clock, function, timed)


class _Dated:
    """`now`, `today` or `utcnow` of a date class."""

    def __init__(self, clock: Clock, owner: Any, made: Callable[..., Any]) -> None:
        self._clock = clock
        self._owner = owner
        self._made = made

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._made(self._owner, self._clock.ask() / 1e9, *args, **kwargs)


class _Timed:
    """A function of `time`."""

    def __init__(
        self, clock: Clock, plain: Callable[..., Any], timed: Tuple[int, Callable[..., Any]]
    ) -> None:
        self._clock = clock
        self._plain = plain
        self._given, self._made = timed

    def __call__(self, *args: Any) -> Any:
        if len(args) != self._given:  # it is about a time that the script has already
            return self._plain(*args)
        return self._made(self._clock, *args)


def _now(owner: Any, seconds: float, tz: Any = None) -> Any:
    return owner.fromtimestamp(seconds, tz)


def _today(owner: Any, seconds: float) -> Any:
    return owner.fromtimestamp(seconds)


def _utcnow(owner: Any, seconds: float) -> Any:
    return owner.fromtimestamp(seconds, datetime.timezone.utc).replace(tzinfo=None)


_DATES: Dict[str, Callable[..., Any]] = {"now": _now, "today": _today, "utcnow": _utcnow}
_TIMES: Dict[int, Tuple[int, Callable[..., Any]]] = {
    id(time.time): (0, lambda clock: clock.ask_for_duration() / 1e9),
    id(time.time_ns): (0, lambda clock: clock.ask_for_duration()),
    id(time.localtime): (0, lambda clock: time.localtime(clock.ask() / 1e9)),
    id(time.gmtime): (0, lambda clock: time.gmtime(clock.ask() / 1e9)),
    id(time.ctime): (0, lambda clock: time.ctime(clock.ask() / 1e9)),
    id(time.asctime): (0, lambda clock: time.asctime(time.localtime(clock.ask() / 1e9))),
    id(time.strftime): (
        1,
        lambda clock, form: time.strftime(form, time.localtime(clock.ask() / 1e9)),
    ),
}
"""Function to how many arguments it has when it means the present, and what answers instead."""


class TimeCallWrapper(ast.NodeTransformer):
    """Wraps calls that may ask for the time."""

    def __init__(self) -> None:
        self.changed = False

    def visit_Call(self, node: ast.Call) -> ast.AST:
        """`datetime.now()` becomes `NAME(datetime.now)()`, at the same place."""
        self.generic_visit(node)
        name = (
            node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        )
        if name in CALLS:
            self.changed = True
            wrapper = ast.copy_location(ast.Name(NAME, ast.Load()), node.func)
            node.func = ast.copy_location(ast.Call(wrapper, [node.func], []), node.func)
        return node
