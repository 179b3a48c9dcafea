"""Date a script: the generation of its framework's API that it was written for.

`generation` is one of

    keras1    standalone Keras 1: `Convolution2D(32, 3, 3)`, `nb_epoch=`, `border_mode=`, `merge(…)`
    keras2    standalone Keras 2: `keras.utils.np_utils`, `keras.preprocessing.image`,
    `fit_generator`, `lr=` tfkeras2  Keras 2 inside TensorFlow 2: `tensorflow.keras…` with what
    Keras 3 has dropped keras3    Keras 3: `keras.ops`, `keras.saving`, KERAS_BACKEND keras
    Keras, and nothing in it says which: every generation reads it tf1       TensorFlow 1:
    placeholders, sessions, `tf.contrib`, `tf.layers` tf1compat the same through `tf.compat.v1`,
    which TensorFlow 2 still runs tf2       TensorFlow 2 without Keras ""        none of these
    frameworks
"""

from __future__ import annotations

from mlops_lib.detection import symbols
from mlops_lib.detection.words import words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from mlops_lib.detection.facts import Call, Facts

LEGACY = ("keras1", "keras2", "tfkeras2")
"""Generations that use what Keras 3 has dropped."""

KERAS1_KEYWORDS = words("""
    nb_epoch border_mode nb_filter nb_row nb_col subsample samples_per_epoch nb_val_samples
    output_dim_ init W_regularizer b_regularizer inner_init dim_ordering nb_worker class_mode
    show_accuracy filter_length subsample_length inner_activation W_constraint bias_ nb_classes_
""")
KERAS1_NAMES = words("""
    Convolution1D Convolution2D Convolution3D AtrousConvolution2D Deconvolution2D
    SeparableConvolution2D MaxoutDense TimeDistributedDense Highway Merge merge Graph
    set_image_dim_ordering image_dim_ordering AtrousConvolution1D
""")
"""Names of Keras 1; the first three are still aliases in Keras 2 and 3, with other arguments."""
ALIASES = words("Convolution1D Convolution2D Convolution3D SeparableConvolution2D")

DROPPED = words("""
        fit_generator evaluate_generator predict_generator predict_classes CuDNNLSTM CuDNNGRU
        set_learning_phase learning_phase get_session set_session multi_gpu_model gradients
    """)
"""Calls that Keras 2 knew and Keras 3 does not."""
OF_OTHERS_TOO = words("get_session set_session gradients")
"""Of these, what something else may have under the same name."""
DROPPED_MODULES = (
    "keras.utils.np_utils",
    "keras.utils.generic_utils",
    "keras.utils.training_utils",
    "keras.utils.data_utils",
    "keras.utils.vis_utils",
    "keras.utils.io_utils",
    "keras.layers.core",
    "keras.layers.convolutional",
    "keras.layers.pooling",
    "keras.layers.normalization",
    "keras.layers.recurrent",
    "keras.layers.embeddings",
    "keras.layers.merge",
    "keras.layers.advanced_activations",
    "keras.layers.wrappers",
    "keras.layers.noise",
    "keras.layers.local",
    "keras.layers.experimental",
    "keras.engine",
    "keras.objectives",
    "keras.legacy",
    "keras.wrappers.scikit_learn",
    "keras.callbacks.callbacks",
    "keras.optimizers.legacy",
    "keras.layers.cudnn_recurrent",
    "keras.losses_utils",
    "keras.datasets.mnist_",
    "keras.initializations",
    "keras.layers.convolutional_recurrent",
    "keras.backend.tensorflow_backend",
    "keras.saving.model_config",
    "keras.estimator",
    "keras.experimental",
    "keras.premade",
)
"""Modules that Keras 3 no longer has (some names of theirs it has elsewhere)."""
PREPROCESSING = (
    "ImageDataGenerator",
    "Tokenizer",
    "one_hot",
    "hashing_trick",
    "text_to_word_sequence",
    "text",
)
"""Names of `keras.preprocessing` that only `tensorflow.keras` still has."""
OPTIMIZERS = words("SGD Adam RMSprop Adagrad Adadelta Adamax Nadam")
OLD_ARGUMENTS = frozenset(("lr", "decay"))
KERAS3_MODULES = (
    "keras.ops",
    "keras.saving",
    "keras.random",
    "keras.distribution",
    "keras.KerasTensor",
    "keras.export",
)
KERAS3_ROOTS = ("keras_hub", "keras_rs", "keras_core")
KERAS3_NAMES = frozenset(
    (
        "TFSMLayer",
        "JaxLayer",
        "TorchModuleWrapper",
        "SeedGenerator",
        "stateless_apply",
        "stateless_call",
    )
)

TF1_NAMES = words("""
    placeholder Session InteractiveSession global_variables_initializer initialize_all_variables
    get_variable variable_scope get_default_graph reset_default_graph ConfigProto GPUOptions
    FixedLengthRecordReader string_input_producer assign_op merge_all_summaries merge_all
    trainable_variables_ dynamic_rnn static_rnn
""")
TF1_MODULES = (
    "tensorflow.app",
    "tensorflow.contrib",
    "tensorflow.layers",
    "tensorflow.train.Adam",
    "tensorflow.train.Gradient",
    "tensorflow.train.RMSProp",
    "tensorflow.train.Momentum",
    "tensorflow.train.Saver",
    "tensorflow.examples",
    "tensorflow.logging",
    "tensorflow.gfile",
    "tensorflow.flags",
    "tensorflow.python.framework",
    "tensorflow.train.import_meta",
    "tensorflow.train.start_queue",
    "tensorflow.train.Adagrad",
    "tensorflow.train.Ftrl",
    "tensorflow.models.rnn",
    "tensorflow.train.exponential",
)
TF2_NAMES = frozenset(("GradientTape", "enable_eager_execution", "autograph"))

Sight = tuple[str, int, str, str]
"""A place of evidence: file, line, the code there and its meaning."""


class Age:
    """The generation of a framework's API, and the evidence for it."""

    __slots__ = ("evidence", "generation", "python2")

    def __init__(self, generation: str, python2: bool, evidence: tuple[Sight, ...]) -> None:
        self.generation = generation
        self.python2 = python2
        """True if only Python 2 reads the code as it stands."""
        self.evidence = evidence


def date(files: Sequence[tuple[str, Facts]], *, python2: Iterable[tuple[str, int]] = ()) -> Age:
    """Say for which generation of its framework code was written.

    Args:
        files: each file's name and facts: the entry and the local modules it imports.
        python2: file and line of what only Python 2 reads.
    """
    sights: dict[str, list[Sight]] = {}
    for file, facts in files:
        for kind, line, saw in _sights(facts):
            sights.setdefault(kind, []).append((file, line, saw, _MEANS[kind]))
    generation = _generation(sights)
    dropped = _first(sights.get("dropped", ()), limit=6) if generation in LEGACY else []
    evidence = [
        *_first(sights.get(generation, ()), limit=2 if not dropped else 1),
        *dropped[bool(dropped) :],
    ]
    old = list(python2)
    evidence += [(file, line, "Python 2 syntax", "written for Python 2") for file, line in old[:1]]
    return Age(generation, bool(old), tuple(evidence))


def _first(sights: Iterable[Sight], *, limit: int) -> list[Sight]:
    """Return the first sight of each module or name; one per line of code."""
    result: dict[tuple[str, int], Sight] = {}
    seen: set[str] = set()
    for sight in sights:
        file, line, saw, _ = sight
        if "()" not in saw and (saw not in seen or (file, line) in result):
            result[(file, line)] = sight
        seen.add(saw)
    return sorted(result.values(), key=lambda sight: (sight[0], sight[1]))[:limit]


_MEANS = {
    "keras1": "written for Keras 1",
    "keras2": "written for Keras 2",
    "tfkeras2": "written for Keras 2 in TensorFlow 2",
    "keras3": "written for Keras 3",
    "tf1": "written for TensorFlow 1",
    "tf1compat": "TensorFlow 1 code through tf.compat.v1",
    "tf2": "written for TensorFlow 2",
    "dropped": "no longer in Keras 3",
    "standalone": "standalone Keras",
    "inside": "Keras inside TensorFlow",
}


def _generation(sights: dict[str, list[Sight]]) -> str:
    uses_keras = "standalone" in sights or "inside" in sights
    if "keras3" in sights and "keras1" not in sights:
        return "keras3"
    if "keras1" in sights:
        return "keras1"
    if uses_keras and "dropped" in sights:
        generation = "keras2" if "standalone" in sights else "tfkeras2"
        sights.setdefault(generation, []).extend(
            (*s[:3], _MEANS[generation]) for s in sights["dropped"]
        )
        return generation
    for generation in ("tf1", "tf1compat"):
        if generation in sights and len(sights[generation]) >= (2 if uses_keras else 1):
            return generation
    if uses_keras:
        return "keras"
    return "tf2" if "tf2" in sights else ""


def _sights(facts: Facts) -> list[tuple[str, int, str]]:
    result: list[tuple[str, int, str]] = []
    for imported in facts.imports:
        top = imported.module.partition(".")[0]
        if top in KERAS3_ROOTS:
            result.append(("keras3", imported.line, f"import {top}"))
        for dotted in (imported.module, *(f"{imported.module}.{name}" for name in imported.names)):
            result += _by_module(dotted, imported.line)
    if "KERAS_BACKEND" in facts.settings:
        old = facts.settings["KERAS_BACKEND"] in ("theano", "cntk")
        result.append(
            ("keras2" if old else "keras3", 1, f"KERAS_BACKEND={facts.settings['KERAS_BACKEND']}")
        )
        if old:
            result.append(("dropped", 1, f"KERAS_BACKEND={facts.settings['KERAS_BACKEND']}"))
    for mention in facts.mentions:
        result += _by_module(mention.name, mention.line)
    for call in facts.calls:
        result += _by_module(call.name, call.line)
        result += _by_call(call)
    return result


def _by_module(dotted: str, line: int) -> list[tuple[str, int, str]]:
    result: list[tuple[str, int, str]] = []
    name = symbols.normal(dotted)
    root = name.partition(".")[0]
    if root == "keras" or dotted.startswith("tensorflow.keras"):
        standalone = dotted.partition(".")[0] in ("keras", "keras_core")
        result.append(("standalone" if standalone else "inside", line, dotted))
        dropped = any(name == module or name.startswith(module + ".") for module in DROPPED_MODULES)
        only_inside = (
            name.startswith("keras.preprocessing.") and name.rpartition(".")[2] in PREPROCESSING
        )
        if dropped or (standalone and only_inside):
            result.append(("dropped", line, dotted))
        if (standalone and name.startswith(KERAS3_MODULES)) or name.rpartition(".")[
            2
        ] in KERAS3_NAMES:
            result.append(("keras3", line, dotted))
    elif root in ("keras_preprocessing", "keras_contrib", "keras_applications"):
        result += [("standalone", line, dotted), ("dropped", line, dotted)]
    elif root == "tensorflow":
        leaf = name.rpartition(".")[2]
        if name.startswith(TF1_MODULES) or (leaf in TF1_NAMES and "(" not in name):
            kind = "tf1compat" if dotted.startswith("tensorflow.compat.v1") else "tf1"
            result.append((kind, line, dotted))
        elif leaf in TF2_NAMES:
            result.append(("tf2", line, dotted))
    return result


def _by_call(call: Call) -> list[tuple[str, int, str]]:
    name = symbols.normal(call.name)
    leaf = call.leaf
    result: list[tuple[str, int, str]] = []
    old = KERAS1_KEYWORDS & set(call.keywords)
    if name.startswith("keras.") and (
        old - {"init"} or ("init" in old and leaf in ("Dense", "LSTM", "GRU", "Embedding"))
    ):
        result.append(("keras1", call.line, f"{leaf}({sorted(old)[0]}=…)"))
    elif leaf in ("fit", "fit_generator") and "nb_epoch" in old:
        result.append(("keras1", call.line, f"{leaf}(nb_epoch=…)"))
    elif (
        name.startswith("keras.")
        and leaf in KERAS1_NAMES - ALIASES
        and "()" not in name
        and name != "keras.layers.merge"
    ) or name in ("keras.layers.merge", "keras.layers.core.merge"):
        result.append(("keras1", call.line, call.name))
    of_keras = name.startswith("keras.") or leaf not in OF_OTHERS_TOO
    if leaf in DROPPED and of_keras and (leaf != "gradients" or name.startswith("keras.backend")):
        result.append(("dropped", call.line, f"{leaf}(…)"))
    if (
        name.startswith("keras.optimizers.")
        and leaf in OPTIMIZERS
        and OLD_ARGUMENTS & set(call.keywords)
    ):
        result.append(
            ("dropped", call.line, f"{leaf}({sorted(OLD_ARGUMENTS & set(call.keywords))[-1]}=…)")
        )
    if (
        call.name.endswith(("ModelCheckpoint", "EarlyStopping", "Checkpoint"))
        and "period" in call.keywords
    ):
        result.append(("dropped", call.line, f"{leaf}(period=…)"))
    return result
