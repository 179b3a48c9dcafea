"""Uniform rows of examples, whatever type their input has.

Inputs are arrays, data frames, sparse matrices, texts and nests of them. Every example has a key of
64 bits. Two examples have the same key if their values are equal. Numbers are compared with the
precision of float32, whatever type they are stored in.
"""

import hashlib
import sys
import unicodedata
from typing import Any, Iterator, List, Optional, Tuple

KEY_BLOCK = 1 << 22
"""Number of elements hashed at a time: bounds the working memory to a few dozen megabytes."""
SMALLEST_SIDE = 8
"""Pixels; smaller pictures are not recognizable."""
LARGEST_PIPELINE_BYTES = 1 << 29
"""Larger pipelines of judged examples are not read into memory."""
_SEED = 20_170_411


class Rows:
    """The examples of one input.

    Attributes:
        keys: one uint64 per example.
        loose: keys that ignore white space and case, for inputs with texts; else None.
        numbers: the numeric part as a two-dimensional array, or None.
        source: the input, from which the pictures or columns can be computed.
        kind: "pictures", "numbers", "texts", "mixed", "sparse" or "several".
    """

    def __init__(
        self, kind: str, keys: Any, *, loose: Any = None, numbers: Any = None, source: Any = None
    ) -> None:
        self.kind = kind
        self.keys = keys
        self.loose = loose
        self.numbers = numbers
        self.source = source

    def __len__(self) -> int:
        return len(self.keys)


def read(x: Any) -> Optional[Rows]:
    """Return the examples of an input, or None if reading would consume it."""
    import numpy

    x = _plain(x)
    if x is None:
        return None
    if isinstance(x, dict):
        return _combined([x[name] for name in sorted(x, key=str)])
    if isinstance(x, (list, tuple)):
        return _combined(list(x))
    if hasattr(x, "tocsr"):
        return Rows("sparse", _sparse_keys(x.tocsr()), source=x)
    if hasattr(x, "iloc"):
        return _frame(x)
    if not isinstance(x, numpy.ndarray) or x.ndim == 0 or not len(x):
        return None
    if x.dtype.kind in "OUS":
        return _objects(x.reshape(len(x), -1))
    if x.dtype.kind not in "biuf":
        return None
    keys = number_keys(x)
    if is_pictures(x):
        return Rows("pictures", keys, source=x)
    return Rows("numbers", keys, numbers=x.reshape(len(x), -1), source=x)


def _plain(x: Any) -> Any:
    """Return an input as one of the supported types, or None."""
    import numpy

    if (
        x is None
        or isinstance(x, (dict, numpy.ndarray))
        or hasattr(x, "tocsr")
        or hasattr(x, "iloc")
    ):
        return x
    if hasattr(x, "get_label"):  # XGBoost's DMatrix and LightGBM's Dataset
        try:
            return _plain(x.get_data())
        except Exception:  # noqa: BLE001 - the libraries' own errors if the data has been freed
            return None
    if isinstance(x, tuple):
        return x
    if isinstance(x, list):
        if (
            x
            and hasattr(x[0], "shape")
            and getattr(x[0], "ndim", None)
            and len({len(part) for part in x}) == 1
        ):
            first = x[0]
            # A list of examples is one array; a list of inputs has more examples than inputs.
            return x if len(first) > len(x) else numpy.asarray(x)
        return _array(x)
    if hasattr(x, "numpy") and hasattr(x, "shape"):
        return _array(x.numpy())
    return None


def _array(x: Any) -> Any:
    import numpy

    try:
        return numpy.asarray(x)
    except (ValueError, TypeError):  # examples of different lengths
        return (
            numpy.asarray([repr(item) for item in x], dtype=object) if isinstance(x, list) else None
        )


def _combined(parts: List[Any]) -> Optional[Rows]:
    read_parts = [read(part) for part in parts]
    rows = [other for other in read_parts if other is not None]
    if len(rows) != len(parts) or not rows or len({len(other) for other in rows}) != 1:
        return None
    if len(rows) == 1:
        return rows[0]
    keys = rows[0].keys
    for other in rows[1:]:
        keys = mix(keys, other.keys)
    return Rows("several", keys)


def mix(first: Any, second: Any) -> Any:
    """Return one key per example from two."""
    import numpy

    with numpy.errstate(over="ignore"):
        return (first ^ (first >> numpy.uint64(29))) * numpy.uint64(0x9E3779B97F4A7C15) + second


def _multipliers(count: int) -> Any:
    import numpy

    return numpy.random.RandomState(_SEED).randint(1, 1 << 62, size=count).astype("uint64") * 2 + 1


def number_keys(x: Any) -> Any:
    """Return a key of 64 bits for each row of numbers.

    The key is a random linear function of the bits of the row's float32 values.
    """
    import numpy

    count = len(x)
    width = max(1, int(numpy.prod(x.shape[1:], dtype="int64")))
    # A fixed seed: keys of different arrays are compared.
    multipliers = _multipliers(width)
    keys: Any = numpy.empty(count, dtype="uint64")
    step = max(1, KEY_BLOCK // width)
    with numpy.errstate(over="ignore", invalid="ignore"):
        for start in range(0, count, step):
            block = numpy.array(x[start : start + step], dtype="float32").reshape(-1, width)
            block += 0.0  # minus zero equals zero
            block[numpy.isnan(block)] = numpy.nan
            bits = block.view("uint32").astype("uint64")
            bits *= multipliers
            keys[start : start + step] = bits.sum(axis=1, dtype="uint64")
        keys ^= keys >> numpy.uint64(31)
        keys *= numpy.uint64(0xD6E8FEB86659FD93)
    return keys


def text_keys(texts: Any) -> Any:
    """Return a key of 64 bits for each text."""
    import numpy

    digests = [
        hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
        for text in texts
    ]
    return numpy.frombuffer(b"".join(digests), dtype="uint64").copy()


def normal_text(text: str) -> str:
    """Return a text without differences in white space, case and composition."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def _objects(x: Any) -> Optional[Rows]:
    """Return rows of texts, or of texts and numbers."""
    rows = [[_text(value) for value in row] for row in x.tolist()]
    keys = text_keys("\x1f".join(row) for row in rows)
    loose = text_keys("\x1f".join(normal_text(value) for value in row) for row in rows)
    return Rows("texts", keys, loose=loose)


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return value if isinstance(value, str) else repr(value)


def _frame(x: Any) -> Optional[Rows]:
    """Return the rows of a data frame or series: numeric columns and texts."""
    import numpy

    if not len(x):
        return None
    if not hasattr(x, "columns"):
        values = x.to_numpy()
        return read(values) if values.dtype.kind in "biuf" else _objects(_strings(x).reshape(-1, 1))
    numeric = [i for i in range(x.shape[1]) if getattr(x.dtypes.iloc[i], "kind", "O") in "biuf"]
    textual = [i for i in range(x.shape[1]) if i not in set(numeric)]
    numbers = x.iloc[:, numeric].to_numpy(dtype="float64", na_value=numpy.nan) if numeric else None
    if not textual:
        return (
            None
            if numbers is None
            else Rows("numbers", number_keys(numbers), numbers=numbers, source=x)
        )
    texts = _objects(numpy.stack([_strings(x.iloc[:, i]) for i in textual], axis=1))
    assert texts is not None
    if numbers is None:
        return texts
    keys = mix(number_keys(numbers), texts.keys)
    return Rows("mixed", keys, loose=texts.loose, numbers=numbers, source=x)


def _strings(column: Any) -> Any:
    import numpy

    return numpy.asarray([_text(value) for value in column.tolist()], dtype=object)


def _sparse_keys(matrix: Any) -> Any:
    import numpy

    matrix = matrix.copy()
    matrix.sum_duplicates()
    matrix.sort_indices()
    multipliers = _multipliers(matrix.shape[1])
    data = matrix.data.astype("float32") + 0.0
    with numpy.errstate(over="ignore"):
        products = data.view("uint32").astype("uint64") * multipliers[matrix.indices]
        products[data == 0] = 0
        total = numpy.concatenate(
            [numpy.zeros(1, "uint64"), numpy.cumsum(products, dtype="uint64")]
        )
        keys = total[matrix.indptr[1:]] - total[matrix.indptr[:-1]]  # wraps around as it should
        keys ^= keys >> numpy.uint64(31)
        return keys * numpy.uint64(0xD6E8FEB86659FD93)


def is_pictures(x: Any) -> bool:
    """Return whether an array contains pictures.

    Its shape is (n, height, width), with an axis of channels, or rows of square pictures.
    """
    shape = x.shape
    if len(shape) == 4:
        return grey_shape(shape) is not None
    if len(shape) == 3:
        return bool(min(shape[1:]) >= SMALLEST_SIDE)
    return len(shape) == 2 and _squared(x) is not None


def grey_shape(shape: Tuple[int, ...]) -> Optional[int]:
    """Return the axis of the channels of pictures (n, …), or None if these are none."""
    for axis in (3, 1):
        sides = [shape[i] for i in (1, 2, 3) if i != axis]
        if shape[axis] in (1, 3, 4) and min(sides) >= SMALLEST_SIDE:
            return axis
    return None


def _squared(x: Any) -> Optional[int]:
    """Return the side of the square pictures in rows of pixels, or None.

    Rows contain pictures if neighbouring pixels are more alike than distant ones.
    """
    import numpy

    side = round(x.shape[1] ** 0.5)
    if side < SMALLEST_SIDE or side * side != x.shape[1] or len(x) < 2:
        return None
    some = x[:: max(1, len(x) // 200)][:200].astype("float64").reshape(-1, side, side)
    if not numpy.isfinite(some).all():
        return None
    flat = some.reshape(len(some), -1)
    near = numpy.abs(numpy.diff(some, axis=1)).mean() + numpy.abs(numpy.diff(some, axis=2)).mean()
    spread = 2 * numpy.abs(flat - numpy.roll(flat, flat.shape[1] // 2 + 3, axis=1)).mean()
    return side if near < 0.8 * spread else None


def grey(x: Any) -> Any:
    """Return pictures as float32 (n, height, width)."""
    import numpy

    if x.ndim == 2:
        side = round(x.shape[1] ** 0.5)
        x = x.reshape(-1, side, side)
    if x.ndim == 4:
        axis = grey_shape(x.shape)
        # Not `mean`: of uint8 it makes float64, of float16 it loses precision.
        return numpy.add.reduce(x, axis=axis, dtype="float32")
    return x.astype("float32")


def length(x: Any) -> int:
    """Return the number of examples of an input; 0 if it is unknown."""
    shape = getattr(x, "shape", None)
    if shape:
        return int(shape[0] or 0)
    return len(x) if hasattr(x, "__len__") else 0


MAX_FILES = 20_000
THUMBNAIL = 32


def is_pipeline(x: Any) -> bool:
    """Return whether an input yields batches and can be read again.

    Examples are `tf.data`, a `PyDataset` and an image generator.
    """
    return hasattr(x, "cardinality") or (
        hasattr(x, "__getitem__") and hasattr(x, "__len__") and hasattr(x, "on_epoch_end")
    )


def of_files(x: Any) -> Optional[Rows]:
    """Return the pictures in the files that a pipeline reads; None if it names none.

    An image generator rotates, crops and mirrors at random, while the model was trained on the
    files' content. The pictures become small and grey, which suffices for finding copies.
    """
    import numpy

    paths = getattr(x, "filepaths", None) or getattr(x, "file_paths", None)
    pillow = sys.modules.get("PIL.Image")
    if (
        not isinstance(paths, (list, tuple))
        or not paths
        or pillow is None
        or len(paths) > MAX_FILES
    ):
        return None
    pictures: Any = numpy.empty((len(paths), THUMBNAIL, THUMBNAIL), dtype="uint8")
    for i, path in enumerate(paths):
        try:
            with pillow.open(path) as picture:
                # JPEG is decoded at reduced size, which is much faster.
                picture.draft("L", (2 * THUMBNAIL, 2 * THUMBNAIL))
                pictures[i] = picture.convert("L").resize((THUMBNAIL, THUMBNAIL), pillow.BOX)
        except (OSError, ValueError):
            return None
    return Rows("pictures", number_keys(pictures), source=pictures)


def batches(x: Any) -> Iterator[Tuple[Any, Any]]:
    """Yield inputs and targets of a finite pipeline once.

    An endless pipeline, or one that cannot be read again, yields nothing.
    """
    if hasattr(x, "cardinality") and int(x.cardinality()) == -1:
        return
    if hasattr(x, "num_batches") and x.num_batches is None:
        return
    indexed = hasattr(x, "__getitem__") and hasattr(x, "__len__")
    if hasattr(x, "__next__") and not indexed:
        return
    for batch in (x[i] for i in range(len(x))) if indexed else iter(x):
        if not isinstance(batch, (tuple, list)) or len(batch) < 2:
            return
        yield batch[0], batch[1]


def in_memory(x: Any) -> Optional[Tuple[Any, Any]]:
    """Return a pipeline's inputs and targets as arrays.

    Returns:
        None if it is endless, too large or has several inputs or targets.
    """
    import numpy

    inputs: List[Any] = []
    targets: List[Any] = []
    size = 0
    for inputs_, target in batches(x):
        if isinstance(inputs_, (dict, tuple, list)) or isinstance(target, (dict, tuple, list)):
            return None
        inputs.append(numpy.asarray(inputs_))
        targets.append(numpy.asarray(target))
        size += inputs[-1].nbytes
        if size > LARGEST_PIPELINE_BYTES:
            return None
    if not inputs or not inputs[0].ndim:
        return None
    return numpy.concatenate(inputs), numpy.concatenate(targets)
