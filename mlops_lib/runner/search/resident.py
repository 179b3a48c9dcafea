"""The memory that this process holds: frameworks leak, and a search trains many models in one process."""

from __future__ import annotations

import os

SETTLED = 5
"""After so many trials a process has loaded what it needs."""
GROWTH = 0.1
"""What a process may grow by from then on …"""
LEAST_BYTES = 64 << 20
"""… and less than this is no growth: a larger model needs more."""


def resident_bytes() -> int:
    """What this process holds in memory; 0 where the system does not say."""
    try:
        with open("/proc/self/statm") as stream:
            return int(stream.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0


class Growth:
    """How a process grows, trial by trial."""

    def __init__(self) -> None:
        self._held = [resident_bytes()]

    def weigh(self) -> None:
        """A trial has ended."""
        self._held.append(resident_bytes())

    @property
    def is_too_large(self) -> bool:
        """Whether it has grown by more than a tenth since it had settled."""
        if len(self._held) <= SETTLED:
            return False
        grown = self._held[-1] - self._held[SETTLED]
        return grown > max(GROWTH * self._held[SETTLED], LEAST_BYTES)
