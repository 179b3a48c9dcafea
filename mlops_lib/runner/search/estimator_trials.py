"""The trials of a search for estimators: records, candidates and predictions.

Every finished trial is a file. A search that was killed reads its records, and so does a run that
repeats another run's trials.
"""

import io
import os
from typing import Any, Dict, List, Mapping, Optional

from mlops_lib.runner.search.cross_validation import Outcome, standard_error
from mlops_lib.runner.search.estimator_candidates import Candidate, Scored
from mlops_lib.runner.state import atomic


class TrialLog:
    """The finished trials of one search, in order.

    Args:
        request: the `search` object of docs/run-directory.md.
        folder: the directory of the search's state.
    """

    def __init__(self, request: Mapping[str, Any], *, folder: str) -> None:
        self._request = request
        self._folder = os.path.join(folder, "trials")
        self.metric = str(request.get("metric", "accuracy"))
        self.mode = str(request.get("mode", "max"))
        self.followed = {
            int(record["number"]): record
            for record in request.get("followed") or ()
            if isinstance(record, dict)
        }
        """Records of a followed run's trials; their scores are used, so the choice is the same."""
        self.trials: List[Dict[str, Any]] = []
        self.candidates: Dict[int, Candidate] = {}
        self.outcomes: Dict[int, Outcome] = {}
        """Trial number to its predictions, as far as they are known."""
        os.makedirs(self._folder, exist_ok=True)

    def signed(self, score: float) -> float:
        """Return a score with the sign that makes larger ones better."""
        return score if self.mode == "max" else -score

    def target(self) -> Optional[float]:
        """Return the signed bar, or None if there is none."""
        target = self._request.get("target")
        return None if target is None else self.signed(float(target))

    def _signed_of_first(self) -> float:
        score = self.trials[0]["score"] if self.trials else None
        return float("-inf") if score is None else self.signed(score)

    def finished(self) -> List[Scored]:
        """Return the trials that have a score, in order."""
        return [
            Scored(trial["number"], self.candidates[trial["number"]], self.signed(trial["score"]))
            for trial in self.trials
            if trial["score"] is not None
        ]

    def winner(self) -> int:
        """Return the number of the trial to keep; 0 if none is better than the first.

        Of one family, the earliest trial within one standard error of the family's best is kept
        (the one-standard-error rule of Breiman et al. 1984): of many settings that are equally
        good, the best on these folds is the luckiest. One that clears the bar is not given up for
        one that does not.
        """
        scored = [t for t in self.trials if t["score"] is not None]
        best = max(scored, key=lambda t: self.signed(t["score"]), default=None)
        if best is None or self.signed(best["score"]) <= self._signed_of_first():
            return 0
        family = self.candidates[best["number"]].family
        # By trial number, so that of equal trials the earliest is returned.
        for trial in scored:
            if (
                trial["number"] in (0, best["number"])
                or self.candidates[trial["number"]].family != family
                or self.signed(trial["score"]) <= self._signed_of_first()
                or (self.clears(best) and not self.clears(trial))
            ):
                continue
            lead = self.signed(best["score"]) - self.signed(trial["score"])
            if lead <= standard_error(jackknife(best), jackknife(trial)):
                return int(trial["number"])
        return int(best["number"])

    def clears(self, trial: Dict[str, Any]) -> bool:
        """Return whether a trial beats trial 0, all rejected winners, and the bar.

        It has to beat the bar by two standard errors of the mean over the folds.
        """
        target = self.target()
        rejected = [self.signed(float(score)) for score in self._request.get("rejected") or ()]
        if target is None or self.signed(trial["score"]) <= max(
            [self._signed_of_first(), *rejected]
        ):
            return False
        # The gate judges on other examples, so the score must clear the bar by more than its noise.
        spread = deviation(fold_scores(trial)) / len(fold_scores(trial)) ** 0.5
        return bool(self.signed(trial["score"]) - 2 * spread >= target)

    def least_s(self, candidate: Candidate) -> float:
        """Return the shortest time that a candidate like this one has taken."""
        alike = [
            trial["seconds"]
            for trial in self.trials
            if trial["score"] is not None
            and candidate.parameters
            and self.candidates[trial["number"]].family == candidate.family
        ]
        return min(alike, default=0.0)

    def outcome(self, number: int) -> Outcome:
        """Return the predictions of a trial; empty if they are not known."""
        return self.outcomes.get(number, Outcome([], None, None))

    def record(self, number: int) -> Optional[Dict[str, Any]]:
        """Return the record of a trial by an earlier attempt or a followed run, or None."""
        path = os.path.join(self._folder, f"{number}.json")
        record = self.followed.get(number) or atomic.read_json(path)
        return record if isinstance(record, dict) else None

    def restore(self, record: Dict[str, Any]) -> None:
        """Add a trial from its record of an earlier attempt, with its predictions."""
        self.trials.append(record)
        self._restore_outcome(int(record["number"]))

    def add(self, trial: Dict[str, Any]) -> None:
        """Add a finished trial and write its record."""
        self.trials.append(trial)
        atomic.write_json(os.path.join(self._folder, f"{trial['number']}.json"), trial)

    def add_outcome(self, number: int, outcome: Outcome) -> None:
        """Keep a trial's predictions, in the process and for later attempts."""
        import numpy

        self.outcomes[number] = outcome
        outputs = {"labels": outcome.labels, "probabilities": outcome.probabilities}
        arrays = {name: array for name, array in outputs.items() if array is not None}
        if any(array.dtype == object for array in arrays.values()):
            return  # arrays of objects are stored by pickle only; another attempt does without
        content = io.BytesIO()
        numpy.savez(content, **arrays)
        path = os.path.join(self._folder, f"{number}.npz")
        atomic.write_atomic(path, content.getvalue())

    def _restore_outcome(self, number: int) -> None:
        import numpy

        path = os.path.join(self._folder, f"{number}.npz")
        try:
            with numpy.load(path, allow_pickle=False) as stored:
                arrays = {name: stored[name] for name in stored.files}
        except (OSError, ValueError):
            return  # it failed, or was tried by a run that this one follows
        self.outcomes[number] = Outcome(
            fold_scores(self.trials[number]), arrays.get("labels"), arrays.get("probabilities")
        )


def fold_scores(trial: Mapping[str, Any]) -> List[float]:
    """Return the metric of each fold that a trial was scored on."""
    return list(trial["hyperparameters"].get("folds") or ())


def jackknife(trial: Mapping[str, Any]) -> List[float]:
    """Return `CrossValidation.jackknife` of a trial's predictions, as recorded."""
    return list(trial["hyperparameters"].get("jackknife") or ())


def deviation(scores: List[float]) -> float:
    """Return the standard deviation of the scores of folds."""
    mean = sum(scores) / len(scores)
    return float((sum((s - mean) ** 2 for s in scores) / max(1, len(scores) - 1)) ** 0.5)
