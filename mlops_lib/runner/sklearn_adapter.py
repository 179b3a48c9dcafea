"""scikit-learn around the script."""

from types import ModuleType
from typing import Any, Callable, Dict

from mlops_lib.runner.context import Context


def install(run: Context) -> Dict[str, Callable[[ModuleType], None]]:
    """The import hooks for scikit-learn."""
    del run
    return {}


def save(run: Context, model: Any, fit: Any) -> Dict[str, Any]:
    """Save an estimator."""
    raise NotImplementedError
