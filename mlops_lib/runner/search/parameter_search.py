"""Estimators that search their own parameters, as GridSearchCV does.

They may stand alone or as a pipeline's last step. A trial that changed the estimator inside a
`GridSearchCV` and kept its grid would set parameters that the new estimator does not have. Trials
therefore vary the estimator that the grid has chosen, and the winner is put back into the grid
search object that the script holds.
"""

import copy
from typing import Any, Dict, Optional

GRIDS = ("param_grid", "param_distributions", "search_spaces")
"""The parameters by which searches (scikit-learn's, scikit-optimize's) take the values to try."""


def is_parameter_search(estimator: Any) -> bool:
    """Return whether this is a fitted search over the parameters of another estimator."""
    return hasattr(estimator, "best_params_") and hasattr(estimator, "estimator")


def contains_parameter_search(estimator: Any) -> bool:
    """Return whether an estimator, or its last step, is a fitted parameter search."""
    steps = getattr(estimator, "steps", None)
    return contains_parameter_search(steps[-1][1]) if steps else is_parameter_search(estimator)


def chosen(estimator: Any) -> Any:
    """Return the estimator with a parameter search replaced by its choice.

    Other estimators are returned unchanged.

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
    """Return an unfitted parameter search whose only candidate is the winner.

    A script with it gets the winner; `suggested.patch` writes it.
    """
    from sklearn.base import clone

    steps = getattr(estimator, "steps", None)
    if steps:
        inner = pinned(steps[-1][1], winner.steps[-1][1])
        replaced = copy.copy(estimator)
        replaced.steps = [*winner.steps[:-1], (steps[-1][0], inner)]
        return replaced
    parameters = estimator.get_params(deep=False)
    changes: Dict[str, Any] = {name: {} for name in GRIDS if name in parameters}
    if "n_iter" in parameters:
        changes["n_iter"] = 1  # it warns if there is less to try
    return copy.copy(estimator).set_params(estimator=clone(winner), **changes)


def adopt(estimator: Any, winner: Any, score: Optional[float] = None) -> None:
    """Make the script's parameter search hold the winner as its own result.

    `best_params_` keeps the names of the script's grid, because scripts pass them on to a
    constructor; their values are the winner's if it is of the same class.

    Args:
        estimator: the script's search, or a pipeline with it as the last step; changed in place.
        winner: the fitted winner.
        score: the winner's cross-validation score by the search's own measure, if it is known.
    """
    steps = getattr(estimator, "steps", None)
    if steps:
        steps[:-1] = winner.steps[:-1]
        adopt(steps[-1][1], winner.steps[-1][1], score)
        return
    if score is not None and hasattr(estimator, "best_score_"):
        estimator.best_score_ = score
    names = dict(estimator.best_params_)
    parameters: Dict[str, Any] = winner.get_params()
    if type(winner) is type(chosen(estimator)):
        estimator.best_params_ = {
            name: parameters.get(name, value) for name, value in names.items()
        }
    estimator.set_params(**pinned(estimator, winner).get_params(deep=False))
    if hasattr(estimator, "best_estimator_"):
        estimator.best_estimator_ = winner
