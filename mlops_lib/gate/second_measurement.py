"""What a second measurement, by a process without the script, means for a verdict: who measured,
and what is doubtful.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlops_lib.gate.reasons import reason
from mlops_lib.records import Remeasured, Verdict
from mlops_lib.runner import protocol

BY_THE_SCRIPT = "by the script's process"
INDEPENDENTLY = "independently"
TOLERANCE = 1e-6
"""The reloaded artifact may differ from the live model by rounding."""


def by_whom(verdict: Verdict) -> str:
    """Return who measured the number of a verdict, "" if there is no number or a verdict of earlier
    days does not say.

    >>> by_whom(Verdict(verdict="accepted", value=0.9, target=0.8, measured=INDEPENDENTLY))
    'independently, by a process without the script'
    >>> by_whom(Verdict(verdict="accepted", value=0.9, target=0.8, measured=BY_THE_SCRIPT))
    "by the script's process; not on the saved file"
    """
    if verdict.value is None or not verdict.measured:
        return ""
    if verdict.measured == INDEPENDENTLY:
        return f"{INDEPENDENTLY}, by a process without the script"
    return f"{verdict.measured}{', on the saved file' if verdict.recomputed else '; not on the saved file'}"


def differ(one: float, other: float, *, metric: str, examples: int | None) -> bool:
    """Return whether two measurements of the same file differ by more than rounding."""
    # Batches may be summed in another order; one example more or less is a different model.
    is_share = examples is not None and metric in protocol.EXACT_SHARES
    tolerance = 0.5 / examples if is_share and examples else 1e-4 * abs(other)
    return abs(one - other) > max(TOLERANCE, tolerance)


class Second:
    """A second measurement beside the number of the script's own process.

    Args:
        found: the second measurement; None if none was asked for.
        evaluation: the judged evaluation, a claim.
        metric: the judged metric.
        value: the number of the script's process.
        digest: the sha256 of the model file that the runner claims to have measured, if it claims
            one.
    """

    def __init__(
        self,
        found: Remeasured | None,
        *,
        evaluation: Mapping[str, Any],
        metric: str,
        value: float | None,
        digest: Any,
    ) -> None:
        self.measured = BY_THE_SCRIPT
        self.value = value
        self.doubts: list[str] = []
        """What keeps a number that reaches the bar from being accepted."""
        self.reasons: list[str] = []
        """What is only said."""
        if found is None or value is None:
            return
        if found.model_digest and digest != found.model_digest:
            self.doubts.append(reason("file changed"))
        elif found.state == "measured":
            self._compare(found, evaluation, metric, value)
        elif found.state == "failed":
            self.doubts.append(reason("not by itself", note=found.note))
        elif found.state == "missing":
            self.doubts.append(reason("no examples left"))
        elif found.state in ("needs code", "unkept", "not run"):
            self.reasons.append(reason(f"by the script: {found.state}", note=found.note))

    def _compare(
        self, found: Remeasured, evaluation: Mapping[str, Any], metric: str, value: float
    ) -> None:
        number = protocol.as_number(protocol.metric_value(found.all, metric))
        if number is None and len(found.all) <= 1:
            number = found.value
        if number is None:
            self.reasons.append(
                reason("by the script: unkept", note=f"{metric} is not among what they give")
            )
            return
        claimed = evaluation.get("examples")
        if isinstance(claimed, int) and found.examples != claimed:
            self.doubts.append(reason("other count", kept=found.examples or 0, claimed=claimed))
        elif differ(number, value, metric=metric, examples=found.examples):
            self.doubts.append(reason("measured otherwise", claimed=value, again=number))
        else:
            self.measured = INDEPENDENTLY
            self.value = number
            if found.where == "process":
                self.reasons.append(reason("in a process"))
