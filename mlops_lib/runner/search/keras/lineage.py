"""Build the model of any trial of a search.

No architecture is stored. A trial is its parent and its edits, and edits are deterministic, so a
search that was killed builds every model again from the records alone.
"""

from __future__ import annotations

from typing import Any, List, Optional, Tuple

from mlops_lib.runner.search.keras import architecture_edits, graph, initial_weights, user_space
from mlops_lib.runner.search.keras.candidates import Candidate
from mlops_lib.runner.search.keras.trial_store import TrialStore
from mlops_lib.runner.search.request import FitCall


class Lineage:
    """Build the models of trials.

    Args:
        model: the developer's model object.
        call: the fit that trained it.
        store: the trials.
        root: a copy of the developer's model that trials may edit; None if the model cannot be
            rebuilt or must not change. Every trial then trains `model` itself.
        hypermodel: the HyperModel of the project's search_space.py, or None.
    """

    def __init__(
        self, model: Any, call: FitCall, store: TrialStore, *, root: Any, hypermodel: Any
    ) -> None:
        self._model = model
        self._call = call
        self._store = store
        self._hypermodel = hypermodel
        self.root = root

    def architecture(self, number: int) -> Any:
        """Return the model of a trial, or None without a root; its weights mean nothing."""
        if self.root is None:
            return None
        if number == 0:
            return self.root
        candidate = self._store.candidate(number)
        if candidate.own:
            return user_space.built(self._hypermodel, candidate.own)
        # Recursively from the root: only edits are stored.
        parent = self.architecture(candidate.parent)
        model, _ = architecture_edits.apply_all(parent, list(candidate.edits))
        return model

    def build(self, candidate: Candidate) -> Tuple[Any, str]:
        """Return the model of a candidate with its starting weights, and their grade.

        The grade is "fresh" if no trained weights were inherited, else how closely the edited model
        computes what its parent does ("exact", "approximate", …).
        """
        if candidate.own:
            return user_space.built(self._hypermodel, candidate.own), "fresh"
        if self.root is None:
            return self._reset_in_place(candidate)
        parent = self.architecture(candidate.parent)
        if not candidate.fresh:
            # Before the edits: they transform the parent's weights (widen, deepen, …).
            parent.set_weights(self._store.weights(candidate.parent))
        model, grade = architecture_edits.apply_all(parent, list(candidate.edits))
        if candidate.fresh:
            # A layer that an edit took over still holds trained values; a rebuilt one is
            # initialised.
            model = graph.rebuild(model, graph.Plan())
            self._restore_initial_weights(model)
            return model, "fresh"
        return model, grade

    def build_untrained(self) -> Any:
        """Return the developer's model with its weights from before the fit.

        If they are not known, the weights are freshly initialised (or the trained ones without a
        root).
        """
        model = self._model if self.root is None else graph.rebuild(self.root, graph.Plan())
        initial = self._initial_weights()
        if initial is not None:
            model.set_weights(initial)
        return model

    def _reset_in_place(self, candidate: Candidate) -> Tuple[Any, str]:
        initial = self._initial_weights() if candidate.fresh else None
        if initial is not None:
            self._model.set_weights(initial)
            return self._model, "fresh"
        self._model.set_weights(self._store.weights(candidate.parent))
        return self._model, "exact"

    def _restore_initial_weights(self, model: Any) -> None:
        """Give unedited layers the weights they had before the developer's fit.

        They may be pretrained. If the initial weights are not known, layers that the fit cannot
        have changed, because nothing in them is trainable, take theirs from the trained model.
        """
        initial = self._initial_weights()
        before = self.root
        if initial is not None:
            before = graph.rebuild(self.root, graph.Plan())
            before.set_weights(initial)
        sources = {layer.name: layer for layer in before.layers}
        for layer in model.layers:
            source = sources.get(layer.name)
            if source is None or not source.weights:
                continue
            if initial is None and source.trainable_weights:
                continue
            values = source.get_weights()
            # An edited layer keeps its name and has other shapes (widen): it stays fresh.
            if [value.shape for value in values] == [tuple(w.shape) for w in layer.weights]:
                layer.set_weights(values)

    def _initial_weights(self) -> Optional[List[Any]]:
        return initial_weights.initial(self._model, self._call)

    def is_edited(self, number: int) -> bool:
        """Return whether a trial's architecture differs from the developer's."""
        while number:
            candidate = self._store.candidate(number)
            if candidate.edits or candidate.own:
                return True
            number = candidate.parent
        return False

    def trained_chain(self, number: int) -> List[Candidate]:
        """Return the candidates that trained a trial's weights, oldest first."""
        chain = [self._store.candidate(number)]
        while chain[0].parent and not chain[0].fresh:
            chain.insert(0, self._store.candidate(chain[0].parent))
        return chain

    def curve(self, number: int, name: str) -> List[float]:
        """Return a metric's curve over the whole training of a trial's weights.

        The curves of the trials whose weights it inherited come first.
        """
        values = self._store.history(number).get(name, [])
        if number == 0:
            return [*values]
        candidate = self._store.candidate(number)
        inherited = [] if candidate.fresh else self.curve(candidate.parent, name)
        return [*inherited, *values]
