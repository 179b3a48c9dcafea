"""The order of a fit's data: capture the positions of its iterators, restore them.

Three kinds of data have three kinds of order.

*Arrays*: Keras shuffles them with a stateful operation whose state starts again with each iterator.
Under a global seed every epoch gets the same order; without one the order cannot be repeated. If
the script sets no seed itself, the order of each epoch is therefore drawn from the run's seed and
the epoch's number.

*`tf.data`*: a pipeline with its own shuffle draws a new order for every iterator that is created,
by Keras or by the script. The iterators of each data set are counted, and as many are created again
after a restart.

*Python* (a PyDataset, a generator, `from_generator`; arrays too if Keras computes with JAX or
PyTorch): the order is in its attributes and in the process's random state. The elements that an
unfinished iterator had given are read again, from the random state in which it began.
"""

import collections
import contextlib
import functools
import inspect
import itertools
import sys
from typing import Any, Callable, Dict, Iterator, List, Tuple

from mlops_lib.runner.state import objects, rng

CREATED = "_mlops_made"
"""Attribute of a data set: the number of its iterators so far."""
INFINITE = -1
"""The cardinality of a data set that never ends."""
FILLED = "_mlops_filled"
"""Attribute of a cache in a pipeline: all of it was read."""
ORIGIN = "_mlops_whose"
"""Attribute of a data set that Keras derived: the script's own data set."""
STATEFUL_RANDOM = (
    "Random",
    "TruncatedNormal",
    "ParameterizedTruncatedNormal",
    "Multinomial",
    "StatefulUniform",
    "StatefulStandard",
)
"""Prefixes of TensorFlow's operations that draw from a state of their own
(random_ops.cc, stateful_random_ops.cc).
"""


def count_iterators(dataset_class: Any) -> None:
    """Count the iterators of every `tf.data.Dataset` from now on."""
    original = dataset_class.__iter__

    @functools.wraps(original)
    def __iter__(self: Any) -> Any:  # noqa: N807 - the method it replaces
        # Keras wraps the script's data set in further stages, and it is the wrapper that gets
        # iterated. Only the script's own data set is there again, under the same name, after a
        # restart.
        owner = self.__dict__.get(ORIGIN, self)
        owner.__dict__[CREATED] = owner.__dict__.get(CREATED, 0) + 1
        return original(self)

    dataset_class.__iter__ = __iter__


def iterators_created(dataset: Any) -> int:
    """Return the number of iterators of a data set so far."""
    return int(dataset.__dict__.get(CREATED, 0))


def is_dataset(data: Any) -> bool:
    """Return whether this is a `tf.data.Dataset`."""
    return (
        hasattr(data, "element_spec") and hasattr(data, "cardinality") and hasattr(data, "__dict__")
    )


def is_stateful(data: Any) -> bool:
    """Return whether this is a PyDataset or Sequence, with its order in attributes."""
    return hasattr(data, "__getitem__") and hasattr(data, "on_epoch_end")


def stages(dataset: Any) -> Iterator[Any]:
    """Yield the stages of a `tf.data` pipeline, the last first."""
    pending: List[Any] = [dataset] if is_dataset(dataset) else []
    # By identity: `zip` and `concatenate` may reach one stage by several ways, and data sets do not
    # compare.
    visited: "set[int]" = set()
    while pending:
        stage = pending.pop()
        if id(stage) not in visited:
            visited.add(id(stage))
            yield stage
            # `_inputs` is a method of TensorFlow's own classes; a data set without it is a source.
            pending += list(getattr(stage, "_inputs", list)())


def functions(dataset: Any) -> Iterator[Any]:
    """Yield the functions that the stages of a pipeline call."""
    for stage in stages(dataset):
        yield from functions_of(stage)


def functions_of(stage: Any) -> Iterator[Any]:
    """Yield the functions that one stage calls."""
    for wrapper in getattr(stage, "_functions", list)():
        function = getattr(wrapper, "function", None)
        if function is not None:
            yield function


def shuffles(dataset: Any) -> bool:
    """Return whether a pipeline shuffles and repeats without end."""
    kinds = {type(stage).__name__ for stage in stages(dataset)}
    return int(dataset.cardinality()) == INFINITE and any("Shuffle" in kind for kind in kinds)


def runs_python(dataset: Any) -> bool:
    """Return whether a pipeline calls Python code, whose state it cannot capture."""
    return any(type(stage).__name__ == "_GeneratorDataset" for stage in stages(dataset)) or any(
        "PyFunc" in operation.type
        for function in functions(dataset)
        for operation in function.graph.get_operations()
    )


def has_racing_randomness(dataset: Any) -> bool:
    """Return whether several threads of a pipeline draw from one random state.

    The order of their draws is then not determined.
    """
    for stage in stages(dataset):
        parallel = getattr(stage, "_num_parallel_calls", None)
        if parallel is None or int(parallel) == 1:
            continue
        for function in functions_of(stage):
            # A layer called in `map` is a function of its own, which the graph holds in its
            # library.
            graph = function.graph.as_graph_def()
            nodes = [
                *graph.node,
                *(node for inner in graph.library.function for node in inner.node_def),
            ]
            if any(
                node.op.startswith(STATEFUL_RANDOM) or node.op == "AssignVariableOp"
                for node in nodes
            ):
                return True
    return False


def reads_randomly(data: Any) -> bool:
    """Return whether reading a batch of a PyDataset calls something named "rand…"."""
    visited: "set[Any]" = set()
    pending: List[Any] = [getattr(type(data), "__getitem__", None)]
    while pending:
        function = pending.pop()
        code = getattr(function, "__code__", None)
        if code is None or code in visited:
            continue
        visited.add(code)
        # Whether the reading draws can only be guessed, by the names in its code and in what it
        # calls.
        names = objects.names_in(code)
        if any("rand" in name for name in names):
            return True
        pending += [
            getattr(type(data), name, None) or function.__globals__.get(name) for name in names
        ]
    return False


class DataOrder:
    """The data order of one fit.

    Args:
        seed: the run's seed and the fit's number.
        own: whether the order of arrays is drawn from the seed.
        data: the script's training data and validation data, and other data sets in reach.
    """

    def __init__(self, seed: Tuple[int, int], *, own: bool, data: Dict[str, Any]) -> None:
        self.seed = seed
        self.own = own
        self.epoch: Any = None
        self.current_epoch = 0
        self.iterators: List[Any] = []
        self.data = data
        self.position_of: Callable[[Any], Dict[str, Any]] = position
        self.datasets = {name: value for name, value in data.items() if is_dataset(value)}
        # The script may have read its data before this fit.
        self._base = {name: iterators_created(dataset) for name, dataset in self.datasets.items()}
        self._before: List[Dict[str, Any]] = []
        """Saved positions of iterators that this process has not created yet.

        The validation's iterator is created by the first validation.
        """

    def shuffled(self, tensorflow: Any, indices: Any) -> Any:
        """Return a permutation of `indices` for the current epoch."""
        if self.epoch is None:
            self.epoch = tensorflow.Variable(
                0, dtype=tensorflow.int64, trainable=False, name="mlops_epoch"
            )
        # A prime factor keeps (seed, fit) pairs apart: seed 1 with fit 2 must not shuffle as seed 2
        # with fit 1.
        base = tensorflow.constant(self.seed[0] * 1000003 + self.seed[1], dtype=tensorflow.int64)
        # The epoch is read when an iterator begins, not when the pipeline is traced: the trace
        # happens once, and a constant would give each epoch the same order.
        seed = tensorflow.stack([base, self.epoch.read_value()])
        return tensorflow.random.experimental.stateless_shuffle(indices, seed=seed)

    def begin_epoch(self, epoch: int) -> None:
        """Set the epoch whose order comes next."""
        self.current_epoch = epoch
        if self.epoch is not None:
            self.epoch.assign(epoch)

    def capture(self) -> Dict[str, Any]:
        """Return the positions of all iterators at the end of an epoch."""
        created = {
            name: iterators_created(dataset) - self._base[name]
            for name, dataset in self.datasets.items()
        }
        # Iterators are created in the same order by every attempt: training data first, then
        # validation.
        positions = [self.position_of(iterator) for iterator in self.iterators]
        return {"made": created, "iterators": [*positions, *self._before[len(positions) :]]}

    def restore(self, state: Dict[str, Any], *, moves: bool = True) -> None:
        """Bring the data sets to their saved positions.

        Args:
            state: the value of `capture`.
            moves: whether the training data's iterator is moved too.
        """
        self._before = state["iterators"]
        at = state["iterators"][0] if moves and state["iterators"] else None
        iterator = self.iterators[0] if self.iterators and at is not None else None
        continues_iterator = False
        if at is not None and iterator is not None:
            # Keras learns the number of batches at the end of the first epoch. A resumed fit may
            # never see that end from its beginning.
            iterator._num_batches = at["batches"]
            continues_iterator = bool(at["steps"] and iterator.steps_per_epoch)
        training = None if iterator is None else pipeline(iterator)
        for name, number in self._iterators_to_create(state):
            dataset = self.datasets[name]
            # Under JAX and PyTorch an iterator does not name its data set, but "x" is the training
            # data.
            is_training = name == "x" if training is None else _is_derived(training, dataset)
            if at is not None and number == at["number"] and continues_iterator and is_training:
                self._recreate(iterator, at)
            elif (
                iterator is None
                and name == "x"
                and at is not None
                and number == at["number"]
                and shuffles(dataset)
            ):
                # Each repetition has drawn a new order; the next iterator draws after all of them.
                # One element has to be taken, because `skip` alone is lazy: the shuffle behind it
                # draws on demand.
                pass_over(iter(dataset.skip(max(0, at["steps"] - 1))), 1)
                dataset.__dict__[CREATED] = iterators_created(dataset) + 1
            else:
                pass_over(
                    iter(dataset), _elements_to_cache(dataset, number, name, state["iterators"])
                )
        if (
            continues_iterator
            and at is not None
            and iterator is not None
            and iterator._current_iterator is None
        ):
            self._recreate(iterator, at)

    def _iterators_to_create(self, state: Dict[str, Any]) -> List[Tuple[str, int]]:
        """Return the iterators to create, by data set and number from 1.

        They are in their original order, because pipelines may have stages in common.
        """
        pending = []
        visited = set()
        for name, total in state["made"].items():
            dataset = self.datasets.get(name)
            if dataset is None or id(dataset) in visited:
                continue
            # A script may validate on its training data: one data set under two names must not be
            # moved twice.
            visited.add(id(dataset))
            first = _saved_position(name, state["iterators"]).get("first", 1)
            for number in range(iterators_created(dataset) - self._base[name] + 1, total + 1):
                epoch = (number - 1) // first if name == "validation" else max(0, number - first)
                pending.append((epoch, len(visited), number, name))
        return [(name, number) for _, _, number, name in sorted(pending)]

    def _recreate(self, iterator: Any, at: Dict[str, Any]) -> None:
        """Create the training iterator again, past the elements it had given."""
        dataset = pipeline(iterator)
        steps = at["steps"]
        if (
            dataset is not None
            and not at["python"]
            and not hasattr(iterator.data_adapter, "_num_samples")
        ):
            # `skip` reads without running the stages behind it; it creates another data set, whose
            # iterator has to count as one of the original.
            owner = dataset.__dict__.get(ORIGIN, dataset)
            owner.__dict__[CREATED] = iterators_created(owner) + 1
            iterator._current_iterator = iter(dataset.skip(steps))
        else:
            # Python data has no position to skip to: repeat its reading from the same random state.
            if at["random"] is not None:
                rng.restore_python(at["random"])
            if self.epoch is not None:
                self.epoch.assign(at["epoch"])
            iterator._current_iterator = iter(
                iterator._get_iterator() if dataset is None else dataset
            )
            pass_over(iterator._current_iterator, steps)
        iterator._steps_seen = steps
        iterator._mlops_first = {key: at[key] for key in ("number", "random", "epoch")}


def pipeline(iterator: Any) -> Any:
    """Return the `tf.data` pipeline of a Keras iterator, or None on JAX and PyTorch."""
    return getattr(iterator, "_distributed_dataset", None)


def _is_derived(training: Any, dataset: Any) -> bool:
    """Return whether Keras derived its training data from this data set."""
    return training is not None and training.__dict__.get(ORIGIN, training) is dataset


def _saved_position(name: str, iterators: List[Dict[str, Any]]) -> Dict[str, Any]:
    """Return the saved position of the training or validation data, {} for others."""
    place = {"x": 0, "validation": 1}.get(name, len(iterators))
    return iterators[place] if place < len(iterators) else {}


def _elements_to_cache(
    dataset: Any, number: int, name: str, iterators: List[Dict[str, Any]]
) -> int:
    """Return the number of elements to read from an iterator that fills caches.

    The first iterator of a data set with `cache()` fills it, and later ones read the cached
    elements; so does the first one after a restart.
    """
    at = _saved_position(name, iterators)
    caches = [stage for stage in stages(dataset) if type(stage).__name__ == "CacheDataset"]
    if number != at.get("first", 1) or all(FILLED in stage.__dict__ for stage in caches):
        return 0
    if name == "x" and at.get("limited") and number == at["number"]:
        return int(at["steps"])
    if name == "validation" and at.get("per_epoch"):
        return int(at["per_epoch"])
    if int(dataset.cardinality()) == INFINITE:
        return 0
    for stage in caches:
        stage.__dict__[FILLED] = True
    return sys.maxsize


def pass_over(iterator: Any, count: int) -> None:
    """Read and drop so many elements, or all there are."""
    collections.deque(zip(range(count), iterator), maxlen=0)


def exhaust(data: Any, state: Dict[str, Any]) -> None:
    """Read a finished fit's generator to its saved position."""
    if inspect.isgenerator(data) and state["iterators"]:
        saved = state["iterators"][0]
        pass_over(data, saved["steps"] if saved["limited"] else sys.maxsize)


def position(iterator: Any) -> Dict[str, Any]:
    """Return an iterator's position: its steps, and the state to create it again."""
    first = getattr(iterator, "_mlops_first", None) or {"number": 0, "random": None, "epoch": 0}
    return {
        "steps": iterator._steps_seen if iterator._current_iterator is not None else 0,
        "batches": iterator._num_batches,
        "limited": bool(iterator.steps_per_epoch),
        "python": iterator._mlops_python,
        "per_epoch": iterator.steps_per_epoch,
        **first,
    }


def patch_iterators(iterator_class: Any, active: Callable[[], Any]) -> None:
    """Track Keras' iterators, move them, and enter them within an epoch.

    Args:
        iterator_class: Keras' `TFEpochIterator`, or that of another backend.
        active: returns the fit whose own iterators are being created, or None.
    """
    init = iterator_class.__init__
    enumerate_ = iterator_class._enumerate_iterator

    @functools.wraps(init)
    def init_(self: Any, *args: Any, **kwargs: Any) -> None:
        fit = active()
        if fit is None:
            return init(self, *args, **kwargs)  # type: ignore[no-any-return]
        order: DataOrder = fit.data.order
        own_shuffle = (
            _shuffled_by(order)
            if order.own and kwargs.get("shuffle") is True
            else contextlib.nullcontext()
        )
        # Validation data may draw when it is first examined; those draws came before the
        # checkpoint, and must not happen a second time.
        before = rng.capture_python() if order.iterators and fit.resume.state is not None else None
        with own_shuffle:
            init(self, *args, **kwargs)
        _track(self, order, kwargs.get("x"))
        if before is not None:
            with fit.context.journal.guard("restore validation order"):
                rng.restore_python(before)
                fit.resume.restore_data("validation")
                positions = fit.resume.state["order"]["iterators"]
                if len(positions) > 1:
                    self._num_batches = positions[1]["batches"]
        return None

    @functools.wraps(enumerate_)
    def enumerate_iterator(self: Any) -> Any:
        fit = active()
        if fit is None or not fit.data.order.iterators or self is not fit.data.order.iterators[0]:
            return enumerate_(self)
        return _enumerate(self, enumerate_(self), fit)

    iterator_class.__init__ = init_
    iterator_class._enumerate_iterator = enumerate_iterator


@contextlib.contextmanager
def _shuffled_by(order: DataOrder) -> Iterator[None]:
    """Replace TensorFlow's shuffle by the order's own within the block."""
    random = sys.modules["tensorflow"].random
    shuffle = random.shuffle
    random.shuffle = lambda value, *args, **kwargs: order.shuffled(sys.modules["tensorflow"], value)
    try:
        yield
    finally:
        random.shuffle = shuffle


def _track(iterator: Any, order: DataOrder, x: Any) -> None:
    dataset = pipeline(iterator)
    shuffled_by_tensorflow = dataset is not None and hasattr(iterator.data_adapter, "_num_samples")
    iterator._mlops_python = not shuffled_by_tensorflow and (
        not is_dataset(x) or runs_python(x if dataset is None else dataset)
    )
    if is_dataset(x) and dataset is not x and hasattr(dataset, "__dict__"):
        dataset.__dict__[ORIGIN] = x
    order.iterators.append(iterator)


def _enumerate(iterator: Any, source: Any, fit: Any) -> Any:
    """Yield the steps of one epoch, without those made before the checkpoint."""
    order: DataOrder = fit.data.order
    if (
        iterator._current_iterator is None
        or iterator.steps_per_epoch is None
        or not iterator._steps_seen
    ):
        x = order.data.get("x")
        number = iterators_created(x) - order._base["x"] + 1 if "x" in order.datasets else 0
        python = (
            rng.capture_python() if iterator._mlops_python and iterator.steps_per_epoch else None
        )
        iterator._mlops_first = {"number": number, "random": python, "epoch": order.current_epoch}
    steps = fit.resume.steps_to_skip()
    by_tensorflow = pipeline(iterator) is not None
    for begin, end, batches in source:
        if begin >= steps:
            if fit.resume.point is not None:
                if (
                    type(iterator).__next__
                    is sys.modules["keras.src.trainers.epoch_iterator"].EpochIterator.__next__
                ):
                    # PyTorch's steps get batches instead of an iterator; the first ones of this
                    # item were read before the state is restored, so keep them.
                    batches = itertools.chain(
                        list(itertools.islice(batches, end + 1 - begin)), batches
                    )
                consumes_rng = fit.resume.reading_consumes_rng(
                    python=iterator._mlops_python, passed_over=True
                )
                with fit.context.journal.guard("resume within an epoch"):
                    fit.resume.enter_epoch(consumes_rng=consumes_rng)
            yield begin, end, batches
        elif end + 1 >= steps and fit.resume.is_after_steps:
            fit.resume.consumes_rng = fit.resume.reading_consumes_rng(
                python=iterator._mlops_python, passed_over=begin > 0
            )
            yield begin, end, batches
        elif end + 1 < steps or not by_tensorflow:
            pass_over(batches, end + 1 - begin)
        else:
            consumes_rng = fit.resume.reading_consumes_rng(
                python=iterator._mlops_python, passed_over=begin > 0
            )
            # Train on the last skipped step: on TensorFlow it creates all variables of the fit
            # (optimizer slots, counters). Their values are restored right after.
            fit.model.train_function(batches)
            with fit.context.journal.guard("resume within an epoch"):
                fit.resume.enter_epoch(consumes_rng=consumes_rng)


def data_seeds(dataset: Any) -> "set[int]":
    """Return ids of the variables that a `tf.data` pipeline's functions read.

    The seed of an augmentation layer is among them.
    """
    return {id(value) for function in functions(dataset) for value in function.captured_inputs}
