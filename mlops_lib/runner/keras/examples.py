"""The examples that a script passes to Keras, each identified by its hash.

Arrays are hashed directly. Sources of batches (tf.data, a PyDataset, an image generator over
folders, a loader, a Python generator) are read through Keras' own adapter while they are evaluated,
and the content of each example is hashed on the way: the metric and the hashes come from the same
reading, in whatever order the examples are read.
"""

import inspect
import itertools
import sys
import warnings
from typing import Any, Callable, Dict, FrozenSet, Iterator, List, NamedTuple, Optional, Tuple

from mlops_lib.runner.metrics import example_hashes
from mlops_lib.runner.search import examples as rows_of

HELD_BYTES = 256 << 20
"""Judged examples of a pipeline are held in memory up to this size, to compare two models on them.
"""
READ_BYTES = 4 << 30
"""A training pipeline is read up to this size, to compare it with the judged examples."""
TARGET_BYTES = 64 << 20
"""Targets are kept up to this size, for the baseline."""
CONFIRMED = 2000
"""The number of examples of a second reading that show whether a pipeline repeats itself."""
NONE: FrozenSet[bytes] = frozenset()

Batch = Tuple[Any, ...]


class Reading(NamedTuple):
    """The result of one evaluation, and its examples."""

    logs: Dict[str, float]
    names: Optional[List[bytes]]
    """The hash of each example in the order of evaluation; None if they cannot be identified."""
    targets: Any
    """Their targets; None if there are too many, or the model has several outputs."""


class Source:
    """Examples with targets and weights: arrays, or a source of batches.

    Args:
        x: the input, or a source of batches.
        y: its targets.
        weight: its sample weights.
        batch_size: the batch size of arrays.
        steps: the number of batches that count.
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
        """Return whether single examples can be indexed."""
        return self.y is not None or rows_of.is_arrays(self.x)

    @property
    def ends(self) -> bool:
        """Return whether reading it comes to an end."""
        if self.is_arrays or self.steps is not None:
            return True
        if hasattr(self.x, "cardinality"):
            return int(self.x.cardinality()) != -1
        return not inspect.isgenerator(self.x) and (
            hasattr(self.x, "__len__") or not hasattr(self.x, "__next__")
        )

    def batches(self) -> Iterator[Batch]:
        """Yield a pipeline's batches as arrays: inputs and, if given, targets and weights."""
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
        """Return the hash of every example of arrays, in order; None for a pipeline."""
        if not self.is_arrays:
            return None
        hashes = example_hashes.hashes(self.x)
        if hashes is None or self.steps is None:
            return hashes
        return hashes[: self.steps * int(self.batch_size or 32)]

    def is_same_again(self, names: Optional[List[bytes]]) -> bool:
        """Return whether another reading gives examples of the same set.

        Only the beginning of a long pipeline is read. If examples are augmented, drawn anew or cut
        elsewhere each time, their hashes differ at once; two readings then have no identifiable
        examples in common.
        """
        if names is None or self.is_arrays:
            return names is not None
        first = frozenset(names)
        second = Rest(self, NONE)
        for _ in second:
            if not second.is_named or not first.issuperset(second.names):
                return False
            if len(second.names) >= CONFIRMED:
                return True
        return bool(second.names)

    def without(self, left_out: FrozenSet[bytes]) -> "Source":
        """Return the source of all other examples."""
        if not left_out:
            return self
        if not self.is_arrays:
            return Source(Rest(self, left_out))
        index = [i for i, name in enumerate(self.names() or ()) if name not in left_out]
        x, y, weight = (_rows(value, index) for value in (self.x, self.y, self.weight))
        return Source(x, y, weight, batch_size=self.batch_size)

    def in_memory(self) -> "Source":
        """Return a pipeline's examples as arrays, or the source itself if it is too large.

        The arrays are in the order of one reading.
        """
        if self.is_arrays:
            return self
        batches = self.x if isinstance(self.x, Rest) else Rest(self, NONE)
        try:
            x, y, weight = rows_of.in_memory(batches, most=HELD_BYTES)
        except (rows_of.RefusedError, ImportError, AttributeError, TypeError, ValueError):
            return self
        if y is None or not batches.is_named:
            return self
        return Source(x, y, weight, batch_size=batches.batch_size)

    def arrays(self) -> Optional[Tuple[Any, Any]]:
        """Return the examples and their targets, or None if the data has no end.

        For a pipeline the first value yields both, and the second is None.
        """
        if not self.ends:
            return None
        if self.is_arrays or isinstance(self.x, Rest):
            return self.x, self.y
        return Rest(self, NONE), None

    def evaluate(self, model: Any) -> Reading:
        """Evaluate a model on all examples.

        Raises:
            Exception: any error of the model or the data.
        """
        if self.is_arrays:
            return Reading(self._plain(model), self.names(), self.y)
        batches = self.x if isinstance(self.x, Rest) else Rest(self, NONE)
        try:
            with warnings.catch_warnings():
                # A generator does not declare its length, so Keras warns at its end.
                warnings.filterwarnings("ignore", message="Your input ran out of data")
                logs = model.evaluate(iter(batches), verbose=0, return_dict=True)
        # Keras takes no generator of batches of varying shape: evaluate the script's own data.
        except Exception:
            if batches.left_out:
                raise
            return Reading(self._plain(model), None, None)
        return Reading(logs, batches.names if batches.is_named else None, batches.targets())

    def _plain(self, model: Any) -> Dict[str, float]:
        optional = {
            "steps": self.steps,
            "sample_weight": self.weight,
            "batch_size": self.batch_size,
        }
        arguments = {name: value for name, value in optional.items() if value is not None}
        return dict(model.evaluate(self.x, self.y, verbose=0, return_dict=True, **arguments))


class Rest:
    """The batches of a pipeline without some examples.

    After a reading it has the hashes of the examples that it gave.
    """

    def __init__(self, source: Source, left_out: FrozenSet[bytes]) -> None:
        self.source = source
        self.left_out = left_out
        self.names: List[bytes] = []
        self.is_named = True
        self.batch_size: Optional[int] = None
        """The size of the first batch."""
        self._targets: Optional[List[Any]] = []
        self._bytes = 0

    def __iter__(self) -> Iterator[Batch]:
        self.names = []
        self.is_named = True
        self._targets = []
        self._bytes = 0
        for batch in self.source.batches():
            hashes = example_hashes.hashes(batch[0])
            if hashes is None:
                self.is_named = False
                yield batch
                continue
            self.batch_size = self.batch_size or len(hashes)
            index = [i for i, name in enumerate(hashes) if name not in self.left_out]
            if not index:
                continue
            self.names += [hashes[i] for i in index]
            if len(index) < len(hashes):
                batch = tuple(_rows(value, index) for value in batch)
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
        """Return the targets of the last reading as one array; None if not recorded."""
        import numpy

        if not self._targets or any(part.ndim != self._targets[0].ndim for part in self._targets):
            return None
        try:
            return numpy.concatenate(self._targets)
        except ValueError:  # of varying shape
            return None


def read_names(x: Any) -> Optional[List[bytes]]:
    """Return the hash of every example of an input, in order, or None.

    A pipeline is read once. None if examples cannot be identified.
    """
    if x is None or inspect.isgenerator(x):
        return None
    source = Source(x)
    if source.is_arrays:
        return source.names()
    if not source.ends or not (hasattr(x, "__iter__") or hasattr(x, "__getitem__")):
        return None
    batches = Rest(source, NONE)
    for _ in batches:
        pass
    return batches.names if batches.is_named else None


def reader(x: Any, steps: Any) -> Optional[Callable[[], Optional[example_hashes.Examples]]]:
    """Return a function that hashes the examples of an epoch, or None.

    None if the data is arrays, or has no end.
    """
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
    """Return the validation examples of a `fit` with these arguments, or None.

    None if it has none, or they cannot be identified.
    """
    validation = call.get("validation_data")
    size = call.get("validation_batch_size") or call.get("batch_size")
    steps = call.get("validation_steps")
    if isinstance(validation, (tuple, list)):
        if len(validation) not in (2, 3):
            return None
        return Source(*validation[:3], batch_size=size, steps=steps)
    if validation is not None:
        return Source(validation, steps=steps)
    x: Any = call.get("x")
    y: Any = call.get("y")
    share = call.get("validation_split") or 0.0
    if not share or not (hasattr(x, "shape") and hasattr(y, "shape")):
        return None
    first = first_validation_row(x, share)
    weight = call.get("sample_weight")
    return Source(x[first:], y[first:], None if weight is None else weight[first:], batch_size=size)


def first_validation_row(x: Any, share: float) -> int:
    """Return the first row that `validation_split` takes from an array.

    The rounding is Keras' (keras/src/trainers/data_adapters/array_slicing.py).
    """
    return int(len(x) * (1.0 - share))


def _rows(value: Any, index: List[int]) -> Any:
    return None if value is None else rows_of.rows(rows_of.as_arrays(value), index)


def _plain_batches(x: Any) -> Iterator[Any]:
    """Return the batches of data that only the legacy Keras reads."""
    if hasattr(x, "as_numpy_iterator"):
        return iter(x.as_numpy_iterator())
    if hasattr(x, "__getitem__") and hasattr(x, "__len__"):
        return (x[i] for i in range(len(x)))
    return iter(x)
