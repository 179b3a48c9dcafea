"""Candidates derived from finished trials without a fit: votes and thresholds."""

from typing import Any, Dict, Iterator, Optional, Tuple

from mlops_lib.runner.search import combinations
from mlops_lib.runner.search.cross_validation import CrossValidation, standard_error
from mlops_lib.runner.search.estimator_candidates import (
    RARE_COUNTS,
    Candidate,
    Scored,
    last_of,
    last_step,
    with_last_step,
)
from mlops_lib.runner.search.estimator_trials import TrialLog, jackknife


class DerivedCandidates:
    """Propose votes of finished candidates, and other decision thresholds.

    Args:
        base: the developer's fitted estimator that is varied.
        log: the finished trials.
        folds: the folds that all were tried on.
        own_only: whether only the developer's own estimator is varied, so that none may vote.
    """

    def __init__(self, base: Any, log: TrialLog, folds: CrossValidation, *, own_only: bool) -> None:
        self._base = base
        self._log = log
        self._folds = folds
        self._own_only = own_only
        self._prefix, _ = last_step(base)

    def propose(self) -> Iterator[Candidate]:
        """Yield the best vote, and the best threshold, if they promise a gain."""
        for derive in (self._vote, self._threshold):
            # A recorded trial is repeated as it was: another attempt may lack the predictions from
            # which it would be derived anew.
            record = self._log.record(len(self._log.trials))
            candidate = derive(record)
            if candidate is not None and candidate.words not in {
                words for trial in self._log.trials for words in trial["edits"]
            }:
                yield candidate

    def _vote(self, record: Optional[Dict[str, Any]]) -> Optional[Candidate]:
        """Return a vote that beats the best trial by more than one standard error."""
        if self._own_only:
            return None
        if record is not None:
            members = tuple(record["hyperparameters"].get("members") or ())
            return self._vote_of(members) if members and self._have_scores(members) else None
        finished = self._log.finished()
        best = max(finished, key=lambda trial: trial.score, default=None)
        if best is None:
            return None
        single = [t for t in finished if t.candidate.derived is None and self._may_vote(t)]
        # One of a family: settings of one estimator err alike.
        leaders: Dict[str, Scored] = {}
        for trial in sorted(single, key=lambda trial: -trial.score):
            leaders.setdefault(trial.candidate.family, trial)
        ranking = [leader.number for leader in leaders.values()]
        vote = combinations.best_vote(self._folds, self._log.outcomes, ranking)
        if vote is None or vote.score <= best.score:
            return None
        predicted = combinations.joint(self._folds, self._log.outcomes, vote.members)
        error = standard_error(
            self._folds.jackknife(*predicted), jackknife(self._log.trials[best.number])
        )
        return self._vote_of(vote.members) if vote.score - best.score > error else None

    def _have_scores(self, numbers: Tuple[int, ...]) -> bool:
        return set(numbers) <= {trial.number for trial in self._log.finished()}

    def _may_vote(self, trial: Scored) -> bool:
        """Return whether a candidate differs from the developer's in its last step only."""
        return all(name.startswith(self._prefix) for name in trial.candidate.parameters)

    def _vote_of(self, members: Tuple[int, ...]) -> Candidate:
        lasts = [self._last_of(number) for number in members]
        vote = combinations.voting(lasts, is_classifier=self._folds.is_classifier)
        names = " and ".join(type(last_step(last)[1]).__name__ for last in lasts)
        return Candidate(
            "vote",
            with_last_step(self._base, vote),
            {"members": list(members)},
            f"a vote of {names} (trials {', '.join(map(str, members))})",
            derived=lambda: combinations.joint(self._folds, self._log.outcomes, members),
        )

    def _threshold(self, record: Optional[Dict[str, Any]]) -> Optional[Candidate]:
        """Return the best so far with another threshold than one half, if that is better.

        One half is best for accuracy alone.
        """
        if record is not None:
            recorded = record["hyperparameters"]
            if "threshold" not in recorded or not self._have_scores((recorded["of"],)):
                return None
            return self._threshold_of(int(recorded["of"]), float(recorded["threshold"]))
        folds = self._folds
        if self._log.metric not in RARE_COUNTS or folds.classes is None or len(folds.classes) != 2:
            return None
        candidates = [
            trial
            for trial in self._log.finished()
            if trial.candidate.family != "threshold"
            and self._log.outcome(trial.number).probabilities is not None
        ]
        best = max(candidates, key=lambda trial: trial.score, default=None)
        if best is None or not _has_thresholds():
            return None
        probabilities = self._log.outcome(best.number).probabilities
        threshold, labels = combinations.threshold_labels(folds, probabilities)
        if folds.signed_mean((labels, probabilities)) <= max(
            trial.score for trial in self._log.finished()
        ):
            return None
        return self._threshold_of(best.number, threshold)

    def _threshold_of(self, number: int, threshold: float) -> Candidate:
        from sklearn.base import clone
        from sklearn.model_selection import FixedThresholdClassifier

        last = self._last_of(number)
        estimator = FixedThresholdClassifier(
            clone(last), threshold=threshold, response_method="predict_proba"
        )
        words = (
            f"{type(last_step(last)[1]).__name__} with the threshold that is best for"
            f" {self._log.metric}, {threshold}"
        )
        return Candidate(
            "threshold",
            with_last_step(self._base, estimator),
            {"of": number, "threshold": threshold},
            words,
            derived=lambda: self._outputs_at_best_threshold(number),
        )

    def _outputs_at_best_threshold(self, number: int) -> Tuple[Any, Any]:
        probabilities = self._log.outcome(number).probabilities
        return combinations.threshold_labels(self._folds, probabilities)[1], probabilities

    def _last_of(self, number: int) -> Any:
        return last_of(self._base, self._log.candidates[number].estimator)


def _has_thresholds() -> bool:
    from sklearn import model_selection

    return hasattr(model_selection, "FixedThresholdClassifier")  # since scikit-learn 1.5
