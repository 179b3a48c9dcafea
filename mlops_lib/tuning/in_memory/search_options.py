"""The limits and the result of a search in the caller's process."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from mlops_lib.records import SearchResult


@dataclass(frozen=True, kw_only=True)
class SearchOptions:
    """Bounds and seed of a search."""

    trials: int
    """The largest number of candidates."""
    minutes: float
    """The largest training time."""
    seed: int
    epochs: int | None
    """Epochs of a model that is not fitted yet."""
    in_place: bool
    """True if the caller's own model object becomes the better one."""


class Outcome(NamedTuple):
    """The result of a search."""

    model: Any
    before: float | None
    """The score of the caller's model, if it is known."""
    search: SearchResult | None
    notes: list[str]
