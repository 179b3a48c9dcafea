"""Training steps that need half the memory, for a run that ran out of it.

Each batch is computed in two halves that make one update. The model's own `train_step` is called
once for each half; the gradients that the first one would apply are averaged into the second one's,
as gradient accumulation does. Data, number of steps, optimizer and checkpoints stay the same. A
layer that depends on its batch (batch normalisation) sees halves.
"""

import contextlib
import sys
from typing import Any, Callable, Iterator, List, Optional


@contextlib.contextmanager
def halved(model: Any) -> Iterator[None]:
    """Train `model` by halves of batches within the block.

    It works for Keras on TensorFlow, and for the legacy Keras.
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
    if not all(isinstance(leaf, tf.Tensor) and leaf.shape.rank for leaf in leaves):
        return train_step(data)
    count = tf.shape(leaves[0])[0]
    middle = (count + 1) // 2
    first = middle
    second = count - tf.minimum(middle, count - 1)  # a single example is its own other half
    share = tf.cast(first, "float32") / tf.cast(first + second, "float32")
    first_gradients: List[Any] = []
    with _applied_by(
        model.optimizer, lambda apply, gradients, variables: first_gradients.extend(gradients)
    ):
        train_step(tf.nest.map_structure(lambda leaf: leaf[:first], data))

    def together(apply: Callable[..., Any], gradients: Any, variables: Any) -> Any:
        averaged = [_average(tf, a, b, share) for a, b in zip(first_gradients, gradients)]
        return apply(averaged, variables)

    # One half after the other: side by side they would need the memory of the whole.
    finished = [gradient for gradient in first_gradients if gradient is not None]
    with tf.control_dependencies(finished), _applied_by(model.optimizer, together):
        return train_step(
            tf.nest.map_structure(lambda leaf: tf.identity(leaf)[count - second :], data)
        )


def _average(tf: Any, first: Any, second: Any, share: Any) -> Any:
    """Return the mean of two gradients, weighted by the share of the first."""
    if first is None or second is None:
        return second if first is None else first
    first = tf.convert_to_tensor(first)
    second = tf.convert_to_tensor(second)
    weight = tf.cast(share, first.dtype)
    return first * weight + second * (1 - weight)


@contextlib.contextmanager
def _applied_by(
    optimizer: Any, act: Callable[[Callable[..., Any], Any, Any], Any]
) -> Iterator[None]:
    """Call `act(apply, gradients, variables)` instead of the optimizer's own method."""
    if hasattr(optimizer, "apply"):
        apply = optimizer.apply

        def apply_own(gradients: Any, trainable_variables: Optional[Any] = None) -> Any:
            return act(apply, list(gradients), trainable_variables)

        name: str = "apply"
        method: Any = apply_own
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
