"""What one name means: the framework it belongs to, the part it plays and the family it tells of."""

from __future__ import annotations

from mlops_lib.detection import tables as k
from mlops_lib.detection.facts import Call

MODEL, LAYER, CONTAINER, TRANSFORM, TRAINS, FIT, NOTHING = (
    "model",
    "layer",
    "container",
    "transform",
    "trains",
    "fit",
    "",
)
LOADED = "loaded"
"""A model that was trained elsewhere."""


class Meaning:
    """A name's framework, part and family; each may be ""."""

    __slots__ = ("family", "framework", "part")

    def __init__(self, framework: str, part: str, family: str = "") -> None:
        self.framework = framework
        self.part = part
        self.family = family


NONE = Meaning("", NOTHING)


def normal(name: str) -> str:
    """One module under one name."""
    if name.startswith("tensorflow.") or name.startswith(
        ("keras", "tf_keras", "lightning", "jax.ex")
    ):
        for prefix, plain in k.PREFIXES:
            if name.startswith(prefix):
                return plain + name[len(prefix) :]
        if name in ("tensorflow.keras", "keras_core", "tf_keras", "tensorflow.python.keras"):
            return "keras"
    return name


def framework_of(name: str) -> str:
    """The framework of a normal name; "" if none."""
    root = name.partition(".")[0].partition("(")[0]
    if root == "transformers":
        return _transformers_backend(name)
    return k.FRAMEWORK_OF.get(root, "")


def _transformers_backend(name: str) -> str:
    what = name[len("transformers.") :]
    if what.startswith(("TF", "modeling_tf", "create_optimizer", "keras_callbacks")):
        return "keras"
    return "jax" if what.startswith("Flax") else "pytorch"


FITS = frozenset(
    [
        "fit",
        "fit_generator",
        "train_on_batch",
        "partial_fit",
        "fit_predict",
        "train",
        "fine_tune",
        "fit_one_cycle",
        "fit_resample",
        "fit_regularized",
        "fit_constrained",
        "fit_transform",
        "fit_flow",
        "lr_find",
        "learn",
        "search",
        "fit_sgd",
        "smooth",
        "fit_em",
        "fit_partial",
        "grid_search",
        "randomized_search",
    ]
)
"""Methods that train what they are called on."""
STEPS = frozenset(
    [
        "step",
        "run",
        "update",
        "sample",
        "sampling",
        "optimize",
        "optimizing",
        "variational",
        "vb",
        "pathfinder",
    ]
)
"""Methods that fit a probabilistic program."""


def of(call: Call) -> Meaning:
    """What a call, a base class or a mention means."""
    name = normal(call.name)
    head, _, leaf = name.rpartition(".")
    if not head:
        return NONE
    if head.endswith("()") or "()." in name:
        return _of_method(name, head, leaf)
    framework = framework_of(name)
    reader = _READERS.get(framework)
    return reader(call, name, leaf) if reader is not None else NONE


def _of_method(name: str, head: str, leaf: str) -> Meaning:
    """A method of something that was made: what was made decides."""
    if name.startswith("prettytensor."):  # layers are methods of what it wraps
        family = k.TENSORFLOW_LAYERS.get(leaf)
        return Meaning("tensorflow", LAYER, family) if family else NONE
    made = head.partition("()")[0]
    if leaf in STEPS and made.rpartition(".")[2] in k.SAMPLERS.get(made.partition(".")[0], ()):
        return Meaning(framework_of(made), FIT)
    if leaf in ("mm", "matmul") and framework_of(made) == "pytorch":
        return Meaning("pytorch", NOTHING, "product")
    if leaf not in FITS:
        return NONE
    framework = framework_of(made)
    if not framework:
        return NONE
    maker = of(Call(made, 0))
    if maker.part in (MODEL, CONTAINER, LOADED) or (
        framework in ("pytorch", "other") and maker.part != TRANSFORM
    ):
        return Meaning(framework, FIT if maker.part != CONTAINER else CONTAINER + FIT, maker.family)
    if framework == "sklearn" and maker.part == TRANSFORM:
        return Meaning(framework, TRANSFORM)
    if (
        framework == "keras" and maker.part == LAYER
    ):  # the tensor of a functional model, or an adapted layer
        return NONE
    if framework in ("keras", "tensorflow", "statsmodels", *k.BOOSTERS) and leaf != "fit_transform":
        return Meaning(framework, FIT, maker.family)
    return NONE


def _pretrained(name: str, first: str = "") -> str:
    """The family of a pretrained network, by what it is called in its library."""
    plain = "".join(letter for letter in name.lower() if letter.isalnum())
    if any(word in plain for word in k.GENERATIVE_NAMES):
        return "generative"
    said = plain + " " + first.lower()
    if plain.startswith(k.TRANSFORMER_NAMES) or any(
        w in said for w in ("bert", "transformer", "vit_", "/vit", "gpt")
    ):
        return "transformer"
    return "cnn"


def _keras(call: Call, name: str, leaf: str) -> Meaning:
    root, _, rest = name.partition(".")
    if root in ("keras_cv", "keras_nlp", "keras_hub") and ".models." in name:
        model = rest.partition("models.")[2].partition(".")[0]
        if model.endswith(("Preprocessor", "Tokenizer", "ImageConverter", "AudioConverter")):
            return NONE
        of_pictures = ("image", "net", "vgg", "diffusion", "deeplab", "objectdetector")
        said = (model + " " + call.first).lower()
        pictures = root == "keras_cv" or any(word in said for word in of_pictures)
        return Meaning(
            "keras", MODEL, _pretrained(model, call.first) if pictures else "transformer"
        )
    if root == "transformers":
        if (
            "Tokenizer" in leaf
            or "Config" in name
            or leaf in ("create_optimizer", "PushToHubCallback", "KerasMetricCallback")
        ):
            return NONE
        return Meaning("keras", MODEL, "transformer")
    if name.startswith(k.CNN_BACKBONES):
        made = leaf if leaf[:1].isupper() else ""
        return (
            Meaning("keras", MODEL, _pretrained(made, call.first))
            if made and leaf != "Input"
            else NONE
        )
    if root == "tensorflow_decision_forests":
        return (
            Meaning("keras", MODEL, "tree" if "Linear" not in leaf else "linear")
            if leaf.endswith("Model")
            else NONE
        )
    if root == "autokeras":
        family = (
            "cnn"
            if "Image" in leaf
            else "dense"
            if "Structured" in leaf
            else "rnn"
            if "Text" in leaf
            else ""
        )
        return (
            Meaning("keras", MODEL, family)
            if leaf[:1].isupper() and not leaf.endswith("Input")
            else NONE
        )
    if leaf in ("KerasClassifier", "KerasRegressor") or root == "vit_keras":
        return Meaning("keras", MODEL, "transformer" if root == "vit_keras" else "")
    if root in ("keras_tuner", "kerastuner"):
        return Meaning("keras", MODEL) if leaf in _TUNERS else NONE
    family = k.KERAS_LAYERS.get(leaf, "")
    if family and not name.startswith(
        ("keras.datasets", "keras.utils", "keras.callbacks", "keras.metrics")
    ):
        return Meaning("keras", LAYER, family)
    if leaf in k.KERAS_MODELS:
        return Meaning("keras", MODEL, "")
    if leaf in ("load_model", "model_from_json", "clone_model"):
        return Meaning("keras", LOADED, "")
    if leaf == "matmul":
        return Meaning("keras", NOTHING, "product")
    if leaf in ("segment_sum", "segment_max"):
        return Meaning("keras", NOTHING, "gnn")
    if leaf == "dot_product_attention":
        return Meaning("keras", LAYER, "transformer")
    if leaf == "conv":
        return Meaning("keras", LAYER, "cnn")
    if leaf in k.KERAS_NEUTRAL:
        return Meaning("keras", LAYER, "")
    return NONE


_TUNERS = frozenset(
    [
        "RandomSearch",
        "BayesianOptimization",
        "Hyperband",
        "GridSearch",
        "Tuner",
        "SklearnTuner",
        "Oracle",
    ]
)


def _tensorflow(call: Call, name: str, leaf: str) -> Meaning:
    if name.startswith("tensorflow_hub."):
        if leaf in ("KerasLayer", "Module", "load", "text_embedding_column"):
            said = call.first.lower()
            text = any(w in said for w in ("nnlm", "word", "sentence-encoder", "elmo", "embed"))
            family = _pretrained("", call.first) if said and not text else "dense" if text else ""
            return Meaning("keras" if leaf == "KerasLayer" else "tensorflow", LAYER, family)
        return NONE
    if name.startswith("tensorflow_text."):
        return NONE
    if (
        ".estimator." in name
        or ".contrib.learn." in name
        or ".contrib.boosted_trees." in name
        or ".tensor_forest." in name
        or ".contrib.factorization." in name
    ):
        family = k.TENSORFLOW_LAYERS.get(leaf, "")
        if family or leaf in (
            "Estimator",
            "model_to_estimator",
            "train_and_evaluate",
            "SKCompat",
            "EstimatorSpec",
        ):
            return Meaning("tensorflow", MODEL, family)
        return NONE
    if name.startswith("tensorflow_probability."):
        if ".layers." in name and leaf.startswith(("Dense", "Conv", "Convolution")):
            return Meaning("keras", LAYER, "cnn" if leaf.startswith("Conv") else "dense")
        if ".bijectors." in name and leaf in k.TENSORFLOW_LAYERS:
            return Meaning("tensorflow", LAYER, "generative")
        return Meaning("tensorflow", MODEL, "other") if ".sts." in name else NONE
    if name.startswith(("tensorflow_gan.", "tensorflow.contrib.gan.")):
        return Meaning("tensorflow", MODEL, "generative") if leaf[:1].islower() else NONE
    if name.startswith("tf_agents."):
        if leaf.endswith("Network"):
            return Meaning("tensorflow", LAYER, "rnn" if "Rnn" in leaf else "dense")
        return Meaning("tensorflow", MODEL) if leaf.endswith("Agent") else NONE
    if leaf == "matmul":
        return Meaning("tensorflow", NOTHING, "product")
    if leaf in ("DNN",) and name.startswith("tflearn"):
        return Meaning("tensorflow", MODEL, "")
    family = k.TENSORFLOW_LAYERS.get(leaf, "")
    if family and not name.startswith(
        ("tensorflow.initializers", "tensorflow.image", "tensorflow.random")
    ):
        return Meaning("tensorflow", LAYER, family)
    if leaf in ("Variable", "get_variable", "placeholder", "xw_plus_b", "Module"):
        return Meaning("tensorflow", NOTHING, "variable")
    return NONE


def _torch(call: Call, name: str, leaf: str) -> Meaning:
    root = name.partition(".")[0]
    if root == "torch_geometric":
        if (
            ".nn." in name
            and leaf[:1].isupper()
            and leaf not in ("Linear", "BatchNorm", "Sequential", "LayerNorm", "MLP")
        ):
            return Meaning("pytorch", LAYER, "gnn")
        return (
            Meaning("pytorch", LAYER, "dense")
            if ".nn." in name and leaf in ("Linear", "MLP")
            else NONE
        )
    if root in ("dgl", "dgllife"):
        if (".nn." in name and leaf[:1].isupper()) or name.startswith("dgl.function."):
            return Meaning("pytorch", LAYER, "gnn")
        return NONE
    if root == "transformers":
        return _transformers(leaf, name)
    if root in ("timm", "open_clip"):
        return (
            Meaning("pytorch", MODEL, _pretrained(call.first, call.first))
            if leaf == "create_model"
            else NONE
        )
    if root == "torchvision":
        if (".models." in name and leaf[:1].islower()) or (
            ".models." in name and leaf.endswith("Net")
        ):
            return (
                Meaning("pytorch", MODEL, _pretrained(leaf))
                if "weights" not in leaf.lower()
                else NONE
            )
        return NONE
    if root == "diffusers":
        return (
            Meaning("pytorch", MODEL, "generative")
            if leaf[:1].isupper() or leaf == "from_pretrained"
            else NONE
        )
    if root == "fastai":
        return (
            Meaning("pytorch", MODEL, k.FASTAI_LEARNERS[leaf])
            if leaf in k.FASTAI_LEARNERS
            else NONE
        )
    if root in (
        "sentence_transformers",
        "peft",
        "trl",
        "unsloth",
        "simpletransformers",
        "setfit",
        "pytorch_transformers",
        "pytorch_pretrained_bert",
    ):
        return (
            Meaning("pytorch", MODEL, "transformer")
            if leaf[:1].isupper() or leaf == "from_pretrained"
            else NONE
        )
    if root in (
        "ultralytics",
        "segmentation_models_pytorch",
        "detectron2",
        "efficientnet_pytorch",
        "pretrainedmodels",
        "monai",
    ):
        return (
            Meaning("pytorch", MODEL, "cnn")
            if leaf[:1].isupper() or leaf == "from_pretrained"
            else NONE
        )
    if root in ("stable_baselines3", "pytorch_tabnet", "pytorch_forecasting"):
        return Meaning("pytorch", MODEL, "dense") if leaf[:1].isupper() else NONE
    if root == "skorch":
        return (
            Meaning("pytorch", MODEL)
            if leaf.startswith("Neural") or leaf.endswith("Regressor")
            else NONE
        )
    if root == "pyro":
        family = (
            "other" if leaf in k.SAMPLERS["pyro"] else "generative" if leaf.endswith("VAE") else ""
        )
        return Meaning("pytorch", MODEL, family) if family or leaf == "PyroModule" else NONE
    if name == "torch.hub.load":
        return Meaning("pytorch", MODEL, _pretrained(call.first, call.first))
    if (
        leaf in ("Module", "LightningModule", "Sequential", "ScriptModule", "ExactGP")
        and root != "torchvision"
    ):
        return Meaning("pytorch", MODEL)
    if root == "pytorch_lightning" or root == "lightning":
        return Meaning("pytorch", MODEL) if leaf in ("Trainer", "Fabric") else NONE
    if name.startswith(("torch.nn.", "torch.")) or root in ("apex",):
        family = k.TORCH_LAYERS.get(leaf, "")
        if family and not name.startswith(("torch.utils", "torch.optim")):
            return Meaning("pytorch", LAYER, family)
        if leaf in ("mm", "matmul", "addmm"):
            return Meaning("pytorch", NOTHING, "product")
    return NONE


_TOOLS_OF_TRANSFORMERS = (
    "Tokenizer",
    "Config",
    "DataCollator",
    "Processor",
    "FeatureExtractor",
    "Arguments",
    "Callback",
)


def _transformers(leaf: str, name: str) -> Meaning:
    if any(word in name for word in _TOOLS_OF_TRANSFORMERS):
        return NONE
    if (
        leaf in ("Trainer", "Seq2SeqTrainer", "pipeline", "from_pretrained", "from_config")
        or "Model" in leaf
        or "For" in leaf
    ):
        cnn = "ResNet" in name or "ConvNext" in name
        return Meaning(
            "pytorch", MODEL, "" if leaf == "Trainer" else "cnn" if cnn else "transformer"
        )
    return NONE


def _jax(call: Call, name: str, leaf: str) -> Meaning:
    if leaf in ("grad", "value_and_grad") and name.partition(".")[0] in (
        "jax",
        "flax",
        "haiku",
        "equinox",
        "objax",
    ):
        return Meaning("jax", TRAINS)
    if leaf in ("apply_updates", "minimize"):
        return Meaning("jax", TRAINS)
    if leaf == "Module":
        return Meaning("jax", MODEL)
    if name.startswith("transformers."):
        of_torch = _transformers(leaf, name)
        return Meaning("jax", of_torch.part, of_torch.family)
    if name.startswith(("jax.numpy.dot", "jax.numpy.matmul", "jax.numpy.einsum", "jax.lax.dot")):
        return Meaning("jax", NOTHING, "product")
    if (
        name.partition(".")[0]
        in ("flax", "haiku", "equinox", "trax", "objax", "jraph", "stax", "elegy")
        or "stax" in name
        or name.startswith(("jax.lax.conv", "jax.nn.dot_product", "jax.ops.segment"))
    ):
        family = (
            "cnn" if leaf.startswith(("ResNet", "MobileNet", "VGG")) else k.JAX_LAYERS.get(leaf)
        )
        if family:
            return Meaning("jax", LAYER, family)
    if leaf in k.SAMPLERS.get(name.partition(".")[0], ()):
        return Meaning("jax", MODEL, "other")
    return NONE


def _sklearn(call: Call, name: str, leaf: str) -> Meaning:
    if leaf in k.SKLEARN_FUNCTIONS:
        return Meaning("sklearn", CONTAINER + FIT)
    if leaf in k.SKLEARN_CLUSTER_FUNCTIONS:
        return Meaning("sklearn", FIT, "cluster")
    special = k.SKLEARN_SPECIAL.get(leaf)
    if special is not None:
        if special == "container_tree":  # bagging: of trees, unless told otherwise
            named = (
                "estimator" in call.keywords
                or "base_estimator" in call.keywords
                or call.name.startswith("mlxtend")
            )
            return Meaning("sklearn", CONTAINER) if named else Meaning("sklearn", MODEL, "tree")
        if special in ("", "container"):
            return Meaning("sklearn", CONTAINER) if special else NONE
        return Meaning("sklearn", MODEL, special)
    if leaf in k.SKLEARN_CONTAINERS:
        return Meaning("sklearn", CONTAINER)
    if not leaf[:1].isupper():
        return NONE
    module = name.split(".")[1] if name.startswith(("sklearn.", "dask_ml.")) else ""
    family = k.SKLEARN_MODULES.get(module)
    if family:
        return Meaning("sklearn", MODEL, family)
    if name.startswith(("sklearn.", "imblearn.")):
        return Meaning("sklearn", TRANSFORM)
    if leaf.endswith(("Classifier", "Regressor", "ClassifierCV", "AutoML")):
        return Meaning("sklearn", MODEL, "other")
    return NONE


def _booster(call: Call, name: str, leaf: str) -> Meaning:
    framework = name.partition(".")[0]
    if leaf not in k.BOOSTER_MODELS[framework]:
        return NONE
    if leaf in ("train", "cv"):
        return Meaning(framework, FIT, "tree")
    return Meaning(framework, MODEL if leaf != "Booster" else NOTHING, "tree")


def _statsmodels(call: Call, name: str, leaf: str) -> Meaning:
    for part in (leaf, name.split(".")[-2]):  # sm.OLS(…) and sm.OLS.from_formula(…)
        family = k.STATSMODELS.get(part)
        if family:
            return Meaning("statsmodels", FIT if leaf in k.STATSMODELS_FUNCTIONS else MODEL, family)
    return NONE


def _other(call: Call, name: str, leaf: str) -> Meaning:
    root = name.partition(".")[0]
    family = k.OTHER_LAYERS.get(leaf)
    if root == "pyspark":
        if ".ml." not in name and ".mllib." not in name:
            return NONE
        if leaf == "train":
            return Meaning("other", FIT, k.OTHER_LAYERS.get(name.split(".")[-2], "other"))
        return (
            Meaning("other", MODEL, family)
            if family
            else Meaning("other", CONTAINER)
            if leaf == "Pipeline"
            else NONE
        )
    if root == "autograd":
        if leaf == "dot":
            return Meaning("other", NOTHING, "product")
        return (
            Meaning("other", TRAINS)
            if leaf in ("grad", "value_and_grad", "elementwise_grad")
            else NONE
        )
    if root == "nltk":
        return Meaning("other", FIT, "other") if leaf == "train" and "Classifier" in name else NONE
    if root == "theano":
        if name.endswith("tensor.dot"):
            return Meaning("other", NOTHING, "product")
        if leaf in ("conv2d", "scan"):
            return Meaning("other", LAYER, "cnn" if leaf == "conv2d" else "rnn")
        return Meaning("other", TRAINS) if name.endswith("tensor.grad") else NONE
    if name.startswith("lasagne.updates."):
        return Meaning("other", TRAINS)
    if root == "chainer" and leaf.endswith("Updater"):
        return Meaning("other", FIT)
    if root in ("mxnet", "chainer", "paddle", "lasagne", "tinygrad"):
        return (
            Meaning("other", LAYER, family)
            if family
            else Meaning("other", MODEL)
            if leaf
            in ("Chain", "Layer", "Sequential", "HybridSequential", "Block", "HybridBlock", "Model")
            else NONE
        )
    if root in ("pymc", "pymc3") and leaf in ("sample", "fit", "find_MAP"):
        return Meaning("other", FIT, "other")
    if root in ("spacy", "cvxpy") or (root == "darts" and ".models." not in name):
        return NONE
    if family or leaf[:1].isupper():
        return Meaning("other", MODEL, family or "other")
    return NONE


_READERS = {
    "keras": _keras,
    "tensorflow": _tensorflow,
    "pytorch": _torch,
    "jax": _jax,
    "sklearn": _sklearn,
    "xgboost": _booster,
    "lightgbm": _booster,
    "catboost": _booster,
    "statsmodels": _statsmodels,
    "other": _other,
}
