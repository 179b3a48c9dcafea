"""Gather the properties of the data and of the developer's training."""

from __future__ import annotations

import contextlib
import math
import sys
from typing import Any, Dict, List, Tuple

import keras
import numpy

from mlops_lib.runner.search.examples import Selected, classes, length
from mlops_lib.runner.search.keras import constraints, graph
from mlops_lib.runner.search.keras.candidates import Facts, Limits
from mlops_lib.runner.search.keras.initial_weights import is_untrained
from mlops_lib.runner.search.keras.portfolio import MANY_LAYERS, most_cost
from mlops_lib.runner.search.keras.trial import batch_size, is_pipeline, plain_rate, steps_an_epoch
from mlops_lib.runner.search.request import FitCall, SearchRequest

SAMPLE = 2000
"""The number of examples that are examined."""
NEIGHBOURS_KEPT = 0.9
"""Share of nearest neighbours that must keep their label when images are mirrored."""
MANY_FEATURES = 32
"""From so many features on, a list of numbers for each is too long to read in a patch."""
REGRESSIONS = (
    "mse",
    "mean_squared_error",
    "mae",
    "mean_absolute_error",
    "huber",
    "huber_loss",
    "log_cosh",
    "logcosh",
)
FAR = 3.0
"""Targets whose deviation, or mean in deviations, differs from 1 by more than this factor are
scaled.
"""
SCALES_APART = 10.0
"""Features whose deviations differ by more than this factor, or are that far from 1, are scaled."""
PADDED = 0.1
"""Share of sequences with zeros at an end from which on these are padding."""
SMALLEST_PICTURE = 8
ALIKE = 0.25
"""Neighbouring pixels of a picture correlate by more than this, and distant ones by clearly less.
"""
RARE = 1 / 3
"""A class with less than this share of an even one is rare."""


def gather(model: Any, call: FitCall, request: SearchRequest, selected: Selected) -> Facts:
    """Return the facts about the model's inputs and the training data."""
    x = selected.training["x"]
    pipeline = is_pipeline(x)
    batch = batch_size(call)
    facts = Facts(
        examples=steps_an_epoch(call, x, batch) * batch if pipeline else length(x),
        batch_size=batch,
        epochs=len(call.history.epoch) or int(call.arguments.get("epochs") or 1),
        learning_rate=plain_rate(model.optimizer),
        arrays=not pipeline,
        pretrained=_is_pretrained(model, call),
        accelerated=_has_accelerator(),
        limits=Limits.read(request.limits),
    )
    facts.inner = [inner.name for inner in _inner(model) if is_untrained([inner], model, call)]
    facts.most_cost = most_cost(model, accelerated=facts.accelerated)
    with contextlib.suppress(graph.UnclonableError):
        facts.ties = constraints.find(
            model, inputs_are_targets=not pipeline and _same_values(x, selected.training.get("y"))
        )
    # What a pipeline gives is looked at by the examples that select: they are in memory, and
    # nothing of it is consumed.
    y = selected.y if pipeline else selected.training.get("y")
    labels = classes(y)
    if labels is not None and not pipeline:
        facts.imbalanced = request.metric in ("balanced_accuracy", "f1", "recall") and _has_rare(
            labels
        )
    if _is_regression(call.compiled.get("loss")) and not isinstance(y, (dict, list, tuple)):
        facts.targets = far_targets(y)
    for name, tensor, values in _inputs(model, selected.x if pipeline else x):
        if len(tensor.shape) == 2 and _is_padded(model, tensor, values):
            facts.padded.append(name)
        picture = as_picture(values)
        if picture:
            facts.pictures[name] = picture
        if len(tensor.shape) == 4 and "int" not in str(tensor.dtype):
            facts.images.append(name)
            facts.mirrored = labels is not None and keeps_labels_mirrored(values, labels)
        if "int" not in str(tensor.dtype) and not _scaled_by_model(model, tensor):
            unscaled = far_from_standard(values)
            if unscaled is not None:
                facts.unscaled[name] = unscaled
    return facts


def _same_values(x: Any, y: Any) -> bool:
    """Return whether the targets are the inputs: the model is an autoencoder."""
    if x is y:
        return True
    if not hasattr(x, "shape") or not hasattr(y, "shape") or tuple(x.shape) != tuple(y.shape):
        return False
    return bool(numpy.array_equal(numpy.asarray(x[:SAMPLE]), numpy.asarray(y[:SAMPLE])))


def _inputs(model: Any, x: Any) -> List[Tuple[str, Any, Any]]:
    """Return name, tensor and a sample of the values of each numeric input."""
    try:
        tensors = graph.graph_of(model).inputs
    except graph.UnclonableError:
        return []
    # Keras matches a dict to its inputs by name, and a list by position.
    parts = [x.get(graph.input_name(t)) for t in tensors] if isinstance(x, dict) else x
    parts = list(parts) if isinstance(parts, (list, tuple)) else [parts]
    if len(parts) != len(tensors):
        return []
    inputs = []
    for tensor, part in zip(tensors, parts):
        if part is not None and hasattr(part, "shape"):
            values = numpy.asarray(
                part[:SAMPLE] if not hasattr(part, "iloc") else part.iloc[:SAMPLE]
            )
            if values.dtype.kind in "fiub" and len(tensor.shape) == values.ndim:
                inputs.append((graph.input_name(tensor), tensor, values))
    return inputs


def _inner(model: Any) -> List[Any]:
    """Return the models inside a model that are being trained."""
    return [
        layer
        for layer in getattr(model, "layers", [])
        if hasattr(layer, "layers") and layer.trainable_weights
    ]


def _is_pretrained(model: Any, call: FitCall) -> bool:
    """Return whether pretrained weights may be under training.

    The suspects are models inside the model, and large convolutional networks.
    """
    layers = list(getattr(model, "layers", []))
    inner = _inner(model)
    kernels = [
        layer
        for layer in layers
        if type(layer).__name__ in ("Conv2D", "DepthwiseConv2D", "SeparableConv2D")
    ]
    kernels = [layer for layer in kernels if layer.trainable]
    suspect = [*inner, *(kernels if len(kernels) > MANY_LAYERS else [])]
    # Without known initial weights `is_untrained` is false, so the careful answer is taken.
    return bool(suspect) and not is_untrained(suspect, model, call)


def _has_accelerator() -> bool:
    """Return whether Keras' backend (TensorFlow, JAX or PyTorch) has a GPU or TPU."""
    framework = sys.modules.get(keras.backend.backend())
    if framework is None:
        return False
    if hasattr(framework, "config") and hasattr(framework.config, "list_logical_devices"):
        return any(
            device.device_type in ("GPU", "TPU")
            for device in framework.config.list_logical_devices()
        )
    # PyTorch and JAX.
    on_gpu = (
        framework.cuda.is_available()
        if hasattr(framework, "cuda")
        else framework.default_backend() != "cpu"
    )
    return bool(on_gpu)


def _is_padded(model: Any, tensor: Any, values: Any) -> bool:
    """Return whether many sequences of an embedding begin or end in zeros."""
    first = graph.consumers(model, tensor._keras_history.operation)
    if not any(type(consumer).__name__ == "Embedding" for consumer in first):
        return False
    return bool(max((values[:, 0] == 0).mean(), (values[:, -1] == 0).mean()) > PADDED)


def _has_rare(labels: Any) -> bool:
    counts = numpy.unique(labels, return_counts=True)[1]
    return bool(counts.min() < RARE * len(labels) / len(counts))


def _scaled_by_model(model: Any, tensor: Any) -> bool:
    first = graph.consumers(model, tensor._keras_history.operation)
    scaling = (
        "Normalization",
        "Rescaling",
        "BatchNormalization",
        "LayerNormalization",
        "Embedding",
        "CategoryEncoding",
    )
    return any(type(consumer).__name__ in scaling for consumer in first)


def far_from_standard(values: Any) -> "Tuple[List[float], List[float]] | None":
    """Return mean and variance by feature, or None if the features are scaled well.

    Features are scaled badly if their deviations differ widely, or lie far from 1.
    """
    flat = values.reshape(-1, values.shape[-1]).astype("float64")
    # A mean over missing values would be missing too, and no normalisation could be written.
    if not numpy.isfinite(flat).all():
        return None
    mean = flat.mean(axis=0)
    deviation = flat.std(axis=0)
    # A constant feature carries nothing, and has no scale.
    lively = deviation[deviation > 1e-9]
    if not len(lively):
        return None
    bounded = (
        abs(flat).max() <= 1.5
    )  # somebody has scaled it: a feature that hardly varies must not be blown up
    apart = lively.max() / lively.min() > SCALES_APART and values.ndim == 2 and not bounded
    large = lively.max() > SCALES_APART or lively.max() < 1 / SCALES_APART
    if not apart and not large and (abs(mean) < 3 * numpy.maximum(deviation, 0.1)).all():
        return None
    if values.ndim > 2:  # one scale for all channels: it is the range of the pixels that is off
        mean, deviation = numpy.full_like(mean, flat.mean()), numpy.full_like(deviation, flat.std())
    elif _is_one_quantity(flat, lively=deviation > 1e-9):
        mean = numpy.array([flat.mean()])
        deviation = numpy.array([flat.std()])
    variance = numpy.where(deviation > 1e-9, deviation, 1.0) ** 2
    # Four digits do, and can be read in a suggested patch.
    return [float(f"{v:.4g}") for v in mean], [float(f"{v:.4g}") for v in variance]


def _is_one_quantity(flat: Any, *, lively: Any) -> bool:
    """Return whether many features share one range, as the pixels of an image do.

    One scale then serves all of them.
    """
    if flat.shape[1] < MANY_FEATURES or lively.sum() < 2:
        return False
    # By the reach of the values, because the deviations of pixels differ: a border hardly varies.
    lowest = flat.min(axis=0)[lively]
    highest = flat.max(axis=0)[lively]
    reach = (highest - lowest).max()
    return bool(
        numpy.median(highest - lowest) > reach / 2
        and numpy.median(abs(lowest - lowest.min())) < reach / 4
    )


def _is_regression(loss: Any) -> bool:
    name = loss if isinstance(loss, str) else getattr(loss, "name", "")
    return str(name).lower() in REGRESSIONS


def far_targets(y: Any) -> "Tuple[float, float] | None":
    """Return mean and deviation of targets that are far from standard, else None.

    An output layer would first have to grow its weights to reach such targets.
    """
    values = numpy.asarray(y) if hasattr(y, "shape") else None
    if values is None or values.dtype.kind not in "iuf" or not numpy.isfinite(values).all():
        return None
    mean = float(values.mean())
    deviation = float(values.std())
    if deviation < 1e-9 or (1 / FAR <= deviation <= FAR and abs(mean) <= FAR * deviation):
        return None
    return float(f"{mean:.4g}"), float(f"{deviation:.4g}")


def keeps_labels_mirrored(images: Any, labels: Any) -> bool:
    """Return whether an image's mirror image keeps its label.

    It is judged by nearest neighbours, without any model: a mirrored photograph finds neighbours of
    its class as often as the photograph itself; a mirrored digit does not.
    """
    small = (
        images.reshape(len(images), images.shape[1], images.shape[2], -1)
        .mean(axis=-1)
        .astype("float32")
    )
    # About twelve points a side show a shape, and make the comparison of all pairs cheap.
    step = max(small.shape[1] // 12, 1), max(small.shape[2] // 12, 1)
    labels = labels[: len(small)]
    plain = small[:, :: step[0], :: step[1]].reshape(len(small), -1)
    mirrored = small[:, :, ::-1][:, :: step[0], :: step[1]].reshape(len(small), -1)
    count = min(len(plain), 600)
    # Too few neighbours to judge by: a wrong mirror costs more than a missing one.
    if len(numpy.unique(labels)) < 2 or count < 50:
        return False
    itself = _agreement(plain[:count], plain, labels, count)
    flipped = _agreement(mirrored[:count], plain, labels, count)
    return bool(flipped >= NEIGHBOURS_KEPT * itself)


def _agreement(queries: Any, examples: Any, labels: Any, count: int) -> float:
    """Return how often the nearest other example has the same label."""
    # The square of the queries is left out: it is the same for every neighbour.
    distances = (examples**2).sum(axis=1)[None, :] - 2.0 * queries @ examples.T
    distances[numpy.arange(count), numpy.arange(count)] = numpy.inf
    return float((labels[distances.argmin(axis=1)] == labels[:count]).mean())


def as_picture(values: Any) -> "List[int]":
    """Return height, width and channels if the values are pictures, else [].

    Neighbouring pixels of a picture are alike in both directions.

    Args:
        values: examples by rows: maps with channels, maps of grey values, or vectors that may be
            either.
    """
    shape = list(values.shape[1:])
    if len(shape) == 3:
        return shape if min(shape[:2]) >= SMALLEST_PICTURE and shape[2] <= 4 else []
    if len(shape) == 2:
        shapes = [[*shape, 1]]
    else:
        sides = [(math.isqrt(shape[0] // channels), channels) for channels in (1, 3)]
        shapes = [
            [side, side, channels] for side, channels in sides if side * side * channels == shape[0]
        ]
    return next(
        (
            candidate
            for candidate in shapes
            if min(candidate[:2]) >= SMALLEST_PICTURE and _is_smooth(values, candidate)
        ),
        [],
    )


def _is_smooth(values: Any, shape: List[int]) -> bool:
    maps = numpy.asarray(values[:500], dtype="float64").reshape(-1, *shape)
    # Without the mean picture, which all examples share and which correlates by itself.
    maps = maps - maps.mean(axis=0)
    power = float((maps**2).mean())
    across = float((maps[:, :, 1:] * maps[:, :, :-1]).mean())
    down = float((maps[:, 1:] * maps[:, :-1]).mean())
    # Half of the height away; a signal without any structure in space correlates there as much.
    far = float((maps[:, shape[0] // 2 :] * maps[:, : shape[0] - shape[0] // 2]).mean())
    if values.ndim == 2:  # a signal of one dimension goes on where a row ends
        row_starts = maps[:, 1:, 0]
        row_ends = maps[:, :-1, -1]
        edge = float(((row_starts**2).mean() * (row_ends**2).mean()) ** 0.5)
        if float((row_starts * row_ends).mean()) * power > 0.8 * edge * across > 0.0:
            return False
    return min(across, down) > ALIKE * power and min(across, down) > far + ALIKE / 2 * power


def names_used() -> Dict[str, int]:
    """Return Keras' counters of automatic names."""
    from keras.src.backend.common import global_state

    return dict(global_state.get_global_attribute("object_name_uids", {}) or {})


def put_names_back(names: Dict[str, int]) -> None:
    """Restore Keras' counters of automatic names.

    The script's later layers are then named as without a search.
    """
    from keras.src.backend.common import global_state

    counters = global_state.get_global_attribute("object_name_uids")
    if counters is not None:
        counters.clear()
        counters.update(names)
