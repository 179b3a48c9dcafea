"""Estimators that tune themselves: grid, random and halving searches, alone or as a pipeline's last
step.

A trial that changed the estimator inside a `GridSearchCV` and kept its grid would ask the new
estimator for parameters it does not have. So trials vary the estimator that the grid chose, and the
winner is put back into the grid search object that the script holds.
"""

import copy
from typing import Any, Dict, Optional

GRIDS = ("param_grid", "param_distributions", "search_spaces")
"""How searches (scikit-learn's, scikit-optimize's) call the values they try."""


def is_parameter_search(estimator: Any) -> bool:
    """Return whether this is a fitted search over the parameters of another estimator."""
    return hasattr(estimator, "best_params_") and hasattr(estimator, "estimator")


def contains_parameter_search(estimator: Any) -> bool:
    """Return whether the estimator, or the last step of the pipeline, is a fitted parameter search."""
    steps = getattr(estimator, "steps", None)
    return contains_parameter_search(steps[-1][1]) if steps else is_parameter_search(estimator)


def chosen(estimator: Any) -> Any:
    """Return the estimator with a parameter search replaced by what it chose.

    Anything else is returned as it is.

    Example:
        >>> from sklearn.datasets import load_iris
        >>> from sklearn.model_selection import GridSearchCV
        >>> from sklearn.neighbors import KNeighborsClassifier
        >>> grid = GridSearchCV(KNeighborsClassifier(), {"n_neighbors": [3]}, cv=2)
        >>> chosen(grid.fit(*load_iris(return_X_y=True)))
        KNeighborsClassifier(n_neighbors=3)
    """
    if not contains_parameter_search(estimator):
        return estimator
    steps = getattr(estimator, "steps", None)
    if steps:
        name, last = steps[-1]
        replaced = copy.copy(estimator)
        replaced.steps = [*steps[:-1], (name, chosen(last))]
        return replaced
    best = getattr(estimator, "best_estimator_", None)
    if best is None:  # refit=False
        from sklearn.base import clone

        best = clone(estimator.estimator).set_params(**estimator.best_params_)
    return chosen(best)


def pinned(estimator: Any, winner: Any) -> Any:
    """Return an unfitted copy of a parameter search that tries nothing but the winner.

    It is what the script has to say to get the winner, and what `suggested.patch` writes.
    """
    from sklearn.base import clone

    steps = getattr(estimator, "steps", None)
    if steps:
        inner = pinned(steps[-1][1], winner.steps[-1][1])
        replaced = copy.copy(estimator)
        replaced.steps = [*winner.steps[:-1], (steps[-1][0], inner)]
        return replaced
    known = estimator.get_params(deep=False)
    changes: Dict[str, Any] = {name: {} for name in GRIDS if name in known}
    if "n_iter" in known:
        changes["n_iter"] = 1  # it warns if there is less to try
    return copy.copy(estimator).set_params(estimator=clone(winner), **changes)


def adopt(estimator: Any, winner: Any, score: Optional[float] = None) -> None:
    """Make the script's parameter search hold the fitted winner, as if it had found it.

    `best_params_` keeps the names of the script's grid, because scripts pass them on to a
    constructor; their values are the winner's if it is of the same class.

    Args:
        estimator: the script's own, or a pipeline with it as the last step; changed in place.
        winner: the fitted winner.
        score: what the winner's cross-validation gave by the search's own measure, if that is
            known.
    """
    steps = getattr(estimator, "steps", None)
    if steps:
        steps[:-1] = winner.steps[:-1]
        adopt(steps[-1][1], winner.steps[-1][1], score)
        return
    if score is not None and hasattr(estimator, "best_score_"):
        estimator.best_score_ = score
    names = dict(estimator.best_params_)
    known: Dict[str, Any] = winner.get_params()
    if type(winner) is type(chosen(estimator)):
        estimator.best_params_ = {name: known.get(name, value) for name, value in names.items()}
    estimator.set_params(**pinned(estimator, winner).get_params(deep=False))
    if hasattr(estimator, "best_estimator_"):
        estimator.best_estimator_ = winner
