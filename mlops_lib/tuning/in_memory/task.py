"""The examples of an improvement, split into what trains, selects and judges."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from mlops_lib import atomic
from mlops_lib.errors import UsageError
from mlops_lib.runner import protocol

JUDGED_SHARE = 0.2
"""Share of the examples that is judged on if no validation data is given."""


def kind_of(model: Any) -> str:
    """Return "keras" or "sklearn".

    Raises:
        UsageError: the model is neither, or not compiled.
    """
    if hasattr(model, "compile") and hasattr(model, "fit"):
        if getattr(model, "optimizer", None) is None:
            raise UsageError(
                "the model is not compiled", where="improve", remedy="Call its compile() first."
            )
        return "keras"
    if hasattr(model, "fit") and hasattr(model, "get_params") and hasattr(model, "predict"):
        return "sklearn"
    raise UsageError(
        f"{type(model).__name__} cannot be improved",
        where="improve",
        remedy="Give a compiled Keras model or a scikit-learn estimator.",
    )


def read_examples(x: Any, y: Any) -> tuple[Any, Any, list[str]]:
    """Return examples and targets as arrays, with notes; batches are read into memory.

    Raises:
        UsageError: the batches never end, can be read only once, or are too large.
    """
    if y is not None or hasattr(x, "shape") or isinstance(x, (list, tuple, dict)):
        return x, y, []
    from mlops_lib.runner.search.examples import RefusedError, in_memory, length, read_once

    remedy = "Give x and y as arrays, or a finite pipeline of batches of examples and targets."
    if read_once(x):
        raise UsageError("the data can be read only once", where="improve", remedy=remedy)
    try:
        x, y, weights = in_memory(x)
    except (RefusedError, TypeError, ValueError) as error:
        raise UsageError(
            f"the data cannot be read: {error}", where="improve", remedy=remedy
        ) from None
    if y is not None and length(x) != len(y):
        raise UsageError(
            "the data does not come in batches", where="improve", remedy="Call its batch(32) first."
        )
    notes = ["the data pipeline was read into memory: what it does at random is frozen"]
    return x, y, notes if weights is None else [*notes, "the sample weights are left out"]


class Task:
    """The data, split into its parts, and the objective on it.

    Raises:
        UsageError: there are no targets, or too few examples.
    """

    def __init__(
        self, kind: str, x: Any, y: Any, validation: Any, *, metric: str, target: float, seed: int
    ) -> None:
        import numpy

        if y is None or not hasattr(x, "__len__"):
            raise UsageError(
                "there are no targets beside the examples",
                where="improve",
                remedy="Give x and y as arrays.",
            )
        self.kind = kind
        self.target = target
        self.is_apart = validation is not None
        self.is_classes = _are_classes(y)
        self.metric = metric or ("accuracy" if self.is_classes else "r2")
        self.mode: Literal["max", "min"] = (
            "max" if protocol.higher_is_better(self.metric) else "min"
        )
        if validation is not None:
            self.x, self.y, (self.judged_x, self.judged_y) = x, y, validation
            return
        order = numpy.random.default_rng(seed).permutation(len(y))
        edge = int(len(y) * JUDGED_SHARE)
        if edge < 10:
            raise UsageError(
                f"{len(y)} examples are too few",
                where="improve",
                remedy="Give validation_data as well.",
            )
        self.judged_x = pick(x, order[:edge])
        self.judged_y = pick(y, order[:edge])
        self.x = pick(x, order[edge:])
        self.y = pick(y, order[edge:])

    def measured(self, model: Any, *, changed: bool, folder: Path) -> tuple[float | None, int]:
        """Measure the model on examples that neither trained nor selected it.

        Return their number too.
        """
        x, y = self.apart(folder)
        if not self.is_apart and not changed:
            return None, 0  # the caller's own model may have seen all of them
        return self.score(model, x, y), len(y)

    def apart(self, folder: Path) -> tuple[Any, Any]:
        """Return the judged examples that this folder's search does not select on."""
        from mlops_lib.runner.metrics import example_hashes

        x = self.judged_x
        y = self.judged_y
        selected = selected_hashes(folder)
        if self.kind != "keras" or not self.is_apart or not selected:
            return x, y
        apart = [
            i
            for i, example_hash in enumerate(example_hashes.hashes(x) or [])
            if example_hash.hex() not in selected
        ]
        return (pick(x, apart), pick(y, apart)) if apart else (x, y)

    def score_of(self, model: Any) -> float | None:
        """Return the metric of the caller's model.

        None if the model may have been trained on the judged examples.
        """
        return self.score(model, self.judged_x, self.judged_y) if self.is_apart else None

    def score(self, model: Any, x: Any, y: Any) -> float:
        """Return the metric of a model on examples."""
        if self.kind == "sklearn":
            from sklearn.metrics import get_scorer

            from mlops_lib.runner.search.cross_validation import SCORERS

            name = SCORERS.get(self.metric, self.metric)
            return (-1.0 if name.startswith("neg_") else 1.0) * float(get_scorer(name)(model, x, y))
        from mlops_lib.runner.search import scores

        compute = scores.from_predictions(self.metric)
        if compute is not None:
            return compute(y, model.predict(x, verbose=0))
        logs = {
            f"val_{name}": value
            for name, value in model.evaluate(x, y, verbose=0, return_dict=True).items()
        }
        key = scores.in_logs(self.metric, logs)
        if key is None:
            names = ", ".join(name[4:] for name in logs)
            raise UsageError(
                f"the model does not measure {self.metric!r}",
                where="metric",
                remedy=f"It measures {names}.",
            )
        return float(logs[key])


def _are_classes(y: Any) -> bool:
    """Return whether targets are classes: integers, words or one-hot columns."""
    import numpy

    values = numpy.asarray(y)
    if values.ndim > 1 and values.shape[-1] > 1:
        return bool(numpy.isin(values, (0, 1)).all() and (values.sum(axis=-1) == 1).all())
    values = values.ravel()
    if values.dtype.kind in "OUSb":
        return True
    return bool((values == values.round()).all()) and len(numpy.unique(values)) <= max(
        2, min(1000, len(values) // 5)
    )


def pick(values: Any, positions: Any) -> Any:
    """Return the rows at these positions of arrays, frames and lists of them."""
    from mlops_lib.runner.search.examples import rows

    if hasattr(values, "iloc"):
        return values.iloc[list(positions)]
    is_plain = isinstance(values, list) and not hasattr(values[0], "shape")
    return [values[i] for i in positions] if is_plain else rows(values, positions)


def selected_hashes(place: Path) -> set[str]:
    """Return the hashes of the examples that the search selected on."""
    try:
        return set(atomic.read_json(place / protocol.SELECTED))
    except (OSError, ValueError, TypeError):
        return set()
