"""Errors of the judged model: confusion matrix, and worst mistakes as pictures.

They are computed once, after the script has ended: the model predicts the examples of the judged
evaluation again. No number is changed, and examples that cannot be examined are skipped.
"""

import base64
import itertools
import math
import os
from typing import Any, Dict, Iterator, List, Optional, Tuple

from mlops_lib.runner import protocol
from mlops_lib.runner.state import atomic

MAX_MISTAKES = 12
MAX_EXAMPLES = 20_000
"""Number of examined examples; more take time and hardly change the result."""
MAX_CLASSES = 50
SIDE = 64
"""Pixels of the longer side of a stored picture."""
BATCH = 256


def explain(model: Any, xy: Tuple[Any, Any], record: Dict[str, Any], inside: str) -> None:
    """Add a missing confusion matrix to the evaluation; write `mistakes.json`.

    Args:
        model: the evaluated Keras model or estimator.
        xy: the examples and their targets: arrays, or a pipeline of batches and None.
        record: the evaluation; changed in place.
        inside: the folder for `mistakes.json`.
    """
    truth: List[Any] = []
    guess: List[Any] = []
    worst: List[Tuple[float, int, Any, Any]] = []
    is_complete = True
    for x, y in batches(*xy):
        targets, predicted, sure = _answers(model, x, y)
        if targets is None:
            return
        for place in (targets != predicted).nonzero()[0]:
            worst.append((float(sure[place]), len(truth) + int(place), x, int(place)))
        worst = sorted(worst, key=lambda mistake: (-mistake[0], mistake[1]))[:MAX_MISTAKES]
        truth.extend(targets.tolist())
        guess.extend(predicted.tolist())
        if len(truth) >= MAX_EXAMPLES:
            is_complete = False
            break
    if is_complete and record.get("confusion") is None:
        _tabulate(truth, guess, record)
    pictures = [_picture(*mistake, truth=truth, guess=guess) for mistake in worst]
    mistakes = [mistake for mistake in pictures if mistake is not None]
    if mistakes:
        atomic.write_json(
            os.path.join(inside, protocol.MISTAKES),
            {"schema": 1, "evaluation": record["id"], "mistakes": mistakes},
        )


def batches(x: Any, y: Any) -> Iterator[Tuple[Any, Any]]:
    """Iterate over examples with their targets, in pieces."""
    import numpy

    if y is not None:
        if isinstance(y, (dict, tuple)):
            return  # a model of several outputs
        targets = numpy.asarray(y)
        if isinstance(x, (dict, tuple)) or (isinstance(x, list) and len(x) != len(targets)):
            return  # a model of several inputs
        x = x if hasattr(x, "shape") else numpy.asarray(x)
        if not numpy.ndim(x):
            return  # XGBoost's DMatrix, or another object that is not an array
        take = getattr(x, "iloc", x)
        for start in range(0, len(targets), BATCH):
            yield take[start : start + BATCH], targets[start : start + BATCH]
        return
    batches = iter(x) if hasattr(x, "__iter__") else (x[i] for i in range(len(x)))
    # An iterator of legacy Keras never ends; its length is that of one epoch.
    for batch in (
        itertools.islice(batches, len(x))
        if hasattr(x, "__next__") and hasattr(x, "__len__")
        else batches
    ):
        if not isinstance(batch, (tuple, list)) or len(batch) < 2:
            return
        if isinstance(batch[1], (dict, tuple)):
            return
        yield batch[0], numpy.asarray(batch[1])


def _answers(model: Any, x: Any, y: Any) -> Tuple[Any, Any, Any]:
    """Return true classes, predicted classes and confidences.

    Returns:
        three times None if the values are not classes.
    """
    import numpy

    nothing = (None, None, None)
    if hasattr(model, "predict_on_batch"):
        output = numpy.asarray(model.predict_on_batch(x))
        targets = y.argmax(axis=-1) if y.ndim > 1 and y.shape[-1] > 1 else y.ravel()
        output = output.reshape(len(output), -1)
        if len(output) != len(targets) or not _are_classes(targets):
            return nothing
        if output.shape[1] > 1:
            return targets.astype(int), output.argmax(axis=1), output.max(axis=1)
        edge = 0.5 if output.min() >= 0.0 and output.max() <= 1.0 else 0.0
        return (
            targets.astype(int),
            (output[:, 0] > edge).astype(int),
            abs(output[:, 0] - edge) + 0.5,
        )
    if y.size != len(y):
        return nothing  # several answers an example
    predicted = numpy.asarray(model.predict(x)).ravel()
    targets = y.ravel()
    if predicted.shape != targets.shape or not (_are_classes(targets) and _are_classes(predicted)):
        return nothing
    sure = numpy.ones(len(predicted))
    if hasattr(model, "predict_proba"):
        sure = numpy.asarray(model.predict_proba(x)).max(axis=1)
    return targets, predicted, sure


def _are_classes(values: Any) -> bool:
    if values.dtype.kind in "biuOUS":
        return True
    return bool(values.dtype.kind == "f" and (values == values.round()).all())


def _tabulate(truth: List[Any], guess: List[Any], record: Dict[str, Any]) -> None:
    labels = sorted(set(truth) | set(guess))
    if not 2 <= len(labels) <= MAX_CLASSES:
        return
    place = {label: i for i, label in enumerate(labels)}
    table = [[0] * len(labels) for _ in labels]
    for actual, predicted in zip(truth, guess):
        table[place[actual]][place[predicted]] += 1
    record["confusion"], record["labels"] = table, [str(label) for label in labels]


def _picture(
    sure: float, index: int, x: Any, place: int, *, truth: List[Any], guess: List[Any]
) -> Optional[Dict[str, Any]]:
    """Return a mistake with its input as bytes of grey or RGB; None for other inputs."""
    image = _image(x, place)
    if image is None:
        return None
    return {
        "index": index,
        "true": str(truth[index]),
        "predicted": str(guess[index]),
        "confidence": round(sure, 4) if math.isfinite(sure) else None,
        "height": image.shape[0],
        "width": image.shape[1],
        "channels": image.shape[2],
        "pixels": base64.b64encode(image.tobytes()).decode(),
    }


def _image(x: Any, place: int) -> Any:
    import numpy

    if isinstance(x, (dict, list, tuple)):
        return None
    values = numpy.asarray(x)
    if values.dtype.kind not in "uifb" or values.dtype.itemsize > 8:
        return None
    if values.ndim == 2:
        values = _squared(values)
    if values is None or values.ndim not in (3, 4):
        return None
    values = values if values.ndim == 4 else values[..., None]
    if values.shape[3] not in (1, 3, 4) and values.shape[1] in (1, 3, 4):  # as PyTorch has them
        values = numpy.moveaxis(values, 1, 3)
    if min(values.shape[1:3]) < 8 or values.shape[3] not in (1, 3, 4):
        return None
    low, high = _range(values)
    picture = values[place][..., : 3 if values.shape[3] > 1 else 1].astype("float64")
    step = max(1, math.ceil(max(picture.shape[:2]) / SIDE))
    return (
        (255 * (picture[::step, ::step] - low) / (high - low)).clip(0, 255).round().astype("uint8")
    )


def _squared(values: Any) -> Any:
    """Return rows of pixels as pictures, or None.

    Rows contain pictures if neighbouring pixels are more alike than distant ones.
    """
    import numpy

    side = math.isqrt(values.shape[1])
    if side < 8 or side * side != values.shape[1] or len(values) < 2:
        return None
    pictures = values.reshape(-1, side, side).astype("float64")
    near = numpy.abs(numpy.diff(pictures, axis=1)).mean()
    spread = numpy.abs(
        pictures.reshape(len(values), -1) - numpy.roll(values, values.shape[1] // 2 + 3, axis=1)
    ).mean()
    return pictures if near < 0.8 * spread else None


def _range(values: Any) -> Tuple[float, float]:
    """Return the values of black and white: a usual range if the values fit it."""
    low = float(values.min())
    high = float(values.max())
    if low >= 0.0:
        for usual in (1.0, 16.0, 255.0):
            if high <= usual:
                return 0.0, usual
    return (low, high) if high > low else (low, low + 1.0)
