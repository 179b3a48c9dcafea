"""A saved model's lambdas, as the script has them.

Keras saves a lambda as byte code: what it takes from around it (`ops`, `K`, a variable) is not in
there, and as an activation it cannot be loaded at all. Loaded beside the model that was saved, each
layer can have the function itself.
"""

import contextlib
import inspect
import sys
from typing import Any, Callable, Dict, Iterator, List


def holders(layers: List[Any]) -> Dict[str, Any]:
    """The layers that hold functions without a name, by their own; none whose name another of them
    has too.
    """
    named: Dict[str, List[Any]] = {}
    for layer in layers:
        if type(layer).__name__ == "Lambda" or any(
            _is_lambda(value) for value in vars(layer).values()
        ):
            named.setdefault(str(layer.name), []).append(layer)
    return {name: found[0] for name, found in named.items() if len(found) == 1}


def _is_lambda(value: Any) -> bool:
    return inspect.isfunction(value) and value.__name__ == "<lambda>"


def functions(layer: Any, config: Dict[str, Any]) -> Dict[str, Any]:
    """The settings of a layer that are lambdas, such as `activation=lambda x: …`, as the functions
    they are.
    """
    return {name: getattr(layer, name) for name in config if _is_lambda(getattr(layer, name, None))}


def copied(layer: Any) -> Any:
    """Another Lambda layer with the same function, closures included: its configuration is
    marshalled code.
    """
    return type(layer)(
        layer.function,
        output_shape=getattr(layer, "_output_shape", None),
        mask=getattr(layer, "mask", None),
        arguments=getattr(layer, "arguments", None),
        name=layer.name,
    )


@contextlib.contextmanager
def lent(held: Dict[str, Any]) -> Iterator[None]:
    """While a model is loaded, its layers take their functions from those of the same name in
    `held`.
    """
    classes = [
        sys.modules["keras.src.ops.operation"].Operation,
        sys.modules["keras.src.layers.core.lambda_layer"].Lambda,
    ]
    originals = [vars(one)["from_config"] for one in classes]
    try:
        for one, original in zip(classes, originals):
            one.from_config = classmethod(_lending(original.__func__, held))
        yield
    finally:
        for one, original in zip(classes, originals):
            one.from_config = original


def _lending(original: Callable[..., Any], held: Dict[str, Any]) -> Callable[..., Any]:
    def from_config(cls: Any, config: Dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        layer = held.get(config.get("name", ""))
        if layer is None or type(layer) is not cls:
            return original(cls, config, *args, **kwargs)
        if cls.__name__ == "Lambda":
            return copied(layer)
        return original(cls, {**config, **functions(layer, config)}, *args, **kwargs)

    return from_config
