"""Search spaces of scikit-learn's estimators, and settings that are often good."""

from typing import Any, Dict, Tuple

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
    "max_leaf_nodes": ("int", 4, 63),
    "min_samples_leaf": ("int", 2, 60),
    "l2_regularization": ("log", 1e-4, 30.0),
    "max_features": ("real", 0.2, 1.0),
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
    "num_leaves": ("int", 4, 63),
    "min_child_samples": ("int", 5, 40),
    "colsample_bytree": ("real", 0.3, 1.0),
    "reg_lambda": ("log", 1e-3, 10.0),
}
_CATBOOST: Space = {
    "learning_rate": ("log", 0.01, 0.2),
    "iterations": ("int", 150, 1000),
    "depth": ("int", 3, 9),
    "l2_leaf_reg": ("log", 0.5, 20.0),
    "random_strength": ("log", 0.3, 5.0),
}
_SVM: Space = {
    "C": ("log", 0.1, 100.0),
    "gamma": ("choice", "scale", 0.001, 0.003, 0.01, 0.03, 0.1),
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
    "CatBoostClassifier": _CATBOOST,
    "CatBoostRegressor": _CATBOOST,
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

_SLOW_BOOSTING = {"learning_rate": 0.05, "max_iter": 200, "max_leaf_nodes": 15}
_SMALL_BOOSTING = {"learning_rate": 0.05, "max_iter": 150, "max_leaf_nodes": 6, "max_features": 0.5}
_BOOSTED_FIRST = (
    {"learning_rate": 0.05, "n_estimators": 300, "max_depth": 4, "subsample": 0.8},
    {"learning_rate": 0.05, "n_estimators": 200, "max_depth": 3, "subsample": 0.8},
)
_TREES_FIRST = (
    {"n_estimators": 300, "max_depth": None, "min_samples_leaf": 1, "max_features": "sqrt"},
    {"n_estimators": 300, "max_depth": None, "min_samples_leaf": 3, "max_features": 0.6},
)
_TREE_FIRST = (
    {"max_depth": 8, "min_samples_leaf": 5, "max_leaf_nodes": None},
    {"max_depth": 4, "min_samples_leaf": 5, "max_leaf_nodes": None},
)
_SVM_FIRST = (
    {"C": 10.0, "gamma": "scale", "kernel": "rbf"},
    {"C": 1.0, "gamma": "scale", "kernel": "rbf"},
)
_NEIGHBORS_FIRST = (
    {"n_neighbors": 9, "weights": "distance", "p": 1},
    {"n_neighbors": 5, "weights": "distance", "p": 2},
)
_NETWORK_FIRST = (
    {"hidden_layer_sizes": (200,), "alpha": 0.1, "learning_rate_init": 0.003},
    {"hidden_layer_sizes": (100,), "alpha": 0.01, "early_stopping": False, "max_iter": 400},
)
_LGBM_FIRST = (
    {"learning_rate": 0.05, "n_estimators": 200, "num_leaves": 15, "colsample_bytree": 0.7},
    {"learning_rate": 0.05, "n_estimators": 150, "num_leaves": 6, "colsample_bytree": 0.5},
)
_CATBOOST_FIRST = ({"learning_rate": 0.05, "iterations": 500, "depth": 6},)

FIRST: Dict[str, Tuple[Dict[str, Any], ...]] = {
    "LogisticRegression": ({"C": 1.0, "max_iter": 1000}, {"C": 0.1, "max_iter": 1000}),
    "DecisionTreeClassifier": _TREE_FIRST,
    "DecisionTreeRegressor": _TREE_FIRST,
    "RandomForestClassifier": _TREES_FIRST,
    "RandomForestRegressor": _TREES_FIRST[::-1],
    "ExtraTreesClassifier": _TREES_FIRST,
    "ExtraTreesRegressor": ({**_TREES_FIRST[0], "max_features": 0.6}, _TREES_FIRST[1]),
    "GradientBoostingClassifier": _BOOSTED_FIRST,
    "GradientBoostingRegressor": _BOOSTED_FIRST,
    "XGBClassifier": _BOOSTED_FIRST,
    "XGBRegressor": _BOOSTED_FIRST,
    "LGBMClassifier": _LGBM_FIRST,
    "LGBMRegressor": _LGBM_FIRST,
    "CatBoostClassifier": _CATBOOST_FIRST,
    "CatBoostRegressor": _CATBOOST_FIRST,
    "HistGradientBoostingClassifier": (_SLOW_BOOSTING, _SMALL_BOOSTING),
    "HistGradientBoostingRegressor": (_SLOW_BOOSTING, _SMALL_BOOSTING),
    "SVC": _SVM_FIRST,
    "SVR": _SVM_FIRST,
    "KNeighborsClassifier": _NEIGHBORS_FIRST,
    "KNeighborsRegressor": _NEIGHBORS_FIRST,
    "MLPClassifier": _NETWORK_FIRST,
    "MLPRegressor": _NETWORK_FIRST,
    "Ridge": ({"alpha": 10.0}, {"alpha": 0.1}),
}
"""Settings that are often good for an estimator, in the order in which they are tried."""
FIRST_OF_STEPS: Dict[str, Dict[str, Any]] = {
    "PCA": {"n_components": 0.95},
    "SelectKBest": {"k": "all"},
    "TfidfVectorizer": {"ngram_range": (1, 2), "sublinear_tf": True},
    "CountVectorizer": {"ngram_range": (1, 2)},
}
"""The same for steps before the estimator, tried with the estimator's settings in use."""
