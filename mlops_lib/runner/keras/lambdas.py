"""Give the layers of a loaded model the script's own lambdas.

Keras saves a lambda as byte code. The names that it uses from its surroundings (`ops`, `K`, a
variable) are not saved with it, and a lambda as an activation cannot be loaded at all. Loaded in
the process that saved it, each layer can have the function itself.
"""

import contextlib
import inspect
import sys
from typing import Any, Callable, Dict, Iterator, List


def holders(layers: List[Any]) -> Dict[str, Any]:
    """Return the layers that hold lambdas, by their names.

    A layer is left out if another one of them has the same name.
    """
    by_name: Dict[str, List[Any]] = {}
    for layer in layers:
        if type(layer).__name__ == "Lambda" or any(
            _is_lambda(value) for value in vars(layer).values()
        ):
            by_name.setdefault(str(layer.name), []).append(layer)
    return {name: namesakes[0] for name, namesakes in by_name.items() if len(namesakes) == 1}


def _is_lambda(value: Any) -> bool:
    return inspect.isfunction(value) and value.__name__ == "<lambda>"


def functions(layer: Any, config: Dict[str, Any]) -> Dict[str, Any]:
    """Return a layer's settings that are lambdas, such as `activation=lambda x: …`."""
    return {name: getattr(layer, name) for name in config if _is_lambda(getattr(layer, name, None))}


def copied(layer: Any) -> Any:
    """Return another Lambda layer with the same function, closures included.

    Its configuration would be marshalled code.
    """
    return type(layer)(
        layer.function,
        output_shape=getattr(layer, "_output_shape", None),
        mask=getattr(layer, "mask", None),
        arguments=getattr(layer, "arguments", None),
        name=layer.name,
    )


@contextlib.contextmanager
def shared_functions(holders: Dict[str, Any]) -> Iterator[None]:
    """Give loaded layers the functions of the live layers with the same name.

    Args:
        holders: the live layers by name, from `holders`.
    """
    classes = [
        sys.modules["keras.src.ops.operation"].Operation,
        sys.modules["keras.src.layers.core.lambda_layer"].Lambda,
    ]
    originals = [vars(kind)["from_config"] for kind in classes]
    try:
        for kind, original in zip(classes, originals):
            kind.from_config = classmethod(_with_shared_functions(original.__func__, holders))
        yield
    finally:
        for kind, original in zip(classes, originals):
            kind.from_config = original


def _with_shared_functions(
    original: Callable[..., Any], holders: Dict[str, Any]
) -> Callable[..., Any]:
    def from_config(cls: Any, config: Dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        layer = holders.get(config.get("name", ""))
        if layer is None or type(layer) is not cls:
            return original(cls, config, *args, **kwargs)
        if cls.__name__ == "Lambda":
            return copied(layer)
        return original(cls, {**config, **functions(layer, config)}, *args, **kwargs)

    return from_config
