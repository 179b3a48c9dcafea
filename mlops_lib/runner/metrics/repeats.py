"""Natural repetition: equal examples on both sides of a split that are not copies.

In a table of a few coarse columns many rows are equal, and people send the same message twice. If
the training examples repeat each other as often as they are repeated in the judged set, the split
did not cause it. That would also hold for rows that were copied before the split, so in a table the
repetition has to be plausible as well: if rows are equal by chance, still more rows differ in one
column only. Copied rows of continuous measurements have no such neighbours.
"""

from typing import Any, List, Optional

from mlops_lib.runner.metrics import example_rows

MAX_VALUES = 2_000_000
"""Number of examined values; larger tables are thinned out evenly."""
MAX_COLUMNS = 300
MAX_NATURAL_SHARE = 0.3
"""Largest natural share of judged texts that repeat training texts."""
MIN_DISAGREEMENT = 0.1
"""Share of equal examples with different targets that excludes copies: a copy has its original's
target.
"""


def twin_share(keys: Any) -> float:
    """Return the share of examples that are equal to another one."""
    import numpy

    if not len(keys):
        return 0.0
    _, counts = numpy.unique(keys, return_counts=True)
    return float(counts[counts > 1].sum() / len(keys))


def is_expected(repeated: int, judged: int, twins: float, trained: int) -> bool:
    """Return whether the training examples repeat each other as often.

    That is, as often as judged examples repeat training examples.

    Args:
        repeated: number of judged examples that are equal to a training example.
        judged: number of judged examples.
        twins: share of the training examples that are equal to another one.
        trained: number of training examples.
    """
    expected = max(twins, 1.0 / max(1, trained))
    spread = (expected * (1 - expected) * (1 / judged + 1 / max(1, trained))) ** 0.5
    return bool(repeated / judged <= 1.25 * expected + 3 * spread)


class CoarseRows:
    """Training examples that differ from another one in one column only.

    Args:
        rows: the training examples.
    """

    def __init__(self, rows: example_rows.Rows) -> None:
        self.kind = rows.kind
        self.is_whole = (
            rows.numbers is not None
            and rows.numbers.shape[1] >= 20
            and rows.numbers.dtype.kind in "iu"
        )
        self._step = 1
        self._near: Any = None
        """Mask of the examined examples; None if they have no columns, or too many."""
        if rows.kind not in ("pictures", "several"):
            self._examine(rows)

    def _examine(self, rows: example_rows.Rows) -> None:
        width = _width(rows)
        if width is None or width > MAX_COLUMNS:
            return
        self._step = max(1, len(rows) * width // MAX_VALUES)
        self._near = _differ_in_one_column(_decoded(_columns(rows, self._step)))

    def explains(self, match: Any, share: float) -> bool:
        """Return whether judged examples can equal training examples without being copies.

        Args:
            match: the training examples that they are equal to.
            share: share of the judged examples that are equal to one.
        """
        if self.kind in ("pictures", "several"):
            return False
        if self._near is None:
            return self.kind != "mixed" and share <= MAX_NATURAL_SHARE
        looked_at = match[match % self._step == 0] // self._step
        if len(looked_at) and self._near[looked_at].mean() >= 0.5:
            return True
        return self.is_whole and share <= MAX_NATURAL_SHARE  # rows of word indexes


def _width(rows: example_rows.Rows) -> Optional[int]:
    if rows.kind == "sparse":
        return int(rows.source.shape[1])
    if rows.kind == "numbers":
        return int(rows.numbers.shape[1])
    return int(rows.source.shape[1]) if hasattr(rows.source, "columns") else None


def _columns(rows: example_rows.Rows, step: int) -> List[Any]:
    """Return each column of every `step`th example as small integers.

    Equal values have equal integers.
    """
    import numpy

    source = rows.source
    if rows.kind == "sparse":
        values = source.tocsr()[::step].toarray()
    elif rows.kind == "numbers":
        values = rows.numbers[::step]
    else:
        values = numpy.stack(
            [source.iloc[::step, i].astype(str) for i in range(source.shape[1])], axis=1
        )
    return [
        numpy.unique(values[:, i], return_inverse=True)[1].ravel() for i in range(values.shape[1])
    ]


def _differ_in_one_column(columns: List[Any]) -> Any:
    """Return a mask of the rows that equal a different row in all columns but one."""
    import numpy

    near: Any = numpy.zeros(len(columns[0]), dtype=bool)
    # The hash of a row is a sum over its columns: without one column's part, rows that differ in
    # that column only have equal hashes.
    fine = sum(int(column.max()) + 1 > 0.9 * len(column) for column in columns)
    if fine > 2:
        return near  # rows that are equal in such a column are equal in all
    multipliers = (
        numpy.random.RandomState(1).randint(1, 1 << 62, size=len(columns)).astype("uint64") * 2 + 1
    )
    parts = [
        column.astype("uint64") * multiplier for column, multiplier in zip(columns, multipliers)
    ]
    total = parts[0].copy()
    for part in parts[1:]:
        total += part
    _, first, back = numpy.unique(total, return_index=True, return_inverse=True)
    distinct: Any = numpy.zeros(len(first), dtype=bool)
    for part in parts:
        _, inverse, number = numpy.unique(
            (total - part)[first], return_inverse=True, return_counts=True
        )
        distinct |= number[inverse.ravel()] > 1
    near |= distinct[back.ravel()]
    return near


def _decoded(columns: List[Any]) -> List[Any]:
    """Return columns with each run of one-hot columns merged into one.

    A change of category changes two one-hot columns, so such rows would never differ in one column
    only.
    """
    import numpy

    decoded: List[Any] = []
    at = 0
    while at < len(columns):
        total: Any = numpy.zeros(len(columns[0]), dtype="int64")
        end = at
        while end < len(columns) and columns[end].max() <= 1 and (total + columns[end]).max() <= 1:
            total = total + columns[end]
            end += 1
            if total.min() == 1:
                break
        if end - at > 1 and total.min() == 1:
            decoded.append(sum(place * column for place, column in enumerate(columns[at:end])))
            at = end
        else:
            decoded.append(columns[at])
            at += 1
    return decoded
