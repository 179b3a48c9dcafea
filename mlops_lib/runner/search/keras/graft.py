"""The winner, put into the model object that the script holds.

Every layer that survives keeps its object: also one that became wider, or sits behind an inserted
block. So what the script took before (a layer to freeze, a feature extractor, the tensors for
Grad-CAM) acts on the winner.
"""

from __future__ import annotations

import gc
from typing import Any, Dict, List, Set, Tuple

from mlops_lib.runner.search.keras import graph

BOUND = ("build", "quantize", "_inbound_nodes", "_outbound_nodes")
"""Attributes that belong to the object itself: functions bound to it, and its places in graphs."""


def graft(model: Any, winner: Any) -> List[str]:
    """Make `model` compute what `winner` computes.

    Args:
        model: the caller's Sequential or functional model; its compiled state is not touched.
        winner: a model that `morph` made of it, with the same inputs and outputs.

    Returns:
        what could not be kept, in words.
    """
    old_graph = graph.graph_of(model)
    own = {layer.name: layer for layer in model.layers}
    watched = _dependents(model, winner)
    before = {layer.name: _outputs(layer, old_graph) for layer in own.values()}
    earlier = _drop_earlier_builds(model)
    targets, changed = _targets(own, winner)
    joined = _Joined(old_graph, targets, changed)
    outputs = graph.graph_of(winner)._run_through_graph(
        list(old_graph.inputs), operation_fn=joined.target, call_fn=joined.call
    )
    gone = [
        layer.name
        for layer in own.values()
        if not any(layer is one for one in joined.made.values())
    ]
    _install(model, [joined.made[id(layer)] for layer in winner.layers], old_graph, outputs)
    for layer in winner.layers:
        joined.made[id(layer)].set_weights(layer.get_weights())
    notes = [
        f"layer {name} is not part of the winner: a reference to it has no effect" for name in gone
    ]
    moved = _moved(before, own, graph.graph_of(model))
    moved.update(_moved_builds(earlier, own, graph.graph_of(model)))
    notes += [note for one in watched for note in _follow(one, model, own, moved, changed)]
    if watched:
        # Layers that several of these models call have their calls in another order now.
        _install(model, [joined.made[id(layer)] for layer in winner.layers], old_graph, outputs)
    return notes


def _targets(own: Dict[str, Any], winner: Any) -> "Tuple[Dict[int, Any], Set[int]]":
    """For each layer of the winner the object that takes its place in the caller's model; and which
    of those changed.
    """
    targets: Dict[int, Any] = {}
    changed: Set[int] = set()
    for layer in winner.layers:
        mine = own.get(layer.name)
        if mine is None or type(mine) is not type(layer):
            targets[id(layer)] = _fresh(layer)
        else:
            if not _same(mine, layer):
                become(mine, _fresh(layer))
                changed.add(id(mine))
            targets[id(layer)] = mine
    return targets, changed


def _fresh(layer: Any) -> Any:
    """An unbuilt layer like it; a nested model is taken as it is."""
    import keras

    return layer if isinstance(layer, keras.Model) else graph.copy_layer(layer)


def _same(mine: Any, layer: Any) -> bool:
    import keras

    if [tuple(w.shape) for w in mine.weights] != [tuple(w.shape) for w in layer.weights]:
        return False
    if isinstance(mine, keras.Model) or type(mine).__name__ == "Lambda":
        return True
    return bool(mine.get_config() == layer.get_config())


def become(old: Any, new: Any) -> None:
    """Let the object `old` be what the unbuilt layer `new` is; references to it stay good."""
    for name in [name for name in old.__dict__ if name not in BOUND]:
        del old.__dict__[name]
    old.__dict__.update({name: value for name, value in new.__dict__.items() if name not in BOUND})


class _Joined:
    """Calls the winner's graph on the caller's layers, from the first changed place on."""

    def __init__(self, old_graph: Any, made: Dict[int, Any], changed: Set[int]) -> None:
        self.made = made
        self._changed = changed
        self._old = {id(node) for nodes in old_graph._nodes_by_depth.values() for node in nodes}
        self._called: Dict[int, int] = {}

    def target(self, operation: Any) -> Any:
        return self.made.setdefault(id(operation), operation)

    def call(self, operation: Any, *args: Any, **kwargs: Any) -> Any:
        import keras

        taken = [t for t in keras.tree.flatten((args, kwargs)) if hasattr(t, "_keras_history")]
        for node in [] if id(operation) in self._changed else operation._inbound_nodes:
            if _is_call(node, taken, self._old):
                # Upstream of every change: its tensors, and what was built on them, stay good.
                return list(node.outputs) if len(node.outputs) > 1 else node.outputs[0]
        outputs = operation(*args, **kwargs)
        place = self._called.setdefault(id(operation), 0)
        self._called[id(operation)] += 1
        _renew(operation, place, self._old)
        return outputs


def _is_call(node: Any, taken: List[Any], old: Any) -> bool:
    given = node.arguments.keras_tensors
    return (
        id(node) in old and len(given) == len(taken) and all(a is b for a, b in zip(given, taken))
    )


def _renew(operation: Any, place: int, old: Set[int]) -> None:
    """Let the newest call of a layer take the place of its calls in the old graph: `layer.output`
    is its first one's.
    """
    *others, newest = operation._inbound_nodes
    kept = [node for node in others if id(node) not in old]
    kept.insert(place, newest)
    _keep(operation, kept)


def _keep(operation: Any, calls: List[Any]) -> None:
    operation._inbound_nodes[:] = calls
    for i, node in enumerate(calls):
        for j, tensor in enumerate(node.outputs):
            tensor._keras_history = type(tensor._keras_history)(operation, i, j)


def _install(model: Any, layers: List[Any], old_graph: Any, outputs: Any) -> None:
    """Give the caller's object the new graph; class, name, attributes and compiled state stay."""
    import keras
    from keras.src.models.functional import Functional

    sequential = isinstance(model, keras.Sequential)
    inputs = old_graph._inputs_struct
    made = Functional(inputs, outputs, name=old_graph.name)
    gone = [
        layer
        for layer in graph.graph_of(model).layers
        if not any(layer is one for one in made.layers)
    ]
    if sequential:
        first = [one for one in model._layers if type(one).__name__ == "InputLayer"]
        model._layers = [
            *first,
            *[layer for layer in layers if type(layer).__name__ != "InputLayer"],
        ]
        model._functional = made
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
        model.__dict__[name] = made.__dict__[name]
    for layer in gone:
        model._tracker.untrack(layer)
    for layer in made.layers:
        model._tracker.track(layer)
    # Weights are listed in the order of the layers, as in a model loaded from disk.
    place = {id(layer): i for i, layer in enumerate(made.layers)}
    model._layers.sort(key=lambda layer: place.get(id(layer), len(place)))


def _drop_earlier_builds(model: Any) -> Dict[str, List[Any]]:
    """Each layer's calls from before the last `add` to a Sequential, which built it again.

    `layer.output` would be of the first build for ever: beside the model, not in it.
    """
    import keras

    if not isinstance(model, keras.Sequential):
        return {}
    inside = graph.graph_of(model)
    current = {id(node) for nodes in inside._nodes_by_depth.values() for node in nodes}
    reached = {id(tensor) for tensor in inside.inputs}
    found: Dict[str, List[Any]] = {}
    for layer in model.layers:
        calls = [
            node for node in layer._inbound_nodes if _all_in(node.arguments.keras_tensors, reached)
        ]
        reached = {id(tensor) for node in calls for tensor in node.outputs}
        found[layer.name] = [node for node in calls if id(node) not in current]
        _keep(
            layer,
            [
                node
                for node in layer._inbound_nodes
                if not any(node is one for one in found[layer.name])
            ],
        )
    return found


def _all_in(tensors: List[Any], reached: Set[int]) -> bool:
    return bool(tensors) and all(id(tensor) in reached for tensor in tensors)


def _moved_builds(
    earlier: Dict[str, List[Any]], own: Dict[str, Any], inside: Any
) -> Dict[int, Any]:
    """Tensors of a Sequential's earlier builds to the new ones in the same place."""
    return {
        id(old): new
        for name, nodes in earlier.items()
        for node in nodes
        for old, new in zip(node.outputs, _outputs(own[name], inside))
    }


def _outputs(layer: Any, inside: Any) -> List[Any]:
    nodes = {id(node) for nodes in inside._nodes_by_depth.values() for node in nodes}
    return [tensor for node in layer._inbound_nodes if id(node) in nodes for tensor in node.outputs]


def _moved(before: Dict[str, List[Any]], own: Dict[str, Any], inside: Any) -> Dict[int, Any]:
    """Old tensor to the new one in the same place."""
    found: Dict[int, Any] = {}
    for name, tensors in before.items():
        after = _outputs(own[name], inside)
        if len(after) == len(tensors):
            found.update({id(old): new for old, new in zip(tensors, after)})
    return found


def _dependents(model: Any, winner: Any) -> List[Tuple[Any, List[Any]]]:
    """Models that the script built on this one's layers before, with their layers as they are now."""
    import keras

    mine = {id(layer) for layer in model.layers if layer.weights}
    skipped = {
        id(model),
        id(winner),
        id(getattr(model, "_functional", None)),
        id(getattr(winner, "_functional", None)),
    }
    found = []
    gc.collect()  # a Sequential that grew by `add` leaves graphs behind
    for item in gc.get_objects():
        if id(item) in skipped or not isinstance(item, keras.Model) or not hasattr(item, "_layers"):
            continue
        if any(id(layer) in mine for layer in getattr(item, "_layers", [])):
            found.append((item, list(item.layers)))
    inner = {id(getattr(item, "_functional", None)) for item, _ in found}
    return [(item, layers) for item, layers in found if id(item) not in inner]


def _follow(
    dependent: Tuple[Any, List[Any]],
    model: Any,
    own: Dict[str, Any],
    moved: Dict[int, Any],
    changed: Set[int],
) -> List[str]:
    """Let a model that the script built on inner tensors compute on the winner."""
    import keras

    other, layers = dependent
    if isinstance(other, keras.Sequential):
        return _follow_sequential(other, layers, model, own, changed)
    if not _is_affected(other, moved, changed):
        return []
    try:
        outputs = _recomputed(other, moved)
    except (ValueError, TypeError):
        return [
            f"model {other.name} was built on layers whose output has another shape in the winner: build it again"
        ]
    _install(other, [], other, keras.tree.pack_sequence_as(other._outputs_struct, outputs))
    _forget(other)
    return []


def _is_affected(other: Any, moved: Dict[int, Any], changed: Set[int]) -> bool:
    """Whether a model computes on a layer that is another one now, or on a tensor that is
    elsewhere.
    """
    if any(id(layer) in changed for layer in other.layers):
        return True
    made = [t for nodes in other._nodes_by_depth.values() for node in nodes for t in node.outputs]
    return any(moved.get(id(tensor), tensor) is not tensor for tensor in made)


def _recomputed(other: Any, moved: Dict[int, Any]) -> List[Any]:
    """The outputs of a model, with the tensors that moved taken from where they are now."""
    import keras

    tensors = {id(tensor): tensor for tensor in other._inputs}
    nodes = other._nodes_by_depth
    old = {id(node) for level in nodes.values() for node in level}
    for depth in sorted(nodes, reverse=True):
        for node in nodes[depth]:
            if node.is_input:
                continue
            if all(id(tensor) in moved for tensor in node.outputs):
                made = [moved[id(tensor)] for tensor in node.outputs]
            else:
                args, kwargs = node.arguments.fill_in(tensors)
                made = keras.tree.flatten(node.operation(*args, **kwargs))
                _renew(node.operation, 0, old)
            tensors.update({id(before): after for before, after in zip(node.outputs, made)})
    return [tensors[id(tensor)] for tensor in other._outputs]


def _follow_sequential(
    other: Any, layers: List[Any], model: Any, own: Dict[str, Any], changed: Set[int]
) -> List[str]:
    """A Sequential of the first layers follows with the winner's layers up to the same one."""
    old = list(own.values())
    if [id(layer) for layer in layers] != [id(layer) for layer in old[: len(layers)]] or layers[
        -1
    ] not in model.layers:
        if not any(id(layer) in changed for layer in layers):
            return []  # what it shares with this model is as it was
        return [
            f"model {other.name} was built on layers of this one in a way that cannot follow: build it again"
        ]
    end = next(i for i, layer in enumerate(model.layers) if layer is layers[-1])
    first = [one for one in other._layers if type(one).__name__ == "InputLayer"]
    other._layers = [*first, *model.layers[: end + 1]]
    other._maybe_rebuild()
    _forget(other)
    return []


def _forget(model: Any) -> None:
    """Drop the compiled functions, which hold the old graph."""
    model.train_function = model.test_function = model.predict_function = None
