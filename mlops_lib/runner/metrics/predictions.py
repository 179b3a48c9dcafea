"""From a metric call back to the model: which `predict` made the argument of `accuracy_score(y,
p)`.
"""

import hashlib
import inspect
from typing import Any, Callable, Dict, FrozenSet, Iterator, List, Optional, Tuple

from mlops_lib.runner.keras.examples import read_names
from mlops_lib.runner.metrics.evaluations import Measured
from mlops_lib.runner.search.examples import rows

KEPT = 32
"""Predictions remembered; scripts rarely make more before they measure them."""
KEPT_BYTES = 1 << 29
"""… and the memory they may keep from being freed; the newest is kept whatever its size."""

Shape = Callable[[Any], Any]


def _argmax(output: Any) -> Any:
    return output.argmax(axis=-1)


def _above_half(output: Any) -> Any:
    return output > 0.5


def _rounded(output: Any) -> Any:
    return output.round()


def _as_it_is(output: Any) -> Any:
    return output


def _second_column(output: Any) -> Any:
    return output[:, 1]


DERIVED: Tuple[Shape, ...] = (_as_it_is, _argmax, _above_half, _rounded, _second_column)
"""What scripts make of a prediction before they measure it."""


class Prediction:
    """One output of `predict`, with the model and the input it came from."""

    def __init__(
        self,
        model: Any,
        method: str,
        x: Any,
        output: Any,
        fit: Optional[int],
        options: Optional[Dict[str, Any]] = None,
    ) -> None:
        self.model = model
        self.method = method
        self.x = x
        self.output = output
        self.fit = fit
        self.options = options or {}
        """What the script asked for besides, such as `num_iteration`."""
        self._digests: Optional[Dict[str, Shape]] = None

    def shape_of(self, wanted: str) -> Optional[Shape]:
        """The function that turns this output into the argument of that digest, if there is one."""
        if self._digests is None:
            self._digests = {}
            for shape in DERIVED:
                try:
                    self._digests.setdefault(digest_values(shape(self.output)), shape)
                except (TypeError, IndexError, ValueError, AttributeError):
                    continue
        return self._digests.get(wanted)

    def repeat(self, model: Any) -> Any:
        """The same prediction by another model."""
        return predict(model, self.method, self.x, **self.options)

    def measure(
        self,
        model: Any,
        y: Any,
        of: Callable[[Any, Any], float],
        *,
        without: FrozenSet[bytes],
        baseline: Callable[[Any], Optional[Dict[str, Any]]] = lambda y: None,
    ) -> Measured:
        """Measure another model by the same prediction.

        Args:
            model: the other one.
            y: the targets of all examples.
            of: the measure of targets and outputs.
            without: the examples to leave out.
            baseline: what a constant model gives on such targets.
        """
        import numpy

        names = read_names(self.x)
        output = self.repeat(model)
        if names is not None and len(names) != len(output):
            names = None
        kept = None
        if without:
            kept = [i for i, name in enumerate(names or ()) if name not in without]
            names = [names[i] for i in kept] if names else None
            output, y = numpy.asarray(output)[kept], numpy.asarray(y)[kept]
        asked = (rows(self.x, kept), y) if kept is not None and hasattr(self.x, "shape") else None
        return Measured(float(of(y, output)), names, baseline=baseline(y), xy=asked)

    @property
    def held_bytes(self) -> int:
        """Memory of the input and the output."""
        return sum(int(getattr(part, "nbytes", 0) or 0) for part in (self.x, self.output))


def predict(model: Any, method: str, x: Any, **more: Any) -> Any:
    """A model's prediction, without a progress bar."""
    quiet = (
        {"verbose": 0} if hasattr(model, "predict_on_batch") and hasattr(model, "summary") else {}
    )
    return getattr(model, method)(x, **{**quiet, **more})


def options_of(
    original: Callable[..., Any], args: Tuple[Any, ...], kwargs: Dict[str, Any]
) -> Dict[str, Any]:
    """Return the arguments of a prediction besides model and input, by their names.

    Args:
        original: the method.
        args: what it was given by place, the model first.
        kwargs: what it was given by name.
    """
    names = list(inspect.signature(original).parameters)
    given = {**dict(zip(names, args)), **kwargs}
    return {name: value for name, value in given.items() if name not in names[:2]}


def digest_values(values: Any) -> str:
    """The digest of predicted values, blind to shape (n,) or (n, 1) and to the kind of integer."""
    import numpy

    array = numpy.asarray(values).ravel()
    if array.dtype.kind in "biu" or (
        array.dtype.kind == "f" and array.size and bool((array == array.round()).all())
    ):
        array = array.astype(numpy.int64)
    content = (
        repr(array.tolist()).encode()
        if array.dtype.kind in "OUS"
        else numpy.ascontiguousarray(array).tobytes()
    )
    return hashlib.sha256(content).hexdigest()


_REMEMBERED: List[Prediction] = []
before_trace: List[Callable[[], None]] = []
"""Called before a prediction is looked for: some become known only then."""


def remember(
    *,
    model: Any,
    method: str,
    x: Any,
    output: Any,
    fit: Optional[int],
    options: Optional[Dict[str, Any]] = None,
) -> None:
    """Keep a reference to a prediction of the script; nothing is copied."""
    _REMEMBERED.append(Prediction(model, method, x, output, fit, options))
    del _REMEMBERED[:-KEPT]
    while len(_REMEMBERED) > 1 and sum(one.held_bytes for one in _REMEMBERED) > KEPT_BYTES:
        del _REMEMBERED[0]


def newest_first() -> "Iterator[Prediction]":
    """The remembered predictions."""
    return reversed(_REMEMBERED)


def trace(values: Any) -> "Optional[Tuple[Prediction, Shape]]":
    """The prediction that `values` came from, and how it was derived; the newest first."""
    for become_known in before_trace:
        become_known()
    wanted = digest_values(values)
    for prediction in reversed(_REMEMBERED):
        shape = prediction.shape_of(wanted)
        if shape is not None:
            return prediction, shape
    return None
