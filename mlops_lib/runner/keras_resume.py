"""The state of a Keras fit: take it at the end of an epoch, put it back before the next one.

Keras' own BackupAndRestore keeps weights and the optimizer. What it leaves out makes a resumed fit differ from one
left alone: seed generators (Dropout, augmentation), the random state of the process, the order of the data, callbacks'
own state, and the History. All of that is taken here.
"""

import gc
import io
import os
import sys
from typing import Any, Dict, List

from mlops_lib.runner import checkpoint, randomness


def variables(model: Any) -> List[Any]:
    """The variables that make up a model under training, each once: weights, seed generators, optimizer."""
    metrics = {id(v) for v in getattr(model, "metrics_variables", [])}
    own = [v for v in model.variables if id(v) not in metrics]
    optimizer = getattr(model, "optimizer", None)
    if optimizer is not None:
        own += list(optimizer.variables)
    return list({id(v): v for v in own}.values())


def take_variables(model: Any) -> List[Any]:
    """Copies of the values, in the order of `variables`."""
    import numpy

    return [numpy.array(v.numpy() if hasattr(v, "numpy") else v) for v in variables(model)]


def put_variables(model: Any, values: List[Any]) -> None:
    """Assign the values.

    Raises:
        ValueError: the model is not the one they were taken from.
    """
    own = variables(model)
    if len(own) != len(values) or any(tuple(v.shape) != value.shape for v, value in zip(own, values)):
        raise ValueError(f"the checkpoint has {len(values)} variables of other shapes than the model's {len(own)}")
    for variable, value in zip(own, values):
        variable.assign(value)


def build(model: Any, config: Any) -> None:
    """Give a model and its optimizer their variables, as they had them when the state was taken."""
    if config and not model.built:
        model.build_from_config(config)
    optimizer = getattr(model, "optimizer", None)
    if optimizer is not None and not optimizer.built:
        optimizer.build(model.trainable_variables)


class Order:
    """The data order of a fit.

    Keras shuffles arrays with a stateful operation whose state starts again with each iterator: under a global seed
    every epoch gets the same order, without one it cannot be repeated. Where the script sets no seed itself, the order of
    each epoch is drawn from the run's seed and the epoch's number instead. A `tf.data` pipeline with its own shuffle
    advances with every iterator that is created, so iterators are counted, and created again after a restart.
    """

    def __init__(self, seed: "tuple[int, int]", *, own: bool) -> None:
        self.seed = seed
        self.own = own
        self.epoch: Any = None
        self.iterators: List[Any] = []

    def shuffled(self, tensorflow: Any, indices: Any) -> Any:
        """A permutation of `indices` for the current epoch."""
        if self.epoch is None:
            self.epoch = tensorflow.Variable(0, dtype=tensorflow.int64, trainable=False, name="mlops_epoch")
        base = tensorflow.constant(self.seed[0] * 1000003 + self.seed[1], dtype=tensorflow.int64)
        seed = tensorflow.stack([base, self.epoch.read_value()])
        return tensorflow.random.experimental.stateless_shuffle(indices, seed=seed)

    def begin_epoch(self, epoch: int) -> None:
        """Say which epoch's order comes next."""
        if self.epoch is not None:
            self.epoch.assign(epoch)

    def take(self) -> List[Dict[str, int]]:
        """Where each iterator of the fit (training, then validation) stands."""
        return [
            {"made": getattr(it, "_mlops_made", 0), "steps": it._steps_seen if it.steps_per_epoch else 0}
            for it in self.iterators
        ]

    def put(self, index: int, taken: Dict[str, int]) -> None:
        """Bring iterator `index` to where it stood."""
        iterator = self.iterators[index]
        behind = taken["made"] - getattr(iterator, "_mlops_made", 0)
        dataset = iterator._distributed_dataset
        goes_on = taken["steps"] > 0 and iterator.steps_per_epoch
        for _ in range(behind - (1 if goes_on else 0)):
            iter(dataset)
        iterator._mlops_made = taken["made"]
        if goes_on:
            iterator._current_iterator = iter(dataset.skip(taken["steps"]))
            iterator._steps_seen = taken["steps"]


def take(model: Any, callbacks: List[Any], order: Order, store: checkpoint.Store, data: Any) -> Dict[str, Any]:
    """Everything a fit needs to go on from here, except its History."""
    return {
        "variables": take_variables(model),
        "build": model.get_build_config() if model.built else None,
        "callbacks": [checkpoint.attributes(one, _LARGE.get(id(one), {})) for one in callbacks],
        "data": checkpoint.attributes(data, {}) if _is_stateful(data) else {},
        "order": order.take(),
        "random": randomness.take(),
        "files": store.keep_files(),
        "stop": bool(model.stop_training),
    }


_LARGE: Dict[int, Dict[str, int]] = {}


def remember_large(callbacks: List[Any]) -> None:
    """Note the callbacks' large attributes at the begin of a fit: those that stay the same objects are not stored."""
    _LARGE.clear()
    _LARGE.update({id(one): checkpoint.large(one) for one in callbacks})


def _is_stateful(data: Any) -> bool:
    """A PyDataset or legacy Sequence keeps its order in its attributes."""
    return hasattr(data, "__getitem__") and hasattr(data, "on_epoch_end")


def put(model: Any, callbacks: List[Any], state: Dict[str, Any], store: checkpoint.Store, data: Any) -> List[str]:
    """Restore what `take` took, except the data order; returns what could not be restored."""
    build(model, state["build"])
    put_variables(model, state["variables"])
    lost = []
    for one, taken in zip(callbacks, state["callbacks"]):
        lost += [f"{type(one).__name__}.{name}" for name in checkpoint.restore_attributes(one, taken)]
    if _is_stateful(data):
        lost += [f"{type(data).__name__}.{name}" for name in checkpoint.restore_attributes(data, state["data"])]
    store.put_files_back(state["files"])
    _move_handles_to_end({os.path.join(store.work, path) for path in state["files"]})
    for one in callbacks:
        if type(one).__name__ == "CSVLogger" and state["files"]:
            one.append_header = False
            one.writer = None
    randomness.put(state["random"])
    return lost


def _move_handles_to_end(paths: "set[str]") -> None:
    """Files that the script holds open go on after what was put back."""
    if not paths:
        return
    for item in gc.get_objects():
        if isinstance(item, (io.TextIOWrapper, io.BufferedWriter)) and item not in (sys.stdout, sys.stderr):
            written = not item.closed and item.writable() and isinstance(item.name, str)
            if written and os.path.abspath(item.name) in paths:
                item.seek(0, os.SEEK_END)
