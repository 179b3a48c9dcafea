"""Stored examples: the examples behind a number, in files that contain no code.

    inside/examples/examples.json  for each evaluation of the saved model: its recipe and examples,
                                   or why there are none
    inside/examples/<n>.npz        arrays, readable with allow_pickle=False

Arrays, sparse matrices, data frames, texts, tensors, XGBoost's DMatrix and lists or dicts of these
are stored as the model received them. A pipeline is read once more, batch by batch.
"""

import itertools
import os
from typing import Any, Dict, Iterator, List, Tuple

from mlops_lib.runner import protocol
from mlops_lib.runner.context import Context
from mlops_lib.runner.journal import plain
from mlops_lib.runner.metrics import recipes
from mlops_lib.runner.metrics.recipes import Examples, Recipe
from mlops_lib.runner.state import atomic

LIMIT_BYTES = 256 << 20
"""Size of all stored examples together."""
MAX_EVALUATIONS = 4
"""Number of evaluations with stored examples: the judged one first, then the last ones."""
NOTE_LENGTH = 300


class UnstorableError(Exception):
    """The examples cannot be stored; the message is the reason."""


class Arrays:
    """Arrays for an `.npz` file, with a limit on their size in bytes."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.bytes = 0
        self.arrays_by_key: Dict[str, Any] = {}

    def add(self, array: Any) -> str:
        """Add an array; return its key."""
        self.bytes += int(array.nbytes)
        if self.bytes > self.limit:
            raise UnstorableError(f"the examples take more than {LIMIT_BYTES >> 20} MB")
        key = f"a{len(self.arrays_by_key)}"
        self.arrays_by_key[key] = array
        return key


def store(run: Context) -> None:
    """Store the examples of the saved model's evaluations."""
    import numpy

    evaluations = run.evaluations
    subject = evaluations.judged_record()
    measured = [r for r in reversed(evaluations.records) if r["recomputed"] is not None]
    # The sort is stable: the judged evaluation first, then the newest.
    records = sorted(measured, key=lambda r: subject is None or r["id"] != subject["id"])
    folder = os.path.join(run.spec.inside, protocol.EXAMPLES)
    os.makedirs(folder, exist_ok=True)
    bytes_left = LIMIT_BYTES
    entries = []
    names: Dict[Tuple[int, int, int], Dict[str, Any]] = {}
    for record in records:
        entry: Dict[str, Any] = {"evaluation": record["id"], "note": ""}
        entries.append(entry)
        stored = evaluations.recipes.get(record["id"])
        if stored is None or len(entries) > MAX_EVALUATIONS:
            entry["note"] = (
                "the computation of this number cannot be serialized"
                if stored is None
                else "measured earlier"
            )
            continue
        recipe, examples = stored
        entry["recipe"] = plain(recipes.to_json(recipe))
        key = (id(examples.x), id(examples.y), id(examples.weight))
        try:
            if key not in names:
                arrays = Arrays(bytes_left)
                with evaluations.original_conditions(record["id"]):
                    tree, count = describe(materialize(examples, record["examples"]), arrays)
                name = f"{len(names)}.npz"
                with open(os.path.join(folder, name), "wb") as stream:
                    numpy.savez(stream, **arrays.arrays_by_key)
                names[key] = {"file": name, "tree": tree, "count": count}
                bytes_left -= arrays.bytes
            entry["examples"] = names[key]
        except Exception as error:  # noqa: BLE001 - a script's own pipeline may raise anything
            entry["note"] = f"{error if isinstance(error, UnstorableError) else repr(error)}"[
                :NOTE_LENGTH
            ]
    atomic.write_json(
        os.path.join(folder, protocol.EXAMPLES_INDEX), {"schema": 1, "measures": entries}
    )


def store_training_hashes(run: Context) -> None:
    """Write the hashes of the examples that the saved model was trained on.

    A later run needs them if the model is its champion.
    """
    live = run.evaluations.live
    own = [
        training.examples
        for training in run.evaluations.trainings
        if training.model() is live and training.examples is not None
    ]
    names = sorted({name for examples in own for name in examples.hashes})
    content = b"".join(names)
    if names and len(content) <= protocol.TRAINED_ON_BYTES:
        atomic.write_atomic(os.path.join(run.spec.inside, protocol.TRAINED_ON), content)


def materialize(examples: Examples, count: Any = None) -> Examples:
    """Return examples with an order: a pipeline's batches joined, others unchanged.

    Args:
        examples: the examples of a number.
        count: their number, if known.

    Raises:
        UnstorableError: the pipeline is endless, too large, or yields another number of examples
            than before.
    """
    if examples.y is not None or not _is_pipeline(examples.x):
        return examples
    batches: List[Any] = []
    size = 0
    for batch in _batches(examples.x):
        if not isinstance(batch, (tuple, list)) or len(batch) not in (2, 3):
            raise UnstorableError("the pipeline yields no pairs of input and target")
        batches.append(tuple(_arrays(part) for part in batch))
        size += sum(int(leaf.nbytes) for leaf in _leaves(batches[-1]))
        if size > LIMIT_BYTES:
            raise UnstorableError(f"the examples take more than {LIMIT_BYTES >> 20} MB")
    if not batches:
        raise UnstorableError("the pipeline is empty when it is read again")
    parts = tuple(_concatenate([batch[i] for batch in batches]) for i in range(len(batches[0])))
    length = len(next(_leaves(parts[1])))
    if isinstance(count, int) and count != length:
        raise UnstorableError(
            f"the pipeline yields {length} examples when it is read again, not {count}"
        )
    return Examples(parts[0], parts[1], parts[2] if len(parts) > 2 else None)


def _is_pipeline(x: Any) -> bool:
    is_data_set = hasattr(x, "cardinality") or hasattr(x, "on_epoch_end")
    return is_data_set or hasattr(x, "__next__") or hasattr(x, "unbatch")


def _batches(x: Any) -> Iterator[Any]:
    if hasattr(x, "cardinality"):
        if int(x.cardinality()) == -1:
            raise UnstorableError("the pipeline does not end")
        return iter(x)
    if not hasattr(x, "__len__"):
        raise UnstorableError("the pipeline can be read only once")
    # An iterator of legacy Keras never ends; its length is that of one epoch.
    return (
        (x[i] for i in range(len(x))) if hasattr(x, "__getitem__") else itertools.islice(x, len(x))
    )


def _arrays(part: Any) -> Any:
    import numpy

    if isinstance(part, dict):
        return {key: _arrays(value) for key, value in part.items()}
    if isinstance(part, (list, tuple)):
        return [_arrays(value) for value in part]
    if hasattr(part, "to_tensor") or hasattr(part, "sparse_shape") or hasattr(part, "dense_shape"):
        raise UnstorableError("ragged or sparse tensors cannot be stored")
    return numpy.asarray(part)


def _leaves(part: Any) -> Iterator[Any]:
    if isinstance(part, dict):
        for value in part.values():
            yield from _leaves(value)
    elif isinstance(part, (list, tuple)):
        for value in part:
            yield from _leaves(value)
    else:
        yield part


def _concatenate(parts: List[Any]) -> Any:
    import numpy

    if isinstance(parts[0], dict):
        return {key: _concatenate([part[key] for part in parts]) for key in parts[0]}
    if isinstance(parts[0], list):
        return [_concatenate([part[i] for part in parts]) for i in range(len(parts[0]))]
    if any(part.shape[1:] != parts[0].shape[1:] for part in parts):
        raise UnstorableError("the pipeline's batches have examples of different shapes")
    return numpy.concatenate(parts)


def describe(examples: Examples, arrays: Arrays) -> Tuple[Dict[str, Any], int]:
    """Add the arrays of examples to `arrays`.

    Returns:
        the rest as plain values, and the number of examples.

    Raises:
        UnstorableError: they contain something that is neither numbers nor texts.
    """
    import numpy

    tree = {name: _tree(getattr(examples, name), arrays) for name in Examples._fields}
    countable = examples.y if examples.y is not None else examples.x
    first = (
        next(_leaves(countable))
        if isinstance(countable, (dict, list, tuple)) and len(countable)
        else countable
    )
    is_list = isinstance(countable, list) and not hasattr(first, "shape")
    return tree, len(countable) if is_list else int(numpy.shape(first)[0])


def _tree(value: Any, arrays: Arrays) -> Any:
    import numpy

    if value is None:
        return {"kind": "none"}
    if isinstance(value, dict):
        names = [_name(key) for key in value]
        return {
            "kind": "dict",
            "names": names,
            "items": [_tree(item, arrays) for item in value.values()],
        }
    if (
        isinstance(value, (list, tuple))
        and len(value)
        and hasattr(value[0], "shape")
        and numpy.ndim(value[0])
    ):
        return {"kind": "list", "items": [_tree(item, arrays) for item in value]}
    if isinstance(value, (list, tuple)):
        array = (
            numpy.asarray(value)
            if not all(isinstance(item, str) for item in value)
            else numpy.array(value, object)
        )
        return {"kind": "plain list", "item": _tree(array, arrays)}
    if hasattr(value, "iloc"):
        return _pandas(value, arrays)
    if hasattr(value, "tocsr"):
        matrix = value.tocsr()
        keys = [arrays.add(part) for part in (matrix.data, matrix.indices, matrix.indptr)]
        return {"kind": "csr", "keys": keys, "shape": list(matrix.shape)}
    if hasattr(value, "get_data") and hasattr(value, "feature_types"):  # XGBoost's DMatrix
        names = value.feature_names
        types = value.feature_types
        return {
            "kind": "dmatrix",
            "item": _tree(value.get_data(), arrays),
            "names": names,
            "types": types,
        }
    if hasattr(value, "numpy") and not isinstance(value, numpy.ndarray):
        return {"kind": "tensor", "item": _tree(numpy.asarray(value.numpy()), arrays)}
    if not isinstance(value, numpy.ndarray):
        raise UnstorableError(f"a {type(value).__name__} cannot be stored")
    return (
        _texts(value, arrays)
        if value.dtype.kind == "O"
        else {"kind": "array", "key": arrays.add(value)}
    )


def _pandas(value: Any, arrays: Arrays) -> Dict[str, Any]:
    import numpy

    if hasattr(value, "columns"):
        columns = [_tree(value.iloc[:, i], arrays) for i in range(value.shape[1])]
        return {"kind": "frame", "names": [_name(name) for name in value.columns], "items": columns}
    description = {
        "kind": "series",
        "name": None if value.name is None else _name(value.name),
        "dtype": str(value.dtype),
    }
    if hasattr(value, "cat"):
        codes = numpy.asarray(value.cat.codes)
        categories = _tree(numpy.asarray(value.cat.categories), arrays)
        return {
            **description,
            "codes": arrays.add(codes),
            "categories": categories,
            "ordered": bool(value.cat.ordered),
        }
    return {**description, "item": _tree(numpy.asarray(value), arrays)}


def _name(key: Any) -> Any:
    if not isinstance(key, (str, int)):
        raise UnstorableError(f"a column named {key!r} cannot be stored"[:100])
    return key


def _texts(values: Any, arrays: Arrays) -> Dict[str, Any]:
    """Store texts as their bytes, joined; missing ones are marked."""
    import numpy

    flat = values.ravel().tolist()
    is_bytes = bool(flat) and all(isinstance(value, bytes) for value in flat)
    missing = [value is None or (isinstance(value, float) and value != value) for value in flat]
    if not is_bytes and not all(
        isinstance(value, str) or is_missing for value, is_missing in zip(flat, missing)
    ):
        if all(isinstance(value, (int, float)) for value in flat):
            numbers = [float(value) for value in flat]
            return {
                "kind": "objects",
                "item": _tree(numpy.array(numbers).reshape(values.shape), arrays),
            }
        raise UnstorableError("an array of objects other than texts cannot be stored")
    encoded = [
        b"" if is_missing else value if is_bytes else value.encode()
        for value, is_missing in zip(flat, missing)
    ]
    ends = numpy.cumsum([len(value) for value in encoded], dtype="int64")
    content = numpy.frombuffer(b"".join(encoded), dtype="uint8")
    keys = [arrays.add(part) for part in (content, ends, numpy.array(missing, dtype=bool))]
    none = any(value is None for value in flat)
    return {
        "kind": "texts",
        "keys": keys,
        "shape": list(values.shape),
        "bytes": is_bytes,
        "none": none,
    }


def restore(tree: Any, arrays: Any) -> Examples:
    """Return the examples that `describe` described.

    Args:
        tree: its plain values.
        arrays: by key, an `.npz` opened with allow_pickle=False.

    Raises:
        ValueError, KeyError: they are malformed.
    """
    return Examples(**{name: _restore_value(tree[name], arrays) for name in Examples._fields})


def _restore_value(tree: Any, arrays: Any) -> Any:
    kind = tree["kind"]
    if kind == "none":
        return None
    if kind == "array":
        return arrays[tree["key"]]
    if kind == "dict":
        return dict(zip(tree["names"], (_restore_value(item, arrays) for item in tree["items"])))
    if kind == "list":
        return [_restore_value(item, arrays) for item in tree["items"]]
    if kind == "plain list":
        return _restore_value(tree["item"], arrays).tolist()
    if kind == "texts":
        return _restore_texts(tree, arrays)
    if kind == "objects":
        return _restore_value(tree["item"], arrays).astype(object)
    return _RESTORERS[kind](tree, arrays)


def _restore_texts(tree: Any, arrays: Any) -> Any:
    import numpy

    content, ends, missing = (arrays[key] for key in tree["keys"])
    joined = content.tobytes()
    begins = [0, *ends.tolist()]
    parts = (joined[a:b] for a, b in zip(begins, begins[1:]))
    none_value = None if tree["none"] else float("nan")
    values = [
        none_value if m else p if tree["bytes"] else p.decode()
        for p, m in zip(parts, missing.tolist())
    ]
    array: Any = numpy.empty(len(values), dtype=object)
    array[:] = values
    return array.reshape(tree["shape"])


def _restore_csr(tree: Any, arrays: Any) -> Any:
    from scipy.sparse import csr_matrix

    return csr_matrix(tuple(arrays[key] for key in tree["keys"]), shape=tuple(tree["shape"]))


def _restore_dmatrix(tree: Any, arrays: Any) -> Any:
    import xgboost

    data = _restore_value(tree["item"], arrays)
    return xgboost.DMatrix(data, feature_names=tree["names"], feature_types=tree["types"])


def _restore_tensor(tree: Any, arrays: Any) -> Any:
    import tensorflow

    return tensorflow.constant(_restore_value(tree["item"], arrays))


def _restore_series(tree: Any, arrays: Any) -> Any:
    import pandas

    if "codes" in tree:
        categories = _restore_value(tree["categories"], arrays)
        categorical = pandas.Categorical.from_codes(
            arrays[tree["codes"]], categories=categories, ordered=tree["ordered"]
        )
        return pandas.Series(categorical, name=tree["name"])
    return pandas.Series(_restore_value(tree["item"], arrays), name=tree["name"]).astype(
        tree["dtype"]
    )


def _restore_frame(tree: Any, arrays: Any) -> Any:
    import pandas

    columns = [_restore_value(item, arrays) for item in tree["items"]]
    frame = pandas.concat(columns, axis=1) if columns else pandas.DataFrame()
    frame.columns = pandas.Index(tree["names"])
    return frame


_RESTORERS = {
    "csr": _restore_csr,
    "dmatrix": _restore_dmatrix,
    "tensor": _restore_tensor,
    "series": _restore_series,
    "frame": _restore_frame,
}


def read(folder: str, entry: Dict[str, Any]) -> Tuple[Recipe, Examples]:
    """Return the recipe and the examples of an entry of the index.

    Raises:
        OSError, ValueError, KeyError: a file is missing or malformed.
    """
    import numpy

    recipe = recipes.from_json(entry["recipe"])
    with numpy.load(os.path.join(folder, entry["examples"]["file"]), allow_pickle=False) as arrays:
        return recipe, restore(entry["examples"]["tree"], arrays)
