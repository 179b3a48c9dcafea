"""Votes and thresholds, scored from the predictions of finished candidates.

Neither needs a fit to be scored: the predictions for the examples that each fold left out are
stored.
"""

from itertools import chain, count
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

from mlops_lib.runner.search.cross_validation import CrossValidation, Outcome

MOST_MEMBERS = 3
POOL = 6
"""Number of candidates among which a vote finds its members."""
THRESHOLDS = 40


class Vote(NamedTuple):
    """A vote, its members by their trial numbers, and its mean score."""

    members: Tuple[int, ...]
    score: float


def best_vote(
    folds: CrossValidation, outcomes: Dict[int, Outcome], ranking: Sequence[int]
) -> Optional[Vote]:
    """Return the best vote of two or three candidates, or None if too few can vote.

    Members are added to the best while that raises the score (Caruana et al. 2004).

    Args:
        folds: the folds that all were tried on.
        outcomes: trial number to its predictions.
        ranking: trial numbers of candidates that may vote, the best first.
    """
    pool = [number for number in ranking if _can_vote(folds, outcomes.get(number))][:POOL]
    if len(pool) < 2:
        return None
    members: Tuple[int, ...] = (pool[0],)
    # Not the score of the best alone: the caller compares the vote with it by its error.
    best = float("-inf")
    while len(members) < MOST_MEMBERS:
        best_addition = max(
            (
                (folds.signed_mean(joint(folds, outcomes, (*members, addition))), -place, addition)
                for place, addition in enumerate(pool)
                if addition not in members
            ),
            default=None,
        )
        if best_addition is None or best_addition[0] <= best:
            break
        best = best_addition[0]
        members = (*members, best_addition[2])
    return Vote(members, best)


def _can_vote(folds: CrossValidation, outcome: Optional[Outcome]) -> bool:
    if outcome is None or outcome.labels is None or folds.targets.ndim > 1:
        return False
    return not folds.is_classifier or outcome.probabilities is not None


def joint(
    folds: CrossValidation, outcomes: Dict[int, Outcome], members: Sequence[int]
) -> Tuple[Any, Any]:
    """Return labels and probabilities of a vote with equal weights."""
    if not folds.is_classifier:
        return sum(outcomes[number].labels for number in members) / len(members), None
    mean = sum(outcomes[number].probabilities for number in members) / len(members)
    return folds.classes[mean.argmax(axis=1)], mean


def voting(members: Sequence[Any], *, is_classifier: bool) -> Any:
    """Return an unfitted vote of these estimators."""
    from sklearn.base import clone
    from sklearn.ensemble import VotingClassifier, VotingRegressor

    from mlops_lib.runner.search.estimator_candidates import last_step

    named_members: List[Tuple[str, Any]] = []
    for member in members:
        name = type(last_step(member)[1]).__name__.lower()
        used_labels = {label for label, _ in named_members}
        labels = chain([name], (f"{name}_{number}" for number in count(2)))
        label = next(label for label in labels if label not in used_labels)
        named_members.append((label, clone(member)))
    return (
        VotingClassifier(named_members, voting="soft")
        if is_classifier
        else VotingRegressor(named_members)
    )


def threshold_labels(folds: CrossValidation, probabilities: Any) -> Tuple[float, Any]:
    """Return the best threshold, and the labels under cross-validated thresholds.

    The labels of a fold use the threshold that is best on the other folds, so that their score is
    no
    more optimistic than that of other candidates.

    Args:
        folds: the folds, of two classes.
        probabilities: the class probabilities of the left-out examples.
    """
    import numpy

    # Class 1 in the order of `classes`.
    positive = probabilities[:, 1]
    labels = folds.classes[(positive >= 0.5).astype(int)]
    everyone = numpy.arange(len(positive))
    for _, left_out in folds.splits:
        rest = numpy.setdiff1d(everyone, left_out)
        threshold = _threshold(folds, positive, rest)
        labels[left_out] = folds.classes[(positive[left_out] >= threshold).astype(int)]
    return _threshold(folds, positive, everyone), labels


def _threshold(folds: CrossValidation, positive: Any, index: Any) -> float:
    """Return the threshold with the best metric on some examples."""
    import numpy

    places = numpy.quantile(positive[index], numpy.linspace(0.02, 0.98, THRESHOLDS))
    options = sorted({float(f"{place:.3g}") for place in places} | {0.5})
    scores = [
        folds.score_of(index, folds.classes[(positive >= option).astype(int)]) for option in options
    ]
    # Neighbours share their luck: the middle of a smoothed curve is the better choice.
    smooth = numpy.convolve(numpy.pad(scores, 1, mode="edge"), numpy.ones(3) / 3, mode="valid")
    return options[int(numpy.argmax(smooth))]
