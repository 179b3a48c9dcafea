"""Tables of Keras' old modules and names and their present place; `keras` covers `tf.keras`."""

from typing import Any, Dict, Sequence, Tuple

from mlops_lib.runner.compat.names import Names, listed

PREFIXES = ("keras", "tensorflow.keras", "keras._tf_keras.keras")
PACKAGE = "mlops_lib.runner.compat"
OLD = "keras._tf_keras.keras"
"""Keras 3's own namespace for code of the Keras 2 age: it kept ImageDataGenerator, Tokenizer and
the backend.
"""


def _module(*sources: str, **names: Any) -> Tuple[Sequence[str], Names]:
    return sources, names


_LAYERS = ("keras.layers",)
_OPTIMIZERS = (
    "adam",
    "gradient_descent",
    "rmsprop",
    "adagrad",
    "adadelta",
    "adamax",
    "nadam",
    "ftrl",
    "optimizer_v2",
    "learning_rate_schedule",
)

MODULES: Dict[str, Tuple[Sequence[str], Names]] = {
    **{
        f"keras.layers.{name}": (_LAYERS, {})
        for name in (
            "core",
            "convolutional",
            "pooling",
            "normalization",
            "recurrent",
            "embeddings",
            "noise",
            "merge",
            "wrappers",
            "advanced_activations",
            "local",
            "cudnn_recurrent",
            "convolutional_recurrent",
            "experimental",
            "containers",
            "experimental.preprocessing",
            "preprocessing",
            "normalization.batch_normalization",
            "rnn",
            "reshaping",
        )
    },
    "keras.models.Sequential": _module("keras.models"),
    "keras.utils.np_utils": _module("keras.utils"),
    "keras.utils.vis_utils": _module("keras.utils"),
    "keras.utils.visualize_util": _module("keras.utils", plot="keras.utils:plot_model"),
    "keras.utils.generic_utils": _module("keras.utils"),
    "keras.utils.data_utils": _module(
        "keras.utils", **listed("GeneratorEnqueuer OrderedEnqueuer", f"{PACKAGE}.keras.layers")
    ),
    "keras.utils.io_utils": _module("keras.utils", HDF5Matrix=f"{PACKAGE}.keras.layers:HDF5Matrix"),
    "keras.utils.layer_utils": _module("keras.utils"),
    "keras.utils.conv_utils": _module(
        "keras.utils",
        **listed(
            "convert_kernel normalize_tuple normalize_padding"
            " normalize_data_format conv_output_length deconv_length",
            f"{PACKAGE}.keras.layers",
        ),
    ),
    "keras.utils.training_utils": _module("keras.utils"),
    "keras.preprocessing.text": _module(f"{OLD}.preprocessing.text"),
    "keras.engine": _module("keras.layers", "keras.models", "keras", InputSpec="keras:InputSpec"),
    "keras.engine.topology": _module(
        "keras.layers",
        "keras.models",
        "keras",
        "keras.utils",
        merge=f"{PACKAGE}.keras.layers:merge",
    ),
    "keras.engine.base_layer": _module("keras.layers", "keras"),
    "keras.engine.training": _module(
        "keras.models", "keras", **listed("slice_X slice_arrays", f"{PACKAGE}.keras.layers")
    ),
    "keras.initializations": _module(
        "keras.initializers", **listed("normal uniform identity zero", f"{PACKAGE}.keras.layers")
    ),
    "keras.engine.network": _module("keras.models", Network="keras.models:Model"),
    "keras.engine.sequential": _module("keras.models"),
    "keras.engine.input_layer": _module("keras.layers"),
    "keras.objectives": _module("keras.losses"),
    "keras.legacy": _module("keras", interfaces="keras.legacy.interfaces"),
    "keras.legacy.interfaces": _module(
        "keras",
        **{
            f"legacy_{name}_support": f"{PACKAGE}.keras.layers:legacy_support"
            for name in (
                "dense",
                "dropout",
                "embedding",
                "conv1d",
                "conv2d",
                "conv3d",
                "pooling1d",
                "pooling2d",
                "batchnorm",
                "get_updates",
                "add_weight",
                "input",
                "prelu",
                "generator_methods",
                "model_constructor",
                "gaussiannoise",
            )
        },
        legacy_recurrent_support=f"{PACKAGE}.keras.layers:legacy_recurrent_support",
    ),
    "keras.backend.tensorflow_backend": _module("keras.backend"),
    "keras.backend.common": _module("keras.backend"),
    "keras.wrappers.scikit_learn": _module(f"{PACKAGE}.keras.wrappers"),
    "keras.optimizers.adam": _module("keras.optimizers"),
    "keras.optimizer_v1": _module("keras.optimizers"),
    "keras.optimizer_v2": _module(
        "keras.optimizers", **dict.fromkeys(_OPTIMIZERS, "keras.optimizers")
    ),
    **{f"keras.optimizer_v2.{name}": _module("keras.optimizers") for name in _OPTIMIZERS},
    "keras.callbacks.callbacks": _module("keras.callbacks"),
    "keras.applications.mobilenetv2": _module("keras.applications.mobilenet_v2"),
    **{
        f"keras.applications.{name}": (("keras.applications",), {})
        for name in ("keras_applications",)
    },
}

PREPROCESSING: Dict[str, Tuple[Sequence[str], Names]] = {
    "keras_preprocessing": _module(f"{OLD}.preprocessing"),
    "keras_preprocessing.image": _module(f"{OLD}.preprocessing.image"),
    "keras_preprocessing.text": _module(f"{OLD}.preprocessing.text"),
    "keras_preprocessing.sequence": _module(f"{OLD}.preprocessing.sequence"),
    "keras_applications": _module("keras.applications"),
    **{
        f"keras_applications.{name}": _module(f"keras.applications.{name}")
        for name in (
            "vgg16",
            "vgg19",
            "resnet50",
            "inception_v3",
            "xception",
            "mobilenet",
            "densenet",
            "imagenet_utils",
        )
    },
}
"""The two distributions split off Keras 2; used only if they are not installed."""

_IMAGE = (
    "ImageDataGenerator DirectoryIterator Iterator NumpyArrayIterator apply_affine_transform apply_brightness_shift"
    " apply_channel_shift random_brightness random_channel_shift random_rotation random_shear random_shift random_zoom"
)
_LAYER_ALIASES = (
    "MaxPool1D=MaxPooling1D MaxPool2D=MaxPooling2D CuDNNLSTM=LSTM CuDNNGRU=GRU"
    " Deconvolution3D=Conv3DTranspose Conv2DTransposed=Conv2DTranspose SimpleRNNCell=SimpleRNNCell"
)

NAMES: Dict[str, Names] = {
    "keras": {
        **listed("Input", "keras"),
        "np_utils": "keras.utils",
        "preprocessing": "keras.preprocessing",
        "objectives": "keras.losses",
        "engine": "keras.layers",
    },
    "keras.layers": {
        **listed(_LAYER_ALIASES, "keras.layers"),
        **listed(
            "merge Merge Highway MaxoutDense ThresholdedReLU LocallyConnected1D LocallyConnected2D ParametricSoftplus"
            " SReLU Recurrent AtrousConvolution1D AtrousConvolution2D Deconvolution2D TimeDistributedDense",
            f"{PACKAGE}.keras.layers",
        ),
        "core": "keras.layers",
        "advanced_activations": "keras.layers",
        "recurrent": "keras.layers",
        "experimental": "keras.layers",
        "preprocessing": "keras.layers",
    },
    "keras.models": listed("model_from_yaml", f"{PACKAGE}.keras.layers"),
    "keras.utils": {
        "np_utils": "keras.utils",
        "vis_utils": "keras.utils",
        "generic_utils": "keras.utils",
        "plot": "keras.utils:plot_model",
        "conv_utils": "keras.utils",
        **listed(
            "multi_gpu_model print_summary probas_to_classes categorical_probas_to_classes convert_kernel"
            " HDF5Matrix GeneratorEnqueuer OrderedEnqueuer",
            f"{PACKAGE}.keras.layers",
        ),
        "CustomObjectScope": "keras.utils:custom_object_scope",
    },
    "keras.optimizers": {
        **listed(
            "adam=Adam sgd=SGD rmsprop=RMSprop adagrad=Adagrad adadelta=Adadelta adamax=Adamax nadam=Nadam",
            "keras.optimizers",
        ),
        **{f"{name}_v2": "keras.optimizers" for name in _OPTIMIZERS},
    },
    "keras.callbacks": {"callbacks": "keras.callbacks", "BaseLogger": "keras.callbacks:Callback"},
    "keras.applications.imagenet_utils": {
        "_obtain_input_shape": "keras.src.applications.imagenet_utils:obtain_input_shape"
    },
    "keras.initializers": {
        **listed(
            "he_normal=HeNormal he_uniform=HeUniform glorot_normal=GlorotNormal glorot_uniform=GlorotUniform"
            " lecun_normal=LecunNormal lecun_uniform=LecunUniform normal=RandomNormal uniform=RandomUniform"
            " zero=Zeros one=Ones orthogonal=Orthogonal identity=Identity random_normal=RandomNormal"
            " random_uniform=RandomUniform zeros=Zeros ones=Ones constant=Constant",
            "keras.initializers",
        )
    },
    "keras.regularizers": listed(
        "WeightRegularizer=L1L2 l1l2=L1L2 activity_l1=l1 activity_l2=l2 activity_l1l2=L1L2",
        "keras.regularizers",
    ),
    "keras.constraints": listed(
        "maxnorm=MaxNorm max_norm=MaxNorm nonneg=NonNeg unitnorm=UnitNorm", "keras.constraints"
    ),
    "keras.preprocessing": {"text": f"{OLD}.preprocessing.text"},
    "keras.preprocessing.image": {
        **listed(_IMAGE, f"{OLD}.preprocessing.image"),
        **listed("list_pictures", f"{PACKAGE}.keras.layers"),
    },
    "keras.preprocessing.sequence": listed(
        "skipgrams make_sampling_table TimeseriesGenerator", f"{OLD}.preprocessing.sequence"
    ),
    "keras.losses": listed(
        "mse=mean_squared_error mae=mean_absolute_error mape=mean_absolute_percentage_error"
        " cosine_proximity=cosine_similarity kullback_leibler_divergence=kl_divergence logcosh=log_cosh",
        "keras.losses",
    ),
    "keras.metrics": {
        **listed(
            "accuracy=binary_accuracy acc=binary_accuracy mse=mean_squared_error mae=mean_absolute_error",
            "keras.metrics",
        ),
        **listed(
            "precision recall fbeta_score fmeasure matthews_correlation", f"{PACKAGE}.keras.layers"
        ),
    },
}
