"""The search for scikit-learn.

Hyperparameters of the developer's estimator come first, then other estimators
(`estimator_candidates`). Selection is by cross-validation on the examples that the script trained
on, which the gate never judges. A search that was killed reads its finished trials from their
records and continues with the same candidates.
"""

import contextlib
import io
import os
import time
import warnings
from typing import Any, Dict, Iterator, List, Optional, Tuple

from mlops_lib.runner import protocol
from mlops_lib.runner.journal import Journal
from mlops_lib.runner.metrics import example_hashes
from mlops_lib.runner.search import (
    combinations,
    estimator_limits,
    failures,
    parameter_search,
)
from mlops_lib.runner.search.cross_validation import (
    FIRST_HEAT,
    CrossValidation,
    Outcome,
    parallel_fits,
    picked,
    scorer_name,
    standard_error,
)
from mlops_lib.runner.search.estimator_candidates import (
    RARE_COUNTS,
    Candidate,
    Candidates,
    Scored,
    last_step,
)
from mlops_lib.runner.search.estimator_description import describe
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
        needs_probabilities: whether the rest of the script may ask the estimator for
            probabilities.
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
        self._followed = {
            int(record["number"]): record
            for record in request.get("followed") or ()
            if isinstance(record, dict)
        }
        """Records of a followed run's trials; their scores are used, so the choice is the same."""
        self.notes: List[str] = []
        self.x = fit.x
        self.y = fit.y
        """The examples on which trials are cross-validated and the winner is fitted."""
        self.selection = "disjoint"
        self.judged: Optional[Tuple[Any, Any]] = None
        """Examples and targets kept from trials and winner, if the gate had none of its own."""
        self._keep_some_back()
        self.metric = str(request.get("metric", "accuracy"))
        self.mode = str(request.get("mode", "max"))
        self.trials: List[Dict[str, Any]] = []
        self.candidates: Dict[int, Candidate] = {}
        self.seconds = 0.0
        self.outcomes: Dict[int, Outcome] = {}
        """Trial number to its predictions, as far as they are known."""
        self._needs_probabilities = needs_probabilities
        self._folds: Any = None
        self._refined_from: Optional[int] = None
        """The number of trials before further settings of the best were tried."""
        os.makedirs(os.path.join(folder, "trials"), exist_ok=True)

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
        winner = self._winner()
        best = self.trials[winner] if self.trials else None
        if winner:
            after = self.candidates[winner].estimator
            if self.base is not self.fit.estimator:
                after = parameter_search.pinned(self.fit.estimator, after)
            described = {"before": describe(self.fit.estimator), "after": describe(after)}
            atomic.write_json(
                os.path.join(self.folder, protocol.WINNER),
                {"schema": 1, "framework": "sklearn", **described},
            )
            self._graft(self.candidates[winner])
        result = {
            "schema": 1,
            "metric": self.metric,
            "mode": self.mode,
            "selection": self.selection,
            "fit": self.fit.number,
            "trials": self.trials,
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

    def _keep_some_back(self) -> None:
        """Keep a fifth of the examples for the gate, if it had only a cross-validation.

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

    def _signed(self, score: float) -> float:
        return score if self.mode == "max" else -score

    def _signed_of_first(self) -> float:
        score = self.trials[0]["score"] if self.trials else None
        return float("-inf") if score is None else self._signed(score)

    def _winner(self) -> int:
        """Return the number of the trial to keep; 0 if none is better than the first.

        Of one family, the earliest trial within one standard error of the family's best is kept
        (the one-standard-error rule of Breiman et al. 1984): of many settings that are equally
        good, the best on these folds is the luckiest. One that clears the bar is not given up for
        one that does not.
        """
        scored = [t for t in self.trials if t["score"] is not None]
        best = max(scored, key=lambda t: self._signed(t["score"]), default=None)
        if best is None or self._signed(best["score"]) <= self._signed_of_first():
            return 0
        family = self.candidates[best["number"]].family
        for trial in scored:
            if (
                trial["number"] in (0, best["number"])
                or self.candidates[trial["number"]].family != family
                or self._signed(trial["score"]) <= self._signed_of_first()
                or (self._clears(best) and not self._clears(trial))
            ):
                continue
            lead = self._signed(best["score"]) - self._signed(trial["score"])
            if lead <= standard_error(_jackknife(best), _jackknife(trial)):
                return int(trial["number"])
        return int(best["number"])

    def _try_candidates(self) -> str:
        from sklearn.base import is_classifier

        limit = int(self.request.get("trials", 12))
        self._folds = CrossValidation(
            self.x,
            self.y,
            metric=self.metric,
            is_classifier=is_classifier(self.base),
            seed=self.seed,
        )
        self._try(Candidate("own", unfitted(self.base), {}, ""), 0)
        candidates = Candidates(
            self.base,
            self.x,
            self._finished,
            metric=self.metric,
            seed=self.seed,
            run_seed=self.run_seed,
            own_only=bool(self.request.get("own_only")),
            needs_probabilities=self._needs_probabilities,
            derived=self._derived,
            before_refining=self._look_at_data,
            notes=self.notes,
        )
        self._sequence = candidates
        sequence = iter(candidates)
        # Trial 0 may clear the bar here although the gate has rejected it: cross-validation judges
        # other examples. A winner has to beat trial 0, and the bar by a margin.
        is_short = False
        for number in range(1, limit + 1):
            if self._left_s() < 0:
                return "minutes"
            candidate = next(sequence, None)
            while candidate is not None and self._least_s(candidate) > self._left_s():
                candidates.leave(candidate.family)
                is_short = True
                candidate = next(sequence, None)
            if candidate is None:
                return "minutes" if is_short else "exhausted"
            trial = self._try(candidate, number)
            score = trial["score"]
            candidates.tell(candidate, None if score is None else self._signed(score))
            if score is not None and self._clears(trial):
                return "bar"
            if self._is_in_vain():
                self.notes.append(
                    f"the search stopped: the bar is far from what any estimator reaches, and"
                    f" {PATIENCE} further settings brought nothing"
                )
                return "exhausted"
            cause = failures.common_failure(self.trials)
            if cause:
                self.notes.append(failures.explanation(cause))
                return "failed"
        return "trials"

    def _look_at_data(self) -> None:
        """Say whether the data are the limit, now that every kind of estimator was tried."""
        best = max(self._finished(), key=lambda one: one.score, default=None)
        target = self.request.get("target")
        signed_target = None if target is None else self._signed(float(target))
        if best is None or (signed_target is not None and best.score >= signed_target):
            return
        self._refined_from = len(self.trials)
        if len(self.trials) in self._followed or best.number not in self.outcomes:
            return  # a run that follows another one repeats its trials only
        began = self.clock()
        folds = self._folds
        notes: List[str] = []
        with contextlib.suppress(Exception):  # a candidate may fail on a part of the examples
            sign = self._signed(1.0)
            curve = estimator_limits.learning_curve(folds, best.candidate.estimator, sign)
            probabilities = self._outcome(best.number).probabilities
            doubted = (
                []
                if probabilities is None
                else estimator_limits.doubted_labels(folds, probabilities)
            )
            notes = estimator_limits.in_words(curve, doubted, folds, target=signed_target)
        self.seconds += self.clock() - began
        for note in notes:
            self.notes.append(note)
            self.journal.write(protocol.EVENT_NOTE, message=note)

    def _is_in_vain(self) -> bool:
        """Return whether further settings have stopped to help, far below the bar."""
        target = self.request.get("target")
        if self._refined_from is None or target is None:
            return False
        before = [t for t in self.trials[: self._refined_from] if t["score"] is not None]
        after = [t for t in self.trials[self._refined_from :] if t["score"] is not None]
        if len(self.trials) - self._refined_from < PATIENCE or not before:
            return False
        best = max(before, key=lambda t: self._signed(t["score"]))
        error = _deviation(_folds(best)) / len(_folds(best)) ** 0.5
        if self._signed(float(target)) - self._signed(best["score"]) < FAR_ERRORS * error:
            return False
        reached = max((self._signed(t["score"]) for t in after), default=float("-inf"))
        return bool(reached < self._signed(best["score"]) + error)

    def _left_s(self) -> float:
        return 60.0 * float(self.request.get("minutes", 30)) - self.seconds

    def _least_s(self, candidate: Candidate) -> float:
        """Return the shortest time that a candidate like this one has taken."""
        alike = [
            trial["seconds"]
            for trial in self.trials
            if trial["score"] is not None
            and candidate.parameters
            and self.candidates[trial["number"]].family == candidate.family
        ]
        return min(alike, default=0.0)

    def _finished(self) -> List[Scored]:
        return [
            Scored(trial["number"], self.candidates[trial["number"]], self._signed(trial["score"]))
            for trial in self.trials
            if trial["score"] is not None
        ]

    def _clears(self, trial: Dict[str, Any]) -> bool:
        target = self.request.get("target")
        rejected = [self._signed(float(score)) for score in self.request.get("rejected") or ()]
        if target is None or self._signed(trial["score"]) <= max(
            [self._signed_of_first(), *rejected]
        ):
            return False
        spread = _deviation(_folds(trial)) / len(_folds(trial)) ** 0.5
        return bool(self._signed(trial["score"]) - 2 * spread >= self._signed(float(target)))

    def _derived(self) -> Iterator[Candidate]:
        """Yield the best vote, and the best threshold, if they promise a gain."""
        for propose in (self._vote, self._threshold):
            record = self._record(len(self.trials))
            candidate = propose(record)
            if candidate is not None and candidate.words not in {
                words for trial in self.trials for words in trial["edits"]
            }:
                yield candidate

    def _vote(self, record: Optional[Dict[str, Any]]) -> Optional[Candidate]:
        """Return a vote that beats the best trial by more than one standard error."""
        if self.request.get("own_only"):
            return None
        if record is not None:
            members = tuple(record["hyperparameters"].get("members") or ())
            return self._vote_of(members) if members and self._have_scores(members) else None
        finished = self._finished()
        best = max(finished, key=lambda one: one.score, default=None)
        if best is None:
            return None
        single = [one for one in finished if one.candidate.derived is None and self._votes(one)]
        # One of a family: settings of one estimator err alike.
        leaders: Dict[str, Scored] = {}
        for one in sorted(single, key=lambda one: -one.score):
            leaders.setdefault(one.candidate.family, one)
        ranking = [one.number for one in leaders.values()]
        vote = combinations.best_vote(self._folds, self.outcomes, ranking)
        if vote is None or vote.score <= best.score:
            return None
        predicted = combinations.joint(self._folds, self.outcomes, vote.members)
        error = standard_error(
            self._folds.jackknife(*predicted), _jackknife(self.trials[best.number])
        )
        return self._vote_of(vote.members) if vote.score - best.score > error else None

    def _have_scores(self, numbers: Tuple[int, ...]) -> bool:
        return set(numbers) <= {one.number for one in self._finished()}

    def _votes(self, one: Scored) -> bool:
        """Return whether a candidate differs from the developer's in its last step only."""
        prefix = self._sequence.prefix
        return all(name.startswith(prefix) for name in one.candidate.parameters)

    def _vote_of(self, members: Tuple[int, ...]) -> Candidate:
        lasts = [self._sequence.last_of(self.candidates[number].estimator) for number in members]
        vote = combinations.voting(lasts, is_classifier=self._folds.is_classifier)
        names = " and ".join(type(last_step(last)[1]).__name__ for last in lasts)
        return Candidate(
            "vote",
            self._sequence.in_place(vote),
            {"members": list(members)},
            f"a vote of {names} (trials {', '.join(map(str, members))})",
            derived=lambda: combinations.joint(self._folds, self.outcomes, members),
        )

    def _threshold(self, record: Optional[Dict[str, Any]]) -> Optional[Candidate]:
        """Return the best so far with another threshold than one half, if that is better.

        One half is best for accuracy alone.
        """
        if record is not None:
            given = record["hyperparameters"]
            if "threshold" not in given or not self._have_scores((given["of"],)):
                return None
            return self._threshold_of(int(given["of"]), float(given["threshold"]))
        folds = self._folds
        if self.metric not in RARE_COUNTS or folds.classes is None or len(folds.classes) != 2:
            return None
        known = [
            one
            for one in self._finished()
            if one.candidate.family != "threshold"
            and self._outcome(one.number).probabilities is not None
        ]
        best = max(known, key=lambda one: one.score, default=None)
        if best is None or not _has_thresholds():
            return None
        probabilities = self._outcome(best.number).probabilities
        threshold, labels = combinations.threshold_labels(folds, probabilities)
        if folds.signed_mean((labels, probabilities)) <= max(one.score for one in self._finished()):
            return None
        return self._threshold_of(best.number, threshold)

    def _threshold_of(self, number: int, threshold: float) -> Candidate:
        from sklearn.base import clone
        from sklearn.model_selection import FixedThresholdClassifier

        last = self._sequence.last_of(self.candidates[number].estimator)
        estimator = FixedThresholdClassifier(
            clone(last), threshold=threshold, response_method="predict_proba"
        )
        words = (
            f"{type(last_step(last)[1]).__name__} with the threshold that is best for"
            f" {self.metric}, {threshold}"
        )
        return Candidate(
            "threshold",
            self._sequence.in_place(estimator),
            {"of": number, "threshold": threshold},
            words,
            derived=lambda: (
                combinations.threshold_labels(self._folds, self._outcome(number).probabilities)[1],
                self._outcome(number).probabilities,
            ),
        )

    def _outcome(self, number: int) -> Outcome:
        return self.outcomes.get(number, Outcome([], None, None))

    def _record(self, number: int) -> Optional[Dict[str, Any]]:
        """Return the record of a trial by an earlier attempt or a followed run, or None."""
        path = os.path.join(self.folder, "trials", f"{number}.json")
        record = self._followed.get(number) or atomic.read_json(path)
        return record if isinstance(record, dict) else None

    def _try(self, candidate: Candidate, number: int) -> Dict[str, Any]:
        """Cross-validate a candidate, or read its record of an earlier attempt."""
        self.candidates[number] = candidate
        record = self._record(number)
        edits = [candidate.words] if candidate.words else []
        # A record with other words belongs to an earlier search with other settings.
        if record is not None and record.get("edits") == edits:
            self.trials.append(record)
            self.seconds += float(record.get("seconds", 0.0))
            self._restore_outcome(number)
            return record
        self.journal.progress("search", trial=number)
        began = self.clock()
        trial: Dict[str, Any] = {
            "number": number,
            "parent": None if number == 0 else 0,
            "edits": edits,
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
        self.trials.append(trial)
        atomic.write_json(os.path.join(self.folder, "trials", f"{number}.json"), trial)
        self.journal.write(protocol.EVENT_TRIAL, trial=trial)
        return trial

    def _measure(self, candidate: Candidate, trial: Dict[str, Any]) -> None:
        """Cross-validate a candidate and complete its record."""
        began = self.clock()

        def is_hopeless(scores: List[float]) -> bool:
            reason = self._hopeless(scores, self.clock() - began)
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
        self._keep_outcome(trial["number"], outcome)

    def _is_known(self, candidate: Candidate) -> bool:
        """Return whether the predictions that a vote or a threshold is made of are known."""
        given = candidate.parameters
        return all(number in self.outcomes for number in given.get("members", [given.get("of")]))

    def _hopeless(self, scores: List[float], seconds: float) -> str:
        """Return why a candidate with these first folds is given up; "" if it is not."""
        whole = [
            trial
            for trial in self.trials
            if trial["score"] is not None and len(_folds(trial)) == len(self._folds.splits)
        ]
        if not whole:
            return ""
        rest_s = seconds * (len(self._folds.splits) / FIRST_HEAT - 1)
        if rest_s > self._left_s() - seconds:
            return "given up: the other folds would take longer than there is time"
        best = max(whole, key=lambda trial: self._signed(trial["score"]))
        reached = self._signed(sum(scores) / len(scores))
        needed = self._signed(sum(_folds(best)[: len(scores)]) / len(scores))
        pairs = zip(scores, _folds(best))
        is_worse_twice = all(self._signed(one) < self._signed(other) for one, other in pairs)
        margin = _deviation(_folds(best)) * (0.5 if is_worse_twice else 1.0)
        if reached >= needed - margin:
            return ""
        return (
            f"given up after {len(scores)} folds: {abs(reached):.4g}, where the best so far has"
            f" {abs(needed):.4g}"
        )

    def _keep_outcome(self, number: int, outcome: Outcome) -> None:
        """Keep a trial's predictions, in the process and for later attempts."""
        import numpy

        self.outcomes[number] = outcome
        known = {"labels": outcome.labels, "probabilities": outcome.probabilities}
        arrays = {name: array for name, array in known.items() if array is not None}
        if any(array.dtype == object for array in arrays.values()):
            return  # arrays of objects are stored by pickle only; another attempt does without
        content = io.BytesIO()
        numpy.savez(content, **arrays)
        path = os.path.join(self.folder, "trials", f"{number}.npz")
        atomic.write_atomic(path, content.getvalue())

    def _restore_outcome(self, number: int) -> None:
        import numpy

        path = os.path.join(self.folder, "trials", f"{number}.npz")
        try:
            with numpy.load(path, allow_pickle=False) as stored:
                arrays = {name: stored[name] for name in stored.files}
        except (OSError, ValueError):
            return  # it failed, or was tried by a run that this one follows
        self.outcomes[number] = Outcome(
            _folds(self.trials[number]), arrays.get("labels"), arrays.get("probabilities")
        )

    def _own_score(self, candidate: Candidate) -> Optional[float]:
        """Return the candidate's score by the script's own parameter search, or None.

        None if that search measures another metric.
        """
        from sklearn.base import is_classifier

        usual = "accuracy" if is_classifier(self.base) else "r2"
        scorer = scorer_name(self.metric, self.y, is_classifier=is_classifier(self.base))
        if scorer != (getattr(_last_search(self.fit.estimator), "scoring", None) or usual):
            return None
        number = next(n for n, known in self.candidates.items() if known is candidate)
        score = next((trial["score"] for trial in self.trials if trial["number"] == number), None)
        return -score if score is not None and scorer.startswith("neg_") else score

    def _graft(self, candidate: Candidate) -> None:
        """Fit the winner on all selected examples; turn the script's estimator into it."""
        from mlops_lib.runner.sklearn.adapter import graft

        estimator = self.fit.estimator
        winner = candidate.estimator
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if max((t["seconds"] for t in self.trials), default=0.0) < QUICK_FIT_S:
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


def _folds(trial: Dict[str, Any]) -> List[float]:
    return list(trial["hyperparameters"].get("folds") or ())


def _jackknife(trial: Dict[str, Any]) -> List[float]:
    return list(trial["hyperparameters"].get("jackknife") or ())


def _deviation(scores: List[float]) -> float:
    mean = sum(scores) / len(scores)
    return float((sum((s - mean) ** 2 for s in scores) / max(1, len(scores) - 1)) ** 0.5)


def _has_thresholds() -> bool:
    from sklearn import model_selection

    return hasattr(model_selection, "FixedThresholdClassifier")  # since scikit-learn 1.5


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
