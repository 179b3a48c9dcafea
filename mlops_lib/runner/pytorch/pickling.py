"""Pickle and unpickle objects by identity.

An object that exists at the loop's entry is referred to by its number in the `graph.Table`; the
other execution has an object of that number. The numbers of tensors are stored once for each
storage: views and tied weights stay tied.

The reductions here go beyond `copyreg`: they keep closures, tensors with their gradients, arrays
over a tensor's memory, and objects whose own `__getstate__` drops attributes.
"""

import copyreg
import ctypes
import importlib
import io
import marshal
import pickle
import sys
import threading
import types
import weakref
from typing import Any, Callable, Dict, List, Optional, Tuple

from mlops_lib.runner.pytorch import graph, rebuild
from mlops_lib.runner.pytorch.graph import Table


class RefusedError(Exception):
    """The state holds an object that cannot be restored."""


Reducer = Callable[[Any], Any]

_NEW_OBJECT: Any = vars(copyreg)["__newobj__"]
"""`cls.__new__(cls)`, which the pickle protocol writes as one opcode (PEP 307)."""
_RLOCK = type(threading.RLock())
_LOCK = type(threading.Lock())


class Pickler(pickle.Pickler):
    """A pickler that writes references to the objects of a table.

    Args:
        stream: receives the bytes.
        table: the objects at the loop's entry.
        reducers: class to the function that reduces its objects.

    Attributes:
        storages: the device and bytes of each storage made within the loop, by its address.
    """

    def __init__(self, stream: Any, table: Table, reducers: Dict[type, Reducer]) -> None:
        super().__init__(stream, protocol=5)
        self._table = table
        self._numbers = table.numbers
        self._reducers = tuple(reducers.items())
        self._torch = sys.modules["torch"]
        self._numpy = sys.modules.get("numpy")
        self._known: Dict[int, int] = {}
        self._spans: List[Tuple[int, int, int]] = []
        # A storage has no identity in Python: `untyped_storage()` makes a new object at each call.
        # Its address names it, if the tensor still has the memory that it had at the entry.
        for number, node in enumerate(table.nodes):
            address = node.place[0] if node.kind == "tensor" and node.place else 0
            if address and address not in self._known and graph.place(node.item) == node.place:
                self._known[address] = number
                self._spans.append(
                    (address, address + node.item.untyped_storage().nbytes(), number)
                )
        self.storages: Dict[int, Tuple[str, bytes]] = {}
        self._cells: List[Any] = []
        self._cell_numbers: Dict[int, int] = {}
        # Storages are kept alive until the pickle is done: the allocator could give the address of
        # a freed one to the next, and two would look like one.
        self._alive: List[Any] = []
        self._class_dicts: Dict[type, List[Tuple[type, str, Any]]] = {}
        """The dicts that are attributes of a class or its bases."""
        self._keepable: Dict[int, bool] = {}
        """The id of a value that a `__getstate__` drops, to whether it can be pickled."""

    def dump_all(self, value: Any) -> None:
        """Pickle a value, then the contents of the closure cells that it refers to."""
        self.dump(value)
        count = 0
        while count < len(self._cells):
            try:
                content = [self._cells[count].cell_contents]
            except ValueError:
                content = []
            self.dump(content)
            count += 1

    def persistent_id(self, item: Any) -> Any:
        """Return a reference to an object that the other execution has too, else None."""
        # An id may be reused after its object died, so the object itself is compared too.
        number = self._numbers.get(id(item))
        if number is not None and self._table.nodes[number].item is item:
            return "known", number
        cls = type(item)
        # The common types by value, before the slower checks.
        if cls in (int, str, float, bool, type(None), tuple, list, dict):
            return None
        if item is sys.stdout or item is sys.__stdout__:
            return ("stdout",)
        if item is sys.stderr or item is sys.__stderr__:
            return ("stderr",)
        if issubclass(cls, self._torch.UntypedStorage):
            return self._storage_id(item)
        # Cells are numbered and their contents follow at the end (`dump_all`): a function may refer
        # to itself by a cell, which the pickle protocol cannot express in a reduction's arguments.
        if cls is types.CellType:
            if id(item) not in self._cell_numbers:
                self._cell_numbers[id(item)] = len(self._cells)
                self._cells.append(item)
            return "cell", self._cell_numbers[id(item)]
        if issubclass(cls, types.ModuleType):
            name = str(item.__name__)
            # Only a module that can be imported by its name exists in the other execution.
            if sys.modules.get(name) is not item:
                raise RefusedError(f"the module {name} was made within the loop")
            return "module", name
        return None

    def _storage_id(self, storage: Any) -> Any:
        address = storage.data_ptr()
        if storage.nbytes() and address in self._known:
            return "known storage", self._known[address]
        # All empty storages have the address 0, and are interchangeable.
        key = address if storage.nbytes() else -1
        if key not in self.storages:
            self.storages[key] = (str(storage.device), storage_bytes(storage))
            self._alive.append(storage)
        return "storage", key

    def reducer_override(self, item: Any) -> Any:
        """Reduce objects that have no reducer, or whose reducer drops a part of them."""
        torch = self._torch
        numpy = self._numpy
        cls = type(item)
        if cls is types.FunctionType:
            return NotImplemented if graph.is_importable(item) else _reduce_function(item)
        if issubclass(cls, type):
            if not graph.is_importable(item):
                raise RefusedError(f"the class {item.__qualname__} was made within the loop")
            return NotImplemented
        for kind, reducer in self._reducers:
            if issubclass(cls, kind):
                return reducer(item)
        # `Optimizer.__getstate__` drops everything but defaults, state and param_groups, and with
        # it the hooks and what a subclass has set.
        if issubclass(cls, (torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler)):
            return (
                _NEW_OBJECT,
                (cls,),
                dict(item.__dict__),
                None,
                None,
                rebuild.set_attributes,
            )
        if issubclass(cls, torch.Tensor):
            return self._reduce_tensor(item)
        if numpy is not None and cls is numpy.ndarray:
            return self._reduce_array(item)
        if issubclass(cls, torch.Generator):
            return rebuild.make_generator, (str(item.device), item.get_state())
        # A weak reference to an object that died must stay dead.
        if issubclass(cls, weakref.ref):
            target = item()
            return (rebuild.DeadReference, ()) if target is None else (weakref.ref, (target,))
        shared = self._shared_attributes(item)
        if shared is not None:
            return (
                rebuild.make_sharing,
                (cls, *shared),
                dict(vars(item)),
                None,
                None,
                rebuild.set_attributes,
            )
        if _is_plain_wrapper(cls):
            return _NEW_OBJECT, (cls,), dict(vars(item)), None, None, rebuild.set_attributes
        if _has_own_state(cls):
            return self._reduce_with_own_state(item)
        if cls is _RLOCK:
            return threading.RLock, ()
        if cls is _LOCK:
            return threading.Lock, ()
        if issubclass(cls, types.GeneratorType):
            raise RefusedError(f"the generator {item.gi_code.co_name} was read within the loop")
        return NotImplemented

    def _shared_attributes(self, item: Any) -> Optional[Tuple[Any, str]]:
        """Return the dict that an object shares as its attributes with others, else None.

        It is a dict that the graph has numbered, or an attribute of a class of the object
        (`self.__dict__ = self._shared_state`). The second item is that attribute's name, "" for a
        numbered dict.
        """
        own = _instance_dict(item)
        if own is None or isinstance(item, type):
            return None
        number = self._numbers.get(id(own))
        if number is not None and self._table.nodes[number].item is own:
            return own, ""
        cls = type(item)
        if cls not in self._class_dicts:
            self._class_dicts[cls] = [
                (base, name, value)
                for base in cls.__mro__
                for name, value in list(vars(base).items())
                if isinstance(value, dict)
            ]
        return next((entry[:2] for entry in self._class_dicts[cls] if entry[2] is own), None)

    def _reduce_with_own_state(self, item: Any) -> Any:
        """Reduce an object whose `__getstate__` drops attributes; keep those that pickle.

        Such a method makes an object fit for another process (Lightning's iterators put None in the
        place of data loaders' iterators); here the object must stay the same.
        """
        attributes = dict(vars(item))
        state = item.__getstate__()
        if not isinstance(state, dict):
            return NotImplemented
        left_out = {
            name: value
            for name, value in attributes.items()
            if (name not in state or not _is_kept(state[name], value)) and self._can_keep(value)
        }
        if not left_out:
            return NotImplemented
        full_state = (state, left_out, list(attributes))
        return _NEW_OBJECT, (type(item),), full_state, None, None, rebuild.set_own_state

    def _can_keep(self, value: Any) -> bool:
        """Return whether a value can be pickled."""
        if id(value) not in self._keepable:
            self._keepable[id(value)] = True  # met again within itself, it depends on the rest
            # A pickler that failed halfway has written half of an object; so the attempt is made
            # apart.
            trial = Pickler(io.BytesIO(), self._table, dict(self._reducers))
            trial._keepable = self._keepable
            try:
                trial.dump_all(value)
            except Exception:  # noqa: BLE001 - any object of the script's own may refuse in any way
                self._keepable[id(value)] = False
        return self._keepable[id(value)]

    def _reduce_tensor(self, item: Any) -> Any:
        torch = self._torch
        parameter = isinstance(item, torch.nn.Parameter)
        # Sparse tensors and subclasses have reductions of their own; a computed value is reduced
        # without its graph, which cannot be kept.
        if item.layout is not torch.strided or type(item) not in (
            torch.Tensor,
            torch.nn.Parameter,
            torch.nn.Buffer,
        ):
            return NotImplemented if item.is_leaf else item.detach().__reduce_ex__(2)
        plain = item.detach()
        layout = (plain.dtype, plain.storage_offset(), tuple(plain.shape), plain.stride())
        own = dict(item.__dict__)
        # The graph that computed the value is not kept: nodes of autograd cannot be pickled.
        if not item.is_leaf:
            return rebuild.make_severed, (plain.untyped_storage(), *layout)
        kind = "parameter" if parameter else "tensor"
        return rebuild.make_tensor, (
            kind,
            plain.untyped_storage(),
            *layout,
            item.requires_grad,
            item.grad,
            own,
        )

    def _reduce_array(self, item: Any) -> Any:
        """Reduce an array over a tensor's memory to a view of that tensor."""
        if item.dtype == object or not item.nbytes or min(item.strides, default=0) < 0:
            return NotImplemented
        # `tensor.numpy()` shares memory with the tensor; a copy would no longer follow its updates.
        address = item.__array_interface__["data"][0]
        for begin, end, number in self._spans:
            if begin <= address < end:
                storage = self._table.nodes[number].item.untyped_storage()
                return rebuild.make_view, (
                    storage,
                    address - begin,
                    item.shape,
                    item.strides,
                    item.dtype,
                )
        return NotImplemented


class Unpickler(pickle.Unpickler):
    """Reads what `Pickler` wrote, in an execution with an equal table."""

    def __init__(self, stream: Any, table: Table, storages: Dict[int, Tuple[str, bytes]]) -> None:
        super().__init__(stream)
        self._table = table
        self._storages = storages
        self._made: Dict[int, Any] = {}
        self._cells: List[Any] = []

    def load_all(self) -> Any:
        """Return the value that `dump_all` wrote."""
        value = self.load()
        count = 0
        while count < len(self._cells):
            content = self.load()
            if content:
                self._cells[count].cell_contents = content[0]
            count += 1
        return value

    def persistent_load(self, key: Any) -> Any:
        """Return the object that a `persistent_id` refers to."""
        kind = key[0]
        if kind == "known":
            return self._table.nodes[key[1]].item
        if kind == "cell":
            # A cell is met before its content; the empty cell is filled at the end.
            while len(self._cells) <= key[1]:
                self._cells.append(types.CellType())
            return self._cells[key[1]]
        if kind == "stdout":
            return sys.stdout
        if kind == "stderr":
            return sys.stderr
        if kind == "known storage":
            return self._table.nodes[key[1]].item.untyped_storage()
        if kind == "module":
            return importlib.import_module(key[1])
        return self._storage(key[1])

    def _storage(self, key: int) -> Any:
        if key not in self._made:
            torch = sys.modules["torch"]
            device, content = self._storages[key]
            plain = torch.empty(len(content), dtype=torch.uint8)
            if content:
                # `frombuffer` would borrow the memory of the bytes, which is read-only and freed
                # with them.
                plain.copy_(torch.frombuffer(bytearray(content), dtype=torch.uint8))
            self._made[key] = plain.to(device).untyped_storage()
        return self._made[key]


def _is_plain_wrapper(cls: type) -> bool:
    """Return whether a class computes attributes, but pickles as a plain object.

    While it is unpickled such an object (tqdm's wrapper of a stream) has no attributes yet. A
    look-up of `__setstate__` would call its `__getattr__`, which looks up the wrapped object,
    without end.
    """
    if not hasattr(cls, "__getattr__") or hasattr(cls, "__setstate__") or cls.__dictoffset__ == 0:
        return False
    # Containers and classes with arguments for `__new__` hold more than their `__dict__`.
    if issubclass(cls, (dict, list, set, tuple)) or hasattr(cls, "__getnewargs_ex__"):
        return False
    names = ("__reduce__", "__reduce_ex__", "__getstate__", "__getnewargs__")
    return all(getattr(cls, name, None) is getattr(object, name, None) for name in names)


def _instance_dict(item: Any) -> Optional[Dict[str, Any]]:
    try:
        own = object.__getattribute__(item, "__dict__")
    except AttributeError:
        return None
    return own if isinstance(own, dict) else None


def _has_own_state(cls: type) -> bool:
    """Return whether a class pickles by its own `__getstate__`, over `__dict__` alone."""
    own = getattr(cls, "__getstate__", None)
    if not isinstance(own, types.FunctionType) or cls.__dictoffset__ == 0:
        return False
    if issubclass(cls, (dict, list, set, tuple, type)) or hasattr(cls, "__getnewargs_ex__"):
        return False
    names = ("__reduce__", "__reduce_ex__", "__getnewargs__")
    return all(getattr(cls, name, None) is getattr(object, name, None) for name in names)


def _is_kept(state: Any, value: Any) -> bool:
    """Return whether an object's state holds a value of its attributes."""
    # A `__getstate__` often copies a list; the items tell whether it is the same one.
    if isinstance(state, list) and isinstance(value, list):
        return graph.is_same(state, value)
    return graph.is_same([state], [value])


def storage_bytes(storage: Any) -> bytes:
    """Return a copy of a storage's bytes."""
    if not storage.nbytes():
        return b""
    plain = storage if storage.device.type == "cpu" else storage.cpu()
    return ctypes.string_at(plain.data_ptr(), plain.nbytes())


def _reduce_function(function: types.FunctionType) -> Any:
    arguments = (
        # A lambda or a closure cannot be imported by name. Its code is written as `.pyc` files hold
        # it; the interpreter that reads it is the same, as the image has not changed.
        marshal.dumps(function.__code__),
        function.__module__,
        function.__name__,
        function.__closure__,
    )
    state = (
        function.__defaults__,
        function.__kwdefaults__,
        dict(vars(function)),
        function.__qualname__,
    )
    return rebuild.make_function, arguments, state, None, None, rebuild.set_function
