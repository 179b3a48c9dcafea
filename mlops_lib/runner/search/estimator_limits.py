"""Estimate whether the data, and not the estimator, limits the score.

A learning curve over examples shows the gain from further examples. Confident learning counts the
labels that contradict their inputs (Northcutt, Jiang and Chuang 2021).
"""

from typing import Any, List, NamedTuple, Optional

from mlops_lib.runner.search.cross_validation import FIRST_HEAT, CrossValidation

SHARES = (0.25, 0.5)
FEWEST = 200
"""With fewer examples, the scores of parts of them are too noisy."""
CONFIDENT = 0.5
"""A label is doubted only if the probability of another class is larger than this."""
MOST_DOUBLINGS = 10
LEAST_RATIO = 0.3
MOST_RATIO = 0.9
"""Upper bound of a doubling's gain relative to the doubling before; `LEAST_RATIO` is the lower one.
"""


class Curve(NamedTuple):
    """Signed scores with a quarter, a half and all of the training examples of a fold."""

    scores: List[float]
    error: float
    """The standard error of the last difference."""
    examples: int
    """The number of examples that were trained on for the last score."""

    @property
    def last_gain(self) -> float:
        """Return the gain of the last doubling."""
        return self.scores[-1] - self.scores[-2]

    @property
    def is_flat(self) -> bool:
        """Return whether chance explains the gain of the last doubling."""
        return self.last_gain <= self.error

    def needed(self, target: float) -> Optional[int]:
        """Return the number of examples that may reach the target, or None.

        The gain of each doubling is taken as a constant share of the gain before, as in a power
        law.
        """
        if self.is_flat:
            return None
        # A power law: the ratio of two gains is that of all later ones.
        before = self.scores[-2] - self.scores[-3]
        ratio = self.last_gain / before if before > 0 else MOST_RATIO
        ratio = min(max(ratio, LEAST_RATIO), MOST_RATIO)
        score = self.scores[-1]
        gain = self.last_gain
        for doublings in range(1, MOST_DOUBLINGS + 1):
            gain *= ratio
            score += gain
            if score >= target:
                return self.examples << doublings
        return None


def learning_curve(folds: CrossValidation, estimator: Any, sign: float) -> Optional[Curve]:
    """Return the learning curve on the first folds, or None for too few examples.

    Args:
        folds: the folds of the search.
        estimator: the unfitted estimator.
        sign: 1 if a larger score is better, else -1.
    """
    import numpy

    count = min(len(train) for train, _ in folds.splits)
    if count < FEWEST:
        return None
    scores: List[List[float]] = []
    for share in (*SHARES, 1.0):
        parts = []
        for train, left_out in folds.splits[:FIRST_HEAT]:
            # The same seed for every share: a half holds the quarter.
            order = numpy.random.default_rng(folds.seed).permutation(train)
            parts.append((order[: int(len(train) * share)], left_out))
        outcome = folds.run_on(estimator, parts)
        scores.append([sign * score for score in outcome])
    means = [sum(each) / len(each) for each in scores]
    differences = [last - half for last, half in zip(scores[-1], scores[-2])]
    mean = sum(differences) / len(differences)
    squares = sum((difference - mean) ** 2 for difference in differences)
    error = (squares / max(1, len(differences) - 1) / len(differences)) ** 0.5
    return Curve(means, error, count)


def doubted_labels(folds: CrossValidation, probabilities: Any) -> List[int]:
    """Return the rows whose label contradicts a confident prediction.

    A prediction is confident if the probability of its class is at least the mean that examples of
    that
    class have.
    """
    import numpy

    labels: Any = numpy.searchsorted(folds.classes, folds.targets)
    own = probabilities[numpy.arange(len(labels)), labels]
    # By class: a model may be less sure of one class than of another without being wrong.
    usual = numpy.array([own[labels == c].mean() for c in range(len(folds.classes))])
    confident = (probabilities >= usual) & (probabilities > CONFIDENT)
    predicted = numpy.where(confident, probabilities, -1.0).argmax(axis=1)
    is_doubted = confident.any(axis=1) & (predicted != labels)
    order = numpy.argsort(own)
    return [int(row) for row in order if is_doubted[row]]


def in_words(
    curve: Optional[Curve], doubted: List[int], folds: CrossValidation, *, target: Optional[float]
) -> List[str]:
    """Return notes for the developer on the limits of the data.

    Args:
        curve: the learning curve, if there is one.
        doubted: the rows with doubted labels.
        folds: the folds.
        target: the signed bar; None if there is none.
    """
    count = len(folds.targets)
    notes = []
    if curve is not None:
        scores = " to ".join(f"{abs(score):.3g}" for score in curve.scores[1:])
        if curve.is_flat:
            notes.append(
                f"further examples alone would bring little: from half of the training examples"
                f" to all {curve.examples} the score went from {scores}"
            )
        elif target is not None and curve.scores[-1] < target:
            count_needed = curve.needed(target)
            outlook = (
                "even a thousand times as many would not reach the bar by this curve"
                if count_needed is None
                else f"about {count_needed - curve.examples} more may reach the bar"
            )
            notes.append(
                f"further examples would help: from half of the training examples to all"
                f" {curve.examples} the score went from {scores}; {outlook}"
            )
    # Every model is confidently wrong now and then; one in fifty is worth a look.
    if len(doubted) > 0.02 * count:
        rows = ", ".join(map(str, doubted[:10]))
        notes.append(
            f"{len(doubted)} of {count} labels contradict what is predicted with confidence for"
            f" examples left out (training rows {rows}{', …' if len(doubted) > 10 else ''}):"
            " wrong labels, or classes that these inputs cannot tell apart"
        )
    return notes
