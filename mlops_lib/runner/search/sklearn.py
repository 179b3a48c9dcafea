"""The search for scikit-learn.

Hyperparameters of the developer's estimator come first, then other estimators
(`estimator_candidates`). Selection is by cross-validation on the examples that the script trained
on, which the gate never judges. A search that was killed reads its finished trials from their
records and continues with the same candidates.
"""

import contextlib
import os
import time
import warnings
from typing import Any, Dict, List, Optional, Tuple

from mlops_lib.runner import protocol
from mlops_lib.runner.journal import Journal
from mlops_lib.runner.metrics import example_hashes
from mlops_lib.runner.search import (
    estimator_limits,
    failures,
    parameter_search,
    past_searches,
)
from mlops_lib.runner.search.cross_validation import (
    FIRST_HEAT,
    CrossValidation,
    Outcome,
    parallel_fits,
    picked,
    scorer_name,
)
from mlops_lib.runner.search.estimator_candidates import (
    Candidate,
    Candidates,
    last_step,
)
from mlops_lib.runner.search.estimator_derived import DerivedCandidates
from mlops_lib.runner.search.estimator_description import describe
from mlops_lib.runner.search.estimator_trials import TrialLog, deviation, fold_scores
from mlops_lib.runner.state import atomic

JUDGED_SHARE = 0.2
FEWEST_JUDGED = 20
PATIENCE = 8
"""So many further settings without a gain are enough if the bar is far."""
FAR_ERRORS = 4.0
"""A bar is far if it is so many standard errors of the score above the best."""
QUICK_FIT_S = 10.0
"""A winner whose fold took less is fitted on one thread, as its folds were."""


class Search:
    """One search around one judged fit.

    Args:
        fit: the judged fit (mlops_lib.runner.sklearn.adapter).
        request: the `search` object of docs/run-directory.md.
        journal: gets `trial` events and progress.
        folder: the directory of the search's state.
        seed: the run's seed.
        needs_probabilities: whether the rest of the script may call `predict_proba`.
    """

    clock = staticmethod(time.monotonic)
    """Measures the seconds of a trial."""

    def __init__(
        self,
        fit: Any,
        request: Dict[str, Any],
        journal: Journal,
        *,
        folder: str,
        seed: int,
        needs_probabilities: bool = True,
    ) -> None:
        self.fit = fit
        self.request = request
        self.journal = journal
        self.folder = folder
        self.seed = seed
        self.base = parameter_search.chosen(fit.estimator)
        """The developer's estimator that trials vary; for a grid search its choice."""
        self.run_seed = seed
        self.seed = int(request.get("search_seed") or seed)
        """The seed of candidates and folds; that of the followed run, if there is one."""
        self.log = TrialLog(request, folder=folder)
        past = past_searches.in_words(request.get("past") or ())
        self.notes: List[str] = [past] if past else []
        self.x = fit.x
        self.y = fit.y
        """The examples on which trials are cross-validated and the winner is fitted."""
        self.selection = "disjoint"
        self.judged: Optional[Tuple[Any, Any]] = None
        """Examples and targets kept from trials and winner, if the gate had none of its own."""
        self._hold_out_for_gate()
        self.seconds = 0.0
        self._needs_probabilities = needs_probabilities
        self._folds: Any = None
        self._refined_from: Optional[int] = None
        """The number of trials before further settings of the best were tried."""

    def run(self) -> Dict[str, Any]:
        """Search, turn the script's estimator into the winner, and return the result."""
        before = repr(self.fit.estimator).splitlines()
        stopped = "exhausted"
        try:
            if self.fit.y is None:
                stopped = "refused"
                self.notes.append("no search: there are no targets to select by")
            else:
                stopped = self._try_candidates()
        except KeyboardInterrupt:
            stopped = "interrupted"
        winner = self.log.winner()
        best = self.log.trials[winner] if self.log.trials else None
        if winner:
            after = self.log.candidates[winner].estimator
            # The patch keeps the script's parameter search, with the winner as its only candidate.
            if self.base is not self.fit.estimator:
                after = parameter_search.pinned(self.fit.estimator, after)
            described = {"before": describe(self.fit.estimator), "after": describe(after)}
            atomic.write_json(
                os.path.join(self.folder, protocol.WINNER),
                {"schema": 1, "framework": "sklearn", **described},
            )
            self._graft(self.log.candidates[winner])
        result = {
            "schema": 1,
            "metric": self.log.metric,
            "mode": self.log.mode,
            "selection": self.selection,
            "fit": self.fit.number,
            "trials": self.log.trials,
            "winner": winner,
            "score": None if best is None else best["score"],
            "stopped": stopped,
            "before": before,
            "after": repr(self.fit.estimator).splitlines(),
            "notes": self.notes,
            "examples": None if self.y is None else len(self.y),
        }
        atomic.write_json(os.path.join(self.folder, protocol.RESULT), result)
        return result

    def _hold_out_for_gate(self) -> None:
        """Hold out a fifth of the examples if the gate had only a cross-validation.

        A grid search's `best_score_` is a mean over other models than the one it keeps, on the
        examples that chose it.
        """
        names = example_hashes.hashes(self.fit.x)
        if (
            names is None
            or self.fit.y is None
            or example_hashes.Examples(names).digest != self.request.get("judged_digest")
        ):
            return
        # Chosen by content, so that every attempt and every seed keeps the same examples.
        order = sorted(set(names))
        judged_names = set(order[: int(len(order) * JUDGED_SHARE)])
        if len(judged_names) < FEWEST_JUDGED:
            self.selection = "contaminated"
            return
        judged = [i for i, name in enumerate(names) if name in judged_names]
        rest = [i for i, name in enumerate(names) if name not in judged_names]
        self.judged = picked(self.fit.x, judged), picked(self.fit.y, judged)
        self.x = picked(self.fit.x, rest)
        self.y = picked(self.fit.y, rest)
        self.notes.append(
            f"the script's own number is a cross-validation's: {len(judged)} examples are kept"
            " from the search and its winner, which is judged on them"
        )

    def _try_candidates(self) -> str:
        """Try candidates until the bar or the end of the budget; return the reason."""
        from sklearn.base import is_classifier

        self._folds = CrossValidation(
            self.x,
            self.y,
            metric=self.log.metric,
            is_classifier=is_classifier(self.base),
            seed=self.seed,
        )
        self._try(Candidate("own", unfitted(self.base), {}, ""), 0)
        candidates = self._sequence()
        sequence = iter(candidates)
        is_short = False
        for number in range(1, int(self.request.get("trials", 12)) + 1):
            if self._left_s() < 0:
                return "minutes"
            candidate = next(sequence, None)
            while candidate is not None and self.log.least_s(candidate) > self._left_s():
                candidates.leave(candidate.family)
                is_short = True
                candidate = next(sequence, None)
            if candidate is None:
                return "minutes" if is_short else "exhausted"
            trial = self._try(candidate, number)
            score = trial["score"]
            candidates.tell(candidate, None if score is None else self.log.signed(score))
            stopped = self._end_after(trial)
            if stopped:
                return stopped
        return "trials"

    def _sequence(self) -> Candidates:
        own_only = bool(self.request.get("own_only"))
        derived = DerivedCandidates(self.base, self.log, self._folds, own_only=own_only)
        return Candidates(
            self.base,
            self.x,
            self.log.finished,
            metric=self.log.metric,
            seed=self.seed,
            run_seed=self.run_seed,
            own_only=own_only,
            needs_probabilities=self._needs_probabilities,
            derived=derived.propose,
            preferred=past_searches.helpful_kinds(self.request.get("past") or ()),
            before_refining=self._note_data_limits,
            notes=self.notes,
        )

    def _end_after(self, trial: Dict[str, Any]) -> str:
        """Return the reason to end the search after this trial, "" to continue."""
        # Trial 0 may clear the bar here although the gate has rejected it: cross-validation judges
        # other examples. A winner has to beat trial 0, and the bar by a margin.
        if trial["score"] is not None and self.log.clears(trial):
            return "bar"
        if self._has_stalled():
            self.notes.append(
                "the search stopped: the bar is far above the score of any estimator, and"
                f" {PATIENCE} further settings brought nothing"
            )
            return "exhausted"
        cause = failures.common_failure(self.log.trials)
        if cause:
            self.notes.append(failures.explanation(cause))
            return "failed"
        return ""

    def _note_data_limits(self) -> None:
        """Add notes on the limits of the data, once every kind of estimator was tried."""
        best = max(self.log.finished(), key=lambda trial: trial.score, default=None)
        target = self.log.target()
        if best is None or (target is not None and best.score >= target):
            return
        self._refined_from = len(self.log.trials)
        if len(self.log.trials) in self.log.followed or best.number not in self.log.outcomes:
            return  # a run that follows another one repeats its trials only
        began = self.clock()
        folds = self._folds
        notes: List[str] = []
        with contextlib.suppress(Exception):  # a candidate may fail on a part of the examples
            sign = self.log.signed(1.0)
            curve = estimator_limits.learning_curve(folds, best.candidate.estimator, sign)
            probabilities = self.log.outcome(best.number).probabilities
            doubted = (
                []
                if probabilities is None
                else estimator_limits.doubted_labels(folds, probabilities)
            )
            notes = estimator_limits.in_words(curve, doubted, folds, target=target)
        self.seconds += self.clock() - began
        for note in notes:
            self.notes.append(note)
            self.journal.write(protocol.EVENT_NOTE, message=note)

    def _has_stalled(self) -> bool:
        """Return whether further settings have stopped to help, far below the bar."""
        target = self.log.target()
        if self._refined_from is None or target is None:
            return False
        before = [t for t in self.log.trials[: self._refined_from] if t["score"] is not None]
        after = [t for t in self.log.trials[self._refined_from :] if t["score"] is not None]
        if len(self.log.trials) - self._refined_from < PATIENCE or not before:
            return False
        # The best before refinement: the settings since then are judged by their gain over it.
        best = max(before, key=lambda t: self.log.signed(t["score"]))
        error = deviation(fold_scores(best)) / len(fold_scores(best)) ** 0.5
        if target - self.log.signed(best["score"]) < FAR_ERRORS * error:
            return False
        reached = max((self.log.signed(t["score"]) for t in after), default=float("-inf"))
        return bool(reached < self.log.signed(best["score"]) + error)

    def _left_s(self) -> float:
        return 60.0 * float(self.request.get("minutes", 30)) - self.seconds

    def _try(self, candidate: Candidate, number: int) -> Dict[str, Any]:
        """Cross-validate a candidate, or read its record of an earlier attempt."""
        self.log.candidates[number] = candidate
        record = self.log.record(number)
        edits = [candidate.words] if candidate.words else []
        # A record with other words belongs to an earlier search with other settings.
        if record is not None and record.get("edits") == edits:
            self.log.restore(record)
            self.seconds += float(record.get("seconds", 0.0))
            return record
        self.journal.progress("search", trial=number)
        began = self.clock()
        trial: Dict[str, Any] = {
            "number": number,
            "parent": None if number == 0 else 0,
            "edits": edits,
            "kinds": [candidate.family] if edits else [],
            "hyperparameters": {k: _plain(v) for k, v in candidate.parameters.items()},
            "inherited": "",
            "state": "finished",
            "score": None,
            "epochs": 0,
            "seconds": 0.0,
            "parameters": None,
            "curve": [],
            "message": "",
        }
        try:
            self._measure(candidate, trial)
        except Exception as error:  # noqa: BLE001 - a candidate may fail in any way its library knows
            trial.update(state="failed", message=f"{type(error).__name__}: {error}"[:500])
        trial["seconds"] = round(self.clock() - began, 3)
        self.seconds += trial["seconds"]
        self.log.add(trial)
        self.journal.write(protocol.EVENT_TRIAL, trial=trial)
        return trial

    def _measure(self, candidate: Candidate, trial: Dict[str, Any]) -> None:
        """Cross-validate a candidate and complete its record."""
        began = self.clock()

        def is_hopeless(scores: List[float]) -> bool:
            reason = self._reason_to_stop(scores, self.clock() - began)
            if reason:
                trial.update(state="stopped", message=reason)
            return bool(reason)

        if candidate.derived is not None and self._is_known(candidate):
            labels, probabilities = candidate.derived()
            outcome = Outcome(self._folds.fold_scores(labels, probabilities), labels, probabilities)
        else:
            outcome = self._folds.run(candidate.estimator, is_hopeless=is_hopeless)
        trial["hyperparameters"]["folds"] = outcome.scores
        if outcome.labels is None:
            return
        score = sum(outcome.scores) / len(outcome.scores)
        if score != score:
            trial.update(state="invalid", message="the score is not a number")
            return
        trial["score"] = score
        trial["hyperparameters"]["jackknife"] = self._folds.jackknife(
            outcome.labels, outcome.probabilities
        )
        self.log.add_outcome(trial["number"], outcome)

    def _is_known(self, candidate: Candidate) -> bool:
        """Return whether the predictions that a vote or a threshold is made of are known."""
        parameters = candidate.parameters
        numbers = parameters.get("members", [parameters.get("of")])
        return all(number in self.log.outcomes for number in numbers)

    def _reason_to_stop(self, scores: List[float], seconds: float) -> str:
        """Return the reason to skip a candidate's other folds, "" if there is none."""
        completed = [
            trial
            for trial in self.log.trials
            if trial["score"] is not None and len(fold_scores(trial)) == len(self._folds.splits)
        ]
        if not completed:
            return ""
        # Folds are of equal size, so the others take as long each.
        rest_s = seconds * (len(self._folds.splits) / FIRST_HEAT - 1)
        if rest_s > self._left_s() - seconds:
            return "given up: the other folds would take longer than there is time"
        best = max(completed, key=lambda trial: self.log.signed(trial["score"]))
        reached = self.log.signed(sum(scores) / len(scores))
        # The comparison is by the same folds: some are harder than others.
        best_scores = fold_scores(best)[: len(scores)]
        to_beat = self.log.signed(sum(best_scores) / len(scores))
        is_worse_twice = all(
            self.log.signed(score) < self.log.signed(best_score)
            for score, best_score in zip(scores, best_scores)
        )
        # One standard deviation of a fold, or half if every single fold is worse.
        margin = deviation(fold_scores(best)) * (0.5 if is_worse_twice else 1.0)
        if reached >= to_beat - margin:
            return ""
        return (
            f"given up after {len(scores)} folds: {abs(reached):.4g}, where the best so far has"
            f" {abs(to_beat):.4g}"
        )

    def _own_score(self, candidate: Candidate) -> Optional[float]:
        """Return the candidate's score by the script's own parameter search, or None.

        None if that search measures another metric.
        """
        from sklearn.base import is_classifier

        usual = "accuracy" if is_classifier(self.base) else "r2"
        scorer = scorer_name(self.log.metric, self.y, is_classifier=is_classifier(self.base))
        if scorer != (getattr(_last_search(self.fit.estimator), "scoring", None) or usual):
            return None
        number = next(n for n, tried in self.log.candidates.items() if tried is candidate)
        scores = {trial["number"]: trial["score"] for trial in self.log.trials}
        score = scores.get(number)
        return -score if score is not None and scorer.startswith("neg_") else score

    def _graft(self, candidate: Candidate) -> None:
        """Fit the winner on all selected examples; turn the script's estimator into it."""
        from mlops_lib.runner.sklearn.adapter import graft

        estimator = self.fit.estimator
        winner = candidate.estimator
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # Short fits repeat the arithmetic of their folds; long ones use all cores.
            if max((t["seconds"] for t in self.log.trials), default=0.0) < QUICK_FIT_S:
                with parallel_fits():
                    winner.fit(self.x, self.y)
            else:
                winner.fit(self.x, self.y)
        if self.base is not estimator:
            parameter_search.adopt(estimator, winner, self._own_score(candidate))
            return
        if type(estimator) is type(winner):
            graft(estimator, winner)
            return
        # In place, so that every reference of the script to its estimator finds the winner.
        estimator.__class__ = type(winner)
        estimator.__dict__.clear()
        estimator.__dict__.update(winner.__dict__)
        self.notes.append(
            f"the variable that held the developer's estimator is now a {type(winner).__name__}"
        )


def _last_search(estimator: Any) -> Any:
    """Return the parameter search itself, which may be a pipeline's last step."""
    steps = getattr(estimator, "steps", None)
    return _last_search(steps[-1][1]) if steps else estimator


def unfitted(estimator: Any) -> Any:
    """Return a fresh copy that can be fitted without an evaluation set.

    Early stopping needs one, so it is replaced by the number of rounds at which it stopped.
    """
    from sklearn.base import clone

    fresh = clone(estimator)
    prefix, last = last_step(estimator)
    if getattr(last, "early_stopping_rounds", None):
        fresh.set_params(**{f"{prefix}early_stopping_rounds": None})
        stopped_at = getattr(last, "best_iteration", None)
        if stopped_at is not None:
            fresh.set_params(**{f"{prefix}n_estimators": int(stopped_at) + 1})
    return fresh


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
