"""Trace the argument of a metric call to the `predict` call that returned it."""

import hashlib
import inspect
from typing import Any, Callable, Dict, FrozenSet, Iterator, List, Optional, Tuple

from mlops_lib.runner.keras.examples import read_names
from mlops_lib.runner.metrics.evaluations import Measured
from mlops_lib.runner.search.examples import rows

MAX_PREDICTIONS = 32
"""Number of remembered predictions; scripts rarely make more before they measure them."""
MAX_BYTES = 1 << 29
"""Memory of the remembered predictions; the newest is kept whatever its size."""

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


TRANSFORMATIONS: Tuple[Shape, ...] = (_as_it_is, _argmax, _above_half, _rounded, _second_column)
"""Transformations that scripts apply to a prediction before they measure it."""


class Prediction:
    """One output of `predict`, with its model and input."""

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
        """Further arguments of the call, such as `num_iteration`."""
        self._digests: Optional[Dict[str, Shape]] = None

    def transformation_of(self, digest: str) -> Optional[Shape]:
        """Return the function that turns this output into values of the digest, or None."""
        if self._digests is None:
            self._digests = {}
            for shape in TRANSFORMATIONS:
                try:
                    # Several transformations may give the same values: the simplest counts, which
                    # is listed first.
                    self._digests.setdefault(digest_values(shape(self.output)), shape)
                except (TypeError, IndexError, ValueError, AttributeError):
                    continue
        return self._digests.get(digest)

    def repeat(self, model: Any) -> Any:
        """Return the same prediction by another model."""
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
            model: the other model.
            y: the targets of all examples.
            of: the metric, a function of targets and outputs.
            without: hashes of the examples to leave out.
            baseline: the number of a constant model for given targets.
        """
        import numpy

        names = read_names(self.x)
        # All examples are predicted and some are dropped afterwards: the input may be of any type,
        # which need not support indexing.
        output = self.repeat(model)
        if names is not None and len(names) != len(output):
            names = None
        indexes = None
        if without:
            indexes = [i for i, name in enumerate(names or ()) if name not in without]
            names = [names[i] for i in indexes] if names else None
            output, y = numpy.asarray(output)[indexes], numpy.asarray(y)[indexes]
        xy = (
            (rows(self.x, indexes), y) if indexes is not None and hasattr(self.x, "shape") else None
        )
        return Measured(float(of(y, output)), names, baseline=baseline(y), xy=xy)

    @property
    def nbytes(self) -> int:
        """Memory of the input and the output."""
        return sum(int(getattr(part, "nbytes", 0) or 0) for part in (self.x, self.output))


def predict(model: Any, method: str, x: Any, **more: Any) -> Any:
    """Return a model's prediction, without a progress bar."""
    quiet = (
        {"verbose": 0} if hasattr(model, "predict_on_batch") and hasattr(model, "summary") else {}
    )
    return getattr(model, method)(x, **{**quiet, **more})


def options_of(
    original: Callable[..., Any], args: Tuple[Any, ...], kwargs: Dict[str, Any]
) -> Dict[str, Any]:
    """Return the arguments of a prediction by name, without model and input.

    Args:
        original: the method.
        args: its positional arguments, the model first.
        kwargs: its keyword arguments.
    """
    names = list(inspect.signature(original).parameters)
    arguments = {**dict(zip(names, args)), **kwargs}
    return {name: value for name, value in arguments.items() if name not in names[:2]}


def digest_values(values: Any) -> str:
    """Return a digest of predicted values.

    Shapes (n,) and (n, 1) and the integer types have the same digest.
    """
    import numpy

    array = numpy.asarray(values).ravel()
    if array.dtype.kind in "biu" or (
        array.dtype.kind == "f" and array.size and bool((array == array.round()).all())
    ):
        # Scripts cast predicted labels (`astype(int)`, `astype(float)`) before they measure them.
        array = array.astype(numpy.int64)
    content = (
        repr(array.tolist()).encode()
        if array.dtype.kind in "OUS"
        else numpy.ascontiguousarray(array).tobytes()
    )
    return hashlib.sha256(content).hexdigest()


_REMEMBERED: List[Prediction] = []
before_trace: List[Callable[[], None]] = []
"""Functions that are called before a prediction is searched: some are registered only then."""


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
    # Old predictions would keep large arrays alive that the script has dropped.
    del _REMEMBERED[:-MAX_PREDICTIONS]
    while len(_REMEMBERED) > 1 and sum(prediction.nbytes for prediction in _REMEMBERED) > MAX_BYTES:
        del _REMEMBERED[0]


def newest_first() -> "Iterator[Prediction]":
    """Iterate over the remembered predictions."""
    return reversed(_REMEMBERED)


def trace(values: Any) -> "Optional[Tuple[Prediction, Shape]]":
    """Return the newest prediction that `values` came from, and its transformation."""
    # Some adapters (PyTorch's) register predictions lazily.
    for become_known in before_trace:
        become_known()
    digest = digest_values(values)
    for prediction in reversed(_REMEMBERED):
        shape = prediction.transformation_of(digest)
        if shape is not None:
            return prediction, shape
    return None
