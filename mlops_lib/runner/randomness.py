"""The random state of a process: seed it before the script starts, take it, put it back."""

import random
import sys
from typing import Any, Dict

TRACKED_KERAS = "keras.src.backend.common.global_state"


def seed_process(seed: int) -> None:
    """Seed Python's own generator; the others are seeded when the script imports them."""
    random.seed(seed)


def seed_numpy(numpy: Any, seed: int) -> None:
    """Seed numpy's global generator."""
    numpy.random.seed(seed % 2**32)


def seed_tensorflow(tensorflow: Any, seed: int) -> None:
    """Set TensorFlow's global seed."""
    tensorflow.random.set_seed(seed)


def take() -> Dict[str, Any]:
    """All random state that a script can reach, as plain picklable values."""
    state: Dict[str, Any] = {"python": random.getstate()}
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        state["numpy"] = numpy.random.get_state()
    context = _tensorflow_context()
    if context is not None:
        generator = getattr(context, "_rng", None)
        state["tensorflow"] = {
            "seed": getattr(context, "_seed", None),
            "operations": generator.getstate() if generator is not None else None,
        }
        tensorflow = sys.modules["tensorflow"]
        from tensorflow.python.ops import stateful_random_ops  # type: ignore[import-not-found, unused-ignore]

        if stateful_random_ops.global_generator is not None:
            generator = tensorflow.random.get_global_generator()
            state["tensorflow"]["generator"] = (generator.state.numpy(), int(generator.algorithm))
    tracker = _keras_tracker()
    if tracker is not None:
        made = getattr(tracker, "global_seed_generator", None)
        state["keras"] = None if made is None else made.state.numpy()
    return state


def put(state: Dict[str, Any]) -> None:
    """Restore what `take` returned."""
    random.setstate(state["python"])
    numpy = sys.modules.get("numpy")
    if numpy is not None and "numpy" in state:
        numpy.random.set_state(state["numpy"])
    context = _tensorflow_context()
    if context is not None and "tensorflow" in state:
        taken = state["tensorflow"]
        context._seed = taken["seed"]
        if taken["operations"] is not None:
            if getattr(context, "_rng", None) is None:
                context._rng = random.Random(0)
            context._rng.setstate(taken["operations"])
        if "generator" in taken:
            tensorflow = sys.modules["tensorflow"]
            values, algorithm = taken["generator"]
            tensorflow.random.set_global_generator(tensorflow.random.Generator(state=values, alg=algorithm))
    tracker = _keras_tracker()
    if tracker is not None and state.get("keras") is not None:
        from keras.src.random.seed_generator import global_seed_generator

        global_seed_generator().state.assign(state["keras"])


def _tensorflow_context() -> Any:
    module = sys.modules.get("tensorflow.python.eager.context")
    return None if module is None or "tensorflow" not in sys.modules else module.context()


def _keras_tracker() -> Any:
    module = sys.modules.get(TRACKED_KERAS)
    return None if module is None else getattr(module, "GLOBAL_STATE_TRACKER", None)
