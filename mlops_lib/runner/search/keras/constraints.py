"""Properties of a model that edits keep, because other code depends on them.

A decoder that the script made of a model's last layers takes a code of one width. An autoencoder
whose code may grow has nothing left to learn.
"""

from __future__ import annotations

import gc
import math
from dataclasses import dataclass, field
from typing import Any, Dict, Iterator, List, Tuple

import keras

from mlops_lib.runner.search.keras import graph

Shapes = List[Tuple[int, ...]]


@dataclass
class Ties:
    """The properties that an edited model has to keep."""

    layers: Dict[str, Tuple[Shapes, List[str]]] = field(default_factory=dict)
    """Layers that another model calls too: the shapes of their weights, and the names of their
    sources.
    """
    narrowest: float = math.inf
    """The largest width that the narrowest layer of an autoencoder may have."""

    def allow(self, edited: Any) -> bool:
        """Return whether an edited model keeps these properties."""
        if not self.layers and self.narrowest == math.inf:
            return True
        own = {layer.name: layer for layer in edited.layers}
        # Edits never rename a layer that stays, so its name identifies it.
        layers_match = all(
            name in own and _interface(edited, own[name]) == tie
            for name, tie in self.layers.items()
        )
        return layers_match and _narrowest(edited) <= self.narrowest


def find(model: Any, *, inputs_are_targets: bool) -> Ties:
    """Return the ties of the script's model.

    Args:
        model: the object that the script holds.
        inputs_are_targets: whether the model is an autoencoder.

    Raises:
        UnclonableError: its architecture is code.
    """
    # An autoencoder whose code may grow learns the identity, and its score means nothing.
    ties = Ties(narrowest=_narrowest(model) if inputs_are_targets else math.inf)
    for layer in _called_elsewhere(model):
        ties.layers[layer.name] = _interface(model, layer)
    return ties


def _called_elsewhere(model: Any) -> Iterator[Any]:
    """Yield later layers that another model of the script calls on its own input."""
    own = {id(layer): layer for layer in model.layers if layer.weights}
    inner = {id(model), id(getattr(model, "_functional", None))}
    gc.collect()  # a Sequential that grew by `add` leaves graphs behind
    models = [item for item in gc.get_objects() if isinstance(item, keras.Model)]
    for other in models:
        if id(other) in inner:
            continue
        for nodes in getattr(getattr(other, "_functional", other), "_nodes_by_depth", {}).values():
            for node in nodes:
                layer = own.get(id(node.operation))
                if layer is None or _reads_inputs(model, layer):
                    continue
                sources = [
                    tensor._keras_history.operation for tensor in node.arguments.keras_tensors
                ]
                # Called on its own input, the layer begins a model of the script (a decoder, say),
                # which takes values of one shape only.
                if any(type(source).__name__ == "InputLayer" for source in sources):
                    yield layer


def _reads_inputs(model: Any, layer: Any) -> bool:
    return any(
        type(producer).__name__ == "InputLayer" for producer in graph.producers(model, layer)
    )


def _interface(model: Any, layer: Any) -> Tuple[Shapes, List[str]]:
    return [tuple(w.shape) for w in layer.weights], sorted(_weighted_sources(model, layer))


def _weighted_sources(model: Any, layer: Any) -> List[str]:
    """Return the names of the nearest earlier layers with weights, or inputs."""
    names: List[str] = []
    for before in graph.producers(model, layer):
        if before.weights or not graph.producers(model, before):
            names.append(before.name)
        else:
            names += _weighted_sources(model, before)
    return names


def _narrowest(model: Any) -> float:
    nodes = [node for level in graph.graph_of(model)._nodes_by_depth.values() for node in level]
    # A pooling may be what makes the code; what has one number an example is a loss that the model
    # adds.
    shapes = [
        tensor.shape[1:] for node in nodes for tensor in node.outputs if len(tensor.shape) > 1
    ]
    return float(min((math.prod(int(n or 1) for n in shape) for shape in shapes), default=math.inf))
