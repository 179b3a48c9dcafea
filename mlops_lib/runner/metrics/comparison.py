"""Paired comparison of two models on the same examples.

The result consists of a few numbers that the host can check. If the metric is the share of right
answers, the four cells of McNemar's table are sufficient (McNemar, Psychometrika 12, 1947), and the
host computes p-value and interval from them. For any other metric the two models' answers are
exchanged at random, example by example, which simulates "no difference" (a paired permutation test,
Good 2005), and the interval comes from resampled examples (a paired bootstrap, Efron and Tibshirani
1993).
"""

from typing import Any, Callable, Dict, List, Optional, Tuple

from mlops_lib.runner.metrics import recipes
from mlops_lib.runner.metrics.recipes import Examples, Recipe

RESAMPLES = 1999
MIN_RESAMPLES = 199
MAX_WORK = 40_000_000
"""Limit of examples times resamples: about a second for a metric that is a mean."""
FUNCTION_RESAMPLES = 499
"""Number of resamples for a metric that is a function of all answers at once."""
GROUPS = 40
"""Number of groups that replace the examples if only an evaluation yields the metric."""
LEVEL = 0.90
TOLERANCE = 1e-4
SEED = 20_190_615

Means = Tuple[Any, Any, Callable[[Any], Any]]
"""Each model's score for each example, and the function from their mean to the metric."""


def compare(
    recipe: Recipe,
    model: Any,
    champion: Any,
    examples: Examples,
    *,
    values: Tuple[float, float],
    grows: bool,
) -> Dict[str, Any]:
    """Return the paired comparison of a model with the champion, as plain values.

    Args:
        recipe: the recipe of the number.
        model: the model.
        champion: the model to compare with.
        examples: the examples for both.
        values: the metric of the model and of the champion, by the recipe.
        grows: whether a higher value is better.

    Raises:
        Exception: the models raised it on these examples.
    """
    if examples.y is None or (recipe.call == recipes.EVALUATE and examples.weight is not None):
        return _compare_groups(recipe, model, champion, examples, grows=grows)
    truth, mine = recipes.targets_and_predictions(recipe, model, examples)
    _, its = recipes.targets_and_predictions(recipe, champion, examples)
    if examples.weight is None:
        scores = _scores(recipe, truth, mine), _scores(recipe, truth, its)
        means = (
            None
            if scores[0] is None or scores[1] is None
            else (scores[0][0], scores[1][0], scores[0][1])
        )
        if means is not None and _reproduce_values(means, values):
            right = _correct_answers(means)
            return (
                _mcnemar_table(*right) if right is not None else _compare_means(means, grows=grows)
            )
    if recipe.call == recipes.EVALUATE:
        return _compare_groups(recipe, model, champion, examples, grows=grows)
    return _compare_by_function(recipe, truth, mine, its, examples.weight, grows=grows)


def _reproduce_values(means: Means, values: Tuple[float, float]) -> bool:
    """Return whether the scores reproduce the measured numbers.

    The name of a metric alone does not determine its computation.
    """
    mine, its, finish = means
    computed = float(finish(mine.mean())), float(finish(its.mean()))
    return all(abs(a - b) <= TOLERANCE * max(1.0, abs(b)) for a, b in zip(computed, values))


def _correct_answers(means: Means) -> Optional[Tuple[Any, Any]]:
    mine, its, _ = means
    if all(((scores == 0) | (scores == 1)).all() for scores in (mine, its)):
        return mine == 1, its == 1
    return None


def _mcnemar_table(mine: Any, its: Any) -> Dict[str, Any]:
    """Return McNemar's four cells."""
    cells = {
        "both": mine & its,
        "only_new": mine & ~its,
        "only_champion": ~mine & its,
        "neither": ~mine & ~its,
    }
    return {"test": "mcnemar", **{name: int(cell.sum()) for name, cell in cells.items()}}


def _scores(recipe: Recipe, truth: Any, guess: Any) -> Optional[Tuple[Any, Callable[[Any], Any]]]:
    """Return a score per example whose mean yields the metric; None if there is none."""
    import numpy

    kind = _kind(recipe)
    if kind == "accuracy":
        right = _correct_shares(recipe, truth, guess)
        return None if right is None else (right, _identity)
    if kind not in _ERRORS or numpy.size(truth) != numpy.size(guess):
        return None
    actual = numpy.asarray(truth, dtype="float64").reshape(len(truth), -1)
    error = numpy.asarray(guess, dtype="float64").reshape(len(actual), -1) - actual
    scores = _ERRORS[kind](error, actual).mean(axis=1)
    return scores, numpy.sqrt if kind in ("rmse", "root_mean_squared_error") else _identity


def mean_of_scores(recipe: Recipe, truth: Any, guess: Any) -> Optional[float]:
    """Return the metric as a mean of scores per example, or None if it is not one."""
    scores = _scores(recipe, truth, guess)
    return None if scores is None else float(scores[1](scores[0].mean()))


def _identity(value: Any) -> Any:
    return value


def _absolute(error: Any, actual: Any) -> Any:
    return abs(error)


def _squared(error: Any, actual: Any) -> Any:
    return error * error


_ERRORS: Dict[str, Callable[[Any, Any], Any]] = {
    "mae": _absolute,
    "mean_absolute_error": _absolute,
    "mse": _squared,
    "mean_squared_error": _squared,
    "rmse": _squared,
    "root_mean_squared_error": _squared,
}


def _kind(recipe: Recipe) -> str:
    """Return the usual name of the recipe's metric; "" for a count of hits."""
    if recipe.call == recipes.SCORE:
        return "accuracy" if recipe.metric == "accuracy" else recipe.metric
    name = recipe.function or recipe.metric
    if name == "accuracy_score":
        return "" if recipe.arguments.get("normalize") is False else "accuracy"
    usual = name in ("accuracy", "acc") or name.endswith(
        ("binary_accuracy", "categorical_accuracy")
    )
    return "accuracy" if usual else name


def _correct_shares(recipe: Recipe, truth: Any, guess: Any) -> Any:
    """Return the share of right answers for each example."""
    import numpy

    if recipe.call == recipes.EVALUATE:
        right = _correct_outputs(truth, guess)
    else:
        right = numpy.asarray(truth) == numpy.asarray(guess).reshape(numpy.shape(truth))
        if right.ndim > 1:  # with several labels, all must be right
            right = right.reshape(len(right), -1).all(axis=1)
    return None if right is None else right.reshape(len(right), -1).mean(axis=1)


def _correct_outputs(truth: Any, outputs: Any) -> Any:
    """Return which answers of a network are right, as Keras' accuracies count them.

    Returns:
        None if the shapes fit none of them.
    """
    classes = outputs.shape[-1] if outputs.ndim > 1 else 1
    if (
        classes > 1
        and truth.shape == outputs.shape
        and (truth.sum(axis=-1) == 1).all()
        and (truth >= 0).all()
    ):
        return truth.argmax(axis=-1) == outputs.argmax(axis=-1)
    if classes > 1 and truth.size * classes == outputs.size:
        return truth.reshape(outputs.shape[:-1]) == outputs.argmax(axis=-1)
    if truth.size == outputs.size:
        return truth.reshape(outputs.shape) == (outputs > 0.5)
    return None


def _compare_means(means: Means, *, grows: bool) -> Dict[str, Any]:
    """Compare by each example's score."""
    import numpy

    mine, its, finish = means
    draws = numpy.random.default_rng(SEED)
    count = len(mine)
    resamples = max(MIN_RESAMPLES, min(RESAMPLES, MAX_WORK // max(count, 1)))
    apart = mine - its
    middle = (mine.mean() + its.mean()) / 2
    null = numpy.empty(resamples)
    spread = numpy.empty(resamples)
    for i in range(resamples):
        # Exchanging the answers of one example flips the sign of its difference.
        half = (apart * (2 * draws.integers(0, 2, count, dtype="int8") - 1)).mean() / 2
        null[i] = finish(middle + half) - finish(middle - half)
        rows = draws.integers(0, count, count)
        spread[i] = finish(mine[rows].mean()) - finish(its[rows].mean())
    return _permutation_result(
        finish(mine.mean()) - finish(its.mean()), null, spread, count, grows=grows
    )


def _compare_by_function(
    recipe: Recipe, truth: Any, mine: Any, its: Any, weight: Any, *, grows: bool
) -> Dict[str, Any]:
    """Compare by a function of all targets and answers."""
    import warnings

    import numpy

    if numpy.shape(mine) != numpy.shape(its):
        raise ValueError(f"its answers have the shape {numpy.shape(its)}, not {numpy.shape(mine)}")
    draws = numpy.random.default_rng(SEED)
    count = len(truth)
    weights = None if weight is None else numpy.asarray(weight)

    def difference(rows: Any, first: Any, second: Any) -> float:
        part = None if weights is None else weights[rows]
        return recipes.compute(recipe, truth[rows], first, part) - recipes.compute(
            recipe, truth[rows], second, part
        )

    everything = numpy.arange(count)
    null: List[float] = []
    spread: List[float] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a resample may lack a class
        for _ in range(
            max(MIN_RESAMPLES, min(FUNCTION_RESAMPLES, MAX_WORK // 10 // max(count, 1)))
        ):
            swap = draws.integers(0, 2, count).astype(bool).reshape((-1,) + (1,) * (mine.ndim - 1))
            null.append(
                difference(everything, numpy.where(swap, its, mine), numpy.where(swap, mine, its))
            )
            rows = draws.integers(0, count, count)
            try:
                spread.append(difference(rows, mine[rows], its[rows]))
            except ValueError:  # the resample has one class only: roc_auc is undefined
                continue
        observed = difference(everything, mine, its)
    return _permutation_result(observed, numpy.array(null), numpy.array(spread), count, grows=grows)


def _compare_groups(
    recipe: Recipe, model: Any, champion: Any, examples: Examples, *, grows: bool
) -> Dict[str, Any]:
    """Compare by groups of examples, each evaluated separately.

    It serves metrics that only the model can compute.
    """
    import numpy

    count = len(examples.x) if hasattr(examples.x, "shape") and examples.y is not None else 0
    if count < 2 * GROUPS:
        raise ValueError(f"{recipe.metric} can only be computed for all examples together")
    order = numpy.random.default_rng(SEED).permutation(count)
    pairs = []
    for rows in numpy.array_split(order, GROUPS):
        weight = None if examples.weight is None else numpy.asarray(examples.weight)[rows]
        part = Examples(examples.x[rows], numpy.asarray(examples.y)[rows], weight)
        pairs.append(
            [
                recipes.measure(recipe, candidate, part)[recipe.metric]
                for candidate in (model, champion)
            ]
        )
    mine, its = numpy.array(pairs).T
    return {**_compare_means((mine, its, _identity), grows=grows), "groups": GROUPS}


def _permutation_result(
    observed: Any, null: Any, spread: Any, count: int, *, grows: bool
) -> Dict[str, Any]:
    import numpy

    # Rounding must not tell two equal models apart.
    worse = (null >= observed - 1e-12) if grows else (null <= observed + 1e-12)
    tail = 50 * (1 - LEVEL)
    interval = numpy.percentile(spread, [tail, 100 - tail]) if len(spread) else [observed, observed]
    return {
        "test": "permutation",
        "difference": float(observed),
        "interval": [float(end) for end in interval],
        "p_value": float((1 + worse.sum()) / (1 + len(null))),
        "examples": count,
    }
