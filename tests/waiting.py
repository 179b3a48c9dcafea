"""Waiting for what is to come, never for a time."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any


def until(condition: Callable[[], Any], *, timeout_s: float = 120.0) -> Any:
    """The first true answer."""
    deadline = time.monotonic() + timeout_s
    while not (answer := condition()):
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.02)
    return answer
