"""Other estimators to try, each after steps that prepare its inputs.

The order and the settings are the same for all tables. An estimator is left out if the environment
lacks its package.
"""

import importlib.util
from importlib import import_module
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Tuple

DENSE_CELLS = 5_000_000
"""Sparse inputs of at most so many cells are written out for estimators that need that."""
DENSE_COLUMNS = 300
"""Sparse inputs with more columns are reduced for estimators that look at each column."""
COMPONENTS = 100
SAMPLE = 1000
"""Number of examples from which the properties of the inputs are read."""
_TREE_COUNT = 200
_SMALL_BOOSTING = {
    "learning_rate": 0.05,
    "max_iter": 150,
    "max_leaf_nodes": 6,
    "l2_regularization": 1.0,
}
"""Boosting for few or noisy examples."""


class Family(NamedTuple):
    """An estimator to try, and its demands on the inputs."""

    module: str
    name: str
    settings: Mapping[str, Any] = {}
    scaled: bool = False
    """True if it needs inputs on one scale, and for a regression scaled targets as well."""
    missing: bool = False
    """True if it accepts missing values."""
    sparse: bool = True
    """True if it accepts sparse inputs."""
    most_rows: int = 1_000_000
    """With more examples a fit takes too long."""
    balance: Mapping[str, Any] = {"class_weight": "balanced"}
    """Settings by which a rare class counts as much as a frequent one."""
    most_columns: int = 1_000_000


_QUIET_LIGHTGBM = {"verbosity": -1}
_QUIET_CATBOOST = {
    "iterations": 300,
    "learning_rate": 0.06,
    "verbose": False,
    "allow_writing_files": False,
}

CLASSIFIERS = (
    Family("sklearn.ensemble", "HistGradientBoostingClassifier", missing=True, sparse=False),
    Family(
        "sklearn.ensemble",
        "HistGradientBoostingClassifier",
        _SMALL_BOOSTING,
        missing=True,
        sparse=False,
    ),
    Family("sklearn.ensemble", "ExtraTreesClassifier", {"n_estimators": _TREE_COUNT}),
    Family("sklearn.linear_model", "LogisticRegression", {"max_iter": 1000}, scaled=True),
    Family("sklearn.svm", "SVC", scaled=True, most_rows=10_000),
    Family(
        "sklearn.ensemble",
        "RandomForestClassifier",
        {"n_estimators": _TREE_COUNT, "min_samples_leaf": 3},
    ),
    Family(
        "catboost",
        "CatBoostClassifier",
        _QUIET_CATBOOST,
        missing=True,
        most_columns=3000,
        balance={"auto_class_weights": "Balanced"},
    ),
    Family(
        "sklearn.neural_network",
        "MLPClassifier",
        {"alpha": 0.01, "max_iter": 300},
        scaled=True,
        most_rows=50_000,
        balance={},
    ),
    Family("lightgbm", "LGBMClassifier", _QUIET_LIGHTGBM, missing=True),
    Family(
        "xgboost",
        "XGBClassifier",
        {"learning_rate": 0.1, "n_estimators": 200},
        missing=True,
        balance={},
    ),
    Family(
        "sklearn.neighbors",
        "KNeighborsClassifier",
        {"weights": "distance"},
        scaled=True,
        most_rows=50_000,
        balance={},
    ),
)
REGRESSORS = (
    Family("sklearn.ensemble", "HistGradientBoostingRegressor", missing=True, sparse=False),
    Family(
        "sklearn.ensemble",
        "HistGradientBoostingRegressor",
        _SMALL_BOOSTING,
        missing=True,
        sparse=False,
    ),
    Family("sklearn.ensemble", "ExtraTreesRegressor", {"n_estimators": _TREE_COUNT}),
    Family("sklearn.linear_model", "Ridge", scaled=True),
    Family("sklearn.svm", "SVR", scaled=True, most_rows=10_000),
    Family(
        "sklearn.ensemble",
        "RandomForestRegressor",
        {"n_estimators": _TREE_COUNT, "max_features": 0.5},
    ),
    Family("catboost", "CatBoostRegressor", _QUIET_CATBOOST, missing=True, most_columns=3000),
    Family(
        "sklearn.neural_network",
        "MLPRegressor",
        {"alpha": 0.01, "max_iter": 300},
        scaled=True,
        most_rows=50_000,
    ),
    Family("lightgbm", "LGBMRegressor", _QUIET_LIGHTGBM, missing=True),
    Family("xgboost", "XGBRegressor", {"learning_rate": 0.1, "n_estimators": 200}, missing=True),
    Family(
        "sklearn.neighbors",
        "KNeighborsRegressor",
        {"weights": "distance"},
        scaled=True,
        most_rows=50_000,
    ),
)
WORDS_CLASSIFIERS = (
    Family("sklearn.svm", "LinearSVC", scaled=True),
    Family("sklearn.naive_bayes", "ComplementNB", {"alpha": 0.3}, balance={}),
)
"""Tried first on sparse inputs with many columns, such as counts of words."""


class Inputs:
    """The properties of the last step's inputs.

    Args:
        x: the training examples.
        steps: the developer's fitted pipeline without its last step; None if there is none.
    """

    def __init__(self, x: Any, steps: Any = None) -> None:
        import numpy

        self.rows = int(x.shape[0]) if hasattr(x, "shape") else len(x)
        sample = x[:SAMPLE] if not hasattr(x, "iloc") else x.iloc[:SAMPLE]
        # By the text of the pipeline, so that scalers inside a ColumnTransformer count as well.
        scales = "Scaler" in repr(steps) or "Normalizer" in repr(steps)
        if steps is not None and len(steps):
            sample = steps.transform(sample)
        self.is_sparse = hasattr(sample, "tocsr")
        values = sample.data if self.is_sparse else numpy.asarray(sample)
        self.columns = int(sample.shape[1]) if getattr(sample, "ndim", 1) > 1 else 1
        self.is_even = self.is_sparse or is_scaled(sample)
        """True if the inputs are on one scale near 1, or not numeric at all."""
        self.is_numeric = values.dtype.kind in "biuf" and getattr(sample, "ndim", 2) == 2
        self.has_missing = self.is_numeric and bool(numpy.isnan(values.astype(float)).any())
        self.is_unit = scales or (
            self.is_sparse
            and self.is_numeric
            and bool(len(values) == 0 or abs(values.astype(float)).max() <= 1.0)
        )
        """True if they are on one scale already."""

    @property
    def are_words(self) -> bool:
        """Return whether they look like counts of words: sparse, with many columns."""
        return self.is_sparse and self.columns > DENSE_COLUMNS

    def prepared(self, family: Family, estimator: Any, seed: int) -> Any:
        """Return the estimator after the steps that give it inputs it can take."""
        from sklearn.pipeline import make_pipeline

        steps: List[Any] = []
        if self.has_missing and not family.missing:
            steps.append(_construct("sklearn.impute", "SimpleImputer", strategy="median"))
        if self.is_sparse and not family.sparse:
            # Too wide or too large to be written out: reduced to a few components instead.
            if self.columns > DENSE_COLUMNS or self.rows * self.columns > DENSE_CELLS:
                count = min(COMPONENTS, self.columns - 1)
                steps.append(
                    _construct(
                        "sklearn.decomposition",
                        "TruncatedSVD",
                        n_components=count,
                        random_state=seed,
                    )
                )
            else:
                steps.append(dense())
        if family.scaled and not self.is_unit:
            # Centring would fill the zeros of a sparse table.
            scaler = "MaxAbsScaler" if self.is_sparse else "StandardScaler"
            steps.append(_construct("sklearn.preprocessing", scaler))
        return make_pipeline(*steps, estimator) if steps else estimator


def is_scaled(x: Any) -> bool:
    """Return whether the inputs are on one scale near 1, or not numeric at all."""
    import numpy

    try:
        deviations = numpy.asarray(x, dtype=float).std(axis=0)
    except (TypeError, ValueError):
        return True
    vary = deviations[deviations > 0]
    return bool(vary.size == 0 or (vary.min() > 0.1 and vary.max() < 10))


def dense() -> Any:
    """Return a step that writes sparse inputs out."""
    from scipy.sparse import csr_matrix

    return _construct(
        "sklearn.preprocessing",
        "FunctionTransformer",
        func=csr_matrix.toarray,
        accept_sparse=True,
    )


def _construct(module: str, name: str, **settings: Any) -> Any:
    return getattr(import_module(module), name)(**settings)


def families(inputs: Inputs, classes: Any) -> Tuple[Family, ...]:
    """Return the estimators to try on such inputs, in order.

    Args:
        inputs: the inputs.
        classes: the classes of the targets; None for a regression.
    """
    is_classifier = classes is not None
    portfolio = CLASSIFIERS if is_classifier else REGRESSORS
    if inputs.are_words:
        # Linear models are the best for words, and trees the slowest.
        linear = tuple(f for f in portfolio if f.scaled and "Neighbors" not in f.name)
        trees = tuple(f for f in portfolio if f not in linear)
        portfolio = (*(WORDS_CLASSIFIERS if is_classifier else ()), *linear, *trees)
    return tuple(
        family
        for family in portfolio
        if inputs.rows <= family.most_rows
        and inputs.columns <= family.most_columns
        and (family.module != "xgboost" or classes is None or _are_counted(classes))
        and importlib.util.find_spec(family.module.split(".")[0]) is not None
    )


def _are_counted(classes: Any) -> bool:
    """Return whether classes are 0, 1, 2 and so on, as XGBoost wants them."""
    return list(classes) == list(range(len(classes)))


def estimator_of(
    family: Family, inputs: Inputs, *, seed: int, balanced: bool, is_classifier: bool
) -> Optional[Any]:
    """Return an unfitted estimator of the family; None if this version lacks it.

    Args:
        family: the family.
        inputs: the properties of its inputs.
        seed: its random state.
        balanced: whether a rare class counts as much as a frequent one.
        is_classifier: whether it predicts classes; for numbers, targets are scaled as well.
    """
    # An older version may lack the class or one of the settings.
    try:
        kind = getattr(import_module(family.module), family.name)
        estimator = kind(**family.settings)
    except (ImportError, AttributeError, TypeError):
        return None
    estimator.set_params(**_seed_setting(family, estimator, seed))
    if balanced and family.balance:
        weights: Dict[str, Any] = dict(family.balance)
        if family.module == "catboost" or set(weights) <= set(estimator.get_params()):
            estimator.set_params(**weights)
    prepared = inputs.prepared(family, estimator, seed)
    # Ridge and the neighbours do not depend on the scale of the targets.
    if is_classifier or not family.scaled or family.name in ("Ridge", "KNeighborsRegressor"):
        return prepared
    return _construct(
        "sklearn.compose",
        "TransformedTargetRegressor",
        regressor=prepared,
        transformer=_construct("sklearn.preprocessing", "StandardScaler"),
    )


def _seed_setting(family: Family, estimator: Any, seed: int) -> Dict[str, int]:
    # CatBoost names only parameters that were given.
    is_drawn = family.module == "catboost" or "random_state" in estimator.get_params()
    return {"random_state": seed} if is_drawn else {}
