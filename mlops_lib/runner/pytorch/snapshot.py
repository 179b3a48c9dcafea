"""What changed since a loop was entered, as one stream of bytes, and back into the objects of
another execution.

Objects that the graph has numbered are referred to by number, so that identity is kept; what is new
is stored by value. The numbers of tensors are stored once for each storage: views and tied weights
stay tied.
"""

import io
import pickle
from typing import Any, Callable, Dict, List, Tuple

from mlops_lib.runner.pytorch import graph
from mlops_lib.runner.pytorch.assignment import assign_all
from mlops_lib.runner.pytorch.graph import Table
from mlops_lib.runner.pytorch.pickling import (
    Pickler,
    Reducer,
    RefusedError,
    Unpickler,
    storage_bytes,
)


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
    pickler = Pickler(stream, table, reducers)
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
    taken: Dict[str, Any] = Unpickler(io.BytesIO(stream), table, storages).load_all()
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
    assign_all(table, changes)
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
        assign_all(table, changes)  # reading draws random numbers, and may change data sets
