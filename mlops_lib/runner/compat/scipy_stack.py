"""Names moved, renamed or dropped by scikit-learn, NumPy, SciPy, pandas and matplotlib."""

import functools
import sys
from typing import Any, Callable, Dict, Sequence, Tuple

from mlops_lib.runner.compat import matplotlib as matplotlib_compat
from mlops_lib.runner.compat import pandas as pandas_compat
from mlops_lib.runner.compat import python2
from mlops_lib.runner.compat import sklearn as sklearn_compat
from mlops_lib.runner.compat.names import Names, lend, listed
from mlops_lib.runner.compat.notes import Notes

HERE = "mlops_lib.runner.compat.scipy_functions"

_MISC: Names = {
    **listed(
        "imread imresize imsave toimage fromimage imrotate derivative face ascent bytescale", HERE
    ),
    **listed("comb factorial logsumexp", "scipy.special"),
}

MODULES: Dict[str, Tuple[Sequence[str], Names]] = {
    "sklearn.cross_validation": (
        ("sklearn.model_selection",),
        listed(
            "KFold StratifiedKFold LeaveOneOut LeavePOut ShuffleSplit StratifiedShuffleSplit LabelKFold LeaveOneLabelOut"
            " LeavePLabelOut",
            HERE,
        ),
    ),
    "sklearn.grid_search": (("sklearn.model_selection",), {}),
    "sklearn.learning_curve": (("sklearn.model_selection",), {}),
    "sklearn.externals": (("sklearn",), {"joblib": "joblib"}),
    "sklearn.externals.joblib": (("joblib",), {}),
    "sklearn.externals.six": (("six",), {}),
    "sklearn.externals.six.moves": (("six.moves",), {}),
    "sklearn.datasets.mldata": (("sklearn.datasets",), {}),
    "sklearn.ensemble.partial_dependence": ((), listed("plot_partial_dependence", HERE)),
    "sklearn.feature_extraction.stop_words": (("sklearn.feature_extraction.text",), {}),
    "sklearn.lda": (
        ("sklearn.discriminant_analysis",),
        {"LDA": "sklearn.discriminant_analysis:LinearDiscriminantAnalysis"},
    ),
    "sklearn.qda": (
        ("sklearn.discriminant_analysis",),
        {"QDA": "sklearn.discriminant_analysis:QuadraticDiscriminantAnalysis"},
    ),
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
    **{
        f"sklearn.{package}.{name}": ((f"sklearn.{package}",), {})
        for package, names in (
            (
                "ensemble",
                (
                    "forest",
                    "gradient_boosting",
                    "weight_boosting",
                    "bagging",
                    "voting_classifier",
                    "base",
                ),
            ),
            (
                "linear_model",
                (
                    "logistic",
                    "base",
                    "ridge",
                    "stochastic_gradient",
                    "coordinate_descent",
                    "perceptron",
                ),
            ),
            ("tree", ("tree",)),
            ("svm", ("classes", "base")),
            (
                "neighbors",
                ("classification", "regression", "base", "unsupervised", "kde", "nearest_centroid"),
            ),
            ("neural_network", ("multilayer_perceptron",)),
            (
                "cluster",
                ("k_means_", "birch", "hierarchical", "dbscan_", "mean_shift_", "spectral"),
            ),
            ("decomposition", ("pca",)),
            ("feature_selection", ("univariate_selection", "from_model")),
            ("naive_bayes", ()),
        )
        for name in names
    },
    "scipy.misc": ((), _MISC),
    "scipy.misc.pilutil": ((), listed("imread imresize imsave toimage", HERE)),
    "pandas.tools": (("pandas.plotting",), {}),
    "pandas.tools.plotting": (("pandas.plotting",), {}),
    "pandas.util.testing": (("pandas.testing",), {}),
    "numpy.linalg.linalg": (("numpy.linalg",), {}),
    "numpy.core.umath_tests": ((), listed("inner1d", HERE)),
    "matplotlib.finance": ((), {}),
    "numpy.testing.decorators": (("numpy.testing",), {}),
    **{
        f"keras_tuner.tuners.{name}": ((f"keras_tuner.src.tuners.{name}",), {})
        for name in ("randomsearch", "bayesian", "hyperband", "sklearn_tuner")
    },
}

_NUMPY_MODULES = (
    "array zeros ones arange linspace sqrt mean median std var sum dot sin cos exp log log10 log2 pi inf nan where sign"
    " genfromtxt loadtxt poly1d polyfit polyval isnan argmax argmin concatenate unique newaxis reshape transpose asarray"
    " eye identity vstack hstack power floor ceil maximum minimum cumsum diff histogram float64 float32 int32 int64"
)
NAMES: Dict[str, Names] = {
    "numpy": {
        **listed("int float bool object str complex", "builtins"),
        **listed(
            "float_=float64 complex_=complex128 unicode_=str_ string_=bytes_ Inf=inf Infinity=inf infty=inf PINF=inf"
            " NaN=nan NAN=nan product=prod cumproduct=cumprod sometrue=any alltrue=all row_stack=vstack"
            " round_=round in1d=isin issubclass_=issubdtype cast=asarray int0=intp typeDict=sctypeDict msort=sort",
            "numpy",
        ),
        **listed("asscalar rank NINF trapz mat", HERE),
        "unicode": "builtins:str",
        "long": "builtins:int",
    },
    "scipy": {
        **listed(_NUMPY_MODULES + " interp random randn=random.randn rand=random.rand", "numpy"),
        "misc": "scipy.misc",
    },
    "scipy.misc": _MISC,
    "scipy.integrate": listed(
        "trapz=trapezoid cumtrapz=cumulative_trapezoid simps=simpson", "scipy.integrate"
    ),
    "scipy.signal": listed(
        "hann=windows.hann hamming=windows.hamming gaussian=windows.gaussian blackman=windows.blackman",
        "scipy.signal",
    ),
    "scipy.ndimage": {"imread": f"{HERE}:imread"},
    "scipy.stats": {
        **listed("nanmean nanmedian nanstd", "numpy"),
        **listed("itemfreq binom_test", HERE),
    },
    "scipy.linalg": {**listed("pinv2=pinv", "scipy.linalg"), **listed("tri tril triu", "numpy")},
    "sklearn": {
        "cross_validation": "sklearn.cross_validation",
        "grid_search": "sklearn.grid_search",
        "externals": "sklearn.externals",
        "lda": "sklearn.lda",
    },
    "sklearn.preprocessing": {
        **listed("Imputer", HERE),
        **listed("CategoricalEncoder=OneHotEncoder", "sklearn.preprocessing"),
    },
    "sklearn.datasets": listed("load_boston fetch_mldata", HERE),
    "sklearn.metrics": {
        **listed(
            "plot_confusion_matrix plot_roc_curve plot_precision_recall_curve jaccard_similarity_score"
            " calinski_harabaz_score",
            HERE,
        ),
        "SCORERS": "sklearn.metrics._scorer:_SCORERS",
    },
    "sklearn.inspection": listed("plot_partial_dependence", HERE),
    "sklearn.mixture": listed(
        "GMM=GaussianMixture DPGMM=BayesianGaussianMixture VBGMM=BayesianGaussianMixture",
        "sklearn.mixture",
    ),
    "sklearn.decomposition": listed(
        "RandomizedPCA=PCA ProbabilisticPCA=PCA", "sklearn.decomposition"
    ),
    "sklearn.covariance": listed(
        "GraphLasso=GraphicalLasso GraphLassoCV=GraphicalLassoCV", "sklearn.covariance"
    ),
    "sklearn.neighbors": {
        "DistanceMetric": "sklearn.metrics:DistanceMetric",
        "LSHForest": f"{HERE}:LSHForest",
    },
    "sklearn.semi_supervised": {"label_propagation": "sklearn.semi_supervised"},
    "sklearn.gaussian_process": listed("GaussianProcess", HERE),
    "sklearn.utils.extmath": listed("logsumexp", "scipy.special"),
    "sklearn.utils.fixes": listed("signature", "inspect"),
    "sklearn.linear_model": listed("RandomizedLasso RandomizedLogisticRegression", HERE),
    "sklearn.utils": {"Bunch": "sklearn.utils._bunch:Bunch"},
    "pandas": {
        **listed("scatter_matrix=plotting.scatter_matrix", "pandas"),
        "datetime": "datetime:datetime",
        "np": "numpy",
        **listed(
            "rolling_mean rolling_std rolling_sum rolling_max rolling_min ewma value_counts", HERE
        ),
        "Panel": f"{HERE}:Panel",
        "Int64Index": "pandas:Index",
        "Float64Index": "pandas:Index",
        "TimeSeries": "pandas:Series",
    },
    "numpy.random": listed("random_integers", HERE),
    "matplotlib.cm": {"get_cmap": "matplotlib.pyplot:get_cmap"},
    "matplotlib.mlab": {"normpdf": "mlops_lib.runner.compat.matplotlib:normpdf"},
    "matplotlib.cbook": listed("iterable", "numpy"),
    "collections": listed(
        "Iterable Iterator Mapping MutableMapping Sequence MutableSequence Callable Hashable Sized Set"
        "",
        "collections.abc",
    ),
    "time": {"clock": "time:perf_counter"},
    "inspect": {"getargspec": "inspect:getfullargspec"},
    "fractions": {"gcd": "math:gcd"},
    "itertools": {
        **listed("izip=zip imap=map ifilter=filter", "builtins"),
        **listed("izip_longest=zip_longest ifilterfalse=filterfalse", "itertools"),
    },
    "string": {
        **listed(
            "letters=ascii_letters lowercase=ascii_lowercase uppercase=ascii_uppercase", "string"
        ),
        "maketrans": "builtins:str.maketrans",
        "join": f"{HERE}:join",
    },
    "os": {"getcwdu": "os:getcwd", "errno": "errno"},
    "sys": {"maxint": "sys:maxsize", "setdefaultencoding": f"{HERE}:setdefaultencoding"},
    "cgi": listed("escape", "html"),
    "base64": listed("encodestring=encodebytes decodestring=decodebytes", "base64"),
}

PYTHON_2 = ("itertools", "string", "os", "sys")
"""Modules whose lost names present packages import under `try` to detect Python 2.

These names stay lost to such packages.
"""


def numbers(module: Any, notes: Notes) -> None:
    """Restore lost arguments of NumPy's functions."""
    module.array2string = _plain_numbers(module)
    module.histogram = _density(module.histogram, notes)
    module.set_printoptions = _threshold(module.set_printoptions)
    module.fromstring = _of_bytes(module, notes)


def _of_bytes(module: Any, notes: Notes) -> Callable[..., Any]:
    """`numpy.fromstring(content, dtype)` of bytes."""
    read = module.fromstring

    @functools.wraps(read)
    def fromstring(
        string: Any, dtype: Any = float, count: int = -1, *, sep: str = "", **kwargs: Any
    ) -> Any:
        if sep or not isinstance(string, bytes):
            return read(string, dtype, count, sep=sep, **kwargs)
        notes.say("numpy.fromstring of bytes is numpy.frombuffer now")
        return module.frombuffer(string, dtype, count).copy()

    return fromstring


def _plain_numbers(module: Any) -> Callable[..., Any]:
    """Let `array2string` take Python numbers, which Keras records in place of NumPy's today."""
    show = module.array2string

    @functools.wraps(show)
    def array2string(a: Any, *args: Any, **kwargs: Any) -> Any:
        return show(a if hasattr(a, "size") else module.asarray(a), *args, **kwargs)

    return array2string


def _density(original: Callable[..., Any], notes: Notes) -> Callable[..., Any]:
    @functools.wraps(original)
    def histogram(*args: Any, **kwargs: Any) -> Any:
        if "normed" in kwargs:
            kwargs["density"] = kwargs.pop("normed")
            notes.say("numpy.histogram(normed=…) is density= now")
        return original(*args, **kwargs)

    return histogram


def _threshold(original: Callable[..., Any]) -> Callable[..., Any]:
    """`threshold=numpy.nan` meant no threshold."""

    @functools.wraps(original)
    def set_printoptions(*args: Any, **kwargs: Any) -> Any:
        threshold = kwargs.get("threshold")
        if isinstance(threshold, float) and threshold != threshold:
            kwargs["threshold"] = sys.maxsize
        return original(*args, **kwargs)

    return set_printoptions


def _yaml(module: Any, notes: Notes) -> Callable[..., Any]:
    """Let `yaml.load(text)` work without a loader, which PyYAML 6 requires."""
    load = module.load

    @functools.wraps(load)
    def load_(stream: Any, *args: Any, **kwargs: Any) -> Any:
        if args or "Loader" in kwargs:
            return load(stream, *args, **kwargs)
        notes.say("yaml.load(stream) is yaml.load(stream, Loader=yaml.FullLoader) since PyYAML 6")
        return load(stream, Loader=module.FullLoader)

    return load_


def hooks(notes: Notes, *, work: str) -> Dict[str, Callable[[Any], None]]:
    """Return functions to call after the import of each of these modules.

    `work` is the folder of the script's files.
    """
    result: Dict[str, Callable[[Any], None]] = {}

    def then(name: str, act: Callable[[Any], None]) -> None:
        before = result.get(name)
        result[name] = act if before is None else lambda module: (before(module), act(module))[0]  # type: ignore[func-returns-value]

    for name, names in NAMES.items():
        only_for = work if name in PYTHON_2 else None
        then(name, functools.partial(lend, names=names, notes=notes, only_for=only_for))
    for name in sklearn_compat.MODULES:
        then(f"sklearn.{name}", lambda module: sklearn_compat.estimators(module, notes))
    for name in sklearn_compat.FUNCTIONS:
        then(name, lambda module: sklearn_compat.functions(module, notes))
    for name in sklearn_compat.ATTRIBUTES:
        then(name, sklearn_compat.attributes)
    then("sklearn.metrics._scorer", sklearn_compat.scorers)
    then("pickle", lambda module: python2.pickles(module, notes))
    then("yaml", lambda module: setattr(module, "load", _yaml(module, notes)))
    then("numpy", lambda module: numbers(module, notes))
    then("pandas", lambda module: pandas_compat.pandas(module, notes))
    for name, act in matplotlib_compat.HOOKS:
        then(name, lambda module, act=act: act(module, notes))  # type: ignore[misc]
    then(
        "matplotlib.pyplot",
        lambda module: lend(module, {"hold": lambda: lambda *args: None}, notes),
    )
    return result
