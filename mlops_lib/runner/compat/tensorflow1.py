"""TensorFlow 1: its behaviour, its tutorial's data, and the living parts of `tf.contrib`."""

import functools
import gzip
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import os
import sys
from types import ModuleType
from typing import Any, Dict, Optional, Sequence, Tuple

from mlops_lib.runner.compat.arguments import with_renamed
from mlops_lib.runner.compat.names import GoneError, GoneModuleError, Names, lend, listed
from mlops_lib.runner.compat.notes import Notes

CELLS = "tensorflow.compat.v1"
HERE = "mlops_lib.runner.compat.tensorflow1"
CONTRIB = "mlops_lib.runner.compat.tf_contrib"
_RNN: Names = {
    **{
        name: f"{CELLS}:nn.rnn_cell.{name}"
        for name in (
            "BasicLSTMCell",
            "LSTMCell",
            "GRUCell",
            "BasicRNNCell",
            "MultiRNNCell",
            "DropoutWrapper",
            "LSTMStateTuple",
            "RNNCell",
            "ResidualWrapper",
        )
    },
    **{
        name: f"{CELLS}:nn.{name}"
        for name in ("static_rnn", "static_bidirectional_rnn", "static_state_saving_rnn")
    },
}
"""By attribute: importing `tensorflow.compat.v1.nn` would make a second module of that name."""
_LAYERS: Names = {
    "flatten": f"{CELLS}:layers.flatten",
    "xavier_initializer": f"{CELLS}:glorot_uniform_initializer",
    "xavier_initializer_conv2d": f"{CELLS}:glorot_uniform_initializer",
    "l2_regularizer": f"{CELLS}:keras.regularizers.l2",
    "l1_regularizer": f"{CELLS}:keras.regularizers.l1",
    **listed(
        "fully_connected linear relu conv2d convolution2d conv2d_transpose convolution2d_transpose max_pool2d avg_pool2d"
        " dropout batch_norm one_hot_encoding embed_sequence variance_scaling_initializer optimize_loss",
        CONTRIB,
    ),
}
_EAGER: Names = listed(
    "Variable Iterator implicit_gradients implicit_value_and_gradients gradients_function"
    " enable_eager_execution",
    CONTRIB,
)
_REDUCED = {"keep_dims": "keepdims", "reduction_indices": "axis"}
KEYWORDS = {
    **{
        f"reduce_{name}": _REDUCED
        for name in ("sum", "mean", "max", "min", "prod", "all", "any", "logsumexp")
    },
    **{name: {"dimension": "axis"} for name in ("argmax", "argmin")},
    "expand_dims": {"dim": "axis"},
    "squeeze": {"squeeze_dims": "axis"},
    "nn.softmax": {"dim": "axis"},
    "nn.log_softmax": {"dim": "axis"},
    "nn.l2_normalize": {"dim": "axis"},
}
"""Functions of `tensorflow` with keywords that TensorFlow 2 renamed, which layers of one's own
still use.
"""
INSTEAD = {
    "learn": "tf.keras models",
    "slim": "tf.keras layers, or the tf_slim package",
    "estimator": "tf.keras models",
    "seq2seq": "keras.layers.Attention",
    "tensor_forest": "tensorflow_decision_forests",
    "data": "tf.data",
    "factorization": "scikit-learn's KMeans and GaussianMixture",
    "crf": "a CRF layer of your own",
    "framework": "tf and tf.keras",
    "training": "tf.keras.callbacks",
    "metrics": "tf.keras.metrics",
    "opt": "tf.keras.optimizers",
    "cudnn_rnn": "tf.keras.layers.LSTM",
    "legacy_seq2seq": "keras.layers.Attention",
    "distribute": "tf.distribute",
    "image": "tf.image, or keras.layers.RandomRotation and the like",
    "losses": "tf.losses",
    "lookup": "tf.lookup",
    "summary": "tf.summary",
    "signal": "tf.signal",
    "tpu": "tf.tpu",
    "quantize": "tensorflow_model_optimization",
    "lite": "tf.lite",
    "gan": "the tensorflow_gan package",
    "feature_column": "tf.keras.layers",
    "predictor": "tf.saved_model",
    "saved_model": "tf.saved_model",
    "linalg": "tf.linalg",
    "integrate": "scipy.integrate",
    "util": "tf and tf.keras",
}
"""Parts of `tf.contrib` that live on nowhere, and what to use."""


def _ended(part: str) -> Any:
    raise GoneError(f"tensorflow.contrib.{part} ended with TensorFlow 1: use {INSTEAD[part]}")


def _whole_state(name: str) -> Any:
    """A cell of TensorFlow 0.x: its state was one tensor."""
    import tensorflow

    return functools.partial(getattr(tensorflow.compat.v1.nn.rnn_cell, name), state_is_tuple=False)


MODULES: Dict[str, Tuple[Sequence[str], Names]] = {
    "tensorflow.examples": ((), {}),
    "tensorflow.examples.tutorials": ((), {}),
    "tensorflow.examples.tutorials.mnist": (
        (),
        {"input_data": "tensorflow.examples.tutorials.mnist.input_data"},
    ),
    "tensorflow.examples.tutorials.mnist.input_data": (
        (),
        {"read_data_sets": f"{HERE}:read_data_sets"},
    ),
    "tensorflow.contrib": (
        (),
        {
            **{part: functools.partial(_ended, part) for part in INSTEAD},
            "rnn": "tensorflow.contrib.rnn",
            "layers": "tensorflow.contrib.layers",
            "eager": "tensorflow.contrib.eager",
            "keras": "tensorflow.keras",
        },
    ),
    "tensorflow.contrib.rnn": ((), _RNN),
    "tensorflow.contrib.layers": ((), _LAYERS),
    "tensorflow.contrib.eager": ((), _EAGER),
    "tensorflow.contrib.learn.python.learn.datasets.mnist": (
        (),
        {"read_data_sets": f"{HERE}:read_data_sets"},
    ),
    "tensorflow.contrib.learn.python.learn.datasets": (
        (),
        {"mnist": "tensorflow.contrib.learn.python.learn.datasets.mnist"},
    ),
    "tensorflow.contrib.learn.python.learn": ((), {}),
    "tensorflow.contrib.learn.python": ((), {}),
    "tensorflow.contrib.learn": ((), {}),
    "tensorflow.contrib.keras": (("tensorflow.keras",), {}),
    "tensorflow.models": ((), {}),
    "tensorflow.models.rnn": (
        (),
        {"rnn": "tensorflow.models.rnn.rnn", "rnn_cell": "tensorflow.models.rnn.rnn_cell"},
    ),
    "tensorflow.models.rnn.rnn": (
        (),
        listed(
            "rnn=nn.static_rnn dynamic_rnn=nn.dynamic_rnn"
            " bidirectional_rnn=nn.static_bidirectional_rnn",
            CELLS,
        ),
    ),
    "tensorflow.models.rnn.rnn_cell": (
        (),
        {
            **_RNN,
            **{
                name: functools.partial(_whole_state, name)
                for name in ("BasicLSTMCell", "LSTMCell", "MultiRNNCell")
            },
        },
    ),
    "tensorflow.python.ops.rnn_cell": (("tensorflow.models.rnn.rnn_cell",), {}),
}
BEFORE_1: Names = {
    **listed(
        "mul=multiply sub=subtract neg=negative pack=stack unpack=unstack select=where batch_matmul=matmul"
        " initialize_all_variables=global_variables_initializer initialize_variables=variables_initializer"
        " all_variables=global_variables scalar_summary=summary.scalar histogram_summary=summary.histogram"
        " image_summary=summary.image merge_summary=summary.merge merge_all_summaries=summary.merge_all",
        CELLS,
    ),
    "inv": f"{CELLS}:reciprocal",
}
"""Names of TensorFlow 0.x."""


class Contrib(importlib.abc.MetaPathFinder):
    """Module whose attributes raise with the remedy for a vanished part of `tf.contrib`."""

    def find_spec(self, name: str, path: Any, target: Optional[ModuleType] = None) -> Any:
        """Never finds anything.

        Raises:
            GoneModuleError: it is a part of `tf.contrib`.
        """
        if name.startswith("tensorflow.contrib."):
            raise GoneModuleError(f"{name} ended with TensorFlow 1: use {_instead(name)}")
        return None


def _instead(name: str) -> str:
    return INSTEAD.get(name.split(".")[2], "its successor in tf or tf.keras")


def _no_estimators() -> Any:
    raise GoneError(
        "tf.estimator ended with TensorFlow 2.15: write the model with tf.keras, or require tensorflow<2.16"
    )


def hooks(notes: Notes, *, graph: bool, keras: bool) -> "dict[str, Any]":
    """Return functions to call after the import of TensorFlow.

    Args:
        notes: journal of adaptations.
        graph: whether the script is written for TensorFlow 1's graphs.
        keras: whether it uses Keras too.
    """

    def behave(module: ModuleType) -> None:
        if graph:
            module.compat.v1.disable_v2_behavior()
        else:
            for path, table in KEYWORDS.items():
                owner = module.nn if path.startswith("nn.") else module
                name = path.rpartition(".")[2]
                setattr(owner, name, with_renamed(getattr(owner, name), table, notes))
        shown: Any = importlib.import_module(CELLS)
        old = _plain(shown)
        lost_names = {
            name: f"{CELLS}:{name}"
            for name in dir(old)
            if not name.startswith("_") and not hasattr(module, name)
        }
        lend(module, {**lost_names, "contrib": "tensorflow.contrib"}, notes)
        lend(old, {"contrib": "tensorflow.contrib", "estimator": _no_estimators, **BEFORE_1}, notes)
        if graph:
            _as_before_1(shown, notes)

    return {"tensorflow": behave}


def _plain(module: Any) -> Any:
    """Return the module inside TensorFlow's wrapper for deprecation warnings."""
    return getattr(module, "_tfmw_wrapped_module", module)


def _as_before_1(module: Any, notes: Notes) -> None:
    """Restore the signatures of TensorFlow 0.x: the axis first, logits and labels by position."""
    lend(_plain(module.train), {"SummaryWriter": f"{CELLS}:summary.FileWriter"}, notes)
    concat = module.concat
    split = module.split

    @functools.wraps(concat)
    def concat_(values: Any, axis: Any, *args: Any, **kwargs: Any) -> Any:
        if type(values) is int:
            notes.say("tf.concat(axis, values) takes the axis last since TensorFlow 1.0")
            values, axis = axis, values
        return concat(values, axis, *args, **kwargs)

    @functools.wraps(split)
    def split_(
        value: Any, num_or_size_splits: Any, axis: Any = 0, *args: Any, **kwargs: Any
    ) -> Any:
        if type(value) is int:
            notes.say("tf.split(axis, number, value) takes the axis last since TensorFlow 1.0")
            value, axis = axis, value
        return split(value, num_or_size_splits, axis, *args, **kwargs)

    module.concat, module.split = concat_, split_
    for name in ("softmax", "sparse_softmax", "sigmoid"):
        loss = f"{name}_cross_entropy_with_logits"
        setattr(module.nn, loss, _logits_first(getattr(module.nn, loss), notes))


def _logits_first(original: Any, notes: Notes) -> Any:
    @functools.wraps(original)
    def call(*args: Any, **kwargs: Any) -> Any:
        if len(args) < 2 or args[0] is None:
            return original(*args, **kwargs)
        notes.say(f"{original.__name__} takes logits= and labels= by name since TensorFlow 1.0")
        return original(logits=args[0], labels=args[1], **kwargs)

    return call


def prepare(*, graph: bool) -> None:
    """Choose the Keras that `tf.layers` and its cells need, before TensorFlow is imported."""
    if graph and importlib.util.find_spec("tf_keras") is not None:
        os.environ["TF_USE_LEGACY_KERAS"] = "1"


class LegacyKeras(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """`import keras` gives tf_keras, in a script of graphs and sessions."""

    def find_spec(self, name: str, path: Any, target: Optional[ModuleType] = None) -> Any:
        """`keras…` as `tf_keras…`."""
        if name != "keras" and not name.startswith("keras."):
            return None
        import importlib

        try:
            importlib.import_module("tf_" + name)
        except ImportError:
            return None
        return importlib.machinery.ModuleSpec(name, self, is_package=True)

    def create_module(self, spec: Any) -> Any:
        """The very module of tf_keras."""
        return sys.modules["tf_" + spec.name]

    def exec_module(self, module: ModuleType) -> None:
        """It has run already."""


class Digits:
    """One part of MNIST as TensorFlow's tutorial handed it out."""

    def __init__(self, images: Any, labels: Any) -> None:
        self.images = images
        self.labels = labels
        self.num_examples = len(images)
        self.epochs_completed = 0
        self._next = 0
        self._order: Any = None

    def next_batch(
        self, batch_size: int, fake_data: bool = False, shuffle: bool = True
    ) -> Tuple[Any, Any]:
        """The next examples, in an order that is new in every epoch."""
        import numpy

        selection: Any = []
        while len(selection) < batch_size:
            if self._order is None or self._next >= self.num_examples:
                self.epochs_completed += self._order is not None
                self._order = (
                    numpy.random.permutation(self.num_examples)
                    if shuffle
                    else numpy.arange(self.num_examples)
                )
                self._next = 0
            batch = self._order[self._next : self._next + batch_size - len(selection)]
            self._next += len(batch)
            selection = numpy.concatenate([selection, batch]).astype(int)
        return self.images[selection], self.labels[selection]


class Parts:
    """`train`, `validation` and `test`."""

    def __init__(self, train: Digits, validation: Digits, test: Digits) -> None:
        self.train = train
        self.validation = validation
        self.test = test


FILES = (
    "train-images-idx3-ubyte.gz",
    "train-labels-idx1-ubyte.gz",
    "t10k-images-idx3-ubyte.gz",
    "t10k-labels-idx1-ubyte.gz",
)


def read_data_sets(
    train_dir: str,
    fake_data: bool = False,
    one_hot: bool = False,
    dtype: Any = None,
    reshape: bool = True,
    validation_size: int = 5000,
    seed: Any = None,
    **kwargs: Any,
) -> Parts:
    """Return MNIST as the tutorial read it: from `train_dir`, else from Keras' download."""
    import numpy

    paths = [os.path.join(train_dir, name) for name in FILES]
    if all(map(os.path.exists, paths)):
        x, y, x_test, y_test = (_read(path) for path in paths)
    else:
        from keras.datasets import mnist

        (x, y), (x_test, y_test) = mnist.load_data()
    validation_size = min(validation_size, len(x) // 2)

    def part(images: Any, labels: Any) -> Digits:
        images = images.astype("float32") / 255
        images = images.reshape(len(images), 784) if reshape else images[..., None]
        return Digits(images, numpy.eye(10)[labels] if one_hot else labels)

    train = part(x[validation_size:], y[validation_size:])
    return Parts(train, part(x[:validation_size], y[:validation_size]), part(x_test, y_test))


def _read(path: str) -> Any:
    import numpy

    with gzip.open(path, "rb") as stream:
        content = stream.read()
    dimensions = content[3]
    shape = [int.from_bytes(content[4 + 4 * i : 8 + 4 * i], "big") for i in range(dimensions)]
    return numpy.frombuffer(content, numpy.uint8, offset=4 + 4 * dimensions).reshape(shape)


__all__ = ["MODULES", "Contrib", "GoneError", "LegacyKeras", "hooks", "prepare", "read_data_sets"]
