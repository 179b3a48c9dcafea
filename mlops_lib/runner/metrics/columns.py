"""Columns that reveal the answer: the target among the inputs, or shared groups.

A group, such as a person, that is on both sides of a split lets the model recognize judged rows.
"""

import re
import sys
from typing import Any, Iterator, List, NamedTuple, Optional, Tuple

from mlops_lib.runner.metrics import example_rows

MIN_ROWS = 30
"""With fewer rows a column may match the target by chance."""
MAX_CLASSES = 100
MAX_COLUMNS = 5000
SAMPLE = 20_000
PERSON = re.compile(
    r"(^|_)(patient|subject|person|participant|user|customer|client|speaker|student|player|driver"
    r"|rater|animal|mouse|household|family|group|session|individual|respondent|donor|case)s?"
    r"(_?(id|no|nr|num|number|code|name|key))?$",
    re.IGNORECASE,
)
IDENTIFIER = re.compile(r"^(id|uid|uuid|pid|sid)$", re.IGNORECASE)
"""Names of identifiers; with a prefix they may name anything, such as a store or a city."""
MAX_GROUP_SHARE = 0.2
"""A column does not name persons if its most frequent value has a larger share of the rows."""


class Group(NamedTuple):
    """A column that names persons or groups, with the rows of trained-on groups."""

    column: str
    rows: Any
    """Mask of the judged examples."""


def target_columns(x: Any, y: Any) -> List[str]:
    """Return the columns of a table that equal the target or map to it one-to-one.

    Args:
        x: the training input.
        y: the training target.
    """
    import numpy

    target = _labels(y)
    if target is None or len(target) < MIN_ROWS:
        return []
    names, columns = _table(x, len(target))
    # A column that is the target matches in every sample as well.
    step = max(1, len(target) // SAMPLE)
    target = target[::step]
    classes, code = numpy.unique(target, return_inverse=True)
    code = code.ravel()
    if len(classes) < 2:
        return []
    matches = []
    for name, column in zip(names, columns):
        values = column[::step]
        if len(classes) <= MAX_CLASSES:
            is_target = len(names) > 1 and _maps_one_to_one(values, code, len(classes))
        else:
            is_target = _equals(values, target)
        if is_target:
            matches.append(name)
    return matches


def _maps_one_to_one(column: Any, code: Any, classes: int) -> bool:
    """Return whether the values of this column and the classes map one-to-one."""
    import numpy

    # Most columns have too many values, and a part of them suffices to see it.
    values = numpy.unique(column[:1000])
    if len(values) > classes:
        return False
    values, place = numpy.unique(column, return_inverse=True)
    if len(values) != classes:
        return False
    return len(numpy.unique(place.ravel().astype("int64") * classes + code)) == classes


def _equals(column: Any, target: Any) -> bool:
    import numpy

    if column.dtype.kind not in "biuf" or target.dtype.kind not in "biuf":
        return False
    column, target = column.astype("float64"), target.astype("float64")
    if not (numpy.isfinite(column).all() and numpy.isfinite(target).all()):
        return False
    spread = target.std()
    return bool(
        spread > 0
        and numpy.abs(column - target).max() <= 1e-5 * spread + 1e-6 * numpy.abs(target).max()
    )


def _labels(y: Any) -> Any:
    """Return targets as one value per example, or None."""
    import numpy

    if y is None or not hasattr(y, "__len__"):
        return None
    try:
        values = numpy.asarray(y)
    except (ValueError, TypeError):
        return None
    if values.ndim == 2 and values.shape[1] > 1:
        if (
            values.dtype.kind not in "biuf"
            or not (values.sum(axis=1) == 1).all()
            or values.max() != 1
        ):
            return None
        return values.argmax(axis=1)
    if values.ndim == 0 or values.size != len(values) or values.dtype.kind not in "biufOUS":
        return None
    values = values.ravel()
    return values.astype(str) if values.dtype.kind in "OS" else values


def _table(x: Any, count: int) -> Tuple[List[str], Iterator[Any]]:
    """Return names and columns of a table with `count` rows; none for other inputs."""
    import numpy

    nothing: Tuple[List[str], Iterator[Any]] = ([], iter(()))
    if hasattr(x, "iloc") and hasattr(x, "columns"):
        if len(x) != count or x.shape[1] > MAX_COLUMNS:
            return nothing
        columns = (x.iloc[:, i].to_numpy() for i in range(x.shape[1]))
        return [str(name) for name in x.columns], (
            column.astype(str) if column.dtype.kind == "O" else column for column in columns
        )
    if hasattr(x, "tocsc"):
        if x.shape[0] != count or x.shape[1] > MAX_COLUMNS:
            return nothing
        matrix = x.tocsc()
        return _numbered(x.shape[1]), (matrix[:, i].toarray().ravel() for i in range(x.shape[1]))
    if isinstance(x, list):
        try:
            x = numpy.asarray(x)
        except ValueError:
            return nothing
    if (
        not isinstance(x, numpy.ndarray)
        or x.ndim != 2
        or len(x) != count
        or x.shape[1] > MAX_COLUMNS
    ):
        return nothing
    if x.dtype.kind not in "biuf":
        x = x.astype(str)
    return _numbered(x.shape[1]), (x[:, i] for i in range(x.shape[1]))


def _numbered(count: int) -> List[str]:
    return [f"column {i}" for i in range(count)]


def groups_on_both_sides(trained: "Frame", judged: "Frame", *, space: Any = None) -> List[Group]:
    """Return the columns whose persons or groups are on both sides of the split.

    Args:
        trained: the facts about the data frame that the model was fitted on.
        judged: the facts about the judged one.
        space: the script's variables, among which the common source table may be; by default those
            of its main module.
    """
    import numpy

    groups: List[Group] = []
    for column, trained_values, judged_values in _candidates(trained, judged, space):
        both = numpy.isin(judged_values, numpy.unique(trained_values))
        if both.any() and all(group.column != column for group in groups):
            groups.append(Group(column, both))
    return groups


def groups_by_content(trained: Any, judged: Any, width: int, *, space: Any = None) -> List[Group]:
    """Return the columns whose groups are on both sides, for arrays without labels.

    Rows are located in a table of the script by the values of its other numeric columns. One more
    of them, the target, may be absent from the arrays.

    Args:
        trained: the keys (`example_rows.number_keys`) of the rows that the model was fitted on.
        judged: the keys of the judged rows.
        width: the number of columns of both.
        space: the script's variables; by default those of its main module.
    """
    import numpy

    groups: List[Group] = []
    for frame in _tables_of(space):
        names = _group_columns(frame)
        numeric = [
            n
            for n in frame.columns
            if n not in names and getattr(frame[n], "dtype", None) is not None
        ]
        numeric = [n for n in numeric if getattr(frame[n].dtype, "kind", "O") in "biuf"]
        if not names or not width <= len(numeric) <= min(width + 1, MAX_TARGET_CANDIDATES):
            continue
        left_out = [()] if len(numeric) == width else [(name,) for name in reversed(numeric)]
        for without in left_out:
            values = frame[[n for n in numeric if n not in without]].to_numpy(dtype="float64")
            place = _row_numbers(example_rows.number_keys(values), trained, judged)
            if place is None:
                continue
            for name in names:
                column = frame[name].to_numpy()
                both = numpy.isin(column[place[1]], numpy.unique(column[place[0]]))
                if both.any() and all(group.column != name for group in groups):
                    groups.append(Group(name, both))
            break
    return groups


def _row_numbers(table: Any, trained: Any, judged: Any) -> Optional[Tuple[Any, Any]]:
    """Return the table's row numbers of both parts.

    Returns:
        None if a part contains other rows or the table has duplicates.
    """
    import numpy

    unique, first = numpy.unique(table, return_index=True)
    # With duplicate rows a key does not identify one row.
    if len(unique) < len(table):
        return None
    places = []
    for keys in (judged, trained):
        place = numpy.searchsorted(unique, keys).clip(max=len(unique) - 1)
        if not (unique[place] == keys).all():
            return None
        places.append(first[place])
    return places[1], places[0]


def _tables_of(space: Any) -> Iterator[Any]:
    if space is None:
        space = vars(sys.modules.get("__main__", sys))
    for frame in list(space.values()):
        if (
            type(frame).__name__ == "DataFrame"
            and hasattr(frame, "index")
            and hasattr(frame, "columns")
        ):
            yield frame


class Frame:
    """Stored facts about a data frame: its index, and columns that may name persons."""

    def __init__(self, frame: Any) -> None:
        self.index = frame.index
        self.columns = [str(name) for name in getattr(frame, "columns", ())]
        self.named = {name: frame[name].to_numpy().copy() for name in _group_columns(frame)}

    @classmethod
    def of(cls, x: Any) -> "Optional[Frame]":
        """Return the facts about an input, or None if it is not a data frame."""
        return cls(x) if hasattr(x, "iloc") and hasattr(x, "index") else None


MAX_SPLITS = 8
MAX_TARGET_CANDIDATES = 200
"""Number of columns that are tried as the table's target."""
_SPLITS: List[Tuple[Any, Any]] = []
"""Training and test part of each table that the script split."""


def remember_split(parts: Any) -> None:
    """Record the result of `train_test_split`: training and test part of each input."""
    pairs = [(parts[i], parts[i + 1]) for i in range(0, len(parts) - 1, 2)]
    _SPLITS.extend(
        pair for pair in pairs if hasattr(pair[0], "shape") and hasattr(pair[1], "shape")
    )
    del _SPLITS[:-MAX_SPLITS]


def split_of(trained: int, judged: int) -> Optional[Tuple[Any, Any]]:
    """Return the split whose parts have these numbers of examples, or None.

    Transformed parts (scaled, encoded) keep their numbers.
    """
    alike = [pair for pair in _SPLITS if (pair[0].shape[0], pair[1].shape[0]) == (trained, judged)]
    return next((pair for pair in alike if len(pair[0].shape) == 2), None)


def _group_columns(frame: Any) -> List[Any]:
    """Return the columns that name persons or groups.

    Their name suggests it, and most of their values have several rows.
    """
    return [
        name
        for name in getattr(frame, "columns", ())
        if isinstance(name, str)
        and (PERSON.search(name) or IDENTIFIER.search(name))
        and _has_repeated_values(frame[name])
    ]


def _has_repeated_values(column: Any) -> bool:
    if not hasattr(column, "value_counts"):  # two columns of one name
        return False
    counts = column.value_counts()
    if len(counts) < 5 or counts.iloc[0] > MAX_GROUP_SHARE * len(column):
        return False
    return bool((counts > 1).mean() >= 0.5)


def _candidates(trained: Frame, judged: Frame, space: Any) -> Iterator[Tuple[str, Any, Any]]:
    """Yield each column with its values for the fitted and the judged rows."""
    for name, values in trained.named.items():
        if name in judged.named and _is_person(name, among_inputs=True):
            yield name, values, judged.named[name]
    for frame in _tables_of(space):
        for name in _group_columns(frame):
            if name in trained.columns or not _is_source(frame, trained, judged):
                continue
            yield (
                name,
                frame[name].loc[trained.index].to_numpy(),
                frame[name].loc[judged.index].to_numpy(),
            )


def _is_person(name: str, *, among_inputs: bool) -> bool:
    """Return whether a column of this name identifies persons that must not be known.

    A recommender knows its users and has them among its inputs; a diagnosis must work for new
    patients.
    """
    match = PERSON.search(name)
    if match is None:
        return not among_inputs
    return not among_inputs or match[2].lower() not in (
        "user",
        "customer",
        "client",
        "player",
        "driver",
    )


def _is_source(frame: Any, trained: Frame, judged: Frame) -> bool:
    """Return whether both parts are rows of this table, under its own labels."""
    if not frame.index.is_unique or trained.index.equals(judged.index):
        return False
    if not (trained.index.isin(frame.index).all() and judged.index.isin(frame.index).all()):
        return False
    shared = sum(name in trained.columns for name in map(str, frame.columns))
    # A default index 0…n fits every table; common columns or the exact number of rows tell the
    # source.
    if 2 * shared < len(trained.columns) and len(trained.index) + len(judged.index) != len(frame):
        return False  # a table of other data with the same labels
    # If a label is on both sides, the rows were renumbered, and their labels identify nothing.
    return (
        len(trained.index) + len(judged.index) <= len(frame)
        and not trained.index.isin(judged.index).any()
    )
