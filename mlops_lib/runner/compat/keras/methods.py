"""Methods that models, layers and callbacks of Keras 1 and 2 had."""

import functools
import inspect
import os
import weakref
from typing import Any, Callable, Dict, Tuple

from mlops_lib.runner.compat.arguments import renamed, translated
from mlops_lib.runner.compat.keras import arguments, layers
from mlops_lib.runner.compat.notes import Notes

Original = Callable[..., Any]


def models(keras: Any, notes: Notes) -> None:
    """Restore the methods and attributes that `keras.Model` and `Sequential` lost."""
    model = keras.Model
    model.fit = translated(_forgiving_fit(model.fit, notes), arguments.fitting(notes))
    _lend(
        model,
        "fit_generator",
        _generator("fit", ("generator", "steps_per_epoch", "epochs", "verbose"), notes),
    )
    _lend(model, "evaluate_generator", _generator("evaluate", ("generator", "steps"), notes))
    _lend(model, "predict_generator", _generator("predict", ("generator", "steps"), notes))
    _lend(model, "predict_classes", _predict_classes(notes))
    _lend(model, "reset_states", _reset_states)
    _lend(model, "predict_proba", _predict_proba(notes))
    for name in ("evaluate", "predict"):
        dropped = renamed(
            {"val_samples": "steps"}, notes, dropped=arguments.FIT_DROPPED, owner=name
        )
        setattr(model, name, translated(getattr(model, name), dropped))
    model.fit, model.evaluate = (_with_accuracy(method) for method in (model.fit, model.evaluate))
    sets = renamed(
        {},
        notes,
        dropped=("class_mode", "sample_weight_mode", "weighted_metrics_mode", "target_tensors"),
    )
    # Keras tells an overridden `compile` by comparing with this class's.
    trainer = keras.src.trainers.trainer.Trainer
    trainer.compile = translated(_metrics_third(trainer.compile), sets)
    functional = keras.src.models.functional.Functional
    ends = renamed({"input": "inputs", "output": "outputs"}, notes, owner="Model")
    functional.__init__ = translated(functional.__init__, ends)
    model.__new__ = _new(model.__new__)
    for name in ("_make_predict_function", "_make_train_function", "_make_test_function"):
        _lend(model, name, lambda self: None)  # Keras makes them when they are needed
    _lend(
        keras.Sequential, "input_names", property(lambda self: [item.name for item in self.inputs])
    )
    _lend(keras.Sequential, "output_names", property(lambda self: [self.layers[-1].name]))
    for end in ("input", "output"):
        setattr(keras.Sequential, end, _end(getattr(keras.Sequential, end), f"{end}s"))
    tensors(keras.KerasTensor)
    short_names(keras)
    keras.Sequential.add = _add(keras.Sequential.add, keras)


def _metrics_third(original: Original) -> Original:
    """Pass a third positional argument of `compile` as metrics; Keras 3 takes loss weights there."""

    @functools.wraps(original)
    def compile_(self: Any, *args: Any, **kwargs: Any) -> Any:
        third = args[2] if len(args) > 2 else kwargs.get("loss_weights")
        named = isinstance(third, (list, tuple)) and any(
            isinstance(item, str) or callable(item) for item in third
        )
        if named and len(args) < 4 and "metrics" not in kwargs:
            kwargs.pop("loss_weights", None)
            return original(self, *args[:2], metrics=third, **kwargs)
        return original(self, *args, **kwargs)

    return compile_


def _end(plain: Any, ends: str) -> property:
    """Return `input` or `output` of a built `Sequential`.

    Keras 3 knows them only after the model was called on a tensor.
    """

    def get(self: Any) -> Any:
        try:
            return plain.__get__(self)
        except (AttributeError, ValueError):
            result = getattr(self, ends, None)
            if not result:
                raise
            return result[0] if len(result) == 1 else result

    return property(get)


def short_names(keras: Any) -> None:
    """Losses and metrics that `compile` knew by other names."""
    losses = keras.src.losses.ALL_OBJECTS_DICT
    metrics = keras.src.metrics.ALL_OBJECTS_DICT
    result = {
        "logcosh": "log_cosh",
        "kullback_leibler_divergence": "kl_divergence",
        "cosine_proximity": "cosine_similarity",
    }
    for old, new in result.items():
        losses.setdefault(old, losses[new])
        metrics.setdefault(old, losses[new])
    for name in ("fmeasure", "matthews_correlation"):
        metrics.setdefault(name, getattr(layers, name))


def tensors(symbol: Any) -> None:
    """The shape of a tensor between layers, as Keras 1 and TensorFlow had it."""

    def get_shape(self: Any) -> Any:
        import tensorflow as tf

        return tf.TensorShape(self.shape)

    _lend(symbol, "_keras_shape", property(lambda self: tuple(self.shape)))
    _lend(symbol, "get_shape", get_shape)


def _with_accuracy(original: Original) -> Original:
    """Honour `show_accuracy=True` of Keras 0, today a metric of `compile`."""

    @functools.wraps(original)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        if kwargs.get("show_accuracy") and not _metric_names(self):
            self.compile(optimizer=self.optimizer, loss=self.loss, metrics=["accuracy"])
        return original(self, *args, **kwargs)

    return call


def data_sets(module: Any, notes: Notes) -> None:
    """`load_data(nb_words=…)`."""
    for name in ("imdb", "reuters"):
        load = getattr(module, name).load_data
        dropped = ("test_split",) if name == "imdb" else ()
        getattr(module, name).load_data = _renamed_keywords(load, dropped, notes)


def _renamed_keywords(load: Original, dropped: Tuple[str, ...], notes: Notes) -> Original:
    rename = renamed({"nb_words": "num_words"}, notes, dropped=dropped, owner="load_data")

    @functools.wraps(load)
    def call(*args: Any, **kwargs: Any) -> Any:
        return load(*args, **rename(None, (), kwargs)[1])

    return call


def _lend(owner: Any, name: str, value: Any) -> None:
    if not hasattr(owner, name):
        setattr(owner, name, value)


def _new(original: Any) -> Any:
    """`Model(input=…, output=…)` decides here already that it is functional."""

    def new(cls: Any, *args: Any, **kwargs: Any) -> Any:
        for old, new in (("input", "inputs"), ("output", "outputs")):
            if old in kwargs and new not in kwargs:
                kwargs[new] = kwargs.pop(old)
        return original(cls, *args, **kwargs)

    return functools.wraps(original)(new)


def _add(original: Original, keras: Any) -> Original:
    @functools.wraps(original)
    def add(self: Any, layer: Any, *args: Any, **kwargs: Any) -> Any:
        shape = getattr(layer, "__dict__", {}).get(arguments.BATCH_SHAPE)
        if shape is not None and not self._layers:
            original(self, keras.layers.InputLayer(batch_shape=shape))
        return original(self, layer, *args, **kwargs)

    return add


def _forgiving_fit(original: Original, notes: Notes) -> Original:
    """Convert object arrays of numbers, and let `monitor="val_acc"` find `val_accuracy`."""

    @functools.wraps(original)
    def fit(self: Any, *args: Any, **kwargs: Any) -> Any:
        args = tuple(_numbers(value, notes) for value in args)
        kwargs = {
            name: _numbers(value, notes) if name in ("x", "y") else value
            for name, value in kwargs.items()
        }
        bound_arguments = inspect.signature(original).bind_partial(self, *args, **kwargs).arguments
        _rename_monitors(self, bound_arguments.get("callbacks"), notes)
        _VALIDATION[self] = bound_arguments.get("validation_data")
        try:
            return original(self, *args, **kwargs)
        finally:
            del _VALIDATION[self]

    fit.__signature__ = inspect.signature(original)  # type: ignore[attr-defined]
    return fit


_VALIDATION: "weakref.WeakKeyDictionary[Any, Any]" = weakref.WeakKeyDictionary()
"""Model to the validation data of the fit under way."""


class _ValidationData:
    """Callback attribute `validation_data` of Keras 2: inputs, targets and weights in one list.

    A callback may still assign its own.
    """

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        data = None if instance is None else _VALIDATION.get(instance.model)
        if not isinstance(data, (tuple, list)) or not 2 <= len(data) <= 3:
            return data
        parts = [list(part) if isinstance(part, (list, tuple)) else [part] for part in data]
        weights = parts[2] if len(parts) == 3 else [_ones(item) for item in parts[1]]
        return [*parts[0], *parts[1], *weights]


def _ones(target: Any) -> Any:
    import numpy

    return numpy.ones(len(target) if hasattr(target, "__len__") else 1)


def _numbers(value: Any, notes: Notes) -> Any:
    if (
        getattr(value, "dtype", None) is None
        or str(value.dtype) != "object"
        or not hasattr(value, "astype")
    ):
        return value
    try:
        numbers = value.astype("float32")
    except (TypeError, ValueError):
        return value  # no numbers: Keras says so itself
    notes.say("an array of objects was given to fit: its numbers are taken as float32")
    return numbers


def _rename_monitors(model: Any, callbacks: Any, notes: Notes) -> None:
    """Map monitored names: Keras before 2.3 recorded `accuracy` as `acc`."""
    passed = _metric_names(model)
    if "acc" in passed or not passed & {"accuracy"} or callbacks is None:
        return
    for item in callbacks if isinstance(callbacks, (list, tuple)) else [callbacks]:
        for attribute in ("monitor", "filepath"):
            value = getattr(item, attribute, None)
            if isinstance(value, str) and value != _renamed_metric(value):
                notes.say(
                    f"{type(item).__name__}: {value!r} is {_renamed_metric(value)!r} since Keras 2.3"
                )
                setattr(item, attribute, _renamed_metric(value))


def _renamed_metric(text: str) -> str:
    if text in ("acc", "val_acc"):
        return text + "uracy"
    for old in ("{val_acc:", "{acc:", "{val_acc}", "{acc}"):
        text = text.replace(old, old.replace("acc", "accuracy"))
    return text


def _metric_names(model: Any) -> "set[str]":
    passed = (getattr(model, "_compile_metrics", None), getattr(model, "_compile_config", None))
    result: "set[str]" = set()
    config = getattr(passed[1], "config", None) or {}
    pending = [config.get("metrics")]
    while pending:
        value = pending.pop()
        if isinstance(value, str):
            result.add(value)
        elif isinstance(value, (list, tuple)):
            pending += list(value)
        elif isinstance(value, dict):
            pending += list(value.values())
    return result


def _generator(method: str, order: Tuple[str, ...], notes: Notes) -> Original:
    """Return `fit_generator` and its like, which call the method that takes generators today."""

    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        notes.say(f"{method}_generator is {method} now")
        named = {**dict(zip(order, args)), **kwargs}
        generator = named.pop("generator")
        owner = f"{method}_generator"
        if method == "fit":
            _, named = arguments.fitting(notes, owner=owner)(self, (), {**named, "x": generator})
            named.pop("x")
        else:
            _, named = renamed(
                {"val_samples": "steps"}, notes, dropped=arguments.FIT_DROPPED, owner=owner
            )(self, (), named)
        return getattr(self, method)(generator, **named)

    call.__name__ = f"{method}_generator"
    return call


def _reset_states(self: Any) -> None:
    """Forget what stateful layers remember."""
    for layer in self.layers:
        for name in ("reset_state", "reset_states"):
            if hasattr(layer, name):
                getattr(layer, name)()
                break


def _predict_classes(notes: Notes) -> Original:
    def predict_classes(
        self: Any, x: Any, batch_size: Any = None, verbose: Any = 0, **kwargs: Any
    ) -> Any:
        """Class indices of the most likely classes."""
        notes.say(
            "predict_classes(x) is predict(x).argmax(-1), or predict(x) > 0.5 for one output, now"
        )
        result = self.predict(x, batch_size=batch_size, verbose=verbose)
        return result.argmax(axis=-1) if result.shape[-1] > 1 else (result > 0.5).astype("int32")

    return predict_classes


def _predict_proba(notes: Notes) -> Original:
    def predict_proba(
        self: Any, x: Any, batch_size: Any = None, verbose: Any = 0, **kwargs: Any
    ) -> Any:
        """Return the same as `predict`."""
        notes.say("predict_proba is predict now")
        return self.predict(x, batch_size=batch_size, verbose=verbose)

    return predict_proba


ALIASES = {
    "acc": "accuracy",
    "lr": "learning_rate",
    "mae": "mean_absolute_error",
    "mse": "mean_squared_error",
    "mape": "mean_absolute_percentage_error",
}
"""A metric's name in a history was spelled out, or short, by turns of Keras' versions."""
BOTH_WAYS = {**ALIASES, **{new: old for old, new in ALIASES.items()}}


class Records(Dict[str, Any]):
    """History that also answers to old names: `acc` for `accuracy`, `lr` for `learning_rate`."""

    def __missing__(self, key: str) -> Any:
        prefix = "val_" if key.startswith("val_") else ""
        other = prefix + BOTH_WAYS.get(key[len(prefix) :], "")
        if other in self:
            return self[other]
        raise KeyError(key)

    def __reduce__(self) -> Tuple[Any, ...]:
        return dict, (dict(self),)  # readable where we are not installed


def callbacks(module: Any, notes: Notes) -> None:
    """History's old keys, and the files that ModelCheckpoint could write."""
    history = module.History
    begin = history.on_train_begin

    @functools.wraps(begin)
    def on_train_begin(self: Any, logs: Any = None) -> None:
        begin(self, logs)
        if type(self.history) is dict:
            self.history = Records(self.history)

    history.on_train_begin = on_train_begin
    _lend(module.Callback, "validation_data", _ValidationData())
    module.Callback.model = _settable(module.Callback.model, notes)
    module.ModelCheckpoint.__init__ = _any_ending(module.ModelCheckpoint.__init__, notes)
    rename = renamed({"epsilon": "min_delta"}, notes)
    module.ReduceLROnPlateau.__init__ = translated(module.ReduceLROnPlateau.__init__, rename)
    board = renamed(
        {},
        notes,
        dropped=("batch_size", "write_grads", "embeddings_layer_names", "embeddings_data"),
    )
    module.TensorBoard.__init__ = translated(module.TensorBoard.__init__, board)
    module.EarlyStopping.__init__ = translated(
        module.EarlyStopping.__init__, renamed({}, notes, dropped=("show_accuracy",))
    )


def _settable(model: property, notes: Notes) -> property:
    """Return a callback's `model` as a property that scripts can assign, as in Keras 2."""

    def put(self: Any, value: Any) -> None:
        notes.say("self.model of a callback is a property since Keras 3: `fit` sets it")
        self._model = value

    return model.setter(put)


def _any_ending(original: Original, notes: Notes) -> Original:
    drop = renamed(
        {}, notes, dropped=("period", "load_weights_on_restart", "options"), owner="ModelCheckpoint"
    )

    @functools.wraps(original)
    def init(self: Any, filepath: Any, *args: Any, **kwargs: Any) -> None:
        args, kwargs = drop(self, args, kwargs)
        bound_arguments = (
            inspect.signature(original).bind(self, filepath, *args, **kwargs).arguments
        )
        ending = ".weights.h5" if bound_arguments.get("save_weights_only") else ".keras"
        text = os.fspath(filepath)
        fits = text.endswith(
            (ending,) if bound_arguments.get("save_weights_only") else (ending, ".h5")
        )
        original(self, text if fits else text + ending, *args, **kwargs)
        if not fits:
            notes.say(
                f"ModelCheckpoint({text!r}) is written as HDF5: Keras 3 wants a name that ends in {ending}"
            )
            self.filepath = text

    init.__signature__ = inspect.signature(original)  # type: ignore[attr-defined]
    return init


def layer_shapes(layer: Any) -> None:
    """Restore `layer.input_shape` and `layer.output_shape`, which instances may override."""

    class Shape:
        """A descriptor without `__set__`."""

        def __init__(self, side: str) -> None:
            self.side = side

        def __get__(self, instance: Any, owner: Any = None) -> Any:
            if instance is None:
                return self
            try:
                result: Any = getattr(instance, self.side)
            except (AttributeError, ValueError):
                raise AttributeError(
                    f"the layer has no {self.side}_shape yet: it was never called"
                ) from None
            return (
                tuple(result.shape)
                if hasattr(result, "shape")
                else [tuple(item.shape) for item in result or ()]
            )

    def at(side: str) -> Any:
        def get(self: Any, node_index: int) -> Any:
            result = getattr(self._inbound_nodes[node_index], f"{side}_tensors")
            return result[0] if len(result) == 1 else result

        return get

    def shape_at(side: str) -> Any:
        def get(self: Any, node_index: int) -> Any:
            result = at(side)(self, node_index)
            return (
                [tuple(item.shape) for item in result]
                if isinstance(result, list)
                else tuple(result.shape)
            )

        return get

    for side in ("input", "output"):
        _lend(layer, f"{side}_shape", Shape(side))
        _lend(layer, f"get_{side}_at", at(side))
        _lend(layer, f"get_{side}_shape_at", shape_at(side))


def generators(module: Any, notes: Notes) -> None:
    """Accept the batches that Keras 2 took from generators: lists for tuples, or inputs alone."""
    adapter = module.GeneratorDataAdapter
    plain = adapter.__init__

    def tuples(batch: Any) -> Any:
        if isinstance(batch, dict) or not hasattr(batch, "__len__"):
            return batch
        parts = batch if isinstance(batch, (list, tuple)) else (batch,)
        result = tuple(tuple(part) if _are_arrays(part) else part for part in parts)
        if not isinstance(batch, tuple) or any(
            part is not other for part, other in zip(result, batch)
        ):
            notes.say(
                "a generator's batch is a tuple of inputs and targets, several of each in a tuple, since Keras 3"
            )
        return result

    @functools.wraps(plain)
    def init(self: Any, generator: Any) -> None:
        plain(self, map(tuples, generator))

    adapter.__init__ = init


def _are_arrays(part: Any) -> bool:
    return isinstance(part, list) and bool(part) and all(hasattr(item, "shape") for item in part)


def iterators(iterator: Any) -> None:
    """`generator.next()`, `generator.nb_sample` of what ImageDataGenerator gives."""
    _lend(iterator, "next", lambda self: next(self))
    _lend(iterator, "nb_sample", property(lambda self: self.n))
    _lend(iterator, "N", property(lambda self: self.n))
    _lend(iterator, "nb_class", property(lambda self: self.num_classes))


def learning_rate(optimizer: Any) -> None:
    """`optimizer.lr`."""

    def get(self: Any) -> Any:
        return self.learning_rate

    def put(self: Any, value: Any) -> None:
        self.learning_rate = value

    _lend(optimizer, "lr", property(get, put))


def convolutions(module: Any, notes: Notes) -> None:
    """Read `Convolution2D(32, 3, 3)` as a 3x3 kernel; Keras 3 would read a stride of 3."""
    for name, dimensions in (("Convolution2D", 2), ("Convolution3D", 3)):
        plain = module.__dict__.get(name)
        if plain is not None:
            module.__dict__[name] = _one_by_one(plain, name, dimensions, notes)


def _one_by_one(plain: Any, name: str, dimensions: int, notes: Notes) -> Any:
    class Alias(type):
        def __call__(cls, *args: Any, **kwargs: Any) -> Any:
            if cls is not alias:
                return super().__call__(*args, **kwargs)
            sizes = args[1 : 1 + dimensions]
            if len(sizes) == dimensions and all(isinstance(size, int) for size in sizes):
                notes.say(
                    f"{name}({', '.join(map(str, args))}) is {plain.__name__}({args[0]}, {sizes}) since Keras 2"
                )
                args = (args[0], sizes, *args[1 + dimensions :])
                arguments.order_of(kwargs, dimensions, notes)
            return plain(*args, **kwargs)

        def __instancecheck__(cls, instance: Any) -> bool:
            return (
                isinstance(instance, plain) if cls is alias else super().__instancecheck__(instance)
            )

    alias = Alias(name, (plain,), {"__doc__": plain.__doc__, "__module__": plain.__module__})
    return alias
