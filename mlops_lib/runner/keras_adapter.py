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

from mlops_lib.runner import checkpoint, digest, keras_resume, randomness
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

    def trainer(module: ModuleType) -> None:
        with run.journal.guard("patch keras iterators"):
            patch_iterators(module.TFEpochIterator, run)

    return {
        "tensorflow": tensorflow,
        "keras.src.models.model": model,
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
        return _evaluate(run, self, evaluate, args, kwargs)

    @functools.wraps(predict)
    def predict_(self: Any, *args: Any, **kwargs: Any) -> Any:
        run.journal.progress("evaluate" if not run.nested else None)
        run.nested += 1
        try:
            result = predict(self, *args, **kwargs)
        finally:
            run.nested -= 1
        if not run.nested:
            with run.journal.guard("keras.predict"):
                _remember_prediction(run, self, predict, args, kwargs, result)
        return result

    @functools.wraps(compile_)
    def compile__(self: Any, *args: Any, **kwargs: Any) -> Any:
        with run.journal.guard("keras.compile"):
            # The objects themselves: a loss written by the user cannot be made again from a configuration.
            self.__dict__["_mlops_compile"] = _bind(compile_, self, args, kwargs)
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


def _bind(function: Callable[..., Any], self: Any, args: Any, kwargs: Any) -> Dict[str, Any]:
    """The call's arguments by name, defaults filled in, without `self`."""
    bound = inspect.signature(function).bind(self, *args, **kwargs)
    bound.apply_defaults()
    named = dict(bound.arguments)
    named.pop("self", None)
    named.update(named.pop("kwargs", {}))
    return named


class Fit:
    """One call of `fit` by the script."""

    def __init__(self, run: Context, model: Any, original: Callable[..., Any], args: Any, kwargs: Any) -> None:
        self.context = run
        self.model = model
        self.original = original
        self.call = _bind(original, model, args, kwargs)
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
        return self._after(self._train())

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
            if seen is not None:
                run.evaluations.trained_on.append(seen)
            self._add_fit_metrics(history)
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
        if not split or self.call.get("validation_data") is not None or not hasattr(x, "__len__"):
            return x
        keep = int(len(x) * (1.0 - split)) if hasattr(x, "shape") else None
        return x if keep is None else x[:keep]

    def _add_fit_metrics(self, history: Any) -> None:
        last = {name: values[-1] for name, values in history.history.items() if values}
        validation = {name[4:]: value for name, value in last.items() if name.startswith("val_")}
        for source, found in (
            ("fit.training", {n: v for n, v in last.items() if n[:4] != "val_"}),
            ("fit.validation", validation),
        ):
            metric = _main_metric(found)
            if metric is None:
                continue
            x = None
            if source == "fit.validation":
                given: Any = self.call.get("validation_data")
                x = given[0] if isinstance(given, (tuple, list)) and given else None
            self.context.evaluations.add(
                metric=_plain_name(metric), value=float(found[metric]), source=source, fit=self.number,
                examples=digest.examples(x) if x is not None else None,
                held_out=source == "fit.validation", task=_task(found), model=self.model,
                everything={_plain_name(n): float(v) for n, v in found.items() if _is_number(v)},
                repeat=_repeat_evaluate(given[0], given[1], self.call.get("batch_size"), metric)
                if source == "fit.validation" and x is not None and len(given) == 2
                else None,
                asked=(given[0], given[1]) if x is not None and len(given) == 2 else None,
            )  # fmt: skip

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

        def on_train_begin(self, logs: Any = None) -> None:
            with fit.context.journal.guard("begin fit"):
                fit.begin()

        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            self.model._initial_epoch = 0
            self.epoch, self.began = epoch, time.monotonic()
            with fit.context.journal.guard("begin epoch"):
                fit.order.begin_epoch(epoch)
                fit.context.journal.progress("fit", fit=fit.number, epoch=epoch, step=0)

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            if batch:
                self.step_s = (time.monotonic() - self.began) / batch
            fit.context.journal.progress("fit", step=batch + 1, step_s=self.step_s)

        def on_test_batch_end(self, batch: int, logs: Any = None) -> None:
            fit.context.journal.progress("validation")

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            with fit.context.journal.guard("end epoch"):
                fit.context.journal.progress("checkpoint", metrics=dict(logs or {}))
                fit.end_epoch(epoch, dict(logs or {}))

    return Recorder()


def _looks_one_shot(x: Any) -> bool:
    return inspect.isgenerator(x)


def _is_number(value: Any) -> bool:
    try:
        float(value)
    except (TypeError, ValueError):
        return False
    return True


def _main_metric(found: Dict[str, Any]) -> Optional[str]:
    names = [name for name in found if _is_number(found[name]) and name not in ("lr", "learning_rate")]
    for wanted in ("accuracy", "acc"):
        for name in names:
            if _plain_name(name) == wanted or name.endswith(wanted):
                return name
    others = [name for name in names if not name.endswith("loss")]
    return next(iter(others or names), None)


def _plain_name(name: str) -> str:
    """`sparse_categorical_accuracy`, `acc` and the like are all accuracy."""
    if name == "acc" or name.endswith(("categorical_accuracy", "binary_accuracy")):
        return "accuracy"
    return name.lower()


def _task(found: Dict[str, Any]) -> str:
    names = " ".join(found).lower()
    if "acc" in names or "auc" in names:
        return "classification"
    return (
        "regression"
        if any(word in names for word in ("mae", "mse", "mean_squared", "mean_absolute", "r2"))
        else "unknown"
    )


def _repeat_evaluate(x: Any, y: Any, batch_size: Any, metric: str, **more: Any) -> Callable[[Any], float]:
    def repeat(model: Any) -> float:
        logs = model.evaluate(x, y, batch_size=batch_size, verbose=0, return_dict=True, **more)
        return float(logs[metric])

    return repeat


def _evaluate(run: Context, model: Any, original: Callable[..., Any], args: Any, kwargs: Any) -> Any:
    call = _bind(original, model, args, kwargs)
    wants_dict = call["return_dict"]
    run.journal.progress("evaluate")
    run.nested += 1
    try:
        logs = original(model, **{**call, "return_dict": True})
    finally:
        run.nested -= 1
    with run.journal.guard("keras.evaluate"):
        _record_evaluate(run, model, call, logs)
    return logs if wants_dict else model._flatten_metrics_in_order(logs)


def _record_evaluate(run: Context, model: Any, call: Dict[str, Any], logs: Dict[str, Any]) -> None:
    metric = _main_metric(logs)
    if metric is None:
        return
    x, y = call["x"], call["y"]
    count = None
    if hasattr(x, "cardinality"):
        count = _count_dataset(x)
    more = {name: call[name] for name in ("sample_weight", "steps") if call.get(name) is not None}
    repeatable = not inspect.isgenerator(x)
    run.evaluations.add(
        metric=_plain_name(metric), value=float(logs[metric]), source="keras.evaluate", fit=_fit_of(run, model),
        examples=digest.examples(x) if hasattr(x, "__len__") and not _is_dataset(x) else None,
        count=count, task=_task(logs), baseline=_baseline(y), model=model,
        everything={_plain_name(n): float(v) for n, v in logs.items() if _is_number(v)},
        repeat=_repeat_evaluate(x, y, call["batch_size"], metric, **more) if repeatable else None,
        asked=(x, y) if repeatable else None,
    )  # fmt: skip


def _is_dataset(x: Any) -> bool:
    return hasattr(x, "cardinality") or (hasattr(x, "__getitem__") and hasattr(x, "on_epoch_end"))


def _count_dataset(x: Any) -> Optional[int]:
    """Examples in a finite tf.data pipeline whose batches have a known size; None otherwise."""
    batches = int(x.cardinality())
    size = getattr(x, "_batch_size", None)
    return batches * int(size) if batches > 0 and size is not None else None


def _fit_of(run: Context, model: Any) -> Optional[int]:
    return next((number for number in sorted(run.models, reverse=True) if run.models[number] is model), None)


def _baseline(y: Any) -> Optional[Dict[str, Any]]:
    """The share of the most frequent class, for targets that are classes."""
    import numpy

    if y is None or not hasattr(y, "__len__"):
        return None
    labels = numpy.asarray(y)
    if labels.dtype.kind not in "iufb" or labels.ndim == 0:
        return None
    if labels.ndim > 1 and labels.shape[-1] > 1:
        if not (labels.reshape(-1, labels.shape[-1]).sum(axis=1) == 1).all():
            return None
        labels = labels.argmax(axis=-1)
    labels = labels.ravel()
    if labels.dtype.kind == "f" and not (labels == labels.round()).all():
        return None
    classes, counts = numpy.unique(labels, return_counts=True)
    if len(classes) > max(100, len(labels) // 3):
        return None
    return {"name": "majority class", "value": float(counts.max() / counts.sum())}


def _remember_prediction(run: Context, model: Any, original: Any, args: Any, kwargs: Any, result: Any) -> None:
    import numpy

    if not isinstance(result, numpy.ndarray):
        return
    x = _bind(original, model, args, kwargs).get("x")
    if x is None or inspect.isgenerator(x):
        return
    from mlops_lib.runner import predictions

    predictions.remember(model=model, method="predict", x=x, output=result, fit=_fit_of(run, model))


def save(run: Context, model: Any, fit: Optional[int]) -> Dict[str, Any]:
    """Save the model into the run directory, load it again, and repeat its evaluations on what was loaded."""
    import keras

    path = os.path.join(run.spec.inside, "model.keras")
    described: Dict[str, Any] = {"path": "model.keras", "framework": "keras", "fit": fit, "class": type(model).__name__}
    described.update(reloaded=False, note="", architecture=architecture(model), parameters=model.count_params())
    temporary = os.path.join(run.spec.inside, ".model.keras")
    try:
        model.save(temporary)
        os.replace(temporary, path)
        described["bytes"] = os.path.getsize(path)
    except Exception as error:  # noqa: BLE001 - a user's own layer may fail to serialise in any way
        described.update(path=None, note=f"the model cannot be saved: {type(error).__name__}: {error}")
        _save_weights(run, model, described)
        return described
    try:
        loaded = keras.models.load_model(path, custom_objects=_custom_objects(model), safe_mode=False)
    except Exception as error:  # noqa: BLE001 - as above
        described["note"] = f"the saved model cannot be loaded: {type(error).__name__}: {error}"[:1000]
        _save_weights(run, model, described)
        return described
    described["reloaded"] = True
    run.evaluations.repeat_on(loaded, model)
    return described


def _save_weights(run: Context, model: Any, described: Dict[str, Any]) -> None:
    with run.journal.guard("save weights"):
        model.save_weights(os.path.join(run.spec.inside, "model.weights.h5"))
        described["weights"] = "model.weights.h5"


def architecture(model: Any) -> List[str]:
    """One line a layer, as a person would name it."""
    lines = []
    for layer in getattr(model, "layers", []):
        try:
            shape = str(layer.output.shape).replace("None, ", "", 1)
        except (AttributeError, ValueError):
            shape = "?"
        size = next(
            (str(getattr(layer, name)) for name in ("filters", "units", "rate", "pool_size") if hasattr(layer, name)),
            "",
        )
        lines.append(f"{type(layer).__name__}({size}) → {shape}")
    return lines


def _custom_objects(model: Any) -> Dict[str, Any]:
    """What the script defines itself and the saved model may name."""
    found: Dict[str, Any] = {}
    main = sys.modules["__main__"]
    for name, value in list(vars(main).items()):
        if inspect.isclass(value) or inspect.isfunction(value):
            found[name] = value
    for item in [model, *getattr(model, "layers", [])]:
        found.setdefault(type(item).__name__, type(item))
    compiled = model.__dict__.get("_mlops_compile", {})
    for value in (compiled.get("loss"), *(compiled.get("metrics") or [])):
        if callable(value):
            found.setdefault(getattr(value, "__name__", type(value).__name__), value)
    return found


def search(fit: Fit, history: Any, folder: str) -> Any:
    """Search around a judged fit that has just returned; gives the History that its caller gets."""
    from mlops_lib.runner.search.keras import improve
    from mlops_lib.runner.search.request import FitCall, SearchRequest

    run = fit.context
    request = SearchRequest.read(run.spec.search or {}, directory=folder, seed=run.spec.seed)
    compiled = fit.model.__dict__.get("_mlops_compile", {})
    call = FitCall(
        arguments=dict(fit.call), compiled=compiled, history=history, initial=fit.initial, train=fit.original
    )
    outcome = improve(fit.model, call, request, run.journal)
    for note in outcome.notes:
        run.journal.warn(note)
    if outcome.changed:
        fit.rewrite_checkpointed_files()
    return outcome.history if outcome.history is not None else history
