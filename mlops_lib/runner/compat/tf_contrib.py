"""The most used parts of `tf.contrib`: its layers, with their own defaults, and eager mode."""

import functools
from typing import Any, Callable, Dict, List, Optional, Tuple


def _v1() -> Any:
    import tensorflow

    return tensorflow.compat.v1


def _relu(x: Any) -> Any:
    return _v1().nn.relu(x)


def _finished(
    x: Any,
    normalizer_fn: Any,
    normalizer_params: Optional[Dict[str, Any]],
    activation_fn: Optional[Callable[..., Any]],
) -> Any:
    x = x if normalizer_fn is None else normalizer_fn(x, **(normalizer_params or {}))
    return x if activation_fn is None else activation_fn(x)


def _common(
    *,
    weights_initializer: Any,
    biases_initializer: Any,
    weights_regularizer: Any,
    scope: Any,
    reuse: Any,
    trainable: bool,
    normalizer_fn: Any,
) -> Dict[str, Any]:
    """Translate arguments of contrib's layers for `tf.layers`; a normalizer replaces the bias."""
    return {
        "kernel_initializer": weights_initializer or _v1().glorot_uniform_initializer(),
        "bias_initializer": biases_initializer or _v1().zeros_initializer(),
        "kernel_regularizer": weights_regularizer,
        "name": scope,
        "reuse": reuse,
        "trainable": trainable,
        "use_bias": normalizer_fn is None and biases_initializer is not False,
    }


_UNSET: Any = object()


def _biases(initializer: Any) -> Any:
    """contrib's `biases_initializer=None` means no biases."""
    return None if initializer is _UNSET else False if initializer is None else initializer


def fully_connected(
    inputs: Any,
    num_outputs: int,
    activation_fn: Any = _relu,
    normalizer_fn: Any = None,
    normalizer_params: Any = None,
    weights_initializer: Any = None,
    weights_regularizer: Any = None,
    biases_initializer: Any = _UNSET,
    biases_regularizer: Any = None,
    reuse: Any = None,
    variables_collections: Any = None,
    outputs_collections: Any = None,
    trainable: bool = True,
    scope: Any = None,
) -> Any:
    """Return `tf.layers.dense`, by default with a rectifier."""
    common = _common(
        weights_initializer=weights_initializer,
        biases_initializer=_biases(biases_initializer),
        normalizer_fn=normalizer_fn,
        weights_regularizer=weights_regularizer,
        scope=scope,
        reuse=reuse,
        trainable=trainable,
    )
    return _finished(
        _v1().layers.dense(inputs, num_outputs, **common),
        normalizer_fn,
        normalizer_params,
        activation_fn,
    )


linear = functools.partial(fully_connected, activation_fn=None)
relu = fully_connected


def _convolution(name: str) -> Callable[..., Any]:
    def layer(
        inputs: Any,
        num_outputs: int,
        kernel_size: Any,
        stride: Any = 1,
        padding: str = "SAME",
        data_format: Any = None,
        rate: Any = 1,
        activation_fn: Any = _relu,
        normalizer_fn: Any = None,
        normalizer_params: Any = None,
        weights_initializer: Any = None,
        weights_regularizer: Any = None,
        biases_initializer: Any = _UNSET,
        biases_regularizer: Any = None,
        reuse: Any = None,
        variables_collections: Any = None,
        outputs_collections: Any = None,
        trainable: bool = True,
        scope: Any = None,
    ) -> Any:
        common = _common(
            weights_initializer=weights_initializer,
            biases_initializer=_biases(biases_initializer),
            normalizer_fn=normalizer_fn,
            weights_regularizer=weights_regularizer,
            scope=scope,
            reuse=reuse,
            trainable=trainable,
        )
        if name == "conv2d":
            common["dilation_rate"] = rate
        layer_output = getattr(_v1().layers, name)(
            inputs, num_outputs, kernel_size, strides=stride, padding=padding.lower(), **common
        )
        return _finished(layer_output, normalizer_fn, normalizer_params, activation_fn)

    layer.__name__ = name
    return layer


conv2d = convolution2d = _convolution("conv2d")
conv2d_transpose = convolution2d_transpose = _convolution("conv2d_transpose")


def _pool(
    name: str,
    inputs: Any,
    kernel_size: Any,
    stride: Any = 2,
    padding: str = "VALID",
    *_: Any,
    **kwargs: Any,
) -> Any:
    return getattr(_v1().layers, name)(
        inputs, kernel_size, stride, padding=padding.lower(), name=kwargs.get("scope")
    )


max_pool2d = functools.partial(_pool, "max_pooling2d")
avg_pool2d = functools.partial(_pool, "average_pooling2d")


def dropout(
    inputs: Any,
    keep_prob: Any = 0.5,
    noise_shape: Any = None,
    is_training: Any = True,
    **kwargs: Any,
) -> Any:
    """Apply dropout with `keep_prob`, the share of units kept."""
    return _v1().layers.dropout(
        inputs, rate=1 - keep_prob, noise_shape=noise_shape, training=is_training
    )


def batch_norm(
    inputs: Any,
    decay: float = 0.999,
    center: bool = True,
    scale: bool = False,
    epsilon: float = 0.001,
    activation_fn: Any = None,
    param_initializers: Any = None,
    param_regularizers: Any = None,
    updates_collections: Any = None,
    is_training: Any = True,
    reuse: Any = None,
    variables_collections: Any = None,
    outputs_collections: Any = None,
    trainable: bool = True,
    batch_weights: Any = None,
    fused: Any = None,
    data_format: Any = None,
    zero_debias_moving_mean: bool = False,
    scope: Any = None,
    **kwargs: Any,
) -> Any:
    """`tf.layers.batch_normalization`, with contrib's names and defaults."""
    layer_output = _v1().layers.batch_normalization(
        inputs,
        momentum=decay,
        center=center,
        scale=scale,
        epsilon=epsilon,
        training=is_training,
        reuse=reuse,
        trainable=trainable,
        name=scope,
    )
    return layer_output if activation_fn is None else activation_fn(layer_output)


def one_hot_encoding(
    labels: Any, num_classes: int, on_value: float = 1.0, off_value: float = 0.0, **_: Any
) -> Any:
    """`tf.one_hot`."""
    return _v1().one_hot(labels, num_classes, on_value=on_value, off_value=off_value)


def embed_sequence(
    ids: Any,
    vocab_size: Any = None,
    embed_dim: Any = None,
    unique: bool = False,
    initializer: Any = None,
    regularizer: Any = None,
    trainable: bool = True,
    scope: str = "EmbedSequence",
    reuse: Any = None,
) -> Any:
    """A table of vectors, and those of the ids."""
    with _v1().variable_scope(scope, reuse=reuse):
        table = _v1().get_variable(
            "embeddings", [vocab_size, embed_dim], initializer=initializer, trainable=trainable
        )
    return _v1().nn.embedding_lookup(table, ids)


def variance_scaling_initializer(
    factor: float = 2.0, mode: str = "FAN_IN", uniform: bool = False, **kwargs: Any
) -> Any:
    """Return an initializer, by default He's."""
    distribution = "uniform" if uniform else "truncated_normal"
    return _v1().variance_scaling_initializer(
        scale=factor, mode=mode.lower(), distribution=distribution, **kwargs
    )


def optimize_loss(
    loss: Any,
    global_step: Any,
    learning_rate: Any,
    optimizer: Any = "SGD",
    gradient_noise_scale: Any = None,
    gradient_multipliers: Any = None,
    clip_gradients: Any = None,
    **_: Any,
) -> Any:
    """One step of an optimizer, by its name or its class."""
    names = {
        "SGD": "GradientDescentOptimizer",
        "Adam": "AdamOptimizer",
        "Adagrad": "AdagradOptimizer",
        "RMSProp": "RMSPropOptimizer",
        "Momentum": "MomentumOptimizer",
        "Ftrl": "FtrlOptimizer",
    }
    layer_output = (
        getattr(_v1().train, names[optimizer])(learning_rate)
        if isinstance(optimizer, str)
        else optimizer
    )
    layer_output = layer_output(learning_rate) if isinstance(layer_output, type) else layer_output
    pairs = layer_output.compute_gradients(loss)
    if clip_gradients is not None:
        pairs = [
            (None if g is None else _v1().clip_by_norm(g, clip_gradients), v) for g, v in pairs
        ]
    step = global_step if global_step is not None else _v1().train.get_global_step()
    return layer_output.apply_gradients(pairs, global_step=step)


# eager execution


def implicit_value_and_gradients(
    function: Callable[..., Any],
) -> Callable[..., Tuple[Any, List[Tuple[Any, Any]]]]:
    """A function that gives the value, and the gradient of each variable that it used."""

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Tuple[Any, List[Tuple[Any, Any]]]:
        import tensorflow

        with tensorflow.GradientTape() as tape:
            value = function(*args, **kwargs)
        variables = list(tape.watched_variables())
        return value, list(zip(tape.gradient(value, variables), variables))

    return call


def implicit_gradients(function: Callable[..., Any]) -> Callable[..., List[Tuple[Any, Any]]]:
    """A function that gives the gradient of each variable that it used."""
    both = implicit_value_and_gradients(function)
    return lambda *args, **kwargs: both(*args, **kwargs)[1]


def gradients_function(
    function: Callable[..., Any], params: Any = None
) -> Callable[..., List[Any]]:
    """A function that gives the gradient of each of its arguments."""

    @functools.wraps(function)
    def call(*args: Any) -> List[Any]:
        import tensorflow

        inputs = [tensorflow.convert_to_tensor(item) for item in args]
        with tensorflow.GradientTape() as tape:
            tape.watch(inputs)
            value = function(*inputs)
        return list(tape.gradient(value, inputs))

    return call


def Variable(*args: Any, **kwargs: Any) -> Any:  # noqa: N802 - its name
    """A variable of eager execution."""
    return _v1().Variable(*args, use_resource=True, **kwargs)


def Iterator(dataset: Any) -> Any:  # noqa: N802 - its name
    """The elements of a data set in turn."""

    class Elements:
        def __init__(self) -> None:
            self._elements = iter(dataset)

        def __iter__(self) -> Any:
            return self

        def __next__(self) -> Any:
            return next(self._elements)

        next = get_next = __next__

    return Elements()


def enable_eager_execution(*args: Any, **kwargs: Any) -> None:
    """`tf.enable_eager_execution`."""
    _v1().enable_eager_execution()
