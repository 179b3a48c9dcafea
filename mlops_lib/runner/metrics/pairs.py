"""Judged examples and the training examples they copy, as pictures or rows."""

import base64
import math
from typing import Any, Dict, List, Optional

from mlops_lib.runner.metrics import example_rows

MAX_VALUES = 12
"""Number of a row's columns that are included."""
MAX_CHARACTERS = 200
SIDE = 64
"""Pixels of the longer side of a stored picture."""


def pair_records(copies: Any, x: Any, *, limit: int) -> List[Dict[str, Any]]:
    """Return at most `limit` pairs of a judged and a training example, of every kind.

    Args:
        copies: the copies that were detected (`leaks.Copies`), one entry per kind.
        x: the judged input.
        limit: the largest number of pairs.
    """
    pairs = []
    each = max(1, limit // max(1, len(copies)))
    for copy in copies:
        trained = copy.training.x()
        for index, match in list(zip(copy.index.tolist(), copy.match.tolist()))[:each]:
            pair = {
                "kind": copy.kind,
                "judged": index,
                "trained": match,
                "judged_example": _example(x, index),
            }
            pair["trained_example"] = _example(trained, match) if trained is not None else None
            pairs.append(pair)
    return pairs[:limit]


def _example(x: Any, index: int) -> Optional[Dict[str, Any]]:
    """Return an example as a picture, a row of values or a text; None for others."""
    if hasattr(x, "iloc"):
        row = x.iloc[index]
        if not hasattr(row, "items") or isinstance(row, str):
            return {"text": str(row)[:MAX_CHARACTERS]}
        return {
            "row": {
                str(name)[:40]: str(value)[:40] for name, value in list(row.items())[:MAX_VALUES]
            }
        }
    if isinstance(x, list) and x and isinstance(x[0], str):
        return {"text": x[index][:MAX_CHARACTERS]}
    if hasattr(x, "numpy") and not hasattr(x, "tobytes"):
        x = x.numpy()
    if not hasattr(x, "tobytes") or not hasattr(x, "ndim"):
        return None
    if x.dtype.kind in "biuf" and x.ndim > 1 and example_rows.is_pictures(x):
        return _picture(x, index)
    if x.dtype.kind in "OUS":
        value = x[index]
        value = value.decode("utf-8", "replace") if isinstance(value, bytes) else value
        return {"text": str(value)[:MAX_CHARACTERS]}
    values = x[index].ravel()[:MAX_VALUES].tolist()
    return {"row": {str(place): f"{value:.6g}" for place, value in enumerate(values)}}


def _picture(x: Any, index: int) -> Optional[Dict[str, Any]]:
    import numpy

    picture = numpy.asarray(x[index], dtype="float64")
    if picture.ndim == 1:
        side = round(picture.size**0.5)
        picture = picture.reshape(side, side)
    if picture.ndim == 3 and example_rows.grey_shape(x.shape) == 1:
        picture = picture.transpose(1, 2, 0)
    picture = picture[..., None] if picture.ndim == 2 else picture
    picture = picture[..., : 3 if picture.shape[2] >= 3 else 1]
    picture = numpy.nan_to_num(picture)
    low, high = _range(x, picture)
    step = max(1, math.ceil(max(picture.shape[:2]) / SIDE))
    pixels = (
        (255 * (picture[::step, ::step] - low) / (high - low)).clip(0, 255).round().astype("uint8")
    )
    return {
        "height": pixels.shape[0],
        "width": pixels.shape[1],
        "channels": pixels.shape[2],
        "pixels": base64.b64encode(pixels.tobytes()).decode(),
    }


def _range(x: Any, picture: Any) -> Any:
    """Return the values of black and white: a usual range if the values fit it."""
    low = float(picture.min())
    high = float(picture.max())
    if low >= 0.0:
        for usual in (1.0, 16.0, 255.0):
            if float(x[:50].max()) <= usual:
                return 0.0, usual
    return (low, high) if high > low else (low, low + 1.0)
