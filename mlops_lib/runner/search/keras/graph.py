"""A Keras model as a graph that can be built again with some layers changed.

Works on Sequential and functional models alike, branches, skips, shared layers and nested models
included. What cannot be built again from its configuration is `UnclonableError`.
"""

from __future__ import annotations

import inspect
import sys
from dataclasses import dataclass, field
from typing import Any, Dict, Iterator, List, Set, Tuple

from mlops_lib.runner.keras import lambdas

SHARED = ("TextVectorization", "StringLookup", "IntegerLookup", "Discretization", "Hashing")
"""Layers that are used as they are: their tables are no weights, and no training changes them."""
SHAPING = ("Activation", "Softmax", "ReLU", "Reshape", "Lambda", "Rescaling")
"""Layers that only shape what the output layer gives."""


class UnclonableError(Exception):
    """The model cannot be built a second time; the message says why."""


@dataclass
class Plan:
    """How the copy differs from the model; layers are named as in the model."""

    replace: Dict[str, Any] = field(default_factory=dict)
    """Layer name to the new layer that takes its place."""
    after: Dict[str, List[Any]] = field(default_factory=dict)
    """Layer (or input) name to the new layers that follow it, in order."""
    drop: Set[str] = field(default_factory=set)
    """Layers left out; their input goes on unchanged."""


def graph_of(model: Any) -> Any:
    """The functional graph behind a Sequential or functional model.

    Raises:
        UnclonableError: a subclassed model, or one that was never built.
    """
    import keras

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
    """A fresh model of the same class, changed as planned; weights are fresh and nothing is
    compiled.

    Raises:
        UnclonableError: a layer has no usable configuration.
    """
    import keras

    graph = graph_of(model)
    copies: Dict[int, Any] = {}
    names: Dict[int, str] = {}

    def copy_of(operation: Any) -> Any:
        if id(operation) not in copies:
            made = plan.replace.get(operation.name)
            if made is None:
                made = operation if type(operation).__name__ in SHARED else copy_layer(operation)
            copies[id(operation)] = made
            names[id(copies[id(operation)])] = operation.name
        return copies[id(operation)]

    def call(operation: Any, *args: Any, **kwargs: Any) -> Any:
        name = names[id(operation)]
        result = args[0] if name in plan.drop else operation(*args, **kwargs)
        return chain(plan.after.get(name, []), result)

    inputs = [
        keras.Input(batch_shape=t.shape, dtype=t.dtype, name=input_name(t)) for t in graph.inputs
    ]
    if isinstance(model, keras.Sequential):
        return _as_class(model, _sequential(model, plan, inputs[0], copy_of))
    entering = [
        chain(plan.after.get(input_name(t), []), new) for t, new in zip(graph.inputs, inputs)
    ]
    outputs = graph._run_through_graph(entering, operation_fn=copy_of, call_fn=call)
    structured = keras.tree.pack_sequence_as(graph._inputs_struct, inputs)
    return _as_class(model, keras.Model(structured, outputs, name=model.name))


def _sequential(model: Any, plan: Plan, entering: Any, copy_of: Any) -> Any:
    import keras

    graph = graph_of(model)
    stack: List[Any] = [entering, *plan.after.get(input_name(graph.inputs[0]), [])]
    for layer in model.layers:
        if layer.name not in plan.drop:
            stack.append(copy_of(layer))
        stack += plan.after.get(layer.name, [])
    return keras.Sequential(stack, name=model.name)


def _as_class(model: Any, copy: Any) -> Any:
    """Give the copy the model's own class and attributes: a `train_step` of the user's trains the
    copy too.
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
    """`x` through the layers in order."""
    for layer in layers:
        x = layer(x)
    return x


def input_name(tensor: Any) -> str:
    """The name of the input layer behind an input tensor."""
    return str(tensor._keras_history.operation.name)


def copy_layer(layer: Any, **changes: Any) -> Any:
    """A fresh, unbuilt layer of the same class and configuration, with some settings changed.

    Raises:
        UnclonableError: it has no usable configuration.
    """
    import keras

    if isinstance(layer, keras.Model) and not changes:
        return rebuild(layer, Plan())
    if type(layer).__name__ == "Lambda" and hasattr(layer, "function"):
        return lambdas.copied(layer)
    try:
        with keras.saving.custom_object_scope(custom_objects(layer)):
            config = unbuilt(layer.get_config())
            unknown = set(changes) - set(config)
            if unknown:
                raise UnclonableError(
                    f"layer {layer.name} has no setting {', '.join(sorted(unknown))}"
                )
            config.update(lambdas.functions(layer, config))
            config.update(changes)
            made = type(layer).from_config(config)
            if "name" not in config:  # as where the class leaves its configuration to Keras
                made.name = layer.name
            return made
    except (NotImplementedError, TypeError, ValueError, KeyError) as error:
        raise UnclonableError(
            f"layer {layer.name} cannot be made from its configuration: {error}"
        ) from error


def unbuilt(config: Any) -> Any:
    """A configuration without the shapes that the layers inside it were built for: they are built
    for the next input.
    """
    if isinstance(config, dict):
        return {
            key: unbuilt(value)
            for key, value in config.items()
            if key != "build_config" or "class_name" not in config
        }
    return [unbuilt(value) for value in config] if isinstance(config, list) else config


def custom_objects(layer: Any) -> Dict[str, Any]:
    """Functions and classes of the script that a layer's configuration may name."""
    found: Dict[str, Any] = {type(layer).__name__: type(layer)}
    for value in list(vars(layer).values()):
        if inspect.isfunction(value):
            found[value.__name__] = value
    main = sys.modules.get("__main__")
    for name, value in list(vars(main).items()) if main is not None else []:
        if inspect.isfunction(value) or inspect.isclass(value):
            found.setdefault(name, value)
    return found


def free_name(model: Any, stem: str) -> str:
    """`stem_1`, `stem_2` …: the first that no layer of the model has."""
    taken = {layer.name for layer in model.layers}
    number = 1
    while f"{stem}_{number}" in taken:
        number += 1
    return f"{stem}_{number}"


def edges(model: Any) -> Iterator[Tuple[Any, Any]]:
    """Each (producer, consumer) pair of operations in the graph."""
    for nodes in graph_of(model)._nodes_by_depth.values():
        for node in nodes:
            for tensor in node.arguments.keras_tensors:
                yield tensor._keras_history.operation, node.operation


def consumers(model: Any, layer: Any) -> List[Any]:
    """The operations that take the layer's output, each once."""
    return list({id(after): after for before, after in edges(model) if before is layer}.values())


def producers(model: Any, layer: Any) -> List[Any]:
    """The operations whose output the layer takes as its data, each once; a mask that travels
    beside it is left out.
    """
    import keras

    found: Dict[int, Any] = {}
    for nodes in graph_of(model)._nodes_by_depth.values():
        for node in nodes:
            if node.operation is layer:
                for tensor in keras.tree.flatten(node.arguments.args):
                    if hasattr(tensor, "_keras_history"):
                        found[id(tensor._keras_history.operation)] = tensor._keras_history.operation
    return list(found.values())


def output_operations(model: Any) -> List[Any]:
    """The operations that give the model's outputs, and those before them back to the last layer
    with weights.

    `Dense(10)` with an `Activation` behind it is one output.
    """
    found: List[Any] = []
    for tensor in graph_of(model).outputs:
        operation = tensor._keras_history.operation
        found.append(operation)
        while not getattr(operation, "weights", None) and type(operation).__name__ in SHAPING:
            before = producers(model, operation)
            if len(before) != 1:
                break
            operation = before[0]
            found.append(operation)
    return found


def output_layers(model: Any) -> List[Any]:
    """The last layer with weights before each output."""
    return [one for one in output_operations(model) if getattr(one, "weights", None)]


def calls(model: Any, layer: Any) -> int:
    """How often the layer is used in the graph; more than once for a shared layer."""
    return sum(
        node.operation is layer
        for nodes in graph_of(model)._nodes_by_depth.values()
        for node in nodes
    )


def describe(model: Any) -> List[str]:
    """One line a layer, as a person would name it: "Conv2D(16) → (30, 30, 16)"."""
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
