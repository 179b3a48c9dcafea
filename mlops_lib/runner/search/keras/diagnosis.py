"""Diagnose a training from its curves."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import List, Mapping, Optional, Tuple

from mlops_lib.runner import protocol


@dataclass(frozen=True)
class Diagnosis:
    """The findings of a diagnosis, the gravest first.

    They are `unstable`, `not_learning`, `overfitting`, `underfitting` and `unfinished`.
    """

    findings: Tuple[str, ...]
    best_epoch: Optional[int] = None
    """The epoch (from 0) after which the held-out loss grew; None if it never did."""

    def has(self, finding: str) -> bool:
        """Return whether this is among the findings."""
        return finding in self.findings


def diagnose(
    curves: Mapping[str, List[float]],
    *,
    metric: str,
    mode: str,
    target: float,
    held_out: Optional[float] = None,
) -> Diagnosis:
    """Return the diagnosis of a History.

    Args:
        curves: name to value by epoch, `val_…` for the held-out examples.
        metric: the judged metric.
        mode: "max" or "min".
        target: its bar.
        held_out: the metric on held-out examples, if the curves do not have it.
    """
    loss = [float(v) for v in curves.get("loss", [])]
    # No other finding means anything after a NaN.
    if any(not math.isfinite(v) for v in loss):
        return Diagnosis(("unstable",))
    training = _curve(curves, metric, "")
    validation = _curve(curves, metric, "val_")
    trained_value = training[-1] if training else None
    held_out_value = validation[-1] if validation else held_out
    sign = 1.0 if mode == "max" else -1.0
    findings = []
    # The sum keeps a loss of exactly 0 from counting as a rise.
    if len(loss) > 1 and loss[-1] > 1.1 * min(loss) + 1e-9:
        findings.append("unstable")
    # Two per cent over a whole training is less than one epoch of a training that learns.
    if len(loss) > 2 and loss[0] - min(loss) < 0.02 * abs(loss[0]):
        findings.append("not_learning")
    if (
        trained_value is not None
        and held_out_value is not None
        and sign * (trained_value - held_out_value) > _gap(metric, target)
    ):
        findings.append("overfitting")
    if trained_value is not None and sign * (trained_value - target) < _gap(metric, target):
        findings.append("underfitting")
    if _still_falling(loss):
        findings.append("unfinished")
    return Diagnosis(
        tuple(findings), _turning_point([float(v) for v in curves.get("val_loss", [])])
    )


def _curve(curves: Mapping[str, List[float]], metric: str, prefix: str) -> List[float]:
    for name, values in curves.items():
        own = name[len(prefix) :] if name.startswith(prefix) else ""
        if (
            own
            and not own.startswith("val_")
            and protocol.metric_name(own) == protocol.metric_name(metric)
        ):
            return [float(v) for v in values]
    return []


def _gap(metric: str, target: float) -> float:
    """Return the smallest difference that matters."""
    # A proportion has a scale of its own; other metrics are measured by their bar.
    return 0.05 if 0.0 < target <= 1.0 else 0.1 * abs(target)


def _still_falling(loss: List[float]) -> bool:
    """Return whether the last fifth of a training gained a tenth of the whole."""
    if len(loss) < 3:
        return True
    before = loss[-max(2, len(loss) // 5) - 1]
    return before - loss[-1] > 0.1 * (loss[0] - loss[-1]) > 0.0


def _turning_point(loss: List[float]) -> Optional[int]:
    if len(loss) < 3:
        return None
    lowest = min(range(len(loss)), key=loss.__getitem__)
    # Two epochs after the lowest point, and by two per cent: less is noise.
    return lowest if lowest < len(loss) - 2 and loss[-1] > loss[lowest] * 1.02 else None
