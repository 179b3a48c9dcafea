"""Which trials go on: asynchronous successive halving (Li et al., "A System for Massively Parallel
Hyperparameter Tuning", MLSys 2020), in its form that stops trials and never waits for others to
reach the same rung.
"""

from __future__ import annotations

from typing import Dict, Hashable, List, Tuple

RUNGS = (0.25, 0.5)
"""Shares of a trial's own epochs after which it is compared: learning rates decay over the whole of
them.
"""
REDUCTION = 2
"""One in so many goes on …"""
FEWEST = 4
"""… once so many have come that far: two scores say little."""


class Rungs:
    """The scores of all trials at each rung."""

    def __init__(self, mode: str) -> None:
        self._sign = 1.0 if mode == "max" else -1.0
        self._scores: Dict[Tuple[Hashable, float], Dict[int, float]] = {}

    def goes_on(self, number: int, curve: List[float], epochs: int, kind: Hashable = None) -> bool:
        """Whether a trial is among the best at the rungs that it has reached; what it scored there
        is remembered.

        Args:
            number: the trial.
            curve: its score after each epoch so far.
            epochs: how many it is to have.
            kind: only trials of one kind are compared: one that inherits its weights begins where
                others end.
        """
        passed = [self._passes(number, curve, epochs, (kind, share)) for share in RUNGS]
        return all(passed)

    def _passes(
        self, number: int, curve: List[float], epochs: int, rung: Tuple[Hashable, float]
    ) -> bool:
        reached = max(1, round(rung[1] * epochs))
        if len(curve) < reached or reached >= epochs:
            return True
        scores = self._scores.setdefault(rung, {})
        if number in scores:
            return True  # it was let on then
        scores[number] = max(self._sign * value for value in curve[:reached])
        better = sum(score > scores[number] for score in scores.values())
        return len(scores) < FEWEST or better < len(scores) // REDUCTION
