"""Layers and functions that Keras dropped, made of those it has."""

import os
import re
from typing import Any, List, Sequence

from mlops_lib.runner.compat.names import GoneError


def merge(inputs: Sequence[Any], mode: str = "sum", concat_axis: int = -1, **kwargs: Any) -> Any:
    """Keras 1's `merge([a, b], mode=…)`.

    Raises:
        GoneError: a mode that has no layer today.
    """
    return _merging(
        mode, concat_axis, dot_axes=kwargs.get("dot_axes", -1), name=kwargs.get("name")
    )(list(inputs))


def _merging(mode: Any, concat_axis: int, *, dot_axes: Any = -1, name: Any = None) -> Any:
    import keras

    plain = {"sum": "Add", "mul": "Multiply", "ave": "Average", "max": "Maximum"}
    if callable(mode):
        return keras.layers.Lambda(mode, name=name)
    if mode in plain:
        return getattr(keras.layers, plain[mode])(name=name)
    if mode == "concat":
        return keras.layers.Concatenate(axis=concat_axis, name=name)
    if mode in ("dot", "cos"):
        axes = tuple(dot_axes[0]) + tuple(dot_axes[1]) if _nested(dot_axes) else dot_axes
        return keras.layers.Dot(axes=axes, normalize=mode == "cos", name=name)
    raise GoneError(
        f"merge(mode={mode!r}) has no counterpart since Keras 2: use keras.layers.Add, Concatenate, Dot …"
    )


def _nested(axes: Any) -> bool:
    return isinstance(axes, (list, tuple)) and bool(axes) and isinstance(axes[0], (list, tuple))


def Merge(layers: Any = None, mode: str = "sum", concat_axis: int = -1, **kwargs: Any) -> Any:  # noqa: N802
    """Keras 1's `Merge` layer, for use on tensors.

    Raises:
        GoneError: it is the first layer of a Sequential model, whose branches only the functional
            API can join.
    """
    if layers:
        raise GoneError(
            "Sequential.add(Merge([…])) is gone since Keras 2: join the branches with the functional API"
        )
    return _merging(mode, concat_axis, dot_axes=kwargs.get("dot_axes", -1), name=kwargs.get("name"))


def TimeDistributedDense(*args: Any, **kwargs: Any) -> Any:  # noqa: N802
    """A Dense layer applied to every step."""
    import keras

    shape = {key: kwargs.pop(key) for key in ("input_shape", "batch_input_shape") if key in kwargs}
    length = kwargs.pop("input_length", None)
    size = kwargs.pop("input_dim", None)
    if size is not None:
        shape["input_shape"] = (length, size)
    return keras.layers.TimeDistributed(keras.layers.Dense(*args, **kwargs), **shape)


def AtrousConvolution1D(*args: Any, atrous_rate: Any = 1, **kwargs: Any) -> Any:  # noqa: N802
    """A dilated convolution."""
    import keras

    return keras.layers.Convolution1D(*args, dilation_rate=atrous_rate, **kwargs)


def AtrousConvolution2D(*args: Any, atrous_rate: Any = (1, 1), **kwargs: Any) -> Any:  # noqa: N802
    """A dilated convolution."""
    import keras

    return keras.layers.Convolution2D(*args, dilation_rate=atrous_rate, **kwargs)


def ThresholdedReLU(theta: float = 1.0, **kwargs: Any) -> Any:  # noqa: N802
    """Zero up to `theta`."""
    import keras

    return keras.layers.ReLU(threshold=float(theta), **kwargs)


def _gone(name: str, instead: str) -> Any:
    def refuse(*args: Any, **kwargs: Any) -> Any:
        raise GoneError(f"keras.layers.{name} is gone: {instead}")

    return refuse


MaxoutDense = _gone("MaxoutDense", "use Dense and a maximum over groups of its units")
Highway = _gone("Highway", "write its gate with Dense layers and Multiply")
LocallyConnected1D = _gone("LocallyConnected1D", "use Conv1D, or install tf_keras and import that")
LocallyConnected2D = _gone("LocallyConnected2D", "use Conv2D, or install tf_keras and import that")
ParametricSoftplus = _gone("ParametricSoftplus", "use Activation('softplus')")
SReLU = _gone("SReLU", "use PReLU")


class Recurrent:
    """Base class of recurrent layers until Keras 2.1, from which projects derived their own."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        raise GoneError(
            f"keras.layers.Recurrent is gone: derive {cls.__name__} from keras.Layer, as a cell for RNN(cell)"
        )


def legacy_recurrent_support(method: Any) -> Any:
    """Refuse a decorator for methods of layers derived from the old `Recurrent`.

    Raises:
        GoneError: always.
    """
    raise GoneError(
        "layers derived from Keras 2.0's recurrent ones have no base any more: write a cell, for keras.layers.RNN"
    )


def legacy_support(method: Any) -> Any:
    """Return the decorated function as it is: arguments are translated without the decorator."""
    return method


def Deconvolution2D(  # noqa: N802
    nb_filter: int, nb_row: Any = None, nb_col: Any = None, output_shape: Any = None, **kwargs: Any
) -> Any:
    """A transposed convolution, whose output's shape follows from its strides today."""
    import keras

    size = (nb_row,) if nb_col is None else ((nb_row, nb_col),)
    return keras.layers.Conv2DTranspose(nb_filter, *(size if nb_row is not None else ()), **kwargs)


def model_from_yaml(*args: Any, **kwargs: Any) -> Any:
    """Refused: Keras removed it for its unsafe parser.

    Raises:
        GoneError: always.
    """
    raise GoneError(
        "model_from_yaml was removed from Keras as unsafe: use to_json and model_from_json"
    )


def multi_gpu_model(model: Any, gpus: Any = None, **kwargs: Any) -> Any:
    """The model itself: several devices are for tf.distribute."""
    return model


def print_summary(model: Any, **kwargs: Any) -> None:
    """The model's summary."""
    model.summary()


def probas_to_classes(probabilities: Any) -> Any:
    """Class indices from probabilities."""
    if len(probabilities.shape) > 1 and probabilities.shape[1] > 1:
        return probabilities.argmax(axis=1)
    return (probabilities > 0.5).astype("int32")


categorical_probas_to_classes = probas_to_classes


def convert_kernel(kernel: Any) -> Any:
    """A convolution kernel turned by half a circle (Theano's into TensorFlow's)."""
    import numpy

    turned = numpy.copy(kernel)
    return turned[(slice(None, None, -1),) * (turned.ndim - 2)]


def normalize_tuple(value: Any, n: int, name: str) -> Any:
    """A number `n` times, or `n` numbers."""
    return (value,) * n if isinstance(value, int) else tuple(value)


def normalize_padding(value: str) -> str:
    """The padding in small letters."""
    return value.lower()


def normalize_data_format(value: Any) -> str:
    """The order of channels, or the default's."""
    import keras

    return str(value or keras.backend.image_data_format()).lower()


def conv_output_length(
    length: Any, filter_size: int, padding: str, stride: int, dilation: int = 1
) -> Any:
    """The length that a convolution leaves."""
    if length is None:
        return None
    reach = filter_size + (filter_size - 1) * (dilation - 1)
    left = {
        "same": length,
        "causal": length,
        "valid": length - reach + 1,
        "full": length + reach - 1,
    }[padding]
    return (left + stride - 1) // stride


def deconv_length(length: Any, stride: int, filter_size: int, padding: str, *_: Any) -> Any:
    """The length that a transposed convolution leaves."""
    if length is None:
        return None
    return length * stride + (max(filter_size - stride, 0) if padding == "valid" else 0)


def HDF5Matrix(  # noqa: N802
    datapath: Any, dataset: str, start: int = 0, end: Any = None, normalizer: Any = None
) -> Any:
    """Rows of a data set in an HDF5 file, in memory."""
    import h5py

    with h5py.File(datapath, "r") as file:
        rows = file[dataset][start:end]
    return rows if normalizer is None else normalizer(rows)


def _queue(name: str) -> Any:
    def refuse(*args: Any, **kwargs: Any) -> Any:
        raise GoneError(
            f"keras.utils.{name} is gone: give the generator or Sequence itself to fit, evaluate or predict"
        )

    return refuse


GeneratorEnqueuer = _queue("GeneratorEnqueuer")
OrderedEnqueuer = _queue("OrderedEnqueuer")


def slice_X(X: Any, start: Any = None, stop: Any = None) -> Any:  # noqa: N802, N803
    """Rows of an array or of every array in a list."""
    if isinstance(X, list):
        return [item[start] if hasattr(start, "__len__") else item[start:stop] for item in X]
    return X[start] if hasattr(start, "__len__") else X[start:stop]


slice_arrays = _slice_arrays = slice_X


def normal(shape: Any, scale: float = 0.05, name: Any = None) -> Any:
    """Keras 1's `initializations.normal`."""
    import keras

    return keras.random.normal(shape, stddev=scale)


def uniform(shape: Any, scale: float = 0.05, name: Any = None) -> Any:
    """Keras 1's `initializations.uniform`."""
    import keras

    return keras.random.uniform(shape, -scale, scale)


def identity(shape: Any, scale: float = 1, name: Any = None) -> Any:
    """Keras 1's `initializations.identity`."""
    import keras

    return scale * keras.ops.eye(shape[0])


def zero(shape: Any, name: Any = None) -> Any:
    """Keras 1's `initializations.zero`."""
    import keras

    return keras.ops.zeros(shape)


def list_pictures(directory: str, ext: Any = ("jpg", "jpeg", "bmp", "png", "ppm")) -> List[str]:
    """The pictures below a folder."""
    ending = re.compile(
        r"\.(" + (ext if isinstance(ext, str) else "|".join(ext)) + r")$", re.IGNORECASE
    )
    return [
        os.path.join(root, name)
        for root, _, names in os.walk(directory)
        for name in names
        if ending.search(name)
    ]


def _counts(y_true: Any, y_pred: Any) -> Any:
    from keras import ops

    true = ops.round(ops.clip(y_true, 0, 1))
    result = ops.round(ops.clip(y_pred, 0, 1))
    return ops.sum(true * result), ops.sum(true), ops.sum(result)


def precision(y_true: Any, y_pred: Any) -> Any:
    """Keras 1's batch-wise precision."""
    both, _, result = _counts(y_true, y_pred)
    return both / (result + 1e-7)


def recall(y_true: Any, y_pred: Any) -> Any:
    """Keras 1's batch-wise recall."""
    both, true, _ = _counts(y_true, y_pred)
    return both / (true + 1e-7)


def fbeta_score(y_true: Any, y_pred: Any, beta: float = 1) -> Any:
    """Keras 1's batch-wise F measure."""
    p = precision(y_true, y_pred)
    r = recall(y_true, y_pred)
    return (1 + beta**2) * p * r / (beta**2 * p + r + 1e-7)


def fmeasure(y_true: Any, y_pred: Any) -> Any:
    """F1, batch by batch."""
    return fbeta_score(y_true, y_pred)


def matthews_correlation(y_true: Any, y_pred: Any) -> Any:
    """Keras 1's batch-wise correlation of truth and answer."""
    from keras import ops

    true = ops.round(ops.clip(y_true, 0, 1))
    result = ops.round(ops.clip(y_pred, 0, 1))
    both = ops.sum(true * result)
    neither = ops.sum((1 - true) * (1 - result))
    extra = ops.sum((1 - true) * result)
    missed = ops.sum(true * (1 - result))
    spread = ops.sqrt((both + extra) * (both + missed) * (neither + extra) * (neither + missed))
    return (both * neither - extra * missed) / (spread + 1e-7)
