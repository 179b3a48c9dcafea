"""Which edits fit a model and its data, in the order in which they are worth trying.

First a portfolio: what most often helps a network of this kind, all at once. Then single edits around the best model so
far, ordered by what its own curves say is wrong with it. Nothing here knows a particular task.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Callable, Dict, Iterator, List, Mapping, Optional, Tuple

from mlops_lib.runner.search import graph, weights
from mlops_lib.runner.search.diagnosis import Diagnosis
from mlops_lib.runner.search.graph import UnclonableError
from mlops_lib.runner.search.morph import Edit, NotApplicableError, apply, words

PEAK = 3e-3
"""Peak learning rate of Adam under warm-up and cosine decay, at batches of 64."""
SMALLEST_MAP = 6
"""A feature map of fewer positions a side is not pooled further."""
MOST_BLOCKS = 3
MOST_FILTERS = 256
FEW_FILTERS = 16
"""A convolution with fewer filters is widened to so many."""
NARROW = 64
"""A hidden layer of at most so many units between the convolutions and the output is a bottleneck."""
FEW_STEPS = 40
"""Steps an epoch below which a smaller batch is worth its time."""


@dataclass(frozen=True)
class Recipe:
    """How a trial trains."""

    optimizer: str = "own"
    """"own": the developer's, from its configuration; else the name of one of Keras'."""
    learning_rate: float = 0.0
    """Peak under "cosine"; 0 keeps the developer's."""
    schedule: str = "own"
    """"own" or "cosine" (linear warm-up over a tenth, then cosine decay)."""
    batch_size: int = 0
    """0 keeps the developer's."""
    epochs: int = 10
    balanced: bool = False
    """Weigh classes by their rarity."""

    def words(self) -> List[str]:
        """As a person would say it."""
        said = [f"train {self.epochs} epochs"]
        if self.schedule == "cosine":
            said.append("warm up, then decay the learning rate along a cosine")
        if self.optimizer != "own":
            said.append(f"use {self.optimizer}")
        if self.learning_rate:
            said.append(f"learning rate {self.learning_rate:.2g}")
        if self.batch_size:
            said.append(f"batches of {self.batch_size}")
        if self.balanced:
            said.append("weigh rare classes more")
        return said


@dataclass(frozen=True)
class Candidate:
    """What a trial is to try."""

    parent: int
    """The trial whose architecture is edited and whose weights are inherited."""
    edits: Tuple[Edit, ...] = ()
    recipe: Recipe = Recipe()
    fresh: bool = False
    """Start from fresh weights all the same."""

    def values(self) -> Dict[str, Any]:
        """As flat JSON values, for the oracle's own records."""
        return {
            "parent": self.parent, "edits": json.dumps([dict(e) for e in self.edits], sort_keys=True),
            "fresh": self.fresh, **asdict(self.recipe),
        }  # fmt: skip

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> Candidate:
        """The candidate that `values` describe."""
        recipe = Recipe(**{name: values[name] for name in asdict(Recipe()) if name in values})
        return cls(int(values["parent"]), tuple(json.loads(values["edits"])), recipe, bool(values["fresh"]))

    def words(self) -> List[str]:
        """Its edits as a person would say them."""
        return [words(edit) for edit in self.edits]


@dataclass
class Facts:
    """What is known of the data and of the developer's way to train."""

    examples: int
    batch_size: int
    epochs: int
    learning_rate: float = 1e-3
    images: List[str] = field(default_factory=list)
    """Names of inputs that are images."""
    mirrored: bool = False
    """Whether a mirrored image may keep its label."""
    unscaled: Dict[str, Tuple[List[float], List[float]]] = field(default_factory=dict)
    """Input name to mean and variance by feature, for inputs that are far from standard."""
    arrays: bool = True
    """Whether the batch size can be chosen."""
    imbalanced: bool = False
    """Whether some class is rare and the metric cares."""


def standard_recipe(facts: Facts, *, share: float = 1.0, least: int = 8, most: int = 40) -> Recipe:
    """Warm-up and cosine decay with Adam, for `share` of the developer's epochs."""
    batch = facts.batch_size
    if facts.arrays and facts.examples / max(batch, 1) < FEW_STEPS:
        batch = max(16, 2 ** max(4, (facts.examples // FEW_STEPS).bit_length() - 1))
    batch = min(batch, 256) if facts.arrays else batch
    rate = PEAK * min(max((batch / 64.0) ** 0.5, 0.5), 2.0)
    epochs = min(max(round(facts.epochs * share), least), most)
    chosen = batch if facts.arrays and batch != facts.batch_size else 0
    return Recipe("adam", float(f"{rate:.3g}"), "cosine", chosen, epochs, facts.imbalanced)


class Space:
    """The candidates around a model.

    Args:
        root: the developer's model; None where only the way it trains can change.
        facts: what is known of the data.
        diagnosis: what trial 0's curves say.
        disjoint: whether trial 0's own weights may be inherited without training it again.
    """

    def __init__(self, root: Any, facts: Facts, diagnosis: Diagnosis, *, inheritable: bool) -> None:
        self.root = root
        self.facts = facts
        self.diagnosis = diagnosis
        self.inheritable = inheritable

    def first(self) -> Candidate:
        """The portfolio's first: everything that most often helps a network of this kind."""
        fresh = not self.inheritable or self.diagnosis.has("overfitting") or self.diagnosis.has("unstable")
        if self.root is None:
            return Candidate(0, (), replace(standard_recipe(self.facts), batch_size=0), not self.inheritable)
        edits = modernised(self.root, self.facts, self.diagnosis)
        share = 0.7 if _convolutions(self.root) else 1.0
        return Candidate(0, tuple(edits), standard_recipe(self.facts, share=share), fresh)

    def around(self, number: int, model: Any, diagnosis: Diagnosis) -> Iterator[Candidate]:
        """Candidates around trial `number`, the best so far, in order.

        Args:
            number: the trial.
            model: its architecture; None where it cannot be edited.
            diagnosis: what its curves say.
        """
        recipe = replace(standard_recipe(self.facts, share=0.7), batch_size=0)
        gentle = replace(recipe, learning_rate=recipe.learning_rate / 2)
        if model is not None:
            for edits in _ordered(model, self.facts, diagnosis):
                yield Candidate(number, tuple(edits), gentle)
        yield Candidate(number, (), replace(recipe, learning_rate=recipe.learning_rate / 3))
        if number == 0:
            yield Candidate(0, (), recipe)
        yield Candidate(number, (), replace(recipe, epochs=min(2 * recipe.epochs, 80)), fresh=True)


def _ordered(model: Any, facts: Facts, diagnosis: Diagnosis) -> Iterator[List[Edit]]:
    groups: List[Callable[..., Iterator[List[Edit]]]] = [_growing, _regularising]
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
            elif edits and fits(model, edits):
                yield edits


def fits(model: Any, edits: List[Edit]) -> bool:
    """Whether the edits can be made, one after the other."""
    try:
        for edit in edits:
            model, _ = apply(model, edit)
    except (NotApplicableError, UnclonableError, ValueError, KeyError):
        return False
    return True


def _of_kind(model: Any, *kinds: str) -> List[Any]:
    return [layer for layer in model.layers if type(layer).__name__ in kinds]


def _convolutions(model: Any) -> List[Any]:
    return _of_kind(model, "Conv2D", "Conv1D")


def _recurrents(model: Any) -> List[Any]:
    return _of_kind(model, "LSTM", "GRU", "SimpleRNN", "Bidirectional")


def _hidden_dense(model: Any) -> List[Any]:
    last = graph.output_operations(model)
    return [layer for layer in _of_kind(model, "Dense") if not any(layer is one for one in last)]


def modernised(model: Any, facts: Facts, diagnosis: Diagnosis) -> List[Edit]:
    """The edits of the portfolio's first candidate; those that do not fit are left out."""
    wanted: List[Edit] = []
    for name, (mean, variance) in facts.unscaled.items():
        wanted.append({"kind": "normalise_input", "at": name, "mean": mean, "variance": variance})
    rate = 0.3
    if _convolutions(model):
        wanted += _modern_convolutions(model, facts)
    elif _recurrents(model):
        wanted += [{"kind": "bidirectional", "at": layer.name} for layer in _recurrents(model)]
    else:
        wanted += _modern_dense(model, diagnosis)
        rate = 0.3 if diagnosis.has("overfitting") else 0.1
    model, kept = _fitting(model, wanted)
    # What stands before the output is known only now.
    return kept + _fitting(model, _before_output(model, rate))[1]


def _fitting(model: Any, wanted: List[Edit]) -> Tuple[Any, List[Edit]]:
    """The model with those of the edits that fit, and these."""
    kept: List[Edit] = []
    for edit in wanted:
        try:
            model, _ = apply(model, edit)
        except (NotApplicableError, UnclonableError, ValueError, KeyError):
            continue
        kept.append(edit)
    return model, kept


def _modern_convolutions(model: Any, facts: Facts) -> List[Edit]:
    """Normalise every convolution, pool down to a small map with growing width, no bottleneck before the output."""
    edits: List[Edit] = []
    for name in facts.images:
        if facts.mirrored:
            edits.append({"kind": "augment", "at": name, "flip": True})
    edits += [
        {"kind": "batch_norm", "at": layer.name} for layer in _convolutions(model) if not _normalised(model, layer)
    ]
    narrow = [layer for layer in _convolutions(model) if layer.filters < FEW_FILTERS]
    edits += [{"kind": "resize", "at": layer.name, "size": FEW_FILTERS} for layer in narrow]
    blocks = _more_blocks(model)
    edits += blocks
    for layer in _hidden_dense(model):
        if layer.units <= NARROW:
            edits.append(
                {"kind": "remove", "at": layer.name}
                if blocks
                else {"kind": "resize", "at": layer.name, "size": 2 * NARROW}
            )
    return edits


def _normalised(model: Any, layer: Any) -> bool:
    return any(
        type(one).__name__ in ("BatchNormalization", "LayerNormalization") for one in graph.consumers(model, layer)
    )


def _more_blocks(model: Any, most: int = MOST_BLOCKS) -> List[Edit]:
    """Conv-Pool blocks before the map is flattened or pooled away, until it is small."""
    heads = [
        one for one in model.layers if type(one).__name__ in ("Flatten", "GlobalAveragePooling2D", "GlobalMaxPooling2D")
    ]
    convolutions = _of_kind(model, "Conv2D")
    if not heads or not convolutions or len(graph.producers(model, heads[0])) != 1:
        return []
    before, like = graph.producers(model, heads[0])[0], convolutions[-1]
    if len(before.output.shape) != 4 or like.data_format == "channels_first":
        return []
    side, filters = min(int(n or 0) for n in before.output.shape[1:3]), int(like.filters)
    edits: List[Edit] = []
    at, number = before.name, 1
    taken = {layer.name for layer in model.layers}
    while side >= SMALLEST_MAP and len(edits) < most:
        while f"conv_added_{number}" in taken:
            number += 1
        filters = min(2 * filters, max(MOST_FILTERS, filters))
        edits.append({"kind": "conv_block", "at": at, "like": like.name, "size": filters})
        at, side, number = f"conv_added_pool_{number}", (side + 1) // 2, number + 1
    return edits


def _before_output(model: Any, rate: float) -> List[Edit]:
    """Dropout before each output layer, where the model has none."""
    if _of_kind(model, "Dropout", "SpatialDropout1D", "SpatialDropout2D", "AlphaDropout"):
        return []
    edits: List[Edit] = []
    for last in graph.output_operations(model):
        for before in graph.producers(model, last):
            if type(last).__name__ == "Dense" and type(before).__name__ != "InputLayer":
                edits.append({"kind": "dropout", "at": before.name, "size": rate})
    return edits


def _modern_dense(model: Any, diagnosis: Diagnosis) -> List[Edit]:
    hidden = _hidden_dense(model)
    edits: List[Edit] = []
    if not diagnosis.has("overfitting"):
        edits += [{"kind": "resize", "at": layer.name, "size": 64} for layer in hidden if layer.units < 32]
        if not hidden:
            for last in graph.output_operations(model):
                edits += [{"kind": "dense", "at": before.name, "size": 64} for before in graph.producers(model, last)]
    return edits


def _growing(model: Any, facts: Facts) -> Iterator[List[Edit]]:
    """For a model that does not learn enough."""
    wide = [layer for layer in model.layers if _width_of(layer) and weights.route(model, layer) is not None]
    yield [{"kind": "resize", "at": layer.name, "size": _grown(layer, 1.5)} for layer in wide]
    blocks = _more_blocks(model, 1)
    if blocks:
        yield blocks
    for layer in reversed(_convolutions(model)):
        yield [{"kind": "deepen", "at": layer.name}]
    for layer in _recurrents(model):
        yield [{"kind": "bidirectional", "at": layer.name}]
    yield [{"kind": "resize", "at": layer.name, "size": _grown(layer, 2.0)} for layer in wide]
    for layer in reversed(_recurrents(model)):
        yield [{"kind": "stack", "at": layer.name}]
    for layer in reversed(_hidden_dense(model)):
        yield [{"kind": "deepen", "at": layer.name}]
    for last in graph.output_operations(model):
        for before in graph.producers(model, last):
            yield [{"kind": "dense", "at": before.name, "size": 64}]
    for layer in wide:
        yield [{"kind": "resize", "at": layer.name, "size": _grown(layer, 2.0)}]


def _regularising(model: Any, facts: Facts) -> Iterator[List[Edit]]:
    """For a model that learns its examples by heart."""
    for name in facts.images:
        added = {layer.name.rsplit("_", 2)[0] for layer in model.layers}
        if facts.mirrored and "random_flip" not in added:
            yield [{"kind": "augment", "at": name, "flip": True}]
        if "random_shift" not in added:
            yield [{"kind": "augment", "at": name, "shift": 0.08}]
    dropouts = _of_kind(model, "Dropout")
    if not dropouts:
        yield _before_output(model, 0.4)
    yield [
        {"kind": "set_dropout", "at": one.name, "size": min(0.6, one.rate + 0.2)} for one in dropouts if one.rate < 0.55
    ]
    heavy = [*_hidden_dense(model), *_convolutions(model)]
    yield [{"kind": "l2", "at": layer.name, "size": 1e-4} for layer in heavy if layer.kernel_regularizer is None]
    for layer in _of_kind(model, "Flatten"):
        yield [{"kind": "global_pool", "at": layer.name}]
    yield [{"kind": "set_dropout", "at": one.name, "size": max(0.05, one.rate / 2)} for one in dropouts]
    for layer in _hidden_dense(model):
        if layer.units >= 32:
            yield [{"kind": "resize", "at": layer.name, "size": int(layer.units) // 2}]


def _stabilising(model: Any, facts: Facts) -> Iterator[List[Edit]]:
    """For a model that does not learn at all, or wildly."""
    for name, (mean, variance) in facts.unscaled.items():
        if not any("normalization_added" in layer.name for layer in model.layers):
            yield [{"kind": "normalise_input", "at": name, "mean": mean, "variance": variance}]
    plain = [layer for layer in [*_convolutions(model), *_hidden_dense(model)] if not _normalised(model, layer)]
    yield [{"kind": "batch_norm", "at": layer.name} for layer in plain]


def _width_of(layer: Any) -> int:
    kind = type(layer).__name__
    if kind == "Bidirectional":
        return int(getattr(layer.forward_layer, "units", 0))
    if kind in ("Dense", "LSTM", "GRU", "SimpleRNN"):
        return int(layer.units)
    return int(layer.filters) if kind in ("Conv1D", "Conv2D", "Conv3D") else int(getattr(layer, "output_dim", 0))


def _grown(layer: Any, factor: float) -> int:
    return max(_width_of(layer) + 1, int(_width_of(layer) * factor))


def next_candidate(
    space: Space,
    best: int,
    model_of: Callable[[int], Any],
    diagnosis_of: Callable[[int], Diagnosis],
    tried: List[Mapping[str, Any]],
) -> Optional[Candidate]:
    """The first candidate that was not tried yet: the portfolio's, then those around the best; None when all were."""
    known = [json.dumps(dict(values), sort_keys=True) for values in tried]

    def is_new(candidate: Candidate) -> bool:
        return json.dumps(candidate.values(), sort_keys=True) not in known

    first = space.first()
    if is_new(first):
        return first
    for candidate in space.around(best, model_of(best), diagnosis_of(best)):
        if is_new(candidate):
            return candidate
    return None
