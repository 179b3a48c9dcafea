"""Training loops of the script's own: they cannot be entered in the middle, and the run says so."""

import functools
from types import ModuleType
from typing import Any, Callable, Dict

from mlops_lib.runner.context import Context

BY_GRADIENTS = {
    "keras.src.optimizers.base_optimizer": ("BaseOptimizer", "apply"),
    "tf_keras.src.optimizers.optimizer": ("_BaseOptimizer", "apply_gradients"),
    "tf_keras.src.optimizers.legacy.optimizer_v2": ("OptimizerV2", "apply_gradients"),
    "tensorflow.python.training.optimizer": ("Optimizer", "apply_gradients"),
}
"""The method that every optimizer of TensorFlow comes by: its module, class and name."""


def install(run: Context) -> Dict[str, Callable[[ModuleType], None]]:
    """The import hooks that notice such loops."""

    def gradients(module: ModuleType) -> None:
        with run.journal.guard("watch optimizers"):
            name, method = BY_GRADIENTS[module.__name__]
            _watch(
                run,
                getattr(module, name),
                method,
                "GradientTape",
                "the step as a model's `train_step`, trained by `fit`,",
            )

    return dict.fromkeys(BY_GRADIENTS, gradients)


def _watch(run: Context, owner: Any, method: str, by: str, instead: str) -> None:
    plain = getattr(owner, method)

    @functools.wraps(plain)
    def watched(self: Any, *args: Any, **kwargs: Any) -> Any:
        if not run.nested:
            run.warn_custom_loop(by, resumable=instead)
        return plain(self, *args, **kwargs)

    setattr(owner, method, watched)
