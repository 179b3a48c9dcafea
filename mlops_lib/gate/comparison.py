"""Paired comparison of the new model with the champion on the same examples.

The runner's claim is read and the difference tested. The null hypothesis is that both models are
equally good; the alternative, that the new one is better. `p_value` is one-sided, and the interval
of the difference covers 90 %, so that its worse end lies above zero when `p_value` is at most about
`ALPHA`: an equally good model replaces the champion at most once in twenty times.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from mlops_lib import intervals
from mlops_lib.records import Baseline, Comparison, ModelVersion
from mlops_lib.runner import protocol

ALPHA = 0.05
MOST_EXAMPLES = 1 << 40
EXACT = 100_000
"""Most disagreements for which the binomial sum is computed term by term."""
NOTE_LENGTH = 500
TESTS = {"mcnemar": "McNemar's exact test", "permutation": "paired permutation test"}
CELLS = ("both", "only_new", "only_champion", "neither")


def read(
    claim: Any, *, version: int, evaluation: Any, metric: str, grows: bool, measured: str
) -> Comparison:
    """Return the comparison that a claim holds for the judged evaluation.

    Args:
        claim: `champion` of metrics.json, or of a second measurement; untrusted, of any type.
        version: the champion's version in the registry.
        evaluation: the id of the judged evaluation.
        metric: the judged metric.
        grows: whether a higher value is better.
        measured: who measured the champion.
    """

    def not_compared(why: str, value: float | None = None) -> Comparison:
        return Comparison(version=version, value=value, why=why[:NOTE_LENGTH], measured=measured)

    if not isinstance(claim, Mapping):
        return not_compared("it was not measured when this model was trained")
    # The champion may have changed between the training and the verdict.
    if claim.get("version") != version:
        return not_compared("it became the champion after this model was trained")
    measurements = claim.get("measurements")
    records = (
        [record for record in measurements if isinstance(record, Mapping)]
        if isinstance(measurements, list)
        else []
    )
    mine = next((record for record in records if record.get("evaluation") == evaluation), None)
    if mine is None:
        note = claim.get("note")
        return not_compared(
            note
            if isinstance(note, str) and note
            else "the examples behind the judged number are not known"
        )
    name = protocol.metric_name(str(mine.get("metric")))
    metrics = mine.get("all")
    if name != protocol.metric_name(metric):
        value = protocol.as_number(
            protocol.metric_value(metrics, metric) if isinstance(metrics, Mapping) else None
        )
        return not_compared(f"it was compared by {name[:50]}, not by {metric}", value)
    value = protocol.as_number(mine.get("value"))
    if value is None:
        return not_compared(str(mine.get("note") or "its number is none"))
    test_result = _test_result(mine.get("comparison"), grows=grows)
    if test_result is None:
        return not_compared(
            str(mine.get("note") or "it was not compared example by example"), value
        )
    left_out = _count(mine.get("left_out")) or 0
    return Comparison(
        version=version, value=value, measured=measured, left_out=left_out, **test_result
    )


def discard_on_input_mismatch(
    compared: Comparison,
    champion: ModelVersion,
    *,
    metric: str,
    baseline: Baseline | None,
    mode: str,
) -> Comparison:
    """Return the comparison, without its result if the champion fails on these inputs.

    A champion that beat the baseline when it was registered, and does not beat it on these
    examples, expects other inputs: the script now scales them differently, or encodes them in
    another order. A win against such a champion is no evidence for the new model.
    """
    if (
        compared.value is None
        or baseline is None
        or champion.metric != metric
        or champion.value is None
    ):
        return compared
    sign = 1.0 if mode == "max" else -1.0
    if (
        sign * (compared.value - baseline.value) > 0
        or sign * (champion.value - baseline.value) <= 0
    ):
        return compared
    why = (
        f"that is no better than the {baseline.name} alone ({baseline.value:.4g}), and it had "
        f"{champion.value:.4g} when it"
        " was registered: these inputs are not prepared as it expects them"
    )
    return Comparison(
        version=compared.version, value=compared.value, measured=compared.measured, why=why
    )


def _test_result(claim: Any, *, grows: bool) -> dict[str, Any] | None:
    """Return difference, interval and p-value of a claim, or None if it is malformed."""
    if not isinstance(claim, Mapping) or claim.get("test") not in TESTS:
        return None
    if claim["test"] == "mcnemar":
        # Recomputed from the four counts: as little of a claim as possible is taken on trust.
        cells = [_count(claim.get(name)) for name in CELLS]
        if None in cells or not sum(filter(None, cells)):
            return None
        both, new, champion, neither = (int(cell or 0) for cell in cells)
        difference, interval = intervals.paired_difference(
            new, champion, both + new + champion + neither
        )
        p_value = mcnemar(new, champion)
        examples = both + new + champion + neither
    else:
        fields = (
            protocol.as_number(claim.get("difference")),
            protocol.as_number(claim.get("p_value")),
            _count(claim.get("examples")),
        )
        ends = claim.get("interval")
        low, high = (
            map(protocol.as_number, ends)
            if isinstance(ends, list) and len(ends) == 2
            else (None, None)
        )
        if None in fields or low is None or high is None or low > high:
            return None
        difference, p_value, examples = fields  # type: ignore[assignment]
        interval = (low, high)
        # A permutation test counts the observed order too, so its p-value is never 0; such a claim
        # is not from the runner.
        if not 0.0 < p_value <= 1.0:
            return None
    ahead = difference > 0 if grows else difference < 0
    return {
        "difference": difference,
        "interval": interval,
        "p_value": p_value,
        "examples": examples,
        "test": TESTS[claim["test"]],
        "better": ahead and p_value <= ALPHA,
    }


def mcnemar(only_new: int, only_champion: int) -> float:
    """Return the one-sided p-value of McNemar's exact test.

    It is the probability of at least so many wins if both models are equally good.

    Args:
        only_new: examples that only the new model answers right.
        only_champion: examples that only the champion answers right.

    >>> round(mcnemar(9, 1), 4)  # 11 of 1024 outcomes
    0.0107
    """
    count = only_new + only_champion
    if count > EXACT:  # the normal distribution with continuity correction gives the same digits
        return 0.5 * math.erfc((only_new - only_champion - 1) / math.sqrt(2.0 * count))
    # From the far tail inwards, so that the small terms are added first.
    terms = []
    log_term = -count * math.log(2.0)
    for losses in range(only_champion + 1):
        terms.append(math.exp(log_term) if log_term > -745.0 else 0.0)
        # C(n, k + 1) = C(n, k) (n - k) / (k + 1); in logarithms, for 2 ** -n underflows.
        log_term += math.log((count - losses) / (losses + 1)) if losses < count else 0.0
    return min(1.0, math.fsum(terms))


def describe(comparison: Comparison, *, metric: str) -> str:
    """Return the comparison in words, for a list of reasons."""
    champion = f"the champion, version {comparison.version}"
    if comparison.p_value is None:
        number = (
            ""
            if comparison.value is None
            else f" has {comparison.value:.4g} on the same examples, and"
        )
        return f"{champion},{number} is not compared: {comparison.why}"
    low, high = comparison.interval or (math.nan, math.nan)
    apart = (
        f"{comparison.difference:+.4g}, 90 % interval {low:+.4g} to {high:+.4g}; {comparison.test}"
    )
    value = comparison.value
    new_value = (
        ""
        if value is None or comparison.difference is None
        else f"{value + comparison.difference:.4g} against "
    )
    chance = "more than chance" if comparison.better else "no more than chance"
    chance = chance if comparison.difference else "no difference"
    rest = f", without {comparison.left_out} that it was trained on" if comparison.left_out else ""
    return (
        f"{metric}: {new_value}{comparison.value:.4g} of {champion}, on the same "
        f"{comparison.examples} examples{rest}"
        f" ({apart}, p {comparison.p_value:.2g}): {chance}"
    )


def _count(value: Any) -> int | None:
    is_count = isinstance(value, int) and not isinstance(value, bool) and 0 <= value < MOST_EXAMPLES
    return value if is_count else None
