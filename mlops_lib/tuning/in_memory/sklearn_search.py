"""The search around a scikit-learn estimator of the caller's."""

from __future__ import annotations

import copy
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

from mlops_lib.errors import UsageError
from mlops_lib.records import SearchResult
from mlops_lib.runner import protocol
from mlops_lib.tuning.in_memory.progress import ObserverJournal
from mlops_lib.tuning.in_memory.search_options import Outcome, SearchOptions
from mlops_lib.tuning.in_memory.task import Task

if TYPE_CHECKING:
    from mlops_lib.runner.journal import Journal


def improve_sklearn(
    model: Any, task: Task, place: Path, journal: ObserverJournal, options: SearchOptions
) -> Outcome:
    """Search around a scikit-learn estimator, which is fitted first if it is not.

    Raises:
        UsageError: the search does not know the metric.
    """
    from sklearn.exceptions import NotFittedError
    from sklearn.utils.validation import check_is_fitted

    from mlops_lib.runner.search.cross_validation import SCORERS
    from mlops_lib.runner.search.sklearn import Search

    if task.metric not in SCORERS:
        raise UsageError(
            f"{task.metric!r} is no metric the search knows",
            where="metric",
            remedy=f"Give one of {', '.join(SCORERS)}.",
        )
    mine = model if options.in_place else copy.deepcopy(model)
    try:
        check_is_fitted(mine)
    except NotFittedError:
        mine.fit(task.x, task.y)
    before = task.score_of(mine)
    if before is not None and protocol.reaches(before, task.target, task.mode):
        return Outcome(mine, before, None, ["the model meets the bar as it is"])
    request = {
        "fit": 1,
        "metric": task.metric,
        "mode": task.mode,
        "target": task.target,
        "trials": options.trials,
        "minutes": options.minutes,
    }
    fit = SimpleNamespace(estimator=mine, x=task.x, y=task.y, number=1)
    search = Search(fit, request, cast("Journal", journal), folder=str(place), seed=options.seed)
    result = SearchResult.from_json(search.run())
    notes = (
        ["interrupted: this is the best so far; the same call goes on"]
        if result.stopped == "interrupted"
        else []
    )
    return Outcome(mine, before, result, [*notes, *result.notes])
