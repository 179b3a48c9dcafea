"""The state of a Keras fit: take it after a step or an epoch, put it back before the next one.

Keras' own BackupAndRestore keeps weights and the optimizer. What it leaves out makes a resumed fit
differ from one left alone: seed generators (Dropout, augmentation), the states of a stateful RNN,
the random state of the process, the order of the data, callbacks' own state, and the History. All
of that is taken here, or by `keras_order` and `memory`.
"""

import contextlib
import gc
import io
import os
import sys
from typing import Any, ContextManager, Dict, Iterator, List, Optional

from mlops_lib.runner.keras import graph_random
from mlops_lib.runner.script import workdir
from mlops_lib.runner.state import checkpoint, objects, rng


def variables(model: Any) -> List[Any]:
    """The variables that make up a model under training, each once: weights, seeds, RNN states,
    optimizer.
    """
    skipped = {id(v) for v in metric_variables(model)}
    own = list(model.variables)
    for layer in model._flatten_layers():
        own += _untracked(layer)
    optimizer = getattr(model, "optimizer", None)
    if optimizer is not None:
        own += _optimizer_variables(optimizer)
    return list({id(v): v for v in own if id(v) not in skipped}.values())


def _optimizer_variables(optimizer: Any) -> List[Any]:
    found = optimizer.variables
    return list(found() if callable(found) else found)


def _untracked(layer: Any) -> List[Any]:
    """Variables that a layer holds but does not list: a stateful RNN's states, a legacy layer's
    generator.
    """
    found: List[Any] = []
    states = layer.__dict__.get("states", layer.__dict__.get("_states"))
    if states is not None and getattr(layer, "stateful", False):
        found += [v for v in _flat(states) if hasattr(v, "assign")]
    generator = getattr(layer.__dict__.get("_random_generator"), "_generator", None)
    if generator is not None:
        found.append(generator.state)
    return found


def _flat(nested: Any) -> Iterator[Any]:
    if isinstance(nested, (list, tuple)):
        for item in nested:
            yield from _flat(item)
    elif isinstance(nested, dict):
        for item in nested.values():
            yield from _flat(item)
    else:
        yield nested


def metric_variables(model: Any) -> List[Any]:
    """The running sums of the metrics and of the loss; they matter within an epoch only."""
    found = getattr(model, "metrics_variables", None)
    if found is None:
        found = [variable for metric in model.metrics for variable in metric.variables]
    return list(found)


def values(of: List[Any]) -> List[Any]:
    """Copies of the values of variables."""
    import numpy

    return [numpy.array(v.numpy() if hasattr(v, "numpy") else v) for v in of]


def assign(to: List[Any], taken: List[Any]) -> None:
    """Give variables their values.

    Raises:
        ValueError: they are not the ones that the values were taken from.
    """
    if len(to) != len(taken) or any(tuple(v.shape) != value.shape for v, value in zip(to, taken)):
        raise ValueError(
            f"the checkpoint has {len(taken)} variables of other shapes than the model's {len(to)}"
        )
    for variable, value in zip(to, taken):
        variable.assign(value)


def take_variables(model: Any) -> List[Any]:
    """Copies of the values, in the order of `variables`."""
    return values(variables(model))


INNER_SIZE = 4096
"""Numbers in one variable that a validation may change; larger ones hold weights."""


def take_inner(model: Any) -> Dict[int, Any]:
    """The values of the small variables that are not trained, by their places: a validation may
    change some.

    Seeds, the states of a stateful RNN and counters; what the optimizer holds is not among them.
    """
    optimizer = getattr(model, "optimizer", None)
    trained = list(model.trainable_variables) + (
        [] if optimizer is None else _optimizer_variables(optimizer)
    )
    skipped = {id(v) for v in trained}
    found = {}
    for place, variable in enumerate(variables(model)):
        size = 1
        for length in variable.shape:
            size *= int(length)
        if id(variable) not in skipped and size <= INNER_SIZE:
            found[place] = values([variable])[0]
    return found


def set_inner(taken: List[Any], inner: Dict[int, Any]) -> None:
    """Set these places of what `take_variables` gave to the values that they had before."""
    for place, value in inner.items():
        taken[place] = value


def put_variables(model: Any, taken: List[Any]) -> None:
    """Assign the values.

    Raises:
        ValueError: the model is not the one they were taken from.
    """
    assign(variables(model), taken)


def build(model: Any, config: Any) -> None:
    """Give a model and its optimizer their variables, as they had them when the state was taken."""
    if config and not model.built:
        model.build_from_config(config)
    optimizer = getattr(model, "optimizer", None)
    if optimizer is None or not model.built:
        return
    if not getattr(optimizer, "built", getattr(optimizer, "_built", False)):
        with _scope(optimizer):
            optimizer.build(model.trainable_variables)


def _scope(optimizer: Any) -> ContextManager[Any]:
    """Where the legacy Keras makes an optimizer's variables: a model saved as HDF5 names them by
    it.
    """
    if not type(optimizer).__module__.startswith("tf_keras"):
        return contextlib.nullcontext()
    return sys.modules["tensorflow"].name_scope(optimizer.name)  # type: ignore[no-any-return]


def is_built_for(model: Any, taken: List[Any]) -> bool:
    """Whether the model has the variables that the values were taken from."""
    own = variables(model) if model.built else []
    return len(own) == len(taken) and all(
        tuple(v.shape) == value.shape for v, value in zip(own, taken)
    )


def build_config(model: Any) -> Any:
    """What `build` needs for a model that the script left unbuilt; None where Keras cannot say."""
    if not model.built or not hasattr(model, "get_build_config"):
        return None
    with contextlib.suppress(NotImplementedError, ValueError, AttributeError):
        return model.get_build_config()
    return None


class Objects:
    """The script's callbacks of one fit, and what they can reach."""

    def __init__(self, callbacks: List[Any]) -> None:
        self.callbacks = callbacks
        self.named = [(f"{i}-{type(one).__name__}", one) for i, one in enumerate(callbacks)]
        self._marks = objects.checksums(objects.find_places(self.named))

    def take(self) -> "tuple[Dict[str, bytes], List[str]]":
        """Their contents, and the names of those of the script's own that cannot be stored."""
        taken, lost = objects.capture(objects.find_places(self.named), self._marks)
        theirs = {
            name
            for name, one in self.named
            if type(one).__module__.split(".")[0] in objects.FRAMEWORKS
        }
        return taken, [name for name in lost if name.split(".")[0] not in theirs]

    def put(self, taken: Dict[str, bytes]) -> List[str]:
        """Restore what `take` took; returns the names of what could not be."""
        return objects.restore(objects.find_places(self.named), taken, self.named)


def take(model: Any, objects: Objects, store: checkpoint.Store) -> Dict[str, Any]:
    """What a fit needs to go on from here, except its History and its data."""
    flush_writers(objects.callbacks)
    flush_handles(store.work)
    if hasattr(model, "jax_state_sync"):
        # within an epoch JAX's steps hold the values, and the variables none
        model.jax_state_sync()
    contents, lost = objects.take()
    return {
        "variables": take_variables(model),
        "build": build_config(model),
        "counters": graph_random.take(model),
        "callbacks": contents,
        "lost": lost,
        "random": rng.capture(),
        "files": store.snapshot_files(),
        "stop": bool(model.stop_training),
    }


def put(model: Any, objects: Objects, state: Dict[str, Any], store: checkpoint.Store) -> List[str]:
    """Restore what `take` took, except the random state; returns what could not be restored."""
    put_variables(model, state["variables"])
    graph_random.put(model, state["counters"])
    handles = flush_handles(store.work)
    lost = objects.put(state["callbacks"])
    store.restore_files(state["files"])
    for handle in handles:
        handle.seek(0, os.SEEK_END)
    return [*state["lost"], *lost]


def suppress_headers(callbacks: List[Any]) -> List[Any]:
    """Let CSVLoggers go on in the files that were put back; returns them with what their setting
    was.
    """
    loggers = [(one, one.append_header) for one in callbacks if type(one).__name__ == "CSVLogger"]
    for one, _ in loggers:
        one.append_header, one.writer = False, None
        if not isinstance(
            one.csv_file, io.IOBase
        ):  # the legacy Keras opens it by TensorFlow, at the first write
            one.csv_file.close()
            one.csv_file = type(one.csv_file)(one.filename, "a")
    return loggers


def flush_writers(callbacks: List[Any]) -> None:
    """Let TensorBoard's files hold what was logged so far."""
    for one in callbacks:
        writers = one.__dict__.get("_writers")
        for writer in writers.values() if isinstance(writers, dict) else ():
            writer.flush()


def flush_handles(work: str) -> List[Any]:
    """Flush the files that the script holds open for writing in its working directory; returns
    them.
    """
    descriptors = _written_in(work)
    if not descriptors:
        return []
    found: List[Any] = [one for one in list(workdir.OPENED) if isinstance(one, io.TextIOWrapper)]
    if not descriptors <= {_descriptor(one) for one in found}:
        # Opened by other means, or bytes for which something else may hold text: looked for among
        # all objects.
        found = [
            one
            for one in gc.get_objects()
            if isinstance(one, (io.TextIOWrapper, io.BufferedWriter))
        ]
    found = [one for one in found if _descriptor(one) in descriptors]
    for one in found:
        one.flush()
    return found


def _descriptor(file: Any) -> Optional[int]:
    """The descriptor that a file object writes to, None where it has none."""
    try:
        return int(file.fileno()) if not file.closed and file.writable() else None
    except (OSError, ValueError):
        return None


def _written_in(work: str) -> "set[int]":
    """The descriptors of this process that are open for writing on files in `work`."""
    found = set()
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError, ValueError):
            target = os.readlink(f"/proc/self/fd/{name}")
            if target.startswith(work + os.sep):  # a pipe's or socket's is no path
                with open(f"/proc/self/fdinfo/{name}") as stream:
                    flags = next(line for line in stream if line.startswith("flags:"))
                if int(flags.split()[1], 8) & (os.O_WRONLY | os.O_RDWR):
                    found.add(int(name))
    return found
