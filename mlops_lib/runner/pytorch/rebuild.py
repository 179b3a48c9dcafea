"""Rebuild objects that the standard pickle protocol cannot describe.

A snapshot's stream names these functions, with their arguments; unpickling calls them. Each one is
the counterpart of a reduction in `pickling`.
"""

import functools
import marshal
import sys
import types
from typing import Any, Dict, List, Tuple


class SeveredError(RuntimeError):
    """A gradient would flow through a value whose computation was not kept."""


def make_sharing(cls: Any, holder: Any, name: str) -> Any:
    # No `__init__` and no `__setattr__`: the attributes follow as the pickled state.
    item = object.__new__(cls)
    object.__setattr__(item, "__dict__", getattr(holder, name) if name else holder)
    return item


def set_own_state(item: Any, full_state: Tuple[Dict[str, Any], Dict[str, Any], List[str]]) -> None:
    state, left_out, names = full_state
    if hasattr(type(item), "__setstate__"):
        item.__setstate__(state)
    else:
        item.__dict__.update(state)
    item.__dict__.update(left_out)
    # Attributes are put back in their old order: scripts and libraries iterate over `__dict__`.
    attributes = dict(item.__dict__)
    item.__dict__.clear()
    for name in (*(name for name in names if name in attributes), *attributes):
        item.__dict__[name] = attributes[name]


def make_function(code: bytes, module: str, name: str, closure: Any) -> types.FunctionType:
    return types.FunctionType(marshal.loads(code), vars(sys.modules[module]), name, None, closure)


def set_function(function: Any, state: Any) -> None:
    function.__defaults__, function.__kwdefaults__, attributes, function.__qualname__ = state
    vars(function).update(attributes)
    function.__module__ = function.__globals__["__name__"]


def set_attributes(item: Any, state: Dict[str, Any]) -> None:
    item.__dict__.update(state)


class DeadReference:
    """A weak reference whose object no longer existed."""

    def __call__(self) -> None:
        return None


def _over(storage: Any, dtype: Any, offset: int, shape: Any, stride: Any) -> Any:
    torch = sys.modules["torch"]
    # `set_` gives an empty tensor the memory and the layout, so that tensors of one storage stay
    # views of it.
    tensor = torch.empty(0, dtype=dtype, device=storage.device)
    return tensor.set_(storage, offset, shape, stride)


def make_tensor(
    kind: str,
    storage: Any,
    dtype: Any,
    offset: int,
    shape: Any,
    stride: Any,
    requires: bool,
    grad: Any,
    own: Any,
) -> Any:
    torch = sys.modules["torch"]
    tensor = _over(storage, dtype, offset, shape, stride)
    if kind == "parameter":
        tensor = torch.nn.Parameter(tensor, requires)
    elif requires:
        tensor.requires_grad_(True)
    if grad is not None:
        tensor.grad = grad
    tensor.__dict__.update(own)
    return tensor


def make_severed(storage: Any, dtype: Any, offset: int, shape: Any, stride: Any) -> Any:
    """Make a value that a computation had produced, without that computation.

    A gradient through it raises `SeveredError` instead of giving a wrong number.
    """
    torch = sys.modules["torch"]
    tensor = _over(storage, dtype, offset, shape, stride)
    # Whole numbers have no gradient that could be wrong.
    if not (tensor.is_floating_point() or tensor.is_complex()):
        return tensor
    # Autograd records the function below only while gradients are enabled.
    with torch.enable_grad():
        return _severed_function().apply(tensor.requires_grad_(True))


@functools.lru_cache(maxsize=None)
def _severed_function() -> Any:
    torch = sys.modules["torch"]

    class Severed(torch.autograd.Function):  # type: ignore[name-defined, misc]
        """An identity function that cannot be differentiated."""

        @staticmethod
        def forward(context: Any, value: Any) -> Any:
            return value.view_as(value)

        @staticmethod
        def backward(context: Any, *gradients: Any) -> Any:
            raise SeveredError("a value from before the checkpoint is differentiated after it")

    return Severed


def make_generator(device: str, state: Any) -> Any:
    generator = sys.modules["torch"].Generator(device)
    generator.set_state(state)
    return generator


def make_view(storage: Any, offset: int, shape: Any, strides: Any, dtype: Any) -> Any:
    torch = sys.modules["torch"]
    numpy = sys.modules["numpy"]
    tensor = torch.empty(0, dtype=torch.uint8).set_(storage)
    return numpy.ndarray(shape, dtype, buffer=tensor.numpy(), offset=offset, strides=strides)
