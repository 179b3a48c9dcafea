"""Assign values to existing objects, bypassing the methods of their own classes."""

import collections
import ctypes
import sys
from typing import Any, Callable, Dict, List, Optional, Tuple

from mlops_lib.runner.pytorch import graph
from mlops_lib.runner.pytorch.graph import Table, isa


def assign_all(table: Table, changes: List[Any]) -> None:
    for number, kind, content in changes:
        if kind in _ASSIGN:
            _ASSIGN[kind](table.nodes[number].item, content)


def _assign_tensor(item: Any, content: List[Any]) -> None:
    torch = sys.modules["torch"]
    new, grad, requires, *own = content
    with torch.no_grad():
        if isinstance(new, bytes):
            if new:
                storage = item.untyped_storage()
                # The memory is overwritten in place: optimizers, views and tied weights keep
                # pointing to it.
                if storage.device.type == "cpu":
                    ctypes.memmove(storage.data_ptr(), new, len(new))
                else:
                    plain = torch.frombuffer(bytearray(new), dtype=torch.uint8)
                    storage.copy_(plain.untyped_storage())
        else:
            # The tensor had other memory when the snapshot was taken, and gets it.
            item.data = new
    # Only a leaf has these; autograd refuses them of a computed value.
    if requires is not None and item.is_leaf:
        if item.requires_grad != requires:
            item.requires_grad_(requires)
        item.grad = grad
    item.__dict__.clear()
    item.__dict__.update(graph.pairs(own))


def _assign_array(item: Any, content: List[Any]) -> None:
    if item.dtype == object:
        item.ravel()[:] = content
    elif item.flags.writeable:
        item[...] = content[0]


def _assign_cell(item: Any, content: List[Any]) -> None:
    if content:
        item.cell_contents = content[0]


def _assign_function(item: Any, content: List[Any]) -> None:
    item.__defaults__, item.__kwdefaults__ = content[:2]
    vars(item).clear()
    vars(item).update(graph.pairs(content[2 + len(item.__closure__ or ()) :]))


def _assign_class(item: Any, content: List[Any]) -> None:
    before = dict(graph.class_attributes(item))
    # Only what differs is set: each assignment to a class invalidates the interpreter's type
    # caches.
    for name, value in graph.pairs(content):
        if name not in before or before[name] is not value:
            setattr(item, name, value)


def _assign_module(item: Any, content: List[Any]) -> None:
    names = vars(item)
    values = dict(graph.pairs(content))
    for name in [name for name in names if name not in graph.HIDDEN and name not in values]:
        del names[name]
    names.update(values)


def _assign_weak(item: Any, content: List[Any]) -> None:
    item.clear()
    for key, value in graph.pairs(content):
        item[key] = value


def _assign_dict(item: Any, content: List[Any]) -> None:
    base, own = _split(content)
    cls: Any = collections.OrderedDict if isa(item, collections.OrderedDict) else dict
    # The module's own entries (`__name__`, `__builtins__` …) are not part of the content; they come
    # first, as in a new namespace.
    own_entries = [
        (key, value)
        for key, value in dict.items(item)
        if isinstance(key, str) and key in graph.HIDDEN
    ]
    # `dict` methods by name: a subclass may forbid changes, or do more than store.
    cls.clear(item)
    for key, value in [*own_entries, *graph.pairs(base)]:
        cls.__setitem__(item, key, value)
    _assign_own(item, own)


def _assign_list(item: Any, content: List[Any]) -> None:
    base, own = _split(content)
    item.clear()
    item.extend(base)
    _assign_own(item, own)


def _assign_set(item: Any, content: List[Any]) -> None:
    base, own = _split(content)
    item.clear()
    item.update(base)
    _assign_own(item, own)


def _assign_bytes(item: Any, content: List[Any]) -> None:
    item[:] = _split(content)[0][0]


def _assign_object(item: Any, content: List[Any]) -> None:
    _assign_own(item, _split(content)[1], removing=True)


def _split(content: List[Any]) -> Tuple[List[Any], List[Tuple[Any, Any]]]:
    length = content[0]
    return content[1 : 1 + length], graph.pairs(content[1 + length :])


def _assign_own(item: Any, own: List[Tuple[str, Any]], *, removing: bool = False) -> None:
    """Set an object's own attributes, bypassing its `__setattr__`."""
    if not own and not removing:
        return
    values = dict(own)
    for name, _ in graph.names_and_values(item):
        if name not in values:
            try:
                # A class may have a `__delattr__` of its own, such as `nn.Module`, which looks in
                # three dicts.
                object.__delattr__(item, name)
            except AttributeError:
                continue
    try:
        attributes: Optional[Dict[str, Any]] = object.__getattribute__(item, "__dict__")
    except AttributeError:
        attributes = None
    slots = {name for cls in type(item).__mro__ for name in _slots(cls)}
    for name, value in own:
        if isinstance(attributes, dict) and name not in slots:
            attributes[name] = value
        else:
            object.__setattr__(item, name, value)


def _slots(cls: type) -> Any:
    slots = cls.__dict__.get("__slots__", ())
    names = (slots,) if isinstance(slots, str) else slots
    # Slots that begin with two underscores are mangled by the class's name, as all attributes are.
    private = f"_{cls.__name__.lstrip('_')}"
    return [private + n if n.startswith("__") and not n.endswith("__") else n for n in names]


_ASSIGN: Dict[str, Callable[[Any, List[Any]], None]] = {
    "tensor": _assign_tensor,
    "array": _assign_array,
    "torch generator": lambda item, content: item.set_state(content[0]),
    "numpy state": lambda item, content: item.set_state(content[0]),
    "numpy generator": lambda item, content: setattr(item.bit_generator, "state", content[0]),
    "python generator": lambda item, content: item.setstate(content[0]),
    "cell": _assign_cell,
    "function": _assign_function,
    "class": _assign_class,
    "module": _assign_module,
    "weak dict": _assign_weak,
    "dict": _assign_dict,
    "list": _assign_list,
    "set": _assign_set,
    "bytes": _assign_bytes,
    "object": _assign_object,
}
