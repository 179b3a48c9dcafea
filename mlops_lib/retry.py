"""The retry policy: how long to pause between attempts, and when to give up.

It is a value, because most of its users keep state between two attempts that a retry library's loop
would hide: the outbox saves each attempt on the disk, the watchdog decides about restarts of other
processes, and every pause must end at once when its program is asked to stop.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class RetryPolicy:
    """Limits of attempts, and the pauses between them.

    Clock and chance are values, so that tests need not wait.
    """

    attempts: int | None = None
    """Limit on the number of attempts."""
    first_s: float = 0.5
    """The first pause; each further one is twice as long."""
    longest_s: float = 20.0
    limit_s: float = 60.0
    """Limit on the time for all attempts and pauses together."""
    jitter: float = 0.5
    """Share of a pause that is removed at random at most. Without it, programs that failed together,
    because the same server went away, would all come back at the same moment, again and again.
    """
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], object] = time.sleep
    chance: Callable[[], float] = random.random

    def pause_s(self, attempt: int, at_least_s: float = 0.0) -> float:
        """Return the seconds to pause after an attempt.

        Args:
            attempt: its number, from 1.
            at_least_s: the shortest pause, such as a server's `Retry-After`.

        >>> policy = RetryPolicy(first_s=2.0, longest_s=10.0, jitter=0.0)
        >>> [policy.pause_s(attempt) for attempt in (1, 2, 3, 4)]
        [2.0, 4.0, 8.0, 10.0]
        """
        # The exponent is bounded because a float overflows at 2 ** 1024.
        backed_off: float = min(self.longest_s, self.first_s * 2 ** min(attempt - 1, 30))
        return max(at_least_s, backed_off * (1 - self.jitter * self.chance()))

    def next_pause_s(
        self, attempt: int, *, deadline: float, at_least_s: float = 0.0
    ) -> float | None:
        """Return the seconds to pause after a failed attempt, or None if it was the last.

        Args:
            attempt: its number, from 1.
            deadline: value of `clock` after which no attempt starts.
            at_least_s: the shortest pause.
        """
        if attempt == self.attempts:
            return None
        pause_s = self.pause_s(attempt, at_least_s)
        return None if self.clock() + pause_s > deadline else pause_s

    def call(
        self,
        function: Callable[[], T],
        *,
        is_temporary: Callable[[Exception], bool],
        sleep: Callable[[float], object] | None = None,
    ) -> T:
        """Return the result of `function`, called again while its failure is temporary.

        The time limit starts at the first failure: a call may legitimately take hours before the
        other side goes away.

        Args:
            function: called without arguments.
            is_temporary: whether another attempt may succeed after this exception.
            sleep: waits in place of the policy's own; True ends the attempts, and what it raises
                goes to the caller.

        Raises:
            Exception: the last failure of `function`.
        """
        wait = sleep or self.sleep
        deadline: float | None = None
        attempt = 0
        while True:
            attempt += 1
            try:
                return function()
            except Exception as error:
                if not is_temporary(error):
                    raise
                if deadline is None:
                    deadline = self.clock() + self.limit_s
                pause_s = self.next_pause_s(attempt, deadline=deadline)
                if pause_s is None or wait(pause_s) is True:
                    raise
