"""The edits that fit a model and its data, in the order of their promise.

First comes the portfolio: all that most often helps a network of this kind, at once. Then come
single edits around the best model so far, ordered by the diagnosis of its curves. No rule knows a
particular task.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any, Callable, Iterator, List, Mapping, Optional, Sequence, Set, Tuple

from mlops_lib.runner.search.keras import graph, weights
from mlops_lib.runner.search.keras.architecture_edits import Edit
from mlops_lib.runner.search.keras.candidates import Candidate, Facts, kinds_of, standard_recipe
from mlops_lib.runner.search.keras.diagnosis import Diagnosis
from mlops_lib.runner.search.keras.portfolio import (
    MANY_LAYERS,
    before_output,
    convolutions,
    convolved,
    deeper,
    fitting,
    has_backbone,
    hidden_dense,
    modernised,
    more_blocks,
    normalised,
    of_kind,
    recurrents,
)
from mlops_lib.runner.search.past_searches import helpful_kinds, preferred_first

Change = Tuple[Tuple[str, ...], ...]
"""Kinds and places of edits."""
SHIFT = 0.08
"""Random shifts of pictures, as a share of their sides."""
THOROUGH = 2
"""The epochs of a long training, as a multiple of a usual one's."""
MOST_THOROUGH = 100
"""The most epochs of a long training."""
USUAL_FORM = "usual_form"
"""The role of the portfolio's candidate."""
AS_PICTURES = "as_pictures"
"""The role of the candidate with convolutions before pictures are flattened."""
THOROUGH_TRAINING = "thorough"
"""The role of the deeper network that is trained for long."""


class Space:
    """The candidates around a model.

    Args:
        root: the developer's model; None if only its training can change.
        facts: the properties of the data.
        diagnosis: the diagnosis of trial 0's curves.
        inheritable: whether trial 0's own weights may be inherited without training it again.
        past: similar searches of the same home.
    """

    def __init__(
        self,
        root: Any,
        facts: Facts,
        diagnosis: Diagnosis,
        *,
        inheritable: bool,
        past: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        self.root = root
        self.facts = facts
        self.preferred = helpful_kinds(past, diagnosis.findings)
        """Kinds of changes that helped similar searches."""
        self.first = self._portfolio(diagnosis, inheritable)
        """The portfolio's candidate."""
        self.second = self._as_pictures()
        """A candidate with convolutions before pictures are flattened, or None if it does not
        apply.
        """
        prepared = [self.first] if self.second is None else [self.first, self.second]
        self.prepared = preferred_first(prepared, Candidate.kinds, self.preferred)
        """These candidates, which come before any edits of the best trial, in their order."""

    def _portfolio(self, diagnosis: Diagnosis, inheritable: bool) -> Candidate:
        # Weights that fit the training examples by heart, or that jumped, are a bad start.
        fresh = not inheritable or diagnosis.has("overfitting") or diagnosis.has("unstable")
        if self.root is None:
            recipe = standard_recipe(self.facts)
            return Candidate(0, (), recipe, fresh=not inheritable, role=USUAL_FORM)
        edits = modernised(self.root, self.facts, diagnosis)
        # Normalised convolutions learn faster, and each of their epochs costs the most.
        share = 0.7 if convolutions(self.root) and not self.facts.pretrained else 1.0
        recipe = standard_recipe(self.facts, share=share)
        return Candidate(0, tuple(edits), recipe, fresh, role=USUAL_FORM)

    def _as_pictures(self) -> Optional[Candidate]:
        edits = [] if self.root is None else convolved(self.root, self.facts)
        if not edits:
            return None
        recipe = standard_recipe(self.facts)
        return Candidate(0, tuple(edits), recipe, fresh=True, role=AS_PICTURES)

    def thorough(self, number: int, model: Any) -> Optional[Candidate]:
        """Return the best network for pictures, deeper, shifted, and trained for long.

        A network's capacity shows only after many epochs over pictures that are never the same
        twice.
        None if the model has no convolutions, has shifts already, or is pretrained.
        """
        if model is None or self.facts.pretrained or not convolutions(model):
            return None
        shifts = list(_shifts(model, self.facts))
        edits = list(shifts)
        if len(convolutions(model)) <= MANY_LAYERS and not has_backbone(model):
            # The first convolution sees the largest map: another one there would cost the most.
            edits += [deeper(model, layer) for layer in convolutions(model)[1:]]
        # Without the shifts the longer training would only overfit, so the candidate is given up if
        # they do not fit.
        edits = fitting(model, edits, self.facts)[1]
        if not shifts or shifts[0] not in edits:
            return None
        recipe = standard_recipe(self.facts, share=0.7)
        most = self.facts.limits.epochs or MOST_THOROUGH
        epochs = max(min(THOROUGH * recipe.epochs, most), recipe.epochs)
        recipe = replace(recipe, epochs=epochs)
        return Candidate(number, tuple(edits), recipe, fresh=True, role=THOROUGH_TRAINING)

    def around(
        self,
        number: int,
        model: Any,
        diagnosis: Diagnosis,
        *,
        polished: bool = False,
        is_new: Callable[[Candidate], bool] = lambda candidate: True,
    ) -> Iterator[Candidate]:
        """Yield candidates around the best trial so far, in order.

        Args:
            number: the trial.
            model: its architecture; None if it cannot be edited.
            diagnosis: the diagnosis of its curves.
            polished: whether it only trained another trial's weights further, at a smaller rate.
            is_new: returns whether a candidate is new; only such ones are examined further.
        """
        recipe = standard_recipe(self.facts, share=0.7)
        # Inherited weights are near a minimum: the full rate would throw them out of it.
        gentle = replace(recipe, learning_rate=recipe.learning_rate / 2)
        longer = replace(recipe, epochs=min(2 * recipe.epochs, self.facts.limits.epochs or 100))
        if model is None and diagnosis.has("unfinished"):
            yield Candidate(number, (), longer)
        if model is not None:
            ordered = _ordered(model, self.facts, diagnosis)
            for edits in preferred_first(ordered, kinds_of, self.preferred):
                candidate = Candidate(number, tuple(edits), gentle)
                # Whether edits fit is known when they were made, which takes its time.
                if is_new(candidate) and len(fitting(model, edits, self.facts)[1]) == len(edits):
                    yield candidate
        if not polished:
            yield Candidate(number, (), replace(recipe, learning_rate=recipe.learning_rate / 3))
        if number == 0:
            yield Candidate(0, (), recipe)
        yield Candidate(number, (), longer, fresh=not self.facts.pretrained)


def _ordered(model: Any, facts: Facts, diagnosis: Diagnosis) -> Iterator[List[Edit]]:
    groups: List[Callable[..., Iterator[List[Edit]]]] = [_growing, _regularising]
    # Such a model needs less capacity first.
    if diagnosis.has("overfitting"):
        groups.reverse()
    if diagnosis.has("not_learning") or diagnosis.has("unstable"):
        groups.insert(0, _stabilising)
    else:
        groups.append(_stabilising)
    # One of each in turn: a diagnosis may be wrong.
    streams = [group(model, facts) for group in groups]
    while streams:
        for stream in list(streams):
            edits = next(stream, None)
            if edits is None:
                streams.remove(stream)
            elif edits:
                yield edits


def _growing(model: Any, facts: Facts) -> Iterator[List[Edit]]:
    """Yield edits for a model that does not learn enough."""
    designed = has_backbone(model) or len(convolutions(model)) > MANY_LAYERS
    wide = [layer for layer in model.layers if layer.trainable and _width_of(layer)]
    # A layer whose width is tied to another one, as before a skip connection, cannot be widened
    # alone; convolutions of a known design keep their proportions.
    wide = [
        layer
        for layer in wide
        if weights.route(model, layer) is not None
        and not (designed and layer.weights and hasattr(layer, "kernel_size"))
    ]
    # Where convolutions and recurrences cost most of the time, smaller steps.
    step = 1.5 if convolutions(model) or recurrents(model) else 2.0
    yield [{"kind": "resize", "at": layer.name, "size": _grown(layer, step)} for layer in wide]
    blocks = [edit for edit, _ in more_blocks(model, most=1)]
    # After the widths: a block halves the map, and the layers before it then matter more.
    if blocks and not designed:
        yield blocks
    for layer in [] if designed else reversed(convolutions(model)):
        yield [deeper(model, layer)]
    for layer in recurrents(model):
        yield [{"kind": "bidirectional", "at": layer.name}]
    yield [
        {"kind": "resize", "at": layer.name, "size": _grown(layer, 2.0 if step < 2.0 else 4.0)}
        for layer in wide
    ]
    for layer in reversed(recurrents(model)):
        yield [{"kind": "stack", "at": layer.name}]
    for layer in reversed(hidden_dense(model)):
        yield [{"kind": "deepen", "at": layer.name}]
    for last in graph.output_layers(model):
        for before in graph.producers(model, last):
            yield [{"kind": "dense", "at": before.name, "size": 64}]
    for layer in wide:
        yield [{"kind": "resize", "at": layer.name, "size": _grown(layer, 2.0)}]


def _regularising(model: Any, facts: Facts) -> Iterator[List[Edit]]:
    """Yield edits for a model that learns its examples by heart."""
    for name in facts.images:
        if facts.mirrored and not _has_random(model, "flip"):
            yield [{"kind": "augment", "at": name, "flip": True}]
    for edit in _shifts(model, facts):
        yield [edit]
    dropouts = of_kind(model, "Dropout")
    # Before the output, where the most weights are trained by the fewest values.
    if not dropouts:
        yield before_output(model, 0.4)
    yield [
        {"kind": "set_dropout", "at": dropout.name, "size": round(min(0.6, dropout.rate + 0.2), 2)}
        for dropout in dropouts
        if dropout.rate < 0.55
    ]
    heavy = [*hidden_dense(model), *convolutions(model)]
    yield [
        {"kind": "l2", "at": layer.name, "size": 1e-4}
        for layer in heavy
        if layer.kernel_regularizer is None
    ]
    # Averaging leaves as many values as channels, and so a much smaller layer behind it.
    for layer in of_kind(model, "Flatten"):
        yield [{"kind": "global_pool", "at": layer.name}]
    # Last, less dropout than now: the diagnosis may be wrong.
    yield [
        {"kind": "set_dropout", "at": dropout.name, "size": round(max(0.05, dropout.rate / 2), 2)}
        for dropout in dropouts
    ]
    for layer in hidden_dense(model):
        if layer.units >= 32:
            yield [{"kind": "resize", "at": layer.name, "size": int(layer.units) // 2}]


def _has_random(model: Any, kind: str) -> bool:
    """Return whether an edit has inserted random flips or shifts into a model.

    Args:
        model: the network.
        kind: "flip" or "shift".
    """
    return any(layer.name.startswith(f"random_{kind}_added") for layer in model.layers)


def _shifts(model: Any, facts: Facts) -> Iterator[Edit]:
    """Yield edits that shift the pictures a model reads, if nothing shifts them yet."""
    if not _has_random(model, "shift"):
        for name in facts.images:
            yield {"kind": "augment", "at": name, "shift": SHIFT}


def _stabilising(model: Any, facts: Facts) -> Iterator[List[Edit]]:
    """Yield edits for a model that does not learn at all, or whose loss jumps."""
    for name, (mean, variance) in facts.unscaled.items():
        if not any("normalization_added" in layer.name for layer in model.layers):
            yield [{"kind": "normalise_input", "at": name, "mean": mean, "variance": variance}]
    plain = [
        layer
        for layer in [*convolutions(model), *hidden_dense(model)]
        if not normalised(model, layer)
    ]
    yield [{"kind": "batch_norm", "at": layer.name} for layer in plain]


def _width_of(layer: Any) -> int:
    kind = type(layer).__name__
    if kind == "Bidirectional":
        return int(getattr(layer.forward_layer, "units", 0))
    if kind in ("Dense", "LSTM", "GRU", "SimpleRNN"):
        return int(layer.units)
    return (
        int(layer.filters)
        if kind in ("Conv1D", "Conv2D", "Conv3D")
        else int(getattr(layer, "output_dim", 0))
    )


def _grown(layer: Any, factor: float) -> int:
    return max(_width_of(layer) + 1, int(_width_of(layer) * factor))


def next_candidate(
    space: Space,
    best: int,
    model_of: Callable[[int], Any],
    diagnosis_of: Callable[[int], Diagnosis],
    tried_values: List[Mapping[str, Any]],
    *,
    polished: bool = False,
) -> Optional[Candidate]:
    """Return the first new candidate, or None if all were tried.

    The portfolio's candidates come first, then those around the best trial.

    Args:
        space: the candidates.
        best: the number of the best trial.
        model_of: returns the architecture of a trial.
        diagnosis_of: returns the diagnosis of a trial.
        tried_values: the values of all candidates so far.
        polished: see `Space.around`.
    """
    tried_keys = [_key(values) for values in tried_values]

    def is_new(candidate: Candidate) -> bool:
        return _key(candidate.values()) not in tried_keys

    for prepared in space.prepared:
        if is_new(prepared):
            return prepared
    # Once: after a training as long as this one, further ones around it come from the space.
    thorough = space.thorough(best, model_of(best)) if best else None
    if thorough is not None and all(
        int(values["epochs"]) < thorough.recipe.epochs for values in tried_values
    ):
        return thorough
    unsuccessful = _unsuccessful(best, tried_values)
    repeated: Optional[Candidate] = None
    for candidate in space.around(
        best, model_of(best), diagnosis_of(best), polished=polished, is_new=is_new
    ):
        if not is_new(candidate):
            continue
        if _change_of(candidate.values()) not in unsuccessful:
            return candidate
        # An unsuccessful change is better than none: it is returned if nothing else is left.
        repeated = repeated or candidate
    return repeated


def _key(values: Mapping[str, Any]) -> str:
    """Return what makes two candidates the same training; the name of a prepared one is not."""
    return json.dumps({k: v for k, v in values.items() if k != "role"}, sort_keys=True)


def _change_of(values: Mapping[str, Any]) -> Change:
    """Return kinds and places of a candidate's edits, without their sizes."""
    return tuple(sorted(_place(edit) for edit in json.loads(values["edits"])))


def _place(edit: Edit) -> Tuple[str, ...]:
    inner = _place(edit["edit"]) if "edit" in edit else ()
    return (edit["kind"], edit["at"], *inner)


def _unsuccessful(best: int, tried_values: List[Mapping[str, Any]]) -> Set[Change]:
    """Return the changes that were tried and did not lead to the best trial.

    What did not help one model seldom helps the next, which differs from it by one edit: all else
    is tried before.
    """
    ancestors = set()
    number = best
    # Trials are numbered from 1 in the order of these values.
    while 0 < number <= len(tried_values):
        ancestors.add(number)
        number = int(tried_values[number - 1]["parent"])
    return {
        _change_of(values)
        for number, values in enumerate(tried_values, 1)
        if number not in ancestors and _change_of(values)
    }
