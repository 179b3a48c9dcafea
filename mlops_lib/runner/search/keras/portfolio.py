"""The portfolio: all that most often helps a network of its kind, at once.

It is the first candidate of a search. Its rules are those of any textbook and know no task:
normalised inputs and activations, channels that double when the map halves, no bottleneck before
the output, dropout there, recurrent layers that read both ways and skip the padding. The width is
limited by the cost of an example, so the rules name a budget of multiplications.
"""

from __future__ import annotations

import math
from typing import Any, Callable, List, Optional, Tuple

from mlops_lib.runner.search.keras import graph
from mlops_lib.runner.search.keras.architecture_edits import Edit, NotApplicableError, apply
from mlops_lib.runner.search.keras.candidates import Facts
from mlops_lib.runner.search.keras.diagnosis import Diagnosis
from mlops_lib.runner.search.keras.graph import UnclonableError

COST = 6e6
"""Multiplications that the convolutions of one example may cost, on a processor."""
GROWTH = 4
"""The factor by which a network may exceed `COST`, or the developer's own cost, after further
edits.
"""
ACCELERATED = 30
"""The factor on these costs if there is an accelerator."""
WIDTHS = (64, 48, 32, 24, 16)
"""Candidates for the filters of the first convolutions; the first that stays within the cost is
used.
"""
MOST_FILTERS = 256
SMALLEST_MAP = 6
"""A feature map of fewer positions a side is not pooled further."""
MOST_BLOCKS = 3
NARROW = 64
"""A hidden layer of at most so many units between the convolutions and the output is a bottleneck.
"""
LARGE_MAP = 16384
"""A flattened map of more values is averaged instead."""
MANY_LAYERS = 12
"""A network with more convolutions has a known design, and keeps them."""
SMALL_STATE = 32
SMALL_EMBEDDING = 16
LEAST_HIDDEN = 64
MOST_HIDDEN = 256
"""A hidden layer without convolutions before it is as wide as its input, within these bounds."""

_BETWEEN = (
    "Activation",
    "ReLU",
    "LeakyReLU",
    "ELU",
    "PReLU",
    "Dropout",
    "SpatialDropout1D",
    "SpatialDropout2D",
    "MaxPooling1D",
    "MaxPooling2D",
    "AveragePooling1D",
    "AveragePooling2D",
)
_POOLING = ("MaxPooling1D", "MaxPooling2D", "AveragePooling1D", "AveragePooling2D")
_NORMS = ("BatchNormalization", "LayerNormalization", "GroupNormalization")


def of_kind(model: Any, *kinds: str) -> List[Any]:
    """Return the trainable layers of these classes.

    Layers inside another model are not included.
    """
    return [layer for layer in model.layers if type(layer).__name__ in kinds and layer.trainable]


def convolutions(model: Any) -> List[Any]:
    """Return the convolutions that are not outputs."""
    last = graph.output_operations(model)
    return [
        layer
        for layer in of_kind(model, "Conv2D", "Conv1D")
        if not any(layer is output for output in last)
    ]


def recurrents(model: Any) -> List[Any]:
    """Return the recurrent layers."""
    return of_kind(model, "LSTM", "GRU", "SimpleRNN", "Bidirectional")


def hidden_dense(model: Any) -> List[Any]:
    """Return the Dense layers that are not outputs."""
    last = graph.output_operations(model)
    return [
        layer for layer in of_kind(model, "Dense") if not any(layer is output for output in last)
    ]


def normalised(model: Any, layer: Any) -> bool:
    """Return whether a layer's output is normalised before the next weights."""
    for after in graph.consumers(model, layer):
        kind = type(after).__name__
        if kind in _NORMS or (kind in _BETWEEN and normalised(model, after)):
            return True
    return False


def modernised(model: Any, facts: Facts, diagnosis: Diagnosis) -> List[Edit]:
    """Return the edits of the portfolio's candidate that fit and are allowed."""
    edits: List[Edit] = []
    for name, (mean, variance) in facts.unscaled.items():
        edits.append({"kind": "normalise_input", "at": name, "mean": mean, "variance": variance})
    # Dropout before the output; less for a small dense network, below.
    rate = 0.3
    backbone = len(
        of_kind(model, "Conv2D", "DepthwiseConv2D", "SeparableConv2D")
    ) > MANY_LAYERS or has_backbone(model)
    # A pretrained network has learned from more pictures than any augmentation makes.
    if facts.mirrored and not facts.pretrained:
        edits += [{"kind": "augment", "at": name, "flip": True} for name in facts.images]
    edits += [
        {"kind": "inside", "at": name, "edit": edit}
        for name in facts.inner
        for edit in _within(model.get_layer(name), facts, diagnosis)
    ]
    if backbone:
        edits += [
            {"kind": "resize", "at": layer.name, "size": 2 * NARROW}
            for layer in hidden_dense(model)
            if layer.units < NARROW
        ]
    elif convolutions(model):
        edits += _convolutional(model, facts)
    elif recurrents(model):
        edits += _recurrent(model, facts)
    else:
        # Where the output reads the input, a hidden layer comes behind what is put there.
        edits += _dense(fitting(model, edits, facts)[0], diagnosis)
        if (
            facts.ties.narrowest < math.inf
        ):  # an autoencoder: more of a decoder, and all of its code is needed
            edits += _before_outputs(model, _wide(model))
            return fitting(model, edits, facts)[1]
        rate = 0.3 if diagnosis.has("overfitting") or _wide(model) >= MOST_HIDDEN else 0.1
    if facts.targets is not None:
        middle, deviation = facts.targets
        edits += [
            {"kind": "scale_output", "at": layer.name, "mean": middle, "size": deviation}
            for layer in graph.output_layers(model)[:1]
        ]
    model, fitting_edits = fitting(model, edits, facts)
    # What stands before the output is known only now.
    return fitting_edits + fitting(model, before_output(model, rate), facts)[1]


def _within(inner: Any, facts: Facts, diagnosis: Diagnosis) -> List[Edit]:
    """Return the edits of a model of the script inside another one.

    The shape of its output stays.
    """
    try:
        if convolutions(inner):
            return _convolutional(inner, facts)
        return _recurrent(inner, facts) if recurrents(inner) else _dense(inner, diagnosis)
    except UnclonableError:  # a subclassed one: its architecture is code
        return []


def has_backbone(model: Any) -> bool:
    """Return whether the network stands on another model or on frozen layers.

    Only its head may then change.
    """
    return any(
        layer.weights and (hasattr(layer, "layers") or not layer.trainable)
        for layer in model.layers
    )


def most_cost(model: Any, *, accelerated: bool) -> float:
    """Return the multiplications that an example may cost after edits of this model."""
    return GROWTH * max(COST * (ACCELERATED if accelerated else 1), multiplications(model))


def multiplications(model: Any) -> float:
    """Return the multiplications that an example costs.

    They are the size of each kernel times the number of positions at which it is applied.
    """
    total = 0.0
    for layer in getattr(model, "layers", []):
        if type(layer).__name__ == "Embedding":
            continue
        try:
            ends = (layer.input.shape, layer.output.shape)
        except (
            AttributeError,
            ValueError,
        ):  # several inputs, or never called: no kernel of its own
            continue
        between = ends[0] if len(ends[0]) > len(ends[1]) else ends[1]
        positions = math.prod(int(n or 1) for n in between[1:-1])
        total += positions * sum(
            math.prod(weight.shape) for weight in layer.weights if len(weight.shape) > 1
        )
    return total


def fitting(model: Any, edits: List[Edit], facts: Facts) -> Tuple[Any, List[Edit]]:
    """Apply the edits that fit and are allowed; return the model and these edits."""
    fitting_edits: List[Edit] = []
    most = facts.limits.parameters
    # One by one, each on the model with those before it: an edit may fit only without another one.
    for edit in edits:
        if not facts.limits.allow(edit):
            continue
        try:
            edited, _ = apply(model, edit)
        except (NotApplicableError, UnclonableError, ValueError, KeyError):
            continue
        # A developer's model that exceeds the limit already may stay as it is.
        if most and edited.count_params() > max(most, model.count_params()):
            continue
        if facts.most_cost and multiplications(edited) > max(
            facts.most_cost, multiplications(model)
        ):
            continue
        if not facts.ties.allow(edited):
            continue
        model = edited
        fitting_edits.append(edit)
    return model, fitting_edits


def _convolutional(model: Any, facts: Facts) -> List[Edit]:
    """Return edits that bring a convolutional network into the usual form.

    Every convolution is normalised, there is one before each pooling, channels grow as the map
    shrinks, and no bottleneck remains.
    """
    edits: List[Edit] = []
    edits += [
        {"kind": "batch_norm", "at": layer.name}
        for layer in convolutions(model)
        if not normalised(model, layer)
    ]
    budget = COST * (ACCELERATED if facts.accelerated else 1)
    # From the widest plan down: width helps most, as long as the machine can afford it.
    for base in WIDTHS:
        wider, blocks, cost, features = _planned(model, base)
        if cost <= budget:
            break
    edits += wider + blocks
    if features > LARGE_MAP:
        edits += [{"kind": "global_pool", "at": layer.name} for layer in of_kind(model, "Flatten")]
    for layer in hidden_dense(model):
        if layer.units <= NARROW:
            narrow = {"kind": "resize", "at": layer.name, "size": 2 * NARROW}
            edits.append(
                {"kind": "remove", "at": layer.name} if blocks and features <= LARGE_MAP else narrow
            )
    return edits


def _planned(model: Any, base: int) -> Tuple[List[Edit], List[Edit], float, float]:
    """Plan the widths and the blocks of a convolutional network.

    Returns:
        The convolutions to widen, the blocks to add, the multiplications an example then costs, and
        the number of values that are flattened.
    """
    own = convolutions(model)
    # The larger of input and output: the first convolution may have strides.
    side = max(_side(graph.producers(model, own[0])[0]), _side(own[0]))
    wider: List[Edit] = []
    cost = 0.0
    channels = int(own[0].input.shape[-1])

    def wanted_filters(at_side: int, least: int) -> int:
        stage = max(round(math.log2(side / max(at_side, 1))), 0)
        return max(least, min(int(base * 2**stage), MOST_FILTERS))

    def price(at_side: int, filters: int, kernel: Any) -> float:
        return float(channels * filters * math.prod(kernel) * at_side ** len(kernel))

    for layer in own:
        filters = wanted_filters(_side(layer), int(layer.filters))
        if filters > layer.filters:
            wider.append({"kind": "resize", "at": layer.name, "size": filters})
        # With the filters as planned: the next layer then reads as many channels.
        cost += price(_side(layer), filters, layer.kernel_size)
        channels = filters
    blocks = more_blocks(model, wanted_filters=wanted_filters)
    end = _side(own[-1])
    for edit, at_side in blocks:
        cost += price(at_side, edit["size"], (3,) * own[-1].rank)
        channels = edit["size"]
        end = at_side
    end = (end + 1) // 2
    return wider, [edit for edit, _ in blocks], cost, float(channels * end ** own[-1].rank)


def _side(layer: Any) -> int:
    shape = layer.output.shape[1:-1]
    return max((int(n or 0) for n in shape), default=0)


WantedFilters = Callable[[int, int], int]
"""The side of a map and the least number of filters, to a number of filters."""


class _Blocks:
    """Conv-Pool blocks to add, each like the model's last convolution.

    Args:
        model: the network.
        like: its last convolution.
        wanted_filters: maps the side of a map and the least number of filters to a number of
            filters; None doubles it with each block.
    """

    def __init__(self, model: Any, like: Any, wanted_filters: Optional[WantedFilters]) -> None:
        self.edits: List[Tuple[Edit, int]] = []
        self._like = like
        self._filters = int(like.filters)
        self._wanted_filters = wanted_filters
        self._free_numbers = _free_numbers(model)

    def add(self, at: str, side: int, *, pool: bool) -> str:
        """Add a block behind layer `at`; return the name of the block's last layer.

        Args:
            at: the layer's name.
            side: the side of the map that the layer gives.
            pool: whether the block ends in a pooling.
        """
        if self._wanted_filters is not None:
            self._filters = self._wanted_filters(side, self._filters)
        else:
            self._filters = min(2 * self._filters, max(MOST_FILTERS, self._filters))
        edit: Edit = {
            "kind": "conv_block",
            "at": at,
            "like": self._like.name,
            "size": self._filters,
            "pool": pool,
        }
        self.edits.append((edit, side))
        # The names that the edit will give: the next block stands behind this one.
        number = next(self._free_numbers)
        return f"conv_added_pool_{number}" if pool else f"conv_added_activation_{number}"


def more_blocks(
    model: Any, *, most: int = MOST_BLOCKS, wanted_filters: Optional[WantedFilters] = None
) -> List[Tuple[Edit, int]]:
    """Return Conv-Pool blocks to add before the map is flattened or pooled away.

    They continue until the map is small; between two poolings comes one convolution. Each edit
    comes with the side of the map that its convolution reads.

    Args:
        model: the network.
        most: the largest number of blocks.
        wanted_filters: maps the side of a map and the least number of filters to a number of
            filters.
    """
    own = convolutions(model)
    heads = [
        layer
        for layer in model.layers
        if type(layer).__name__.startswith(("Flatten", "GlobalAverage", "GlobalMax"))
    ]
    if (
        not own
        or not heads
        or own[-1].data_format == "channels_first"
        or len(graph.producers(model, heads[0])) != 1
    ):
        return []
    like = own[-1]
    blocks = _Blocks(model, like, wanted_filters)
    # The second of two poolings in a row discards detail that no layer has used.
    for second in of_kind(model, *_POOLING):
        first = graph.producers(model, second)
        if len(first) == 1 and type(first[0]).__name__ in _POOLING and _rank(first[0]) == like.rank:
            blocks.add(first[0].name, _side(first[0]), pool=False)
    before = graph.producers(model, heads[0])[0]
    if _rank(before) != like.rank or _finds_phrases(model, like, heads[0]):
        return blocks.edits
    at = before.name
    side = _side(before)
    for _ in range(most):
        if side < SMALLEST_MAP:
            break
        at = blocks.add(at, side, pool=True)
        side = (side + 1) // 2
    return blocks.edits


def _finds_phrases(model: Any, like: Any, head: Any) -> bool:
    """Return whether convolutions over words are pooled over all positions.

    Such a network looks for phrases anywhere in the text: a further pooling would blur them.
    """
    has_embedding = any(type(layer).__name__ == "Embedding" for layer in model.layers)
    reads_words = like.rank == 1 and has_embedding
    return reads_words and not type(head).__name__.startswith("Flatten")


def deeper(model: Any, layer: Any) -> Edit:
    """Return an edit that adds one more convolution like this one.

    It comes behind the layer's normalisation and activation, if these are layers of their own.
    """
    end = layer
    while True:
        after = graph.consumers(model, end)
        if len(after) != 1 or type(after[0]).__name__ not in (
            *_NORMS,
            "Activation",
            "ReLU",
            "LeakyReLU",
            "ELU",
            "PReLU",
        ):
            break
        end = after[0]
    if end is layer or getattr(layer.activation, "__name__", "") != "linear":
        return {"kind": "deepen", "at": layer.name}
    return {
        "kind": "conv_block",
        "at": end.name,
        "like": layer.name,
        "size": int(layer.filters),
        "pool": False,
    }


def _rank(layer: Any) -> int:
    return len(layer.output.shape) - 2


def _free_numbers(model: Any) -> Any:
    names = {layer.name for layer in model.layers}
    return (n for n in range(1, 1000) if f"conv_added_{n}" not in names)


def before_output(model: Any, rate: float) -> List[Edit]:
    """Return edits for Dropout before each output layer, if the model has none."""
    if any("Dropout" in type(layer).__name__ for layer in model.layers):
        return []
    edits: List[Edit] = []
    for last in graph.output_layers(model):
        for before in graph.producers(model, last):
            if type(last).__name__ == "Dense" and type(before).__name__ != "InputLayer":
                edits.append({"kind": "dropout", "at": before.name, "size": rate})
    return edits


def _recurrent(model: Any, facts: Facts) -> List[Edit]:
    """Return edits for a recurrent network.

    States and embeddings become large enough, layers read both ways, and padding is skipped.
    """
    edits: List[Edit] = []
    embeddings = of_kind(model, "Embedding")
    if facts.padded:
        edits += [
            {"kind": "mask", "at": embedding.name}
            for embedding in embeddings
            if not embedding.mask_zero
        ]
    edits += [
        {"kind": "resize", "at": embedding.name, "size": 2 * SMALL_EMBEDDING}
        for embedding in embeddings
        if embedding.output_dim < SMALL_EMBEDDING
    ]
    for layer in recurrents(model):
        inner = getattr(layer, "forward_layer", layer)
        if inner.units < SMALL_STATE:
            edits.append({"kind": "resize", "at": layer.name, "size": SMALL_STATE})
        edits.append({"kind": "bidirectional", "at": layer.name})
    return edits


def _dense(model: Any, diagnosis: Diagnosis) -> List[Edit]:
    hidden = hidden_dense(model)
    width = _wide(model)
    edits: List[Edit] = []
    if not diagnosis.has("overfitting"):
        edits += [
            {"kind": "resize", "at": layer.name, "size": width}
            for layer in hidden
            if layer.units < width / 2
        ]
        edits += [] if hidden else _before_outputs(model, width)
    return edits


def _before_outputs(model: Any, width: int) -> List[Edit]:
    places = [
        producer for last in graph.output_layers(model) for producer in graph.producers(model, last)
    ]
    return [{"kind": "dense", "at": producer.name, "size": width} for producer in places]


def _wide(model: Any) -> int:
    """Return the width of hidden layers: the input's, as a power of two within bounds."""
    values = sum(
        math.prod(int(n or 1) for n in tensor.shape[1:]) for tensor in graph.graph_of(model).inputs
    )
    return int(min(max(2 ** math.ceil(math.log2(max(values, 1))), LEAST_HIDDEN), MOST_HIDDEN))


def convolved(model: Any, facts: Facts) -> List[Edit]:
    """Return edits that put convolutions before pictures are flattened.

    Empty for a network that has convolutions, or is of another kind.
    """
    if convolutions(model) or recurrents(model) or has_backbone(model) or not facts.pictures:
        return []
    edits: List[Edit] = []
    for name, (mean, variance) in facts.unscaled.items():
        edits.append({"kind": "normalise_input", "at": name, "mean": mean, "variance": variance})
    if facts.mirrored:
        edits += [{"kind": "augment", "at": name, "flip": True} for name in facts.images]
    for name, shape in facts.pictures.items():
        at = _before_flattening(model, name)
        if at:
            edits.append(
                {"kind": "convolve", "at": at, "shape": shape, "sizes": _stages(shape, facts)}
            )
    edits += [
        {"kind": "remove", "at": layer.name}
        for layer in hidden_dense(model)
        if layer.units <= NARROW
    ]
    edited, fitting_edits = fitting(model, edits, facts)
    if not any(edit["kind"] == "convolve" for edit in fitting_edits):
        return []
    return fitting_edits + fitting(edited, before_output(edited, 0.3), facts)[1]


def _before_flattening(model: Any, name: str) -> str:
    """Return the last layer before an input is flattened or read as a vector.

    "" if another layer comes first.
    """
    at = next(
        t._keras_history.operation
        for t in graph.graph_of(model).inputs
        if graph.input_name(t) == name
    )
    while True:
        after = graph.consumers(model, at)
        if len(after) != 1:
            return ""
        if type(after[0]).__name__ in ("Flatten", "Dense"):
            return str(at.name)
        if type(after[0]).__name__ not in ("Rescaling", "Normalization"):
            return ""
        at = after[0]


def _stages(shape: List[int], facts: Facts) -> List[int]:
    """Return the filters of each block, as wide as the cost of an example allows.

    They double when the map halves.
    """
    budget = COST * (ACCELERATED if facts.accelerated else 1)
    sizes: List[int] = []
    for base in WIDTHS:
        side = min(shape[:2])
        channels = shape[2]
        cost = 0.0
        sizes = []
        while side >= SMALLEST_MAP and len(sizes) < MOST_BLOCKS:
            sizes.append(min(base * 2 ** len(sizes), MOST_FILTERS))
            cost += channels * sizes[-1] * 9.0 * side * side
            side, channels = (side + 1) // 2, sizes[-1]
        if cost <= budget:
            break
    return sizes
