"""Cross-validation of a search's candidates.

A fit uses one thread, and folds run side by side: five fits that each start a thread per core take
many times as long on a machine that other programs use. Predictions for the left-out examples are
kept. The score of a vote or of another threshold is computed from them, without another fit.
"""

import contextlib
import functools
import os
import warnings
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Callable, Iterator, List, NamedTuple, Optional, Tuple

from mlops_lib.runner.search.examples import rows

FOLDS = 5
FIRST_HEAT = 2
"""Number of folds after which a candidate may be given up."""
MANY = 20000
"""From this number of examples on, three folds are enough."""
BLOCKS = 20
THREAD_SETTINGS = ("n_jobs", "thread_count", "nthread")
"""Parameters with which libraries set the threads of a fit."""
THREAD_VARIABLE = "OMP_NUM_THREADS"

SCORERS = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced_accuracy",
    "f1": "f1_macro",
    "precision": "precision_macro",
    "recall": "recall_macro",
    "roc_auc": "roc_auc_ovr",
    "average_precision": "average_precision",
    "r2": "r2",
    "mae": "neg_mean_absolute_error",
    "mse": "neg_mean_squared_error",
    "rmse": "neg_root_mean_squared_error",
    "log_loss": "neg_log_loss",
}
"""Metric to scikit-learn's scorer."""


class Outcome(NamedTuple):
    """The scores and predictions of a candidate on the folds that it was tried on."""

    scores: List[float]
    """The metric of each fold; fewer than there are folds if the candidate was given up."""
    labels: Any
    """Predictions for the left-out examples, in the order of the examples."""
    probabilities: Any
    """Probabilities of the classes for the same; None if the candidate gives none."""


class CrossValidation:
    """The folds of one search.

    Args:
        x: the training examples.
        y: their targets.
        metric: the judged metric.
        is_classifier: whether classes are predicted.
        seed: the seed of the folds, and of estimators that have none of their own.
    """

    def __init__(self, x: Any, y: Any, *, metric: str, is_classifier: bool, seed: int) -> None:
        import numpy
        from sklearn.model_selection import KFold, StratifiedKFold

        self.x = x
        self.y = y
        self.seed = seed
        self.is_classifier = is_classifier
        self.scorer_name = scorer_name(metric, y, is_classifier=is_classifier)
        self._sign = -1.0 if self.scorer_name.startswith("neg_") else 1.0
        """-1 if scikit-learn's scorer negates the metric, so that larger is better."""
        self.targets = numpy.asarray(y)
        self.classes: Any = numpy.unique(self.targets) if is_classifier else None
        count = len(self.targets)
        is_dealt = is_classifier and self.targets.ndim == 1
        # Each class in every fold as in the whole, or a rare one could be missing from a fold.
        splitter = (StratifiedKFold if is_dealt else KFold)(
            min(count, FOLDS if count < MANY else 3), shuffle=True, random_state=seed
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a class may have fewer members than there are folds
            self.splits: List[Tuple[Any, Any]] = list(
                splitter.split(numpy.zeros(count), self.targets if is_dealt else None)
            )
        self._blocks = self._dealt()

    def _dealt(self) -> Any:
        """Return the block of each example; each block has its share of every class."""
        import numpy

        # Sorted by class after a shuffle, then dealt out in turn: each block gets its share of
        # every class.
        shuffled = numpy.random.default_rng(self.seed).permutation(len(self.targets))
        if self.targets.ndim == 1:
            shuffled = shuffled[numpy.argsort(self.targets[shuffled], kind="stable")]
        blocks: Any = numpy.empty(len(self.targets), dtype=int)
        blocks[shuffled] = numpy.arange(len(self.targets)) % min(BLOCKS, len(self.targets))
        return blocks

    def run(
        self, estimator: Any, *, is_hopeless: Optional[Callable[[List[float]], bool]] = None
    ) -> Outcome:
        """Fit and score an estimator on the folds.

        Args:
            estimator: the unfitted candidate.
            is_hopeless: called with the scores of the first folds; if it returns True, the other
                folds are
                skipped.
        """
        one_fit = seeded(single_threaded(estimator), self.seed)
        parts: List[Tuple[float, Any, Any]] = []
        # In two heats: after the first, a candidate that is clearly worse costs no further fits.
        heats = (self.splits[:FIRST_HEAT], self.splits[FIRST_HEAT:])
        with warnings.catch_warnings(), parallel_fits() as each:
            warnings.simplefilter("ignore")
            for heat in heats:
                if parts and is_hopeless is not None and is_hopeless([p[0] for p in parts]):
                    break
                parts += each(lambda split: self._fold(one_fit, *split), heat)
        scores = [score for score, _, _ in parts]
        if len(parts) < len(self.splits):
            return Outcome(scores, None, None)
        return Outcome(scores, *self._joined(parts))

    def run_on(self, estimator: Any, splits: List[Tuple[Any, Any]]) -> List[float]:
        """Return the scores of an estimator on other splits than the folds."""
        one_fit = seeded(single_threaded(estimator), self.seed)
        with warnings.catch_warnings(), parallel_fits() as each:
            warnings.simplefilter("ignore")
            return [part[0] for part in each(lambda split: self._fold(one_fit, *split), splits)]

    def _fold(self, estimator: Any, train: Any, left_out: Any) -> Tuple[float, Any, Any]:
        from sklearn.base import clone
        from sklearn.metrics import get_scorer

        model = clone(estimator).fit(picked(self.x, train), picked(self.y, train))
        x = picked(self.x, left_out)
        score = self._sign * float(get_scorer(self.scorer_name)(model, x, picked(self.y, left_out)))
        probabilities = None
        if self.is_classifier and hasattr(model, "predict_proba"):
            probabilities = self._of_all_classes(model, model.predict_proba(x))
        return score, model.predict(x), probabilities

    def _of_all_classes(self, model: Any, probabilities: Any) -> Any:
        """Return probabilities with a column for each class; None for several outputs."""
        import numpy

        if self.targets.ndim > 1 or isinstance(probabilities, list):
            return None
        # A fold without a rare class gives no column for it; its probability is 0.
        padded = numpy.zeros((len(probabilities), len(self.classes)))
        padded[:, numpy.searchsorted(self.classes, model.classes_)] = probabilities
        return padded

    def _joined(self, parts: List[Tuple[float, Any, Any]]) -> Tuple[Any, Any]:
        import numpy

        # The folds list the examples in their own order; votes need one order for all candidates.
        order = numpy.argsort(numpy.concatenate([left_out for _, left_out in self.splits]))
        labels = numpy.concatenate([numpy.asarray(labels) for _, labels, _ in parts])[order]
        if any(probabilities is None for _, _, probabilities in parts):
            return labels, None
        return labels, numpy.concatenate([part[2] for part in parts])[order]

    def fold_scores(self, labels: Any, probabilities: Any) -> List[float]:
        """Return the metric of each fold for predictions made elsewhere."""
        return [self._score(left_out, labels, probabilities) for _, left_out in self.splits]

    def signed_mean(self, predicted: Tuple[Any, Any]) -> float:
        """Return the mean score of labels and probabilities; larger is better."""
        scores = self.fold_scores(*predicted)
        return self._sign * sum(scores) / len(scores)

    def jackknife(self, labels: Any, probabilities: Any) -> List[float]:
        """Return the metric without each block of the examples in turn.

        The differences of two candidates in these numbers give the standard error of their
        difference, whatever the metric is (Tukey 1958; the delete-a-group jackknife). The list is
        empty if these predictions do not suffice for the metric.
        """
        import numpy

        try:
            return [
                self._score(numpy.flatnonzero(self._blocks != block), labels, probabilities)
                for block in range(int(self._blocks.max()) + 1)
            ]
        except (AttributeError, ValueError):
            return []

    def score_of(self, index: Any, labels: Any) -> float:
        """Return the signed metric, larger is better, of labels for some of the examples."""
        return self._sign * self._score(index, labels, None)

    def _score(self, index: Any, labels: Any, probabilities: Any) -> float:
        from sklearn.metrics import get_scorer

        # scikit-learn's scorers take an estimator, so that the predictions are passed as one.
        stand_in = predictions(
            labels[index],
            None if probabilities is None else probabilities[index],
            self.classes,
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return self._sign * float(
                get_scorer(self.scorer_name)(stand_in, index[:, None], self.targets[index])
            )


def scorer_name(metric: str, y: Any, *, is_classifier: bool) -> str:
    """Return the name of scikit-learn's scorer for a metric and these targets."""
    import numpy

    scorer = SCORERS.get(metric, "accuracy" if is_classifier else "r2")
    is_binary = is_classifier and len(numpy.unique(numpy.asarray(y))) == 2
    if scorer == "roc_auc_ovr" and is_binary:
        return "roc_auc"
    # With classes 0 and 1 the metric functions score class 1 alone, and so does the script.
    if scorer.endswith("_macro") and _is_zero_one(y):
        return scorer[: -len("_macro")]  # the default of scikit-learn's metric functions
    return scorer


def _is_zero_one(y: Any) -> bool:
    import numpy

    return set(numpy.unique(numpy.asarray(y)).tolist()) <= {0, 1}


def standard_error(first: List[float], second: List[float]) -> float:
    """Return the standard error of the difference of two candidates.

    Args:
        first: `CrossValidation.jackknife` of one candidate.
        second: that of the other.
    """
    differences = [a - b for a, b in zip(first, second)]
    if len(differences) < 2:
        return 0.0
    mean = sum(differences) / len(differences)
    squares = sum((difference - mean) ** 2 for difference in differences)
    return float((squares * (len(differences) - 1) / len(differences)) ** 0.5)


def predictions(labels: Any, probabilities: Any, classes: Any) -> Any:
    """Return a fitted estimator that returns stored predictions, whatever its input."""
    kinds = _stand_ins()
    stand_in = kinds[0 if classes is None else 1 if probabilities is None else 2]()
    stand_in.labels_ = labels
    stand_in.probabilities_ = probabilities
    stand_in.classes_ = classes
    return stand_in


@functools.lru_cache(maxsize=None)
def _stand_ins() -> Tuple[Any, Any, Any]:
    """Return estimator classes that hold numbers, labels, and probabilities."""
    from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin

    class Stored(BaseEstimator):  # type: ignore[misc]
        def fit(self, x: Any, y: Any) -> Any:
            return self

        def predict(self, x: Any) -> Any:
            return self.labels_

    class Numbers(RegressorMixin, Stored):  # type: ignore[misc]
        pass

    class Labels(ClassifierMixin, Stored):  # type: ignore[misc]
        pass

    class Probabilities(Labels):
        def predict_proba(self, x: Any) -> Any:
            return self.probabilities_

    return Numbers, Labels, Probabilities


@contextlib.contextmanager
def parallel_fits() -> Iterator[Callable[..., List[Any]]]:
    """Give a function like `map` that runs fits side by side, each on one thread."""
    count = cores()
    try:
        from threadpoolctl import ThreadpoolController
    except ImportError:  # scikit-learn before 0.24
        yield lambda function, items: [function(item) for item in items]
        return
    import sklearn

    controller = ThreadpoolController()
    # Read in this thread: the configuration is local to a thread.
    configuration = sklearn.get_config()

    def begin() -> None:
        # OpenMP and scikit-learn keep their settings for each thread.
        controller.limit(limits=1, user_api="openmp").__enter__()
        sklearn.set_config(**configuration)

    with controller.limit(limits=1):
        if count < 2:
            yield lambda function, items: [function(item) for item in items]
            return
        with ThreadPoolExecutor(count, initializer=begin) as pool:
            yield lambda function, items: list(pool.map(function, items))


def cores() -> int:
    """Return the number of processors for the folds, at most one for each fold.

    `OMP_NUM_THREADS` is the user's own limit.
    """
    try:
        from joblib import cpu_count

        count = int(cpu_count())  # it knows a container's share and the affinity
    except ImportError:
        count = os.cpu_count() or 1
    limit = os.environ.get(THREAD_VARIABLE, "")
    return max(1, min(count, int(limit) if limit.isdigit() and int(limit) else count, FOLDS))


def single_threaded(estimator: Any) -> Any:
    """Return an unfitted copy whose parts each use one thread."""
    from sklearn.base import clone

    copy = clone(estimator)
    parts = copy.get_params()
    settings = {name: 1 for name in parts if name.rsplit("__", 1)[-1] in THREAD_SETTINGS}
    # CatBoost names only the parameters that were given.
    silent = [("", copy), *((f"{name}__", part) for name, part in parts.items())]
    settings.update(
        {
            f"{prefix}thread_count": 1
            for prefix, part in silent
            if type(part).__name__.startswith("CatBoost")
        }
    )
    return copy.set_params(**settings)


def seeded(estimator: Any, seed: int) -> Any:
    """Set the seed of all parts that would draw at random; return the same estimator."""
    settings = {
        name: seed
        for name, value in estimator.get_params().items()
        if name.rsplit("__", 1)[-1] == "random_state" and value is None
    }
    return estimator.set_params(**settings)


def picked(values: Any, index: Any) -> Any:
    """Return some examples of an array, a data frame, a sparse matrix or a list."""
    is_plain = isinstance(values, list) and not (values and hasattr(values[0], "shape"))
    return [values[i] for i in index] if is_plain else rows(values, index)
