"""State of a script's own objects: attributes, closures and globals.

A callback or data set of the user's may keep its state anywhere: in an attribute, in a list that
its closure holds, in a global. The places that its functions can reach are found from their code
objects, and the value of each is pickled separately. On restore, the containers that the script
already holds are filled in place, so that a list stays the same object for the script.
"""

import functools
import io
import os
import pickle
import sys
import types
import zlib
from typing import Any, Dict, Iterable, Iterator, List, Set, Tuple

LARGE_BYTES = 1 << 20
"""Size from which an array is compared by checksum with its state at the start of the fit.

It is stored only if it has changed.
"""
MAX_BYTES = 64 << 20
"""A larger value is not stored."""
FRAMEWORKS = ("tensorflow", "keras", "tf_keras", "jax", "torch", "sklearn", "numpy", "pandas")
SKIPPED = {"model", "_model", "params", "_params", "validation_data"}

STATELESS = (type, types.ModuleType, types.BuiltinFunctionType, io.IOBase)
"""Types whose instances carry no state, or (open files) are restored by other means."""

Place = Tuple[str, Any, Any]
"""A name that is stable between executions, the namespace (dict or closure cell), and the key in
it.
"""


class _TooLargeError(Exception):
    pass


class _Bounded(io.BytesIO):
    def write(self, content: Any) -> int:
        if self.tell() + len(content) > MAX_BYTES:
            raise _TooLargeError
        return super().write(content)


class _Pickler(pickle.Pickler):
    """Refuse objects of a framework.

    Models, variables and tensors are restored by the framework's own means.
    """

    def reducer_override(self, item: Any) -> Any:
        if _top(type(item)) in ("tensorflow", "keras", "tf_keras") and not isinstance(item, type):
            raise pickle.PicklingError(f"{type(item).__name__} belongs to the framework")
        return NotImplemented


def _top(cls: Any) -> str:
    return str(getattr(cls, "__module__", "") or "").split(".")[0]


def find_places(items: Iterable[Tuple[str, Any]]) -> List[Place]:
    """Return every place that the named objects' attributes and functions can reach."""
    visited: Set[int] = set()
    places: Dict[Tuple[int, Any], Place] = {}
    for name, item in items:
        for place in _places_of_object(name, item, visited):
            places.setdefault((id(place[1]), place[2]), place)
    return list(places.values())


def _places_of_object(name: str, item: Any, visited: Set[int]) -> Iterator[Place]:
    if id(item) in visited:
        return
    visited.add(id(item))
    if isinstance(item, (types.FunctionType, types.MethodType, functools.partial)):
        yield from _places_of_callable(name, item, visited)
        return
    attributes = getattr(item, "__dict__", None)
    if not isinstance(attributes, dict):
        return
    for key in list(attributes):
        if key not in SKIPPED:
            yield from _places_of_value(f"{name}.{key}", attributes, key, visited)
    for cls in type(item).__mro__:
        if not _is_script_class(cls):
            continue
        for key, value in list(vars(cls).items()):
            function = getattr(value, "__func__", value)
            if isinstance(function, types.FunctionType):
                yield from _places_of_callable(f"{name}.{key}", function, visited)


def _places_of_callable(name: str, function: Any, visited: Set[int]) -> Iterator[Place]:
    if isinstance(function, functools.partial):
        for i, value in enumerate((function.func, *function.args, *function.keywords.values())):
            yield from _places_of_object(f"{name}/{i}", value, visited)
        return
    if isinstance(function, types.MethodType):
        if _top(type(function.__self__)) not in FRAMEWORKS:
            yield from _places_of_object(f"{name}.self", function.__self__, visited)
        function = function.__func__
    if not isinstance(function, types.FunctionType) or id(function.__code__) in visited:
        return
    if not _belongs_to_script(function.__globals__.get("__file__"), function.__module__):
        return
    # Only the script's functions: a library's globals are not the script's state, and would lead to
    # everything else in the process.
    visited.add(id(function.__code__))
    for key, cell in zip(function.__code__.co_freevars, function.__closure__ or ()):
        yield from _places_of_value(f"{name}({key})", cell, "cell_contents", visited)
    for key in sorted(names_in(function.__code__)):
        if key in function.__globals__:
            yield from _places_of_value(
                f"{function.__module__}:{key}", function.__globals__, key, visited
            )


def _places_of_value(name: str, space: Any, key: str, visited: Set[int]) -> Iterator[Place]:
    try:
        value = space[key] if isinstance(space, dict) else space.cell_contents
    except ValueError:  # an empty cell
        return
    if isinstance(value, (types.FunctionType, types.MethodType, functools.partial)):
        yield from _places_of_callable(name, value, visited)
    elif (
        id(value) in visited
        or isinstance(value, STATELESS)
        or _top(type(value)) in ("tensorflow", "keras", "tf_keras")
    ):
        return
    elif _is_script_class(type(value)) and isinstance(getattr(value, "__dict__", None), dict):
        yield from _places_of_object(name, value, visited)
    else:
        yield name, space, key


def names_in(code: types.CodeType) -> Set[str]:
    """Return the globals and attributes that a code object names.

    Functions defined within it are included.
    """
    names = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            names |= names_in(constant)
    return names


def _belongs_to_script(file: Any, module: str) -> bool:
    if module == "__main__":
        return True
    return isinstance(file, str) and os.path.abspath(file).startswith(os.getcwd() + os.sep)


def _is_script_class(cls: Any) -> bool:
    return _belongs_to_script(
        getattr(sys.modules.get(cls.__module__), "__file__", None), cls.__module__
    )


def _get(place: Place) -> Any:
    _, space, key = place
    return space[key] if isinstance(space, dict) else space.cell_contents


def checksums(places: List[Place]) -> Dict[str, Tuple[int, int]]:
    """Return identity and checksum of the large arrays, for use at the start of a fit."""
    noted = {}
    for place in places:
        value = _get(place)
        if int(getattr(value, "nbytes", 0) or 0) >= LARGE_BYTES:
            noted[place[0]] = (id(value), _checksum(value))
    return noted


def _checksum(value: Any) -> int:
    import numpy

    return (
        zlib.crc32(numpy.ascontiguousarray(value).data.cast("B"))
        if isinstance(value, numpy.ndarray)
        else 0
    )


def capture(
    places: List[Place], unchanged: Dict[str, Tuple[int, int]]
) -> Tuple[Dict[str, bytes], List[str]]:
    """Return the pickled value of each place, and the names that cannot be stored.

    Args:
        places: the places to store.
        unchanged: result of `checksums`; arrays that still match it are left out.
    """
    values = {}
    failed = []
    for place in places:
        name = place[0]
        try:
            value = _get(place)
        except (KeyError, ValueError):
            continue
        if name in unchanged and unchanged[name] == (id(value), _checksum(value)):
            continue
        # One pickle per place: an object that cannot be pickled costs only itself.
        stream = _Bounded()
        # A foreign object may raise anything from its pickling methods; it cannot be stored then.
        try:
            _Pickler(stream, protocol=4).dump(value)
        except Exception:  # noqa: BLE001
            failed.append(name)
            continue
        values[name] = stream.getvalue()
    return values, failed


def restore(
    places: List[Place], values: Dict[str, bytes], items: Iterable[Tuple[str, Any]] = ()
) -> List[str]:
    """Restore the values; return the names of those that could not be restored.

    Args:
        places: the places of this execution.
        values: the pickled values that `capture` returned.
        items: the objects by name, for attributes that they do not have yet.
    """
    by_name = {place[0]: place for place in places}
    owners = dict(items)
    unrestored = []
    for name, content in values.items():
        owner, _, attribute = name.rpartition(".")
        try:
            new = pickle.loads(content)
        except Exception:  # noqa: BLE001 - a foreign object may raise anything here, too
            unrestored.append(name)
            continue
        if name in by_name:
            _, space, key = by_name[name]
            if isinstance(space, dict):
                space[key] = update_in_place(space.get(key), new)
            else:
                space.cell_contents = update_in_place(space.cell_contents, new)
        elif owner in owners:
            owners[owner].__dict__[attribute] = new
        else:
            unrestored.append(name)
    return unrestored


def update_in_place(old: Any, new: Any) -> Any:
    """Return `new`, within the container `old` if possible: others may refer to it."""
    if type(old) is not type(new) or old is None:
        return new
    if isinstance(new, list):
        old[:] = [update_in_place(a, b) for a, b in zip(old, new)] + new[len(old) :]
        return old
    if type(new).__name__ == "deque" or isinstance(new, (set, bytearray)):
        old.clear()
        getattr(old, "update" if isinstance(new, set) else "extend")(new)
        return old
    if isinstance(new, dict):
        # Merge before clearing: the old values are updated in place as well.
        merged = {key: update_in_place(old.get(key), value) for key, value in new.items()}
        old.clear()
        old.update(merged)
        return old
    if type(new).__module__.startswith("numpy") and hasattr(new, "bit_generator"):
        old.bit_generator.state = new.bit_generator.state
        return old
    if hasattr(new, "getstate") and hasattr(new, "setstate"):
        old.setstate(new.getstate())
        return old
    if type(new).__name__ == "ndarray":
        if old.shape == new.shape and old.dtype == new.dtype and old.flags.writeable:
            old[...] = new
            return old
        return new
    if _top(type(new)) not in FRAMEWORKS and isinstance(getattr(new, "__dict__", None), dict):
        for key, value in new.__dict__.items():
            old.__dict__[key] = update_in_place(old.__dict__.get(key), value)
        return old
    return new
