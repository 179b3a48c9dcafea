"""Detect training loops of the script's own, which cannot be resumed midway."""

import functools
from types import ModuleType
from typing import Any, Callable, Dict

from mlops_lib.runner.context import Context

GRADIENT_METHODS = {
    "keras.src.optimizers.base_optimizer": ("BaseOptimizer", "apply"),
    "tf_keras.src.optimizers.optimizer": ("_BaseOptimizer", "apply_gradients"),
    "tf_keras.src.optimizers.legacy.optimizer_v2": ("OptimizerV2", "apply_gradients"),
    "tensorflow.python.training.optimizer": ("Optimizer", "apply_gradients"),
}
"""The method through which every TensorFlow optimizer applies gradients: module to class and name.
"""


def install(run: Context) -> Dict[str, Callable[[ModuleType], None]]:
    """Return the import hooks that detect such loops."""

    def gradients(module: ModuleType) -> None:
        with run.journal.guard("watch optimizers"):
            name, method = GRADIENT_METHODS[module.__name__]
            _watch(
                run,
                getattr(module, name),
                method,
                "GradientTape",
                "the step as a model's `train_step`, trained by `fit`,",
            )

    return dict.fromkeys(GRADIENT_METHODS, gradients)


def _watch(run: Context, owner: Any, method: str, by: str, resumable: str) -> None:
    plain = getattr(owner, method)

    @functools.wraps(plain)
    def watched(self: Any, *args: Any, **kwargs: Any) -> Any:
        # Within `fit` the framework itself applies gradients.
        if not run.nested:
            run.warn_custom_loop(by, resumable=resumable)
        return plain(self, *args, **kwargs)

    setattr(owner, method, watched)
