"""Values that are not finite: predictions on judged examples, and NaN in inputs.

A comparison with NaN is false, so a classifier whose outputs are NaN still has an accuracy:
`argmax` returns the first class for NaN, which is right for some examples.
"""

from typing import Any, Dict, List, Optional, Tuple

from mlops_lib.runner.metrics import misclassified, predictions

MAX_LISTED_ROWS = 10
MAX_BYTES = 1 << 30
"""Larger inputs are not scanned before a training."""


def count(model: Any, xy: Tuple[Any, Any], record: Dict[str, Any]) -> None:
    """Add to an evaluation the number of its predictions that are not finite.

    Args:
        model: the evaluated model.
        xy: the examples and their targets: arrays, or a pipeline of batches and None.
        record: the evaluation; receives `not_finite` if there are any: their count, and the first
            rows.
    """
    import numpy

    rows: List[int] = []
    total = bad_count = 0
    for x, _ in misclassified.batches(*xy):
        output = numpy.asarray(predictions.predict(model, "predict", x))
        if output.dtype.kind != "f" or not output.ndim:
            return
        bad = (~numpy.isfinite(output.reshape(len(output), -1))).any(axis=1).nonzero()[0]
        bad_count += len(bad)
        rows += (bad[: MAX_LISTED_ROWS - len(rows)] + total).tolist()
        total += len(output)
        if total >= misclassified.MAX_EXAMPLES:
            break
    if bad_count:
        record["not_finite"] = {"count": bad_count, "examples": total, "rows": rows}


def describe_missing(x: Any) -> Optional[str]:
    """Return the columns of a training input that contain NaN, or None.

    Args:
        x: a table: an array of shape (rows, columns), or a data frame.

    Returns:
        None if no value is missing or the input is not a table of numbers.

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
        is_missing = x.isna().to_numpy()
    elif isinstance(x, numpy.ndarray) and x.dtype.kind == "f" and x.nbytes <= MAX_BYTES:
        is_missing = numpy.isnan(x)
    else:
        return None
    counts = is_missing.sum(axis=0)
    columns = [f"column {names[i]} in {counts[i]} of {len(x)} rows" for i in counts.nonzero()[0]]
    more = f" and {len(columns) - 5} more columns" if len(columns) > 5 else ""
    return ", ".join(columns[:5]) + more if columns else None
