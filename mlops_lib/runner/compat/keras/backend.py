"""`keras.backend` as it was: tensor functions, image order, sessions.

On a tensor of a model under construction a function is what `keras.ops` has; on values it is Keras
3's own legacy backend.
"""

import functools
from types import ModuleType
from typing import Any, Callable, Dict

from mlops_lib.runner.compat.keras.names import OLD
from mlops_lib.runner.compat.names import GoneError, Names
from mlops_lib.runner.compat.notes import Notes

OPS = {
    "batch_flatten": "",
    "cast": "cast",
    "clip": "clip",
    "concatenate": "concatenate",
    "dot": "matmul",
    "expand_dims": "expand_dims",
    "int_shape": "",
    "ndim": "ndim",
    "permute_dimensions": "transpose",
    "pow": "power",
    "repeat_elements": "repeat",
    "reverse": "flip",
    "l2_normalize": "normalize",
    "switch": "where",
    "gather": "take",
    "stop_gradient": "stop_gradient",
    "squeeze": "squeeze",
    **{
        name: name
        for name in (
            "abs",
            "all",
            "any",
            "argmax",
            "argmin",
            "cos",
            "cumprod",
            "cumsum",
            "elu",
            "equal",
            "exp",
            "greater",
            "greater_equal",
            "hard_sigmoid",
            "less",
            "less_equal",
            "log",
            "max",
            "maximum",
            "mean",
            "min",
            "minimum",
            "not_equal",
            "one_hot",
            "ones_like",
            "prod",
            "relu",
            "reshape",
            "round",
            "shape",
            "sigmoid",
            "sign",
            "sin",
            "softmax",
            "softplus",
            "softsign",
            "sqrt",
            "square",
            "stack",
            "std",
            "sum",
            "tanh",
            "tile",
            "transpose",
            "var",
            "zeros_like",
            "binary_crossentropy",
            "categorical_crossentropy",
            "sparse_categorical_crossentropy",
        )
    },
}
"""Function of the old backend to the equivalent of `keras.ops`; "" if it is defined below."""
OLD_ORDER = {"th": "channels_first", "tf": "channels_last"}
NEW_ORDER = {new: old for old, new in OLD_ORDER.items()}


def names(notes: Notes, *, aged: bool) -> Names:
    """Return the names that `keras.backend` lost, each with a factory of its substitute.

    Args:
        notes: journal of adaptations.
        aged: whether the script is older than Keras 2.3.
    """
    lost_names: Dict[str, Callable[[], Any]] = {
        name: functools.partial(_function, name) for name in {*OPS, *_old_names()}
    }
    own: Dict[str, Callable[[], Any]] = {
        "image_dim_ordering": lambda: _image_dim_ordering,
        "set_image_dim_ordering": lambda: _set_image_dim_ordering,
        "tensorflow_backend": _backend,
        "get_session": lambda: _get_session,
        "set_session": lambda: _set_session,
        "function": lambda: _compiled,
        "learning_phase": lambda: _learning_phase,
        "set_learning_phase": lambda: _set_learning_phase,
        "placeholder": lambda: _placeholder,
        "is_tensor": lambda: _is_tensor,
        "batch_dot": lambda: functools.partial(_batch_dot, aged=aged),
        "batch_flatten": lambda: _batch_flatten,
        "int_shape": lambda: _int_shape,
        "gradients": lambda: _gradients,
        "manual_variable_initialization": lambda: _nothing,
        "get_variable_shape": lambda: _int_shape,
        "reset_uids": lambda: _nothing,
        "control_flow_ops": lambda: None,
        "tf": lambda: __import__("tensorflow"),
        "_BACKEND": lambda: "tensorflow",
        "common": _backend,
        "in_train_phase": lambda: _in_train_phase,
        "in_test_phase": lambda: _in_test_phase,
        "identity": lambda: _identity,
        "print_tensor": lambda: _print_tensor,
        "_get_available_gpus": lambda: _gpus,
        **{
            name: functools.partial(_operation, name)
            for name in (
                "logsumexp",
                "slice",
                "logical_and",
                "logical_or",
                "floor",
                "ceil",
                "isnan",
                "argsort",
                "sort",
                "top_k",
            )
        },
    }
    return {**lost_names, **own}


def _old_names() -> "set[str]":
    return {
        "arange",
        "batch_get_value",
        "batch_normalization",
        "batch_set_value",
        "bias_add",
        "cast_to_floatx",
        "constant",
        "conv1d",
        "conv2d",
        "conv2d_transpose",
        "conv3d",
        "count_params",
        "ctc_batch_cost",
        "ctc_decode",
        "ctc_label_dense_to_sparse",
        "depthwise_conv2d",
        "dropout",
        "dtype",
        "eval",
        "eye",
        "flatten",
        "foldl",
        "foldr",
        "get_value",
        "in_top_k",
        "is_sparse",
        "map_fn",
        "moving_average_update",
        "name_scope",
        "ones",
        "pool2d",
        "pool3d",
        "random_bernoulli",
        "random_binomial",
        "random_normal",
        "random_normal_variable",
        "random_uniform",
        "random_uniform_variable",
        "repeat",
        "resize_images",
        "resize_volumes",
        "rnn",
        "separable_conv2d",
        "set_value",
        "spatial_2d_padding",
        "spatial_3d_padding",
        "temporal_padding",
        "to_dense",
        "truncated_normal",
        "update",
        "update_add",
        "update_sub",
        "variable",
        "zeros",
    }


def _legacy() -> Any:
    import importlib

    return importlib.import_module(f"{OLD}.backend")


def _function(name: str) -> Any:
    """One function that serves tensors under construction and values."""
    import keras

    if name == "random_binomial":
        return _legacy().random_bernoulli
    plain = getattr(_legacy(), name)
    operation = getattr(keras.ops, OPS.get(name) or name, None)

    @functools.wraps(plain)
    def call(*args: Any, **kwargs: Any) -> Any:
        if operation is not None and name in OPS and _has_symbol(keras, (*args, *kwargs.values())):
            return operation(*args, **kwargs)
        return plain(*args, **kwargs)

    return call


def _has_symbol(keras: Any, values: Any) -> bool:
    return any(
        isinstance(value, keras.KerasTensor)
        or (
            isinstance(value, (list, tuple))
            and any(isinstance(item, keras.KerasTensor) for item in value)
        )
        for value in values
    )


def _batch_flatten(x: Any) -> Any:
    from keras import ops

    return ops.reshape(x, (-1, functools.reduce(lambda size, item: size * item, x.shape[1:], 1)))


def _batch_dot(x: Any, y: Any, axes: Any = None, *, aged: bool) -> Any:
    """Products example by example.

    Up to Keras 2.2 the axes between were multiplied one by one, as in attention's heads.
    """
    if aged and min(len(x.shape), len(y.shape)) > 3:
        return _matmul_dot(x, y, axes)
    return _legacy().batch_dot(x, y, axes)


def _matmul_dot(x: Any, y: Any, axes: Any) -> Any:
    from keras import ops

    places = (axes, axes) if isinstance(axes, int) else axes or (len(x.shape) - 1, len(y.shape) - 2)
    left = x if places[0] % len(x.shape) == len(x.shape) - 1 else ops.swapaxes(x, -1, -2)
    right = ops.swapaxes(y, -1, -2) if places[1] % len(y.shape) == len(y.shape) - 1 else y
    return ops.matmul(left, right)


def _int_shape(x: Any) -> Any:
    shape = getattr(x, "shape", None)
    return None if shape is None else tuple(shape)


def _is_tensor(x: Any) -> bool:
    import keras
    import tensorflow as tf

    return isinstance(x, keras.KerasTensor) or bool(tf.is_tensor(x))


def _image_dim_ordering() -> str:
    import keras

    return NEW_ORDER[keras.backend.image_data_format()]


def _set_image_dim_ordering(order: str) -> None:
    import keras

    keras.backend.set_image_data_format(OLD_ORDER.get(order, order))


def _backend() -> Any:
    import keras

    return keras.backend


def _nothing(*args: Any, **kwargs: Any) -> None:
    """Nothing to do in Keras 3."""


_PHASE = {"phase": 0}


def _operation(name: str) -> Any:
    import keras

    return getattr(keras.ops, name)


def _chosen(value: Any) -> Any:
    return value() if callable(value) else value


def _in_train_phase(x: Any, alt: Any, training: Any = None) -> Any:
    """Return `x` while a model trains, else `alt`; `training` overrides the layer's own mode."""
    from keras.src.backend.common import global_state

    if training is None:
        context = global_state.get_global_attribute("current_call_ctx")
        training = getattr(context, "training", None)
    return _chosen(x if training else alt)


def _in_test_phase(x: Any, alt: Any, training: Any = None) -> Any:
    return _in_train_phase(alt, x, training)


def _identity(x: Any, name: Any = None) -> Any:
    return x


def _print_tensor(x: Any, message: str = "") -> Any:
    import tensorflow as tf

    tf.print(message, x)
    return x


def _gpus() -> "list[str]":
    import tensorflow as tf

    return [device.name for device in tf.config.list_logical_devices("GPU")]


def _learning_phase() -> int:
    return _PHASE["phase"]


def _set_learning_phase(value: Any) -> None:
    _PHASE["phase"] = int(value)


def _get_session() -> Any:
    raise GoneError(
        "K.get_session(): Keras 3 has no sessions; use model methods, K.get_value, or tf.compat.v1 throughout"
    )


def _set_session(session: Any) -> None:
    """Ignore a session's options: they set memory limits, which change no result."""


def _placeholder(
    shape: Any = None, ndim: Any = None, dtype: Any = None, sparse: bool = False, name: Any = None
) -> Any:
    import keras

    return keras.Input(batch_shape=shape or (None,) * int(ndim or 1), dtype=dtype, name=name)


def _compiled(inputs: Any, outputs: Any, updates: Any = None, **kwargs: Any) -> Any:
    """Return `K.function(inputs, outputs)` as a model that takes and returns lists of arrays."""
    import keras

    sources = [item for item in inputs if isinstance(item, keras.KerasTensor)]
    several = isinstance(outputs, (list, tuple))
    requested = list(outputs) if several else [outputs]
    if updates or not all(isinstance(item, keras.KerasTensor) for item in requested):
        raise GoneError(
            "K.function: only outputs of a model's layers can be computed; use tf.GradientTape for gradients"
        )
    between = keras.Model(sources, requested)

    def run(values: Any) -> Any:
        flags = [
            bool(value)
            for passed, value in zip(inputs, values)
            if not isinstance(passed, keras.KerasTensor)
        ]
        arrays = [
            value for passed, value in zip(inputs, values) if isinstance(passed, keras.KerasTensor)
        ]
        result = between(
            arrays if len(arrays) > 1 else arrays[0], training=bool(flags and flags[0])
        )
        result = [
            keras.ops.convert_to_numpy(item)
            for item in (result if isinstance(result, (list, tuple)) else [result])
        ]
        return result if several else result[0]

    return run


def _gradients(loss: Any, variables: Any) -> Any:
    raise GoneError(
        "K.gradients works in graphs only, which Keras 3 has not: use tf.GradientTape around the model's call"
    )


def channels_first(module: ModuleType, notes: Notes) -> None:
    """Run channels-first convolutions on a processor, on which TensorFlow cannot train them."""

    def around(original: Any) -> Any:
        @functools.wraps(original)
        def convolve(inputs: Any, kernel: Any, *args: Any, **kwargs: Any) -> Any:
            import inspect

            bound_arguments = inspect.signature(original).bind(inputs, kernel, *args, **kwargs)
            bound_arguments.apply_defaults()
            named = bound_arguments.arguments
            order = named.get("data_format") or _image_data_format()
            rank = len(inputs.shape)
            if order != "channels_first" or rank != 4:
                return original(inputs, kernel, *args, **kwargs)
            import tensorflow as tf

            named["inputs"] = tf.transpose(inputs, (0, 2, 3, 1))
            named["data_format"] = "channels_last"
            return tf.transpose(original(**named), (0, 3, 1, 2))

        return convolve

    if _has_gpu():
        return
    for name in ("conv", "depthwise_conv", "conv_transpose"):
        replaced = around(getattr(module, name))
        setattr(module, name, replaced)


def _image_data_format() -> str:
    import keras

    return str(keras.backend.image_data_format())


def _has_gpu() -> bool:
    import os

    return os.path.exists("/dev/nvidia0")
