"""The memory that this process holds: frameworks leak, and a search trains many models in one
process.
"""

from __future__ import annotations

import contextlib
import sys
from typing import Any, Dict, Iterator

from mlops_lib.runner.journal import resident_bytes

SETTLED = 5
"""After so many trials a process has loaded what it needs."""
GROWTH = 0.1
"""What a process may grow by from then on …"""
LEAST_BYTES = 64 << 20
"""… and less than this is no growth: a larger model needs more."""


@contextlib.contextmanager
def forgotten_gradients() -> Iterator[None]:
    """Forget the custom gradients that TensorFlow registers meanwhile.

    It keeps them for good, and each holds the graph of the training step it was made in: 12 MiB a
    trial of a tiny network.
    """
    before = set(_gradients())
    try:
        yield
    finally:
        known = _gradients()
        for name in [
            one for one in known if one not in before and one.startswith("CustomGradient-")
        ]:
            del known[name]


def _gradients() -> Dict[str, Any]:
    ops = sys.modules.get("tensorflow.python.framework.ops")
    registry = getattr(ops, "gradient_registry", None) or getattr(ops, "_gradient_registry", None)
    found = getattr(registry, "_registry", None)
    return found if isinstance(found, dict) else {}


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
