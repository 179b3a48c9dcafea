"""The examples that a script gives to Keras, read so that each of them has a name.

Arrays are named as they are. What yields batches (tf.data, a PyDataset, an image generator over
folders, a loader, a Python generator) is read through Keras' own adapter while it is evaluated, and
the content of each example is hashed on the way: the number and the names come from the same
reading, whatever order the examples come in.
"""

import inspect
import itertools
import sys
import warnings
from typing import Any, Callable, Dict, FrozenSet, Iterator, List, NamedTuple, Optional, Tuple

from mlops_lib.runner.metrics import example_hashes
from mlops_lib.runner.search import examples as rows_of

HELD_BYTES = 256 << 20
"""Judged examples of a pipeline are held in memory up to this size, so that two models can be
compared on them.
"""
READ_BYTES = 4 << 30
"""A training pipeline is read so far, to be compared with the judged examples."""
TARGET_BYTES = 64 << 20
"""Targets are kept up to this size, for the baseline."""
CONFIRMED = 2000
"""So many examples of a second reading tell whether a pipeline gives the same ones every time."""
NONE: FrozenSet[bytes] = frozenset()

Batch = Tuple[Any, ...]


class Reading(NamedTuple):
    """What one evaluation gave, and on which examples."""

    logs: Dict[str, float]
    names: Optional[List[bytes]]
    """The hash of each example, in the order in which they were measured; None if they cannot be
    named.
    """
    targets: Any
    """Their targets; None if there are too many, or the model has several outputs."""


class Source:
    """Examples with targets and weights: arrays, or something that yields batches of them.

    Args:
        x: the input, or what yields batches.
        y: its targets.
        weight: its sample weights.
        batch_size: of arrays.
        steps: how many batches count.
    """

    def __init__(
        self,
        x: Any,
        y: Any = None,
        weight: Any = None,
        *,
        batch_size: Any = None,
        steps: Any = None,
    ) -> None:
        self.x = x
        self.y = y
        self.weight = weight
        self.batch_size = batch_size
        self.steps = None if steps is None else int(steps)

    @property
    def is_arrays(self) -> bool:
        """Whether single examples can be picked."""
        return self.y is not None or rows_of.is_arrays(self.x)

    @property
    def ends(self) -> bool:
        """Whether reading it comes to an end."""
        if self.is_arrays or self.steps is not None:
            return True
        if hasattr(self.x, "cardinality"):
            return int(self.x.cardinality()) != -1
        return not inspect.isgenerator(self.x) and (
            hasattr(self.x, "__len__") or not hasattr(self.x, "__next__")
        )

    def batches(self) -> Iterator[Batch]:
        """Read the examples of a pipeline as batches of arrays: inputs, targets and weights, as
        many as it gives.
        """
        if isinstance(self.x, Rest):
            yield from self.x
            return
        adapters = sys.modules.get("keras.src.trainers.data_adapters")
        if adapters is None:
            for batch in itertools.islice(_plain_batches(self.x), self.steps):
                yield tuple(batch) if isinstance(batch, (tuple, list)) else (batch,)
            return
        adapter = adapters.get_data_adapter(x=self.x, steps_per_epoch=self.steps)
        adapter.on_epoch_begin()
        try:
            for batch in itertools.islice(adapter.get_numpy_iterator(), self.steps):
                yield tuple(batch) if isinstance(batch, (tuple, list)) else (batch,)
        finally:
            adapter.on_epoch_end()

    def names(self) -> Optional[List[bytes]]:
        """The hash of every example of arrays, in order; None for a pipeline."""
        if not self.is_arrays:
            return None
        listed = example_hashes.hashes(self.x)
        if listed is None or self.steps is None:
            return listed
        return listed[: self.steps * int(self.batch_size or 32)]

    def is_same_again(self, names: Optional[List[bytes]]) -> bool:
        """Return whether another reading gives examples of the same set; of a long pipeline its
        beginning is read.

        What is augmented, drawn anew, or cut elsewhere each time gives others at once, and then no
        name says which examples two readings have in common.
        """
        if names is None or self.is_arrays:
            return names is not None
        known = frozenset(names)
        read = Rest(self, NONE)
        for _ in read:
            if not read.is_named or not known.issuperset(read.names):
                return False
            if len(read.names) >= CONFIRMED:
                return True
        return bool(read.names)

    def without(self, left_out: FrozenSet[bytes]) -> "Source":
        """Return the source of all other examples."""
        if not left_out:
            return self
        if not self.is_arrays:
            return Source(Rest(self, left_out))
        kept = [i for i, name in enumerate(self.names() or ()) if name not in left_out]
        x, y, weight = (_rows(value, kept) for value in (self.x, self.y, self.weight))
        return Source(x, y, weight, batch_size=self.batch_size)

    def in_memory(self) -> "Source":
        """Return the examples of a pipeline as arrays in the order of one reading; as they are if
        they are too many.
        """
        if self.is_arrays:
            return self
        read = self.x if isinstance(self.x, Rest) else Rest(self, NONE)
        try:
            x, y, weight = rows_of.in_memory(read, most=HELD_BYTES)
        except (rows_of.RefusedError, ImportError, AttributeError, TypeError, ValueError):
            return self
        if y is None or not read.is_named:
            return self
        return Source(x, y, weight, batch_size=read.batch_size)

    def asked(self) -> Optional[Tuple[Any, Any]]:
        """Return the examples and their targets, or what yields both and None; None if it has no
        end.
        """
        if not self.ends:
            return None
        if self.is_arrays or isinstance(self.x, Rest):
            return self.x, self.y
        return Rest(self, NONE), None

    def evaluate(self, model: Any) -> Reading:
        """Measure a model on all examples.

        Raises:
            Exception: whatever the model or the data raises.
        """
        if self.is_arrays:
            return Reading(self._plain(model), self.names(), self.y)
        read = self.x if isinstance(self.x, Rest) else Rest(self, NONE)
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings(
                    "ignore", message="Your input ran out of data"
                )  # it does not say how much it has
                logs = model.evaluate(iter(read), verbose=0, return_dict=True)
        # Keras takes no generator of such batches (of varying shape): as the script gave them, then
        except Exception:
            if read.left_out:
                raise
            return Reading(self._plain(model), None, None)
        return Reading(logs, read.names if read.is_named else None, read.targets())

    def _plain(self, model: Any) -> Dict[str, float]:
        more = {"steps": self.steps, "sample_weight": self.weight, "batch_size": self.batch_size}
        given = {name: value for name, value in more.items() if value is not None}
        return dict(model.evaluate(self.x, self.y, verbose=0, return_dict=True, **given))


class Rest:
    """The batches of a pipeline without some examples, and after a reading the names of those that
    it gave.
    """

    def __init__(self, source: Source, left_out: FrozenSet[bytes]) -> None:
        self.source = source
        self.left_out = left_out
        self.names: List[bytes] = []
        self.is_named = True
        self.batch_size: Optional[int] = None
        """Of the first batch."""
        self._targets: Optional[List[Any]] = []
        self._bytes = 0

    def __iter__(self) -> Iterator[Batch]:
        self.names = []
        self.is_named = True
        self._targets = []
        self._bytes = 0
        for batch in self.source.batches():
            listed = example_hashes.hashes(batch[0])
            if listed is None:
                self.is_named = False
                yield batch
                continue
            self.batch_size = self.batch_size or len(listed)
            kept = [i for i, name in enumerate(listed) if name not in self.left_out]
            if not kept:
                continue
            self.names += [listed[i] for i in kept]
            if len(kept) < len(listed):
                batch = tuple(_rows(value, kept) for value in batch)
            self._keep_targets(batch)
            yield batch

    def _keep_targets(self, batch: Batch) -> None:
        if len(batch) < 2 or not hasattr(batch[1], "nbytes") or self._targets is None:
            self._targets = None
            return
        self._bytes += batch[1].nbytes
        self._targets.append(batch[1])
        if self._bytes > TARGET_BYTES:
            self._targets = None

    def targets(self) -> Any:
        """The targets that the last reading gave, as one array; None if they were not kept."""
        import numpy

        if not self._targets or any(part.ndim != self._targets[0].ndim for part in self._targets):
            return None
        try:
            return numpy.concatenate(self._targets)
        except ValueError:  # of varying shape
            return None


def read_names(x: Any) -> Optional[List[bytes]]:
    """Return the hash of every example of an input in its order, reading a pipeline once; None if
    they have no names.
    """
    if x is None or inspect.isgenerator(x):
        return None
    source = Source(x)
    if source.is_arrays:
        return source.names()
    if not source.ends or not (hasattr(x, "__iter__") or hasattr(x, "__getitem__")):
        return None
    read = Rest(source, NONE)
    for _ in read:
        pass
    return read.names if read.is_named else None


def reader(x: Any, steps: Any) -> Optional[Callable[[], Optional[example_hashes.Examples]]]:
    """Return what names the examples of one epoch of a training pipeline; None if nothing can."""
    source = Source(x, steps=steps)
    if x is None or source.is_arrays or not source.ends:
        return None

    def read() -> Optional[example_hashes.Examples]:
        examples = Rest(source, NONE)
        size = 0
        for batch in examples:
            size += int(getattr(batch[0], "nbytes", 0))
            if not examples.is_named or size > READ_BYTES:
                return None
        return example_hashes.Examples(examples.names)

    return read


def of_validation(call: Dict[str, Any]) -> Optional[Source]:
    """Return the validation examples of a `fit` with these arguments; None if it has none, or Keras
    takes others.
    """
    given = call.get("validation_data")
    size = call.get("validation_batch_size") or call.get("batch_size")
    steps = call.get("validation_steps")
    if isinstance(given, (tuple, list)):
        return Source(*given[:3], batch_size=size, steps=steps) if len(given) in (2, 3) else None
    if given is not None:
        return Source(given, steps=steps)
    x: Any = call.get("x")
    y: Any = call.get("y")
    share = call.get("validation_split") or 0.0
    if not share or not (hasattr(x, "shape") and hasattr(y, "shape")):
        return None
    first = first_validation_row(x, share)
    weight = call.get("sample_weight")
    return Source(x[first:], y[first:], None if weight is None else weight[first:], batch_size=size)


def first_validation_row(x: Any, share: float) -> int:
    """Where Keras cuts an array for `validation_split`
    (keras/src/trainers/data_adapters/array_slicing.py).
    """
    return int(len(x) * (1.0 - share))


def _rows(value: Any, kept: List[int]) -> Any:
    return None if value is None else rows_of.rows(rows_of.as_arrays(value), kept)


def _plain_batches(x: Any) -> Iterator[Any]:
    """The batches of what legacy Keras reads."""
    if hasattr(x, "as_numpy_iterator"):
        return iter(x.as_numpy_iterator())
    if hasattr(x, "__getitem__") and hasattr(x, "__len__"):
        return (x[i] for i in range(len(x)))
    return iter(x)
