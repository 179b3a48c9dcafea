"""Run scripts written for Keras 1 and 2, TensorFlow 1, Python 2 and old scikit-learn.

Code that runs on today's libraries is untouched: a shim answers only for a module, a name or an
argument that would otherwise raise, or
keeps the meaning of an old argument. Each use is journaled once, with the script's line.
"""

import functools
import urllib
from types import ModuleType
from typing import Any, Callable, Dict

from mlops_lib.runner.compat import (
    colab,
    names,
    python2,
    scipy_stack,
    sibling_modules,
    source,
    tensorflow1,
    tf_addons,
)
from mlops_lib.runner.compat import pytorch as pytorch_compat
from mlops_lib.runner.compat.keras import arguments as keras_arguments
from mlops_lib.runner.compat.keras import backend as keras_backend
from mlops_lib.runner.compat.keras import files as keras_files
from mlops_lib.runner.compat.keras import methods as keras_methods
from mlops_lib.runner.compat.keras import names as keras_names
from mlops_lib.runner.compat.notes import Notes
from mlops_lib.runner.context import Context

Hook = Callable[[ModuleType], None]


def dialect(run: Context, text: str, path: str) -> source.Dialect:
    """Return how to compile the project's sources, and prepare TensorFlow for their age."""
    notes = Notes(run.journal, run.work)
    sources = source.Dialect(run.work, notes, lost_names=_lost())
    with run.journal.guard("date the script"):
        sources.decide(text, path)
        tensorflow1.prepare(graph=sources.graph)
        sources.install()
    return sources


def _lost() -> "frozenset[str]":
    """Return modules and importable names that Keras 2 and old scikit-learn had."""
    moved_names = names.prefixed(keras_names.NAMES, keras_names.PREFIXES[:2], root="keras")
    modules = names.prefixed(keras_names.MODULES, keras_names.PREFIXES[:2], root="keras")
    return frozenset(
        {*modules, *keras_names.PREPROCESSING, *scipy_stack.MODULES}
        | {
            f"{module}.{name}"
            for module, table in {**moved_names, **scipy_stack.NAMES}.items()
            for name in table
        }
    )


def install(run: Context, sources: source.Dialect, entry: str) -> Dict[str, Hook]:
    """Install the finders for vanished modules; return hooks for modules that still exist.

    Args:
        run: the run.
        sources: how the project's sources are compiled.
        entry: the script that runs, relative to the working directory.
    """
    import sys

    notes = sources.notes
    graph_keras = sources.graph and sources.keras
    if graph_keras:
        sys.meta_path.insert(0, tensorflow1.LegacyKeras())
    modules = {
        **names.prefixed(
            keras_names.MODULES,
            ("tf_keras", *keras_names.PREFIXES) if graph_keras else keras_names.PREFIXES,
            root="keras",
        ),
        **keras_names.PREPROCESSING,
        **scipy_stack.MODULES,
        **tensorflow1.MODULES,
        **pytorch_compat.MODULES,
        **tf_addons.MODULES,
    }
    names.install(modules, notes)
    # Libraries look for Colab's modules to learn whether they run there.
    names.install(colab.MODULES, notes, only_for=sources.work)
    names.install(python2.modules(), notes, only_for=sources.work)
    names.lend(urllib, python2.URLLIB, notes)
    sys.meta_path.append(tensorflow1.Contrib())
    sys.meta_path.append(sibling_modules.Neighbours(sources.work, entry, notes))
    hooks: Dict[str, Hook] = {
        **scipy_stack.hooks(notes, work=sources.work),
        **pytorch_compat.hooks(notes),
        **tensorflow1.hooks(notes, graph=sources.graph, keras=sources.keras),
    }
    hooks["tf_keras.src.utils.vis_utils"] = lambda module: keras_arguments.pictures(module, notes)
    if not graph_keras:
        hooks.update(_keras(run, sources))
    return {name: _guarded(run, name, hook) for name, hook in hooks.items()}


def _guarded(run: Context, name: str, hook: Hook) -> Hook:
    def call(module: ModuleType) -> None:
        with run.journal.guard(f"old names of {name}"):
            hook(module)

    return call


def _layers(lend: Hook, notes: Notes, module: ModuleType) -> None:
    lend(module)
    keras_methods.convolutions(module, notes)


def _keras(run: Context, result: source.Dialect) -> Dict[str, Hook]:
    notes = result.notes
    hooks: Dict[str, Hook] = {}
    substitutes = {
        **keras_names.NAMES,
        "keras.backend": keras_backend.names(notes, aged=result.aged),
    }
    for name, table in names.prefixed(substitutes, keras_names.PREFIXES, root="keras").items():
        hooks[name] = lambda module, table=table: names.lend(module, table, notes)  # type: ignore[misc]
    for name in ("keras.layers", "tensorflow.keras.layers", "keras._tf_keras.keras.layers"):
        hooks[name] = functools.partial(_layers, hooks[name], notes)

    lend_keras = hooks["keras"]

    def keras(module: Any) -> None:
        lend_keras(module)
        keras_arguments.layers(module.layers, notes)
        keras_arguments.optimizers(module.optimizers, notes)
        keras_methods.models(module, notes)
        keras_methods.data_sets(module.datasets, notes)
        keras_methods.callbacks(module.callbacks, notes)
        keras_methods.layer_shapes(module.layers.Layer)
        keras_methods.learning_rate(module.optimizers.Optimizer)
        keras_files.install(module, notes)

    def convolutions(module: ModuleType) -> None:
        keras_backend.channels_first(module, notes)

    return {
        **hooks,
        "keras": keras,
        "keras.src.backend.tensorflow.nn": convolutions,
        "keras.src.utils.numerical_utils": lambda module: keras_arguments.classes(module, notes),
        "keras.src.utils.model_visualization": lambda module: keras_arguments.pictures(
            module, notes
        ),
        "keras.src.legacy.preprocessing.image": lambda module: keras_methods.iterators(
            module.Iterator
        ),
        "keras.src.trainers.data_adapters.generator_data_adapter": lambda module: (
            keras_methods.generators(module, notes)
        ),
    }


__all__ = ["dialect", "install"]
