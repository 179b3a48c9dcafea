"""Choose the selection examples of a search, and the training data of its trials.

A trial is scored on examples that no inherited weight has seen and that the gate does not judge.
They are, in this order: the fit's own validation data; half of it, if the gate judges it; or a
split of the training data, taken before trial 0 is trained again.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass, field
from typing import Any, Dict, FrozenSet, List, Optional, Tuple

from mlops_lib.runner.metrics import example_hashes
from mlops_lib.runner.search.request import FitCall, SearchRequest

SPLIT_SHARE = 0.1
SPLIT_LEAST = 200
"""The smallest size of a split, as long as that is no more than a quarter of the examples."""
SPLIT_MOST = 5000
FEWEST = 20
"""The smallest number of examples that can select."""
LARGEST_BYTES = 1 << 30
"""A pipeline larger than this is not copied into memory."""


class RefusedError(Exception):
    """The search cannot be honest, or cannot be done, on this data.

    The message gives the reason.
    """


@dataclass
class Selected:
    """The selection examples and the training data of a search."""

    kind: str
    """disjoint, half, split or contaminated."""
    x: Any
    y: Any
    weight: Any
    """The selection examples as arrays, or structures of them; `y` and `weight` may be None."""
    training: Dict[str, Any]
    """The data arguments of a trial's `fit`."""
    everything: Optional[Dict[str, Any]] = None
    """The data arguments of the last training on all examples; None unless a split was taken."""
    hashes: FrozenSet[bytes] = frozenset()
    count: int = 0
    notes: List[str] = field(default_factory=list)

    @property
    def is_split(self) -> bool:
        """Return whether the selection examples were split off the training data."""
        return self.everything is not None


def choose(call: FitCall, request: SearchRequest) -> Selected:
    """Return the examples to search with.

    Raises:
        RefusedError: the data can be read only once, or none of it can be held back.
    """
    arguments = call.arguments
    x = arguments.get("x")
    # A generator that the fit has used up has nothing left for a trial.
    one_shot = read_once(x)
    if one_shot and not (
        arguments.get("steps_per_epoch") and arguments.get("validation_data") is not None
    ):
        raise RefusedError(
            "the training data can be read only once: a trial would have nothing to train on"
        )
    training = {
        name: arguments[name]
        for name in ("x", "y", "sample_weight")
        if arguments.get(name) is not None
    }
    validation = _held_out(arguments, training)
    if validation is not None:
        selected = _from_validation(validation, training, request, call.seen)
        if selected is not None:
            if one_shot:
                selected.notes.append(
                    "the training data is a generator: each trial reads on from where the last one"
                    " stopped"
                )
            return selected
    if one_shot:
        raise RefusedError(
            "the training data can be read only once, and nothing else can be held back"
        )
    selected = _split(training, arguments, request)
    if selected.hashes & call.seen:
        selected.kind = "contaminated"
        selected.notes.append(
            "an earlier fit trained this model on the selection examples: no score of a trial is"
            " honest"
        )
    return selected


def read_once(x: Any) -> bool:
    """Return whether the data can be read only once, as a generator can."""
    indexed = hasattr(x, "__getitem__") and hasattr(x, "__len__")
    return inspect.isgenerator(x) or (hasattr(x, "__next__") and not indexed)


def _held_out(
    arguments: Dict[str, Any], training: Dict[str, Any]
) -> Optional[Tuple[Any, Any, Any]]:
    """Return the fit's validation examples as arrays, or None.

    The rows that `validation_split` takes are removed from `training`.
    """
    data = arguments.get("validation_data")
    if data is not None:
        if isinstance(data, (tuple, list)):
            x, y, *rest = (*data, None) if len(data) == 2 else data
            return as_arrays(x), as_arrays(y), as_arrays(rest[0]) if rest else None
        return _identified(data, arguments.get("validation_steps"))
    share = arguments.get("validation_split") or 0.0
    if not share:
        return None
    arrays = {name: as_arrays(value) for name, value in training.items()}
    count = length(arrays["x"])
    # The last rows, before any shuffle.
    edge = int(count * (1.0 - float(share)))  # as Keras rounds
    head = range(edge)
    tail = range(edge, count)
    training.update({name: rows(value, head) for name, value in arrays.items()})
    parts = {name: rows(value, tail) for name, value in arrays.items()}
    return parts["x"], parts.get("y"), parts.get("sample_weight")


def _identified(data: Any, steps: Optional[int]) -> Optional[Tuple[Any, Any, Any]]:
    """Return the examples of a validation pipeline, or None if they vary."""
    from mlops_lib.runner.keras.examples import Source

    try:
        arrays = in_memory(data, steps)
    except RefusedError:
        return None
    return (
        arrays
        if Source(data, steps=steps).is_same_again(example_hashes.hashes(arrays[0]))
        else None
    )


def _from_validation(
    validation: Tuple[Any, Any, Any],
    training: Dict[str, Any],
    request: SearchRequest,
    before: FrozenSet[bytes],
) -> Optional[Selected]:
    """Return the validation examples that may select, or None if too few may.

    If the gate judges on the validation data, only half of it may.
    """
    if not request.judged_digest:
        return None  # they may be the very examples that the gate judged
    hashes = example_hashes.hashes(validation[0])
    if hashes is None:
        return None
    trained_on = before.union(example_hashes.hashes(training["x"]) or [])
    usable = [i for i, name in enumerate(hashes) if name not in trained_on]
    notes = (
        []
        if len(usable) == len(hashes)
        else [f"{len(hashes) - len(usable)} validation examples are trained on, too"]
    )
    kind = "disjoint"
    if example_hashes.Examples(hashes).digest == request.judged_digest:
        kind, usable = "half", _half(hashes, usable)
    elif request.judged_hashes:
        # Examples that the gate judged must not select, or its verdict would judge the search's own
        # choice.
        apart = [i for i in usable if hashes[i] not in request.judged_hashes]
        if len(apart) < min(len(usable), max(FEWEST, len(usable) // 4)):
            kind = "half"
            apart = _half(hashes, usable)
        usable = apart
    if len(usable) < FEWEST:
        return None
    x, y, weight = (value if value is None else rows(value, usable) for value in validation)
    names = frozenset(hashes[i] for i in usable)
    return Selected(kind, x, y, weight, training, hashes=names, count=len(usable), notes=notes)


def _half(hashes: List[bytes], usable: List[int]) -> List[int]:
    """Return the same half every time: by content, equal examples together."""
    order = sorted({hashes[i] for i in usable})
    first = set(order[: len(order) // 2])
    return [i for i in usable if hashes[i] in first]


def _split(training: Dict[str, Any], arguments: Dict[str, Any], request: SearchRequest) -> Selected:
    """Return a split of the training examples, held back from all trials."""
    notes = []
    if not is_arrays(training["x"]):
        x, y, weight = in_memory(training["x"])
        notes.append(
            "the input pipeline was copied into memory: what it does at random is frozen in the"
            " trials"
        )
        training = {"x": x, "y": y, "sample_weight": weight}
    training = {name: as_arrays(value) for name, value in training.items() if value is not None}
    count = length(training["x"])
    # Enough to select by, and never more than a quarter of a small set.
    size = min(max(int(count * SPLIT_SHARE), min(SPLIT_LEAST, count // 4)), SPLIT_MOST)
    if size < FEWEST:
        raise RefusedError(
            f"{count} training examples are too few to hold some back for the selection"
        )
    selecting, rest = _draw(
        training, count, size, request.seed, in_order=arguments.get("shuffle") is False
    )
    part = {name: rows(value, selecting) for name, value in training.items()}
    trained = {name: rows(value, rest) for name, value in training.items()}
    hashes = frozenset(example_hashes.hashes(part["x"]) or [])
    return Selected(
        "split",
        part["x"],
        part.get("y"),
        part.get("sample_weight"),
        trained,
        everything=training,
        hashes=hashes,
        count=size,
        notes=notes,
    )


def _draw(
    data: Dict[str, Any], count: int, size: int, seed: int, *, in_order: bool
) -> Tuple[Any, Any]:
    """Return the rows to hold back and the rows to train on.

    Equal examples stay on one side, and classes keep their shares.
    """
    import numpy

    # A series: the latest examples select, because a model is used on later ones still.
    if in_order:
        return range(count - size, count), range(count - size)
    order = numpy.random.default_rng(seed).permutation(count)
    labels = classes(data.get("y"))
    if labels is not None:
        # Deal each class out evenly: sort by the place within the class, in units of the class's
        # size.
        place = numpy.zeros(count)
        for label in numpy.unique(labels):
            members = order[labels[order] == label]
            place[members] = (numpy.arange(len(members)) + 0.5) / len(members)
        order = order[numpy.argsort(place[order], kind="stable")]
    hashes = example_hashes.hashes(data["x"]) or [str(i).encode() for i in range(count)]
    selecting = order[:size]
    # A copy of a selecting example must not be trained on either.
    twins = {hashes[i] for i in selecting}
    rest = [i for i in sorted(order[size:]) if hashes[i] not in twins]
    return numpy.sort(selecting), numpy.asarray(rest, dtype=int)


def classes(y: Any) -> Any:
    """Return class numbers of the targets, or None if they are no classes."""
    import numpy

    if not hasattr(y, "shape") and not isinstance(y, (list, tuple)):
        return None
    try:
        labels = numpy.asarray(y)
    except ValueError:
        return None
    if (
        labels.ndim == 2
        and labels.shape[1] > 1
        and (labels.sum(axis=1) == 1).all()
        and (labels.max(axis=1) == 1).all()
    ):
        return labels.argmax(axis=1)
    if labels.ndim == 0 or labels.size != len(labels) or labels.dtype.kind not in "iufb":
        return None
    labels = labels.ravel()
    if (labels != numpy.round(labels)).any() or len(numpy.unique(labels)) > max(
        2, min(1000, len(labels) // 4)
    ):
        return None
    return labels.astype("int64")


def in_memory(
    data: Any, steps: Optional[int] = None, *, most: int = LARGEST_BYTES
) -> Tuple[Any, Any, Any]:
    """Return the examples of a finite pipeline as arrays: inputs, targets, weights.

    Args:
        data: a source of batches (tf.data, PyDataset, a loader).
        steps: the number of batches that count; all if not given.
        most: the largest size in bytes.

    Raises:
        RefusedError: the data has no end, or is too large.
    """
    import keras
    import numpy

    from mlops_lib.runner.keras.examples import Source

    source = Source(data, steps=steps)
    if not source.ends or (steps is None and getattr(data, "num_batches", 0) is None):
        raise RefusedError("the data pipeline has no end")
    parts = []
    size = 0
    for batch in source.batches():
        part = keras.tree.map_structure(numpy.asarray, batch)
        size += sum(leaf.nbytes for leaf in keras.tree.flatten(part))
        if size > most:
            raise RefusedError("the data pipeline is too large to hold a part of it in memory")
        parts.append(part)
    if not parts:
        raise RefusedError("the data pipeline is empty")
    try:
        joined = keras.tree.map_structure(lambda *leaves: numpy.concatenate(leaves), *parts)
    except ValueError as error:
        raise RefusedError(
            f"the batches of the data pipeline do not fit together: {error}"
        ) from None
    x, y, weight = (*keras.tree.map_structure(_as_text, joined), None, None)[:3]
    return x, y, weight


def _is_text(value: Any) -> bool:
    """Return whether this is a tensor of strings.

    Keras does not accept it as an array of objects.
    """
    return str(getattr(value, "dtype", "")) == "<dtype: 'string'>"


def _as_text(array: Any) -> Any:
    if array.dtype != object:
        return array
    import tensorflow

    return tensorflow.convert_to_tensor(array)


def is_arrays(x: Any) -> bool:
    """Return whether rows can be indexed: an array, a data frame, or a structure."""
    if isinstance(x, dict):
        return all(is_arrays(value) for value in x.values())
    if isinstance(x, (list, tuple)):
        return True
    return hasattr(x, "shape") and hasattr(x, "__len__")


def as_arrays(value: Any) -> Any:
    """Return a structure of arrays that can be indexed by rows."""
    import numpy

    if (
        value is None
        or isinstance(value, numpy.ndarray)
        or hasattr(value, "iloc")
        or _is_text(value)
    ):
        return value
    if isinstance(value, dict):
        return {name: as_arrays(part) for name, part in value.items()}
    if isinstance(value, (list, tuple)) and value and hasattr(value[0], "shape"):
        return type(value)(as_arrays(part) for part in value)
    return numpy.asarray(value)


def rows(value: Any, index: Any) -> Any:
    """Return the examples `index` of an array, a data frame, or a structure of them."""
    import numpy

    if isinstance(value, dict):
        return {name: rows(part, index) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(rows(part, index) for part in value)
    if _is_text(value):
        import tensorflow

        return tensorflow.gather(value, numpy.asarray(index, dtype=int))
    where = (
        slice(index.start, index.stop)
        if isinstance(index, range)
        else numpy.asarray(index, dtype=int)
    )
    return value.iloc[where] if hasattr(value, "iloc") else value[where]


def length(x: Any) -> int:
    """Return the number of examples."""
    if isinstance(x, dict):
        return length(next(iter(x.values())))
    if isinstance(x, (list, tuple)):
        return length(x[0])
    return len(x)
