"""Measurements by scikit-learn: `score`, metric functions and cross-validation.

Predictions are recorded as well, to trace the metrics' arguments.
"""

import functools
import inspect
import sys
from types import ModuleType
from typing import Any, Callable, Dict, FrozenSet, List, NamedTuple, Optional, Tuple

from mlops_lib.runner import protocol
from mlops_lib.runner.context import Context
from mlops_lib.runner.metrics import example_hashes, predictions, recipes, targets
from mlops_lib.runner.metrics.evaluations import Measured, Repeat
from mlops_lib.runner.metrics.recipes import CLASSIFICATION, REGRESSION, Examples, Recipe
from mlops_lib.runner.search.cross_validation import picked, scorer_name

OF_SCORES = ("roc_auc_score", "average_precision_score", "log_loss")
"""Functions of probabilities or scores; labels of a constant model say nothing to them."""
TABLES = ("confusion_matrix", "classification_report")
"""Functions that report an accuracy among other things."""
USUAL = {"classifier": "accuracy", "regressor": "r2"}
"""Metric of `score` by the kind of estimator."""
TASKS = {"classifier": "classification", "regressor": "regression"}


def install(run: Context) -> Dict[str, Callable[[ModuleType], None]]:
    """Return the import hooks for scikit-learn's metrics."""

    def metrics(module: ModuleType) -> None:
        with run.journal.guard("patch sklearn.metrics"):
            # `from sklearn.metrics import accuracy_score` runs after this hook, so it binds the
            # wrapped function.
            for name in (*CLASSIFICATION, *REGRESSION):
                if hasattr(module, name):
                    metric = protocol.metric_name(name)
                    setattr(module, name, _metric_function(run, getattr(module, name), metric))
            accuracy = module.accuracy_score
            for name in TABLES:
                setattr(
                    module,
                    name,
                    _metric_function(run, getattr(module, name), "accuracy", measure=accuracy),
                )

    def selection(module: ModuleType) -> None:
        with run.journal.guard("patch sklearn.model_selection"):
            for name in ("cross_val_score", "cross_validate"):
                setattr(module, name, _cross_validation(run, getattr(module, name)))

    return {"sklearn.metrics": metrics, "sklearn.model_selection._validation": selection}


def call_nested(run: Context, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Call a function; calls by the framework within it are not the script's own."""
    run.nested += 1
    try:
        return function(*args, **kwargs)
    finally:
        run.nested -= 1


def predict(run: Context, original: Callable[..., Any], *, name: str) -> Callable[..., Any]:
    """Return an estimator's predicting method that records its predictions."""

    @functools.wraps(original)
    def predict_(self: Any, *args: Any, **kwargs: Any) -> Any:
        if run.nested:
            return original(self, *args, **kwargs)
        result = call_nested(run, original, self, *args, **kwargs)
        with run.journal.guard("sklearn.predict"):
            # Estimators name their input differently (`X`, `data`), and scripts pass it by keyword.
            names = list(inspect.signature(original).parameters)
            x = (
                args[0]
                if args
                else kwargs.get(names[1] if len(names) > 1 else "X", kwargs.get("X"))
            )
            if x is not None:
                options = predictions.options_of(original, (self, *args), kwargs)
                predictions.remember(
                    model=self,
                    method=name,
                    x=x,
                    output=result,
                    fit=run.fit_of(self),
                    options=options,
                )
        return result

    return predict_


def score(run: Context, original: Callable[..., Any], metric: Optional[str]) -> Callable[..., Any]:
    """Return an estimator's `score` that records its result.

    Args:
        run: the execution.
        original: the method.
        metric: its metric; None to derive it from the estimator's kind.
    """

    @functools.wraps(original)
    def score_(self: Any, *args: Any, **kwargs: Any) -> Any:
        if run.nested:
            return original(self, *args, **kwargs)
        value = call_nested(run, original, self, *args, **kwargs)
        with run.journal.guard("sklearn.score"):
            call_nested(run, _record_score, run, self, metric, value, args, kwargs)
        return value

    return score_


def _record_score(
    run: Context,
    estimator: Any,
    metric: Optional[str],
    value: Any,
    args: Tuple[Any, ...],
    kwargs: Dict[str, Any],
) -> None:
    x = args[0] if args else kwargs.get("X")
    y = args[1] if len(args) > 1 else kwargs.get("y")
    name = (
        _scoring(_scoring_of_score(estimator))
        or metric
        or USUAL.get(_kind(estimator) or "", "score")
    )
    usual = {"accuracy": targets.majority(y), "r2": {"name": "mean", "value": 0.0}}
    confusion, labels = (
        _confusion(y, estimator.predict(x))
        if name == "accuracy" and y is not None
        else (None, None)
    )
    run.evaluations.add(
        metric=name,
        value=float(value),
        source="sklearn.score",
        fit=run.fit_of(estimator),
        model=estimator,
        x=x,
        examples=example_hashes.examples(x),
        task=TASKS.get(_kind(estimator) or "", "unknown"),
        baseline=usual.get(name),
        confusion=confusion,
        labels=labels,
        repeat=_repeat_score(args, kwargs, name),
        xy=(x, y),
        data="what score was given",
        recipe=(
            Recipe(recipes.SCORE, name),
            Examples(x, y, args[2] if len(args) > 2 else kwargs.get("sample_weight")),
        ),
    )


def _repeat_score(args: Tuple[Any, ...], kwargs: Dict[str, Any], metric: str) -> Repeat:
    """Return a function that repeats a call of `score` on another model."""
    arguments = {**dict(zip(("X", "y", "sample_weight"), args)), **kwargs}
    x = arguments.pop("X")

    def repeat(model: Any, without: FrozenSet[bytes]) -> Measured:
        names = example_hashes.hashes(x)
        if not without:
            return Measured(float(model.score(x, **arguments)), names)
        indexes = [i for i, digest in enumerate(names or ()) if digest not in without]
        more = {
            name: value if value is None else picked(value, indexes)
            for name, value in arguments.items()
        }
        rest = picked(x, indexes)
        y = more.get("y")
        baseline = {"accuracy": targets.majority(y), "r2": {"name": "mean", "value": 0.0}}.get(
            metric
        )
        value = float(model.score(rest, **more))
        return Measured(value, [(names or [])[i] for i in indexes], baseline=baseline, xy=(rest, y))

    return repeat


def _scoring_of_score(estimator: Any) -> Any:
    """Return the `scoring` of an estimator's own `score`; None for the default.

    A search and LogisticRegressionCV have one. HistGradientBoosting uses its `scoring` for early
    stopping only, and RidgeCV only for its choice.
    """
    is_chosen_by = hasattr(estimator, "cv") and not type(estimator).__name__.startswith("Ridge")
    return getattr(estimator, "scoring", None) if is_chosen_by else None


def _scoring(scoring: Any) -> Optional[str]:
    """Return the usual name of a `scoring`; None for the default."""
    if not isinstance(scoring, str):
        return None if scoring is None else "score"
    plain = scoring[4:] if scoring.startswith("neg_") else scoring
    return protocol.metric_name(plain)


def _kind(estimator: Any) -> Optional[str]:
    base = sys.modules["sklearn.base"]
    if base.is_classifier(estimator):
        return "classifier"
    return "regressor" if base.is_regressor(estimator) else None


def _metric_function(
    run: Context,
    original: Callable[..., Any],
    metric: str,
    *,
    measure: Optional[Callable[..., Any]] = None,
) -> Callable[..., Any]:
    """Return a metric function that records its result.

    Args:
        run: the execution.
        original: the function.
        metric: its metric.
        measure: computes the number from the same targets and predictions, if the function itself
            returns none.
    """

    @functools.wraps(original)
    def metric_(*args: Any, **kwargs: Any) -> Any:
        value = call_nested(run, original, *args, **kwargs)
        if not run.nested:
            with run.journal.guard(original.__name__):
                call_nested(
                    run,
                    _record_metric,
                    run,
                    original,
                    measure,
                    metric,
                    value,
                    list(args),
                    dict(kwargs),
                )
        return value

    return metric_


def _record_metric(
    run: Context,
    function: Callable[..., Any],
    measure: Optional[Callable[..., Any]],
    metric: str,
    value: Any,
    args: List[Any],
    kwargs: Dict[str, Any],
    *,
    source: str = "",
) -> None:
    import numpy

    y = args.pop(0) if args else kwargs.pop("y_true")
    predicted = args.pop(0) if args else kwargs.pop("y_pred" if "y_pred" in kwargs else "y_score")
    if measure is not None:
        function = measure
        args = []
        kwargs = {}
        value = function(y, predicted)
    # With `average=None` the function returns a number per class, none of which is the metric.
    if numpy.ndim(value) != 0:
        return
    classification = metric not in map(protocol.metric_name, REGRESSION)
    traced = predictions.trace(predicted)
    swapped = traced is None and predictions.trace(y) is not None
    if swapped:
        # accuracy_score(p, y): scripts swap the arguments, and the number is the same.
        y, predicted = predicted, y
        traced = predictions.trace(predicted)
    confusion, labels = _confusion(y, predicted) if classification else (None, None)
    baseline = _constant_baseline(function, y, args, kwargs, classification=classification)
    common: Dict[str, Any] = {
        "metric": metric,
        "value": float(value),
        "source": source or f"sklearn.metrics.{function.__name__}",
        "task": "classification" if classification else "regression",
        "baseline": baseline,
        "confusion": confusion,
        "labels": labels,
    }
    if traced is None:
        # An untraced prediction still counts as a measurement; it cannot be repeated on the saved
        # model.
        run.evaluations.add(fit=None, count=len(y), **common)
        return
    call = _Call(function, args, kwargs, classification=classification, swapped=swapped)
    _add_traced(run, call, traced, y, common)


class _Call(NamedTuple):
    """A call of a metric function, without its targets and predictions."""

    function: Callable[..., Any]
    args: List[Any]
    kwargs: Dict[str, Any]
    classification: bool
    swapped: bool
    """True if the script gave the predictions first."""


def _add_traced(
    run: Context, metric: _Call, traced: Tuple[Any, Any], y: Any, common: Dict[str, Any]
) -> None:
    """Record a metric of predictions whose model and inputs are known.

    Args:
        run: the execution.
        metric: the call of the metric function.
        traced: the prediction, and the function that maps the model's output to the argument.
        y: the targets.
        common: the other fields of the evaluation.
    """
    prediction, shape = traced
    function, args, kwargs, classification, swapped = metric

    def call(truth: Any, output: Any) -> float:
        guess = shape(output)
        pair = (guess, truth) if swapped else (truth, guess)
        return float(function(*pair, *args, **kwargs))

    constant = functools.partial(
        _constant_of, function, args, kwargs, classification=classification
    )
    is_weighted = bool(args) or kwargs.get("sample_weight") is not None
    run.evaluations.add(
        fit=prediction.fit,
        examples=example_hashes.examples(prediction.x),
        x=prediction.x,
        count=len(y),
        model=prediction.model,
        repeat=_repeat_metric(prediction, y, call, constant, is_weighted=is_weighted),
        xy=(prediction.x, y),
        data="what its predictions were made of",
        recipe=_recipe(function, prediction, shape, y, args, kwargs, swapped=swapped),
        **common,
    )


def _repeat_metric(
    prediction: predictions.Prediction,
    y: Any,
    call: Callable[[Any, Any], float],
    constant: Callable[[Any], Optional[Dict[str, Any]]],
    *,
    is_weighted: bool,
) -> Repeat:
    """Return a function that repeats a metric's call on another model.

    Args:
        prediction: the prediction that the script measured.
        y: the targets of all examples.
        call: the metric, a function of targets and outputs.
        constant: the number of a constant model for given targets.
        is_weighted: whether the call has sample weights, or positional arguments that may be.
    """

    def repeat(model: Any, without: FrozenSet[bytes]) -> Measured:
        if without and is_weighted:
            raise ValueError("the sample weights of the examples left out are unknown")
        return prediction.measure(model, y, call, without=without, baseline=constant)

    return repeat


def record_handwritten(run: Context, function: Callable[..., float], left: Any, right: Any) -> None:
    """Record a metric that the script computed by hand (metrics.handwritten).

    Args:
        run: the execution.
        function: computes the number.
        left: targets or predictions.
        right: the other of the two.
    """
    if run.nested:
        return
    with run.journal.guard("handmade measure"):
        metric = protocol.metric_name(function.__name__)
        value = function(left, right)
        call_nested(
            run,
            _record_metric,
            run,
            function,
            None,
            metric,
            value,
            [left, right],
            {},
            source="compared",
        )


def _constant_of(
    function: Callable[..., Any],
    args: List[Any],
    kwargs: Dict[str, Any],
    y: Any,
    *,
    classification: bool,
) -> Optional[Dict[str, Any]]:
    return _constant_baseline(function, y, args, kwargs, classification=classification)


def _recipe(
    function: Callable[..., Any],
    prediction: predictions.Prediction,
    shape: Callable[[Any], Any],
    y: Any,
    args: List[Any],
    kwargs: Dict[str, Any],
    *,
    swapped: bool,
) -> Any:
    """Return the recipe of the call and its examples; None if it is not serializable."""
    if args:
        return None
    plain = {name: value for name, value in kwargs.items() if name != "sample_weight"}
    recipe = recipes.of_function(
        function.__name__,
        plain,
        method=prediction.method,
        derive=shape,
        swapped=swapped,
        options=prediction.options,
    )
    return recipe, Examples(prediction.x, y, kwargs.get("sample_weight"))


def _constant_baseline(
    function: Callable[..., Any],
    y: Any,
    args: List[Any],
    kwargs: Dict[str, Any],
    *,
    classification: bool,
) -> Optional[Dict[str, Any]]:
    """Return the same metric of a model that predicts the majority class or the mean."""
    import warnings

    import numpy

    target = numpy.asarray(y)
    if target.ndim != 1 or function.__name__ in OF_SCORES:
        return None
    if classification:
        classes, counts = numpy.unique(target, return_counts=True)
        constant = numpy.full(len(target), classes[counts.argmax()], dtype=target.dtype)
        name = "majority class"
    else:
        constant = numpy.full(len(target), target.mean())
        name = "mean"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {"name": name, "value": float(function(target, constant, *args, **kwargs))}


def _confusion(y: Any, predicted: Any) -> Any:
    import numpy

    truth = numpy.asarray(y).ravel()
    guess = numpy.asarray(predicted).ravel()
    if truth.shape != guess.shape or (
        truth.dtype.kind == "f" and not (truth == truth.round()).all()
    ):
        return None, None
    if guess.dtype.kind == "f" and not (guess == guess.round()).all():
        return None, None
    labels = numpy.unique(numpy.concatenate([truth, guess]))
    if len(labels) > 50:
        return None, None
    table: Any = numpy.zeros((len(labels), len(labels)), dtype=int)
    numpy.add.at(table, (numpy.searchsorted(labels, truth), numpy.searchsorted(labels, guess)), 1)
    return table.tolist(), [str(label) for label in labels.tolist()]


def add_search(run: Context, estimator: Any, fit: int, x: Any) -> None:
    """Record the best score of a fitted grid or random search."""
    best = getattr(estimator, "best_score_", None)
    if best is None or not hasattr(estimator, "cv_results_"):
        return
    scoring = getattr(estimator, "scoring", None)
    kind = _kind(estimator) or ""
    negative = isinstance(scoring, str) and scoring.startswith("neg_")
    run.evaluations.add(
        metric=_scoring(scoring) or USUAL.get(kind, "score"),
        value=-float(best) if negative else float(best),
        source="fit.validation",
        fit=fit,
        examples=example_hashes.examples(x),
        held_out=True,
        model=estimator,
        task=TASKS.get(kind, "unknown"),
    )


def add_winner(run: Context, fit: Any, search: Any) -> None:
    """Record the winner that a search has put into a fit's estimator.

    The fit's own numbers belong to another model and are withdrawn.

    Args:
        run: the execution.
        fit: the EstimatorFit.
        search: the finished search (mlops_lib.runner.search.sklearn.Search).
    """
    # The estimator object is the same as before the search, so its own numbers would look like the
    # winner's.
    run.evaluations.withdraw(fit.number)
    run.evaluations.trainings.replace(fit.estimator, search.x, example_hashes.examples(search.x))
    run.leaks.replace_training(fit.estimator, search.x, search.y)
    if search.judged is None:
        return
    estimator, (x, y) = fit.estimator, search.judged
    kind = _kind(estimator) or ""
    name = scorer_name(search.log.metric, search.y, is_classifier=kind == "classifier")

    def score(model: Any) -> float:
        value = float(sys.modules["sklearn.metrics"].get_scorer(name)(model, x, y))
        return -value if name.startswith("neg_") else value

    examples = example_hashes.examples(x)
    run.evaluations.add(
        metric=search.log.metric,
        value=score(estimator),
        # The examples were set aside before the search, so neither training nor selection has used
        # them.
        source="search.judged",
        fit=fit.number,
        examples=examples,
        x=x,
        held_out=True,
        task=TASKS.get(kind, "unknown"),
        model=estimator,
        xy=(x, y),
        baseline={"accuracy": targets.majority(y), "r2": {"name": "mean", "value": 0.0}}.get(
            search.log.metric
        ),
        repeat=lambda model, without: Measured(score(model), example_hashes.hashes(x)),
        recipe=(Recipe(recipes.SCORE, search.log.metric), Examples(x, y))
        if name in ("accuracy", "r2")
        else None,
        data="training examples kept from the search and its winner",
    )


def _cross_validation(run: Context, original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def cross_validate(*args: Any, **kwargs: Any) -> Any:
        if run.nested:
            return original(*args, **kwargs)
        result = call_nested(run, original, *args, **kwargs)
        with run.journal.guard(original.__name__):
            call_nested(run, _record_cross_validation, run, original.__name__, result, args, kwargs)
        return result

    return cross_validate


def _record_cross_validation(
    run: Context, name: str, result: Any, args: Tuple[Any, ...], kwargs: Dict[str, Any]
) -> None:
    import numpy

    arguments = dict(zip(("estimator", "X", "y"), args), **kwargs)
    scores = result.get("test_score") if isinstance(result, dict) else result
    if scores is None:
        return
    kind = _kind(arguments["estimator"]) or ""
    scoring = arguments.get("scoring")
    metric = _scoring(scoring) or USUAL.get(kind, "score")
    mean = float(numpy.mean(scores))
    run.cross_validated = (arguments["estimator"], arguments["X"], arguments.get("y"))
    run.evaluations.add(
        metric=metric,
        value=-mean if isinstance(scoring, str) and scoring.startswith("neg_") else mean,
        source=f"sklearn.model_selection.{name}",
        fit=None,
        examples=example_hashes.examples(arguments["X"]),
        held_out=True,
        task=TASKS.get(kind, "unknown"),
        baseline=targets.majority(arguments.get("y")) if metric == "accuracy" else None,
    )
