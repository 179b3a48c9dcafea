"""The watchdog: what to do about a container that ended or stands still.

`decide` is pure: from what is known to what is done. The loop around it is `training.attend`, which holds the run's
lease; a watchdog keeps no state of its own, the labels and the run directory are enough to take over.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from mlops_lib.engine import Container
from mlops_lib.records import Failure

HANG_S = 30.0
"""A training that does nothing for shorter than this is never taken for hanging."""
HANG_STEPS = 5.0
"""… nor for fewer than this many of its own steps."""
QUIET_S = {"import": 900.0, "script": 3600.0, "search": 3600.0, "exit": 900.0, "evaluate": 900.0, "checkpoint": 600.0}
"""Allowance of phases that have no steps to learn from: loading data, tracing, saving."""
FIRST_STEP_S = 900.0
BACK_OFF_S = (0.0, 2.0, 4.0, 8.0, 16.0, 30.0)
JITTER = 0.25
BAD_START = 64
"""The runner's exit code when it cannot begin."""


@dataclass(frozen=True, kw_only=True)
class Situation:
    """What is known when a container ended."""

    container: Container
    end: dict[str, Any] | None
    """The attempt's own `end` event, None if it died without one."""
    restarts: int
    """Restarts since the last progress."""
    budget: int
    asked_to_stop: bool = False
    """A person stopped it."""
    out_of_memory_before: bool = False
    hung: str = ""
    """Why it was killed as hanging, "" if it was not."""
    log: str = ""


@dataclass(frozen=True, kw_only=True)
class Action:
    """What is done."""

    do: Literal["finish", "restart", "give up", "stay stopped"]
    why: str
    delay_s: float = 0.0
    failure: Failure | None = None
    smaller: bool = False
    """Restart with a smaller memory footprint."""


def decide(situation: Situation, *, chance: Callable[[], float] = random.random) -> Action:
    """What to do about a container that has ended.

    Args:
        situation: what is known.
        chance: a number from 0 to 1, for the jitter.
    """
    end, code = situation.end, situation.container.exit_code
    if situation.asked_to_stop:
        return Action(do="stay stopped", why="stopped by a person")
    if end is not None and end.get("exit_code") == 0:
        return Action(do="finish", why="the script ended well")
    if end is not None and isinstance(end.get("error"), dict):
        error = end["error"]
        kind = error.get("kind")
        if kind != "oom":
            return Action(do="give up", why="the script failed", failure=_script_failure(error, situation.log))
    if end is None and code == BAD_START:
        return Action(
            do="give up", why="the runner cannot start", failure=_failure("bug", "the runner cannot start", situation)
        )
    if situation.container.out_of_memory or (end is not None and end.get("error")):
        if situation.out_of_memory_before:
            return Action(
                do="give up", why="out of memory twice", failure=_failure("oom", "it needs more memory", situation)
            )
        return Action(do="restart", why="out of memory: restarting smaller", smaller=True)
    if situation.restarts >= situation.budget:
        return Action(
            do="give up", why=f"{situation.budget} restarts without progress",
            failure=_failure(
                "hang" if situation.hung else "crash",
                f"it ended {situation.restarts + 1} times without progress; the last time {_cause(situation)}", situation,
            ),
        )  # fmt: skip
    return Action(do="restart", why=_cause(situation), delay_s=back_off(situation.restarts, chance=chance))


def back_off(restarts: int, *, chance: Callable[[], float] = random.random) -> float:
    """Seconds before the next restart: the first at once, later ones capped exponential with jitter."""
    base = BACK_OFF_S[min(restarts, len(BACK_OFF_S) - 1)]
    return base * (1 + JITTER * (2 * chance() - 1))


def quiet_allowed_s(heartbeat: dict[str, Any]) -> float:
    """How long a training in this state may show no progress before it is taken for hanging."""
    phase = str(heartbeat.get("phase", "import"))
    step_s = heartbeat.get("step_s")
    if phase in ("fit", "validation"):
        if isinstance(step_s, (int, float)) and step_s > 0:
            return max(HANG_S, HANG_STEPS * float(step_s))
        return FIRST_STEP_S
    return QUIET_S.get(phase, 900.0)


def _cause(situation: Situation) -> str:
    code = situation.container.exit_code
    if situation.hung:
        return situation.hung
    if code is None or situation.container.state == "gone":
        return "the container vanished"
    if code > 128:
        return f"the container was killed by signal {code - 128}"
    return f"the container ended with exit code {code} without saying why"


def _failure(kind: Literal["oom", "crash", "bug", "hang"], message: str, situation: Situation) -> Failure:
    return Failure(kind=kind, message=message, log=situation.log)


def _script_failure(error: dict[str, Any], log: str) -> Failure:
    kinds = {"import": "import", "disk": "disk", "stopped": "stopped"}
    kind = kinds.get(str(error.get("kind")), "bug")
    where = f"{error['file']}:{error['line']}" if error.get("file") else ""
    message = f"{error.get('type')}: {error.get('message')}"[:2000]
    return Failure(kind=kind, message=message, where=where[:500], log=log)  # type: ignore[arg-type]
