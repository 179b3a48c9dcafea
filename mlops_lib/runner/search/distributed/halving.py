"""Asynchronous successive halving: stop trials that fall behind others early.

The method is that of Li et al., "A System for Massively Parallel Hyperparameter Tuning", MLSys
2020, in its form that stops trials and never waits for others to reach the same rung.
"""

from __future__ import annotations

from typing import Dict, Hashable, List, Tuple

RUNGS = (0.25, 0.5)
"""Shares of a trial's own epochs after which it is compared.

They are no absolute epochs because learning rates decay over the whole of a training.
"""
REDUCTION = 2
"""One trial of so many continues …"""
FEWEST = 4
"""… once so many have reached the rung: two scores say little."""


class Rungs:
    """The scores of all trials at each rung."""

    def __init__(self, mode: str) -> None:
        self._sign = 1.0 if mode == "max" else -1.0
        self._scores: Dict[Tuple[Hashable, float], Dict[int, float]] = {}

    def should_continue(
        self, number: int, curve: List[float], epochs: int, kind: Hashable = None
    ) -> bool:
        """Return whether a trial is among the best at the rungs that it has reached.

        Its scores there are remembered for the comparison with later trials.

        Args:
            number: the trial.
            curve: its score after each epoch so far.
            epochs: the number of epochs it is to have.
            kind: only trials of one kind are compared. A trial that inherits its weights begins at
                scores that others end with.

        Example:
            >>> rungs = Rungs("max")
            >>> scores = [0.9, 0.8, 0.7, 0.1]
            >>> [rungs.should_continue(n, [score], 4) for n, score in enumerate(scores)]
            [True, True, True, False]
        """
        # A list, not a generator: every rung reached has to be recorded.
        passes = [self._passes(number, curve, epochs, (kind, share)) for share in RUNGS]
        return all(passes)

    def _passes(
        self, number: int, curve: List[float], epochs: int, rung: Tuple[Hashable, float]
    ) -> bool:
        rung_epoch = max(1, round(rung[1] * epochs))
        if len(curve) < rung_epoch or rung_epoch >= epochs:
            return True
        scores = self._scores.setdefault(rung, {})
        if number in scores:
            return True  # it passed this rung when it was compared
        # The best so far and not the last: a trial reports that one in the end.
        scores[number] = max(self._sign * value for value in curve[:rung_epoch])
        better = sum(score > scores[number] for score in scores.values())
        return len(scores) < FEWEST or better < len(scores) // REDUCTION
