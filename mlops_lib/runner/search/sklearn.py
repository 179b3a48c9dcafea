"""The search for scikit-learn.

Hyperparameters of the developer's estimator come first, then other estimators. Selection is by
cross-validation on the examples that the script trained on, which the gate never judges. Values are
proposed by Optuna's tree-structured Parzen estimator (Bergstra et al. 2011) if the image has it,
else at random. The sequence is a function of the seed and of the scores so far: a search that was
killed reads its finished trials from their records and continues with the same candidates.
"""

import inspect
import os
import time
import warnings
from typing import Any, Dict, List, Optional, Tuple

from mlops_lib.runner import protocol
from mlops_lib.runner.journal import Journal, plain
from mlops_lib.runner.metrics import example_hashes
from mlops_lib.runner.search import failures, parameter_search
from mlops_lib.runner.search.estimator_spaces import (
    CLASSIFIERS,
    REGRESSORS,
    SCALERS,
    SPACES,
    STEPS,
    WANTS_SCALED,
    Proposals,
    Space,
)
from mlops_lib.runner.search.examples import rows
from mlops_lib.runner.state import atomic

JUDGED_SHARE = 0.2
FEWEST_JUDGED = 20
OWN_TRIALS = 4
"""The number of trials of the developer's own estimator before others are tried."""

RARE_COUNTS = ("balanced_accuracy", "f1", "recall", "precision")
"""Metrics in which a rare class counts as much as a frequent one."""
SCORERS = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced_accuracy",
    "f1": "f1_macro",
    "precision": "precision_macro",
    "recall": "recall_macro",
    "roc_auc": "roc_auc_ovr",
    "r2": "r2",
    "mae": "neg_mean_absolute_error",
    "mse": "neg_mean_squared_error",
    "rmse": "neg_root_mean_squared_error",
    "log_loss": "neg_log_loss",
}


class Candidate:
    """An estimator to try, and its difference from the developer's in words."""

    def __init__(self, family: str, estimator: Any, parameters: Dict[str, Any], words: str) -> None:
        self.family = family
        self.estimator = estimator
        self.parameters = parameters
        self.words = words


class Search:
    """One search around one judged fit.

    Args:
        fit: the judged fit (mlops_lib.runner.sklearn.adapter).
        request: the `search` object of docs/run-directory.md.
        journal: gets `trial` events and progress.
        folder: the directory of the search's state.
        seed: the run's seed.
    """

    def __init__(
        self, fit: Any, request: Dict[str, Any], journal: Journal, *, folder: str, seed: int
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
        self._proposals: Dict[str, Proposals] = {}
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
        scored = [t for t in self.trials if t["score"] is not None]
        best = max(scored, key=lambda t: self._signed(t["score"]), default=None)
        winner = (
            0
            if best is None or self._signed(best["score"]) <= self._signed_of_first()
            else best["number"]
        )
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

    def _try_candidates(self) -> str:
        limit = int(self.request.get("trials", 12))
        budget_s = 60.0 * float(self.request.get("minutes", 30))
        self._try(Candidate("own", unfitted(self.base), {}, ""), 0)
        # Trial 0 may clear the bar here although the gate has rejected it: cross-validation judges
        # other examples. A winner has to beat trial 0, and the bar by a margin.
        for number in range(1, limit + 1):
            if self.seconds > budget_s:
                return "minutes"
            candidate = self._next(number)
            if candidate is None:
                return "exhausted"
            trial = self._try(candidate, number)
            if self._proposals.get(candidate.family) is not None:
                score = trial["score"]
                self._proposals[candidate.family].tell(
                    None if score is None else self._signed(score)
                )
            if trial["score"] is not None and self._clears(trial):
                return "bar"
            cause = failures.common_failure(self.trials)
            if cause:
                self.notes.append(failures.explanation(cause))
                return "failed"
        return "trials"

    def _clears(self, trial: Dict[str, Any]) -> bool:
        target = self.request.get("target")
        rejected = [self._signed(float(score)) for score in self.request.get("rejected") or ()]
        if target is None or self._signed(trial["score"]) <= max(
            [self._signed_of_first(), *rejected]
        ):
            return False
        scores = trial["hyperparameters"]["folds"]
        mean = sum(scores) / len(scores)
        spread = (sum((s - mean) ** 2 for s in scores) / max(1, len(scores) - 1)) ** 0.5 / len(
            scores
        ) ** 0.5
        return bool(self._signed(trial["score"]) - 2 * spread >= self._signed(float(target)))

    def _next(self, number: int) -> Optional[Candidate]:
        """Return the next candidate, or None if there is none.

        They are the developer's estimator with other values, then other estimators, then the best
        of all with other values.
        """
        own_only = bool(self.request.get("own_only"))
        others = [] if own_only else self._others()
        # For an estimator that is sensitive to scales, scaled inputs are tried before other values.
        scaled_first = len(others) > 0 and others[0].family == "scaled" and not _is_scaled(self.x)
        if scaled_first and number == 1:
            return others[0]
        if number <= OWN_TRIALS + scaled_first or own_only:
            best_first = self._best_of(2 if scaled_first else 1)
            own = self._varied("own", self.candidates[best_first].estimator)
            if own is not None or own_only:
                return own
        place = number - OWN_TRIALS - 1 if "own" in self._proposals else number - 1
        if 0 <= place < len(others):
            return others[place]
        best = max(
            (t for t in self.trials if t["score"] is not None),
            key=lambda t: self._signed(t["score"]),
            default=None,
        )
        if best is None:
            return None
        leader = self.candidates[best["number"]]
        return self._varied(leader.family, leader.estimator)

    def _best_of(self, count: int) -> int:
        """Return the number of the best of the first trials."""
        scored = [t for t in self.trials[:count] if t["score"] is not None]
        return max(scored, key=lambda t: self._signed(t["score"]), default={"number": 0})["number"]

    def _varied(self, family: str, estimator: Any) -> Optional[Candidate]:
        from sklearn.base import clone

        prefix, last = last_step(estimator)
        space = SPACES.get(type(last).__name__)
        if space is None:
            if family == "own":
                self.notes.append(
                    f"{type(last).__name__} has no space of its own: other estimators are tried"
                )
            return None
        parameters = last.get_params()
        space = {prefix + name: spec for name, spec in space.items() if name in parameters}
        if self.metric in RARE_COUNTS and "class_weight" in parameters:
            space[f"{prefix}class_weight"] = ("choice", "balanced", None)
        if family not in self._proposals:
            self._proposals[family] = Proposals({**space, **step_spaces(estimator)}, self.seed)
        values = self._proposals[family].ask()
        varied = clone(estimator).set_params(
            **{name: as_parameter(value) for name, value in values.items()}
        )
        settings = ", ".join(
            f"{n[len(prefix) :] if n.startswith(prefix) else n}={_short(v)}"
            for n, v in values.items()
        )
        return Candidate(family, varied, values, f"{type(last).__name__} with {settings}")

    def _with_threshold(self) -> List[Candidate]:
        """Return the estimator with a tuned threshold, if that can raise the metric.

        The default of one half is best for accuracy alone.
        """
        from sklearn import model_selection
        from sklearn.base import clone, is_classifier

        # Since scikit-learn 1.5.
        tuned_class = getattr(model_selection, "TunedThresholdClassifierCV", None)
        is_binary = is_classifier(self.base) and len(set(getattr(self.base, "classes_", ()))) == 2
        if (
            tuned_class is None
            or self.metric not in RARE_COUNTS
            or not is_binary
            or not hasattr(self.base, "predict_proba")
        ):
            return []
        estimator = tuned_class(
            clone(self.base), scoring=SCORERS[self.metric], random_state=self.seed
        )
        words = f"{type(self.base).__name__} with the threshold that is best for {self.metric}"
        return [Candidate("threshold", estimator, {}, words)]

    def _others(self) -> List[Candidate]:
        from importlib import import_module

        from sklearn.base import clone, is_classifier
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        prefix, last = last_step(self.base)
        candidates = []
        if not prefix and type(last).__name__ in WANTS_SCALED:
            words = f"{type(last).__name__} on scaled inputs"
            candidates.append(
                Candidate("scaled", make_pipeline(StandardScaler(), clone(last)), {}, words)
            )
        candidates += self._with_threshold()
        for module, name, scaled in CLASSIFIERS if is_classifier(self.base) else REGRESSORS:
            if name == type(last).__name__:
                continue
            other = getattr(import_module(module), name)()
            if hasattr(last, "predict_proba") and not hasattr(other, "predict_proba"):
                continue  # the script may call it
            if "random_state" in other.get_params():
                other.set_params(random_state=self.run_seed)
            if prefix:
                estimator = clone(self.base).set_params(**{prefix[:-2]: other})
            else:
                estimator = make_pipeline(StandardScaler(), other) if scaled else other
            words = f"{name} instead of {type(last).__name__}"
            candidates.append(Candidate(name, estimator, {}, words))
        return candidates

    def _try(self, candidate: Candidate, number: int) -> Dict[str, Any]:
        """Cross-validate a candidate, or read its record of an earlier attempt."""
        path = os.path.join(self.folder, "trials", f"{number}.json")
        self.candidates[number] = candidate
        record = self._followed.get(number) or atomic.read_json(path)
        edits = [candidate.words] if candidate.words else []
        # A record with other words belongs to an earlier search with other settings.
        if isinstance(record, dict) and record.get("edits") == edits:
            self.trials.append(record)
            self.seconds += float(record.get("seconds", 0.0))
            return record
        self.journal.progress("search", trial=number)
        began = time.monotonic()
        trial: Dict[str, Any] = {
            "number": number,
            "parent": None if number == 0 else 0,
            "edits": edits,
            "hyperparameters": {**{k: _plain(v) for k, v in candidate.parameters.items()}},
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
            folds = self._cross_validate(candidate.estimator)
        except Exception as error:  # noqa: BLE001 - a candidate may fail in any way its library knows
            trial.update(state="failed", message=f"{type(error).__name__}: {error}"[:500])
        else:
            trial["hyperparameters"]["folds"] = folds
            trial["score"] = sum(folds) / len(folds)
            if trial["score"] != trial["score"]:
                trial.update(state="invalid", score=None, message="the score is not a number")
        trial["seconds"] = round(time.monotonic() - began, 3)
        self.seconds += trial["seconds"]
        self.trials.append(trial)
        atomic.write_json(path, trial)
        self.journal.write(protocol.EVENT_TRIAL, trial=trial)
        return trial

    def _cross_validate(self, estimator: Any) -> List[float]:
        from sklearn.base import is_classifier
        from sklearn.model_selection import KFold, StratifiedKFold, cross_val_score

        splitter = StratifiedKFold if is_classifier(estimator) else KFold
        folds = splitter(5, shuffle=True, random_state=self.seed)
        scorer = SCORERS.get(self.metric, "accuracy" if is_classifier(estimator) else "r2")
        if scorer.endswith("_macro") and _is_binary(self.y):
            scorer = scorer[: -len("_macro")]  # the default of scikit-learn's metric functions
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            scores = cross_val_score(
                estimator, self.x, self.y, cv=folds, scoring=scorer, error_score="raise"
            )
        sign = -1.0 if scorer.startswith("neg_") else 1.0
        return [sign * float(score) for score in scores]

    def _own_score(self, candidate: Candidate) -> Optional[float]:
        """Return the candidate's score by the script's own parameter search, or None.

        None if that search measures another metric.
        """
        from sklearn.base import is_classifier

        usual = "accuracy" if is_classifier(self.base) else "r2"
        scorer = SCORERS.get(self.metric, usual)
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


def picked(values: Any, index: List[int]) -> Any:
    """Return some examples of an array, a data frame, a sparse matrix or a list."""
    is_plain = isinstance(values, list) and not (values and hasattr(values[0], "shape"))
    return [values[i] for i in index] if is_plain else rows(values, index)


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


def step_spaces(estimator: Any) -> Space:
    """Return the space of the steps before the estimator in a pipeline.

    It holds their settings, and the choice of the scaler.
    """
    space: Space = {}
    for name, step in getattr(estimator, "steps", [])[:-1]:
        kind = type(step).__name__
        if kind in SCALERS:
            space[name] = ("choice", *[_SCALER + scaler for scaler in SCALERS])
        parameters = step.get_params() if hasattr(step, "get_params") else {}
        for parameter, spec in STEPS.get(kind, {}).items():
            if parameter in parameters:
                space[f"{name}__{parameter}"] = spec
    return space


_SCALER = "scaler:"


def as_parameter(value: Any) -> Any:
    """Return a proposed value as a parameter of the estimator.

    A scaler is represented by its name in the space, so that values stay plain data.
    """
    if isinstance(value, str) and value.startswith(_SCALER):
        from sklearn import preprocessing

        return getattr(preprocessing, value[len(_SCALER) :])()
    return value


def _is_scaled(x: Any) -> bool:
    """Return whether the inputs are on one scale near 1, or not numeric at all."""
    import numpy

    try:
        deviations = numpy.asarray(x, dtype=float).std(axis=0)
    except (TypeError, ValueError):
        return True
    vary = deviations[deviations > 0]
    return bool(vary.size == 0 or (vary.min() > 0.1 and vary.max() < 10))


def _is_binary(y: Any) -> bool:
    import numpy

    return set(numpy.unique(numpy.asarray(y)).tolist()) <= {0, 1}


def describe(estimator: Any) -> Dict[str, Any]:
    """Return an estimator as JSON.

    It has the class, the parameters that differ from their defaults, the steps of a pipeline, and
    estimators among the parameters.
    """
    kind = type(estimator)
    module = public_module(kind.__module__)
    steps = [[name, describe(step)] for name, step in getattr(estimator, "steps", [])]
    signature = inspect.signature(kind.__init__).parameters
    values = {} if steps else estimator.get_params(deep=False)
    inner = {name: describe(value) for name, value in values.items() if _is_estimator(value)}
    changed = {
        name: plain(value)
        for name, value in values.items()
        if name not in inner
        and (name not in signature or not _is_same(signature[name].default, value))
    }
    order = [
        parameter.name
        for parameter in signature.values()
        if parameter.kind is parameter.POSITIONAL_OR_KEYWORD
    ][1:]
    return {
        "class": kind.__name__,
        "module": module,
        "parameters": changed,
        "steps": steps,
        "order": order,
        "inner": inner,
    }


def public_module(module: str) -> str:
    """Return the part of a module's name before its first private package.

    Example:
        >>> public_module("sklearn.ensemble._hist_gradient_boosting.gradient_boosting")
        'sklearn.ensemble'
    """
    parts = module.split(".")
    private = [i for i, part in enumerate(parts) if part.startswith("_")]
    return ".".join(parts[: private[0]] if private else parts)


def _is_estimator(value: Any) -> bool:
    return hasattr(value, "get_params") and hasattr(value, "fit") and not inspect.isclass(value)


def _is_same(usual: Any, value: Any) -> bool:
    return type(usual) is type(value) and bool(usual == value)


def last_step(estimator: Any) -> Tuple[str, Any]:
    """Return the estimator whose parameters are searched, after their prefix."""
    steps = getattr(estimator, "steps", None)
    if steps:
        name, last = steps[-1]
        prefix, inner = last_step(last)
        return f"{name}__{prefix}", inner
    return "", estimator


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value).replace(_SCALER, "")


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
