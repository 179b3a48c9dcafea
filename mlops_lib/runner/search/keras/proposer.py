"""Propose the next candidates of a search from the results so far."""

from __future__ import annotations

from typing import Any, List, Mapping, Optional, Tuple

from mlops_lib.runner.search.keras.candidates import Candidate, Recipe
from mlops_lib.runner.search.keras.diagnosis import Diagnosis, diagnose
from mlops_lib.runner.search.keras.edit_space import Space, next_candidate
from mlops_lib.runner.search.keras.lineage import Lineage
from mlops_lib.runner.search.keras.trial_store import TrialStore
from mlops_lib.runner.search.request import SearchRequest


class Proposer:
    """Propose edits around the best trial, then other trainings of its model."""

    def __init__(
        self, request: SearchRequest, store: TrialStore, lineage: Lineage, space: Space
    ) -> None:
        self._request = request
        self._store = store
        self._lineage = lineage
        self._space = space
        self._best: Optional[Tuple[int, Any]] = None
        """The number and the architecture of the best trial, kept between proposals."""

    def next_edit(self, tried: List[Mapping[str, Any]]) -> Optional[Candidate]:
        """Return a candidate that was not tried yet, or None if the edits are used up.

        Args:
            tried: the values of all candidates so far.
        """
        best = self._store.winner()
        candidate = self._store.candidate(best) if best else None
        polished = candidate is not None and not candidate.edits and not candidate.fresh
        return next_candidate(
            self._space, best, self._architecture, self._diagnosis, tried, polished=polished
        )

    def refinement(self, learning_rate: float, epochs: int) -> Candidate:
        """Return a candidate that trains the best model on, with these settings."""
        recipe = Recipe("adam", float(f"{learning_rate:.3g}"), "cosine", epochs=epochs)
        return Candidate(self._store.winner(), (), recipe)

    def _architecture(self, number: int) -> Any:
        # The best trial stays the same over several proposals, and building a large model is slow.
        # Nothing trains this copy.
        if self._best is None or self._best[0] != number:
            self._best = (number, self._lineage.architecture(number))
        return self._best[1]

    def _diagnosis(self, number: int) -> Diagnosis:
        return diagnosis_of(number, self._request, self._store)


def diagnosis_of(number: int, request: SearchRequest, store: TrialStore) -> Diagnosis:
    """Return the diagnosis of a trial's curves."""
    return diagnose(
        store.history(number),
        metric=request.metric,
        mode=request.mode,
        target=request.target,
        held_out=store.score(number),
    )
