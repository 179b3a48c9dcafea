"""An estimator as plain data, for the suggested patch of the developer's source."""

import inspect
import sys
from typing import Any, Dict, List

from mlops_lib.runner.journal import plain


def describe(estimator: Any) -> Dict[str, Any]:
    """Return an estimator as JSON.

    It has the class, the module to import it from, the parameters that differ from their defaults,
    the steps of a pipeline, and estimators among the parameters, alone or in lists with names.
    """
    kind = type(estimator)
    steps = [[name, describe(step)] for name, step in getattr(estimator, "steps", [])]
    signature = inspect.signature(kind.__init__).parameters
    values = {} if steps else estimator.get_params(deep=False)
    inner = {name: describe(value) for name, value in values.items() if is_estimator(value)}
    members = {
        name: [[label, describe(member)] for label, member in value]
        for name, value in values.items()
        if _are_members(value)
    }
    changed = {
        name: _described(value)
        for name, value in values.items()
        if name not in inner
        and name not in members
        and (name not in signature or not _is_same(signature[name].default, value))
    }
    order = [
        parameter.name
        for parameter in signature.values()
        if parameter.kind is parameter.POSITIONAL_OR_KEYWORD
    ][1:]
    return {
        "class": kind.__name__,
        "module": import_module_of(kind),
        "parameters": changed,
        "steps": steps,
        "order": order,
        "inner": inner,
        "members": members,
    }


def import_module_of(kind: Any) -> str:
    """Return the shortest module from which a class or function can be imported.

    Example:
        >>> from sklearn.ensemble import HistGradientBoostingClassifier
        >>> import_module_of(HistGradientBoostingClassifier)
        'sklearn.ensemble'
    """
    parts = str(kind.__module__).split(".")
    name = kind.__qualname__.split(".")[0]
    for count in range(1, len(parts) + 1):
        module = ".".join(parts[:count])
        value = getattr(sys.modules.get(module), name, None)
        if value is not None and (value is kind or name != kind.__qualname__):
            return module
    return ".".join(parts)


def _described(value: Any) -> Any:
    """Return a parameter as JSON; a function is represented by its place."""
    if inspect.isfunction(value) and "<" not in value.__qualname__:
        place = [import_module_of(value), str(value.__qualname__)]
        return {"function": _public_owner(value) or place}
    return plain(value)


def _public_owner(function: Any) -> List[str]:
    """Return module and name of the public class with this function, [] if unknown."""
    sparse: Any = sys.modules.get("scipy.sparse")
    method = str(function.__name__)
    for name in ("csr_matrix", "csr_array"):
        if getattr(getattr(sparse, name, None), method, None) is function:
            return ["scipy.sparse", f"{name}.{method}"]
    return []


def _are_members(value: Any) -> bool:
    return (
        isinstance(value, list)
        and bool(value)
        and all(
            isinstance(member, tuple) and len(member) == 2 and is_estimator(member[1])
            for member in value
        )
    )


def is_estimator(value: Any) -> bool:
    """Return whether a value is an estimator, not a class of them."""
    return hasattr(value, "get_params") and hasattr(value, "fit") and not inspect.isclass(value)


def _is_same(usual: Any, value: Any) -> bool:
    return type(usual) is type(value) and bool(usual == value)
