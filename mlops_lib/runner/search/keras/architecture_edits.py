"""Edits of an architecture: one change each, trained weights carried over.

An edit is a plain JSON object: `{"kind": "widen", "at": "conv2d", "size": 64}`. `apply` returns a
new model and the grade of its weights: "exact" (the new model computes the same function),
"approximate" or "fresh".
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Callable, Dict, List, Mapping, Optional, Tuple

import keras
import numpy

from mlops_lib.runner.search.keras import graph, weights
from mlops_lib.runner.search.keras.graph import Plan, copy_layer, free_name
from mlops_lib.runner.search.keras.weights import APPROXIMATE, EXACT, RECURRENT, Transform

Edit = Mapping[str, Any]

IDEMPOTENT = {"relu", "linear", "relu6"}
"""Activations f with f(f(x)) = f(x): an identity layer behind them changes nothing."""


AUGMENTING = ("random_flip_added", "random_shift_added")


class NotApplicableError(Exception):
    """The edit does not fit this model."""


@dataclass
class Change:
    """The effect of an edit on the graph and on the weights, and its grade."""

    plan: Plan
    transforms: Dict[str, Transform] = field(default_factory=dict)
    grade: str = EXACT
    start: Optional[Callable[[Any, Any], None]] = None
    """Called with (parent, child) to set the weights of inserted layers."""


def apply(model: Any, edit: Edit) -> "Tuple[Any, str]":
    """Return a new, uncompiled model with the edit made, and the grade of its weights.

    Raises:
        NotApplicableError: the edit does not fit this model.
        graph.UnclonableError: the model cannot be built a second time.
    """
    change = KINDS[edit["kind"]](model, edit)
    child = graph.rebuild(model, change.plan)
    # By name: layers of the parent and of the child that have one name are the same layer.
    grade = weights.transfer(model, child, change.transforms)
    if change.start is not None:
        change.start(model, child)
    return child, weights.worst(grade, change.grade)


def apply_all(model: Any, edits: List[Edit]) -> "Tuple[Any, str]":
    """Apply edits in order; without any, copy the model with its weights."""
    if not edits:
        child = graph.rebuild(model, Plan())
        return child, weights.transfer(model, child)
    grades = []
    for edit in edits:
        model, grade = apply(model, edit)
        grades.append(grade)
    return model, weights.worst(*grades)


def without_augmentation(model: Any) -> Any:
    """Return the model without the random layers that edits inserted.

    Keras' random layers act on a plain `model(x)` too, not only in training. A script that calls
    its model so must get the same output each time.
    """
    added = {layer.name for layer in model.layers if layer.name.rsplit("_", 1)[0] in AUGMENTING}
    if not added:
        return model
    child = graph.rebuild(model, Plan(drop=added))
    weights.transfer(model, child)
    return child


def words(edit: Edit) -> str:
    """Return an edit in plain words."""
    text = WORDS[edit["kind"]]
    if edit["kind"] == "augment":
        kinds = [name for name, key in (("flips", "flip"), ("shifts", "shift")) if edit.get(key)]
        return text.format(at=edit["at"], size=" and ".join(kinds))
    if edit["kind"] == "inside":
        return text.format(at=edit["at"], edit=words(edit["edit"]))
    if edit["kind"] == "convolve":
        return text.format(at=edit["at"], size=", ".join(f"Conv({size})" for size in edit["sizes"]))
    pooled = " and MaxPooling" if edit.get("pool", True) else ""
    values = {
        name: f"{value:.4g}" if isinstance(value, float) else value for name, value in edit.items()
    }
    return text.format(**{"at": "", "size": "", "name": "", "pooled": pooled, **values})


def _layer(model: Any, edit: Edit) -> Any:
    for layer in model.layers:
        if layer.name == edit["at"]:
            return layer
    # A Sequential without an InputLayer in its list still has an input, at which edits can insert.
    if edit["at"] in [graph.input_name(t) for t in graph.graph_of(model).inputs]:
        return None
    raise NotApplicableError(f"there is no layer {edit['at']}")


def _width(layer: Any) -> str:
    """Return the name of the setting that holds a layer's number of channels."""
    for name in ("filters", "units", "output_dim"):
        if hasattr(layer, name):
            return name
    raise NotApplicableError(f"{layer.name} has no width")


def activation_name(layer: Any) -> str:
    """Return the name of a layer's activation, "" for a function of the script."""
    function = getattr(layer, "activation", None)
    return str(getattr(function, "__name__", "")) if function is not None else "linear"


def _resize(model: Any, edit: Edit) -> Change:
    """Widen or narrow a layer to `size` channels."""
    layer = _layer(model, edit)
    size = int(edit["size"])
    kind = type(layer).__name__
    if kind == "Bidirectional":
        return _resize_bidirectional(model, layer, size)
    if kind not in {"Dense", "Conv1D", "Conv2D", "Conv3D", "Embedding", *RECURRENT}:
        raise NotApplicableError(f"a {kind} has no width to change")
    old = int(getattr(layer, _width(layer)))
    # Wider: the layers behind start with zero weights for the new channels, which keeps the
    # function. Narrower cannot keep it, so the weakest channels go.
    rows = weights.widened(old, size) if size >= old else _strongest(layer, size)
    change = _follow(model, layer, rows)
    change.plan.replace[layer.name] = copy_layer(layer, **{_width(layer): size})
    own = weights.recurrent(RECURRENT[kind], rows) if kind in RECURRENT else weights.columns(rows)
    change.transforms[layer.name] = own
    change.grade = EXACT if size >= old else APPROXIMATE
    return change


def _follow(model: Any, layer: Any, rows: List[int]) -> Change:
    """Return the change to all layers behind one whose output channels become `rows`."""
    route = weights.route(model, layer)
    if route is None:
        raise NotApplicableError(f"the width of {layer.name} is tied to another layer's")
    change = Change(Plan())
    for normalisation in route.norms:
        change.transforms[normalisation.name] = weights.norm(rows)
    for taker, positions in route.takers:
        change.transforms[taker.name] = weights.taker(taker, rows, positions)
    return change


def _strongest(layer: Any, size: int) -> List[int]:
    """Return the channels with the largest weights, in their old order."""
    kind = type(layer).__name__
    kernel = layer.get_weights()[0]
    if kind in RECURRENT:
        # Keras stores a recurrent kernel's gates side by side; a channel is its column in each of
        # them.
        kernel = kernel.reshape(len(kernel), RECURRENT[kind], -1)
    strength = numpy.abs(kernel).reshape(-1, kernel.shape[-1]).sum(axis=0)
    return sorted(int(i) for i in numpy.argsort(-strength)[:size])


def _resize_bidirectional(model: Any, layer: Any, size: int) -> Change:
    inner = layer.forward_layer
    kind = type(inner).__name__
    if kind not in RECURRENT or layer.merge_mode != "concat":
        raise NotApplicableError(f"{layer.name} cannot change its width")
    old = int(inner.units)
    if size < old:
        raise NotApplicableError("a bidirectional layer is only widened")
    rows = weights.widened(old, size)
    change = _follow(model, layer, rows + [r + old if r >= 0 else -1 for r in rows])
    config = graph.unbuilt(layer.get_config())
    for part in ("layer", "backward_layer"):
        if config.get(part):
            config[part]["config"]["units"] = size
    change.plan.replace[layer.name] = type(layer).from_config(config)
    direction = weights.recurrent(RECURRENT[kind], rows)

    def both(before: List[Any], fresh: List[Any]) -> List[Any]:
        # Keras lists the forward direction's weights first, then as many of the backward one.
        half = len(before) // 2
        return [
            *direction(before[:half], fresh[:half]),
            *direction(before[half:], fresh[half:]),
        ]

    change.transforms[layer.name] = both
    return change


def _bidirectional(model: Any, edit: Edit) -> Change:
    """Read the sequence backwards too.

    The backward half is fresh. The layers behind it start with zero weights for its channels.
    """
    layer = _layer(model, edit)
    if (
        type(layer).__name__ not in RECURRENT
        or layer.go_backwards
        or layer.return_state
        or layer.stateful
    ):
        raise NotApplicableError(f"{layer.name} cannot be made bidirectional")
    units = int(layer.units)
    change = _follow(model, layer, weights.widened(units, 2 * units))
    change.plan.replace[layer.name] = keras.layers.Bidirectional(copy_layer(layer), name=layer.name)
    change.transforms[layer.name] = lambda old, new: [*old, *new[len(old) :]]
    return change


def _stack_recurrent(model: Any, edit: Edit) -> Change:
    """A second recurrent layer before this one, of the same kind and width."""
    layer = _layer(model, edit)
    inner = layer.forward_layer if type(layer).__name__ == "Bidirectional" else layer
    if type(inner).__name__ not in RECURRENT or len(graph.producers(model, layer)) != 1:
        raise NotApplicableError(f"nothing can be stacked on {layer.name}")
    before = graph.producers(model, layer)[0]
    added = copy_layer(
        # The layer behind it is recurrent and needs the whole sequence, not its last state.
        inner,
        name=free_name(model, inner.name.rstrip("_0123456789")),
        return_sequences=True,
    )
    return Change(Plan(after={before.name: [added]}), grade=APPROXIMATE)


def _dropout(model: Any, edit: Edit) -> Change:
    _layer(model, edit)
    added = keras.layers.Dropout(float(edit["size"]), name=free_name(model, "dropout_added"))
    return Change(Plan(after={edit["at"]: [added]}))


def _set_dropout(model: Any, edit: Edit) -> Change:
    layer = _layer(model, edit)
    return Change(Plan(replace={layer.name: copy_layer(layer, rate=float(edit["size"]))}))


def _l2(model: Any, edit: Edit) -> Change:
    layer = _layer(model, edit)
    if not hasattr(layer, "kernel_regularizer"):
        raise NotApplicableError(f"{layer.name} takes no regulariser")
    decay = keras.saving.serialize_keras_object(keras.regularizers.L2(float(edit["size"])))
    return Change(Plan(replace={layer.name: copy_layer(layer, kernel_regularizer=decay)}))


def _batch_norm(model: Any, edit: Edit) -> Change:
    """Normalise between a layer and its activation; starts as the identity."""
    layer = _layer(model, edit)
    name = free_name(model, "batch_normalization_added")
    # Trainings here are short: with Keras' 0.99 the moving averages would lag behind for hundreds
    # of steps.
    added: List[Any] = [keras.layers.BatchNormalization(momentum=0.9, name=name)]
    plan = Plan()
    # The normalisation belongs before the activation (Ioffe and Szegedy 2015), so the activation
    # becomes a layer of its own behind it.
    if activation_name(layer) != "linear":
        plan.replace[layer.name] = copy_layer(layer, activation="linear")
        with keras.saving.custom_object_scope(graph.custom_objects(layer)):
            same = keras.activations.deserialize(keras.activations.serialize(layer.activation))
        added.append(keras.layers.Activation(same, name=free_name(model, "activation_added")))
    plan.after[layer.name] = added
    return Change(plan, start=lambda parent, child: identity_norm(child.get_layer(name)))


def identity_norm(layer: Any) -> None:
    """Let a fresh batch normalisation compute y = x at inference."""
    # With fresh statistics (mean 0, variance 1) inference divides by sqrt(1 + epsilon): gamma
    # cancels that.
    gamma, beta, mean, variance = layer.get_weights()
    layer.set_weights(
        [numpy.sqrt(variance + layer.epsilon).astype(gamma.dtype), beta, mean, variance]
    )


def _normalise_input(model: Any, edit: Edit) -> Change:
    """Scale the inputs by the training data's mean and variance.

    The weights of the first layers are compensated if all of them are linear in the input.
    """
    name = free_name(model, "normalization_added")
    mean = numpy.asarray(edit["mean"], "float32")
    variance = numpy.asarray(edit["variance"], "float32")
    if mean.size > 1:
        added = keras.layers.Normalization(axis=-1, mean=mean, variance=variance, name=name)
    else:
        added = keras.layers.Normalization(
            axis=None, mean=float(mean[0]), variance=float(variance[0]), name=name
        )
    change = Change(Plan(after={edit["at"]: [added]}), grade=APPROXIMATE)
    source = next(
        t._keras_history.operation
        for t in graph.graph_of(model).inputs
        if graph.input_name(t) == edit["at"]
    )
    first = graph.consumers(model, source)
    # If one consumer cannot be compensated, the function changes anyway.
    if all(_takes_scaled(consumer) for consumer in first):
        change.grade = EXACT
        # Keras' Normalization divides by the same maximum (backend.epsilon()): a constant column
        # has no deviation.
        deviation = numpy.maximum(numpy.sqrt(variance), 1e-7)
        for consumer in first:
            change.transforms[consumer.name] = _unscaled(mean, deviation)
    return change


def _takes_scaled(layer: Any) -> bool:
    # With "same" padding the zeros at the border would have to become (0 - mean) / deviation.
    kind = type(layer).__name__
    return (
        kind == "Dense" or (kind.startswith("Conv") and layer.padding == "valid")
    ) and layer.use_bias


def _unscaled(mean: Any, deviation: Any) -> Transform:
    """Return the transform that rewrites a layer for (x - mean) / deviation.

    Its output kernel·x + bias stays the same.
    """

    def apply(old: List[Any], new: List[Any]) -> List[Any]:
        kernel, bias, *rest = old
        axes = tuple(range(kernel.ndim - 1))
        shifted = bias + (kernel * numpy.reshape(mean, (-1, 1))).sum(axis=axes)
        return [kernel * numpy.reshape(deviation, (-1, 1)), shifted, *rest]

    return apply


def _scale_output(model: Any, edit: Edit) -> Change:
    """Scale a linear output to the targets' mean and deviation.

    The layer itself then has to learn numbers near 1 only.
    """
    layer = _layer(model, edit)
    if type(layer).__name__ != "Dense" or activation_name(layer) != "linear" or not layer.use_bias:
        raise NotApplicableError(f"{layer.name} is no linear output")
    mean = float(edit["mean"])
    deviation = float(edit["size"])
    added = keras.layers.Rescaling(deviation, offset=mean, name=free_name(model, "rescaling_added"))
    change = Change(Plan(after={layer.name: [added]}))
    change.transforms[layer.name] = lambda old, new: [
        old[0] / deviation,
        (old[1] - mean) / deviation,
        *old[2:],
    ]
    return change


def _dense(model: Any, edit: Edit) -> Change:
    """Insert a Dense layer behind `at`.

    It starts as the identity if the activation allows it; outgoing weights of additional units are
    zero.
    """
    layer = _layer(model, edit)
    size = int(edit["size"])
    shape_before = _output_shape(model, edit["at"])
    if len(shape_before) != 1 or shape_before[0] is None:
        raise NotApplicableError(f"{edit['at']} does not give one vector an example")
    name = free_name(model, "dense_added")
    width = int(shape_before[0])
    added = keras.layers.Dense(size, activation=edit.get("activation", "relu"), name=name)
    plan = Plan(after={edit["at"]: [added]})
    # An identity behind ReLU would cut negative inputs off.
    if layer is None or size < width or not _never_negative(layer):
        return Change(plan, grade=APPROXIMATE)
    change = _follow(model, layer, weights.widened(width, size))
    change.plan = plan
    change.start = lambda parent, child: _identity_dense(child.get_layer(name), width)
    return change


def _never_negative(layer: Any) -> bool:
    kind = type(layer).__name__
    if kind in (
        "Dropout",
        "Flatten",
        "MaxPooling2D",
        "GlobalMaxPooling2D",
        "GlobalAveragePooling2D",
        "Activation",
        "ReLU",
    ):
        if kind in ("Activation", "ReLU"):
            return kind == "ReLU" or activation_name(layer) in (
                "relu",
                "relu6",
                "sigmoid",
                "softmax",
                "softplus",
            )
        before = layer._inbound_nodes[0].arguments.keras_tensors[0]._keras_history.operation
        return _never_negative(before)
    return kind in ("Dense", "Conv1D", "Conv2D") and activation_name(layer) in (
        "relu",
        "sigmoid",
        "softplus",
    )


def _identity_dense(layer: Any, width: int) -> None:
    kernel, bias = layer.get_weights()
    # Only the columns of the identity: the additional units keep random weights, and learn, because
    # their outgoing weights are zero and not their own.
    kernel[:, :width] = 0.0
    for i in range(width):
        kernel[i, i] = 1.0
    layer.set_weights([kernel, bias])


def _deepen(model: Any, edit: Edit) -> Change:
    """Insert a copy of layer `at` behind it (Net2Deeper); it starts as the identity."""
    layer = _layer(model, edit)
    kind = type(layer).__name__
    if kind == "Dense":
        return _dense(
            model, {**edit, "size": layer.units, "activation": activation_name(layer) or "relu"}
        )
    if kind not in ("Conv1D", "Conv2D") or layer.data_format == "channels_first":
        raise NotApplicableError(f"a {kind} cannot be repeated")
    name = free_name(model, f"{kind.lower()}_added")
    same = {"strides": (1,) * layer.rank, "padding": "same", "name": name, "groups": 1}
    added = copy_layer(layer, **same)
    # An even kernel has no middle; the copy would shift the map by half a step.
    exact = activation_name(layer) in IDEMPOTENT and all(size % 2 for size in layer.kernel_size)
    return Change(
        Plan(after={layer.name: [added]}),
        grade=EXACT if exact else APPROXIMATE,
        start=lambda parent, child: _identity_conv(child.get_layer(name)),
    )


def _identity_conv(layer: Any) -> None:
    values = layer.get_weights()
    kernel = values[0]
    kernel[...] = 0.0
    middle = tuple(size // 2 for size in layer.kernel_size)
    for i in range(kernel.shape[-1]):
        kernel[(*middle, i, i)] = 1.0
    layer.set_weights(values)


def _conv_block(model: Any, edit: Edit) -> Change:
    """Insert convolution, normalisation, activation and pooling behind `at`.

    The settings are those of the model's own convolution `like`.
    """
    like = model.get_layer(edit["like"])
    if len(_output_shape(model, edit["at"])) != like.rank + 1:
        raise NotApplicableError(f"{edit['at']} does not give a map")
    name = free_name(model, "conv_added")
    number = name.rsplit("_", 1)[1]
    activation = edit.get("activation", "relu")
    kernel = min(max(like.kernel_size), 5)
    settings = {
        "filters": int(edit["size"]),
        "kernel_size": (kernel,) * like.rank,
        "strides": (1,) * like.rank,
    }
    settings.update(padding="same", groups=1, name=name)
    added: List[Any] = [
        copy_layer(like, **settings, activation="linear" if edit.get("norm", True) else activation)
    ]
    if edit.get("norm", True):
        added.append(
            keras.layers.BatchNormalization(momentum=0.9, name=f"conv_added_norm_{number}")
        )
        added.append(keras.layers.Activation(activation, name=f"conv_added_activation_{number}"))
    if edit.get("pool", True):
        pooling = getattr(keras.layers, f"MaxPooling{like.rank}D")
        added.append(pooling(2, padding="same", name=f"conv_added_pool_{number}"))
    return Change(Plan(after={edit["at"]: added}), grade=APPROXIMATE)


def _convolve(model: Any, edit: Edit) -> Change:
    """Insert Conv-Pool blocks on a picture that is flattened or a vector."""
    shape = tuple(int(n) for n in edit["shape"])
    shape_before = _output_shape(model, edit["at"])
    added: List[Any] = (
        []
        if shape_before == shape
        else [keras.layers.Reshape(shape, name=free_name(model, "reshape_added"))]
    )
    for number, size in enumerate(edit["sizes"], 1):
        added += [
            keras.layers.Conv2D(int(size), 3, padding="same", name=f"conv_added_{number}"),
            keras.layers.BatchNormalization(momentum=0.9, name=f"conv_added_norm_{number}"),
            keras.layers.Activation("relu", name=f"conv_added_activation_{number}"),
            keras.layers.MaxPooling2D(2, padding="same", name=f"conv_added_pool_{number}"),
        ]
    if len(shape_before) == 1:
        added.append(keras.layers.Flatten(name=free_name(model, "flatten_added")))
    return Change(Plan(after={edit["at"]: added}), grade=APPROXIMATE)


def _output_shape(model: Any, name: str) -> "Tuple[Any, ...]":
    """Return the shape of the output of a layer, or of an input, for one example."""
    layer = _layer(model, {"at": name})
    if layer is not None:
        return tuple(layer.output.shape[1:])
    return next(
        tuple(t.shape[1:]) for t in graph.graph_of(model).inputs if graph.input_name(t) == name
    )


def _global_pool(model: Any, edit: Edit) -> Change:
    """Average each channel over all positions instead of flattening the map."""
    layer = _layer(model, edit)
    rank = len(layer.input.shape) - 2
    if type(layer).__name__ != "Flatten" or rank not in (1, 2, 3):
        raise NotApplicableError(f"{layer.name} does not flatten a map")
    pooled = getattr(keras.layers, f"GlobalAveragePooling{rank}D")(
        name=free_name(model, "global_pool_added")
    )
    change = Change(Plan(replace={layer.name: pooled}), grade=APPROXIMATE)
    for consumer in graph.consumers(model, layer):
        if type(consumer).__name__ == "Dense":
            change.transforms[consumer.name] = _summed(int(layer.input.shape[-1]))
    return change


def _summed(channels: int) -> Transform:
    """Return the transform that sums a kernel over the positions of a flattened map.

    The output stays the same for a map that is constant.
    """
    return lambda old, new: [old[0].reshape(-1, channels, old[0].shape[-1]).sum(axis=0), *old[1:]]


def _remove(model: Any, edit: Edit) -> Change:
    layer = _layer(model, edit)
    if (
        any(layer is last for last in graph.output_operations(model))
        or len(graph.producers(model, layer)) != 1
    ):
        raise NotApplicableError(f"{layer.name} cannot be left out")
    return Change(Plan(drop={layer.name}), grade=APPROXIMATE)


def _mask(model: Any, edit: Edit) -> Change:
    """Make the layers behind an embedding skip padding (zeros), if all of them can."""
    layer = _layer(model, edit)
    if type(layer).__name__ != "Embedding" or not _all_skip(model, layer):
        raise NotApplicableError(f"what follows {edit['at']} does not skip padding")
    return Change(Plan(replace={layer.name: copy_layer(layer, mask_zero=True)}), grade=APPROXIMATE)


def _all_skip(model: Any, layer: Any) -> bool:
    passing = ("Dropout", "SpatialDropout1D")
    return all(
        type(consumer).__name__ in {*RECURRENT, "Bidirectional"}
        or (type(consumer).__name__ in passing and _all_skip(model, consumer))
        for consumer in graph.consumers(model, layer)
    )


def _augment(model: Any, edit: Edit) -> Change:
    """Insert random flips and shifts of the input images, which act in training only."""
    # The names tell `without_augmentation` which layers to remove.
    added: List[Any] = []
    if edit.get("flip"):
        added.append(
            keras.layers.RandomFlip("horizontal", name=free_name(model, "random_flip_added"))
        )
    if edit.get("shift"):
        share = float(edit["shift"])
        name = free_name(model, "random_shift_added")
        added.append(keras.layers.RandomTranslation(share, share, fill_mode="nearest", name=name))
    if not added:
        raise NotApplicableError("no augmentation was named")
    return Change(Plan(after={edit["at"]: added}))


def _inside(model: Any, edit: Edit) -> Change:
    """Edit a model inside this one; its inputs and the shapes of its outputs stay."""
    layer = _layer(model, edit)
    if not hasattr(layer, "layers"):
        raise NotApplicableError(f"{edit['at']} is no model")
    child, grade = apply(layer, edit["edit"])
    if [tuple(t.shape) for t in child.outputs] != [tuple(t.shape) for t in layer.outputs]:
        raise NotApplicableError(f"{layer.name} would have outputs of another shape")
    change = Change(Plan(replace={layer.name: child}), grade=grade)
    change.transforms[layer.name] = lambda old, new: new  # `apply` has set them
    return change


KINDS: Dict[str, Callable[[Any, Edit], Change]] = {
    "resize": _resize,
    "bidirectional": _bidirectional,
    "stack": _stack_recurrent,
    "dropout": _dropout,
    "set_dropout": _set_dropout,
    "l2": _l2,
    "batch_norm": _batch_norm,
    "normalise_input": _normalise_input,
    "scale_output": _scale_output,
    "dense": _dense,
    "deepen": _deepen,
    "conv_block": _conv_block,
    "convolve": _convolve,
    "global_pool": _global_pool,
    "remove": _remove,
    "augment": _augment,
    "mask": _mask,
    "inside": _inside,
}

WORDS: Dict[str, str] = {
    "resize": "set the width of {at} to {size}",
    "bidirectional": "make {at} bidirectional",
    "stack": "stack another recurrent layer before {at}",
    "dropout": "insert Dropout({size}) after {at}",
    "set_dropout": "set the rate of {at} to {size}",
    "l2": "add an L2 penalty of {size} to {at}",
    "batch_norm": "insert BatchNormalization after {at}",
    "normalise_input": "normalise the input {at} by the training data's mean and variance",
    "scale_output": "stretch what {at} gives to the targets' mean {mean} and deviation {size}",
    "dense": "insert Dense({size}) after {at}",
    "deepen": "repeat {at}",
    "conv_block": "insert Conv({size}){pooled} after {at}",
    "convolve": "insert {size} and MaxPooling after {at}, which is a picture",
    "global_pool": "replace {at} by global average pooling",
    "remove": "remove {at}",
    "augment": "augment the input {at} by random {size}",
    "mask": "let what follows {at} skip the padding",
    "inside": "in {at}: {edit}",
}
