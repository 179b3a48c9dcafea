"""Verdict reasons from the leak detector's results.

The runner has already measured without the examples that were also trained on (`leaks` of an
evaluation in metrics.json). The reasons name the examples that the number is about and other ways
in which the model may know the answers; some of them keep it from being accepted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from mlops_lib.gate.reasons import reason
from mlops_lib.runner import protocol

SHOWN = 5
FEWEST_REPEATS = 3
LEAST_SHARE = 0.01
"""Smallest share of repeated examples that is reported."""


class LeakReasons(NamedTuple):
    """Remarks for a verdict, and doubts that keep the model from being accepted."""

    notes: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()


def reasons(evaluation: Mapping[str, Any], *, metric: str, target: float, mode: str) -> LeakReasons:
    """Return the reasons that follow from an evaluation's leaks.

    Args:
        evaluation: an evaluation of metrics.json; a claim.
        metric: the judged metric.
        target: the bar.
        mode: "max" or "min".
    """
    claimed = evaluation.get("leaks")
    if not isinstance(claimed, dict):
        return LeakReasons()
    notes, doubts = _copies(claimed, evaluation, metric)
    repeat_notes, repeat_doubts = _repeats(claimed, evaluation, metric, target, mode)
    preprocessing_notes, preprocessing_doubts = _prepared(claimed)
    # At most SHOWN of each list: they are claims, and a verdict must stay readable.
    targets = [str(name)[:60] for name in _list(claimed.get("targets"))[:SHOWN]]
    target_doubts = [reason("target among inputs", columns=", ".join(targets))] if targets else []
    return LeakReasons(
        (*notes, *repeat_notes, *preprocessing_notes),
        (*target_doubts, *doubts, *preprocessing_doubts, *repeat_doubts),
    )


def _copies(
    claimed: Mapping[str, Any], evaluation: Mapping[str, Any], metric: str
) -> tuple[list[str], list[str]]:
    count = _count(claimed.get("left_out"))
    total = _count(claimed.get("examples"))
    if not count:
        return [], []
    values = {"count": count, "all": total, "kinds": _kinds(claimed), "rest": total - count}
    fate = claimed.get("fate")
    if fate == "too few left":
        return [], [reason("clean rest too small", **values)]
    if fate != "left out":
        note = str(claimed.get("note") or evaluation.get("recompute_note") or "")[:300]
        return [], [reason("clean rest not measured", **values, note=f" ({note})" if note else "")]
    value = protocol.as_number(claimed.get("value_of_all"))
    on_all = "" if value is None else f"; on all of them {metric} is {value:.4g}"
    return [reason("trained on too", **values, whole=on_all)], []


def _kinds(claimed: Mapping[str, Any]) -> str:
    kinds = claimed.get("kinds")
    counts = (
        [(_count(n), str(kind)[:40]) for kind, n in kinds.items()]
        if isinstance(kinds, dict)
        else []
    )
    parts = [f"{n} {kind}" for n, kind in sorted(counts, reverse=True)[:SHOWN] if n]
    for group in _list(claimed.get("groups"))[:SHOWN]:
        if isinstance(group, dict) and _count(group.get("examples")):
            parts.append(
                f"{_count(group.get('examples'))} by their {str(group.get('column'))[:60]}"
            )
    return ", ".join(parts) or "exact"


def _repeats(
    claimed: Mapping[str, Any], evaluation: Mapping[str, Any], metric: str, target: float, mode: str
) -> tuple[list[str], list[str]]:
    count = _count(claimed.get("repeated"))
    total = _count(claimed.get("examples"))
    if count < FEWEST_REPEATS or count < LEAST_SHARE * total:
        return [], []
    # Equal examples in train and test may be the nature of the data (few distinct rows), not a
    # leak; they raise a doubt only if the bar is missed without them.
    rest = protocol.as_number(claimed.get("value_of_rest"))
    effect = "" if rest is None else f"; {metric} is {rest:.4g} without them"
    values = {"count": count, "all": total, "apart": effect}
    value = protocol.as_number(evaluation.get("recomputed"))
    value = protocol.as_number(evaluation.get("value")) if value is None else value
    if rest is not None and value is not None:
        reached, without = (protocol.reaches(number, target, mode) for number in (value, rest))
        if reached and not without:
            return [], [reason("repeats decide", **values)]
    return [reason("repeats", **values)], []


def _prepared(claimed: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """Return remarks and doubts about transformers that were fitted on judged rows.

    A transformer that also saw the targets is a doubt, any other a remark.
    """
    notes: dict[str, None] = {}
    doubts: dict[str, None] = {}
    for transformer in _list(claimed.get("prepared"))[:SHOWN]:
        if isinstance(transformer, dict):
            share = protocol.as_number(transformer.get("share")) or 0.0
            values = {"name": str(transformer.get("name"))[:60], "share": min(max(share, 0.0), 1.0)}
            if transformer.get("supervised") is True:
                doubts[reason("learned from judged", **values)] = None
            else:
                notes[reason("fitted on judged", **values)] = None
    return list(notes), list(doubts)


def _list(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list) else ()


def _count(value: Any) -> int:
    return (
        value
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 53
        else 0
    )
