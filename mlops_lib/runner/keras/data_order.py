"""The order of a fit's data: where each of its iterators stands, and how to get there again.

Three kinds of data have three kinds of order.

*Arrays*: Keras shuffles them with a stateful operation whose state starts again with each iterator:
under a global seed every epoch gets the same order, without one it cannot be repeated. Where the
script sets no seed itself, the order of each epoch is drawn from the run's seed and the epoch's
number instead.

*`tf.data`*: a pipeline with its own shuffle advances with every iterator that is created, whoever
creates it. So the iterators of each data set are counted, and created again after a restart.

*Python* (a PyDataset, a generator, `from_generator`; arrays too where Keras computes with JAX or
PyTorch): the order is in its attributes and in the process's random state; what an unfinished
iterator had given is read again from where it began.
"""

import collections
import contextlib
import functools
import inspect
import itertools
import sys
from typing import Any, Callable, Dict, Iterator, List, Tuple

from mlops_lib.runner.state import objects, rng

MADE = "_mlops_made"
"""Attribute of a data set: how many iterators of it were created."""
INFINITE = -1
"""The cardinality of a data set that never ends."""
FILLED = "_mlops_filled"
"""Attribute of a cache in a pipeline: that all of it was read."""
WHOSE = "_mlops_whose"
"""Attribute of a data set that Keras derived: the one that the script gave."""
STATEFUL_RANDOM = (
    "Random",
    "TruncatedNormal",
    "ParameterizedTruncatedNormal",
    "Multinomial",
    "StatefulUniform",
    "StatefulStandard",
)
"""Begins of the names of TensorFlow's operations that draw from a state of their own
(random_ops.cc, stateful_random_ops.cc).
"""


def count_iterators(dataset_class: Any) -> None:
    """Count the iterators of every `tf.data.Dataset` from now on."""
    plain = dataset_class.__iter__

    @functools.wraps(plain)
    def __iter__(self: Any) -> Any:  # noqa: N807 - the method it replaces
        owner = self.__dict__.get(WHOSE, self)
        owner.__dict__[MADE] = owner.__dict__.get(MADE, 0) + 1
        return plain(self)

    dataset_class.__iter__ = __iter__


def made(dataset: Any) -> int:
    """How many iterators of a data set there have been."""
    return int(dataset.__dict__.get(MADE, 0))


def is_dataset(data: Any) -> bool:
    """Whether this is a `tf.data.Dataset`."""
    return (
        hasattr(data, "element_spec") and hasattr(data, "cardinality") and hasattr(data, "__dict__")
    )


def is_stateful(data: Any) -> bool:
    """Whether this is a PyDataset or Sequence, which keeps its order in its attributes."""
    return hasattr(data, "__getitem__") and hasattr(data, "on_epoch_end")


def stages(dataset: Any) -> Iterator[Any]:
    """The stages of a `tf.data` pipeline, the last first."""
    pending: List[Any] = [dataset] if is_dataset(dataset) else []
    seen: "set[int]" = set()
    while pending:
        one = pending.pop()
        if id(one) not in seen:
            seen.add(id(one))
            yield one
            pending += list(getattr(one, "_inputs", list)())


def functions(dataset: Any) -> Iterator[Any]:
    """The functions that the stages of a pipeline call."""
    for stage in stages(dataset):
        yield from functions_of(stage)


def functions_of(stage: Any) -> Iterator[Any]:
    """The functions that one stage calls."""
    for wrapper in getattr(stage, "_functions", list)():
        function = getattr(wrapper, "function", None)
        if function is not None:
            yield function


def shuffles(dataset: Any) -> bool:
    """Whether a pipeline shuffles and repeats for ever."""
    kinds = {type(stage).__name__ for stage in stages(dataset)}
    return int(dataset.cardinality()) == INFINITE and any("Shuffle" in kind for kind in kinds)


def runs_python(dataset: Any) -> bool:
    """Whether a pipeline calls back into Python, whose state is out of its reach."""
    return any(type(stage).__name__ == "_GeneratorDataset" for stage in stages(dataset)) or any(
        "PyFunc" in operation.type
        for function in functions(dataset)
        for operation in function.graph.get_operations()
    )


def races(dataset: Any) -> bool:
    """Whether several threads of a pipeline draw from one random state: who is first is not
    decided.
    """
    for stage in stages(dataset):
        parallel = getattr(stage, "_num_parallel_calls", None)
        if parallel is None or int(parallel) == 1:
            continue
        for function in functions_of(stage):
            graph = function.graph.as_graph_def()
            nodes = [
                *graph.node,
                *(node for one in graph.library.function for node in one.node_def),
            ]
            if any(
                node.op.startswith(STATEFUL_RANDOM) or node.op == "AssignVariableOp"
                for node in nodes
            ):
                return True
    return False


def draws(data: Any) -> bool:
    """Whether what reads one batch of a PyDataset or Sequence names something random."""
    seen: "set[Any]" = set()
    pending: List[Any] = [getattr(type(data), "__getitem__", None)]
    while pending:
        function = pending.pop()
        code = getattr(function, "__code__", None)
        if code is None or code in seen:
            continue
        seen.add(code)
        names = objects.names_in(code)
        if any("rand" in name for name in names):
            return True
        pending += [
            getattr(type(data), name, None) or function.__globals__.get(name) for name in names
        ]
    return False


class Order:
    """The data order of one fit.

    Args:
        seed: the run's seed and the fit's number.
        own: whether the order of arrays is drawn from them.
        data: the script's training data and validation data, and other data sets in reach.
    """

    def __init__(self, seed: Tuple[int, int], *, own: bool, data: Dict[str, Any]) -> None:
        self.seed = seed
        self.own = own
        self.epoch: Any = None
        self.now = 0
        self.iterators: List[Any] = []
        self.data = data
        self.standing: Callable[[Any], Dict[str, Any]] = standing
        self.datasets = {name: one for name, one in data.items() if is_dataset(one)}
        self._base = {name: made(one) for name, one in self.datasets.items()}
        self._before: List[Dict[str, Any]] = []
        """How the iterators stood that this process has not made yet: the validation's comes with
        its first validation.
        """

    def shuffled(self, tensorflow: Any, indices: Any) -> Any:
        """A permutation of `indices` for the current epoch."""
        if self.epoch is None:
            self.epoch = tensorflow.Variable(
                0, dtype=tensorflow.int64, trainable=False, name="mlops_epoch"
            )
        base = tensorflow.constant(self.seed[0] * 1000003 + self.seed[1], dtype=tensorflow.int64)
        seed = tensorflow.stack([base, self.epoch.read_value()])
        return tensorflow.random.experimental.stateless_shuffle(indices, seed=seed)

    def begin_epoch(self, epoch: int) -> None:
        """Say which epoch's order comes next."""
        self.now = epoch
        if self.epoch is not None:
            self.epoch.assign(epoch)

    def take(self) -> Dict[str, Any]:
        """Where everything stands at the end of an epoch."""
        own = {name: made(one) - self._base[name] for name, one in self.datasets.items()}
        standings = [self.standing(one) for one in self.iterators]
        return {"made": own, "iterators": [*standings, *self._before[len(standings) :]]}

    def put(self, taken: Dict[str, Any], *, moves: bool = True) -> None:
        """Bring the data sets to where they stood.

        Args:
            taken: what `take` gave.
            moves: whether the training data's iterator is brought there too.
        """
        self._before = taken["iterators"]
        at = taken["iterators"][0] if moves and taken["iterators"] else None
        iterator = self.iterators[0] if self.iterators and at is not None else None
        goes_on = False
        if at is not None and iterator is not None:
            iterator._num_batches = at["batches"]
            goes_on = bool(at["steps"] and iterator.steps_per_epoch)
        training = None if iterator is None else pipeline(iterator)
        for name, number in self._missing(taken):
            dataset = self.datasets[name]
            # JAX and PyTorch read the data set itself: what they read cannot be asked, but it is
            # the training data.
            is_training = name == "x" if training is None else _derives(training, dataset)
            if at is not None and number == at["number"] and goes_on and is_training:
                self._go_on(iterator, at)
            elif (
                iterator is None
                and name == "x"
                and at is not None
                and number == at["number"]
                and shuffles(dataset)
            ):
                # Each repetition has shuffled anew, and the next iterator's order comes after
                # theirs.
                pass_over(iter(dataset.skip(max(0, at["steps"] - 1))), 1)
                dataset.__dict__[MADE] = made(dataset) + 1
            else:
                pass_over(iter(dataset), _fills_caches(dataset, number, name, taken["iterators"]))
        if (
            goes_on
            and at is not None
            and iterator is not None
            and iterator._current_iterator is None
        ):
            self._go_on(iterator, at)

    def _missing(self, taken: Dict[str, Any]) -> List[Tuple[str, int]]:
        """The iterators to be made, by data set and number from 1, as they came: pipelines may have
        stages in common.
        """
        found = []
        done = set()
        for name, total in taken["made"].items():
            dataset = self.datasets.get(name)
            if dataset is None or id(dataset) in done:
                continue
            done.add(id(dataset))
            first = _standing_of(name, taken["iterators"]).get("first", 1)
            for number in range(made(dataset) - self._base[name] + 1, total + 1):
                epoch = (number - 1) // first if name == "validation" else max(0, number - first)
                found.append((epoch, len(done), number, name))
        return [(name, number) for _, _, number, name in sorted(found)]

    def _go_on(self, iterator: Any, at: Dict[str, Any]) -> None:
        """Make the iterator anew and pass over what it had given."""
        dataset = pipeline(iterator)
        steps = at["steps"]
        if (
            dataset is not None
            and not at["python"]
            and not hasattr(iterator.data_adapter, "_num_samples")
        ):
            owner = dataset.__dict__.get(WHOSE, dataset)
            owner.__dict__[MADE] = made(owner) + 1
            iterator._current_iterator = iter(dataset.skip(steps))
        else:
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
    """The `tf.data` pipeline that an iterator of Keras' on TensorFlow reads; None where Keras
    computes with another framework.
    """
    return getattr(iterator, "_distributed_dataset", None)


def _derives(training: Any, dataset: Any) -> bool:
    """Whether Keras made its data from this data set."""
    return training is not None and training.__dict__.get(WHOSE, training) is dataset


def _standing_of(name: str, iterators: List[Dict[str, Any]]) -> Dict[str, Any]:
    """Where the training or validation data stood; nothing is known of others."""
    place = {"x": 0, "validation": 1}.get(name, len(iterators))
    return iterators[place] if place < len(iterators) else {}


def _fills_caches(dataset: Any, number: int, name: str, iterators: List[Dict[str, Any]]) -> int:
    """How much of a data set's iterator of this number is to be read: what the first one gave is in
    the caches.
    """
    at = _standing_of(name, iterators)
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


def exhaust(data: Any, taken: Dict[str, Any]) -> None:
    """Bring a finished fit's generator to where it stood."""
    if inspect.isgenerator(data) and taken["iterators"]:
        standing = taken["iterators"][0]
        pass_over(data, standing["steps"] if standing["limited"] else sys.maxsize)


def standing(iterator: Any) -> Dict[str, Any]:
    """Where an iterator stands: the steps it gave, and how it can be made again."""
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
    """Let Keras' iterators be followed, moved, and entered in the middle of an epoch.

    Args:
        iterator_class: Keras' `TFEpochIterator`, or that of another framework it computes with.
        active: gives the fit whose own iterators are made now, or None.
    """
    init = iterator_class.__init__
    enumerate_ = iterator_class._enumerate_iterator

    @functools.wraps(init)
    def init_(self: Any, *args: Any, **kwargs: Any) -> None:
        fit = active()
        if fit is None:
            return init(self, *args, **kwargs)  # type: ignore[no-any-return]
        order: Order = fit.order
        own_shuffle = (
            _shuffled_by(order)
            if order.own and kwargs.get("shuffle") is True
            else contextlib.nullcontext()
        )
        # What validation data draws when it is first looked at was drawn before the checkpoint.
        before = rng.capture_python() if order.iterators and fit.state is not None else None
        with own_shuffle:
            init(self, *args, **kwargs)
        _follow(self, order, kwargs.get("x"))
        if before is not None:
            with fit.context.journal.guard("restore validation order"):
                rng.restore_python(before)
                fit.restore_data("validation")
                taken = fit.state["order"]["iterators"]
                if len(taken) > 1:
                    self._num_batches = taken[1]["batches"]
        return None

    @functools.wraps(enumerate_)
    def enumerate_iterator(self: Any) -> Any:
        fit = active()
        if fit is None or not fit.order.iterators or self is not fit.order.iterators[0]:
            return enumerate_(self)
        return _enumerate(self, enumerate_(self), fit)

    iterator_class.__init__, iterator_class._enumerate_iterator = init_, enumerate_iterator


@contextlib.contextmanager
def _shuffled_by(order: Order) -> Iterator[None]:
    """Let TensorFlow shuffle as the order says meanwhile."""
    random = sys.modules["tensorflow"].random
    shuffle = random.shuffle
    random.shuffle = lambda value, *args, **kwargs: order.shuffled(sys.modules["tensorflow"], value)
    try:
        yield
    finally:
        random.shuffle = shuffle


def _follow(iterator: Any, order: Order, x: Any) -> None:
    dataset = pipeline(iterator)
    shuffled_by_tensorflow = dataset is not None and hasattr(iterator.data_adapter, "_num_samples")
    iterator._mlops_python = not shuffled_by_tensorflow and (
        not is_dataset(x) or runs_python(x if dataset is None else dataset)
    )
    if is_dataset(x) and dataset is not x and hasattr(dataset, "__dict__"):
        dataset.__dict__[WHOSE] = x
    order.iterators.append(iterator)


def _enumerate(iterator: Any, source: Any, fit: Any) -> Any:
    """The steps of one epoch; those made before the checkpoint are passed over."""
    order: Order = fit.order
    if (
        iterator._current_iterator is None
        or iterator.steps_per_epoch is None
        or not iterator._steps_seen
    ):
        x = order.data.get("x")
        number = made(x) - order._base["x"] + 1 if "x" in order.datasets else 0
        python = (
            rng.capture_python() if iterator._mlops_python and iterator.steps_per_epoch else None
        )
        iterator._mlops_first = {"number": number, "random": python, "epoch": order.now}
    steps = fit.steps_to_pass_over()
    by_tensorflow = pipeline(iterator) is not None
    for begin, end, batches in source:
        if begin >= steps:
            if fit.entering is not None:
                if (
                    type(iterator).__next__
                    is sys.modules["keras.src.trainers.epoch_iterator"].EpochIterator.__next__
                ):
                    # PyTorch's steps are given batches, not what reads them: this one was read
                    # before the checkpoint.
                    batches = itertools.chain(
                        list(itertools.islice(batches, end + 1 - begin)), batches
                    )
                drawn = fit.has_drawn(python=iterator._mlops_python, passed_over=True)
                with fit.context.journal.guard("resume within an epoch"):
                    fit.enter_epoch(drawn=drawn)
            yield begin, end, batches
        elif end + 1 >= steps and fit.enters_after_steps:
            fit.drawn = fit.has_drawn(python=iterator._mlops_python, passed_over=begin > 0)
            yield begin, end, batches
        elif end + 1 < steps or not by_tensorflow:
            pass_over(batches, end + 1 - begin)
        else:
            drawn = fit.has_drawn(python=iterator._mlops_python, passed_over=begin > 0)
            # The last one is trained on: it makes whatever variables the fit makes, which other
            # frameworks have made by now. All of them are set right after.
            fit.model.train_function(batches)
            with fit.context.journal.guard("resume within an epoch"):
                fit.enter_epoch(drawn=drawn)


def data_seeds(dataset: Any) -> "set[int]":
    """Ids of the variables that a `tf.data` pipeline's functions read: an augmentation layer's seed
    among them.
    """
    return {id(value) for function in functions(dataset) for value in function.captured_inputs}
