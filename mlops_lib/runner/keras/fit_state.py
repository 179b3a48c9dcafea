"""The state of a Keras fit: capture it after a step or an epoch, and restore it.

Keras' own BackupAndRestore keeps weights and the optimizer. A fit resumed from these alone differs
from one without a restart: missing are seed generators (Dropout, augmentation), the states of a
stateful RNN, the random state of the process, the order of the data, callbacks' own state, and the
History. All of that is captured here, or by `data_order` and `mlops_lib.runner.state`.
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
    """Return the variables of a model under training, each once.

    They are weights, seeds, RNN states and the optimizer's variables.
    """
    skipped = {id(v) for v in metric_variables(model)}
    own = list(model.variables)
    for layer in model._flatten_layers():
        own += _untracked(layer)
    optimizer = getattr(model, "optimizer", None)
    if optimizer is not None:
        own += _optimizer_variables(optimizer)
    # A dict keeps the order of first appearance, by which `assign` matches values to variables.
    # Layers that share a variable list it twice.
    return list({id(v): v for v in own if id(v) not in skipped}.values())


def _optimizer_variables(optimizer: Any) -> List[Any]:
    # A property in Keras 3, a method in the legacy Keras.
    variables = optimizer.variables
    return list(variables() if callable(variables) else variables)


def _untracked(layer: Any) -> List[Any]:
    """Return variables that a layer holds but does not list.

    These are the states of a stateful RNN and the generator of a legacy layer.
    """
    hidden: List[Any] = []
    # An attribute in Keras 3, a property over `_states` in the legacy Keras; read past properties.
    states = layer.__dict__.get("states", layer.__dict__.get("_states"))
    if states is not None and getattr(layer, "stateful", False):
        hidden += [v for v in _flat(states) if hasattr(v, "assign")]
    generator = getattr(layer.__dict__.get("_random_generator"), "_generator", None)
    if generator is not None:
        hidden.append(generator.state)
    return hidden


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
    """Return the running sums of metrics and loss; they matter within an epoch only."""
    sums = getattr(model, "metrics_variables", None)
    if sums is None:  # the legacy Keras
        sums = [variable for metric in model.metrics for variable in metric.variables]
    return list(sums)


def values(variables: List[Any]) -> List[Any]:
    """Return copies of the values of variables."""
    import numpy

    # `numpy.array` copies: on a CPU `v.numpy()` may be a view of memory that a later step
    # overwrites.
    return [numpy.array(v.numpy() if hasattr(v, "numpy") else v) for v in variables]


def assign(variables: List[Any], state: List[Any]) -> None:
    """Assign values to variables.

    Raises:
        ValueError: the values come from other variables.
    """
    # Shapes are compared before the first assignment: a model that is half restored would train on
    # without an error.
    is_same = len(variables) == len(state) and all(
        tuple(variable.shape) == value.shape for variable, value in zip(variables, state)
    )
    if not is_same:
        raise ValueError(
            f"the checkpoint has {len(state)} variables of other shapes than the model's"
            f" {len(variables)}"
        )
    for variable, value in zip(variables, state):
        variable.assign(value)


def capture_variables(model: Any) -> List[Any]:
    """Return copies of the values, in the order of `variables`."""
    return values(variables(model))


INNER_SIZE = 4096
"""Largest size of a variable that a validation may change; larger ones hold weights."""


def capture_inner(model: Any) -> Dict[int, Any]:
    """Return the values of small untrained variables, by their places.

    A validation may change them: seeds, states of a stateful RNN, counters. The optimizer's
    variables are not among them.
    """
    optimizer = getattr(model, "optimizer", None)
    trained = list(model.trainable_variables) + (
        [] if optimizer is None else _optimizer_variables(optimizer)
    )
    skipped = {id(v) for v in trained}
    inner = {}
    for place, variable in enumerate(variables(model)):
        size = 1
        for length in variable.shape:
            size *= int(length)
        if id(variable) not in skipped and size <= INNER_SIZE:
            inner[place] = values([variable])[0]
    return inner


def replace_inner(state: List[Any], inner: Dict[int, Any]) -> None:
    """Replace these places of a `capture_variables` result by earlier values."""
    for place, value in inner.items():
        state[place] = value


def restore_variables(model: Any, state: List[Any]) -> None:
    """Assign the values of `capture_variables`.

    Raises:
        ValueError: they come from another model.
    """
    assign(variables(model), state)


def build(model: Any, config: Any) -> None:
    """Create the variables of a model and its optimizer, as in the captured fit."""
    if config and not model.built:
        model.build_from_config(config)
    optimizer = getattr(model, "optimizer", None)
    if optimizer is None or not model.built:
        return
    if not getattr(optimizer, "built", getattr(optimizer, "_built", False)):
        # The optimizer's slots otherwise come into being with the first step, after the values of
        # the checkpoint have been assigned.
        with _scope(optimizer):
            optimizer.build(model.trainable_variables)


def _scope(optimizer: Any) -> ContextManager[Any]:
    """Return the name scope in which the legacy Keras creates optimizer variables.

    A model saved as HDF5 refers to them by these names.
    """
    if not type(optimizer).__module__.startswith("tf_keras"):
        return contextlib.nullcontext()
    return sys.modules["tensorflow"].name_scope(optimizer.name)  # type: ignore[no-any-return]


def is_built_for(model: Any, state: List[Any]) -> bool:
    """Return whether the model has the variables that the values come from."""
    own = variables(model) if model.built else []
    return len(own) == len(state) and all(
        tuple(v.shape) == value.shape for v, value in zip(own, state)
    )


def build_config(model: Any) -> Any:
    """Return the argument of `build` for a model that the script left unbuilt.

    None if Keras cannot provide it.
    """
    if not model.built or not hasattr(model, "get_build_config"):
        return None
    with contextlib.suppress(NotImplementedError, ValueError, AttributeError):
        return model.get_build_config()
    return None


class CallbackState:
    """The state of a fit's own callbacks, and of all objects they reach."""

    def __init__(self, callbacks: List[Any]) -> None:
        self.callbacks = callbacks
        self.roots = [
            (f"{i}-{type(callback).__name__}", callback) for i, callback in enumerate(callbacks)
        ]
        # Large arrays that did not change during the fit are left out: the script makes them again.
        self._marks = objects.checksums(objects.find_places(self.roots))

    def capture(self) -> "tuple[Dict[str, bytes], List[str]]":
        """Return their contents, and the names of the script's objects that are lost."""
        contents, uncaptured = objects.capture(objects.find_places(self.roots), self._marks)
        # Frameworks' own callbacks rebuild what cannot be stored; nothing of the script is lost.
        framework_roots = {
            name
            for name, callback in self.roots
            if type(callback).__module__.split(".")[0] in objects.FRAMEWORKS
        }
        return contents, [name for name in uncaptured if name.split(".")[0] not in framework_roots]

    def restore(self, contents: Dict[str, bytes]) -> List[str]:
        """Restore captured contents; return the names that could not be restored."""
        return objects.restore(objects.find_places(self.roots), contents, self.roots)


def capture(model: Any, callback_state: CallbackState, store: checkpoint.Store) -> Dict[str, Any]:
    """Return the state of a fit, except its History and its data."""
    # Before the files are recorded: buffered bytes would be lost, or appear twice after a resume.
    flush_writers(callback_state.callbacks)
    flush_handles(store.work)
    if hasattr(model, "jax_state_sync"):
        # Within an epoch JAX's steps hold the values, and the variables hold stale ones.
        model.jax_state_sync()
    contents, uncaptured = callback_state.capture()
    return {
        "variables": capture_variables(model),
        "build": build_config(model),
        "counters": graph_random.capture(model),
        "callbacks": contents,
        "lost": uncaptured,
        "random": rng.capture(),
        "files": store.snapshot_files(),
        "stop": bool(model.stop_training),
    }


def restore(
    model: Any, callback_state: CallbackState, state: Dict[str, Any], store: checkpoint.Store
) -> List[str]:
    """Restore a captured state except the random state; return lost names."""
    # The random state is restored by the caller, after this: restoring callbacks may draw from it.
    restore_variables(model, state["variables"])
    graph_random.restore(model, state["counters"])
    handles = flush_handles(store.work)
    unrestored = callback_state.restore(state["callbacks"])
    store.restore_files(state["files"])
    # Handles that the script still holds would otherwise write behind the file's restored end.
    for handle in handles:
        handle.seek(0, os.SEEK_END)
    return [*state["lost"], *unrestored]


def flush_writers(callbacks: List[Any]) -> None:
    """Flush the writers of TensorBoard callbacks."""
    for callback in callbacks:
        writers = callback.__dict__.get("_writers")
        for writer in writers.values() if isinstance(writers, dict) else ():
            writer.flush()


def flush_handles(work: str) -> List[Any]:
    """Flush and return the script's files open for writing in its directory."""
    # The kernel knows which files are open. Python has no list of them, and to search all objects
    # takes seconds in a process with a framework.
    descriptors = _written_in(work)
    if not descriptors:
        return []
    handles: List[Any] = [
        file for file in list(workdir.OPENED) if isinstance(file, io.TextIOWrapper)
    ]
    if not descriptors <= {_descriptor(file) for file in handles}:
        # Opened by other means, or a binary file below a text layer: search all objects, which
        # takes longer.
        handles = [
            item
            for item in gc.get_objects()
            if isinstance(item, (io.TextIOWrapper, io.BufferedWriter))
        ]
    handles = [file for file in handles if _descriptor(file) in descriptors]
    for file in handles:
        file.flush()
    return handles


def _descriptor(file: Any) -> Optional[int]:
    """Return the descriptor that a file object writes to, or None."""
    try:
        return int(file.fileno()) if not file.closed and file.writable() else None
    except (OSError, ValueError):
        return None


def _written_in(work: str) -> "set[int]":
    """Return the descriptors of this process open for writing on files in `work`."""
    descriptors = set()
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError, ValueError):
            target = os.readlink(f"/proc/self/fd/{name}")
            # The target of a pipe or a socket is no path.
            if target.startswith(work + os.sep):
                with open(f"/proc/self/fdinfo/{name}") as stream:
                    flags = next(line for line in stream if line.startswith("flags:"))
                if int(flags.split()[1], 8) & (os.O_WRONLY | os.O_RDWR):
                    descriptors.add(int(name))
    return descriptors
