"""Functions dropped by scikit-learn, NumPy, SciPy and pandas, built from present ones."""

import io
import os
from typing import Any, Iterator, Optional, Tuple

import numpy

from mlops_lib.runner.compat.names import GoneError

NINF = float("-inf")


def asscalar(a: Any) -> Any:
    """`numpy.asscalar`."""
    return a.item()


def rank(a: Any) -> int:
    """`numpy.rank`: the number of dimensions."""
    return int(numpy.ndim(a))


def trapz(y: Any, x: Any = None, dx: float = 1.0, axis: int = -1) -> Any:
    """`numpy.trapz`."""
    return numpy.trapezoid(y, x=x, dx=dx, axis=axis)


def mat(data: Any, dtype: Any = None) -> Any:
    """`numpy.mat`."""
    return numpy.asmatrix(data, dtype=dtype)


class _Folds:
    """Splitter of scikit-learn 0.17: made with the data's size, iterated for its folds."""

    def __init__(self, splitter: Any, count: int, y: Any = None, *, groups: Any = None) -> None:
        self._splitter = splitter
        self._count = count
        self._y = y
        self._groups = groups

    def __iter__(self) -> Iterator[Tuple[Any, Any]]:
        return iter(self._splitter.split(numpy.zeros(self._count), self._y, self._groups))

    def __len__(self) -> int:
        return int(self._splitter.get_n_splits(range(self._count), self._y, self._groups))

    def split(self, x: Any, y: Any = None, groups: Any = None) -> Any:
        """Yield the folds, for functions that expect a present-day splitter."""
        return self._splitter.split(
            x, self._y if y is None else y, self._groups if groups is None else groups
        )

    def get_n_splits(self, *args: Any) -> int:
        """Return the number of folds."""
        return len(self)


def _selection() -> Any:
    import sklearn.model_selection

    return sklearn.model_selection


def KFold(  # noqa: N802
    n: Any = 3, n_folds: Any = 3, shuffle: bool = False, random_state: Any = None, **kwargs: Any
) -> Any:
    """`cross_validation.KFold(n, n_folds)`."""
    splitter = _selection().KFold(
        kwargs.get("k", n_folds), shuffle=shuffle, random_state=random_state if shuffle else None
    )
    return _Folds(splitter, int(n))


def StratifiedKFold(  # noqa: N802
    y: Any = None, n_folds: int = 3, shuffle: bool = False, random_state: Any = None, **kwargs: Any
) -> Any:
    """`cross_validation.StratifiedKFold(y, n_folds)`."""
    splitter = _selection().StratifiedKFold(
        kwargs.get("k", n_folds), shuffle=shuffle, random_state=random_state if shuffle else None
    )
    return _Folds(splitter, len(y), y)


def LeaveOneOut(n: int, **kwargs: Any) -> Any:  # noqa: N802
    """`cross_validation.LeaveOneOut(n)`."""
    return _Folds(_selection().LeaveOneOut(), n)


def LeavePOut(n: int, p: int, **kwargs: Any) -> Any:  # noqa: N802
    """`cross_validation.LeavePOut(n, p)`."""
    return _Folds(_selection().LeavePOut(p), n)


def LabelKFold(labels: Any, n_folds: int = 3, **kwargs: Any) -> Any:  # noqa: N802
    """`cross_validation.LabelKFold(labels, n_folds)`."""
    return _Folds(_selection().GroupKFold(n_folds), len(labels), groups=labels)


def LeaveOneLabelOut(labels: Any, **kwargs: Any) -> Any:  # noqa: N802
    """`cross_validation.LeaveOneLabelOut(labels)`."""
    return _Folds(_selection().LeaveOneGroupOut(), len(labels), groups=labels)


def LeavePLabelOut(labels: Any, p: int, **kwargs: Any) -> Any:  # noqa: N802
    """`cross_validation.LeavePLabelOut(labels, p)`."""
    return _Folds(_selection().LeavePGroupsOut(p), len(labels), groups=labels)


def ShuffleSplit(  # noqa: N802
    n: int,
    n_iter: int = 10,
    test_size: Any = 0.1,
    train_size: Any = None,
    random_state: Any = None,
    **kwargs: Any,
) -> Any:
    """`cross_validation.ShuffleSplit(n, n_iter)`."""
    return _Folds(
        _selection().ShuffleSplit(
            n_iter, test_size=test_size, train_size=train_size, random_state=random_state
        ),
        n,
    )


def StratifiedShuffleSplit(  # noqa: N802
    y: Any,
    n_iter: int = 10,
    test_size: Any = 0.1,
    train_size: Any = None,
    random_state: Any = None,
    **kwargs: Any,
) -> Any:
    """`cross_validation.StratifiedShuffleSplit(y, n_iter)`."""
    splitter = _selection().StratifiedShuffleSplit(
        n_iter, test_size=test_size, train_size=train_size, random_state=random_state
    )
    return _Folds(splitter, len(y), y)


def Imputer(  # noqa: N802
    missing_values: Any = "NaN", strategy: str = "mean", axis: int = 0, **kwargs: Any
) -> Any:
    """`preprocessing.Imputer`, for columns.

    Raises:
        GoneError: it was to impute along rows.
    """
    from sklearn.impute import SimpleImputer

    if axis:
        raise GoneError(
            "Imputer(axis=1) is gone: transpose the data and use sklearn.impute.SimpleImputer"
        )
    return SimpleImputer(
        missing_values=numpy.nan if missing_values == "NaN" else missing_values, strategy=strategy
    )


BOSTON = "http://lib.stat.cmu.edu/datasets/boston"
COLUMNS = [
    "CRIM",
    "ZN",
    "INDUS",
    "CHAS",
    "NOX",
    "RM",
    "AGE",
    "DIS",
    "RAD",
    "TAX",
    "PTRATIO",
    "B",
    "LSTAT",
]


def load_boston(return_X_y: bool = False) -> Any:  # noqa: N803
    """Return the Boston house prices.

    They come from the address in scikit-learn's notice of removal, and are kept in its data home.

    Raises:
        GoneError: they cannot be fetched.
    """
    import urllib.request

    from sklearn.datasets import get_data_home
    from sklearn.utils import Bunch

    path = os.path.join(get_data_home(), "boston.txt")
    if not os.path.exists(path):
        try:
            with urllib.request.urlopen(BOSTON, timeout=30) as answer:
                content = answer.read()
        except OSError as error:
            raise GoneError(
                f"load_boston is gone from scikit-learn, and {BOSTON} does not answer ({error}): use"
                " fetch_california_housing, or push the data as a file"
            ) from None
        with open(path, "wb") as stream:
            stream.write(content)
    with open(path, "rb") as stream:
        lines = stream.read().decode("latin-1").splitlines()[22:]
    values = numpy.loadtxt(io.StringIO(" ".join(lines))).reshape(-1, len(COLUMNS) + 1)
    x = values[:, :-1]
    y = values[:, -1]
    if return_X_y:
        return x, y
    return Bunch(
        data=x,
        target=y,
        feature_names=numpy.array(COLUMNS),
        DESCR="Boston house prices",
        filename=path,
    )


NAMES_THEN = {
    "MNIST original": "mnist_784",
    "mnist-original": "mnist_784",
    "iris": "iris",
    "leukemia": "leukemia",
}


def fetch_mldata(dataname: str, data_home: Any = None, **kwargs: Any) -> Any:
    """Return a data set of the vanished `fetch_mldata` server from OpenML.

    MNIST is sorted as it was there.
    """
    from sklearn.datasets import fetch_openml

    result = fetch_openml(
        NAMES_THEN.get(dataname, dataname), version=1, as_frame=False, data_home=data_home
    )
    result.target = (
        result.target.astype("float64") if str(result.target[0]).isdigit() else result.target
    )
    if dataname in ("MNIST original", "mnist-original"):
        order = numpy.concatenate(
            [
                numpy.argsort(result.target[:60000], kind="stable"),
                60000 + numpy.argsort(result.target[60000:], kind="stable"),
            ]
        )
        result.data, result.target = result.data[order], result.target[order]
    return result


def plot_confusion_matrix(estimator: Any, x: Any, y: Any, **kwargs: Any) -> Any:
    """`metrics.plot_confusion_matrix`."""
    from sklearn.metrics import ConfusionMatrixDisplay

    return ConfusionMatrixDisplay.from_estimator(estimator, x, y, **kwargs)


def plot_roc_curve(estimator: Any, x: Any, y: Any, **kwargs: Any) -> Any:
    """`metrics.plot_roc_curve`."""
    from sklearn.metrics import RocCurveDisplay

    return RocCurveDisplay.from_estimator(estimator, x, y, **kwargs)


def plot_precision_recall_curve(estimator: Any, x: Any, y: Any, **kwargs: Any) -> Any:
    """`metrics.plot_precision_recall_curve`."""
    from sklearn.metrics import PrecisionRecallDisplay

    return PrecisionRecallDisplay.from_estimator(estimator, x, y, **kwargs)


def plot_partial_dependence(estimator: Any, x: Any, features: Any, **kwargs: Any) -> Any:
    """`inspection.plot_partial_dependence`."""
    from sklearn.inspection import PartialDependenceDisplay

    return PartialDependenceDisplay.from_estimator(estimator, x, features, **kwargs)


def jaccard_similarity_score(y_true: Any, y_pred: Any, **kwargs: Any) -> Any:
    """It was the accuracy for everything but several labels a row."""
    from sklearn.metrics import accuracy_score

    return accuracy_score(y_true, y_pred, **kwargs)


def calinski_harabaz_score(x: Any, labels: Any) -> Any:
    """Its name was misspelled."""
    from sklearn.metrics import calinski_harabasz_score

    return calinski_harabasz_score(x, labels)


def linear_assignment(costs: Any) -> Any:
    """Pairs of rows and columns of the least cost."""
    from scipy.optimize import linear_sum_assignment

    return numpy.column_stack(linear_sum_assignment(costs))


def _gone_estimator(name: str, instead: str) -> Any:
    def refuse(*args: Any, **kwargs: Any) -> Any:
        raise GoneError(f"sklearn.{name} is gone: use {instead}")

    return refuse


_SELECT = "SelectFromModel around Lasso or LogisticRegression"
RandomizedLasso = _gone_estimator("linear_model.RandomizedLasso", _SELECT)
RandomizedLogisticRegression = _gone_estimator("linear_model.RandomizedLogisticRegression", _SELECT)
GaussianProcess = _gone_estimator(
    "gaussian_process.GaussianProcess", "GaussianProcessRegressor, with a kernel"
)
LSHForest = _gone_estimator("neighbors.LSHForest", "NearestNeighbors")


def itemfreq(a: Any) -> Any:
    """`scipy.stats.itemfreq`: values with how often each is there."""
    return numpy.column_stack(numpy.unique(a, return_counts=True))


def binom_test(x: Any, n: Any = None, p: float = 0.5, alternative: str = "two-sided") -> float:
    """`scipy.stats.binom_test`."""
    from scipy.stats import binomtest

    x, n = (x[0], x[0] + x[1]) if n is None else (x, n)
    return float(binomtest(int(x), int(n), p, alternative).pvalue)


def inner1d(a: Any, b: Any) -> Any:
    """The inner products of rows."""
    return numpy.einsum("...i,...i->...", a, b)


def random_integers(low: int, high: Any = None, size: Any = None) -> Any:
    """`numpy.random.random_integers`, whose end counts."""
    return numpy.random.randint(
        1 if high is None else low, (low if high is None else high) + 1, size
    )


def join(words: Any, sep: str = " ") -> str:
    """Python 2's `string.join`."""
    return sep.join(words)


def setdefaultencoding(name: str) -> None:
    """Text is Unicode in Python 3."""


def imread(name: Any, flatten: bool = False, mode: Optional[str] = None) -> Any:
    """`scipy.misc.imread`."""
    from PIL import Image

    with Image.open(name) as picture:
        shown = picture.convert("F" if flatten else mode) if flatten or mode else picture
        if shown.mode in ("P", "CMYK"):
            shown = shown.convert("RGB")
        return numpy.array(shown)


def _picture(array: Any, mode: Optional[str] = None) -> Any:
    from PIL import Image

    return Image.fromarray(bytescale(numpy.asarray(array)), mode=mode)


def bytescale(data: Any, cmin: Any = None, cmax: Any = None, high: int = 255, low: int = 0) -> Any:
    """Values scaled to bytes; bytes stay as they are."""
    if data.dtype == numpy.uint8:
        return data
    least = data.min() if cmin is None else cmin
    most = data.max() if cmax is None else cmax
    scale = float(high - low) / ((most - least) or 1)
    return ((data - least) * scale + low).clip(low, high).round().astype(numpy.uint8)


def toimage(array: Any, **kwargs: Any) -> Any:
    """`scipy.misc.toimage`."""
    return _picture(array, kwargs.get("mode"))


def fromimage(picture: Any, flatten: bool = False) -> Any:
    """`scipy.misc.fromimage`."""
    return numpy.array(picture.convert("F") if flatten else picture)


def imsave(name: Any, array: Any, format: Any = None) -> None:
    """`scipy.misc.imsave`."""
    _picture(array).save(name, format)


INTERPOLATION = {"nearest": 0, "lanczos": 1, "bilinear": 2, "bicubic": 3, "cubic": 3}


def imresize(array: Any, size: Any, interp: str = "bilinear", mode: Any = None) -> Any:
    """`scipy.misc.imresize`: a percentage, a factor, or (height, width)."""
    picture = _picture(array, mode)
    if isinstance(size, (int, numpy.integer)):
        target = tuple(int(side * size / 100) for side in picture.size)
    elif isinstance(size, (float, numpy.floating)):
        target = tuple(int(side * size) for side in picture.size)
    else:
        target = (int(size[1]), int(size[0]))
    return numpy.array(picture.resize(target, resample=INTERPOLATION[interp]))


def imrotate(array: Any, angle: float, interp: str = "bilinear") -> Any:
    """`scipy.misc.imrotate`."""
    return numpy.array(_picture(array).rotate(angle, resample=INTERPOLATION[interp]))


def derivative(
    function: Any, x0: float, dx: float = 1.0, n: int = 1, args: Any = (), order: int = 3
) -> Any:
    """`scipy.misc.derivative`, first and second, by central differences."""
    low, middle, high = (function(x0 + step * dx, *args) for step in (-1, 0, 1))
    return (high - low) / (2 * dx) if n == 1 else (high - 2 * middle + low) / dx**2


def face(gray: bool = False) -> Any:
    """The raccoon."""
    from scipy import datasets

    return datasets.face(gray)


def ascent() -> Any:
    """The staircase."""
    from scipy import datasets

    return datasets.ascent()


def rolling_mean(values: Any, window: int, min_periods: Any = None, **kwargs: Any) -> Any:
    """`pandas.rolling_mean`."""
    return values.rolling(window, min_periods=min_periods).mean()


def rolling_std(values: Any, window: int, min_periods: Any = None, **kwargs: Any) -> Any:
    """`pandas.rolling_std`."""
    return values.rolling(window, min_periods=min_periods).std()


def rolling_sum(values: Any, window: int, min_periods: Any = None, **kwargs: Any) -> Any:
    """`pandas.rolling_sum`."""
    return values.rolling(window, min_periods=min_periods).sum()


def rolling_max(values: Any, window: int, min_periods: Any = None, **kwargs: Any) -> Any:
    """`pandas.rolling_max`."""
    return values.rolling(window, min_periods=min_periods).max()


def rolling_min(values: Any, window: int, min_periods: Any = None, **kwargs: Any) -> Any:
    """`pandas.rolling_min`."""
    return values.rolling(window, min_periods=min_periods).min()


def ewma(
    values: Any,
    com: Any = None,
    span: Any = None,
    halflife: Any = None,
    min_periods: int = 0,
    **kwargs: Any,
) -> Any:
    """`pandas.ewma`."""
    return values.ewm(com=com, span=span, halflife=halflife, min_periods=min_periods).mean()


def value_counts(values: Any, **kwargs: Any) -> Any:
    """`pandas.value_counts`."""
    import pandas

    return pandas.Series(values).value_counts(**kwargs)


def Panel(*args: Any, **kwargs: Any) -> Any:  # noqa: N802
    """Refused.

    Raises:
        GoneError: always.
    """
    raise GoneError("pandas.Panel is gone: use a DataFrame with a MultiIndex, or xarray")
