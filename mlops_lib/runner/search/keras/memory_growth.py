"""The memory of the process: frameworks leak, and a search trains many models."""

from __future__ import annotations

import contextlib
import sys
from typing import Any, Dict, Iterator

from mlops_lib.runner.journal import resident_bytes

SETTLED = 5
"""After so many trials a process has loaded all its libraries."""
GROWTH = 0.1
"""The share by which a process may grow from then on …"""
LEAST_BYTES = 64 << 20
"""… and growth of fewer bytes never counts: a larger model needs more."""


@contextlib.contextmanager
def forgotten_gradients() -> Iterator[None]:
    """Remove the custom gradients that TensorFlow registers within the block.

    TensorFlow keeps them for good, and each holds the graph of its training step: 12 MiB a trial of
    a tiny network.
    """
    before = set(_gradients())
    try:
        yield
    finally:
        registry = _gradients()
        for key in [
            key for key in registry if key not in before and key.startswith("CustomGradient-")
        ]:
            del registry[key]


def _gradients() -> Dict[str, Any]:
    ops = sys.modules.get("tensorflow.python.framework.ops")
    registry = getattr(ops, "gradient_registry", None) or getattr(ops, "_gradient_registry", None)
    gradients = getattr(registry, "_registry", None)
    return gradients if isinstance(gradients, dict) else {}


class Growth:
    """The growth of the process, trial by trial."""

    def __init__(self) -> None:
        self._sizes = [resident_bytes()]

    def weigh(self) -> None:
        """Measure the process after a trial."""
        self._sizes.append(resident_bytes())

    @property
    def is_too_large(self) -> bool:
        """Return whether the process has grown by more than a tenth since it had settled."""
        if len(self._sizes) <= SETTLED:
            return False
        grown = self._sizes[-1] - self._sizes[SETTLED]
        return grown > max(GROWTH * self._sizes[SETTLED], LEAST_BYTES)
