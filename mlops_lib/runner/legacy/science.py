"""What scikit-learn, numpy, scipy, pandas and matplotlib moved, renamed or dropped."""

import functools
from typing import Any, Callable, Dict, Sequence, Tuple

from mlops_lib.runner.legacy.arguments import Call
from mlops_lib.runner.legacy.names import GoneError, Names, lend, listed
from mlops_lib.runner.legacy.notes import Notes

HERE = "mlops_lib.runner.legacy.science_functions"

_MISC: Names = {
    **listed("imread imresize imsave toimage fromimage imrotate derivative face ascent bytescale", HERE),
    **listed("comb factorial logsumexp", "scipy.special"),
}

MODULES: Dict[str, Tuple[Sequence[str], Names]] = {
    "sklearn.cross_validation": (("sklearn.model_selection",), listed(
        "KFold StratifiedKFold LeaveOneOut ShuffleSplit StratifiedShuffleSplit", HERE)),
    "sklearn.grid_search": (("sklearn.model_selection",), {}),
    "sklearn.learning_curve": (("sklearn.model_selection",), {}),
    "sklearn.externals": (("sklearn",), {"joblib": "joblib"}),
    "sklearn.externals.joblib": (("joblib",), {}),
    "sklearn.externals.six": (("six",), {}),
    "sklearn.lda": (("sklearn.discriminant_analysis",), {"LDA": "sklearn.discriminant_analysis:LinearDiscriminantAnalysis"}),
    "sklearn.qda": (("sklearn.discriminant_analysis",), {
        "QDA": "sklearn.discriminant_analysis:QuadraticDiscriminantAnalysis"}),
    "sklearn.datasets.samples_generator": (("sklearn.datasets",), {}),
    "sklearn.datasets.base": (("sklearn.datasets", "sklearn.utils"), {}),
    "sklearn.utils.testing": (("sklearn.utils._testing",), {}),
    "sklearn.utils.linear_assignment_": ((), listed("linear_assignment", HERE)),
    "sklearn.metrics.classification": (("sklearn.metrics",), {}),
    "sklearn.metrics.ranking": (("sklearn.metrics",), {}),
    "sklearn.metrics.regression": (("sklearn.metrics",), {}),
    "sklearn.metrics.scorer": (("sklearn.metrics",), {}),
    "sklearn.preprocessing.imputation": (("sklearn.preprocessing",), listed("Imputer", HERE)),
    "sklearn.preprocessing.data": (("sklearn.preprocessing",), {}),
    "sklearn.preprocessing.label": (("sklearn.preprocessing",), {}),
    **{f"sklearn.{package}.{name}": ((f"sklearn.{package}",), {}) for package, names in (
        ("ensemble", ("forest", "gradient_boosting", "weight_boosting", "bagging", "voting_classifier")),
        ("linear_model", ("logistic", "base", "ridge", "stochastic_gradient", "coordinate_descent", "perceptron")),
        ("tree", ("tree",)), ("svm", ("classes", "base")), ("neighbors", ("classification", "regression", "base")),
        ("neural_network", ("multilayer_perceptron",)), ("cluster", ("k_means_",)), ("decomposition", ("pca",)),
        ("feature_selection", ("univariate_selection", "from_model")), ("naive_bayes", ()),
    ) for name in names},
    "scipy.misc": ((), _MISC),
    "scipy.misc.pilutil": ((), listed("imread imresize imsave toimage", HERE)),
    "pandas.tools": (("pandas.plotting",), {}),
    "pandas.tools.plotting": (("pandas.plotting",), {}),
    "pandas.util.testing": (("pandas.testing",), {}),
    "matplotlib.finance": ((), {}),
    "numpy.testing.decorators": (("numpy.testing",), {}),
}  # fmt: skip

_NUMPY_MODULES = (
    "array zeros ones arange linspace sqrt mean median std var sum dot sin cos exp log log10 log2 pi inf nan where"
)
NAMES: Dict[str, Names] = {
    "numpy": {
        **listed("int float bool object str complex", "builtins"),
        **listed("float_=float64 complex_=complex128 unicode_=str_ string_=bytes_ Inf=inf Infinity=inf infty=inf PINF=inf"
                 " NaN=nan NAN=nan product=prod cumproduct=cumprod sometrue=any alltrue=all row_stack=vstack"
                 " round_=round in1d=isin issubclass_=issubdtype cast=asarray int0=intp", "numpy"),
        **listed("asscalar rank NINF trapz mat", HERE), "unicode": "builtins:str", "long": "builtins:int",
    },
    "scipy": {**listed(_NUMPY_MODULES + " interp randn=random.randn rand=random.rand", "numpy"),
              "misc": "scipy.misc"},
    "scipy.misc": _MISC,
    "scipy.integrate": listed("trapz=trapezoid cumtrapz=cumulative_trapezoid simps=simpson", "scipy.integrate"),
    "scipy.signal": listed("hann=windows.hann hamming=windows.hamming gaussian=windows.gaussian blackman=windows.blackman",
                           "scipy.signal"),
    "scipy.ndimage": {"imread": f"{HERE}:imread"},
    "scipy.stats": listed("nanmean nanmedian=nanmedian nanstd=nanstd", "numpy"),
    "sklearn": {"cross_validation": "sklearn.cross_validation", "grid_search": "sklearn.grid_search",
                "externals": "sklearn.externals", "lda": "sklearn.lda"},
    "sklearn.preprocessing": listed("Imputer", HERE),
    "sklearn.datasets": listed("load_boston fetch_mldata", HERE),
    "sklearn.metrics": listed("plot_confusion_matrix plot_roc_curve jaccard_similarity_score calinski_harabaz_score", HERE),
    "sklearn.mixture": listed("GMM=GaussianMixture DPGMM=BayesianGaussianMixture", "sklearn.mixture"),
    "sklearn.linear_model": listed("RandomizedLasso RandomizedLogisticRegression", HERE),
    "sklearn.utils": {"Bunch": "sklearn.utils._bunch:Bunch"},
    "pandas": {
        **listed("scatter_matrix=plotting.scatter_matrix", "pandas"), "datetime": "datetime:datetime", "np": "numpy",
        **listed("rolling_mean rolling_std rolling_sum", HERE), "Panel": f"{HERE}:Panel",
        "Int64Index": "pandas:Index", "Float64Index": "pandas:Index",
    },
    "matplotlib.cm": {"get_cmap": "matplotlib.pyplot:get_cmap"},
    "collections": listed("Iterable Iterator Mapping MutableMapping Sequence MutableSequence Callable Hashable Sized Set"
                          "", "collections.abc"),
    "time": {"clock": "time:perf_counter"},
    "inspect": {"getargspec": "inspect:getfullargspec"},
    "fractions": {"gcd": "math:gcd"},
    "base64": listed("encodestring=encodebytes decodestring=decodebytes", "base64"),
}  # fmt: skip

VALUES: Dict[str, Dict[str, Dict[Any, Any]]] = {
    "sklearn.tree": {name: {"criterion": {"mse": "squared_error", "mae": "absolute_error"},
                            "max_features": {"auto": auto}} for name, auto in (
        ("DecisionTreeClassifier", "sqrt"), ("DecisionTreeRegressor", 1.0))},
    "sklearn.ensemble": {
        **{name: {"criterion": {"mse": "squared_error", "mae": "absolute_error"}, "max_features": {"auto": auto}}
           for name, auto in (("RandomForestClassifier", "sqrt"), ("RandomForestRegressor", 1.0),
                              ("ExtraTreesClassifier", "sqrt"), ("ExtraTreesRegressor", 1.0))},
        "GradientBoostingClassifier": {"loss": {"deviance": "log_loss"}, "max_features": {"auto": "sqrt"},
                                       "criterion": {"mse": "squared_error", "mae": "squared_error"}},
        "GradientBoostingRegressor": {"loss": {"ls": "squared_error", "lad": "absolute_error"},
                                      "criterion": {"mse": "squared_error", "mae": "squared_error"}},
        "AdaBoostClassifier": {"algorithm": {"SAMME.R": "SAMME"}},
    },
    "sklearn.linear_model": {
        "LogisticRegression": {"penalty": {"none": None}}, "SGDClassifier": {"loss": {"log": "log_loss"},
                                                                            "penalty": {"none": None}},
        "SGDRegressor": {"loss": {"squared_loss": "squared_error"}, "penalty": {"none": None}},
        "Perceptron": {},
        "LinearRegression": {}, "Ridge": {}, "Lasso": {}, "ElasticNet": {},
    },
    "sklearn.preprocessing": {"OneHotEncoder": {}},
    "sklearn.cluster": {"KMeans": {}, "AgglomerativeClustering": {}},
    "sklearn.svm": {"SVC": {"gamma": {0.0: "auto"}}, "SVR": {}, "LinearSVC": {"loss": {"l1": "hinge", "l2": "squared_hinge"}}},
    "sklearn.naive_bayes": {"GaussianNB": {}, "MultinomialNB": {}},
    "sklearn.model_selection": {"GridSearchCV": {}, "RandomizedSearchCV": {}},
    "sklearn.manifold": {"TSNE": {}},
    "sklearn.neural_network": {"MLPClassifier": {"algorithm": {"l-bfgs": "lbfgs"}}},
    "sklearn.feature_extraction.text": {"TfidfVectorizer": {}, "CountVectorizer": {}},
    "sklearn.decomposition": {"LatentDirichletAllocation": {}},
}  # fmt: skip
"""Estimators whose old arguments are translated, with their old values."""
RENAMED = {
    "base_estimator": "estimator", "n_iter": "max_iter", "sparse": "sparse_output", "affinity": "metric",
    "n_topics": "n_components",
}  # fmt: skip
HARMLESS = {
    "presort", "min_impurity_split", "precompute_distances", "iid", "multi_class", "fit_params", "decision_function_shape",
    "algorithm", "categorical_features", "n_jobs", "n_values", "square_distances", "learning_method", "charset",
}  # fmt: skip
"""Left out where an estimator does not take them any more: they chose how, not what is computed."""


def estimators(module: Any, notes: Notes) -> None:
    """Let the estimators of one scikit-learn module take their old arguments."""
    for name, values in VALUES.get(module.__name__, {}).items():
        estimator = getattr(module, name, None)
        if estimator is not None and not hasattr(estimator.__init__, "_mlops_values"):
            wrapped = _estimator_init(estimator.__init__, name, values, notes)
            wrapped._mlops_values = True
            estimator.__init__ = wrapped


def _estimator_init(original: Callable[..., Any], name: str, values: Any, notes: Notes) -> Any:
    import inspect

    known = set(inspect.signature(original).parameters)

    @functools.wraps(original)
    def init(self: Any, *args: Any, **kwargs: Any) -> None:
        _, kwargs = _translated(name, known, values, kwargs, notes)
        original(self, *args, **kwargs)

    return init


def _translated(name: str, known: "set[str]", values: Any, kwargs: Dict[str, Any], notes: Notes) -> Call:
    fresh = dict(kwargs)
    for key, value in kwargs.items():
        if key not in known and RENAMED.get(key) in known:
            fresh[RENAMED[key]] = fresh.pop(key)
            notes.say(f"{name}({key}=…) is {RENAMED[key]}= now")
        elif key not in known and key in HARMLESS:
            fresh.pop(key)
            notes.say(f"{name}({key}=…) has no meaning any more and is left out")
        elif key == "normalize" and key not in known:
            if value:
                raise GoneError(f"{name}(normalize=True) is gone: put a StandardScaler before it, in a pipeline")
            fresh.pop(key)
        elif isinstance(value, (str, float)) and value in values.get(key, {}):
            fresh[key] = values[key][value]
            notes.say(f"{name}({key}={value!r}) is {fresh[key]!r} now")
    return (), fresh


def plain_numbers(module: Any) -> None:
    """`array2string` of a number: what Keras records was numpy's once, and is Python's now."""
    show = module.array2string

    @functools.wraps(show)
    def array2string(a: Any, *args: Any, **kwargs: Any) -> Any:
        return show(a if hasattr(a, "size") else module.asarray(a), *args, **kwargs)

    module.array2string = array2string


def scorers(module: Any) -> None:
    """Scorers of errors by the names they had before 0.18; they were negative then too."""
    for name in ("mean_squared_error", "mean_absolute_error", "median_absolute_error", "log_loss"):
        module._SCORERS.setdefault(name, module._SCORERS[f"neg_{name}"])


def pandas(module: Any, notes: Notes) -> None:
    """Methods that tables and columns had."""
    from mlops_lib.runner.legacy import science_functions as functions

    frame, series = module.DataFrame, module.Series
    for owner in (frame, series):
        for name, value in (
            ("append", functions.append), ("ix", property(functions.Ix)), ("as_matrix", functions.as_matrix),
            ("iteritems", lambda self: self.items()), ("get_value", functions.get_value), ("mad", functions.mad),
        ):  # fmt: skip
            _lend(owner, name, value, notes)
    _lend(frame, "sort", functions.sort, notes)
    _lend(series, "sort", functions.sort, notes)
    _lend(series, "order", lambda self, **kwargs: self.sort_values(**kwargs), notes)


def _lend(owner: Any, name: str, value: Any, notes: Notes) -> None:
    """A method noted when it is used; one that is still there stays."""
    if hasattr(owner, name):
        return
    said = f"pandas {owner.__name__}.{name} is stood in for: it is gone since pandas 2"
    if isinstance(value, property):
        getter = value.fget

        def get(self: Any) -> Any:
            notes.say(said)
            return getter(self) if getter is not None else None

        setattr(owner, name, property(get))
        return

    @functools.wraps(value)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        notes.say(said)
        return value(self, *args, **kwargs)

    setattr(owner, name, call)


WINDOWS = ("imshow", "waitKey", "namedWindow", "destroyAllWindows", "destroyWindow", "moveWindow", "resizeWindow")


def no_screen(module: Any, notes: Notes) -> None:
    """A backend with windows is refused where there is no screen; figures are drawn all the same."""
    switch = module.switch_backend

    @functools.wraps(switch)
    def switch_backend(backend: Any) -> None:
        try:
            switch(backend)
        except ImportError:
            notes.say(f"matplotlib's {backend}: there is no screen here, figures are drawn without one")
            switch("Agg")

    module.switch_backend = switch_backend


def no_windows(module: Any, notes: Notes) -> None:
    """OpenCV's windows do nothing where it was built without any."""

    def without(name: str, plain: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(plain)
        def call(*args: Any, **kwargs: Any) -> Any:
            try:
                return plain(*args, **kwargs)
            except module.error:
                notes.say(f"cv2.{name}: there is no screen here, nothing is shown")
                return -1

        return call

    for name in WINDOWS:
        if hasattr(module, name):
            setattr(module, name, without(name, getattr(module, name)))


def styles(module: Any, notes: Notes) -> None:
    """Matplotlib's seaborn styles by their old names, and functions that had no effect."""
    use = module.use

    @functools.wraps(use)
    def use_(style: Any) -> None:
        names = [style] if isinstance(style, (str, dict)) else style
        use([_style(one, module.available, notes) if isinstance(one, str) else one for one in names])

    module.use = use_


def _style(name: str, available: Sequence[str], notes: Notes) -> str:
    fresh = name.replace("seaborn", "seaborn-v0_8", 1)
    if name.startswith("seaborn") and name not in available and fresh in available:
        notes.say(f"the style {name!r} is {fresh!r} now")
        return fresh
    return name


def axes(module: Any, notes: Notes) -> None:
    """`hist(normed=…)` and colours of axes."""
    owner = module.Axes
    hist = owner.hist

    @functools.wraps(hist)
    def hist_(self: Any, *args: Any, **kwargs: Any) -> Any:
        if "normed" in kwargs:
            kwargs["density"] = kwargs.pop("normed")
            notes.say("hist(normed=…) is density= now")
        return hist(self, *args, **kwargs)

    owner.hist = hist_
    if not hasattr(owner, "set_axis_bgcolor"):
        owner.set_axis_bgcolor = lambda self, colour: self.set_facecolor(colour)
    if not hasattr(owner, "hold"):
        owner.hold = lambda self, *args: None


def hooks(notes: Notes) -> Dict[str, Callable[[Any], None]]:
    """What to do after each of these modules has been imported."""
    found: Dict[str, Callable[[Any], None]] = {}

    def then(name: str, act: Callable[[Any], None]) -> None:
        before = found.get(name)
        found[name] = act if before is None else lambda module: (before(module), act(module))[0]  # type: ignore[func-returns-value]

    for name, names in NAMES.items():
        then(name, lambda module, names=names: lend(module, names, notes))  # type: ignore[misc]
    for name in VALUES:
        then(name, lambda module: estimators(module, notes))
    then("numpy", plain_numbers)
    then("sklearn.metrics._scorer", scorers)
    then("pandas", lambda module: pandas(module, notes))
    then("matplotlib.pyplot", lambda module: no_screen(module, notes))
    then("cv2", lambda module: no_windows(module, notes))
    then("matplotlib.style", lambda module: styles(module, notes))
    then("matplotlib.axes", lambda module: axes(module, notes))
    then("matplotlib.pyplot", lambda module: lend(module, {"hold": lambda: lambda *args: None}, notes))
    return found
