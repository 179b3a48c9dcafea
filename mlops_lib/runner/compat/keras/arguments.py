"""Arguments of Keras 1 and 2 for layers, optimizers, `fit` and callbacks of Keras 3."""

import functools
import inspect
import itertools
import operator
from typing import Any, Dict, Mapping, Optional, Tuple

from mlops_lib.runner.compat.arguments import Call, Translate, renamed, translated, with_renamed
from mlops_lib.runner.compat.notes import Notes
from mlops_lib.runner.compat.python2 import Quotient

WEIGHTS = {
    "init": "kernel_initializer",
    "W_regularizer": "kernel_regularizer",
    "b_regularizer": "bias_regularizer",
    "W_constraint": "kernel_constraint",
    "b_constraint": "bias_constraint",
    "bias": "use_bias",
    "output_dim": "units",
}
CONVOLUTION = {
    **WEIGHTS,
    "nb_filter": "filters",
    "filter_length": "kernel_size",
    "subsample": "strides",
    "subsample_length": "strides",
    "border_mode": "padding",
    "dim_ordering": "data_format",
    "atrous_rate": "dilation_rate",
}
RECURRENT = {
    **WEIGHTS,
    "inner_init": "recurrent_initializer",
    "inner_activation": "recurrent_activation",
    "U_regularizer": "recurrent_regularizer",
    "U_constraint": "recurrent_constraint",
    "dropout_W": "dropout",
    "dropout_U": "recurrent_dropout",
    "forget_bias_init": "unit_forget_bias",
}
POOLING = {
    "pool_length": "pool_size",
    "stride": "strides",
    "border_mode": "padding",
    "dim_ordering": "data_format",
}
LAYERS: Dict[str, Mapping[str, str]] = {
    "Dense": WEIGHTS,
    **{f"Conv{n}D": CONVOLUTION for n in (1, 2, 3)},
    **dict.fromkeys(
        ("Conv2DTranspose", "Conv3DTranspose", "SeparableConv2D", "SeparableConv1D"), CONVOLUTION
    ),
    **dict.fromkeys(("LSTM", "GRU", "SimpleRNN"), RECURRENT),
    **{f"{kind}Pooling{n}D": POOLING for kind in ("Max", "Average") for n in (1, 2, 3)},
    **{f"Global{kind}Pooling{n}D": POOLING for kind in ("Max", "Average") for n in (1, 2, 3)},
    **{
        name: {"p": "rate"}
        for name in ("Dropout", "SpatialDropout1D", "SpatialDropout2D", "GaussianDropout")
    },
    "GaussianNoise": {"sigma": "stddev"},
    "BatchNormalization": {"beta_init": "beta_initializer", "gamma_init": "gamma_initializer"},
    "Embedding": {
        "init": "embeddings_initializer",
        "W_regularizer": "embeddings_regularizer",
        "W_constraint": "embeddings_constraint",
    },
    "ZeroPadding1D": {},
    "ZeroPadding2D": {"dim_ordering": "data_format"},
    "Cropping2D": {"dim_ordering": "data_format"},
    "UpSampling2D": {"dim_ordering": "data_format"},
    "UpSampling1D": {"length": "size"},
    "RepeatVector": {},
    "Flatten": {"dim_ordering": "data_format"},
    "Activation": {},
    "Reshape": {"dims": "target_shape"},
    "Permute": {},
    "LeakyReLU": {},
    "PReLU": {"init": "alpha_initializer"},
    "Masking": {},
    "TimeDistributed": {},
    "Bidirectional": {},
    "Lambda": {},
    "ActivityRegularization": {},
    "ELU": {},
}
DROPPED: Dict[str, Tuple[str, ...]] = {
    **dict.fromkeys(("LSTM", "GRU", "SimpleRNN"), ("consume_less", "implementation", "time_major")),
    "BatchNormalization": ("mode", "renorm", "fused", "virtual_batch_size"),
    "Embedding": ("dropout",),
}
BATCH_SHAPE = "_mlops_batch_shape"
"""Attribute of a layer that holds its batch shape until a Sequential model reads it."""
ORDERS = {"th": "channels_first", "tf": "channels_last", "default": None}
INITIALIZERS = {
    "normal": "random_normal",
    "uniform": "random_uniform",
    "zero": "zeros",
    "one": "ones",
}
OPTIMIZERS = ("SGD", "RMSprop", "Adam", "Adagrad", "Adadelta", "Adamax", "Nadam", "Ftrl")
FIT = {
    "nb_epoch": "epochs",
    "samples_per_epoch": "steps_per_epoch",
    "nb_val_samples": "validation_steps",
    "val_samples": "validation_steps",
}
FIT_DROPPED = (
    "show_accuracy",
    "workers",
    "use_multiprocessing",
    "max_queue_size",
    "max_q_size",
    "nb_worker",
    "pickle_safe",
)


def layers(module: Any, notes: Notes) -> None:
    """Let the layers of `keras.layers` take their old arguments."""
    for name, table in LAYERS.items():
        layer = getattr(module, name, None)
        if layer is not None:
            # What the layer takes itself is no old word, whatever a table says.
            own = inspect.signature(layer.__init__).parameters
            table = {old: new for old, new in table.items() if old not in own}
            dropped = [old for old in DROPPED.get(name, ()) if old not in own]
            rename = renamed(table, notes, dropped=dropped)
            layer.__init__ = translated(layer.__init__, _layer(name, rename, own, notes))


WHOLE = {
    "units",
    "output_dim",
    "filters",
    "nb_filter",
    "kernel_size",
    "nb_row",
    "nb_col",
    "filter_length",
    "strides",
    "pool_size",
    "pool_length",
    "stride",
    "subsample_length",
    "input_dim",
    "input_length",
    "n",
    "size",
    "batch_size",
    "epochs",
    "nb_epoch",
    "initial_epoch",
    "steps_per_epoch",
    "samples_per_epoch",
    "validation_steps",
    "nb_val_samples",
    "val_samples",
    "steps",
    "validation_batch_size",
}
"""Arguments of layers and of `fit` that are whole numbers."""


def _layer(name: str, rename: Translate, own: Mapping[str, Any], notes: Notes) -> Translate:
    places = [key for key in own if key != "self"]

    def translate(self: Any, args: Tuple[Any, ...], kwargs: Dict[str, Any]) -> Call:
        args = tuple(
            _whole(value, key) for key, value in itertools.zip_longest(places[: len(args)], args)
        )
        kwargs = {key: _whole(value, key) for key, value in kwargs.items()}
        old = not set(CONVOLUTION).isdisjoint(kwargs)
        args, kwargs = rename(self, args, kwargs)
        if name in ("Conv1D", "Conv2D", "Conv3D"):
            args, kwargs = _kernel(args, kwargs, int(name[4]), old, notes)
        if "weights" in kwargs and "weights" not in own:
            kwargs = {
                key: value
                for key, value in kwargs.items()
                if key != "weights" or not _begin_with(self, value, notes)
            }
        kwargs = _shapes(
            _values(kwargs), recurrent=name in ("LSTM", "GRU", "SimpleRNN"), notes=notes
        )
        if (
            name == "Embedding"
            and kwargs.get("input_length")
            and not {"input_shape", "batch_input_shape"} & set(kwargs)
        ):
            kwargs = {**kwargs, "input_shape": (kwargs["input_length"],)}
            kwargs.pop("input_length")
            notes.say("Embedding(input_length=…) is input_shape= now")
        if "batch_size" in kwargs and "input_shape" in kwargs:
            kwargs = {**kwargs, "batch_input_shape": (kwargs["batch_size"], *kwargs["input_shape"])}
            del kwargs["batch_size"], kwargs["input_shape"]
        if "batch_input_shape" in kwargs:
            self.__dict__[BATCH_SHAPE] = tuple(kwargs["batch_input_shape"])
            notes.say("batch_input_shape= is batch_shape= of an Input now")
            kwargs = {key: value for key, value in kwargs.items() if key != "batch_input_shape"}
        return args, kwargs

    return translate


def _begin_with(layer: Any, weights: Any, notes: Notes) -> bool:
    """`Dense(…, weights=[kernel, bias])`: set once the layer has been built."""
    if weights is not None:
        build = layer.build

        @functools.wraps(build)
        def built(*args: Any, **kwargs: Any) -> None:
            build(*args, **kwargs)
            layer.set_weights(weights)

        layer.__dict__["build"] = built
        notes.say(f"{type(layer).__name__}(weights=…) is set_weights once it is built")
    return True


CHANNELS = (1, 3, 4)


def order_of(kwargs: Any, dimensions: int, notes: Notes) -> None:
    """Return the axis order of an old model's pictures.

    Keras 0 and 1 read pictures in Theano's order by default: (1, 28, 28) is one channel of 28 by
    28.
    """
    import keras

    shape: Tuple[Any, ...] = tuple(
        kwargs.get("input_shape") or tuple(kwargs.get("batch_input_shape") or ())[1:]
    )
    given_orders = {"dim_ordering", "data_format"} & set(kwargs)
    if (
        given_orders
        or len(shape) != 1 + dimensions
        or shape[0] not in CHANNELS
        or shape[-1] in CHANNELS
    ):
        return
    if keras.backend.image_data_format() == "channels_last":
        keras.backend.set_image_data_format("channels_first")
        notes.say(
            f"input_shape={shape} has its channels first: all layers are told so, as Keras 1 did by default"
        )


def _kernel(
    args: Tuple[Any, ...], kwargs: Dict[str, Any], dimensions: int, old: bool, notes: Notes
) -> Call:
    """`nb_row` and `nb_col`, or three positional numbers among other words of Keras 1."""
    rows = kwargs.pop("nb_row", None)
    columns = kwargs.pop("nb_col", None)
    if rows is not None:
        notes.say("nb_row=, nb_col= are kernel_size= since Keras 2")
        kwargs["kernel_size"] = (rows, columns)
    sizes = args[1 : 1 + dimensions]
    if (
        old
        and dimensions > 1
        and len(sizes) == dimensions
        and all(isinstance(size, int) for size in sizes)
    ):
        notes.say(f"three numbers among words of Keras 1 are filters and a kernel of {sizes}")
        args = (args[0], sizes, *args[1 + dimensions :])
        order_of(kwargs, dimensions, notes)
    return args, kwargs


def _whole(value: Any, key: Optional[str] = None) -> Any:
    """Return a NumPy integer or a quotient of Python 2 as an `int`, which Keras 3 requires."""
    if isinstance(value, Quotient):
        return operator.index(value) if key in WHOLE else float(value)
    is_whole = (
        getattr(getattr(value, "dtype", None), "kind", "") in ("i", "u")
        and getattr(value, "ndim", 1) == 0
    )
    return (
        int(value)
        if is_whole and not hasattr(value, "assign") and not hasattr(value, "graph")
        else value
    )


def _values(kwargs: Dict[str, Any]) -> Dict[str, Any]:
    """Values with an old name."""
    order = kwargs.get("data_format")
    if order in ORDERS:
        kwargs = {**kwargs, "data_format": ORDERS[order]}
    for key in [key for key in kwargs if key.endswith("_initializer")]:
        if isinstance(kwargs[key], str) and kwargs[key] in INITIALIZERS:
            kwargs = {**kwargs, key: INITIALIZERS[kwargs[key]]}
        elif inspect.isfunction(kwargs[key]) and not _takes_dtype(kwargs[key]):
            kwargs = {**kwargs, key: _initializer(kwargs[key])}
    if kwargs.get("unit_forget_bias") in ("one", "zero"):
        kwargs = {**kwargs, "unit_forget_bias": kwargs["unit_forget_bias"] == "one"}
    return kwargs


def _takes_dtype(initializer: Any) -> bool:
    parameters = inspect.signature(initializer).parameters.values()
    return any(item.name == "dtype" or item.kind is item.VAR_KEYWORD for item in parameters)


def _initializer(function: Any) -> Any:
    """Keras 1 called an initializer with a shape and a name."""
    named = "name" in inspect.signature(function).parameters

    def initialize(shape: Any, dtype: Any = None) -> Any:
        return function(shape, name=None) if named else function(shape)

    return initialize


def _shapes(kwargs: Dict[str, Any], *, recurrent: bool, notes: Notes) -> Dict[str, Any]:
    """The input's shape as Keras 3 takes it from a first layer."""
    fresh = kwargs
    if recurrent and "input_dim" in kwargs:
        fresh = {
            key: value for key, value in kwargs.items() if key not in ("input_dim", "input_length")
        }
        fresh["input_shape"] = (kwargs.get("input_length"), kwargs["input_dim"])
        notes.say("input_length=, input_dim= are input_shape= now")
    return fresh


def _clipped_twice(optimizer: Any, kwargs: Dict[str, Any], notes: Notes) -> Dict[str, Any]:
    """Gradients clipped by their norm and then by value, of which Keras 3 takes one."""
    limit = abs(float(kwargs["clipvalue"]))

    def clip(gradients: Any) -> Any:
        import keras

        clipped = type(optimizer)._clip_gradients(optimizer, gradients)
        return [None if item is None else keras.ops.clip(item, -limit, limit) for item in clipped]

    optimizer.__dict__["_clip_gradients"] = clip
    notes.say("clipnorm= and clipvalue= together: Keras 3 takes one, both are done")
    return {key: value for key, value in kwargs.items() if key != "clipvalue"}


def classes(module: Any, notes: Notes) -> None:
    """`to_categorical(y, nb_classes=10)`."""
    module.to_categorical = with_renamed(
        module.to_categorical, {"nb_classes": "num_classes"}, notes
    )


def pictures(module: Any, notes: Notes) -> None:
    """Let `plot_model` return without a picture if pydot or Graphviz is missing."""
    draw = module.plot_model

    @functools.wraps(draw)
    def plot_model(*args: Any, **kwargs: Any) -> Any:
        try:
            return draw(*args, **kwargs)
        except ImportError:
            notes.say(
                "plot_model: pydot and Graphviz are not in the environment, the picture is left out"
            )
            return None

    module.plot_model = plot_model


def optimizers(module: Any, notes: Notes) -> None:
    """Let optimizers take `lr` and `decay`, which divides the rate by 1 + decay * step."""
    rename = renamed(
        {"lr": "learning_rate", "beta1": "beta_1", "beta2": "beta_2"},
        notes,
        dropped=("schedule_decay",),
    )

    def translate(self: Any, args: Tuple[Any, ...], kwargs: Dict[str, Any]) -> Call:
        args, kwargs = rename(self, args, kwargs)
        if isinstance(kwargs.get("learning_rate"), int):
            kwargs = {**kwargs, "learning_rate": float(kwargs["learning_rate"])}
        args = tuple(
            float(item) if isinstance(item, int) and not isinstance(item, bool) else item
            for item in args
        )
        if kwargs.get("epsilon", 0) is None:
            kwargs = {key: value for key, value in kwargs.items() if key != "epsilon"}
        if kwargs.get("clipnorm") and kwargs.get("clipvalue"):
            kwargs = _clipped_twice(self, kwargs, notes)
        decay = kwargs.get("decay")
        if decay is None:
            return args, kwargs
        kwargs = {key: value for key, value in kwargs.items() if key != "decay"}
        if not decay:
            return args, kwargs
        if args:
            kwargs, args = {**kwargs, "learning_rate": args[0]}, ()
        schedule = module.schedules.InverseTimeDecay(
            _rate(self, kwargs), decay_steps=1, decay_rate=float(decay)
        )
        notes.say(
            f"{type(self).__name__}(decay={decay!r}) is the schedule InverseTimeDecay(rate, 1, {decay!r}) now"
        )
        return args, {**kwargs, "learning_rate": schedule}

    for name in OPTIMIZERS:
        optimizer = getattr(module, name, None)
        if optimizer is not None:
            optimizer.__init__ = translated(optimizer.__init__, translate)


def _rate(optimizer: Any, kwargs: Mapping[str, Any]) -> float:
    default = inspect.signature(type(optimizer).__init__).parameters["learning_rate"].default
    return float(kwargs.get("learning_rate", default))


def fitting(notes: Notes, *, owner: str = "fit") -> Translate:
    """The arguments of `fit` and `fit_generator`."""
    rename = renamed(FIT, notes, dropped=FIT_DROPPED, owner=owner)

    def translate(self: Any, args: Tuple[Any, ...], kwargs: Dict[str, Any]) -> Call:
        kwargs = {key: _whole(value, key) for key, value in kwargs.items()}
        counted: "set[str]" = {
            key for key in ("samples_per_epoch", "nb_val_samples", "val_samples") if key in kwargs
        }
        args, kwargs = rename(self, args, kwargs)
        if counted:  # Keras 1 counted examples, not batches
            kwargs = _batches(
                args[0] if args else kwargs.get("x", kwargs.get("generator")), counted, kwargs
            )
        if isinstance(kwargs.get("class_weight"), str):
            kwargs = {key: value for key, value in kwargs.items() if key != "class_weight"}
        return args, kwargs

    return translate


def _batches(x: Any, counted: "set[str]", kwargs: Dict[str, Any]) -> Dict[str, Any]:
    size = int(getattr(x, "batch_size", None) or 32)
    fresh = dict(kwargs)
    for old in counted:
        new = FIT[old]
        fresh[new] = max(1, -(-int(fresh[new]) // size))
    return fresh
