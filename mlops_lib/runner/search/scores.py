"""The score of a trial: the judged metric on the selection examples."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Callable, Dict, Mapping, Optional, Sequence

from mlops_lib.runner import protocol
from mlops_lib.runner.search.examples import classes

if TYPE_CHECKING:
    from mlops_lib.runner.search.request import SearchRequest


def in_logs(metric: str, logs: Mapping[str, Any]) -> Optional[str]:
    """Return the key of `logs` with the metric's validation value, or None."""
    names = {name[4:]: name for name in logs if name.startswith("val_")}
    metric_name = protocol.find_metric(metric, list(names))
    return None if metric_name is None else names[metric_name]


def margin(
    metric: str, target: float, examples: int, errors: float = 1.0, rejections: int = 0
) -> float:
    """Return the margin over the bar that a score has to have.

    The gate judges on other examples. The margin is 0 if the metric's spread is not known.

    Args:
        metric: the judged metric.
        target: its bar.
        examples: the number of selection examples.
        errors: the margin in standard errors.
        rejections: the number of winners that cleared the bar here and were rejected by the gate;
            each adds one standard error.
    """
    error = standard_error(metric, target, examples)
    if not error:
        return 0.0
    reachable = (1.0 - target) * (1.0 - 0.5 ** (1 + rejections))  # of a bar near 1
    return min((errors + rejections) * error, reachable)


def standard_error(metric: str, value: float, examples: int) -> float:
    """Return the standard error of a proportion, or 0 for metrics of unknown spread.

    Args:
        metric: the judged metric.
        value: its true value.
        examples: the number of examples that it is measured on.

    Example:
        >>> round(standard_error("accuracy", 0.8, 400), 3)
        0.02
        >>> standard_error("mae", 0.8, 400)
        0.0
    """
    if not protocol.is_proportion(metric) or not 0.0 < value < 1.0 or examples < 1:
        return 0.0
    return math.sqrt(value * (1.0 - value) / examples)


def error_of_score(metric: str, score: float, examples: int) -> float:
    """Return the standard error of a measured proportion, or 0 for other metrics.

    Two more successes and two more failures are counted, so that a perfect score on few examples
    has an error too (Agresti and Coull 1998).

    Example:
        >>> round(error_of_score("accuracy", 1.0, 43), 3)
        0.029
    """
    return standard_error(metric, (score * examples + 2.0) / (examples + 4.0), examples + 4)


def bar(request: SearchRequest, examples: int, errors: float = 1.0) -> float:
    """Return the score to reach: the target and a margin of `errors` standard errors.

    The margin is there because the gate judges on other examples. Scores of winners that the gate
    has rejected must be beaten too; their number widens the margin, and nothing else of the gate's
    examples reaches the search.

    Args:
        request: the search.
        examples: the number of selection examples.
        errors: the margin in standard errors.
    """
    sign = 1.0 if request.mode == "max" else -1.0
    safety = margin(request.metric, request.target, examples, errors, len(request.rejected))
    # A score that the gate has rejected once is rejected again, so it must be exceeded.
    to_beat = [sign * score + 1e-9 for score in request.rejected]
    return sign * max([sign * request.target + safety, *to_beat])


def gain_in_words(
    number: int,
    parent: int,
    *,
    score: float,
    before: float,
    request: SearchRequest,
    examples: Optional[int],
    trials: Sequence[Mapping[str, Any]],
) -> str:
    """Describe a trial's score beside that of the trial it builds on.

    A trial "brought" something only if the gain is larger than chance explains, given how many
    trials were compared.
    """
    gain = protocol.gain(
        score,
        before,
        metric=request.metric,
        mode=request.mode,
        examples=examples,
        trials=trials,
    )
    if gain.is_clear:
        return f"trial {number} brought {gain.words()} over trial {parent}"
    return (
        f"trial {number} scored {score:.3f}, trial {parent} {before:.3f}"
        f" ({gain.words()}: no clear difference)"
    )


def from_predictions(metric: str) -> Optional[Callable[[Any, Any], float]]:
    """Return a function of (targets, output) that computes a metric, or None.

    It serves metrics that scripts compute themselves.
    """
    return _MEASURES.get(protocol.metric_name(metric))


def _labels(y: Any, output: Any) -> Any:
    import numpy

    guess = numpy.asarray(output)
    truth = classes(y)
    if truth is None:
        raise ValueError("the targets are no classes")
    if guess.ndim > 1 and guess.shape[-1] > 1:
        return truth, guess.reshape(len(guess), -1).argmax(axis=-1)
    edge = 0.5 if guess.min() >= 0.0 and guess.max() <= 1.0 else 0.0
    return truth, (guess.reshape(len(guess)) > edge).astype("int64")


def _accuracy(y: Any, output: Any) -> float:
    truth, guess = _labels(y, output)
    return float((truth == guess).mean())


def _by_class(y: Any, output: Any) -> Any:
    """Return true positives, members and guesses of each class."""
    import numpy

    truth, guess = _labels(y, output)
    return [
        (
            int(((truth == label) & (guess == label)).sum()),
            int((truth == label).sum()),
            int((guess == label).sum()),
        )
        for label in numpy.unique(truth)
    ]


def _average(y: Any, output: Any, of: Callable[[int, int, int], float]) -> float:
    counts = _by_class(y, output)
    if len(counts) == 2:  # as scikit-learn: the positive class alone
        return float(of(*counts[1]))
    return float(sum(of(*class_counts) for class_counts in counts) / max(len(counts), 1))


def _balanced(y: Any, output: Any) -> float:
    counts = _by_class(y, output)
    return float(sum(hits / members for hits, members, _ in counts) / max(len(counts), 1))


def _difference(y: Any, output: Any) -> Any:
    import numpy

    guess = numpy.asarray(output, dtype="float64")
    return guess - numpy.asarray(y, dtype="float64").reshape(guess.shape)


def _r2(y: Any, output: Any) -> float:
    import numpy

    truth = numpy.asarray(y, dtype="float64")
    return 1.0 - float((_difference(y, output) ** 2).sum()) / max(
        float(((truth - truth.mean(axis=0)) ** 2).sum()), 1e-12
    )


def _f1(hits: int, members: int, guesses: int) -> float:
    return 2.0 * hits / max(members + guesses, 1)


_MEASURES: Dict[str, Callable[[Any, Any], float]] = {
    "accuracy": _accuracy,
    "balanced_accuracy": _balanced,
    "f1": lambda y, o: _average(y, o, _f1),
    "precision": lambda y, o: _average(y, o, lambda hits, members, guesses: hits / max(guesses, 1)),
    "recall": lambda y, o: _average(y, o, lambda hits, members, guesses: hits / max(members, 1)),
    "mae": lambda y, o: float(abs(_difference(y, o)).mean()),
    "mse": lambda y, o: float((_difference(y, o) ** 2).mean()),
    "rmse": lambda y, o: math.sqrt(float((_difference(y, o) ** 2).mean())),
    "r2": _r2,
}
