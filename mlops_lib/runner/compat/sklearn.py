"""Arguments, methods and attributes that scikit-learn's estimators and functions lost."""

import collections
import functools
import inspect
from typing import Any, Callable, Dict, Mapping, Tuple

from mlops_lib.runner.compat.arguments import by_name
from mlops_lib.runner.compat.names import GoneError
from mlops_lib.runner.compat.notes import Notes

_ERRORS = {"mse": "squared_error", "mae": "absolute_error"}
VALUES: Dict[str, Dict[str, Dict[Any, Any]]] = {
    "DecisionTreeClassifier": {"criterion": _ERRORS, "max_features": {"auto": "sqrt"}},
    "DecisionTreeRegressor": {"criterion": _ERRORS, "max_features": {"auto": 1.0}},
    **{
        name: {"criterion": _ERRORS, "max_features": {"auto": auto}}
        for name, auto in (
            ("RandomForestClassifier", "sqrt"),
            ("RandomForestRegressor", 1.0),
            ("ExtraTreesClassifier", "sqrt"),
            ("ExtraTreesRegressor", 1.0),
        )
    },
    "GradientBoostingClassifier": {
        "loss": {"deviance": "log_loss"},
        "max_features": {"auto": "sqrt"},
        "criterion": {"mse": "squared_error", "mae": "squared_error"},
    },
    "GradientBoostingRegressor": {
        "loss": {"ls": "squared_error", "lad": "absolute_error"},
        "criterion": {"mse": "squared_error", "mae": "squared_error"},
    },
    "AdaBoostClassifier": {"algorithm": {"SAMME.R": "SAMME"}},
    "LogisticRegression": {"penalty": {"none": None}},
    "SGDClassifier": {"loss": {"log": "log_loss"}, "penalty": {"none": None}},
    "SGDRegressor": {"loss": {"squared_loss": "squared_error"}, "penalty": {"none": None}},
    "SVC": {"gamma": {0.0: "auto"}},
    "LinearSVC": {"loss": {"l1": "hinge", "l2": "squared_hinge"}},
    "MLPClassifier": {"algorithm": {"l-bfgs": "lbfgs"}},
}
"""Estimators with arguments whose values are called something else."""
EVERYWHERE: Dict[str, Dict[Any, Any]] = {"class_weight": {"auto": "balanced"}}
MODULES = (
    "ensemble",
    "linear_model",
    "tree",
    "svm",
    "neighbors",
    "cluster",
    "preprocessing",
    "naive_bayes",
    "model_selection",
    "manifold",
    "neural_network",
    "feature_extraction.text",
    "decomposition",
    "calibration",
    "feature_selection",
    "mixture",
    "discriminant_analysis",
    "gaussian_process",
)
"""Parts of scikit-learn whose estimators take their old arguments."""
RENAMED = {
    "base_estimator": "estimator",
    "n_iter": "max_iter",
    "sparse": "sparse_output",
    "affinity": "metric",
    "n_topics": "n_components",
}
HARMLESS = {
    "presort",
    "min_impurity_split",
    "precompute_distances",
    "iid",
    "multi_class",
    "fit_params",
    "decision_function_shape",
    "algorithm",
    "categorical_features",
    "n_jobs",
    "n_values",
    "square_distances",
    "learning_method",
    "charset",
}
"""Arguments to leave out if an estimator lost them: they choose the algorithm, not the result."""
FUNCTIONS = {
    "sklearn.metrics": (
        "confusion_matrix",
        "classification_report",
        "f1_score",
        "precision_score",
        "recall_score",
        "accuracy_score",
        "roc_auc_score",
        "roc_curve",
        "precision_recall_curve",
        "log_loss",
        "mean_squared_error",
        "auc",
    ),
    "sklearn.utils.class_weight": ("compute_class_weight", "compute_sample_weight"),
    "sklearn.datasets": (
        "load_digits",
        "load_files",
        "make_blobs",
        "make_moons",
        "make_circles",
        "make_classification",
        "make_regression",
        "fetch_20newsgroups",
    ),
}
"""Functions with parameters that became keyword-only, and their dropped arguments."""
ANSWERING = ("predict", "predict_proba", "decision_function", "transform", "kneighbors")
"""Methods that took a single row."""
SCALERS = ("StandardScaler", "MinMaxScaler", "MaxAbsScaler", "RobustScaler")
"""Transformers that took a column as it is."""
DROPPED = {"log_loss": ("eps",), "auc": ("reorder",)}


def estimators(module: Any, notes: Notes) -> None:
    """Let the estimators of one part of scikit-learn take their old arguments."""
    for name, estimator in list(vars(module).items()):
        plain = getattr(estimator, "__init__", None)
        own = isinstance(estimator, type) and estimator.__module__.startswith(module.__name__)
        if own:
            _one_sample(estimator, notes)
        if own and name in SCALERS:
            for method in ("fit", "partial_fit", "transform", "fit_transform", "inverse_transform"):
                if hasattr(estimator, method):
                    setattr(estimator, method, _of_column(getattr(estimator, method), notes))
        if own and inspect.isfunction(plain) and not hasattr(plain, "_mlops_old"):
            estimator.__init__ = _init(plain, name, VALUES.get(name, {}), notes)


def _init(original: Callable[..., Any], name: str, values: Mapping[str, Any], notes: Notes) -> Any:
    signature = inspect.signature(original)
    known_names = set(signature.parameters)

    @functools.wraps(original)
    def init(self: Any, *args: Any, **kwargs: Any) -> None:
        (self, *passed), kwargs = by_name(name, signature, (self, *args), kwargs, notes)
        original(self, *passed, **_translated(name, known_names, values, kwargs, notes))

    init._mlops_old = True  # type: ignore[attr-defined]
    return init


def _translated(
    name: str,
    known_names: "set[str]",
    values: Mapping[str, Any],
    kwargs: Dict[str, Any],
    notes: Notes,
) -> Dict[str, Any]:
    fresh = dict(kwargs)
    for key, value in kwargs.items():
        meanings = {**EVERYWHERE.get(key, {}), **values.get(key, {})}
        if key not in known_names and RENAMED.get(key) in known_names:
            fresh[RENAMED[key]] = fresh.pop(key)
            notes.say(f"{name}({key}=…) is {RENAMED[key]}= now")
        elif key not in known_names and key in HARMLESS:
            fresh.pop(key)
            notes.say(f"{name}({key}=…) has no meaning any more and is left out")
        elif key == "normalize" and key not in known_names:
            if value:
                raise GoneError(
                    f"{name}(normalize=True) is gone: put a StandardScaler before it, in a pipeline"
                )
            fresh.pop(key)
        elif isinstance(value, (str, float)) and value in meanings:
            fresh[key] = meanings[value]
            notes.say(f"{name}({key}={value!r}) is {fresh[key]!r} now")
    return fresh


def functions(module: Any, notes: Notes) -> None:
    """Let functions take by position the arguments that they took so before."""
    for name in FUNCTIONS[module.__name__]:
        setattr(module, name, _function(module, getattr(module, name), name, notes))


def _function(
    module: Any, original: Callable[..., Any], name: str, notes: Notes
) -> Callable[..., Any]:
    signature = inspect.signature(original)
    gone = set(DROPPED.get(name, ())) - set(signature.parameters)

    @functools.wraps(original)
    def call(*args: Any, **kwargs: Any) -> Any:
        args, kwargs = by_name(name, signature, args, kwargs, notes)
        for key in gone & set(kwargs):
            kwargs.pop(key)
            notes.say(f"{name}({key}=…) has no meaning any more and is left out")
        if (
            name == "mean_squared_error"
            and "squared" in kwargs
            and "squared" not in signature.parameters
        ):
            notes.say("mean_squared_error(squared=False) is root_mean_squared_error now")
            if not kwargs.pop("squared"):
                return module.root_mean_squared_error(*args, **kwargs)
        return original(*args, **kwargs)

    return call


def _one_sample(estimator: type, notes: Notes) -> None:
    """`predict(x)` of a single row, which counted as one example before 0.19."""
    for base in estimator.__mro__:
        for name in ANSWERING:
            plain = vars(base).get(name)
            if (
                base.__module__.startswith("sklearn.")
                and inspect.isfunction(plain)
                and not hasattr(plain, "_mlops_old")
            ):
                setattr(base, name, _of_rows(plain, notes))


def _of_rows(original: Callable[..., Any], notes: Notes) -> Callable[..., Any]:
    @functools.wraps(original)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        features = getattr(self, "n_features_in_", 0)
        if args and features > 1 and _is_row(args[0], features):
            import numpy

            notes.say(
                f"{type(self).__name__} was given one row: it is one example, x.reshape(1, -1)"
            )
            args = (numpy.asarray(args[0]).reshape(1, -1), *args[1:])
        return original(self, *args, **kwargs)

    call._mlops_old = True  # type: ignore[attr-defined]
    return call


def _of_column(original: Callable[..., Any], notes: Notes) -> Callable[..., Any]:
    """A scaler's method given a column of numbers, which it scaled before 0.19."""

    @functools.wraps(original)
    def call(self: Any, x: Any, *args: Any, **kwargs: Any) -> Any:
        import numpy

        if (
            getattr(self, "n_features_in_", 1) != 1
            or not hasattr(x, "__len__")
            or numpy.ndim(x) != 1
            or not len(x)
        ):
            return original(self, x, *args, **kwargs)
        notes.say(f"{type(self).__name__} was given a column: it is x.reshape(-1, 1)")
        result = original(self, numpy.asarray(x).reshape(-1, 1), *args, **kwargs)
        return result if result is self else numpy.asarray(result).ravel()

    return call


def _is_row(x: Any, features: int) -> bool:
    if isinstance(x, (list, tuple)):
        return len(x) == features and all(isinstance(item, (int, float)) for item in x)
    return getattr(x, "shape", None) == (features,)


Score = collections.namedtuple("Score", "parameters mean_validation_score cv_validation_scores")
"""One row of `grid_scores_`."""


def _grid_scores(search: Any) -> "list[Score]":
    results = search.cv_results_
    splits = [results[f"split{i}_test_score"] for i in range(search.n_splits_)]
    return [
        Score(parameters, results["mean_test_score"][i], [split[i] for split in splits])
        for i, parameters in enumerate(results["params"])
    ]


def _feature_names(transformer: Any, input_features: Any = None) -> "list[str]":
    names = (
        transformer.get_feature_names_out()
        if input_features is None
        else (transformer.get_feature_names_out(input_features))
    )
    return [str(name) for name in names]


ATTRIBUTES: Dict[str, Tuple[Tuple[str, str, Any], ...]] = {
    "sklearn.model_selection": (
        ("GridSearchCV", "grid_scores_", property(_grid_scores)),
        ("RandomizedSearchCV", "grid_scores_", property(_grid_scores)),
    ),
    "sklearn.feature_extraction.text": (("CountVectorizer", "get_feature_names", _feature_names),),
    "sklearn.feature_extraction": (("DictVectorizer", "get_feature_names", _feature_names),),
    "sklearn.preprocessing": (
        ("OneHotEncoder", "get_feature_names", _feature_names),
        ("PolynomialFeatures", "get_feature_names", _feature_names),
    ),
    "sklearn.naive_bayes": (("GaussianNB", "sigma_", property(lambda model: model.var_)),),
}


def attributes(module: Any) -> None:
    """Methods and results that estimators had."""
    for owner, name, value in ATTRIBUTES[module.__name__]:
        if not hasattr(getattr(module, owner), name):
            setattr(getattr(module, owner), name, value)


def scorers(module: Any) -> None:
    """Restore error scorers under their names before 0.18; they were negative then too."""
    for name in ("mean_squared_error", "mean_absolute_error", "median_absolute_error", "log_loss"):
        module._SCORERS.setdefault(name, module._SCORERS[f"neg_{name}"])
    for allowed in getattr(module.check_scoring, "_skl_parameter_constraints", {}).get(
        "scoring", ()
    ):
        if hasattr(allowed, "options"):  # the names there were when it was defined
            allowed.options.update(module._SCORERS)
