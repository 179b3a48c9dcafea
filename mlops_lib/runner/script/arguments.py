"""A call's arguments by name, independent of how the script passed them."""

import inspect
from typing import Any, Callable, Dict


def bind(function: Callable[..., Any], self: Any, args: Any, kwargs: Any) -> Dict[str, Any]:
    """Return the arguments of a method's call by name, without `self`.

    Defaults are filled in.
    """
    call = inspect.signature(function).bind(self, *args, **kwargs)
    call.apply_defaults()
    by_name = dict(call.arguments)
    by_name.pop("self", None)
    by_name.update(by_name.pop("kwargs", {}))
    return by_name
