"""Keras around the script: every `fit` is checkpointed and resumed, every `evaluate` and `predict` is remembered.

Patched once, on `keras.Model`: `tf.keras` is the same class since TensorFlow 2.16, and Sequential, functional and
subclassed models inherit from it.
"""

import functools
import inspect
import os
import sys
import time
from types import ModuleType
from typing import Any, Callable, Dict, List, Optional

from mlops_lib.runner import checkpoint, digest, keras_evaluation, keras_resume, randomness, sites
from mlops_lib.runner.calls import bind
from mlops_lib.runner.context import Context

SEED_OFFSET = 740_000_003
"""Added to the run's seed for TensorFlow, so that a script's own `set_seed` can be told from ours."""


def install(run: Context) -> Dict[str, Callable[[ModuleType], None]]:
    """The import hooks for TensorFlow and Keras."""

    def tensorflow(module: ModuleType) -> None:
        with run.journal.guard("seed tensorflow"):
            randomness.seed_tensorflow(module, run.spec.seed + SEED_OFFSET)

    def model(module: ModuleType) -> None:
        with run.journal.guard("patch keras.Model"):
            patch_model(module.Model, run)

    def metrics(module: ModuleType) -> None:
        with run.journal.guard("patch keras metrics"):
            keras_evaluation.watch_metric(run, module.Mean)

    def trainer(module: ModuleType) -> None:
        with run.journal.guard("patch keras iterators"):
            patch_iterators(module.TFEpochIterator, run)

    def layer(module: ModuleType) -> None:
        with run.journal.guard("watch keras layers"):
            if run.spec.search is not None:
                sites.watch_layers(module.Layer, run.work)

    return {
        "tensorflow": tensorflow,
        "keras.src.layers.layer": layer,
        "keras.src.models.model": model,
        "keras.src.metrics.reduction_metrics": metrics,
        "keras.src.backend.tensorflow.trainer": trainer,
    }


_ACTIVE: List["Fit"] = []
"""The fit under way, if any."""


def patch_model(model_class: Any, run: Context) -> None:
    """Replace the methods that train, evaluate and predict."""
    # Keras tells an overridden `compile` by comparing with this class's, so this is where it is replaced.
    trainer_class = sys.modules["keras.src.trainers.trainer"].Trainer
    fit, evaluate, predict, compile_ = model_class.fit, model_class.evaluate, model_class.predict, trainer_class.compile

    @functools.wraps(fit)
    def fit_(self: Any, *args: Any, **kwargs: Any) -> Any:
        if run.nested:
            return fit(self, *args, **kwargs)
        return Fit(run, self, fit, args, kwargs).run()

    @functools.wraps(evaluate)
    def evaluate_(self: Any, *args: Any, **kwargs: Any) -> Any:
        if run.nested:
            return evaluate(self, *args, **kwargs)
        return keras_evaluation.evaluate(run, self, evaluate, args, kwargs)

    @functools.wraps(predict)
    def predict_(self: Any, *args: Any, **kwargs: Any) -> Any:
        run.journal.progress("evaluate" if not run.nested else None)
        run.nested += 1
        try:
            result = predict(self, *args, **kwargs)
        finally:
            run.nested -= 1
        if not run.nested:
            run.journal.progress("script")
            with run.journal.guard("keras.predict"):
                keras_evaluation.remember_prediction(run, self, predict, args, kwargs, result)
        return result

    @functools.wraps(compile_)
    def compile__(self: Any, *args: Any, **kwargs: Any) -> Any:
        with run.journal.guard("keras.compile"):
            # The objects themselves: a loss written by the user cannot be made again from a configuration.
            self.__dict__["_mlops_compile"] = bind(compile_, self, args, kwargs)
            if run.spec.search is not None and not run.nested:
                self.__dict__["_mlops_compile_site"] = sites.caller(run.work)
        return compile_(self, *args, **kwargs)

    model_class.fit, model_class.evaluate = fit_, evaluate_
    model_class.predict, trainer_class.compile = predict_, compile__


def patch_iterators(iterator_class: Any, run: Context) -> None:
    """Count the iterators of the fit under way, and give its arrays an order that can be repeated."""
    init, get_iterator = iterator_class.__init__, iterator_class._get_iterator

    @functools.wraps(init)
    def init_(self: Any, *args: Any, **kwargs: Any) -> None:
        if not _ACTIVE:
            return init(self, *args, **kwargs)  # type: ignore[no-any-return]
        order = _ACTIVE[-1].order
        tensorflow = sys.modules["tensorflow"]
        shuffle = tensorflow.random.shuffle
        if order.own and kwargs.get("shuffle") is True:
            tensorflow.random.shuffle = lambda value, *a, **k: order.shuffled(tensorflow, value)
        try:
            init(self, *args, **kwargs)
        finally:
            tensorflow.random.shuffle = shuffle
        self._mlops_made = 0
        order.iterators.append(self)
        # The first is the training data's: it is moved when the fit begins, once Keras has reset it.
        if len(order.iterators) > 1:
            with run.journal.guard("restore validation order"):
                _ACTIVE[-1].restore_order(len(order.iterators) - 1)
        return None

    @functools.wraps(get_iterator)
    def get_iterator_(self: Any) -> Any:
        if hasattr(self, "_mlops_made"):
            self._mlops_made += 1
        return get_iterator(self)

    iterator_class.__init__, iterator_class._get_iterator = init_, get_iterator_


class Fit:
    """One call of `fit` by the script."""

    def __init__(self, run: Context, model: Any, original: Callable[..., Any], args: Any, kwargs: Any) -> None:
        self.context = run
        self.model = model
        self.original = original
        self.call = bind(original, model, args, kwargs)
        self.number = run.next_fit()
        self.store = checkpoint.Store(run.fit_folder(self.number), run.work)
        self.state: Optional[Dict[str, Any]] = None
        self.epochs_pending: List[Any] = []
        self.last_checkpoint_end = 0.0
        self.checkpoint_s = 0.0
        self.user_callbacks: List[Any] = []
        tf_context = sys.modules["tensorflow.python.eager.context"]
        unseeded = getattr(tf_context.context(), "_seed", None) == run.spec.seed + SEED_OFFSET
        self.order = keras_resume.Order((run.spec.seed, self.number), own=unseeded)
        self.initial: Optional[List[Any]] = None

    def run(self) -> Any:
        """Train, go on training, or return what had been trained."""
        with self.context.journal.guard("load checkpoint"):
            self.state = self.store.load()
            if self.is_searched and self.model.built:
                self.initial = keras_resume.take_variables(self.model)
        if self.state is not None and self.state["done"]:
            history = None
            with self.context.journal.guard("restore fit"):
                history = self._restore()
            if history is not None:
                return self._after(history)
            self.state = None
        history = self._train()
        self.context.journal.progress("script", step=None, steps=None)
        return self._after(history)

    @property
    def is_searched(self) -> bool:
        """Whether this is pass 2 and this is the judged fit."""
        request = self.context.spec.search
        return request is not None and int(request.get("fit", 0)) == self.number

    def _after(self, history: Any) -> Any:
        """What follows a fit: its validation is an evaluation, and in pass 2 the search begins here."""
        run = self.context
        with run.journal.guard("fit evaluation"):
            seen = digest.examples(self._training_rows())
            run.evaluations.trained(self.model, self.call.get("x"), seen)
            if seen is not None:
                run.seen[self.number] = seen
            last = {name: values[-1] for name, values in history.history.items() if values}
            keras_evaluation.add_fit_metrics(run, self.model, self.number, self.call, last)
        run.models[self.number] = self.model
        if self.is_searched and run.search is not None:
            run.nested += 1
            try:
                history = run.search(self, history)
            finally:
                run.nested -= 1
        return history

    def _training_rows(self) -> Any:
        x: Any = self.call.get("x")
        split = self.call.get("validation_split") or 0.0
        if not split or self.call.get("validation_data") is not None or not hasattr(x, "shape"):
            return x
        return x[: keras_evaluation.first_validation_row(x, split)]

    def _train(self) -> Any:
        run, call = self.context, dict(self.call)
        callbacks_module = sys.modules["keras.src.callbacks"]
        given = call.get("callbacks")
        if given is not None and type(given).__name__ == "CallbackList":
            run.journal.warn(f"fit {self.number} has a CallbackList of its own: it is not resumable")
            run.nested += 1
            try:
                return self.original(self.model, **call)
            finally:
                run.nested -= 1
        self.user_callbacks = list(given) if isinstance(given, (list, tuple)) else [given] if given is not None else []
        history = next((one for one in self.user_callbacks if type(one).__name__ == "History"), None)
        own: List[Any] = []
        if history is None:
            history = callbacks_module.History()
            own.append(history)
        self.history = history
        own.append(_recorder(callbacks_module.Callback, self))
        call["callbacks"] = [*self.user_callbacks, *own]
        run.nested += 1
        _ACTIVE.append(self)
        try:
            result = self.original(self.model, **call)
        finally:
            _ACTIVE.pop()
            run.nested -= 1
            self.model._initial_epoch = 0
        with run.journal.guard("finish fit"):
            self._finish()
        return result

    def begin(self) -> None:
        """Everything is set up and no step was made: continue from the checkpoint, if there is one."""
        run = self.context
        keras_resume.remember_large(self.user_callbacks)
        epoch = int(self.call.get("initial_epoch") or 0)
        if self.state is not None:
            lost = keras_resume.put(self.model, self.user_callbacks, self.state, self.store, self.call.get("x"))
            for name in lost:
                run.journal.warn(f"{name} could not be restored: the continuation is not guaranteed identical")
            self.history.epoch = list(self.state["epochs"])
            self.history.history = {name: list(values) for name, values in self.state["history"].items()}
            self.restore_order(0)
            epoch = self.state["epoch"] + 1
            for record in self.state["records"]:
                run.journal.epoch(self.number, record["epoch"], record["metrics"], record["seconds"])
            # A fit that had decided to stop has no epoch left.
            self.model._initial_epoch = int(self.call["epochs"]) if self.state["stop"] else epoch
        elif _looks_one_shot(self.call.get("x")):
            run.journal.warn(
                f"fit {self.number} reads a plain generator: after a restart its data begins anew,"
                " so the continuation is not guaranteed identical"
            )
        self._journal_fit("started" if self.state is None else "resumed", epoch)
        self.epoch_began = self.last_checkpoint_end = time.monotonic()

    def restore_order(self, index: int) -> None:
        """Bring the fit's iterator `index` to where it stood at the checkpoint."""
        if self.state is not None and index < min(len(self.state["order"]), len(self.order.iterators)):
            self.order.put(index, self.state["order"][index])

    def _journal_fit(self, state: str, epoch: int) -> None:
        parameters = self.model.count_params() if self.model.built else None
        self.context.journal.write(
            "fit", fit=self.number, framework="keras", model=type(self.model).__name__, state=state,
            epochs=self.call.get("epochs"), epoch=epoch, parameters=parameters,
            steps=self.order.iterators[0].num_batches if self.order.iterators else None,
        )  # fmt: skip

    def end_epoch(self, epoch: int, logs: Dict[str, Any]) -> None:
        """Note an epoch, and make it durable when its cost is within the budget."""
        now = time.monotonic()
        self.epochs_pending.append({"epoch": epoch, "metrics": dict(logs), "seconds": now - self.epoch_began})
        self.epoch_began = now
        last = epoch + 1 >= int(self.call["epochs"]) or self.model.stop_training
        due = now - self.last_checkpoint_end >= self.checkpoint_s / max(self.context.spec.checkpoint_budget, 1e-6)
        if due and not last:
            self._write(epoch, done=False)
            self.last_checkpoint_end = time.monotonic()
            self.checkpoint_s = self.last_checkpoint_end - now

    def _finish(self) -> None:
        epoch = self.history.epoch[-1] if self.history.epoch else -1
        self._write(epoch, done=True)
        metrics = {name: values[-1] for name, values in self.history.history.items() if values}
        self.context.journal.write("fit_end", fit=self.number, epochs=len(self.history.epoch), metrics=metrics)

    def _write(self, epoch: int, *, done: bool) -> None:
        run = self.context
        records, self.epochs_pending = self.epochs_pending, []
        state = keras_resume.take(self.model, self.user_callbacks, self.order, self.store, self.call.get("x"))
        state.update(
            done=done, epoch=epoch, epochs=list(self.history.epoch), records=records,
            history={name: list(values) for name, values in self.history.history.items()},
            params=dict(self.history.params or {}),
        )  # fmt: skip

        def durable(size: int, seconds: float) -> None:
            for record in records:
                run.journal.epoch(self.number, record["epoch"], record["metrics"], record["seconds"])
            run.journal.write(
                "checkpoint", fit=self.number, epoch=epoch, bytes=size, seconds=round(seconds, 4), done=done
            )

        run.writer.submit(self.store, state, durable)

    def _restore(self) -> Any:
        """Leave the process as this fit left it, without training."""
        state = self.state
        assert state is not None
        callbacks_module = sys.modules["keras.src.callbacks"]
        given = self.call.get("callbacks")
        self.user_callbacks = list(given) if isinstance(given, (list, tuple)) else [given] if given is not None else []
        for one in self.user_callbacks:
            one.set_model(self.model)
            one.set_params(state["params"])
        history = next((one for one in self.user_callbacks if type(one).__name__ == "History"), None)
        history = history or callbacks_module.History()
        history.set_model(self.model)
        history.set_params(state["params"])
        keras_resume.put(self.model, self.user_callbacks, state, self.store, self.call.get("x"))
        history.epoch, history.history = list(state["epochs"]), dict(state["history"])
        self.model.history = self.history = history
        self.model.stop_training = state["stop"]
        for record in state["records"]:
            self.context.journal.epoch(self.number, record["epoch"], record["metrics"], record["seconds"])
        self._journal_fit("restored", state["epoch"] + 1)
        return history

    def rewrite_checkpointed_files(self) -> None:
        """Let the files that the script's ModelCheckpoint wrote hold the winner of the search."""
        for one in self.user_callbacks:
            if type(one).__name__ != "ModelCheckpoint":
                continue
            path = str(one.filepath)
            if "{" in path or not os.path.exists(path):
                self.context.journal.warn(f"{path}: written for single epochs, holds the model from before the search")
            elif one.save_weights_only:
                self.model.save_weights(path, overwrite=True)
            else:
                self.model.save(path, overwrite=True)


def _recorder(callback_class: Any, fit: Fit) -> Any:
    """The callback that stands last in the caller's list."""

    class Recorder(callback_class):  # type: ignore[misc]
        async_safe = True

        def __init__(self) -> None:
            super().__init__()
            self.epoch = 0
            self.began = 0.0
            self.step_s: Optional[float] = None
            self.made = 0
            self.steps: Optional[int] = None
            """How many steps the epoch before had, for data that does not say."""

        def on_train_begin(self, logs: Any = None) -> None:
            with fit.context.journal.guard("begin fit"):
                fit.begin()

        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            self.model._initial_epoch = 0
            self.epoch, self.began, self.steps = epoch, time.monotonic(), self.made or None
            with fit.context.journal.guard("begin epoch"):
                fit.order.begin_epoch(epoch)
                fit.context.journal.progress("fit", fit=fit.number, epoch=epoch, step=0)

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            if batch:
                self.step_s = (time.monotonic() - self.began) / batch
            self.made = batch + 1
            steps = self.params.get("steps") or self.steps
            fit.context.journal.progress("fit", step=batch + 1, steps=steps, step_s=self.step_s)

        def on_test_batch_end(self, batch: int, logs: Any = None) -> None:
            fit.context.journal.progress("validation")

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            with fit.context.journal.guard("end epoch"):
                fit.context.journal.progress("checkpoint", metrics=dict(logs or {}))
                fit.end_epoch(epoch, dict(logs or {}))

    return Recorder()


def _looks_one_shot(x: Any) -> bool:
    return inspect.isgenerator(x)


def _seen_before(fit: Fit) -> "frozenset[bytes]":
    """The examples that earlier fits trained this model on, or layers that are now in it."""
    run, own = fit.context, _inner_layers(fit.model)
    hashes: "set[bytes]" = set()
    for number, model in run.models.items():
        if number < fit.number and number in run.seen and _inner_layers(model) & own:
            hashes |= run.seen[number].hashes
    return frozenset(hashes)


def _inner_layers(model: Any) -> "set[int]":
    return {id(layer) for layer in model._flatten_layers(include_self=False) if layer.weights}


def search(fit: Fit, history: Any, folder: str) -> Any:
    """Search around a judged fit that has just returned; gives the History that its caller gets."""
    from mlops_lib.runner.search.keras import improve
    from mlops_lib.runner.search.request import FitCall, SearchRequest

    run = fit.context
    request = SearchRequest.read(run.spec.search or {}, directory=folder, seed=run.spec.seed)
    compiled = fit.model.__dict__.get("_mlops_compile", {})
    places = {"fit": sites.caller(run.work), "compile": fit.model.__dict__.get("_mlops_compile_site")}
    call = FitCall(
        arguments=dict(fit.call), compiled=compiled, history=history, initial=fit.initial, train=fit.original,
        sites=places, seen=_seen_before(fit),
    )  # fmt: skip
    outcome = improve(fit.model, call, request, run.journal)
    for note in outcome.notes:
        run.journal.warn(note)
    if outcome.changed:
        fit.rewrite_checkpointed_files()
    return outcome.history if outcome.history is not None else history
