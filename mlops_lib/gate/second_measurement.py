"""The effect on a verdict of a second measurement by a process without the script."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlops_lib.gate.reasons import reason
from mlops_lib.records import Remeasured, Verdict
from mlops_lib.runner import protocol

BY_THE_SCRIPT = "by the script's process"
INDEPENDENTLY = "independently"
TOLERANCE = 1e-6
"""Rounding difference allowed between the reloaded file and the live model."""


def measured_by(verdict: Verdict) -> str:
    """Return who measured a verdict's number, in words.

    "" if there is no number, or if the verdict's record is too old to say.

    >>> measured_by(Verdict(verdict="accepted", value=0.9, target=0.8, measured=INDEPENDENTLY))
    'independently, by a process without the script'
    >>> measured_by(Verdict(verdict="accepted", value=0.9, target=0.8, measured=BY_THE_SCRIPT))
    "by the script's process; not on the saved file"
    """
    if verdict.value is None or not verdict.measured:
        return ""
    if verdict.measured == INDEPENDENTLY:
        return f"{INDEPENDENTLY}, by a process without the script"
    return f"{verdict.measured}{', on the saved file' if verdict.recomputed else '; not on the saved file'}"


def differ(left: float, right: float, *, metric: str, examples: int | None) -> bool:
    """Return whether two measurements of the same file differ by more than rounding."""
    # Batches may be summed in another order; one example more or less is a different model.
    is_share = examples is not None and metric in protocol.EXACT_SHARES
    tolerance = 0.5 / examples if is_share and examples else 1e-4 * abs(right)
    return abs(left - right) > max(TOLERANCE, tolerance)


class SecondMeasurement:
    """A second measurement compared with the number of the script's own process.

    Args:
        remeasured: the second measurement; None if there was none.
        evaluation: the judged evaluation, a claim.
        metric: the judged metric.
        value: the number of the script's process.
        digest: the sha256 of the model file that the runner claims to have measured, if it claims
            one.
    """

    def __init__(
        self,
        remeasured: Remeasured | None,
        *,
        evaluation: Mapping[str, Any],
        metric: str,
        value: float | None,
        digest: Any,
    ) -> None:
        self.measured = BY_THE_SCRIPT
        self.value = value
        self.doubts: list[str] = []
        """Reasons not to accept a number that reaches the bar."""
        self.reasons: list[str] = []
        """Remarks that do not change the verdict."""
        if remeasured is None or value is None:
            return
        # The script's process could have replaced the file after it had measured another one.
        if remeasured.model_digest and digest != remeasured.model_digest:
            self.doubts.append(reason("file changed"))
        elif remeasured.state == "measured":
            self._compare(remeasured, evaluation, metric, value)
        elif remeasured.state == "failed":
            self.doubts.append(reason("not by itself", note=remeasured.note))
        elif remeasured.state == "missing":
            self.doubts.append(reason("no examples left"))
        elif remeasured.state in ("needs code", "unkept", "not run"):
            self.reasons.append(reason(f"by the script: {remeasured.state}", note=remeasured.note))

    def _compare(
        self, remeasured: Remeasured, evaluation: Mapping[str, Any], metric: str, value: float
    ) -> None:
        number = protocol.as_number(protocol.metric_value(remeasured.all, metric))
        # The two may name the same measure differently. With one number only there is nothing to
        # mix up.
        if number is None and len(remeasured.all) <= 1:
            number = remeasured.value
        if number is None:
            self.reasons.append(
                reason("by the script: unkept", note=f"{metric} is not among what they give")
            )
            return
        claimed = evaluation.get("examples")
        if isinstance(claimed, int) and remeasured.examples != claimed:
            self.doubts.append(
                reason("other count", kept=remeasured.examples or 0, claimed=claimed)
            )
        elif differ(number, value, metric=metric, examples=remeasured.examples):
            self.doubts.append(reason("measured otherwise", claimed=value, again=number))
        else:
            self.measured = INDEPENDENTLY
            self.value = number
            if remeasured.where == "process":
                self.reasons.append(reason("in a process"))
