"""Judged examples beside the training examples they are copies of, as pictures or rows to look at."""

import base64
import math
from typing import Any, Dict, List, Optional

VALUES = 12
"""Columns of a row that are shown."""
CHARACTERS = 200
SIDE = 64
"""Pixels of the longer side of a stored picture."""


def shown(copies: Any, x: Any, *, limit: int) -> List[Dict[str, Any]]:
    """Return at most `limit` pairs of a judged and a training example, some of every kind.

    Args:
        copies: what the radar found, `leaks.Copies` of every kind.
        x: the judged input.
        limit: how many.
    """
    pairs = []
    each = max(1, limit // max(1, len(copies)))
    for one in copies:
        trained = one.training.x()
        for index, match in list(zip(one.index.tolist(), one.match.tolist()))[:each]:
            pair = {
                "kind": one.kind,
                "judged": index,
                "trained": match,
                "judged_example": _example(x, index),
            }
            pair["trained_example"] = _example(trained, match) if trained is not None else None
            pairs.append(pair)
    return pairs[:limit]


def _example(x: Any, index: int) -> Optional[Dict[str, Any]]:
    """Return one example as a picture, a row of values or a text; None if it is none of them."""
    from mlops_lib.runner.metrics import example_rows

    if hasattr(x, "iloc"):
        row = x.iloc[index]
        if not hasattr(row, "items") or isinstance(row, str):
            return {"text": str(row)[:CHARACTERS]}
        return {
            "row": {str(name)[:40]: str(value)[:40] for name, value in list(row.items())[:VALUES]}
        }
    if isinstance(x, list) and x and isinstance(x[0], str):
        return {"text": x[index][:CHARACTERS]}
    if hasattr(x, "numpy") and not hasattr(x, "tobytes"):
        x = x.numpy()
    if not hasattr(x, "tobytes") or not hasattr(x, "ndim"):
        return None
    if x.dtype.kind in "biuf" and x.ndim > 1 and example_rows.is_pictures(x):
        return _picture(x, index)
    if x.dtype.kind in "OUS":
        value = x[index]
        value = value.decode("utf-8", "replace") if isinstance(value, bytes) else value
        return {"text": str(value)[:CHARACTERS]}
    values = x[index].ravel()[:VALUES].tolist()
    return {"row": {str(place): f"{value:.6g}" for place, value in enumerate(values)}}


def _picture(x: Any, index: int) -> Optional[Dict[str, Any]]:
    import numpy

    from mlops_lib.runner.metrics import example_rows

    one = numpy.asarray(x[index], dtype="float64")
    if one.ndim == 1:
        side = round(one.size**0.5)
        one = one.reshape(side, side)
    if one.ndim == 3 and example_rows.grey_shape(x.shape) == 1:
        one = one.transpose(1, 2, 0)
    one = one[..., None] if one.ndim == 2 else one
    one = one[..., : 3 if one.shape[2] >= 3 else 1]
    one = numpy.nan_to_num(one)
    low, high = _range(x, one)
    step = max(1, math.ceil(max(one.shape[:2]) / SIDE))
    pixels = (255 * (one[::step, ::step] - low) / (high - low)).clip(0, 255).round().astype("uint8")
    return {
        "height": pixels.shape[0],
        "width": pixels.shape[1],
        "channels": pixels.shape[2],
        "pixels": base64.b64encode(pixels.tobytes()).decode(),
    }


def _range(x: Any, one: Any) -> Any:
    """Return what is black and what is white: the usual ranges if the values fit them."""
    low = float(one.min())
    high = float(one.max())
    if low >= 0.0:
        for usual in (1.0, 16.0, 255.0):
            if float(x[:50].max()) <= usual:
                return 0.0, usual
    return (low, high) if high > low else (low, low + 1.0)
