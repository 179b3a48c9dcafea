"""The order of a search's first trials: what helped in similar searches of the same home comes first.

The host keeps one line for each finished search (`mlops_lib.tuning.past_searches`) and sends those
that are similar, each with a weight. They change the order of candidates only: each is still
trained and scored here, and none is left out or added.
"""

from typing import Any, Callable, Dict, Iterable, List, Mapping, Sequence, TypeVar

T = TypeVar("T")

DOUBT = 1.0
"""Trials without success that every kind is taken to have had: one success proves little."""


def helpful_kinds(past: Iterable[Mapping[str, Any]], diagnosis: Sequence[str] = ()) -> List[str]:
    """Return the kinds of changes that led to winners, the most reliable first.

    Args:
        past: similar searches: `weight`, `diagnosis`, and the kinds that were `tried` and that
            `helped`, which are those between the developer's model and the winner.
        diagnosis: the findings on this search's own training. A search with the same findings
            counts twice.

    Example:
        >>> past = [
        ...     {"weight": 1.0, "tried": ["SVC", "Ridge"], "helped": ["SVC"]},
        ...     {"weight": 1.0, "tried": ["SVC", "trees"], "helped": ["trees"]},
        ...     {"weight": 1.0, "tried": ["trees"], "helped": ["trees"]},
        ... ]
        >>> helpful_kinds(past)
        ['trees', 'SVC']
    """
    successes: Dict[str, float] = {}
    attempts: Dict[str, float] = {}
    for search in past:
        weight = float(search.get("weight", 1.0)) * (1.0 + _overlap(search, diagnosis))
        for kind in search.get("tried") or ():
            attempts[str(kind)] = attempts.get(str(kind), 0.0) + weight
        for kind in search.get("helped") or ():
            successes[str(kind)] = successes.get(str(kind), 0.0) + weight

    def reliability(kind: str) -> float:
        return successes[kind] / (max(attempts.get(kind, 0.0), successes[kind]) + DOUBT)

    # By name among equals: the order must be the same in every attempt of a search.
    return sorted(successes, key=lambda kind: (-reliability(kind), kind))


def _overlap(search: Mapping[str, Any], diagnosis: Sequence[str]) -> float:
    """Return the share of findings that both searches have, 0 if neither has any."""
    findings = set(search.get("diagnosis") or ())
    united = findings | set(diagnosis)
    return len(findings & set(diagnosis)) / len(united) if united else 0.0


def in_words(past: Sequence[Mapping[str, Any]]) -> str:
    """Return which changes come first, with counts; "" if nothing is known.

    >>> in_words([{"tried": ["SVC"], "helped": ["SVC"]}, {"tried": ["SVC", "Ridge"], "helped": []}])
    '2 similar searches of this home: what led to a winner there is tried first, SVC (1 of 2)'
    """
    kinds = [kind for kind in helpful_kinds(past) if kind != "own"][:3]
    if not kinds:
        return ""
    counts = ", ".join(
        f"{kind} ({_count(past, 'helped', kind)} of {_count(past, 'tried', kind)})"
        for kind in kinds
    )
    searches = "1 similar search" if len(past) == 1 else f"{len(past)} similar searches"
    return f"{searches} of this home: what led to a winner there is tried first, {counts}"


def _count(past: Sequence[Mapping[str, Any]], key: str, kind: str) -> int:
    return sum(kind in (search.get(key) or ()) for search in past)


def preferred_first(
    candidates: Iterable[T], kinds_of: Callable[[T], Sequence[str]], preferred: Sequence[str]
) -> List[T]:
    """Return the candidates with those of preferred kinds first; all others keep their order.

    Args:
        candidates: the candidates in their usual order.
        kinds_of: returns the kinds of a candidate's changes.
        preferred: kinds, the most reliable first.
    """
    rank = {kind: place for place, kind in enumerate(preferred)}
    return sorted(
        candidates,
        key=lambda candidate: min(
            (rank[kind] for kind in kinds_of(candidate) if kind in rank), default=len(rank)
        ),
    )
