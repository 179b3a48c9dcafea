"""The random state of a process: seed it, capture it, restore it."""

import random
import sys
import weakref
from typing import Any, Container, Dict, List

from mlops_lib.runner.state import clock, entropy

GLOBAL_STATE = {
    "keras": "keras.src.backend.common.global_state",
    "tf_keras": "tf_keras.src.backend",
}


def seed_process(seed: int) -> None:
    """Seed Python's own generator.

    The other generators are seeded when the script imports their libraries.
    """
    random.seed(seed)


def seed_numpy(numpy: Any, seed: int) -> None:
    """Seed numpy's global generator."""
    # numpy accepts 32 bits only.
    numpy.random.seed(seed % 2**32)


def seed_tensorflow(tensorflow: Any, seed: int) -> None:
    """Set TensorFlow's global seed."""
    tensorflow.random.set_seed(seed)


def seed_torch(torch: Any, seed: int) -> None:
    """Seed PyTorch's generators, of the CPU and of every GPU."""
    torch.manual_seed(seed)


def capture_python() -> Dict[str, Any]:
    """Return the random state that Python code draws from.

    It covers the global generators and those in the script's globals.
    """
    state: Dict[str, Any] = {
        "python": random.getstate(),
        "entropy": entropy.positions(),
        "clock": clock.position(),
    }
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        state["numpy"] = numpy.random.get_state()
        state["script"] = {
            name: _state_of(generator) for name, generator in _script_generators(numpy)
        }
    state["torch"] = _capture_torch()
    return state


def restore_python(state: Dict[str, Any]) -> None:
    """Restore the result of `capture_python`."""
    random.setstate(state["python"])
    # Unlike generator states, these positions only move forward: names issued since the checkpoint
    # must not be issued again.
    entropy.skip_to(state.get("entropy", {}))
    clock.skip_to(state.get("clock", 0))
    numpy = sys.modules.get("numpy")
    if numpy is not None and "numpy" in state:
        numpy.random.set_state(state["numpy"])
        for name, generator in _script_generators(numpy):
            if name in state.get("script", {}):
                _set_state(generator, state["script"][name])
    _restore_torch(state)


def _capture_torch() -> List[Any]:
    """Return the states of PyTorch's generators: the CPU's, then those of GPUs in use."""
    torch = _torch()
    if torch is None:
        return []
    # Asking for the state would initialise CUDA, which takes memory on every GPU and forbids a
    # later fork.
    gpus = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else ()
    return [state.numpy() for state in (torch.get_rng_state(), *gpus)]


def _restore_torch(state: Dict[str, Any]) -> None:
    torch = _torch()
    if torch is None or not state.get("torch"):
        return
    own, *gpus = (torch.from_numpy(values.copy()) for values in state["torch"])
    torch.set_rng_state(own)
    # On a machine with other GPUs their streams mean nothing, and the resume is not exact anyway.
    if gpus and len(gpus) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(gpus)


def _torch() -> Any:
    """Return PyTorch if its import has completed, else None."""
    module = sys.modules.get("torch")
    return module if hasattr(module, "get_rng_state") and hasattr(module, "cuda") else None


def _script_generators(numpy: Any) -> "List[tuple[str, Any]]":
    # Globals of the script only: generators that callbacks hold are captured with the callbacks.
    kinds = (numpy.random.Generator, numpy.random.RandomState, random.Random)
    main = vars(sys.modules["__main__"])
    return [(name, value) for name, value in list(main.items()) if isinstance(value, kinds)]


def _state_of(generator: Any) -> Any:
    if hasattr(generator, "bit_generator"):
        return generator.bit_generator.state
    return (
        generator.getstate()
        if hasattr(generator, "getstate")
        else generator.get_state(legacy=False)
    )


def _set_state(generator: Any, state: Any) -> None:
    if hasattr(generator, "bit_generator"):
        generator.bit_generator.state = state
    elif hasattr(generator, "setstate"):
        generator.setstate(state)
    else:
        generator.set_state(state)


def is_same_python(first: Dict[str, Any], second: Dict[str, Any]) -> bool:
    """Return whether nothing was drawn between two states.

    PyTorch's generators are ignored, because its training steps draw from them as well.
    """
    if first["python"] != second["python"] or repr(first.get("script")) != repr(
        second.get("script")
    ):
        return False
    a = first.get("numpy")
    b = second.get("numpy")
    if a is None or b is None:
        return a is b
    # The legacy state is a tuple with an array inside, which has no truth value of its own.
    return bool(a[2:] == b[2:] and (a[1] == b[1]).all())


class SeedGenerators:
    """Keras' seed generators in the order of their creation.

    Those of a model are among its variables too; others are only here.
    """

    def __init__(self) -> None:
        self.count = 0
        self.alive: Dict[int, Any] = {}

    def track(self, seed_generator_class: Any) -> None:
        """Register every generator that is created from now on."""
        init = seed_generator_class.__init__

        def init_(generator: Any, *args: Any, **kwargs: Any) -> None:
            init(generator, *args, **kwargs)
            self.count += 1
            # Weak: a script may create a layer per candidate model and drop it.
            self.alive[self.count] = weakref.ref(generator)

        # `inspect.signature` follows this to the original's parameters.
        init_.__wrapped__ = init  # type: ignore[attr-defined]
        seed_generator_class.__init__ = init_

    def capture(self) -> Dict[str, Any]:
        """Return the state of each living generator, by number."""
        states = {}
        for number, reference in list(self.alive.items()):
            generator = reference()
            if generator is None:
                del self.alive[number]
            # A deferred variable without a value was never drawn from.
            elif getattr(generator.state, "_value", generator) is not None:
                states[number] = generator.state.numpy()
        return {"made": self.count, "states": states}

    def restore(self, captured: Dict[str, Any], but: Container[int] = ()) -> None:
        """Restore the result of `capture`.

        Args:
            captured: the states.
            but: ids of variable handles; generators with one of these are left alone.
        """
        for number, state in captured["states"].items():
            generator = self.alive.get(number, lambda: None)()
            handle = None if generator is None else getattr(generator.state.value, "handle", None)
            if generator is not None and id(handle) not in but:
                generator.state.assign(state)
        # Numbers identify generators by their order of creation in the script, so they must never
        # be reused.
        self.count = max(self.count, captured["made"])


seed_generators = SeedGenerators()


def capture() -> Dict[str, Any]:
    """Return all random state that a script can reach, as plain picklable values."""
    state = {**capture_python(), "seeds": seed_generators.capture()}
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
    keras_generator = getattr(
        _tracker("keras", "GLOBAL_STATE_TRACKER"), "global_seed_generator", None
    )
    state["keras"] = None if keras_generator is None else keras_generator.state.numpy()
    legacy = getattr(_tracker("tf_keras", "_SEED_GENERATOR"), "generator", None)
    state["tf_keras"] = None if legacy is None else legacy.getstate()
    return state


def restore(state: Dict[str, Any]) -> None:
    """Restore the result of `capture`."""
    restore_python(state)
    restore_framework(state)


def restore_framework(state: Dict[str, Any], but: Container[int] = ()) -> None:
    """Restore the frameworks' part of the result of `capture`.

    Args:
        state: the captured state.
        but: as for `SeedGenerators.restore`.
    """
    seed_generators.restore(state["seeds"], but)
    _restore_torch(state)
    context = _tensorflow_context()
    if context is not None and "tensorflow" in state:
        captured = state["tensorflow"]
        # Not `set_seed`: it would also reset the generator of operation seeds and clear the kernel
        # cache.
        context._seed = captured["seed"]
        if captured["operations"] is not None:
            if getattr(context, "_rng", None) is None:
                context._rng = random.Random(0)
            context._rng.setstate(captured["operations"])
        if "generator" in captured:
            tensorflow = sys.modules["tensorflow"]
            values, algorithm = captured["generator"]
            tensorflow.random.set_global_generator(
                tensorflow.random.Generator(state=values, alg=algorithm)
            )
    if _tracker("keras", "GLOBAL_STATE_TRACKER") is not None and state.get("keras") is not None:
        from keras.src.random.seed_generator import global_seed_generator

        global_seed_generator().state.assign(state["keras"])
    legacy = _tracker("tf_keras", "_SEED_GENERATOR")
    if legacy is not None and state.get("tf_keras") is not None:
        legacy.generator = random.Random()
        legacy.generator.setstate(state["tf_keras"])


def _tensorflow_context() -> Any:
    module = sys.modules.get("tensorflow.python.eager.context")
    return None if module is None or "tensorflow" not in sys.modules else module.context()


def _tracker(framework: str, name: str) -> Any:
    return getattr(sys.modules.get(GLOBAL_STATE[framework]), name, None)
