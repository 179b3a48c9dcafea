"""Keras hooks: checkpoint and resume every `fit`, record every evaluation.

Patched once, on `keras.Model`: `tf.keras` is the same class since TensorFlow 2.16, and Sequential,
functional and subclassed models inherit from it.
"""

import functools
import sys
from types import ModuleType
from typing import Any, Callable, Dict, List, Optional, Tuple, Type

from mlops_lib.runner.context import Context
from mlops_lib.runner.keras import data_order, evaluation, graph_random, tf_keras
from mlops_lib.runner.keras.fit import ACTIVE_FITS, SEED_OFFSET, Fit
from mlops_lib.runner.script import call_sites
from mlops_lib.runner.script.arguments import bind
from mlops_lib.runner.state import rng

Action = Tuple[str, Callable[[Any], None]]
"""A purpose, for the journal if it fails, and a function of the imported module."""


def install(run: Context) -> Dict[str, Callable[[ModuleType], None]]:
    """Return the import hooks for TensorFlow and Keras, by module."""
    actions = {**_tensorflow_actions(run), **_keras_actions(run), **_legacy_actions(run)}
    return {name: _guarded(run, action) for name, action in actions.items()}


def _guarded(run: Context, action: Action) -> Callable[[ModuleType], None]:
    """Return an import hook; its errors go to the journal, never to the script."""
    purpose, act = action

    def on_import(module: ModuleType) -> None:
        with run.journal.guard(purpose):
            act(module)

    return on_import


def _active_fit() -> Optional[Fit]:
    return ACTIVE_FITS[-1] if ACTIVE_FITS else None


def _tensorflow_actions(run: Context) -> Dict[str, Action]:
    return {
        "tensorflow": (
            "seed tensorflow",
            lambda module: rng.seed_tensorflow(module, run.spec.seed + SEED_OFFSET),
        ),
        "tensorflow.python.data.ops.dataset_ops": (
            "patch tf.data",
            lambda module: data_order.count_iterators(module.DatasetV2),
        ),
        "tensorflow.python.ops.gen_random_ops": ("patch random operations", graph_random.install),
    }


def _keras_actions(run: Context) -> Dict[str, Action]:
    def patch_keras_model(module: Any) -> None:
        # Keras recognises an overridden `compile` by a comparison with Trainer's, so the method is
        # replaced there.
        patch_model(module.Model, sys.modules["keras.src.trainers.trainer"].Trainer, run, Fit)

    def watch_layers(module: Any) -> None:
        if run.spec.search is not None:
            call_sites.watch_layers(module.Layer, run.work)

    def iterators(name: str) -> Action:
        return (
            "patch keras iterators",
            lambda module: data_order.patch_iterators(getattr(module, name), _active_fit),
        )

    return {
        "keras.src.trainers.epoch_iterator": (
            "watch keras iterators",
            lambda module: _journal_exhausted_data(module.EpochIterator, run),
        ),
        "keras.src.layers.layer": ("watch keras layers", watch_layers),
        "keras.src.models.model": ("patch keras.Model", patch_keras_model),
        "keras.src.metrics.reduction_metrics": (
            "patch keras metrics",
            lambda module: evaluation.watch_metric(run, module.Mean),
        ),
        "keras.src.backend.tensorflow.trainer": iterators("TFEpochIterator"),
        "keras.src.backend.jax.trainer": iterators("JAXEpochIterator"),
        "keras.src.backend.torch.trainer": iterators("TorchEpochIterator"),
        "keras.src.random.seed_generator": (
            "patch seed generators",
            lambda module: rng.seed_generators.track(module.SeedGenerator),
        ),
    }


def _legacy_actions(run: Context) -> Dict[str, Action]:
    def patch_legacy_model(module: Any) -> None:
        patch_model(module.Model, module.Model, run, tf_keras.LegacyFit)
        tf_keras.patch_model(module.Model, _active_fit)

    return {
        "tf_keras.src.engine.training": ("patch tf_keras.Model", patch_legacy_model),
        "tf_keras.src.engine.data_adapter": (
            "patch tf_keras data",
            lambda module: tf_keras.patch_handlers(module.DataHandler),
        ),
    }


def _journal_exhausted_data(iterator_class: Any, run: Context) -> None:
    """Warn once if a generator or data set has fewer batches than requested."""
    original = iterator_class._interrupted_warning
    warned: List[bool] = []

    @functools.wraps(original)
    def interrupted(self: Any) -> Any:
        requested = self.steps_per_epoch
        # Keras also calls this at the end of data of unknown length, without a requested number.
        if requested and not warned:
            warned.append(True)
            # `_steps_seen` counts over all epochs since the data was opened; for data of unknown
            # length it includes the batch that could not be read.
            steps = self._steps_seen - (
                self.steps_per_execution if self.data_adapter.num_batches is None else 0
            )
            run.journal.warn(
                f"the data ran out: {steps % requested} of the {requested} batches of an epoch were"
                " there; what is measured is about these examples. Let the data repeat, or ask for"
                " fewer steps"
            )
        return original(self)

    iterator_class._interrupted_warning = interrupted


def patch_model(model_class: Any, trainer_class: Any, run: Context, fit_class: Type[Fit]) -> None:
    """Replace the methods that train, evaluate and predict.

    Args:
        model_class: the class with `fit`, `evaluate` and `predict`.
        trainer_class: the class with `compile`.
        run: the execution.
        fit_class: the class that runs a call of `fit`.
    """
    model_class.fit = _patched_fit(run, model_class.fit, fit_class)
    model_class.evaluate = _patched_evaluate(run, model_class.evaluate)
    model_class.predict = _patched_predict(run, model_class.predict)
    model_class.train_on_batch = _patched_train_on_batch(run, model_class.train_on_batch)
    trainer_class.compile = _patched_compile(run, trainer_class.compile)


def _patched_fit(
    run: Context, original: Callable[..., Any], fit_class: Type[Fit]
) -> Callable[..., Any]:
    @functools.wraps(original)
    def fit(self: Any, *args: Any, **kwargs: Any) -> Any:
        if run.nested:
            return _inner(self, None, original, *args, **kwargs)
        return fit_class(run, self, original, args, kwargs).run()

    return fit


def _patched_evaluate(run: Context, original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def evaluate(self: Any, *args: Any, **kwargs: Any) -> Any:
        if run.nested:
            # A fit's own validation is part of it; an evaluation by a callback is not.
            is_validation = bool(ACTIVE_FITS) and kwargs.get("_use_cached_eval_dataset")
            own = ACTIVE_FITS[-1] if is_validation else None
            return _inner(self, own, original, *args, **kwargs)
        return _inner(
            self, None, evaluation.evaluate, run, self, original, args, kwargs, here=False
        )

    return evaluate


def _patched_predict(run: Context, original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def predict(self: Any, *args: Any, **kwargs: Any) -> Any:
        run.journal.progress("evaluate" if not run.nested else None)
        # Keras' `predict` may call other patched methods, which are no calls of the script.
        run.nested += 1
        try:
            result = _inner(self, None, original, *args, **kwargs)
        finally:
            run.nested -= 1
        if not run.nested:
            run.journal.progress("script")
            with run.journal.guard("keras.predict"):
                evaluation.remember_prediction(run, self, original, args, kwargs, result)
        return result

    return predict


def _patched_train_on_batch(run: Context, original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def train_on_batch(self: Any, *args: Any, **kwargs: Any) -> Any:
        if not run.nested:
            run.warn_custom_loop("train_on_batch", resumable="`fit`")
            run.journal.progress("fit")
        return _inner(self, None, original, *args, **kwargs)

    return train_on_batch


def _patched_compile(run: Context, original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def compile_model(self: Any, *args: Any, **kwargs: Any) -> Any:
        with run.journal.guard("keras.compile"):
            # The objects themselves: a loss written by the user cannot be made again from a
            # configuration.
            self.__dict__["_mlops_compile"] = bind(original, self, args, kwargs)
            graph_random.forget(self)
            if run.spec.search is not None and not run.nested:
                self.__dict__["_mlops_compile_site"] = call_sites.caller(run.work)
        return original(self, *args, **kwargs)

    return compile_model


def _inner(
    model: Any,
    fit: Optional[Fit],
    function: Callable[..., Any],
    *args: Any,
    here: bool = True,
    **kwargs: Any,
) -> Any:
    """Call a function with `model` as the current model and `fit` as the active fit."""
    graph_random.current.append(model)
    ACTIVE_FITS.append(fit)
    try:
        return function(model, *args, **kwargs) if here else function(*args, **kwargs)
    finally:
        ACTIVE_FITS.pop()
        graph_random.current.pop()


def _seen_before(fit: Fit) -> "frozenset[bytes]":
    """Return the examples that earlier fits trained this model, or its layers, on."""
    run = fit.context
    own = _inner_layers(fit.model)
    hashes: "set[bytes]" = set()
    for number, model in run.models.items():
        if number < fit.number and number in run.fit_examples and _inner_layers(model) & own:
            hashes |= run.fit_examples[number].hashes
    return frozenset(hashes)


def _inner_layers(model: Any) -> "set[int]":
    return {id(layer) for layer in model._flatten_layers(include_self=False) if layer.weights}


def search(fit: Fit, history: Any, folder: str) -> Any:
    """Search around a judged fit that has just returned; return its History."""
    from mlops_lib.runner.search import judged_examples
    from mlops_lib.runner.search.keras.search import improve
    from mlops_lib.runner.search.request import FitCall, SearchRequest

    run = fit.context
    request = SearchRequest.read(
        run.spec.search or {},
        directory=folder,
        seed=run.spec.seed,
        judged=judged_examples.known(folder, run.spec.inside),
    )
    compiled = fit.model.__dict__.get("_mlops_compile", {})
    places = {
        "fit": call_sites.caller(run.work),
        "compile": fit.model.__dict__.get("_mlops_compile_site"),
    }
    call = FitCall(
        arguments=dict(fit.call),
        compiled=compiled,
        history=history,
        initial=fit.initial,
        train=fit.original,
        sites=places,
        seen=_seen_before(fit),
    )
    outcome = improve(fit.model, call, request, run.journal, leave=run.restart_process)
    for note in outcome.notes:
        run.journal.warn(note)
    for step in outcome.steps:
        run.journal.note(step)
    if outcome.changed:
        fit.rewrite_checkpointed_files()
        run.evaluations.selected |= outcome.selected_on
        fit.winner = outcome
    return outcome.history if outcome.history is not None else history
