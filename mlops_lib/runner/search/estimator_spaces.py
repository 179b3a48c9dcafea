"""Search spaces of scikit-learn's estimators, and proposals of values."""

import random
from typing import Any, Dict, Optional, Tuple

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
"""Scalers that can replace each other."""
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
"""Module, class, and whether its inputs are scaled, in the order in which others are tried."""
REGRESSORS = (
    ("sklearn.ensemble", "HistGradientBoostingRegressor", False),
    ("sklearn.ensemble", "ExtraTreesRegressor", False),
    ("sklearn.linear_model", "Ridge", True),
    ("sklearn.svm", "SVR", True),
)


class Proposals:
    """Values proposed from one space, one set at a time.

    Args:
        space: the space.
        seed: the seed; with the scores so far it determines the next values.
    """

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
        self._trial: Any = None

    def ask(self) -> Dict[str, Any]:
        """Return the next values to try."""
        if self._study is None:
            return {name: self._draw(spec) for name, spec in self.space.items()}
        self._trial = self._study.ask()
        return {name: self._suggest(name, spec) for name, spec in self.space.items()}

    def tell(self, score: Optional[float]) -> None:
        """Report the score of the last values; None if they failed."""
        if self._study is not None and self._trial is not None:
            from optuna.trial import TrialState

            if score is None:
                self._study.tell(self._trial, state=TrialState.FAIL)
            else:
                self._study.tell(self._trial, score)

    def _suggest(self, name: str, spec: Tuple[Any, ...]) -> Any:
        kind = spec[0]
        values = spec[1:]
        if kind == "choice":
            # Optuna stores plain scalars only, so a tuple is chosen by its place.
            return values[self._trial.suggest_categorical(name, list(range(len(values))))]
        if kind == "int":
            return self._trial.suggest_int(name, *values)
        return self._trial.suggest_float(name, *values, log=kind == "log")

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
