"""Weights inherited from one model by another: copied, resized, or left fresh.

Resizing follows function-preserving transformations (Net2Net: Chen, Goodfellow and Shlens 2016;
network morphism: Wei et al. 2016), with one difference: a new unit keeps its fresh, random incoming
weights and gets *zero* outgoing ones, instead of being a copy of an old unit. The function is
preserved just as exactly, and no two units are twins.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Callable, Dict, List, Optional, Tuple

import numpy

from mlops_lib.runner.search.keras import graph

EXACT = "exact"
APPROXIMATE = "approximate"
FRESH = "fresh"

PASS = {
    "Activation",
    "ReLU",
    "LeakyReLU",
    "ELU",
    "Dropout",
    "GaussianDropout",
    "GaussianNoise",
    "SpatialDropout1D",
    "SpatialDropout2D",
    "SpatialDropout3D",
    "MaxPooling1D",
    "MaxPooling2D",
    "MaxPooling3D",
    "AveragePooling1D",
    "AveragePooling2D",
    "AveragePooling3D",
    "GlobalAveragePooling1D",
    "GlobalAveragePooling2D",
    "GlobalMaxPooling1D",
    "GlobalMaxPooling2D",
    "ZeroPadding1D",
    "ZeroPadding2D",
    "UpSampling1D",
    "UpSampling2D",
    "Cropping2D",
}
"""Layers without weights that treat each channel by itself."""
RECURRENT = {"LSTM": 4, "GRU": 3, "SimpleRNN": 1}
"""Recurrent layers, with their number of gates."""
TAKES_CHANNELS = {"Dense", "Conv1D", "Conv2D", "Conv3D", *RECURRENT}

Values = List[Any]
Transform = Callable[[Values, Values], Values]
"""Maps (the parent layer's values, the new layer's fresh values) to the new layer's values."""


@dataclass
class Route:
    """The layers that a layer's channels pass through or end in."""

    norms: List[Any]
    """Batch normalisations on the way."""
    takers: List[Tuple[Any, int]]
    """Layers whose kernel has a row for each channel, each with the number of positions that a
    Flatten spreads a channel over.
    """


def worst(*grades: str) -> str:
    """Return the weakest of several grades of inheritance."""
    order = (EXACT, APPROXIMATE, FRESH)
    return max((g for g in grades if g), key=order.index, default=EXACT)


def route(model: Any, layer: Any) -> Optional[Route]:
    """Return the layers that the channels of a layer's output reach.

    None if the number of channels cannot change, as before a merge or at an output.
    """
    if graph.calls(model, layer) != 1:
        return None
    result = Route([], [])
    return result if _follow(model, layer, 1, result) else None


def _follow(model: Any, layer: Any, positions: int, result: Route) -> bool:
    """Collect the layers behind `layer`; return whether all can follow a new width."""
    # An output's width is the number of classes or targets.
    if any(layer is last for last in graph.output_operations(model)):
        return False
    for after in graph.consumers(model, layer):
        kind = type(after).__name__
        if graph.calls(model, after) != 1:
            return False
        if kind == "Flatten":
            # A Flatten turns each position of a channel into a feature of its own, so its reader
            # has that many rows for each channel.
            counts = after.input.shape[1:-1]
            if None in counts or getattr(after, "data_format", None) == "channels_first":
                return False
            if not _follow(model, after, positions * _product(counts), result):
                return False
        elif (
            kind == "BatchNormalization"
            and after.axis in (-1, len(after.input.shape) - 1)
            # Behind a Flatten a normalisation has a value for each feature; only a value for each
            # channel can follow.
            and positions == 1
        ):
            result.norms.append(after)
            if not _follow(model, after, positions, result):
                return False
        elif kind in PASS and getattr(after, "data_format", "channels_last") != "channels_first":
            if not _follow(model, after, positions, result):
                return False
        elif _takes_channels(after):
            result.takers.append((after, positions))
        else:
            return False
    return True


def _takes_channels(layer: Any) -> bool:
    kind = type(layer).__name__
    if kind == "Bidirectional":
        return type(layer.forward_layer).__name__ in RECURRENT
    return (
        kind in TAKES_CHANNELS
        and getattr(layer, "groups", 1) == 1
        and not getattr(layer, "lora_enabled", False)
    )


def _product(numbers: Any) -> int:
    result = 1
    for number in numbers:
        result *= int(number)
    return result


def transfer(parent: Any, child: Any, transforms: Optional[Dict[str, Transform]] = None) -> str:
    """Give `child` the weights of the layers that `parent` has under the same names.

    Returns:
        exact if every weight of the parent was passed on, approximate if some were, fresh if none.
    """
    transforms = transforms or {}
    old = {layer.name: layer for layer in parent.layers}
    arrived = lost = 0
    for layer in child.layers:
        source = old.get(layer.name)
        # A new layer keeps its own initial weights.
        if source is None or not source.weights:
            continue
        values = source.get_weights()
        fresh = layer.get_weights()
        if layer.name in transforms:
            layer.set_weights(transforms[layer.name](values, fresh))
        elif [v.shape for v in values] == [v.shape for v in fresh]:
            layer.set_weights(values)
        else:
            lost += 1
            continue
        arrived += 1
    names = {layer.name for layer in child.layers}
    # The weights of a removed layer are lost as well.
    lost += sum(1 for name, layer in old.items() if name not in names and layer.weights)
    return EXACT if not lost else APPROXIMATE if arrived else FRESH


def take(values: Any, axis: int, rows: List[int], fill: Any) -> Any:
    """Return `values` along `axis` in the order of `rows`, -1 for new entries.

    Args:
        values: an array.
        axis: the axis to index.
        rows: indices, -1 for a new entry, which is taken from `fill`.
        fill: an array of the result's shape, or a number.
    """
    index = numpy.asarray(rows)
    # The index of new entries is set to 0 for a moment, because -1 would take the last one.
    result = numpy.take(values, numpy.maximum(index, 0), axis=axis)
    new = numpy.flatnonzero(index < 0)
    index_new = [slice(None)] * result.ndim
    index_new[axis] = new  # type: ignore[call-overload]
    result[tuple(index_new)] = fill[tuple(index_new)] if hasattr(fill, "shape") else fill
    return result


def columns(rows: List[int]) -> Transform:
    """Return the transform of the layer that makes the channels.

    It maps kernel and bias (of a Dense, Conv or Embedding) along their last axis.
    """
    return lambda old, new: [
        take(value, value.ndim - 1, rows, fresh) for value, fresh in zip(old, new)
    ]


def norm(rows: List[int]) -> Transform:
    """Return the transform of a batch normalisation; new channels stay initial."""
    return lambda old, new: [take(value, 0, rows, fresh) for value, fresh in zip(old, new)]


def taker(layer: Any, rows: List[int], positions: int) -> Transform:
    """Return the transform of a layer that takes the channels.

    New rows of its kernel are zero, so that the function stays the same.
    """
    count = max(rows) + 1 if rows else 0

    def apply(old: Values, new: Values) -> Values:
        # A Flatten lists all channels of the first position, then those of the second, …
        width = _old_width(layer, old) // positions if positions else count
        spread = [p * width + r if r >= 0 else -1 for p in range(positions) for r in rows]
        if type(layer).__name__ == "Bidirectional":
            # Its values are those of the forward layer, then of the backward one.
            half = len(old) // 2
            return [_rows(v, spread) if i % half == 0 else v for i, v in enumerate(old)]
        return [_rows(old[0], spread), *old[1:]]

    return apply


def _old_width(layer: Any, old: Values) -> int:
    return int(old[0].shape[_row_axis(old[0])])


def _row_axis(kernel: Any) -> int:
    return int(kernel.ndim) - 2


def _rows(kernel: Any, rows: List[int]) -> Any:
    return take(kernel, _row_axis(kernel), rows, 0.0)


def recurrent(gates: int, rows: List[int]) -> Transform:
    """Return the transform of a recurrent layer with more or fewer units.

    Weights from new units to old ones are zero, so that the function stays the same.
    """

    def apply(old: Values, new: Values) -> Values:
        # Keras keeps the gates of a recurrent kernel side by side: one block of units each.
        units = old[1].shape[0]
        blocks = [g * units + r if r >= 0 else -1 for g in range(gates) for r in rows]
        inner = take(take(old[1], 0, rows, 0.0), 1, blocks, 0.0)
        fresh = numpy.asarray(new[1])
        is_new = numpy.asarray(blocks) < 0
        # A new unit may listen to old ones, but not the other way: its column is fresh, its row in
        # old units' gates stays zero.
        inner[:, is_new] = fresh[:, is_new]
        return [
            take(old[0], old[0].ndim - 1, blocks, new[0]),
            inner,
            *[take(v, v.ndim - 1, blocks, f) for v, f in zip(old[2:], new[2:])],
        ]

    return apply


def widened(old: int, new: int) -> List[int]:
    """Return the channel map from `old` to `new` ≥ `old` channels."""
    return list(range(old)) + [-1] * (new - old)
