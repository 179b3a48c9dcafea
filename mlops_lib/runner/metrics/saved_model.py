"""The model that the script itself saves: the last one is the one to judge."""

import functools
import pickle
from types import ModuleType
from typing import Any, Callable, Dict

from mlops_lib.runner.context import Context
from mlops_lib.runner.metrics.trainings import reference


def install(run: Context) -> Dict[str, Callable[[ModuleType], None]]:
    """Observe `pickle.dump` from now on.

    Returns:
        the import hooks for `joblib.dump` and Keras' `save`.
    """
    pickle.dump = _observed(run, pickle.dump)

    def joblib(module: ModuleType) -> None:
        module.dump = _observed(run, module.dump)  # type: ignore[attr-defined]

    def keras(module: ModuleType) -> None:
        module.save_model = _observed(run, module.save_model)  # type: ignore[attr-defined]

    return {"joblib.numpy_pickle": joblib, "keras.src.saving.saving_api": keras}


def _observed(run: Context, save: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(save)
    def save_(item: Any, *args: Any, **kwargs: Any) -> Any:
        if not run.nested:
            with run.journal.guard("saved model"):
                for part in _parts(item):
                    if hasattr(part, "predict") and not isinstance(part, type):
                        run.evaluations.saved = reference(part)
        return save(item, *args, **kwargs)

    return save_


def _parts(item: Any) -> Any:
    """Return a bundle's members: a script may pickle its model together with labels."""
    if isinstance(item, dict):
        return list(item.values())
    return list(item) if isinstance(item, (list, tuple)) else [item]
