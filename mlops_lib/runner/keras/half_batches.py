"""Training steps that need half the memory: each batch in two halves, one update from both.

For a training that ran out of memory. The model's own `train_step` is called once for each half,
and the gradients that the first one would apply are kept and averaged into the second one's, as
gradient accumulation does; so data, number of steps, optimizer and checkpoints stay as they are.
What sees single batches (batch normalisation) sees halves.
"""

import contextlib
import sys
from typing import Any, Callable, Iterator, List, Optional


@contextlib.contextmanager
def halved(model: Any) -> Iterator[None]:
    """Let `model` train by halves of batches meanwhile; models of Keras on TensorFlow, and of its
    legacy Keras.
    """
    own = model.train_step
    model.train_step = lambda data: _step(model, own, data)
    model.train_function = None
    try:
        yield
    finally:
        del model.train_step
        model.train_function = None


def _step(model: Any, train_step: Callable[[Any], Any], data: Any) -> Any:
    tf: Any = sys.modules["tensorflow"]
    leaves = tf.nest.flatten(data)
    if not all(isinstance(one, tf.Tensor) and one.shape.rank for one in leaves):
        return train_step(data)
    count = tf.shape(leaves[0])[0]
    middle = (count + 1) // 2
    first = middle
    second = count - tf.minimum(middle, count - 1)  # a single example is its own other half
    share = tf.cast(first, "float32") / tf.cast(first + second, "float32")
    kept: List[Any] = []
    with _applied_by(model.optimizer, lambda apply, gradients, variables: kept.extend(gradients)):
        train_step(tf.nest.map_structure(lambda one: one[:first], data))

    def together(apply: Callable[..., Any], gradients: Any, variables: Any) -> Any:
        averaged = [_average(tf, one, other, share) for one, other in zip(kept, gradients)]
        return apply(averaged, variables)

    # One half after the other: side by side they would need the memory of the whole.
    with tf.control_dependencies([one for one in kept if one is not None]), _applied_by(
        model.optimizer, together
    ):
        return train_step(
            tf.nest.map_structure(lambda one: tf.identity(one)[count - second :], data)
        )


def _average(tf: Any, one: Any, other: Any, share: Any) -> Any:
    if one is None or other is None:
        return other if one is None else one
    one, other = tf.convert_to_tensor(one), tf.convert_to_tensor(other)
    weight = tf.cast(share, one.dtype)
    return one * weight + other * (1 - weight)


@contextlib.contextmanager
def _applied_by(
    optimizer: Any, act: Callable[[Callable[..., Any], Any, Any], Any]
) -> Iterator[None]:
    """Call `act(apply, gradients, variables)` instead of the optimizer's own method, on either
    Keras.
    """
    if hasattr(optimizer, "apply"):
        apply = optimizer.apply

        def instead(gradients: Any, trainable_variables: Optional[Any] = None) -> Any:
            return act(apply, list(gradients), trainable_variables)

        name: str = "apply"
        method: Any = instead
    else:
        apply_gradients = optimizer.apply_gradients

        def legacy(grads_and_vars: Any, *args: Any, **kwargs: Any) -> Any:
            gradients, variables = zip(*grads_and_vars)
            return act(
                lambda g, v: apply_gradients(zip(g, v), *args, **kwargs), gradients, variables
            )

        name = "apply_gradients"
        method = legacy
    object.__setattr__(optimizer, name, method)
    try:
        yield
    finally:
        object.__delattr__(optimizer, name)
