"""The current time as the project's code sees it, replayed after a restart.

A script that writes to `runs/<date and time>` would continue in a second folder after a restart,
beside the one that was restored from the checkpoint. So calls such as `datetime.now()` in the
project's sources are compiled to calls that record their result, and replay it when the script is
started again. Libraries see the real time. `time.time()` and `time.time_ns()` continue from the
last recorded time, so that no measured duration contains the pause between two attempts.
"""

import ast
import datetime
import os
import time
from typing import Any, Callable, Dict, List, Optional, Tuple

NAME = "__mlops_repeated_time__"
"""Name of the wrapper function in compiled sources."""
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
"""Attributes and names whose calls are wrapped."""
MAX_RECORDED = 5000
"""Number of recorded times; a loop with more calls sees the real time from then on."""
FILE = "times"

Epoch = int
"""Nanoseconds since 1970."""


class Clock:
    """The recorded times, in a file that the next attempt reads.

    Args:
        folder: the folder of the file.
    """

    def __init__(self, folder: str) -> None:
        self._path = os.path.join(folder, FILE)
        self._recorded = _read(self._path)
        self.position = 0
        self._offset_ns = 0
        self._process = os.getpid()

    def read(self) -> Epoch:
        """Return the recorded time of this call if there is one, else the current time."""
        if self.position < len(self._recorded):
            answer = self._recorded[self.position]
            self.position += 1
            self._offset_ns = time.time_ns() - answer
            return answer
        answer = time.time_ns()
        if self.position < MAX_RECORDED:
            self._record(answer)
        return answer

    def read_for_duration(self) -> Epoch:
        """Return the time without the pause before this attempt."""
        if self.position < len(self._recorded):
            return self.read()
        answer = time.time_ns() - self._offset_ns
        if self.position < MAX_RECORDED:
            self._record(answer)
        return answer

    def skip_to(self, position: int) -> None:
        """Continue at the position of a checkpoint: earlier calls are not repeated."""
        if position > self.position:
            self.position = min(position, len(self._recorded))
            if self.position:
                self._offset_ns = time.time_ns() - self._recorded[self.position - 1]

    def _record(self, answer: Epoch) -> None:
        # Parent and child would append to one file: on replay the parent would read the child's
        # times.
        if os.getpid() != self._process:
            return
        self._recorded.append(answer)
        self.position += 1
        with open(self._path, "a", encoding="ascii") as stream:
            stream.write(f"{answer}\n")


def _read(path: str) -> List[Epoch]:
    try:
        with open(path, encoding="ascii") as stream:
            lines = stream.read().splitlines(keepends=True)
    except (OSError, UnicodeDecodeError):
        return []
    complete = [line for line in lines if line.endswith("\n")]
    if len(complete) < len(lines):  # the process was killed during a write
        with open(path, "w", encoding="ascii") as stream:
            stream.writelines(complete)
    return [int(line) for line in complete if line.strip().lstrip("-").isdigit()]


_clock: Optional[Clock] = None


def install(folder: str) -> None:
    """Load the times that earlier attempts recorded.

    Args:
        folder: the container's part of the run directory.
    """
    global _clock
    _clock = Clock(folder)


def position() -> int:
    """Return the number of calls so far."""
    return 0 if _clock is None else _clock.position


def skip_to(saved: int) -> None:
    """Continue at the position of a checkpoint."""
    if _clock is not None:
        _clock.skip_to(saved)


def replay(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a replaying version of `function` if it reads the current time.

    Any other function is returned unchanged.
    """
    if _clock is None:
        return function
    # `from time import time` binds the function itself, so it is recognized by identity. A bound
    # `datetime.now` is a new object at each access and is recognized by its class and name.
    owner = getattr(function, "__self__", None)
    if isinstance(owner, type) and issubclass(owner, datetime.date):
        constructor = _DATES.get(getattr(function, "__name__", ""))
        return function if constructor is None else _Dated(_clock, owner, constructor)
    timed = _TIMES.get(id(function))
    return function if timed is None else _Timed(_clock, function, timed)


class _Dated:
    """`now`, `today` or `utcnow` of a date class, with recorded times."""

    def __init__(self, clock: Clock, owner: Any, constructor: Callable[..., Any]) -> None:
        self._clock = clock
        self._owner = owner
        self._construct = constructor

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._construct(self._owner, self._clock.read() / 1e9, *args, **kwargs)


class _Timed:
    """A function of `time`, with recorded times."""

    def __init__(
        self, clock: Clock, plain: Callable[..., Any], timed: Tuple[int, Callable[..., Any]]
    ) -> None:
        self._clock = clock
        self._plain = plain
        self._argument_count, self._replacement = timed

    def __call__(self, *args: Any) -> Any:
        # With a time as argument the function converts it, and does not read the clock.
        if len(args) != self._argument_count:
            return self._plain(*args)
        return self._replacement(self._clock, *args)


def _now(owner: Any, seconds: float, tz: Any = None) -> Any:
    return owner.fromtimestamp(seconds, tz)


def _today(owner: Any, seconds: float) -> Any:
    return owner.fromtimestamp(seconds)


def _utcnow(owner: Any, seconds: float) -> Any:
    return owner.fromtimestamp(seconds, datetime.timezone.utc).replace(tzinfo=None)


_DATES: Dict[str, Callable[..., Any]] = {"now": _now, "today": _today, "utcnow": _utcnow}
_TIMES: Dict[int, Tuple[int, Callable[..., Any]]] = {
    id(time.time): (0, lambda clock: clock.read_for_duration() / 1e9),
    id(time.time_ns): (0, lambda clock: clock.read_for_duration()),
    id(time.localtime): (0, lambda clock: time.localtime(clock.read() / 1e9)),
    id(time.gmtime): (0, lambda clock: time.gmtime(clock.read() / 1e9)),
    id(time.ctime): (0, lambda clock: time.ctime(clock.read() / 1e9)),
    id(time.asctime): (0, lambda clock: time.asctime(time.localtime(clock.read() / 1e9))),
    id(time.strftime): (
        1,
        lambda clock, form: time.strftime(form, time.localtime(clock.read() / 1e9)),
    ),
}
"""By function: its number of arguments if it means the present, and its replacement."""


class TimeCallWrapper(ast.NodeTransformer):
    """Wrap calls that may read the current time."""

    def __init__(self) -> None:
        self.changed = False

    def visit_Call(self, node: ast.Call) -> ast.AST:
        """Turn `datetime.now()` into `NAME(datetime.now)()`, at the same position."""
        self.generic_visit(node)
        name = (
            node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        )
        if name in CALLS:
            self.changed = True
            wrapper = ast.copy_location(ast.Name(NAME, ast.Load()), node.func)
            node.func = ast.copy_location(ast.Call(wrapper, [node.func], []), node.func)
        return node
