"""TensorFlow Addons as far as Keras 3 has counterparts.

The package ended with TensorFlow 2.15 and cannot be imported beside Keras 3. Names are those of
https://www.tensorflow.org/addons/api_docs/python/tfa; arguments are translated if Keras'
counterpart takes others.
"""

import functools
from typing import Any, Dict, Sequence, Tuple

from mlops_lib.runner.compat.names import GoneError, Names, listed

HERE = "mlops_lib.runner.compat.tf_addons"


def adam_w(weight_decay: Any, learning_rate: Any = 0.001, **others: Any) -> Any:
    """`tfa.optimizers.AdamW(weight_decay, learning_rate)`."""
    import keras

    return keras.optimizers.AdamW(learning_rate, weight_decay, **others)


def lamb(learning_rate: Any = 0.001, *, weight_decay_rate: Any = None, **others: Any) -> Any:
    """`tfa.optimizers.LAMB`."""
    import keras

    others.pop("exclude_from_weight_decay", None)
    others.pop("exclude_from_layer_adaptation", None)
    return keras.optimizers.Lamb(learning_rate, **{"weight_decay": weight_decay_rate, **others})


def instance_normalization(**arguments: Any) -> Any:
    """`tfa.layers.InstanceNormalization`: a group to each channel."""
    import keras

    return keras.layers.GroupNormalization(**{"groups": -1, **arguments})


def f1_score(
    num_classes: Any = None, average: Any = None, threshold: Any = None, **others: Any
) -> Any:
    """Return `tfa.metrics.F1Score(num_classes, average, threshold)`; Keras infers the classes."""
    import keras

    return keras.metrics.F1Score(average, threshold, **others)


def f_beta_score(
    num_classes: Any = None,
    average: Any = None,
    beta: float = 1.0,
    threshold: Any = None,
    **others: Any,
) -> Any:
    """`tfa.metrics.FBetaScore(num_classes, average, beta, threshold)`."""
    import keras

    return keras.metrics.FBetaScore(average, beta, threshold, **others)


def sigmoid_focal(
    from_logits: bool = False, alpha: float = 0.25, gamma: float = 2.0, **others: Any
) -> Any:
    """`tfa.losses.SigmoidFocalCrossEntropy`: the positive class weighs `alpha`."""
    import keras

    return keras.losses.BinaryFocalCrossentropy(True, alpha, gamma, from_logits, **others)


def _ended(name: str) -> Any:
    raise GoneError(
        f"tensorflow_addons.{name} ended with TensorFlow Addons, and Keras 3 has no counterpart: leave it out"
    )


def _gone(part: str, names: str) -> Names:
    return {name: functools.partial(_ended, f"{part}.{name}") for name in names.split()}


_PARTS: Dict[str, Names] = {
    "optimizers": {
        "AdamW": lambda: adam_w,
        "LAMB": lambda: lamb,
        **_gone(
            "optimizers",
            "RectifiedAdam Lookahead LazyAdam NovoGrad SGDW SWA MovingAverage ConditionalGradient Yogi"
            " AdaBelief COCOB DecoupledWeightDecayExtension MultiOptimizer CyclicalLearningRate"
            " TriangularCyclicalLearningRate ExponentialCyclicalLearningRate",
        ),
    },
    "layers": {
        **listed("GroupNormalization SpectralNormalization MultiHeadAttention", "keras.layers"),
        "InstanceNormalization": lambda: instance_normalization,
        **_gone(
            "layers",
            "WeightNormalization Maxout CRF NoisyDense AdaptiveAveragePooling1D AdaptiveAveragePooling2D"
            " AdaptiveMaxPooling2D CorrelationCost FilterResponseNormalization StochasticDepth TLU",
        ),
    },
    "losses": {
        "SigmoidFocalCrossEntropy": lambda: sigmoid_focal,
        **_gone(
            "losses",
            "TripletSemiHardLoss TripletHardLoss ContrastiveLoss LiftedStructLoss GIoULoss PinballLoss",
        ),
    },
    "metrics": {
        "F1Score": lambda: f1_score,
        "FBetaScore": lambda: f_beta_score,
        "RSquare": "keras.metrics:R2Score",
        **_gone(
            "metrics",
            "CohenKappa MatthewsCorrelationCoefficient HammingLoss MultiLabelConfusionMatrix GeometricMean",
        ),
    },
    "activations": listed("gelu mish", "keras.activations"),
}
MODULES: Dict[str, Tuple[Sequence[str], Names]] = {
    "tensorflow_addons": (
        (),
        {
            **{part: f"tensorflow_addons.{part}" for part in _PARTS},
            **{
                part: functools.partial(_ended, part)
                for part in ("image", "seq2seq", "text", "rnn", "callbacks", "options")
            },
        },
    ),
    **{f"tensorflow_addons.{part}": ((), names) for part, names in _PARTS.items()},
}
