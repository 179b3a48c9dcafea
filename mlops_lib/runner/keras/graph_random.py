"""Random operations of compiled training steps, with a state that can be saved.

`tf.random.normal` in a custom `train_step` (a VAE's sampling, a GAN's noise) becomes a stateful
operation: its Philox counter lives in the kernel, out of reach, and begins anew in a restarted
process. Inside Keras' compiled steps these operations are replaced by their stateless forms with
the same key and a counter kept in a variable, advanced as the kernel does it
(tensorflow/core/util/guarded_philox_random.h): the numbers are the same to the bit, and the counter
can be stored.
"""

import functools
from typing import Any, Callable, Dict, List

STEPS = (
    "one_step_on_data",
    "multi_step_on_iterator",
    "train_function",
    "test_function",
    "predict_function",
)
"""Names of the graphs that Keras 3 and tf_keras compile their steps into."""
KERNEL_MULTIPLIER = 256
"""The advance of a kernel's counter for each number it gives (random_op.cc)."""
ATTRIBUTE = "_mlops_counters"

COUNTS = "_mlops_counts"
"""Attribute of a graph: the number of its operations by their seeds."""

current: List[Any] = []
"""The models with a running step, innermost last."""


class Counters:
    """The counters of one model's compiled steps, by the name of their operation."""

    def __init__(self) -> None:
        self.variables: Dict[str, Any] = {}
        self.waiting: Dict[str, int] = {}

    def of(self, tensorflow: Any, name: str) -> Any:
        """Return the counter of an operation; a restored one continues."""
        if name not in self.variables:
            from tensorflow.python.ops import resource_variable_ops  # type: ignore[import-not-found, unused-ignore]

            # Not `tf.Variable`: a function that is traced again refuses to make one.
            with tensorflow.init_scope():
                self.variables[name] = resource_variable_ops.ResourceVariable(
                    self.waiting.pop(name, 0), dtype=tensorflow.int64, trainable=False
                )
        return self.variables[name]


def of(model: Any) -> Counters:
    """Return the model's counters."""
    counters: Counters = model.__dict__.setdefault(ATTRIBUTE, Counters())
    return counters


def forget(model: Any) -> None:
    """Drop the counters of a model whose steps will be compiled anew."""
    model.__dict__.pop(ATTRIBUTE, None)


def capture(model: Any) -> Dict[str, int]:
    """Return the value of each counter."""
    counters = of(model)
    return {
        **counters.waiting,
        **{name: int(variable) for name, variable in counters.variables.items()},
    }


def restore(model: Any, values: Dict[str, int]) -> None:
    """Set the counters; those not created yet start at these values."""
    counters = of(model)
    counters.waiting = {
        name: value for name, value in values.items() if name not in counters.variables
    }
    for name, variable in counters.variables.items():
        variable.assign(values.get(name, 0))


def install(module: Any) -> None:
    """Patch `tensorflow.python.ops.gen_random_ops`."""
    module.random_standard_normal = _with_counter(
        module.random_standard_normal, "stateless_random_normal_v2"
    )
    module.random_uniform = _with_counter(module.random_uniform, "stateless_random_uniform_v2")
    module.truncated_normal = _with_counter(
        module.truncated_normal, "stateless_truncated_normal_v2"
    )


def _name(graph: Any, seed: int, seed2: int) -> str:
    """Return the name of an operation in a compiled step, "" outside of one.

    It has to be the same in every process and every trace. A step is traced again for batches of
    another shape, and before its variables exist, so the name is made of the traced shapes and the
    operation's seeds.
    """
    here = graph
    while graph is not None:
        kind = next(
            (step for step in STEPS if str(getattr(graph, "name", "")).startswith(step)), ""
        )
        if kind:
            shapes = [
                str(tensor.shape)
                for tensor in graph.inputs
                if tensor.dtype.name not in ("resource", "variant")
            ]
            name = f"{kind}{shapes}/{seed}/{seed2}"
            counts = getattr(here, COUNTS, {})
            counts[name] = counts.get(name, 0) + 1
            setattr(here, COUNTS, counts)
            return f"{name}/{counts[name]}"
        graph = getattr(graph, "outer_graph", None)
    return ""


def _with_counter(original: Callable[..., Any], stateless: str) -> Callable[..., Any]:
    @functools.wraps(original)
    def draw(shape: Any, dtype: Any, seed: int = 0, seed2: int = 0, name: Any = None) -> Any:
        import tensorflow

        own = ""
        if current and not tensorflow.executing_eagerly() and (seed or seed2):
            own = _name(tensorflow.compat.v1.get_default_graph(), seed, seed2)
        if not own or getattr(current[-1], "jit_compile", False) is True:
            return original(shape, dtype, seed=seed, seed2=seed2, name=name)
        from tensorflow.python.ops import gen_stateless_random_ops_v2 as ops  # type: ignore[import-not-found, unused-ignore]

        counter = of(current[-1]).of(tensorflow, own)
        shape = tensorflow.convert_to_tensor(shape)
        # Read, then advance: an identity with a control dependency keeps this order in the graph.
        here = tensorflow.identity(counter.read_value())
        with tensorflow.control_dependencies([here]):
            size = tensorflow.cast(
                tensorflow.reduce_prod(tensorflow.cast(shape, tensorflow.int64)), tensorflow.int64
            )
            counter.assign_add(size * KERNEL_MULTIPLIER)
        mask = (1 << 64) - 1
        key = tensorflow.constant([seed & mask], tensorflow.uint64)
        start = tensorflow.stack(
            [
                tensorflow.cast(here, tensorflow.uint64),
                tensorflow.constant(seed2 & mask, tensorflow.uint64),
            ]
        )
        return getattr(ops, stateless)(shape, key, start, 1, dtype=dtype, name=name)

    return draw
