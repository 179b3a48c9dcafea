"""Put the winner into the model object that the script holds.

Every layer that survives keeps its object, also one that became wider or sits behind an inserted
block. References that the script took before (a layer to freeze, a feature extractor, the tensors
for Grad-CAM) therefore act on the winner.

The graph of a functional Keras model is made of nodes: one call of a layer on symbolic tensors. A
layer lists its calls in `_inbound_nodes`, a tensor names its origin in `_keras_history` (layer,
index of the call, index of the output), and a model lists its nodes by depth. None of it is public;
the attributes are those of `keras.src.ops.function.Function`, `keras.src.models.functional` and
`keras.src.models.sequential`.
"""

from __future__ import annotations

import gc
from typing import Any, Dict, List, Set, Tuple

import keras

from mlops_lib.runner.search.keras import graph

BOUND = ("build", "quantize", "_inbound_nodes", "_outbound_nodes")
"""Attributes that belong to the object itself: functions bound to it, and its calls in graphs."""


def graft(model: Any, winner: Any) -> List[str]:
    """Make `model` compute what `winner` computes; return notes on lost references.

    Args:
        model: the caller's Sequential or functional model; its compiled state is not touched.
        winner: an edited copy of it, with the same inputs and outputs.
    """
    old_graph = graph.graph_of(model)
    own = {layer.name: layer for layer in model.layers}
    # Found before the graft: it would change the layers by which they are recognised.
    dependents = _dependents(model, winner)
    before = {layer.name: _outputs(layer, old_graph) for layer in own.values()}
    earlier = _drop_earlier_builds(model)
    targets, changed = _targets(own, winner)
    transfer = _GraphTransfer(old_graph, targets, changed)
    outputs = graph.graph_of(winner)._run_through_graph(
        # Keras' own walk over a graph, with which it also clones models: it calls `call_fn` for
        # each node in the order of the graph, and hands shared layers and several inputs over
        # correctly.
        list(old_graph.inputs),
        operation_fn=transfer.target,
        call_fn=transfer.call,
    )
    in_winner = {id(layer) for layer in transfer.made.values()}
    removed = [layer.name for layer in own.values() if id(layer) not in in_winner]
    layers = [transfer.made[id(layer)] for layer in winner.layers]
    _install(model, layers, old_graph, outputs)
    # Only now: calling a changed layer in the new graph has built its weights anew.
    for layer in winner.layers:
        transfer.made[id(layer)].set_weights(layer.get_weights())
    notes = [
        f"layer {name} is not part of the winner: a reference to it has no effect"
        for name in removed
    ]
    moved = _moved_tensors(before, own, graph.graph_of(model))
    moved.update(_moved_builds(earlier, own, graph.graph_of(model)))
    for dependent in dependents:
        notes += _follow(dependent, model, own, moved, changed)
    if dependents:
        # Models that share layers have reordered each other's calls.
        _install(model, layers, old_graph, outputs)
    return notes


def _targets(own: Dict[str, Any], winner: Any) -> "Tuple[Dict[int, Any], Set[int]]":
    """Return the caller's object for each layer of the winner.

    The second value holds the ids of objects that had to change.
    """
    targets: Dict[int, Any] = {}
    changed: Set[int] = set()
    for layer in winner.layers:
        target = own.get(layer.name)
        # A name alone is no identity: an edit may have replaced the layer by another one with its
        # name.
        if target is None or type(target) is not type(layer):
            targets[id(layer)] = _fresh(layer)
            continue
        if not _is_same(target, layer):
            become(target, _fresh(layer))
            changed.add(id(target))
        targets[id(layer)] = target
    return targets, changed


def _fresh(layer: Any) -> Any:
    """Return an unbuilt copy of a layer; a nested model is returned as it is."""
    # The winner's own layer has calls in the winner's graph, and its `output` would stay the one
    # there.
    return layer if isinstance(layer, keras.Model) else graph.copy_layer(layer)


def _is_same(target: Any, layer: Any) -> bool:
    # The shapes come first, because a configuration does not hold the input's width.
    if [tuple(w.shape) for w in target.weights] != [tuple(w.shape) for w in layer.weights]:
        return False
    # Their configurations hold models and functions, which do not compare.
    if isinstance(target, keras.Model) or type(target).__name__ == "Lambda":
        return True
    return bool(target.get_config() == layer.get_config())


def become(old: Any, new: Any) -> None:
    """Turn the object `old` into a copy of the unbuilt layer `new`.

    References to `old` stay valid.
    """
    # Past `__setattr__` and `__delattr__`, which Keras uses to track sublayers and variables.
    for name in [name for name in old.__dict__ if name not in BOUND]:
        del old.__dict__[name]
    old.__dict__.update({name: value for name, value in new.__dict__.items() if name not in BOUND})


class _GraphTransfer:
    """Run the winner's graph on the caller's layers, from the first changed layer on."""

    def __init__(self, old_graph: Any, made: Dict[int, Any], changed: Set[int]) -> None:
        self.made = made
        self._changed = changed
        self._old = {id(node) for nodes in old_graph._nodes_by_depth.values() for node in nodes}
        self._called: Dict[int, int] = {}

    def target(self, operation: Any) -> Any:
        return self.made.setdefault(id(operation), operation)

    def call(self, operation: Any, *args: Any, **kwargs: Any) -> Any:
        inputs = [t for t in keras.tree.flatten((args, kwargs)) if hasattr(t, "_keras_history")]
        for node in [] if id(operation) in self._changed else operation._inbound_nodes:
            if _is_call(node, inputs, self._old):
                # Upstream of every change: the old tensors, and models built on them, stay valid.
                return list(node.outputs) if len(node.outputs) > 1 else node.outputs[0]
        outputs = operation(*args, **kwargs)
        place = self._called.setdefault(id(operation), 0)
        self._called[id(operation)] += 1
        _replace_calls(operation, place, self._old)
        return outputs


def _is_call(node: Any, inputs: List[Any], old: Set[int]) -> bool:
    """Return whether a node of the old graph is a call on exactly these tensors."""
    own = node.arguments.keras_tensors
    return id(node) in old and len(own) == len(inputs) and all(a is b for a, b in zip(own, inputs))


def _replace_calls(operation: Any, place: int, old: Set[int]) -> None:
    """Put the newest call of a layer in the place of its calls in the old graph.

    `layer.output` is that of its first call, so the order of calls matters.
    """
    # A call appends its node at the end of the list.
    *others, newest = operation._inbound_nodes
    calls = [node for node in others if id(node) not in old]
    calls.insert(place, newest)
    _set_calls(operation, calls)


def _set_calls(operation: Any, calls: List[Any]) -> None:
    """Set the calls of a layer, and renumber the origins of their tensors."""
    # In place: an assignment passes `Layer.__setattr__`, which replaces a list by a tracked one.
    operation._inbound_nodes[:] = calls
    for i, node in enumerate(calls):
        for j, tensor in enumerate(node.outputs):
            tensor._keras_history = type(tensor._keras_history)(operation, i, j)


def _install(model: Any, layers: List[Any], old_graph: Any, outputs: Any) -> None:
    """Give the caller's object the new graph.

    Its class, name, attributes and compiled state stay.
    """
    from keras.src.models.functional import Functional

    sequential = isinstance(model, keras.Sequential)
    inputs = old_graph._inputs_struct
    # On the old input tensors, which models that the script built on `model.input` share.
    functional = Functional(inputs, outputs, name=old_graph.name)
    new_ids = {id(layer) for layer in functional.layers}
    removed = [layer for layer in graph.graph_of(model).layers if id(layer) not in new_ids]
    if sequential:
        # A Sequential keeps its InputLayer first in `_layers`, and leaves it out of `layers`.
        first = [layer for layer in model._layers if type(layer).__name__ == "InputLayer"]
        others = [layer for layer in layers if type(layer).__name__ != "InputLayer"]
        model._layers = [*first, *others]
        model._functional = functional
        model.built = True
        return
    for name in (
        "_inputs_struct",
        "_outputs_struct",
        "_inputs",
        "_outputs",
        "_nodes",
        "_nodes_by_depth",
        "_operations",
        "_operations_by_depth",
        "output_names",
    ):
        # Past `__setattr__`, which would track the lists as sublayers.
        model.__dict__[name] = functional.__dict__[name]
    for layer in removed:
        model._tracker.untrack(layer)
    for layer in functional.layers:
        model._tracker.track(layer)
    # Weights are listed in the order of the layers, as in a model loaded from disk.
    # `set_weights` matches them by position.
    place = {id(layer): i for i, layer in enumerate(functional.layers)}
    model._layers.sort(key=lambda layer: place.get(id(layer), len(place)))


def _drop_earlier_builds(model: Any) -> Dict[str, List[Any]]:
    """Drop the calls of a Sequential's earlier builds; return them by layer.

    Every `add` builds a Sequential again. `layer.output` would stay that of the first build, which
    is not part of the model.
    """
    if not isinstance(model, keras.Sequential):
        return {}
    inside = graph.graph_of(model)
    current = {id(node) for nodes in inside._nodes_by_depth.values() for node in nodes}
    reached = {id(tensor) for tensor in inside.inputs}
    earlier: Dict[str, List[Any]] = {}
    for layer in model.layers:
        calls = [
            node for node in layer._inbound_nodes if _all_in(node.arguments.keras_tensors, reached)
        ]
        reached = {id(tensor) for node in calls for tensor in node.outputs}
        earlier[layer.name] = [node for node in calls if id(node) not in current]
        dropped = {id(node) for node in earlier[layer.name]}
        _set_calls(layer, [node for node in layer._inbound_nodes if id(node) not in dropped])
    return earlier


def _all_in(tensors: List[Any], reached: Set[int]) -> bool:
    return bool(tensors) and all(id(tensor) in reached for tensor in tensors)


def _moved_builds(
    earlier: Dict[str, List[Any]], own: Dict[str, Any], inside: Any
) -> Dict[int, Any]:
    """Map the tensors of a Sequential's earlier builds to their counterparts."""
    return {
        id(old): new
        for name, nodes in earlier.items()
        for node in nodes
        for old, new in zip(node.outputs, _outputs(own[name], inside))
    }


def _outputs(layer: Any, inside: Any) -> List[Any]:
    # A layer that is shared with other models has calls in their graphs, too.
    nodes = {id(node) for nodes in inside._nodes_by_depth.values() for node in nodes}
    return [tensor for node in layer._inbound_nodes if id(node) in nodes for tensor in node.outputs]


def _moved_tensors(
    before: Dict[str, List[Any]], own: Dict[str, Any], inside: Any
) -> Dict[int, Any]:
    """Return a map from the ids of old tensors to the new tensors in the same place."""
    moved: Dict[int, Any] = {}
    for name, tensors in before.items():
        after = _outputs(own[name], inside)
        # With another number of calls there is no counterpart, and the old tensor stays the old
        # one.
        if len(after) == len(tensors):
            moved.update({id(old): new for old, new in zip(tensors, after)})
    return moved


def _dependents(model: Any, winner: Any) -> List[Tuple[Any, List[Any]]]:
    """Return the models that the script built on this model's layers.

    Each comes with its current layers.
    """
    mine = {id(layer) for layer in model.layers if layer.weights}
    skipped = {
        id(model),
        id(winner),
        id(getattr(model, "_functional", None)),
        id(getattr(winner, "_functional", None)),
    }
    dependents = []
    # A Sequential that grew by `add` leaves graphs behind, which the collection removes.
    gc.collect()
    for item in gc.get_objects():
        if id(item) in skipped or not isinstance(item, keras.Model) or not hasattr(item, "_layers"):
            continue
        if any(id(layer) in mine for layer in getattr(item, "_layers", [])):
            dependents.append((item, list(item.layers)))
    # A Sequential's inner functional model follows with it.
    inner = {id(getattr(item, "_functional", None)) for item, _ in dependents}
    return [(item, layers) for item, layers in dependents if id(item) not in inner]


def _follow(
    dependent: Tuple[Any, List[Any]],
    model: Any,
    own: Dict[str, Any],
    moved: Dict[int, Any],
    changed: Set[int],
) -> List[str]:
    """Make a model that was built on inner tensors compute on the winner.

    Return notes on models that cannot.
    """
    other, layers = dependent
    if isinstance(other, keras.Sequential):
        return _follow_sequential(other, layers, model, own, changed)
    if not _is_affected(other, moved, changed):
        return []
    try:
        outputs = _recomputed(other, moved)
    except (ValueError, TypeError):
        return [
            f"model {other.name} was built on layers whose output has another shape in the winner:"
            " build it again"
        ]
    _install(other, [], other, keras.tree.pack_sequence_as(other._outputs_struct, outputs))
    _forget(other)
    return []


def _is_affected(dependent: Any, moved: Dict[int, Any], changed: Set[int]) -> bool:
    """Return whether a model uses a changed layer or a moved tensor."""
    if any(id(layer) in changed for layer in dependent.layers):
        return True
    nodes = [node for level in dependent._nodes_by_depth.values() for node in level]
    tensors = [tensor for node in nodes for tensor in node.outputs]
    return any(moved.get(id(tensor), tensor) is not tensor for tensor in tensors)


def _recomputed(dependent: Any, moved: Dict[int, Any]) -> List[Any]:
    """Return a model's outputs, computed from the new tensors."""
    tensors = {id(tensor): tensor for tensor in dependent._inputs}
    nodes = dependent._nodes_by_depth
    old = {id(node) for level in nodes.values() for node in level}
    # Depth counts from the outputs, so the deepest nodes are the inputs.
    for depth in sorted(nodes, reverse=True):
        for node in nodes[depth]:
            if node.is_input:
                continue
            # The model's own tensor, where it has a counterpart: calling the layer again would add
            # a second call.
            if all(id(tensor) in moved for tensor in node.outputs):
                outputs = [moved[id(tensor)] for tensor in node.outputs]
            else:
                args, kwargs = node.arguments.fill_in(tensors)
                outputs = keras.tree.flatten(node.operation(*args, **kwargs))
                _replace_calls(node.operation, 0, old)
            tensors.update({id(before): after for before, after in zip(node.outputs, outputs)})
    return [tensors[id(tensor)] for tensor in dependent._outputs]


def _follow_sequential(
    dependent: Any, layers: List[Any], model: Any, own: Dict[str, Any], changed: Set[int]
) -> List[str]:
    """Give a Sequential of the first layers the winner's layers in their place."""
    old = list(own.values())
    if [id(layer) for layer in layers] != [id(layer) for layer in old[: len(layers)]] or layers[
        -1
    ] not in model.layers:
        if not any(id(layer) in changed for layer in layers):
            return []  # the layers it shares with this model are unchanged
        return [
            f"model {dependent.name} was built on layers of this one in a way that cannot follow:"
            " build it again"
        ]
    end = next(i for i, layer in enumerate(model.layers) if layer is layers[-1])
    first = [layer for layer in dependent._layers if type(layer).__name__ == "InputLayer"]
    dependent._layers = [*first, *model.layers[: end + 1]]
    dependent._maybe_rebuild()
    _forget(dependent)
    return []


def _forget(model: Any) -> None:
    """Drop the compiled functions, which hold the old graph."""
    model.train_function = model.test_function = model.predict_function = None
