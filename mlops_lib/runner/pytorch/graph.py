"""The objects that a project's code can reach, in an order that repeats.

A training changes objects: parameters, the moments of optimizers, counters, lists of losses. They
cannot be listed by kind, so all of them are walked in a fixed order, from the project's modules and
the locals of its frames. The number of an object is its identity in every execution of the script.
The sequence of types and sizes is a fingerprint of the structure: if it differs, a snapshot does
not fit and is not applied.
"""

import builtins
import collections
import functools
import itertools
import os
import random
import sys
import types
import weakref
import zlib
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

ITERATORS: Tuple[type, ...] = (
    *(itertools.count, itertools.cycle, itertools.chain, itertools.islice, itertools.repeat),
    *(
        enumerate,
        zip,
        map,
        filter,
        type(iter([])),
        type(iter(())),
        type(iter(range(0))),
        type(iter({})),
    ),
)
"""Iterators of the language; they hold their position and are stored by value."""
OPAQUE = (
    *(
        "logging",
        "threading",
        "queue",
        "socket",
        "_io",
        "multiprocessing",
        "weakref",
        "_thread",
        "_weakref",
    ),
    *(
        "importlib",
        "_frozen_importlib",
        "_frozen_importlib_external",
        "tensorboard",
        "mlops_lib",
        "_queue",
    ),
    *(
        "concurrent",
        "asyncio",
        "ssl",
        "subprocess",
        "signal",
        "contextvars",
        "_contextvars",
        "tensorboardX",
    ),
)
"""Packages whose objects are left as the replayed script makes them."""
OPAQUE_MODULES = (
    "torch.utils.tensorboard",
    "torch.multiprocessing",
    "torch.profiler",
    "torch.autograd.profiler",
)
HIDDEN = {
    *(
        "__builtins__",
        "__loader__",
        "__spec__",
        "__file__",
        "__cached__",
        "__doc__",
        "__name__",
        "__package__",
    ),
    *("__annotations__", "__warningregistry__", "__path__"),
}
"""Entries of a module's namespace that no training changes."""


VALUES = {"torch generator", "numpy state", "numpy generator", "python generator", "bytes"}
"""Kinds whose content is a value, not further objects."""


def isa(item: Any, kinds: Any) -> bool:
    """Return whether an object's real type is among `kinds`.

    `isinstance` would ask the object: some answer for another class, or raise.
    """
    return issubclass(type(item), kinds)


class Project:
    """The modules and frames that are the project's, or are marked like them.

    Args:
        work: the working directory.
        files: marked files of libraries.
    """

    def __init__(self, work: str, files: "set[str]") -> None:
        self._prefixes = tuple({work.rstrip(os.sep) + os.sep, os.path.realpath(work) + os.sep})
        self._files = files

    def has_file(self, path: Any) -> bool:
        """Return whether a source belongs to the project or is marked."""
        return isinstance(path, str) and (path.startswith(self._prefixes) or path in self._files)

    def has_module(self, name: Any) -> bool:
        """Return whether a module is the project's."""
        path = getattr(sys.modules.get(name) if isinstance(name, str) else None, "__file__", None)
        return isinstance(path, str) and path.startswith(
            self._prefixes
        )  # `torch.ops` has a relative one

    def modules(self) -> List[types.ModuleType]:
        """Return the project's modules, sorted by name."""
        return [
            module
            for name, module in sorted(sys.modules.items())
            if isinstance(module, types.ModuleType) and self.has_module(name)
        ]


class Node(NamedTuple):
    """An object as it was when the graph was walked."""

    item: Any
    kind: str
    content: List[Any]
    """Its content one level deep; for a tensor or an array, everything but the numbers."""
    checksum: int
    """The checksum of a tensor's or array's numbers."""
    place: Any
    """The address and layout of a tensor's numbers."""


def names_and_values(item: Any) -> List[Tuple[str, Any]]:
    """Return an object's own attributes: those of its `__dict__` and its slots."""
    try:
        own = object.__getattribute__(item, "__dict__")
    except AttributeError:
        own = None
    attributes = list(own.items()) if isinstance(own, dict) else []
    for cls in type(item).__mro__:
        slots = cls.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if name in ("__dict__", "__weakref__"):
                continue
            if name.startswith("__") and not name.endswith("__"):
                name = f"_{cls.__name__.lstrip('_')}{name}"
            try:
                attributes.append((name, object.__getattribute__(item, name)))
            except AttributeError:
                continue
    return attributes


def class_attributes(cls: type) -> List[Tuple[str, Any]]:
    """Return the attributes of a class that a script may change."""
    passive = (types.GetSetDescriptorType, types.MemberDescriptorType, property)
    return [
        (name, value)
        for name, value in vars(cls).items()
        if not (name.startswith("__") and name.endswith("__"))
        and not isinstance(value, passive)
        and name != "_abc_impl"
    ]


def flat(pairs: Sequence[Tuple[Any, Any]]) -> List[Any]:
    """Return names and values in turn."""
    return [item for pair in pairs for item in pair]


def pairs(content: Sequence[Any]) -> List[Tuple[Any, Any]]:
    """Return the pairs that `flat` flattened."""
    return list(zip(content[::2], content[1::2]))


def is_importable(item: Any) -> bool:
    """Return whether a function or class is found under its name in its module."""
    target: Any = sys.modules.get(getattr(item, "__module__", None) or "")
    for name in item.__qualname__.split("."):
        target = getattr(target, name, None)
    return target is item


def is_same(first: Sequence[Any], second: Sequence[Any]) -> bool:
    """Return whether two contents hold the same objects, or equal plain values."""
    if len(first) != len(second):
        return False
    for a, b in zip(first, second):
        if a is not b and not (
            type(a) is type(b) and isinstance(a, (int, str, float, bytes)) and a == b
        ):
            return False
    return True


class Walker:
    """Reads the content of objects.

    Args:
        project: the project whose modules, classes and functions are followed.
        readers: further kinds of objects: class to a function that returns their kind and content.
    """

    def __init__(
        self, project: Project, readers: Dict[type, Callable[[Any], Tuple[str, List[Any]]]]
    ) -> None:
        self.project = project
        self._readers = tuple(readers.items())
        torch = sys.modules["torch"]
        numpy = sys.modules.get("numpy")
        self._torch = torch
        self._numpy = numpy
        atoms = [
            type(None),
            bool,
            int,
            float,
            complex,
            str,
            bytes,
            range,
            slice,
            type(...),
            type(NotImplemented),
        ]
        atoms += [types.CodeType, types.BuiltinFunctionType, torch.dtype, torch.device, torch.Size]
        if numpy is not None:
            atoms += [numpy.dtype, numpy.generic]
        self.atoms = tuple(atoms)
        self._frames: Tuple[type, ...] = ()

    def read(self, item: Any) -> Tuple[str, List[Any]]:
        """Return the kind and the content of an object, one level deep.

        The kind is "" if nothing of it can change, and "passage" if it only leads to other objects.
        """
        torch = self._torch
        numpy = self._numpy
        if isa(item, torch.Tensor):
            # Reading `grad` of a computed tensor warns, and `requires_grad` of it follows from its
            # inputs.
            leaf = item.is_leaf
            own = flat(names_and_values(item))
            return "tensor", [
                item.grad if leaf else None,
                item.requires_grad if leaf else None,
                *own,
            ]
        # `__reduce__` of an iterator gives its rest; the pickler stores that.
        if isa(item, ITERATORS) or isa(item, self.atoms):
            return "", []
        for cls, reader in self._readers:
            if isa(item, cls):
                return reader(item)
        if isa(item, torch.Generator):
            return "torch generator", [item.get_state()]
        if numpy is not None:
            if isa(item, numpy.ndarray):
                return "array", list(item.ravel()) if item.dtype == object else []
            if isa(item, numpy.random.RandomState):
                return "numpy state", [item.get_state()]
            if isa(item, numpy.random.Generator):
                return "numpy generator", [item.bit_generator.state]
        if isa(item, random.Random):
            return "python generator", [item.getstate()]
        return self._read_code(item) or self._read_object(item)

    def _read_code(self, item: Any) -> Optional[Tuple[str, List[Any]]]:
        """Read functions, classes, modules and their wrappers; None for other objects."""
        project = self.project
        if isa(item, types.CellType):
            try:
                return "cell", [item.cell_contents]
            except ValueError:
                return "cell", []
        if isa(item, types.FunctionType):
            # A library's function does not change in a training; a closure of a library may.
            if not project.has_module(item.__module__) and is_importable(item):
                return "", []
            own = flat(list(vars(item).items()))
            return "function", [
                item.__defaults__,
                item.__kwdefaults__,
                *(item.__closure__ or ()),
                *own,
            ]
        if isa(item, type):
            return (
                ("class", flat(class_attributes(item)))
                if project.has_module(item.__module__)
                else ("", [])
            )
        if isa(item, types.ModuleType):
            if not project.has_module(item.__name__):
                return "", []
            return "module", flat([(k, v) for k, v in vars(item).items() if k not in HIDDEN])
        if isa(item, types.MethodType):
            # A passage cannot change itself, but leads to objects that can.
            return "passage", [item.__self__, item.__func__]
        if isa(item, (staticmethod, classmethod)):
            return "passage", [item.__func__]
        if isa(item, property):
            return "passage", [item.fget, item.fset]
        if isa(item, functools.partial):
            return "passage", [item.func, item.args, item.keywords]
        if isa(item, (tuple, frozenset)):
            return "passage", list(item)
        return None

    def _read_object(self, item: Any) -> Tuple[str, List[Any]]:
        """Read containers and objects with attributes."""
        # Of weak dicts the pairs are the content; their internal dicts hold weak references.
        if isa(item, (weakref.WeakKeyDictionary, weakref.WeakValueDictionary)):
            return "weak dict", flat(list(item.items()))
        module = str(getattr(type(item), "__module__", "") or "")
        if (
            isa(item, weakref.WeakSet)
            or module.split(".")[0] in OPAQUE
            or module.startswith(OPAQUE_MODULES)
        ):
            return "", []
        plain = type(item) in (dict, list, set, collections.deque)
        # Subclasses of containers may have attributes beside their items.
        own = [] if plain else names_and_values(item)
        base: List[Any] = []
        if isa(item, dict):
            kind = "dict"
            base = flat([(k, v) for k, v in dict.items(item) if not _is_hidden(k)])
        elif isa(item, (list, collections.deque)):
            kind = "list"
            base = list(item)
        elif isa(item, set):
            kind = "set"
            base = list(item)
        elif isa(item, bytearray):
            kind = "bytes"
            base = [bytes(item)]
        elif own or _has_attributes(item):
            kind = "object"
        else:
            return "", []
        return kind, [len(base), *base, *flat(own)]


def _has_attributes(item: Any) -> bool:
    try:
        return isinstance(object.__getattribute__(item, "__dict__"), dict)
    except AttributeError:
        return False


def _is_hidden(name: Any) -> bool:
    return isinstance(name, str) and name in HIDDEN


class Table:
    """The numbered objects of one walk.

    Attributes:
        nodes: the objects in order.
        numbers: id of an object to its number.
        fingerprint: a checksum of the structure.
    """

    def __init__(self, walker: Walker, roots: Sequence[Any]) -> None:
        self.walker = walker
        self.nodes: List[Node] = []
        self.numbers: Dict[int, int] = {}
        self.fingerprint = 0
        self.last_checksums: List[int] = []
        """Of all tensors and arrays, as `changes` found them."""
        self._walk(roots)

    def _walk(self, roots: Sequence[Any]) -> None:
        walker = self.walker
        skipped = builtins.__dict__
        passages: List[Any] = []
        stack = list(reversed(roots))
        while stack:
            item = stack.pop()
            if (
                isa(item, walker.atoms)
                or id(item) in self.numbers
                or item is skipped
                or isa(item, ITERATORS)
            ):
                continue
            kind, content = walker.read(item)
            if kind == "passage":
                if not isa(item, types.MethodType):  # made anew whenever it is asked for
                    self.numbers[id(item)] = len(self.nodes)
                    self.nodes.append(Node(item, "", [], 0, None))
                passages.append(item)
                stack += reversed(content)
                continue
            if not kind:
                if isa(item, (types.ModuleType, type, types.FunctionType)):
                    continue  # by name
                self._add(Node(item, "", [], 0, None))
                continue
            if kind in ("tensor", "array"):
                self._add(Node(item, kind, content, checksum(item), place(item)))
            else:
                self._add(Node(item, kind, content, 0, None))
            if kind in VALUES:
                continue
            stack += reversed(_in_order(kind, content))

    def _add(self, node: Node) -> None:
        self.numbers[id(node.item)] = len(self.nodes)
        self.nodes.append(node)
        # Sizes are part of the fingerprint, values are not: a script may print the time or count
        # attempts.
        shape = f"{type(node.item).__qualname__} {len(node.content)}"
        if node.kind == "tensor":
            shape += f" {tuple(node.item.shape)} {node.item.dtype}"
        self.fingerprint = zlib.crc32(shape.encode(), self.fingerprint)

    def changes(self) -> "List[Tuple[int, str, List[Any]]]":
        """Return number, kind and content of the objects that changed since the walk."""
        changed = []
        checksums = self.last_checksums = []
        for number, node in enumerate(self.nodes):
            if not node.kind:
                continue
            kind, content = self.walker.read(node.item)
            if node.kind in ("tensor", "array"):
                checksums.append(checksum(node.item))
                if checksums[-1] != node.checksum or not is_same(content, node.content):
                    changed.append((number, kind, content))
            # An iterator moves without its holder changing; so its holder is stored each time.
            elif not is_same(content, node.content) or any(
                isa(value, ITERATORS) for value in content
            ):
                changed.append((number, kind, content))
        return changed

    def checksums(self) -> List[int]:
        """Return the present checksums of all tensors and arrays."""
        return [checksum(node.item) for node in self.nodes if node.kind in ("tensor", "array")]


def _in_order(kind: str, content: List[Any]) -> List[Any]:
    """Return a content in an order that does not depend on its history.

    Attributes are in the order in which they were set, which differs in an object that was
    unpickled.
    The contents of a dict or a list keep their order: a script may depend on it.
    """
    if kind == "set":
        return sorted(content, key=_order)
    if kind in ("module", "class"):
        return _by_name(content)
    if kind == "object":
        return _by_name(content[1 + content[0] :])
    return content


def _by_name(content: List[Any]) -> List[Any]:
    return flat(sorted(pairs(content), key=lambda pair: str(pair[0])))


def _order(item: Any) -> str:
    """Return a sort key for items of a set that does not depend on addresses."""
    return type(item).__qualname__ + (
        repr(item) if isinstance(item, (str, int, float, bytes, tuple)) else ""
    )


def place(item: Any) -> Any:
    """Return the address and layout of a tensor's numbers.

    None for an array, and for a tensor without a plain storage.
    """
    torch = sys.modules["torch"]
    if not isa(item, torch.Tensor) or item.layout is not torch.strided:
        return None
    try:
        return (
            item.untyped_storage().data_ptr(),
            item.storage_offset(),
            tuple(item.shape),
            item.stride(),
        )
    except (RuntimeError, NotImplementedError):
        return None


def checksum(item: Any) -> int:
    """Return a checksum of a tensor's or an array's numbers."""
    torch = sys.modules["torch"]
    if isa(item, torch.Tensor):
        item = item.detach()
        if item.layout is torch.sparse_coo:
            return zlib.crc32(_bytes(item._values()), zlib.crc32(_bytes(item._indices())))
        try:
            return zlib.crc32(_bytes(item))
        except (RuntimeError, TypeError, NotImplementedError):
            # Tensors without readable memory, such as those of a functional transform.
            return zlib.crc32(repr(item).encode())
    if item.dtype == object:
        return zlib.crc32(repr(item.shape).encode())
    numpy = sys.modules["numpy"]
    return (
        zlib.crc32(numpy.ascontiguousarray(item).reshape(-1).view(numpy.uint8).data)
        if item.size
        else 0
    )


def _bytes(tensor: Any) -> Any:
    torch = sys.modules["torch"]
    # Meta tensors have no numbers.
    if tensor.device.type == "meta" or not tensor.numel():
        return b""
    tensor = (
        # Conjugation and negation may be pending bits of a view; NumPy does not know them.
        tensor.resolve_conj().resolve_neg() if tensor.is_complex() or tensor.is_neg() else tensor
    )
    return tensor.cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data
