"""A call's arguments by name, so that nothing depends on where the script put them."""

import inspect
from typing import Any, Callable, Dict


def bind(function: Callable[..., Any], self: Any, args: Any, kwargs: Any) -> Dict[str, Any]:
    """The arguments of a method's call by name, defaults filled in, without `self`."""
    bound = inspect.signature(function).bind(self, *args, **kwargs)
    bound.apply_defaults()
    named = dict(bound.arguments)
    named.pop("self", None)
    named.update(named.pop("kwargs", {}))
    return named
