"""Keras hooks: checkpoint and resume every `fit`, record every evaluation.

Patched once, on `keras.Model`: `tf.keras` is the same class since TensorFlow 2.16, and Sequential,
functional and subclassed models inherit from it.
"""

import functools
import sys
from types import ModuleType
from typing import Any, Callable, Dict, List, Optional, Type

from mlops_lib.runner.context import Context
from mlops_lib.runner.keras import data_order, evaluation, graph_random, tf_keras
from mlops_lib.runner.keras.fit import ACTIVE_FITS, SEED_OFFSET, Fit
from mlops_lib.runner.script import call_sites
from mlops_lib.runner.script.arguments import bind
from mlops_lib.runner.state import rng


def install(run: Context) -> Dict[str, Callable[[ModuleType], None]]:
    """Return the import hooks for TensorFlow and Keras, by module."""

    def tensorflow(module: ModuleType) -> None:
        with run.journal.guard("seed tensorflow"):
            rng.seed_tensorflow(module, run.spec.seed + SEED_OFFSET)

    def model(module: ModuleType) -> None:
        with run.journal.guard("patch keras.Model"):
            # Keras recognises an overridden `compile` by a comparison with Trainer's, so the method
            # is replaced there.
            patch_model(module.Model, sys.modules["keras.src.trainers.trainer"].Trainer, run, Fit)

    def legacy_model(module: ModuleType) -> None:
        with run.journal.guard("patch tf_keras.Model"):
            patch_model(module.Model, module.Model, run, tf_keras.LegacyFit)
            tf_keras.patch_model(module.Model, lambda: ACTIVE_FITS[-1] if ACTIVE_FITS else None)

    def legacy_data(module: ModuleType) -> None:
        with run.journal.guard("patch tf_keras data"):
            tf_keras.patch_handlers(module.DataHandler)

    def metrics(module: ModuleType) -> None:
        with run.journal.guard("patch keras metrics"):
            evaluation.watch_metric(run, module.Mean)

    def layer(module: ModuleType) -> None:
        with run.journal.guard("watch keras layers"):
            if run.spec.search is not None:
                call_sites.watch_layers(module.Layer, run.work)

    def iterators(name: str) -> Callable[[ModuleType], None]:
        def trainer(module: ModuleType) -> None:
            with run.journal.guard("patch keras iterators"):
                data_order.patch_iterators(
                    getattr(module, name), lambda: ACTIVE_FITS[-1] if ACTIVE_FITS else None
                )

        return trainer

    def dataset(module: ModuleType) -> None:
        with run.journal.guard("patch tf.data"):
            data_order.count_iterators(module.DatasetV2)

    def random_operations(module: ModuleType) -> None:
        with run.journal.guard("patch random operations"):
            graph_random.install(module)

    def seed_generator(module: ModuleType) -> None:
        with run.journal.guard("patch seed generators"):
            rng.seed_generators.track(module.SeedGenerator)

    def epoch_iterator(module: ModuleType) -> None:
        with run.journal.guard("watch keras iterators"):
            _journal_exhausted_data(module.EpochIterator, run)

    return {
        "tensorflow": tensorflow,
        "keras.src.trainers.epoch_iterator": epoch_iterator,
        "tensorflow.python.data.ops.dataset_ops": dataset,
        "tensorflow.python.ops.gen_random_ops": random_operations,
        "keras.src.layers.layer": layer,
        "keras.src.models.model": model,
        "keras.src.metrics.reduction_metrics": metrics,
        "keras.src.backend.tensorflow.trainer": iterators("TFEpochIterator"),
        "keras.src.backend.jax.trainer": iterators("JAXEpochIterator"),
        "keras.src.backend.torch.trainer": iterators("TorchEpochIterator"),
        "keras.src.random.seed_generator": seed_generator,
        "tf_keras.src.engine.training": legacy_model,
        "tf_keras.src.engine.data_adapter": legacy_data,
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
    fit = model_class.fit
    evaluate = model_class.evaluate
    predict = model_class.predict
    compile_ = trainer_class.compile
    on_batch = model_class.train_on_batch

    @functools.wraps(fit)
    def fit_(self: Any, *args: Any, **kwargs: Any) -> Any:
        if run.nested:
            return _inner(self, None, fit, *args, **kwargs)
        return fit_class(run, self, fit, args, kwargs).run()

    @functools.wraps(evaluate)
    def evaluate_(self: Any, *args: Any, **kwargs: Any) -> Any:
        if run.nested:
            # A fit's own validation is part of it; what a callback evaluates is not.
            own = (
                ACTIVE_FITS[-1] if ACTIVE_FITS and kwargs.get("_use_cached_eval_dataset") else None
            )
            return _inner(self, own, evaluate, *args, **kwargs)
        return _inner(
            self, None, evaluation.evaluate, run, self, evaluate, args, kwargs, here=False
        )

    @functools.wraps(predict)
    def predict_(self: Any, *args: Any, **kwargs: Any) -> Any:
        run.journal.progress("evaluate" if not run.nested else None)
        run.nested += 1
        try:
            result = _inner(self, None, predict, *args, **kwargs)
        finally:
            run.nested -= 1
        if not run.nested:
            run.journal.progress("script")
            with run.journal.guard("keras.predict"):
                evaluation.remember_prediction(run, self, predict, args, kwargs, result)
        return result

    @functools.wraps(on_batch)
    def train_on_batch(self: Any, *args: Any, **kwargs: Any) -> Any:
        if not run.nested:
            run.warn_custom_loop("train_on_batch", resumable="`fit`")
            run.journal.progress("fit")
        return _inner(self, None, on_batch, *args, **kwargs)

    @functools.wraps(compile_)
    def compile__(self: Any, *args: Any, **kwargs: Any) -> Any:
        with run.journal.guard("keras.compile"):
            # The objects themselves: a loss written by the user cannot be made again from a
            # configuration.
            self.__dict__["_mlops_compile"] = bind(compile_, self, args, kwargs)
            graph_random.forget(self)
            if run.spec.search is not None and not run.nested:
                self.__dict__["_mlops_compile_site"] = call_sites.caller(run.work)
        return compile_(self, *args, **kwargs)

    model_class.fit = fit_
    model_class.evaluate = evaluate_
    model_class.predict = predict_
    model_class.train_on_batch = train_on_batch
    trainer_class.compile = compile__


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
