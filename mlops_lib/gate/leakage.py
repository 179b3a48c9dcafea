"""What the leak radar found (`leaks` of an evaluation in metrics.json), as a verdict says it.

The runner has measured without the examples that were also trained on; here is what the number is
about, what else lets a model know the answers, and what of it keeps a model from being accepted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from mlops_lib.gate.reasons import reason
from mlops_lib.runner import protocol

SHOWN = 5
FEWEST_REPEATS = 3
LEAST_SHARE = 0.01
"""Fewer examples that repeat, or a smaller share of them, need no word."""


class Said(NamedTuple):
    """The reasons for a verdict, and those among them that keep it from being accepted."""

    notes: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()


def reasons(evaluation: Mapping[str, Any], *, metric: str, target: float, mode: str) -> Said:
    """Return what is to be said of an evaluation's leaks.

    Args:
        evaluation: of metrics.json: a claim.
        metric: the metric that is judged.
        target: the bar.
        mode: "max" or "min".
    """
    claimed = evaluation.get("leaks")
    if not isinstance(claimed, dict):
        return Said()
    notes, doubts = _copies(claimed, evaluation, metric)
    kept, decisive = _repeats(claimed, evaluation, metric, target, mode)
    said, learned = _prepared(claimed)
    targets = [str(name)[:60] for name in _list(claimed.get("targets"))[:SHOWN]]
    hidden = [reason("target among inputs", columns=", ".join(targets))] if targets else []
    return Said((*notes, *kept, *said), (*hidden, *doubts, *learned, *decisive))


def left_out(evaluation: Mapping[str, Any]) -> int:
    """Return how many of the judged examples were left out because they were also trained on."""
    claimed = evaluation.get("leaks")
    if not isinstance(claimed, dict) or claimed.get("fate") != "left out":
        return 0
    return _count(claimed.get("left_out"))


def _copies(
    claimed: Mapping[str, Any], evaluation: Mapping[str, Any], metric: str
) -> tuple[list[str], list[str]]:
    count = _count(claimed.get("left_out"))
    everything = _count(claimed.get("examples"))
    if not count:
        return [], []
    told = {"count": count, "all": everything, "kinds": _kinds(claimed), "rest": everything - count}
    fate = claimed.get("fate")
    if fate == "too few left":
        return [], [reason("clean rest too small", **told)]
    if fate != "left out":
        note = str(claimed.get("note") or evaluation.get("recompute_note") or "")[:300]
        return [], [reason("clean rest not measured", **told, note=f" ({note})" if note else "")]
    value = protocol.as_number(claimed.get("value_of_all"))
    whole = "" if value is None else f"; on all of them {metric} is {value:.4g}"
    return [reason("trained on too", **told, whole=whole)], []


def _kinds(claimed: Mapping[str, Any]) -> str:
    kinds = claimed.get("kinds")
    counted = (
        [(_count(n), str(kind)[:40]) for kind, n in kinds.items()]
        if isinstance(kinds, dict)
        else []
    )
    said = [f"{n} {kind}" for n, kind in sorted(counted, reverse=True)[:SHOWN] if n]
    for one in _list(claimed.get("groups"))[:SHOWN]:
        if isinstance(one, dict) and _count(one.get("examples")):
            said.append(f"{_count(one.get('examples'))} by their {str(one.get('column'))[:60]}")
    return ", ".join(said) or "exact"


def _repeats(
    claimed: Mapping[str, Any], evaluation: Mapping[str, Any], metric: str, target: float, mode: str
) -> tuple[list[str], list[str]]:
    count = _count(claimed.get("repeated"))
    everything = _count(claimed.get("examples"))
    if count < FEWEST_REPEATS or count < LEAST_SHARE * everything:
        return [], []
    rest = protocol.as_number(claimed.get("value_of_rest"))
    apart = "" if rest is None else f"; {metric} is {rest:.4g} without them"
    told = {"count": count, "all": everything, "apart": apart}
    value = protocol.as_number(evaluation.get("recomputed"))
    value = protocol.as_number(evaluation.get("value")) if value is None else value
    if rest is not None and value is not None:
        reached, without = (protocol.reaches(one, target, mode) for one in (value, rest))
        if reached and not without:
            return [], [reason("repeats decide", **told)]
    return [reason("repeats", **told)], []


def _prepared(claimed: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """Return what is said of transformers that were fitted on judged rows: the harmless ones, and
    the others.
    """
    notes: dict[str, None] = {}
    doubts: dict[str, None] = {}
    for one in _list(claimed.get("prepared"))[:SHOWN]:
        if isinstance(one, dict):
            share = protocol.as_number(one.get("share")) or 0.0
            told = {"name": str(one.get("name"))[:60], "share": min(max(share, 0.0), 1.0)}
            if one.get("supervised") is True:
                doubts[reason("learned from judged", **told)] = None
            else:
                notes[reason("fitted on judged", **told)] = None
    return list(notes), list(doubts)


def _list(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list) else ()


def _count(value: Any) -> int:
    return (
        value
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 53
        else 0
    )
