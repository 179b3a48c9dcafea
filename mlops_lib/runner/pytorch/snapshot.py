"""Snapshots of a loop: the changes since its entry, taken and restored.

A snapshot is relative to the objects at the loop's entry (`graph.Table`). An object that existed
there is referred to by its number, so that identity survives; an object made within the loop is
stored by value. `take` writes, `read` unpickles without changing anything, and `put` assigns. The
parts are `pickling` (the stream), `rebuild` (the functions it calls) and `assignment` (the values
of objects that exist).
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
    """Return the changed objects and `more` as bytes.

    Args:
        table: the objects at the loop's entry.
        more: further values: the frame's locals, random states.
        reducers: class to the function that reduces its objects.
        readers: kind of object to the function that reads its whole content.

    Raises:
        RefusedError: an object changed that cannot be restored.
    """
    changes: List[Tuple[int, str, List[Any]]] = []
    stored: "set[int]" = set()
    for number, kind, content in table.changes():
        node = table.nodes[number]
        # A generator that the marks do not follow has no position that could be restored: CPython
        # offers no way to continue a frame in another process. One that did not move is no change.
        if kind == "generator at" and content[:1] != node.content[:1]:
            raise RefusedError(
                f"the generator {node.item.gi_code.co_name} was read within the loop"
            )
        if kind == "generator at":
            continue
        # The table notes only enough to see a change; the reader returns enough to restore it.
        content = readers[kind](node.item) if kind in readers else content
        changes.append((number, kind, _with_numbers(node, kind, content, stored)))
    stream = io.BytesIO()
    pickler = Pickler(stream, table, reducers)
    try:
        pickler.dump_all({**more, "changes": changes})
    except RefusedError:
        raise
    except Exception as error:  # any object of the script's own may be one that cannot be pickled
        raise RefusedError(f"{type(error).__name__}: {error}") from error
    return pickle.dumps((table.fingerprint, stream.getvalue(), pickler.storages), 5)


def _with_numbers(node: Any, kind: str, content: List[Any], stored: "set[int]") -> List[Any]:
    """Return the content of a changed object, with a tensor's or an array's numbers."""
    if kind == "tensor":
        # The tensor has other memory than at the entry (`data` was assigned, or it was resized): it
        # is stored by value, as a tensor of its own.
        if node.place is None or graph.place(node.item) != node.place:
            return [node.item.detach(), *content]
        storage = node.item.untyped_storage()
        address = storage.data_ptr()
        # Views of one storage share its numbers; one of them carries the bytes.
        numbers = b"" if address in stored else storage_bytes(storage)
        stored.add(address)
        return [numbers, *content]
    if kind == "array" and node.item.dtype != object:
        return [node.item.copy()]
    return content


def read(table: Table, content: bytes) -> Dict[str, Any]:
    """Return the content of a snapshot, in terms of this execution's objects.

    Raises:
        RefusedError: the script's objects have another structure.
    """
    fingerprint, stream, storages = pickle.loads(content)
    # A number names an object only as long as both executions walked the same structure.
    if fingerprint != table.fingerprint:
        raise RefusedError("the script's objects are not those of the attempt before")
    snapshot: Dict[str, Any] = Unpickler(io.BytesIO(stream), table, storages).load_all()
    return snapshot


def put(
    table: Table,
    changes: List[Any],
    writers: Dict[str, Callable[[Any, List[Any]], None]],
    pending: List[Callable[[], None]],
) -> None:
    """Give the objects the values of a snapshot.

    Args:
        table: the objects.
        changes: number, kind and content of those that changed.
        writers: kind to the function that moves such an object to its position, by reading it.
        pending: the reads that are left of objects made within the loop.
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
