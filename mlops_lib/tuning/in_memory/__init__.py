"""Improve a model in memory: the search of `mlops run` for notebooks and programs.

The caller's model stays unchanged unless `in_place` is set. The final score is never measured on
examples that the search selects on: one half of `validation_data` selects, the other is judged on.
Without validation data, a fifth of the examples is set aside for the judgement.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from mlops_lib import intervals
from mlops_lib.events import Observer
from mlops_lib.runner import protocol
from mlops_lib.tuning.in_memory.folder import search_folder
from mlops_lib.tuning.in_memory.improvement import Improvement, frame
from mlops_lib.tuning.in_memory.keras_search import improve_keras
from mlops_lib.tuning.in_memory.progress import ObserverJournal, progress_observer
from mlops_lib.tuning.in_memory.search_options import Outcome, SearchOptions
from mlops_lib.tuning.in_memory.sklearn_search import improve_sklearn
from mlops_lib.tuning.in_memory.task import Task, kind_of, read_examples

__all__ = ["Improvement", "frame", "improve"]


def improve(
    model: Any,
    x: Any,
    y: Any = None,
    *,
    validation_data: Any = None,
    target: float = 0.8,
    metric: str = "",
    trials: int = 12,
    minutes: float = 30.0,
    seed: int = 1,
    epochs: int | None = None,
    in_place: bool = False,
    folder: str | Path = "",
    observer: Observer | None = None,
) -> Improvement:
    """Search for a better version of a model until it meets a bar.

    It can be interrupted at any time (Ctrl-C, Kernel → Interrupt) and returns the best model so
    far. The same call continues an interrupted or killed one, or returns its result.

    Args:
        model: a compiled Keras model (Sequential, functional or subclassed), fitted or not, or a
            scikit-learn estimator.
        x: the training examples: arrays, a data frame, or a list or dict of them, whose first axis
            counts the examples; for Keras also an iterable of batches with examples and targets
            (tf.data, PyDataset, a loader).
        y: their targets; omitted if `x` contains both.
        validation_data: examples and targets that the model has not seen, as a pair or as an
            iterable of batches with both.
        target: the bar, on `metric`.
        metric: "accuracy", "f1", "r2", "mae" …; by default accuracy for classes and r2 for numbers.
        trials: the largest number of candidates.
        minutes: the largest training time.
        seed: seed of everything random.
        epochs: epochs of a Keras model that is not fitted yet.
        in_place: turn the caller's own model object into the better one.
        folder: folder of the search's state; by default below mlops' home.
        observer: receives every trial; by default a view in the notebook or terminal.

    Raises:
        UsageError: the model cannot be improved, or the data does not fit it.
        SearchError: no candidate could be tried.

    Example:
        >>> import mlops_lib as mlops
        >>> from sklearn.datasets import load_wine
        >>> from sklearn.tree import DecisionTreeClassifier
        >>> x, y = load_wine(return_X_y=True)
        >>> stump = DecisionTreeClassifier(max_depth=1, random_state=0)
        >>> better = mlops.improve(stump, x, y, target=0.8, trials=3)
        >>> better.met, better.value > 0.8, better.metric
        (True, True, 'accuracy')
        >>> better.model.get_depth() > 1
        True
    """
    kind = kind_of(model)
    x, y, notes = read_examples(x, y)
    if validation_data is not None:
        pair = (
            validation_data
            if isinstance(validation_data, (tuple, list))
            else (validation_data, None)
        )
        *validation_data, more = read_examples(*pair[:2])
        notes = list(dict.fromkeys([*notes, *more]))
    task = Task(kind, x, y, validation_data, metric=metric, target=target, seed=seed)
    place = search_folder(folder, task, model, seed=seed, epochs=epochs)
    options = SearchOptions(
        trials=trials, minutes=minutes, seed=seed, epochs=epochs, in_place=in_place
    )
    began = time.monotonic()
    with progress_observer(observer, model, task, trials) as observe:
        outcome = SEARCHES[kind](model, task, place, ObserverJournal(observe), options)
    return _improvement(task, outcome, place, notes=notes, began=began)


def _improvement(
    task: Task, outcome: Outcome, place: Path, *, notes: list[str], began: float
) -> Improvement:
    """Return the outcome of a search, measured on examples that it has not used."""
    search = outcome.search
    is_changed = search is not None and search.winner > 0
    value, count = task.measured(outcome.model, changed=is_changed, folder=place)
    is_proportion = value is not None and count > 0 and protocol.is_proportion(task.metric)
    return Improvement(
        model=outcome.model,
        metric=task.metric,
        mode=task.mode,
        value=value,
        examples=count,
        before=outcome.before,
        gained=_gain(task, outcome, value, count),
        target=task.target,
        interval=intervals.wilson(value, count) if value is not None and is_proportion else None,
        search=search,
        folder=str(place),
        seconds=round(time.monotonic() - began, 3),
        notes=(*notes, *outcome.notes),
    )


def _gain(task: Task, outcome: Outcome, value: float | None, count: int) -> protocol.Gain | None:
    """Return the difference to the caller's own model, None if it is unknown."""
    search = outcome.search
    if value is None or outcome.before is None or search is None or not search.winner:
        return None
    return protocol.gain(
        value,
        outcome.before,
        metric=task.metric,
        mode=task.mode,
        examples=count,
        trials=[{"number": trial.number, "curve": trial.curve} for trial in search.trials],
        is_chosen=False,
    )


SEARCHES: Mapping[str, Callable[..., Outcome]] = {
    "keras": improve_keras,
    "sklearn": improve_sklearn,
}
"""The search for each kind of model."""
