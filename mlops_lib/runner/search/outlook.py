"""Extrapolate a running trial's curve: can it still become the best?

Curves under one kind of schedule have one shape: a cosine gains most at its end. A running curve is
therefore continued as the finished ones of the same search continued from the same share of their
epochs. This is freeze-thaw Bayesian optimisation (Swersky, Snoek and Adams 2014) reduced to its
strongest prior. Before any trial has finished, only the curve's own recent slope is known.
"""

from __future__ import annotations

import math
from typing import List, Optional, Sequence

SLOPE = 1.5
"""Factor of the recent slope up to which a curve without finished ones beside it may still rise."""
NOISE = 0.01
"""A difference as a share of the best score that a single epoch may make."""


def is_hopeless(
    curve: List[float],
    epochs: int,
    best: Optional[float],
    *,
    mode: str,
    finished: Sequence[List[float]] = (),
    error: float = 0.0,
) -> bool:
    """Return whether a trial cannot reach the best score any more.

    It is judged from a third of its epochs on if others have finished, else from half of them on.

    Args:
        curve: the score after each epoch so far.
        epochs: the number of epochs it is to have.
        best: the best score of the search, None if there is none.
        mode: "max" or "min".
        finished: the curves of trials that were trained in the same way to their end.
        error: the standard error of a score.

    Example:
        >>> is_hopeless([0.50, 0.51, 0.51, 0.51], 7, 0.9, mode="max")
        True
        >>> is_hopeless([0.1, 0.3, 0.5, 0.7], 7, 0.9, mode="max")
        False
        >>> late = [0.2, 0.3, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]
        >>> is_hopeless([0.2, 0.3, 0.3], 9, 0.8, mode="max", finished=[late])
        False
        >>> is_hopeless([0.02, 0.03, 0.03], 9, 0.8, mode="max", finished=[late])
        True
    """
    count = len(curve)
    share = 3 if finished else 2
    if best is None or count < max(3, math.ceil(epochs / share)) or count >= epochs:
        return False
    sign = 1.0 if mode == "max" else -1.0
    gains = [sign * value for value in curve]
    if finished:
        rises = [_rise([sign * v for v in other], count / epochs) for other in finished]
        reachable = max(_level(gains) + max(rises), max(gains))
    else:
        recent = max(count // 3, 1)
        slope = max(max(gains[-recent:]) - max(gains[:-recent]), 0.0) / recent
        reachable = max(gains) + SLOPE * slope * (epochs - count)
    # Both scores that are compared have an error.
    return reachable + max(NOISE * abs(best), 2.0 * error) < sign * best


def _level(gains: List[float]) -> float:
    """Return the mean of the later half of a curve: one epoch alone is noisy."""
    recent = gains[-max(len(gains) // 2, 1) :]
    return sum(recent) / len(recent)


def _rise(gains: List[float], share: float) -> float:
    """Return the rise of a finished curve after this share of its epochs."""
    count = min(max(round(share * len(gains)), 1), len(gains))
    return max(gains) - _level(gains[:count])
