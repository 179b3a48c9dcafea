"""Which examples the search selects on, and which its trials train on.

The examples a trial is scored on are ones that no inherited weight has seen and that the gate does
not judge, in this order: the fit's own validation data; half of it, where the gate judges it; else
a split of the
    training data, taken before
trial 0 is trained again.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass, field
from typing import Any, Dict, FrozenSet, List, Optional, Tuple

from mlops_lib.runner.metrics import example_hashes
from mlops_lib.runner.search.request import FitCall, SearchRequest

SPLIT_SHARE = 0.1
SPLIT_LEAST = 200
"""A split has at least so many examples, where that is no more than a quarter of them."""
SPLIT_MOST = 5000
FEWEST = 20
"""Fewer examples than this select nothing."""
LARGEST_BYTES = 1 << 30
"""A pipeline larger than this is not copied into memory."""


class RefusedError(Exception):
    """The search cannot be honest, or cannot be done, on this data; the message says why."""


@dataclass
class Selected:
    """The examples of a search."""

    kind: str
    """disjoint, half, split or contaminated."""
    x: Any
    y: Any
    weight: Any
    """What the score is measured on, as arrays (or a structure of them); `y` and `weight` may be
    None.
    """
    training: Dict[str, Any]
    """The data arguments of a trial's `fit`."""
    everything: Optional[Dict[str, Any]] = None
    """The data arguments of the last training on all examples; None unless a split was taken."""
    hashes: FrozenSet[bytes] = frozenset()
    count: int = 0
    notes: List[str] = field(default_factory=list)

    @property
    def is_split(self) -> bool:
        """Whether the selection examples were split off the script's own training data."""
        return self.everything is not None


def choose(call: FitCall, request: SearchRequest) -> Selected:
    """The examples to search with.

    Raises:
        RefusedError: the data can be read only once, or none of it can be held back.
    """
    given = call.arguments
    x = given.get("x")
    one_shot = read_once(x)
    if one_shot and not (given.get("steps_per_epoch") and given.get("validation_data") is not None):
        raise RefusedError(
            "the training data can be read only once: a trial would have nothing to train on"
        )
    training = {
        name: given[name] for name in ("x", "y", "sample_weight") if given.get(name) is not None
    }
    held = _held_out(given, training)
    if held is not None:
        chosen = _from_validation(held, training, request, call.seen)
        if chosen is not None:
            if one_shot:
                chosen.notes.append(
                    "the training data is a generator: each trial reads on where the last one stopped"
                )
            return chosen
    if one_shot:
        raise RefusedError(
            "the training data can be read only once, and nothing else can be held back"
        )
    chosen = _split(training, given, request)
    if chosen.hashes & call.seen:
        chosen.kind = "contaminated"
        chosen.notes.append(
            "an earlier fit trained this model on the selection examples: no score of a trial is honest"
        )
    return chosen


def read_once(x: Any) -> bool:
    """Whether the data is gone when it was read: a generator or an iterator that cannot be indexed."""
    indexed = hasattr(x, "__getitem__") and hasattr(x, "__len__")
    return inspect.isgenerator(x) or (hasattr(x, "__next__") and not indexed)


def _held_out(given: Dict[str, Any], training: Dict[str, Any]) -> Optional[Tuple[Any, Any, Any]]:
    """The fit's validation examples as arrays; takes the tail that `validation_split` names out of
    `training`.
    """
    data = given.get("validation_data")
    if data is not None:
        if isinstance(data, (tuple, list)):
            x, y, *rest = (*data, None) if len(data) == 2 else data
            return as_arrays(x), as_arrays(y), as_arrays(rest[0]) if rest else None
        return _identified(data, given.get("validation_steps"))
    share = given.get("validation_split") or 0.0
    if not share:
        return None
    whole = {name: as_arrays(value) for name, value in training.items()}
    count = length(whole["x"])
    edge = int(count * (1.0 - float(share)))  # as Keras rounds
    head = range(edge)
    tail = range(edge, count)
    training.update({name: rows(value, head) for name, value in whole.items()})
    parts = {name: rows(value, tail) for name, value in whole.items()}
    return parts["x"], parts.get("y"), parts.get("sample_weight")


def _identified(data: Any, steps: Optional[int]) -> Optional[Tuple[Any, Any, Any]]:
    """The examples of a validation pipeline; None if two readings of it do not give the same ones."""
    from mlops_lib.runner.keras.examples import Source

    try:
        held = in_memory(data, steps)
    except RefusedError:
        return None
    return held if Source(data, steps=steps).is_same_again(example_hashes.hashes(held[0])) else None


def _from_validation(
    held: Tuple[Any, Any, Any],
    training: Dict[str, Any],
    request: SearchRequest,
    before: FrozenSet[bytes],
) -> Optional[Selected]:
    """The validation examples, or the half of them that the gate leaves to the search; None where
    they will not do.
    """
    if not request.judged_digest:
        return None  # They may be the very examples that the gate judged: nobody knows.
    hashes = example_hashes.hashes(held[0])
    if hashes is None:
        return None
    seen = before.union(example_hashes.hashes(training["x"]) or [])
    usable = [i for i, one in enumerate(hashes) if one not in seen]
    notes = (
        []
        if len(usable) == len(hashes)
        else [f"{len(hashes) - len(usable)} validation examples are trained on, too"]
    )
    kind = "disjoint"
    if example_hashes.Examples(hashes).digest == request.judged_digest:
        kind, usable = "half", _half(hashes, usable)
    elif request.judged_hashes:
        apart = [i for i in usable if hashes[i] not in request.judged_hashes]
        if len(apart) < min(len(usable), max(FEWEST, len(usable) // 4)):
            kind = "half"
            apart = _half(hashes, usable)
        usable = apart
    if len(usable) < FEWEST:
        return None
    x, y, weight = (value if value is None else rows(value, usable) for value in held)
    kept = frozenset(hashes[i] for i in usable)
    return Selected(kind, x, y, weight, training, hashes=kept, count=len(usable), notes=notes)


def _half(hashes: List[bytes], usable: List[int]) -> List[int]:
    """The same half every time: examples by content, equal ones together."""
    order = sorted({hashes[i] for i in usable})
    first = set(order[: len(order) // 2])
    return [i for i in usable if hashes[i] in first]


def _split(training: Dict[str, Any], given: Dict[str, Any], request: SearchRequest) -> Selected:
    """A part of the training examples, held back from trial 0 and all others."""
    notes = []
    if not is_arrays(training["x"]):
        x, y, weight = in_memory(training["x"])
        notes.append(
            "the input pipeline was copied into memory: what it does at random is frozen in the trials"
        )
        training = {"x": x, "y": y, "sample_weight": weight}
    training = {name: as_arrays(value) for name, value in training.items() if value is not None}
    count = length(training["x"])
    size = min(max(int(count * SPLIT_SHARE), min(SPLIT_LEAST, count // 4)), SPLIT_MOST)
    if size < FEWEST:
        raise RefusedError(
            f"{count} training examples are too few to hold some back for the selection"
        )
    held, kept = _draw(training, count, size, request.seed, in_order=given.get("shuffle") is False)
    part = {name: rows(value, held) for name, value in training.items()}
    rest = {name: rows(value, kept) for name, value in training.items()}
    hashes = frozenset(example_hashes.hashes(part["x"]) or [])
    return Selected(
        "split",
        part["x"],
        part.get("y"),
        part.get("sample_weight"),
        rest,
        everything=training,
        hashes=hashes,
        count=size,
        notes=notes,
    )


def _draw(
    data: Dict[str, Any], count: int, size: int, seed: int, *, in_order: bool
) -> Tuple[Any, Any]:
    """Rows to hold back and rows to keep; equal examples stay on one side, classes keep their
    shares.
    """
    import numpy

    if in_order:
        return range(count - size, count), range(count - size)
    order = numpy.random.default_rng(seed).permutation(count)
    labels = classes(data.get("y"))
    if labels is not None:
        # Deal each class out evenly: sort by the place within the class, in units of the class's
        # size.
        place = numpy.zeros(count)
        for one in numpy.unique(labels):
            members = order[labels[order] == one]
            place[members] = (numpy.arange(len(members)) + 0.5) / len(members)
        order = order[numpy.argsort(place[order], kind="stable")]
    hashes = example_hashes.hashes(data["x"]) or [str(i).encode() for i in range(count)]
    held = order[:size]
    twins = {hashes[i] for i in held}
    kept = [i for i in sorted(order[size:]) if hashes[i] not in twins]
    return numpy.sort(held), numpy.asarray(kept, dtype=int)


def classes(y: Any) -> Any:
    """Class numbers of the targets, None where they are no classes."""
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
    """The examples of a finite pipeline (tf.data, PyDataset, a loader) as arrays: inputs, targets,
    weights.

    Args:
        data: what yields batches.
        steps: how many of them count; all that there are if not given.
        most: how many bytes are too many.

    Raises:
        RefusedError: it has no end, or is too large.
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
        whole = keras.tree.map_structure(lambda *leaves: numpy.concatenate(leaves), *parts)
    except ValueError as error:
        raise RefusedError(
            f"the batches of the data pipeline do not fit together: {error}"
        ) from None
    x, y, weight = (*keras.tree.map_structure(_as_text, whole), None, None)[:3]
    return x, y, weight


def _is_text(value: Any) -> bool:
    """A tensor of strings: as an array of objects, Keras would not take it."""
    return str(getattr(value, "dtype", "")) == "<dtype: 'string'>"


def _as_text(array: Any) -> Any:
    if array.dtype != object:
        return array
    import tensorflow

    return tensorflow.convert_to_tensor(array)


def is_arrays(x: Any) -> bool:
    """Whether these are rows that can be picked: an array, a data frame, or a structure of them."""
    if isinstance(x, dict):
        return all(is_arrays(value) for value in x.values())
    if isinstance(x, (list, tuple)):
        return True
    return hasattr(x, "shape") and hasattr(x, "__len__")


def as_arrays(value: Any) -> Any:
    """A structure of arrays that can be indexed by rows."""
    import numpy

    if (
        value is None
        or isinstance(value, numpy.ndarray)
        or hasattr(value, "iloc")
        or _is_text(value)
    ):
        return value
    if isinstance(value, dict):
        return {name: as_arrays(one) for name, one in value.items()}
    if isinstance(value, (list, tuple)) and value and hasattr(value[0], "shape"):
        return type(value)(as_arrays(one) for one in value)
    return numpy.asarray(value)


def rows(value: Any, index: Any) -> Any:
    """The examples `index` of an array, a data frame, or a structure of them."""
    import numpy

    if isinstance(value, dict):
        return {name: rows(one, index) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(rows(one, index) for one in value)
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
    """The number of examples."""
    if isinstance(x, dict):
        return length(next(iter(x.values())))
    if isinstance(x, (list, tuple)):
        return length(x[0])
    return len(x)
