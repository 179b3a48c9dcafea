"""A Keras model as a graph that can be built again with some layers changed.

Works on Sequential and functional models alike, branches, skips, shared layers and nested models
included. A model that cannot be built again from its configuration raises `UnclonableError`.
"""

from __future__ import annotations

import inspect
import sys
from dataclasses import dataclass, field
from typing import Any, Dict, Iterator, List, Set, Tuple

import keras

from mlops_lib.runner.keras import lambdas

SHARED = ("TextVectorization", "StringLookup", "IntegerLookup", "Discretization", "Hashing")
"""Layers that copies share: their tables are no weights, and no training changes them."""
SHAPING = ("Activation", "Softmax", "ReLU", "Reshape", "Lambda", "Rescaling")
"""Layers without weights that only shape the values of an output layer."""


class UnclonableError(Exception):
    """The model cannot be built a second time; the message gives the reason."""


@dataclass
class Plan:
    """The differences between a copy and its model; layers are named as in the model."""

    replace: Dict[str, Any] = field(default_factory=dict)
    """Layer name to the new layer that takes its place."""
    after: Dict[str, List[Any]] = field(default_factory=dict)
    """Layer (or input) name to the new layers that follow it, in order."""
    drop: Set[str] = field(default_factory=set)
    """Names of layers left out; their input passes through unchanged."""


def graph_of(model: Any) -> Any:
    """Return the functional graph behind a Sequential or functional model.

    Raises:
        UnclonableError: the model is subclassed, or was never built.
    """
    if isinstance(model, keras.Sequential):
        if model._functional is None:
            raise UnclonableError(
                "the Sequential model has no graph: it was not built on a single input"
            )
        return model._functional
    if hasattr(model, "_run_through_graph"):
        return model
    raise UnclonableError(
        f"{type(model).__name__} is a subclassed model: its architecture is code, not a graph"
    )


def rebuild(model: Any, plan: Plan) -> Any:
    """Return a fresh model of the same class, changed as planned.

    Its weights are freshly initialised, and it is not compiled.

    Raises:
        UnclonableError: a layer has no usable configuration.
    """
    graph = graph_of(model)
    copies: Dict[int, Any] = {}
    names: Dict[int, str] = {}

    def copy_of(operation: Any) -> Any:
        if id(operation) not in copies:
            copy = plan.replace.get(operation.name)
            if copy is None:
                is_shared = type(operation).__name__ in SHARED
                copy = operation if is_shared else copy_layer(operation)
            copies[id(operation)] = copy
            # A replacement may have another name than the layer that the plan speaks of.
            names[id(copy)] = operation.name
        return copies[id(operation)]

    def call(operation: Any, *args: Any, **kwargs: Any) -> Any:
        name = names[id(operation)]
        # A layer that is left out passes its first input on.
        result = args[0] if name in plan.drop else operation(*args, **kwargs)
        return chain(plan.after.get(name, []), result)

    inputs = [
        keras.Input(batch_shape=t.shape, dtype=t.dtype, name=input_name(t)) for t in graph.inputs
    ]
    # A Sequential stays one: scripts call `add` and `pop` on it.
    if isinstance(model, keras.Sequential):
        return _as_class(model, _sequential(model, plan, inputs[0], copy_of))
    graph_inputs = [
        chain(plan.after.get(input_name(t), []), new) for t, new in zip(graph.inputs, inputs)
    ]
    outputs = graph._run_through_graph(graph_inputs, operation_fn=copy_of, call_fn=call)
    structured = keras.tree.pack_sequence_as(graph._inputs_struct, inputs)
    return _as_class(model, keras.Model(structured, outputs, name=model.name))


def _sequential(model: Any, plan: Plan, first: Any, copy_of: Any) -> Any:
    graph = graph_of(model)
    stack: List[Any] = [first, *plan.after.get(input_name(graph.inputs[0]), [])]
    for layer in model.layers:
        if layer.name not in plan.drop:
            stack.append(copy_of(layer))
        stack += plan.after.get(layer.name, [])
    return keras.Sequential(stack, name=model.name)


def _as_class(model: Any, copy: Any) -> Any:
    """Give a copy the model's own class and attributes.

    A `train_step` that the script has overridden then trains the copy too.
    """
    if type(copy) is not type(model):
        try:
            copy.__class__ = type(model)
        except TypeError as error:
            raise UnclonableError(
                f"{type(model).__name__} cannot be made a second time: {error}"
            ) from error
        for name, value in vars(model).items():
            if name not in copy.__dict__:
                copy.__dict__[name] = value
    return copy


def chain(layers: List[Any], x: Any) -> Any:
    """Return `x` passed through the layers in order."""
    for layer in layers:
        x = layer(x)
    return x


def input_name(tensor: Any) -> str:
    """Return the name of the input layer behind an input tensor."""
    return str(tensor._keras_history.operation.name)


def copy_layer(layer: Any, **changes: Any) -> Any:
    """Return a fresh, unbuilt layer of the same class and configuration.

    Args:
        layer: the layer to copy.
        changes: settings of its configuration to change.

    Raises:
        UnclonableError: it has no usable configuration, or no such setting.
    """
    if isinstance(layer, keras.Model) and not changes:
        return rebuild(layer, Plan())
    if type(layer).__name__ == "Lambda" and hasattr(layer, "function"):
        return lambdas.copied(layer)
    try:
        with keras.saving.custom_object_scope(custom_objects(layer)):
            # Built for its old input, an inner layer would refuse a wider one.
            config = unbuilt(layer.get_config())
            unknown = set(changes) - set(config)
            if unknown:
                raise UnclonableError(
                    f"layer {layer.name} has no setting {', '.join(sorted(unknown))}"
                )
            config.update(lambdas.functions(layer, config))
            config.update(changes)
            copy = type(layer).from_config(config)
            # A class without a get_config of its own may leave the name out.
            if "name" not in config:
                copy.name = layer.name
            return copy
    except (NotImplementedError, TypeError, ValueError, KeyError) as error:
        raise UnclonableError(
            f"layer {layer.name} cannot be made from its configuration: {error}"
        ) from error


def unbuilt(config: Any) -> Any:
    """Return a configuration without the input shapes of its inner layers.

    The layers are then built for their next input.
    """
    if isinstance(config, dict):
        return {
            key: unbuilt(value)
            for key, value in config.items()
            if key != "build_config" or "class_name" not in config
        }
    return [unbuilt(value) for value in config] if isinstance(config, list) else config


def custom_objects(layer: Any) -> Dict[str, Any]:
    """Return the script's functions and classes that a configuration may name."""
    # A script runs as `__main__` and need not register its own layers, so Keras would not find them
    # by name.
    objects: Dict[str, Any] = {type(layer).__name__: type(layer)}
    for value in list(vars(layer).values()):
        if inspect.isfunction(value):
            objects[value.__name__] = value
    main = sys.modules.get("__main__")
    for name, value in list(vars(main).items()) if main is not None else []:
        if inspect.isfunction(value) or inspect.isclass(value):
            objects.setdefault(name, value)
    return objects


def free_name(model: Any, stem: str) -> str:
    """Return the first of `stem_1`, `stem_2` … that no layer of the model has."""
    # Keras numbers names by counters of the process; a search must name its layers the same in
    # every attempt.
    used = {layer.name for layer in model.layers}
    number = 1
    while f"{stem}_{number}" in used:
        number += 1
    return f"{stem}_{number}"


def edges(model: Any) -> Iterator[Tuple[Any, Any]]:
    """Yield each (producer, consumer) pair of operations in the graph."""
    for nodes in graph_of(model)._nodes_by_depth.values():
        for node in nodes:
            for tensor in node.arguments.keras_tensors:
                yield tensor._keras_history.operation, node.operation


def consumers(model: Any, layer: Any) -> List[Any]:
    """Return the operations that take the layer's output, each once."""
    return list({id(after): after for before, after in edges(model) if before is layer}.values())


def producers(model: Any, layer: Any) -> List[Any]:
    """Return the operations whose output the layer takes as data, each once.

    The origin of a mask, which is passed beside the data, is left out.
    """
    operations: Dict[int, Any] = {}
    for nodes in graph_of(model)._nodes_by_depth.values():
        for node in nodes:
            if node.operation is layer:
                for tensor in keras.tree.flatten(node.arguments.args):
                    if hasattr(tensor, "_keras_history"):
                        origin = tensor._keras_history.operation
                        operations[id(origin)] = origin
    return list(operations.values())


def output_operations(model: Any) -> List[Any]:
    """Return the operations of each output, back to the last layer with weights.

    `Dense(10)` with an `Activation` behind it is one output.
    """
    operations: List[Any] = []
    for tensor in graph_of(model).outputs:
        operation = tensor._keras_history.operation
        operations.append(operation)
        while not getattr(operation, "weights", None) and type(operation).__name__ in SHAPING:
            before = producers(model, operation)
            if len(before) != 1:
                break
            operation = before[0]
            operations.append(operation)
    return operations


def output_layers(model: Any) -> List[Any]:
    """Return the last layer with weights before each output."""
    operations = output_operations(model)
    return [operation for operation in operations if getattr(operation, "weights", None)]


def calls(model: Any, layer: Any) -> int:
    """Return the number of the layer's calls in the graph; more than 1 if shared."""
    return sum(
        node.operation is layer
        for nodes in graph_of(model)._nodes_by_depth.values()
        for node in nodes
    )


def describe(model: Any) -> List[str]:
    """Return one line a layer: "Conv2D(16) → (30, 30, 16)"."""
    lines = []
    for layer in getattr(model, "layers", []):
        try:
            shape = str(tuple(layer.output.shape[1:]))
        except (AttributeError, ValueError):
            shape = "?"
        size = next(
            (
                str(getattr(layer, n))
                for n in ("filters", "units", "rate", "output_dim")
                if hasattr(layer, n)
            ),
            "",
        )
        lines.append(f"{type(layer).__name__}({size}) → {shape}")
    return lines
