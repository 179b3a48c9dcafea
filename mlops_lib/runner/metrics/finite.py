"""Numbers that are none: predictions of the judged examples that are not finite, and inputs that
hold NaN.

A comparison with NaN is false, so a classifier whose outputs are NaN still gets an accuracy: the
class that `argmax` takes for NaN, the first, is right for some examples.
"""

from typing import Any, Dict, List, Optional, Tuple

from mlops_lib.runner.metrics import misclassified, predictions

ROWS_NAMED = 10
MOST_BYTES = 1 << 30
"""Inputs larger than this are not looked through before a training."""


def count(model: Any, asked: Tuple[Any, Any], record: Dict[str, Any]) -> None:
    """Add to an evaluation how many of its predictions are not finite.

    Args:
        model: what was evaluated.
        asked: the examples and their targets: arrays, or a pipeline of batches and None.
        record: the evaluation; gets `not_finite` if there are any: their count, and the first rows.
    """
    import numpy

    rows: List[int] = []
    total = found = 0
    for x, _ in misclassified.batches(*asked):
        output = numpy.asarray(predictions.predict(model, "predict", x))
        if output.dtype.kind != "f" or not output.ndim:
            return
        bad = (~numpy.isfinite(output.reshape(len(output), -1))).any(axis=1).nonzero()[0]
        found += len(bad)
        rows += (bad[: ROWS_NAMED - len(rows)] + total).tolist()
        total += len(output)
        if total >= misclassified.EXAMPLES:
            break
    if found:
        record["not_finite"] = {"count": found, "examples": total, "rows": rows}


def describe_missing(x: Any) -> Optional[str]:
    """Return which columns of training inputs hold NaN, None if none does or they are no table of
    numbers.

    Args:
        x: a table: an array of shape (rows, columns), or a data frame.

    Example:
        >>> import numpy
        >>> describe_missing(numpy.array([[1.0, 2.0], [3.0, float("nan")]]))
        'column 1 in 1 of 2 rows'
    """
    import numpy

    if getattr(x, "ndim", 0) != 2:
        return None
    names = [str(name) for name in getattr(x, "columns", range(x.shape[1]))]
    if hasattr(x, "isna"):
        missing = x.isna().to_numpy()
    elif isinstance(x, numpy.ndarray) and x.dtype.kind == "f" and x.nbytes <= MOST_BYTES:
        missing = numpy.isnan(x)
    else:
        return None
    counts = missing.sum(axis=0)
    columns = [f"column {names[i]} in {counts[i]} of {len(x)} rows" for i in counts.nonzero()[0]]
    more = f" and {len(columns) - 5} more columns" if len(columns) > 5 else ""
    return ", ".join(columns[:5]) + more if columns else None
