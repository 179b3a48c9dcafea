"""Recipes: the computation of one number, as plain data.

The closure that repeats an evaluation on the reloaded model (`evaluations.py`) exists in the
script's process only. A recipe expresses the same in JSON, so that a process without the script can
compute the number too, and so that two models can be compared example by example.
"""

import functools
from typing import Any, Callable, Dict, Mapping, NamedTuple, Optional, Tuple

from mlops_lib.runner.metrics import predictions, targets

EVALUATE = "evaluate"
SCORE = "score"
FUNCTION = "function"
COMPARED = "compared"
"""Kinds of calls: Keras' compiled metric, an estimator's own `score`, a metric function of a
prediction, and a comparison with targets (targets.py).
"""
CALLS = (EVALUATE, SCORE, FUNCTION, COMPARED)
METHODS = ("predict", "predict_proba", "decision_function")
CLASSIFICATION = (
    "accuracy_score",
    "balanced_accuracy_score",
    "f1_score",
    "precision_score",
    "recall_score",
    "roc_auc_score",
    "average_precision_score",
    "log_loss",
    "matthews_corrcoef",
    "cohen_kappa_score",
)
REGRESSION = (
    "r2_score",
    "mean_absolute_error",
    "mean_squared_error",
    "root_mean_squared_error",
    "median_absolute_error",
    "mean_absolute_percentage_error",
)
FUNCTIONS = (*CLASSIFICATION, *REGRESSION)
"""The functions of sklearn.metrics that a recipe may name.

A recipe is an untrusted claim, and none of these functions runs code from elsewhere.
"""
TRANSFORMATIONS: Dict[str, Callable[[Any], Any]] = {
    transformation.__name__.lstrip("_"): transformation
    for transformation in predictions.TRANSFORMATIONS
}


class Examples(NamedTuple):
    """Inputs, targets (None: the inputs yield them too) and weights of a measurement."""

    x: Any
    y: Any = None
    weight: Any = None


class Recipe(NamedTuple):
    """The computation of transformation number."""

    call: str
    metric: str
    """The number's name in the result of `evaluate`, else the metric's own name."""
    function: str = ""
    """Name of the function in sklearn.metrics."""
    arguments: Mapping[str, Any] = {}
    """The function's arguments besides targets and prediction."""
    method: str = "predict"
    derived: str = "as_it_is"
    """Name of the transformation of the prediction before the measurement."""
    swapped: bool = False
    """True if the prediction was the first argument."""
    batch_size: Optional[int] = None
    options: Mapping[str, Any] = {}
    """The prediction's arguments besides its input."""


def of_function(
    name: str,
    arguments: Mapping[str, Any],
    *,
    method: str,
    derive: Callable[[Any], Any],
    swapped: bool,
    options: Mapping[str, Any],
) -> Optional[Recipe]:
    """Return the recipe of a metric function's call; None if it is not serializable.

    Args:
        name: the function's name in sklearn.metrics.
        arguments: its keyword arguments besides targets and prediction.
        method: the model's method that returned the prediction.
        derive: the transformation from the prediction to the argument.
        swapped: whether the prediction was the first argument.
        options: the prediction's arguments besides its input.
    """
    derived = next(
        (key for key, transformation in TRANSFORMATIONS.items() if transformation is derive), ""
    )
    is_plain = all(map(_is_plain, (*arguments.values(), *options.values())))
    if name not in FUNCTIONS or not derived or method not in METHODS or not is_plain:
        return None
    return Recipe(
        FUNCTION, name, name, dict(arguments), method, derived, swapped, options=dict(options)
    )


# Anything else could be a callable or an object of the script's, which must not enter a claim.
def _is_plain(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, (bool, int, float, str))


def to_json(recipe: Recipe) -> Dict[str, Any]:
    """Return the recipe as plain JSON values."""
    return dict(recipe._asdict(), arguments=dict(recipe.arguments), options=dict(recipe.options))


def from_json(value: Any) -> Recipe:
    """Return the recipe that `value` describes.

    Raises:
        ValueError: it names an unknown call, function, method or transformation.
    """
    if not isinstance(value, dict):
        raise ValueError("a recipe is an object")
    recipe = Recipe(**{name: value[name] for name in Recipe._fields if name in value})
    is_known = (
        recipe.call in CALLS and recipe.method in METHODS and recipe.derived in TRANSFORMATIONS
    )
    if not is_known or (recipe.call == FUNCTION and recipe.function not in FUNCTIONS):
        raise ValueError(f"unknown recipe: {recipe.call!r} {recipe.function!r}")
    for arguments in (recipe.arguments, recipe.options):
        if not isinstance(arguments, dict) or not all(map(_is_plain, arguments.values())):
            raise ValueError("a recipe's arguments are plain values")
    return recipe


def measure(recipe: Recipe, model: Any, examples: Examples) -> Dict[str, float]:
    """Return all numbers of the recipe's call, its own number first.

    Raises:
        Exception: the model or the metric raised it.
    """
    if recipe.call == EVALUATE:
        weight = {} if examples.weight is None else {"sample_weight": examples.weight}
        logs = model.evaluate(
            examples.x,
            examples.y,
            batch_size=recipe.batch_size,
            verbose=0,
            return_dict=True,
            **weight,
        )
        return {
            recipe.metric: float(logs[recipe.metric]),
            **{name: float(value) for name, value in logs.items()},
        }
    if recipe.call == SCORE:
        weight = {} if examples.weight is None else {"sample_weight": examples.weight}
        return {recipe.metric: float(model.score(examples.x, examples.y, **weight))}
    truth, guess = targets_and_predictions(recipe, model, examples)
    return {recipe.metric: compute(recipe, truth, guess, examples.weight)}


def targets_and_predictions(recipe: Recipe, model: Any, examples: Examples) -> Tuple[Any, Any]:
    """Return targets and predictions, one per example.

    Raises:
        ValueError: the inputs are not arrays, so that examples have no order to pair them by.
        Exception: the model raised it.
    """
    import numpy

    if examples.y is None:
        raise ValueError("the examples come from a pipeline, which has no fixed order")
    more = (
        # The batch size changes float sums in the last digits; the script's own gives the script's
        # own number.
        {"batch_size": recipe.batch_size} if recipe.call == EVALUATE and recipe.batch_size else {}
    )
    method = "predict" if recipe.call in (EVALUATE, SCORE) else recipe.method
    output = numpy.asarray(
        predictions.predict(model, method, examples.x, **{**more, **recipe.options})
    )
    truth = examples.y
    if recipe.call == COMPARED:
        # The script compared labels: one-hot targets and class probabilities are reduced to them
        # first.
        labels = targets.classes_of(truth) if recipe.metric == "accuracy" else None
        if labels is not None:
            return labels, targets.guess(output, labels)
    elif recipe.call == FUNCTION:
        output = TRANSFORMATIONS[recipe.derived](output)
    return numpy.asarray(truth), output


def compute(recipe: Recipe, truth: Any, guess: Any, weight: Any = None) -> float:
    """Return the number of given targets and predictions, by a function or comparison."""
    function = _function(recipe)
    more = {} if weight is None else {"sample_weight": weight}
    return float(
        function(guess, truth, **more) if recipe.swapped else function(truth, guess, **more)
    )


def _function(recipe: Recipe) -> Callable[..., Any]:
    if recipe.call == FUNCTION:
        import sklearn.metrics

        return functools.partial(getattr(sklearn.metrics, recipe.function), **recipe.arguments)
    return _r2 if recipe.metric == "r2" else _accuracy


def _accuracy(truth: Any, guess: Any) -> float:
    return float((truth == guess).mean())


def _r2(truth: Any, guess: Any) -> float:
    import numpy

    actual, predicted = (
        numpy.asarray(values, dtype="float64").ravel() for values in (truth, guess)
    )
    return float(
        1.0 - numpy.square(actual - predicted).sum() / numpy.square(actual - actual.mean()).sum()
    )
