"""Hashes of examples by content, to compare trained-on with judged examples."""

import hashlib
import weakref
from typing import Any, Dict, FrozenSet, Iterable, List, Optional, Tuple

HASH = (
    "BLAKE2b, 12 bytes, of an example's values: floats as float32, the inputs of a model with"
    " several one after the other"
)
"""Definition of an example's hash, for readers of `judged.json`; `hashes` is the reference."""


class Examples:
    """A set of examples by hash; `unique` counts duplicates once."""

    def __init__(self, hashes: Iterable[bytes]) -> None:
        all_hashes = list(hashes)
        self.count = len(all_hashes)
        self.hashes: FrozenSet[bytes] = frozenset(all_hashes)

    @property
    def unique(self) -> int:
        """Number of different examples."""
        return len(self.hashes)

    @property
    def digest(self) -> str:
        """Digest of the set."""
        checksum = hashlib.sha256()
        for name in sorted(self.hashes):
            checksum.update(name)
        return checksum.hexdigest()

    def overlap(self, other: "Examples") -> float:
        """Return the share of these examples that are also in `other`."""
        return len(self.hashes & other.hashes) / len(self.hashes) if self.hashes else 0.0


SAMPLE_SIZE = 64
"""Number of examples that are hashed to detect a change of an array's content."""
_CACHE: Dict[int, Tuple[Any, bytes, Examples]] = {}


def examples(x: Any, rows: Optional[Iterable[int]] = None) -> Optional[Examples]:
    """Return the examples of an input, or None if reading would consume it.

    The input is an array, or a list or dict of arrays that are aligned by their first axis.

    Args:
        x: arrays, data frames, sparse matrices or lists.
        rows: indexes of the examples to return; None for all.
    """
    if rows is None and type(x).__name__ == "ndarray" and getattr(x, "ndim", None):
        return _cached_examples(x)
    each = hashes(x, rows)
    return None if each is None else Examples(each)


def _cached_examples(x: Any) -> Optional[Examples]:
    """Return the examples of an array, cached for scripts that fit in a loop."""
    sampled = hashes(x, range(0, len(x), max(1, len(x) // SAMPLE_SIZE)))
    sample = b"".join(sampled or ())
    cached = _CACHE.get(id(x))
    if cached is not None and cached[0]() is x and cached[1] == sample:
        return cached[2]
    each = hashes(x)
    if each is None:
        return None
    result = Examples(each)
    key = id(x)
    _CACHE[key] = (weakref.ref(x, lambda _: _CACHE.pop(key, None)), sample, result)
    return result


def hashes(x: Any, rows: Optional[Iterable[int]] = None) -> Optional[List[bytes]]:
    """Return the hash of every example, in order; see `examples`."""
    columns = _columns(x)
    if not columns or any(len(column) != len(columns[0]) for column in columns):
        return None
    indexes = range(len(columns[0])) if rows is None else rows
    return [_hash([column[i] for column in columns]) for i in indexes]


def _hash(parts: List[Any]) -> bytes:
    checksum = hashlib.blake2b(digest_size=12)
    for part in parts:
        checksum.update(part)
    return checksum.digest()


class _Rows:
    """The bytes of each example of an array, computed one by one.

    The array may occupy most of the memory, so it is not copied.
    """

    def __init__(self, array: Any) -> None:
        self._cached_examples = array
        # The same number as float32 and as float64 is the same example: scripts cast between fit
        # and evaluate.
        self._cast = array.dtype.kind == "f" and array.dtype.name != "float32"

    def __len__(self) -> int:
        return len(self._cached_examples)

    def __getitem__(self, index: int) -> bytes:
        row = self._cached_examples[index]
        return (row.astype("float32") if self._cast else row).tobytes()  # type: ignore[no-any-return]


def _columns(x: Any) -> "List[Any]":
    """Return, for each array of the input, the bytes of each example."""
    import numpy

    if isinstance(x, dict):
        return [column for key in sorted(x, key=str) for column in _columns(x[key])]
    if isinstance(x, tuple) or (
        isinstance(x, list) and x and hasattr(x[0], "shape") and getattr(x[0], "ndim", None)
    ):
        return [column for item in x for column in _columns(item)]
    if hasattr(x, "tocsr"):
        matrix = x.tocsr()
        matrix.sort_indices()
        ends = matrix.indptr
        return [
            [
                matrix.indices[a:b].tobytes() + matrix.data[a:b].tobytes()
                for a, b in zip(ends[:-1], ends[1:])
            ]
        ]
    if isinstance(x, list):
        if x and isinstance(x[0], str):
            return [[text.encode() for text in x]]
        x = numpy.asarray(x)
    if hasattr(x, "to_numpy"):
        x = x.to_numpy()
    elif hasattr(x, "numpy") and not isinstance(x, numpy.ndarray):
        x = x.numpy()
    if not isinstance(x, numpy.ndarray) or x.ndim == 0:
        return []
    if x.dtype == object:
        return [[repr(row).encode() for row in x.tolist()]]
    return [_Rows(x)]
