"""The search for scikit-learn: hyperparameters of the developer's estimator first, then other
estimators.

Selection is by cross-validation on the examples the script trained on, which the gate never judges.
Values are proposed by Optuna's tree-structured Parzen estimator (Bergstra et al. 2011) where the
image has it, else at random. The sequence is a function of the seed and of the scores told, so a
search that was killed repeats its finished trials from their records and goes on.
"""

import inspect
import os
import random
import time
import warnings
from typing import Any, Dict, List, Optional, Tuple

from mlops_lib.runner import protocol
from mlops_lib.runner.journal import Journal, plain
from mlops_lib.runner.metrics import example_hashes
from mlops_lib.runner.search import failures, parameter_search
from mlops_lib.runner.search.examples import rows
from mlops_lib.runner.state import atomic

Space = Dict[str, Tuple[Any, ...]]
"""Parameter to ("log", low, high), ("real", low, high), ("int", low, high) or ("choice", value, …).
"""

_TREES: Space = {
    "n_estimators": ("int", 100, 500),
    "max_depth": ("choice", None, 8, 16, 32),
    "min_samples_leaf": ("int", 1, 8),
    "max_features": ("choice", "sqrt", 0.3, 0.6, None),
}
_TREE: Space = {
    "max_depth": ("choice", None, 4, 8, 16, 32),
    "min_samples_leaf": ("int", 1, 20),
    "min_samples_split": ("int", 2, 20),
    "ccp_alpha": ("choice", 0.0, 1e-4, 1e-3),
    "max_features": ("choice", None, "sqrt", 0.5),
    "max_leaf_nodes": ("choice", None, 64, 256),
}
_HISTOGRAM: Space = {
    "learning_rate": ("log", 0.02, 0.3),
    "max_iter": ("int", 100, 400),
    "max_leaf_nodes": ("int", 15, 63),
    "min_samples_leaf": ("int", 5, 40),
    "l2_regularization": ("log", 1e-6, 1.0),
}
_BOOSTED: Space = {
    "learning_rate": ("log", 0.02, 0.3),
    "n_estimators": ("int", 100, 500),
    "max_depth": ("int", 2, 8),
    "subsample": ("real", 0.6, 1.0),
}
_XGB: Space = {
    **_BOOSTED,
    "min_child_weight": ("log", 0.5, 20.0),
    "colsample_bytree": ("real", 0.5, 1.0),
    "reg_lambda": ("log", 0.1, 10.0),
}
_LGBM: Space = {
    "learning_rate": ("log", 0.02, 0.3),
    "n_estimators": ("int", 100, 500),
    "num_leaves": ("int", 15, 63),
    "min_child_samples": ("int", 5, 40),
    "colsample_bytree": ("real", 0.5, 1.0),
    "reg_lambda": ("log", 1e-3, 10.0),
}
_SVM: Space = {
    "C": ("log", 0.1, 100.0),
    "gamma": ("choice", "scale", "auto", 0.001, 0.01, 0.1),
    "kernel": ("choice", "rbf", "poly"),
}
_LINEAR_SVM: Space = {"C": ("log", 0.01, 100.0), "max_iter": ("choice", 5000)}
_NEIGHBORS: Space = {
    "n_neighbors": ("int", 1, 25),
    "weights": ("choice", "uniform", "distance"),
    "p": ("choice", 1, 2),
}
_NETWORK: Space = {
    "hidden_layer_sizes": ("choice", (100,), (200,), (100, 50), (200, 100)),
    "alpha": ("log", 1e-5, 0.1),
    "learning_rate_init": ("log", 3e-4, 1e-2),
    "max_iter": ("choice", 400),
    "early_stopping": ("choice", False, True),
}

SPACES: Dict[str, Space] = {
    "LogisticRegression": {"C": ("log", 1e-3, 100.0), "max_iter": ("choice", 1000)},
    "RidgeClassifier": {"alpha": ("log", 1e-3, 100.0)},
    "SGDClassifier": {
        "alpha": ("log", 1e-6, 0.1),
        "loss": ("choice", "hinge", "log_loss", "modified_huber"),
        "max_iter": ("choice", 2000),
        "penalty": ("choice", "l2", "l1", "elasticnet"),
    },
    "Perceptron": {
        "alpha": ("log", 1e-6, 0.1),
        "penalty": ("choice", None, "l2", "l1"),
        "max_iter": ("choice", 2000),
    },
    "DecisionTreeClassifier": {**_TREE, "criterion": ("choice", "gini", "entropy")},
    "DecisionTreeRegressor": _TREE,
    "RandomForestClassifier": _TREES,
    "RandomForestRegressor": _TREES,
    "ExtraTreesClassifier": _TREES,
    "ExtraTreesRegressor": _TREES,
    "GradientBoostingClassifier": _BOOSTED,
    "GradientBoostingRegressor": _BOOSTED,
    "XGBClassifier": _XGB,
    "XGBRegressor": _XGB,
    "LGBMClassifier": _LGBM,
    "LGBMRegressor": _LGBM,
    "HistGradientBoostingClassifier": _HISTOGRAM,
    "HistGradientBoostingRegressor": _HISTOGRAM,
    "AdaBoostClassifier": {"n_estimators": ("int", 50, 400), "learning_rate": ("log", 0.05, 2.0)},
    "AdaBoostRegressor": {"n_estimators": ("int", 50, 400), "learning_rate": ("log", 0.05, 2.0)},
    "BaggingClassifier": {"n_estimators": ("int", 10, 200), "max_samples": ("real", 0.4, 1.0)},
    "SVC": _SVM,
    "SVR": {**_SVM, "epsilon": ("log", 0.01, 1.0)},
    "LinearSVC": _LINEAR_SVM,
    "LinearSVR": _LINEAR_SVM,
    "KNeighborsClassifier": _NEIGHBORS,
    "KNeighborsRegressor": _NEIGHBORS,
    "GaussianNB": {"var_smoothing": ("log", 1e-10, 1e-1)},
    "MultinomialNB": {"alpha": ("log", 1e-3, 10.0)},
    "ComplementNB": {"alpha": ("log", 1e-3, 10.0)},
    "BernoulliNB": {"alpha": ("log", 1e-3, 10.0)},
    "MLPClassifier": _NETWORK,
    "MLPRegressor": _NETWORK,
    "Ridge": {"alpha": ("log", 1e-3, 1000.0)},
    "Lasso": {"alpha": ("log", 1e-4, 10.0)},
    "ElasticNet": {"alpha": ("log", 1e-4, 10.0), "l1_ratio": ("real", 0.05, 0.95)},
    "SGDRegressor": {
        "alpha": ("log", 1e-6, 0.1),
        "penalty": ("choice", "l2", "l1", "elasticnet"),
        "max_iter": ("choice", 2000),
    },
    "HuberRegressor": {
        "alpha": ("log", 1e-5, 1.0),
        "epsilon": ("real", 1.05, 2.5),
        "max_iter": ("choice", 1000),
    },
    "KernelRidge": {"alpha": ("log", 1e-3, 10.0), "kernel": ("choice", "linear", "rbf", "poly")},
    "NuSVC": {"nu": ("real", 0.1, 0.6), "gamma": ("choice", "scale", "auto", 0.01, 0.1)},
    "LinearDiscriminantAnalysis": {
        "solver": ("choice", "lsqr"),
        "shrinkage": ("choice", None, "auto", 0.1, 0.5),
    },
    "QuadraticDiscriminantAnalysis": {"reg_param": ("real", 0.0, 1.0)},
}

STEPS: Dict[str, Space] = {
    "TfidfVectorizer": {
        "ngram_range": ("choice", (1, 1), (1, 2)),
        "sublinear_tf": ("choice", False, True),
        "min_df": ("choice", 1, 2),
    },
    "CountVectorizer": {
        "ngram_range": ("choice", (1, 1), (1, 2)),
        "binary": ("choice", False, True),
        "min_df": ("choice", 1, 2),
    },
    "PCA": {"n_components": ("choice", None, 0.9, 0.95, 0.99)},
    "PolynomialFeatures": {"degree": ("choice", 1, 2), "interaction_only": ("choice", False, True)},
    "SimpleImputer": {"strategy": ("choice", "mean", "median", "most_frequent")},
    "SelectKBest": {"k": ("choice", "all", 10, 20)},
}
"""Spaces of the steps before the estimator in a pipeline."""
SCALERS = ("StandardScaler", "MinMaxScaler", "RobustScaler", "MaxAbsScaler")
"""Scalers that stand in for each other."""
WANTS_SCALED = (
    "SVC",
    "SVR",
    "NuSVC",
    "LinearSVC",
    "LinearSVR",
    "KNeighborsClassifier",
    "KNeighborsRegressor",
    "MLPClassifier",
    "MLPRegressor",
    "LogisticRegression",
    "SGDClassifier",
    "SGDRegressor",
    "Perceptron",
    "Ridge",
    "Lasso",
    "ElasticNet",
    "RidgeClassifier",
    "KernelRidge",
)

CLASSIFIERS = (
    ("sklearn.ensemble", "HistGradientBoostingClassifier", False),
    ("sklearn.ensemble", "ExtraTreesClassifier", False),
    ("sklearn.svm", "SVC", True),
    ("sklearn.linear_model", "LogisticRegression", True),
    ("sklearn.neighbors", "KNeighborsClassifier", True),
)
"""Module, class, whether it wants its inputs scaled; the order in which others are tried."""
REGRESSORS = (
    ("sklearn.ensemble", "HistGradientBoostingRegressor", False),
    ("sklearn.ensemble", "ExtraTreesRegressor", False),
    ("sklearn.linear_model", "Ridge", True),
    ("sklearn.svm", "SVR", True),
)
JUDGED_SHARE = 0.2
FEWEST_JUDGED = 20
OWN_TRIALS = 4
"""Trials of the developer's own estimator before others are tried."""

RARE_COUNTS = ("balanced_accuracy", "f1", "recall", "precision")
"""Metrics that a rare class counts in as much as a frequent one."""
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


class Proposals:
    """Values for one space: asked one set at a time, told each one's score."""

    def __init__(self, space: Space, seed: int) -> None:
        self.space = space
        self._random = random.Random(seed)
        try:
            import optuna
        except ImportError:
            self._study: Any = None
        else:
            optuna.logging.set_verbosity(optuna.logging.ERROR)
            self._study = optuna.create_study(
                direction="maximize", sampler=optuna.samplers.TPESampler(seed=seed)
            )
        self._asked: Any = None

    def ask(self) -> Dict[str, Any]:
        """The next values to try."""
        if self._study is None:
            return {name: self._draw(spec) for name, spec in self.space.items()}
        self._asked = self._study.ask()
        return {name: self._suggest(name, spec) for name, spec in self.space.items()}

    def tell(self, score: Optional[float]) -> None:
        """How good the values asked last were; None when they failed."""
        if self._study is not None and self._asked is not None:
            from optuna.trial import TrialState

            if score is None:
                self._study.tell(self._asked, state=TrialState.FAIL)
            else:
                self._study.tell(self._asked, score)

    def _suggest(self, name: str, spec: Tuple[Any, ...]) -> Any:
        kind = spec[0]
        values = spec[1:]
        if kind == "choice":
            # Optuna stores plain scalars only, so a tuple is chosen by its place.
            return values[self._asked.suggest_categorical(name, list(range(len(values))))]
        if kind == "int":
            return self._asked.suggest_int(name, *values)
        return self._asked.suggest_float(name, *values, log=kind == "log")

    def _draw(self, spec: Tuple[Any, ...]) -> Any:
        kind = spec[0]
        values = spec[1:]
        if kind == "choice":
            return self._random.choice(values)
        if kind == "int":
            return self._random.randint(*values)
        if kind == "log":
            return float(values[0] * (values[1] / values[0]) ** self._random.random())
        return self._random.uniform(*values)


class Candidate:
    """An estimator to try, with the words for what is different about it."""

    def __init__(self, family: str, estimator: Any, parameters: Dict[str, Any], words: str) -> None:
        self.family = family
        self.estimator = estimator
        self.parameters = parameters
        self.words = words


class Search:
    """One search around one judged fit."""

    def __init__(
        self, fit: Any, request: Dict[str, Any], journal: Journal, *, folder: str, seed: int
    ) -> None:
        self.fit = fit
        self.request = request
        self.journal = journal
        self.folder = folder
        self.seed = seed
        self.base = parameter_search.chosen(fit.estimator)
        """The developer's estimator as trials vary it; of a grid search what it chose."""
        self.run_seed = seed
        self.seed = int(request.get("search_seed") or seed)
        """What candidates and folds are drawn from: that of the run whose winner is followed."""
        self._followed = {
            int(one["number"]): one
            for one in request.get("followed") or ()
            if isinstance(one, dict)
        }
        """Trials of that run, whose scores are taken as they are: nothing is chosen anew."""
        self.notes: List[str] = []
        self.x, self.y = fit.x, fit.y
        """What trials are cross-validated on, and the winner is fitted on."""
        self.selection = "disjoint"
        self.judged: Optional[Tuple[Any, Any]] = None
        """Examples and targets that are kept from the trials and the winner, if the gate had none
        of its own.
        """
        self._keep_some_back()
        self.metric = str(request.get("metric", "accuracy"))
        self.mode = str(request.get("mode", "max"))
        self.trials: List[Dict[str, Any]] = []
        self.candidates: Dict[int, Candidate] = {}
        self.seconds = 0.0
        self._proposals: Dict[str, Proposals] = {}
        os.makedirs(os.path.join(folder, "trials"), exist_ok=True)

    def run(self) -> Dict[str, Any]:
        """Search, give the script's estimator the winner, and return the result's record."""
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
        """Keep a fifth of the examples for the gate, if all it had was the cross-validation that
        the script trained by.

        A grid search's `best_score_` is a mean over other models than the one kept, on the examples
        that chose it.
        """
        names = example_hashes.hashes(self.fit.x)
        if (
            names is None
            or self.fit.y is None
            or example_hashes.Examples(names).digest != self.request.get("judged_digest")
        ):
            return
        order = sorted(set(names))
        kept_back = set(order[: int(len(order) * JUDGED_SHARE)])
        if len(kept_back) < FEWEST_JUDGED:
            self.selection = "contaminated"
            return
        judged = [i for i, name in enumerate(names) if name in kept_back]
        rest = [i for i, name in enumerate(names) if name not in kept_back]
        self.judged = picked(self.fit.x, judged), picked(self.fit.y, judged)
        self.x, self.y = picked(self.fit.x, rest), picked(self.fit.y, rest)
        self.notes.append(
            f"the script's own number is a cross-validation's: {len(judged)} examples are kept from the search and its winner,"
            " which is judged on them"
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
        # Trial 0 passing here says the script's own test found it wanting: the bar must be cleared
        # by a margin.
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
        """The developer's estimator with other values, then other estimators, then the best of all
        with other values.
        """
        own_only = bool(self.request.get("own_only"))
        others = [] if own_only else self._others()
        first = len(others) > 0 and others[0].family == "scaled" and not _is_scaled(self.x)
        if first and number == 1:
            return others[0]
        if number <= OWN_TRIALS + first or own_only:
            own = self._varied("own", self.candidates[self._best_of(2 if first else 1)].estimator)
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
        """The number of the best of the first trials."""
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
        known = last.get_params()
        space = {prefix + name: spec for name, spec in space.items() if name in known}
        if self.metric in RARE_COUNTS and "class_weight" in known:
            space[f"{prefix}class_weight"] = ("choice", "balanced", None)
        if family not in self._proposals:
            self._proposals[family] = Proposals({**space, **step_spaces(estimator)}, self.seed)
        values = self._proposals[family].ask()
        varied = clone(estimator).set_params(
            **{name: made(value) for name, value in values.items()}
        )
        said = ", ".join(
            f"{n[len(prefix) :] if n.startswith(prefix) else n}={_short(v)}"
            for n, v in values.items()
        )
        return Candidate(family, varied, values, f"{type(last).__name__} with {said}")

    def _with_threshold(self) -> List[Candidate]:
        """Return the estimator with a threshold of its own, if that can raise the metric: half is
        best for accuracy alone.
        """
        from sklearn import model_selection
        from sklearn.base import clone, is_classifier

        tuned = getattr(
            model_selection, "TunedThresholdClassifierCV", None
        )  # since scikit-learn 1.5
        is_binary = is_classifier(self.base) and len(set(getattr(self.base, "classes_", ()))) == 2
        if (
            tuned is None
            or self.metric not in RARE_COUNTS
            or not is_binary
            or not hasattr(self.base, "predict_proba")
        ):
            return []
        made = tuned(clone(self.base), scoring=SCORERS[self.metric], random_state=self.seed)
        return [
            Candidate(
                "threshold",
                made,
                {},
                f"{type(self.base).__name__} with the threshold that is best for {self.metric}",
            )
        ]

    def _others(self) -> List[Candidate]:
        from importlib import import_module

        from sklearn.base import clone, is_classifier
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        prefix, last = last_step(self.base)
        found = []
        if not prefix and type(last).__name__ in WANTS_SCALED:
            words = f"{type(last).__name__} on scaled inputs"
            found.append(
                Candidate("scaled", make_pipeline(StandardScaler(), clone(last)), {}, words)
            )
        found += self._with_threshold()
        for module, name, scaled in CLASSIFIERS if is_classifier(self.base) else REGRESSORS:
            if name == type(last).__name__:
                continue
            made = getattr(import_module(module), name)()
            if hasattr(last, "predict_proba") and not hasattr(made, "predict_proba"):
                continue  # the script may ask for it
            if "random_state" in made.get_params():
                made.set_params(random_state=self.run_seed)
            if prefix:
                whole = clone(self.base).set_params(**{prefix[:-2]: made})
            else:
                whole = make_pipeline(StandardScaler(), made) if scaled else made
            found.append(Candidate(name, whole, {}, f"{name} instead of {type(last).__name__}"))
        return found

    def _try(self, candidate: Candidate, number: int) -> Dict[str, Any]:
        """Cross-validate a candidate, or take its record from before."""
        path = os.path.join(self.folder, "trials", f"{number}.json")
        self.candidates[number] = candidate
        kept = self._followed.get(number) or atomic.read_json(path)
        if isinstance(kept, dict) and kept.get("edits") == (
            [candidate.words] if candidate.words else []
        ):
            self.trials.append(kept)
            self.seconds += float(kept.get("seconds", 0.0))
            return kept
        self.journal.progress("search", trial=number)
        began = time.monotonic()
        trial: Dict[str, Any] = {
            "number": number,
            "parent": None if number == 0 else 0,
            "edits": [candidate.words] if candidate.words else [],
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
        self.journal.write("trial", trial=trial)
        return trial

    def _cross_validate(self, estimator: Any) -> List[float]:
        from sklearn.base import is_classifier
        from sklearn.model_selection import KFold, StratifiedKFold, cross_val_score

        splitter = StratifiedKFold if is_classifier(estimator) else KFold
        folds = splitter(5, shuffle=True, random_state=self.seed)
        scorer = SCORERS.get(self.metric, "accuracy" if is_classifier(estimator) else "r2")
        if scorer.endswith("_macro") and _is_binary(self.y):
            scorer = scorer[: -len("_macro")]  # as the metric's function does without being told
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            scores = cross_val_score(
                estimator, self.x, self.y, cv=folds, scoring=scorer, error_score="raise"
            )
        sign = -1.0 if scorer.startswith("neg_") else 1.0
        return [sign * float(score) for score in scores]

    def _own_score(self, candidate: Candidate) -> Optional[float]:
        """What the script's parameter search would call the candidate's score; None if it measures
        something else.
        """
        from sklearn.base import is_classifier

        usual = "accuracy" if is_classifier(self.base) else "r2"
        scorer = SCORERS.get(self.metric, usual)
        if scorer != (getattr(_last_search(self.fit.estimator), "scoring", None) or usual):
            return None
        number = next(number for number, one in self.candidates.items() if one is candidate)
        score = next((one["score"] for one in self.trials if one["number"] == number), None)
        return -score if score is not None and scorer.startswith("neg_") else score

    def _graft(self, candidate: Candidate) -> None:
        """Fit the winner on everything the script trained on, and make the script's estimator it."""
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
    """The parameter search itself: a pipeline's is its last step."""
    steps = getattr(estimator, "steps", None)
    return _last_search(steps[-1][1]) if steps else estimator


def picked(values: Any, kept: List[int]) -> Any:
    """Return some examples of an array, a data frame, a sparse matrix or a list."""
    is_plain = isinstance(values, list) and not (values and hasattr(values[0], "shape"))
    return [values[i] for i in kept] if is_plain else rows(values, kept)


def unfitted(estimator: Any) -> Any:
    """A fresh copy that can be fitted on examples alone: early stopping is the number of rounds
    that it came to.
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
    """The space of what stands before the estimator in a pipeline: its settings, and which scaler
    it is.
    """
    found: Space = {}
    for name, step in getattr(estimator, "steps", [])[:-1]:
        kind = type(step).__name__
        if kind in SCALERS:
            found[name] = ("choice", *[_SCALER + one for one in SCALERS])
        known = step.get_params() if hasattr(step, "get_params") else {}
        found.update(
            {f"{name}__{n}": spec for n, spec in STEPS.get(kind, {}).items() if n in known}
        )
    return found


_SCALER = "scaler:"


def made(value: Any) -> Any:
    """A proposed value as the estimator takes it: a scaler is named in the space, so that values
    stay plain.
    """
    if isinstance(value, str) and value.startswith(_SCALER):
        from sklearn import preprocessing

        return getattr(preprocessing, value[len(_SCALER) :])()
    return value


def _is_scaled(x: Any) -> bool:
    """Whether the inputs are on one scale, near 1, or nothing that can be scaled."""
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
    """An estimator as JSON: its class, the parameters that are not its defaults, its steps, and
    estimators it is given.
    """
    kind = type(estimator)
    module = public_module(kind.__module__)
    steps = [[name, describe(one)] for name, one in getattr(estimator, "steps", [])]
    known = inspect.signature(kind.__init__).parameters
    given = {} if steps else estimator.get_params(deep=False)
    inner = {name: describe(value) for name, value in given.items() if _is_estimator(value)}
    changed = {
        name: plain(value)
        for name, value in given.items()
        if name not in inner and (name not in known or not _is_same(known[name].default, value))
    }
    order = [one.name for one in known.values() if one.kind is one.POSITIONAL_OR_KEYWORD][1:]
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
    """The estimator whose parameters are searched, with the prefix that reaches them."""
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
