"""What a script's own objects remember: attributes, closures and globals of callbacks and data
sets, taken and put back.

A callback written by a user keeps its state anywhere: in an attribute, in a list that its closure
holds, in a global. The places that its functions can reach are found from their code objects, each
is pickled on its own, and on the way back the containers that the script already holds are filled
in place, so that a list keeps being the script's list.
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
"""Arrays from here on are compared by checksum with what they were when the fit began, and stored
only if changed.
"""
MOST_BYTES = 64 << 20
"""A place whose content is larger is not stored."""
FRAMEWORKS = ("tensorflow", "keras", "tf_keras", "jax", "torch", "sklearn", "numpy", "pandas")
SKIPPED = {"model", "_model", "params", "_params", "validation_data"}

STATELESS = (type, types.ModuleType, types.BuiltinFunctionType, io.IOBase)
"""What is found in the same state, or (open files) brought there by other means."""

Place = Tuple[str, Any, Any]
"""A name that is the same in every execution, the namespace (a dict or a closure cell), and the key
in it.
"""


class _TooLargeError(Exception):
    pass


class _Bounded(io.BytesIO):
    def write(self, content: Any) -> int:
        if self.tell() + len(content) > MOST_BYTES:
            raise _TooLargeError
        return super().write(content)


class _Pickler(pickle.Pickler):
    """Refuses what belongs to a framework: models, variables, tensors are restored by their own
    means.
    """

    def reducer_override(self, item: Any) -> Any:
        if _top(type(item)) in ("tensorflow", "keras", "tf_keras") and not isinstance(item, type):
            raise pickle.PicklingError(f"{type(item).__name__} belongs to the framework")
        return NotImplemented


def _top(cls: Any) -> str:
    return str(getattr(cls, "__module__", "") or "").split(".")[0]


def find_places(items: Iterable[Tuple[str, Any]]) -> List[Place]:
    """Every place that the named objects' own attributes and functions can reach."""
    seen: Set[int] = set()
    found: Dict[Tuple[int, Any], Place] = {}
    for name, item in items:
        for place in _of_object(name, item, seen):
            found.setdefault((id(place[1]), place[2]), place)
    return list(found.values())


def _of_object(name: str, item: Any, seen: Set[int]) -> Iterator[Place]:
    if id(item) in seen:
        return
    seen.add(id(item))
    if isinstance(item, (types.FunctionType, types.MethodType, functools.partial)):
        yield from _of_callable(name, item, seen)
        return
    attributes = getattr(item, "__dict__", None)
    if not isinstance(attributes, dict):
        return
    for key in list(attributes):
        if key not in SKIPPED:
            yield from _of_value(f"{name}.{key}", attributes, key, seen)
    for cls in type(item).__mro__:
        if not _is_the_scripts_class(cls):
            continue
        for key, value in list(vars(cls).items()):
            function = getattr(value, "__func__", value)
            if isinstance(function, types.FunctionType):
                yield from _of_callable(f"{name}.{key}", function, seen)


def _of_callable(name: str, function: Any, seen: Set[int]) -> Iterator[Place]:
    if isinstance(function, functools.partial):
        for i, value in enumerate((function.func, *function.args, *function.keywords.values())):
            yield from _of_object(f"{name}/{i}", value, seen)
        return
    if isinstance(function, types.MethodType):
        if _top(type(function.__self__)) not in FRAMEWORKS:
            yield from _of_object(f"{name}.self", function.__self__, seen)
        function = function.__func__
    if not isinstance(function, types.FunctionType) or id(function.__code__) in seen:
        return
    if not _is_the_scripts(function.__globals__.get("__file__"), function.__module__):
        return
    seen.add(id(function.__code__))
    for key, cell in zip(function.__code__.co_freevars, function.__closure__ or ()):
        yield from _of_value(f"{name}({key})", cell, "cell_contents", seen)
    for key in sorted(names_in(function.__code__)):
        if key in function.__globals__:
            yield from _of_value(f"{function.__module__}:{key}", function.__globals__, key, seen)


def _of_value(name: str, space: Any, key: str, seen: Set[int]) -> Iterator[Place]:
    try:
        value = space[key] if isinstance(space, dict) else space.cell_contents
    except ValueError:  # an empty cell
        return
    if isinstance(value, (types.FunctionType, types.MethodType, functools.partial)):
        yield from _of_callable(name, value, seen)
    elif (
        id(value) in seen
        or isinstance(value, STATELESS)
        or _top(type(value)) in ("tensorflow", "keras", "tf_keras")
    ):
        return
    elif _is_the_scripts_class(type(value)) and isinstance(getattr(value, "__dict__", None), dict):
        yield from _of_object(name, value, seen)
    else:
        yield name, space, key


def names_in(code: types.CodeType) -> Set[str]:
    """The globals and attributes that a function's code names, those of functions within it
    included.
    """
    names = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            names |= names_in(constant)
    return names


def _is_the_scripts(file: Any, module: str) -> bool:
    if module == "__main__":
        return True
    return isinstance(file, str) and os.path.abspath(file).startswith(os.getcwd() + os.sep)


def _is_the_scripts_class(cls: Any) -> bool:
    return _is_the_scripts(
        getattr(sys.modules.get(cls.__module__), "__file__", None), cls.__module__
    )


def _get(place: Place) -> Any:
    _, space, key = place
    return space[key] if isinstance(space, dict) else space.cell_contents


def checksums(found: List[Place]) -> Dict[str, Tuple[int, int]]:
    """Identity and checksum of the large arrays, as they are when a fit begins."""
    noted = {}
    for place in found:
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
    found: List[Place], marked: Dict[str, Tuple[int, int]]
) -> Tuple[Dict[str, bytes], List[str]]:
    """The content of each place, pickled on its own; and the names of those that cannot be stored."""
    taken = {}
    lost = []
    for place in found:
        name = place[0]
        try:
            value = _get(place)
        except (KeyError, ValueError):
            continue
        if name in marked and marked[name] == (id(value), _checksum(value)):
            continue
        stream = _Bounded()
        # Whatever a foreign object raises while it is pickled means: this one cannot be stored.
        try:
            _Pickler(stream, protocol=4).dump(value)
        except Exception:  # noqa: BLE001
            lost.append(name)
            continue
        taken[name] = stream.getvalue()
    return taken, lost


def restore(
    found: List[Place], taken: Dict[str, bytes], items: Iterable[Tuple[str, Any]] = ()
) -> List[str]:
    """Put the contents back; returns the names of those that could not be.

    Args:
        found: the places there are now.
        taken: what `capture` gave.
        items: the objects by name, for attributes that they do not have yet.
    """
    known = {place[0]: place for place in found}
    owners = dict(items)
    missing = []
    for name, content in taken.items():
        owner, _, attribute = name.rpartition(".")
        try:
            new = pickle.loads(content)
        except Exception:  # noqa: BLE001 - as above, when it is read back
            missing.append(name)
            continue
        if name in known:
            _, space, key = known[name]
            if isinstance(space, dict):
                space[key] = update_in_place(space.get(key), new)
            else:
                space.cell_contents = update_in_place(space.cell_contents, new)
        elif owner in owners:
            owners[owner].__dict__[attribute] = new
        else:
            missing.append(name)
    return missing


def update_in_place(old: Any, new: Any) -> Any:
    """`new`, in the container `old` where that is one: others may hold it too."""
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
