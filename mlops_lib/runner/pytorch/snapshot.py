"""What changed since a loop was entered, as one stream of bytes, and back into the objects of
another execution.

Objects that the graph has numbered are referred to by number, so that identity is kept; what is new
is stored by value. The numbers of tensors are stored once for each storage: views and tied weights
stay tied.
"""

import collections
import copyreg
import ctypes
import functools
import importlib
import io
import marshal
import pickle
import sys
import threading
import types
import weakref
from typing import Any, Callable, Dict, List, Optional, Tuple

from mlops_lib.runner.pytorch import graph
from mlops_lib.runner.pytorch.graph import Table, isa


class RefusedError(Exception):
    """The state holds something that cannot be brought back."""


class SeveredError(RuntimeError):
    """A gradient is asked for through a value that was kept without the computation that made it."""


Reducer = Callable[[Any], Any]


class _Pickler(pickle.Pickler):
    """Pickles with identity: see the module."""

    def __init__(self, stream: Any, table: Table, reducers: Dict[type, Reducer]) -> None:
        super().__init__(stream, protocol=5)
        self._table = table
        self._numbers = table.numbers
        self._reducers = tuple(reducers.items())
        self._torch = sys.modules["torch"]
        self._numpy = sys.modules.get("numpy")
        self._known: Dict[int, int] = {}
        self._spans: List[Tuple[int, int, int]] = []
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
        self._alive: List[Any] = []
        self._class_dicts: Dict[type, List[Tuple[type, str, Any]]] = {}
        """The dicts that a class holds by a name."""
        self._keepable: Dict[int, bool] = {}
        """id of a value that a `__getstate__` leaves out to whether it can be pickled."""

    def dump_all(self, value: Any) -> None:
        """Pickle a value, then the contents of the closure cells that it refers to."""
        self.dump(value)
        done = 0
        while done < len(self._cells):
            try:
                content = [self._cells[done].cell_contents]
            except ValueError:
                content = []
            self.dump(content)
            done += 1

    def persistent_id(self, item: Any) -> Any:
        """Refer to what exists in the other execution too."""
        number = self._numbers.get(id(item))
        if number is not None and self._table.nodes[number].item is item:
            return "known", number
        cls = type(item)
        if cls in (int, str, float, bool, type(None), tuple, list, dict):
            return None
        if item is sys.stdout or item is sys.__stdout__:
            return ("stdout",)
        if item is sys.stderr or item is sys.__stderr__:
            return ("stderr",)
        if issubclass(cls, self._torch.UntypedStorage):
            return self._storage_id(item)
        if cls is types.CellType:
            if id(item) not in self._cell_numbers:
                self._cell_numbers[id(item)] = len(self._cells)
                self._cells.append(item)
            return "cell", self._cell_numbers[id(item)]
        if issubclass(cls, types.ModuleType):
            name = str(item.__name__)
            if sys.modules.get(name) is not item:
                raise RefusedError(f"the module {name} was made within the loop")
            return "module", name
        return None

    def _storage_id(self, storage: Any) -> Any:
        address = storage.data_ptr()
        if storage.nbytes() and address in self._known:
            return "known storage", self._known[address]
        key = address if storage.nbytes() else -1
        if key not in self.storages:
            self.storages[key] = (str(storage.device), storage_bytes(storage))
            self._alive.append(storage)
        return "storage", key

    def reducer_override(self, item: Any) -> Any:
        """Reduce what has no reducer of its own, or one that drops something."""
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
        if issubclass(cls, (torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler)):
            return copyreg.__newobj__, (cls,), dict(item.__dict__), None, None, _set_attributes  # type: ignore[attr-defined]
        if issubclass(cls, torch.Tensor):
            return self._reduce_tensor(item)
        if numpy is not None and cls is numpy.ndarray:
            return self._reduce_array(item)
        if issubclass(cls, torch.Generator):
            return _make_generator, (str(item.device), item.get_state())
        if issubclass(cls, weakref.ref):
            target = item()
            return (_DeadReference, ()) if target is None else (weakref.ref, (target,))
        shared = self._shared_attributes(item)
        if shared is not None:
            return _make_sharing, (cls, *shared), dict(vars(item)), None, None, _set_attributes
        if _is_plain_wrapper(cls):
            return copyreg.__newobj__, (cls,), dict(vars(item)), None, None, _set_attributes  # type: ignore[attr-defined]
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
        """Return what holds the attributes that an object shares with others, None if it does not.

        They are a dict that the graph has numbered, or one that a class of the object holds by a
        name (`self.__dict__ = self._shared_state`).
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
        return next((found[:2] for found in self._class_dicts[cls] if found[2] is own), None)

    def _reduce_with_own_state(self, item: Any) -> Any:
        """Reduce an object whose `__getstate__` leaves something out: what of it can be kept is kept.

        Such a method makes an object fit for another process (Lightning's iterators put None in the
        place of data loaders' iterators); here the object has to be what it was.
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
        made = (state, left_out, list(attributes))
        return copyreg.__newobj__, (type(item),), made, None, None, _set_own_state  # type: ignore[attr-defined]

    def _can_keep(self, value: Any) -> bool:
        """Return whether a value can be pickled."""
        if id(value) not in self._keepable:
            self._keepable[id(value)] = True  # met again within itself, it depends on the rest
            trial = _Pickler(io.BytesIO(), self._table, dict(self._reducers))
            trial._keepable = self._keepable
            try:
                trial.dump_all(value)
            except Exception:  # noqa: BLE001 - any object of the script's own may refuse in any way
                self._keepable[id(value)] = False
        return self._keepable[id(value)]

    def _reduce_tensor(self, item: Any) -> Any:
        torch = self._torch
        parameter = isinstance(item, torch.nn.Parameter)
        if item.layout is not torch.strided or type(item) not in (
            torch.Tensor,
            torch.nn.Parameter,
            torch.nn.Buffer,
        ):
            return NotImplemented if item.is_leaf else item.detach().__reduce_ex__(2)
        plain = item.detach()
        layout = (plain.dtype, plain.storage_offset(), tuple(plain.shape), plain.stride())
        own = dict(item.__dict__)
        if not item.is_leaf:
            return _make_severed, (plain.untyped_storage(), *layout)
        kind = "parameter" if parameter else "tensor"
        return _make_tensor, (
            kind,
            plain.untyped_storage(),
            *layout,
            item.requires_grad,
            item.grad,
            own,
        )

    def _reduce_array(self, item: Any) -> Any:
        """An array over a tensor's numbers stays one."""
        if item.dtype == object or not item.nbytes or min(item.strides, default=0) < 0:
            return NotImplemented
        address = item.__array_interface__["data"][0]
        for begin, end, number in self._spans:
            if begin <= address < end:
                storage = self._table.nodes[number].item.untyped_storage()
                return _make_view, (storage, address - begin, item.shape, item.strides, item.dtype)
        return NotImplemented


def _is_plain_wrapper(cls: type) -> bool:
    """Return whether a class answers for attributes that it does not have, and pickles as any other.

    Asked for `__setstate__` before it has attributes (tqdm's wrapper of a stream), it would look for
    what it wraps without end.
    """
    if not hasattr(cls, "__getattr__") or hasattr(cls, "__setstate__") or cls.__dictoffset__ == 0:
        return False
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


def _make_sharing(cls: Any, holder: Any, name: str) -> Any:
    item = object.__new__(cls)
    object.__setattr__(item, "__dict__", getattr(holder, name) if name else holder)
    return item


def _has_own_state(cls: type) -> bool:
    """Return whether a class pickles by a `__getstate__` of its own, over `__dict__` alone."""
    own = getattr(cls, "__getstate__", None)
    if not isinstance(own, types.FunctionType) or cls.__dictoffset__ == 0:
        return False
    if issubclass(cls, (dict, list, set, tuple, type)) or hasattr(cls, "__getnewargs_ex__"):
        return False
    names = ("__reduce__", "__reduce_ex__", "__getnewargs__")
    return all(getattr(cls, name, None) is getattr(object, name, None) for name in names)


def _is_kept(state: Any, value: Any) -> bool:
    """Return whether the state of an object holds a value of its attributes."""
    if isinstance(state, list) and isinstance(value, list):
        return graph.is_same(state, value)
    return graph.is_same([state], [value])


def _set_own_state(item: Any, made: Tuple[Dict[str, Any], Dict[str, Any], List[str]]) -> None:
    state, left_out, names = made
    if hasattr(type(item), "__setstate__"):
        item.__setstate__(state)
    else:
        item.__dict__.update(state)
    item.__dict__.update(left_out)
    attributes = dict(item.__dict__)
    item.__dict__.clear()
    for name in (*(one for one in names if one in attributes), *attributes):
        item.__dict__[name] = attributes[name]


_RLOCK = type(threading.RLock())
_LOCK = type(threading.Lock())


def storage_bytes(storage: Any) -> bytes:
    """A copy of what a storage holds."""
    if not storage.nbytes():
        return b""
    plain = storage if storage.device.type == "cpu" else storage.cpu()
    return ctypes.string_at(plain.data_ptr(), plain.nbytes())


def _reduce_function(function: types.FunctionType) -> Any:
    made = (
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
    return _make_function, made, state, None, None, _set_function


def _make_function(code: bytes, module: str, name: str, closure: Any) -> types.FunctionType:
    return types.FunctionType(marshal.loads(code), vars(sys.modules[module]), name, None, closure)


def _set_function(function: Any, state: Any) -> None:
    function.__defaults__, function.__kwdefaults__, attributes, function.__qualname__ = state
    vars(function).update(attributes)
    function.__module__ = function.__globals__["__name__"]


def _set_attributes(item: Any, state: Dict[str, Any]) -> None:
    item.__dict__.update(state)


class _DeadReference:
    """A weak reference whose object was gone."""

    def __call__(self) -> None:
        return None


def _over(storage: Any, dtype: Any, offset: int, shape: Any, stride: Any) -> Any:
    torch = sys.modules["torch"]
    tensor = torch.empty(0, dtype=dtype, device=storage.device)
    return tensor.set_(storage, offset, shape, stride)


def _make_tensor(
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


def _make_severed(storage: Any, dtype: Any, offset: int, shape: Any, stride: Any) -> Any:
    """A value that some computation made; a gradient through it is an error rather than a wrong
    number.
    """
    torch = sys.modules["torch"]
    tensor = _over(storage, dtype, offset, shape, stride)
    if not (tensor.is_floating_point() or tensor.is_complex()):
        return tensor
    with torch.enable_grad():
        return _severed_function().apply(tensor.requires_grad_(True))


@functools.lru_cache(maxsize=None)
def _severed_function() -> Any:
    torch = sys.modules["torch"]

    class Severed(torch.autograd.Function):  # type: ignore[name-defined, misc]
        """Passes a value on, and refuses to differentiate it."""

        @staticmethod
        def forward(context: Any, value: Any) -> Any:
            return value.view_as(value)

        @staticmethod
        def backward(context: Any, *gradients: Any) -> Any:
            raise SeveredError("a value from before the checkpoint is differentiated after it")

    return Severed


def _make_generator(device: str, state: Any) -> Any:
    generator = sys.modules["torch"].Generator(device)
    generator.set_state(state)
    return generator


def _make_view(storage: Any, offset: int, shape: Any, strides: Any, dtype: Any) -> Any:
    torch = sys.modules["torch"]
    numpy = sys.modules["numpy"]
    tensor = torch.empty(0, dtype=torch.uint8).set_(storage)
    return numpy.ndarray(shape, dtype, buffer=tensor.numpy(), offset=offset, strides=strides)


class _Unpickler(pickle.Unpickler):
    def __init__(self, stream: Any, table: Table, storages: Dict[int, Tuple[str, bytes]]) -> None:
        super().__init__(stream)
        self._table = table
        self._storages = storages
        self._made: Dict[int, Any] = {}
        self._cells: List[Any] = []

    def load_all(self) -> Any:
        """What `dump_all` wrote."""
        value = self.load()
        done = 0
        while done < len(self._cells):
            content = self.load()
            if content:
                self._cells[done].cell_contents = content[0]
            done += 1
        return value

    def persistent_load(self, key: Any) -> Any:
        """The object that `persistent_id` referred to."""
        kind = key[0]
        if kind == "known":
            return self._table.nodes[key[1]].item
        if kind == "cell":
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
                plain.copy_(torch.frombuffer(bytearray(content), dtype=torch.uint8))
            self._made[key] = plain.to(device).untyped_storage()
        return self._made[key]


def take(
    table: Table,
    more: Dict[str, Any],
    reducers: Dict[type, Reducer],
    readers: Dict[str, Callable[[Any], List[Any]]],
) -> bytes:
    """The changed objects and `more` as bytes.

    Args:
        table: the objects at the loop's entry.
        more: further values: the frame's locals, random states.
        reducers: class to what reduces its objects.
        readers: kind of object to what reads its whole content.

    Raises:
        RefusedError: something changed that cannot be brought back.
    """
    changes: List[Tuple[int, str, List[Any]]] = []
    written: "set[int]" = set()
    for number, kind, content in table.changes():
        node = table.nodes[number]
        if kind == "generator at" and content[:1] != node.content[:1]:
            raise RefusedError(
                f"the generator {node.item.gi_code.co_name} was read within the loop"
            )
        if kind == "generator at":
            continue
        content = readers[kind](node.item) if kind in readers else content
        changes.append((number, kind, _with_numbers(node, kind, content, written)))
    stream = io.BytesIO()
    pickler = _Pickler(stream, table, reducers)
    try:
        pickler.dump_all({**more, "changes": changes})
    except RefusedError:
        raise
    except Exception as error:  # any object of the script's own may be one that cannot be pickled
        raise RefusedError(f"{type(error).__name__}: {error}") from error
    return pickle.dumps((table.fingerprint, stream.getvalue(), pickler.storages), 5)


def _with_numbers(node: Any, kind: str, content: List[Any], written: "set[int]") -> List[Any]:
    """The content of a changed object, with the numbers of a tensor or an array."""
    if kind == "tensor":
        if node.place is None or graph.place(node.item) != node.place:
            return [node.item.detach(), *content]
        storage = node.item.untyped_storage()
        address = storage.data_ptr()
        numbers = b"" if address in written else storage_bytes(storage)
        written.add(address)
        return [numbers, *content]
    if kind == "array" and node.item.dtype != object:
        return [node.item.copy()]
    return content


def read(table: Table, content: bytes) -> Dict[str, Any]:
    """What `take` took, in terms of this execution's objects.

    Raises:
        RefusedError: the structure is another one.
    """
    fingerprint, stream, storages = pickle.loads(content)
    if fingerprint != table.fingerprint:
        raise RefusedError("the script's objects are not those of the attempt before")
    taken: Dict[str, Any] = _Unpickler(io.BytesIO(stream), table, storages).load_all()
    return taken


def put(
    table: Table,
    changes: List[Any],
    writers: Dict[str, Callable[[Any, List[Any]], None]],
    pending: List[Callable[[], None]],
) -> None:
    """Give the objects what they held.

    Args:
        table: the objects.
        changes: those that changed.
        writers: kind to what brings it to its place, by reading it.
        pending: what is still to be read, of the objects that are new.
    """
    _put_values(table, changes)
    reading = [
        (table.nodes[number].item, kind, content)
        for number, kind, content in changes
        if kind in writers
    ]
    for item, kind, content in reading:
        writers[kind](item, content)
    for fill in pending:
        fill()
    if reading or pending:
        _put_values(table, changes)  # reading draws random numbers, and may change data sets


def _put_values(table: Table, changes: List[Any]) -> None:
    for number, kind, content in changes:
        if kind in _PUT:
            _PUT[kind](table.nodes[number].item, content)


def _put_tensor(item: Any, content: List[Any]) -> None:
    torch = sys.modules["torch"]
    new, grad, requires, *own = content
    with torch.no_grad():
        if isinstance(new, bytes):
            if new:
                storage = item.untyped_storage()
                if storage.device.type == "cpu":
                    ctypes.memmove(storage.data_ptr(), new, len(new))
                else:
                    plain = torch.frombuffer(bytearray(new), dtype=torch.uint8)
                    storage.copy_(plain.untyped_storage())
        else:
            item.data = new
    if requires is not None and item.is_leaf:
        if item.requires_grad != requires:
            item.requires_grad_(requires)
        item.grad = grad
    item.__dict__.clear()
    item.__dict__.update(graph.pairs(own))


def _put_array(item: Any, content: List[Any]) -> None:
    if item.dtype == object:
        item.ravel()[:] = content
    elif item.flags.writeable:
        item[...] = content[0]


def _put_cell(item: Any, content: List[Any]) -> None:
    if content:
        item.cell_contents = content[0]


def _put_function(item: Any, content: List[Any]) -> None:
    item.__defaults__, item.__kwdefaults__ = content[:2]
    vars(item).clear()
    vars(item).update(graph.pairs(content[2 + len(item.__closure__ or ()) :]))


def _put_class(item: Any, content: List[Any]) -> None:
    before = dict(graph.class_attributes(item))
    for name, value in graph.pairs(content):
        if name not in before or before[name] is not value:
            setattr(item, name, value)


def _put_module(item: Any, content: List[Any]) -> None:
    names = vars(item)
    wanted = dict(graph.pairs(content))
    for name in [name for name in names if name not in graph.HIDDEN and name not in wanted]:
        del names[name]
    names.update(wanted)


def _put_weak(item: Any, content: List[Any]) -> None:
    item.clear()
    for key, value in graph.pairs(content):
        item[key] = value


def _put_dict(item: Any, content: List[Any]) -> None:
    base, own = _split(content)
    cls: Any = collections.OrderedDict if isa(item, collections.OrderedDict) else dict
    hidden = [
        (key, value)
        for key, value in dict.items(item)
        if isinstance(key, str) and key in graph.HIDDEN
    ]
    cls.clear(item)
    for key, value in [*hidden, *graph.pairs(base)]:
        cls.__setitem__(item, key, value)
    _put_own(item, own)


def _put_list(item: Any, content: List[Any]) -> None:
    base, own = _split(content)
    item.clear()
    item.extend(base)
    _put_own(item, own)


def _put_set(item: Any, content: List[Any]) -> None:
    base, own = _split(content)
    item.clear()
    item.update(base)
    _put_own(item, own)


def _put_bytes(item: Any, content: List[Any]) -> None:
    item[:] = _split(content)[0][0]


def _put_object(item: Any, content: List[Any]) -> None:
    _put_own(item, _split(content)[1], removing=True)


def _split(content: List[Any]) -> Tuple[List[Any], List[Tuple[Any, Any]]]:
    length = content[0]
    return content[1 : 1 + length], graph.pairs(content[1 + length :])


def _put_own(item: Any, own: List[Tuple[str, Any]], *, removing: bool = False) -> None:
    """Set an object's own attributes, by no method of its own."""
    if not own and not removing:
        return
    wanted = dict(own)
    for name, _ in graph.names_and_values(item):
        if name not in wanted:
            try:
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
    private = f"_{cls.__name__.lstrip('_')}"
    return [private + n if n.startswith("__") and not n.endswith("__") else n for n in names]


_PUT: Dict[str, Callable[[Any, List[Any]], None]] = {
    "tensor": _put_tensor,
    "array": _put_array,
    "torch generator": lambda item, content: item.set_state(content[0]),
    "numpy state": lambda item, content: item.set_state(content[0]),
    "numpy generator": lambda item, content: setattr(item.bit_generator, "state", content[0]),
    "python generator": lambda item, content: item.setstate(content[0]),
    "cell": _put_cell,
    "function": _put_function,
    "class": _put_class,
    "module": _put_module,
    "weak dict": _put_weak,
    "dict": _put_dict,
    "list": _put_list,
    "set": _put_set,
    "bytes": _put_bytes,
    "object": _put_object,
}
