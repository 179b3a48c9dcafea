"""Improve a model in memory: the search of `mlops run` for notebooks and programs.

The caller's model stays unchanged unless `in_place` is set. The final score is never measured on
examples that the search selects on: one half of `validation_data` selects, the other is judged on.
Without validation data, a fifth of the examples is set aside for the judgement.
"""

from __future__ import annotations

import copy
import hashlib
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Literal, cast

from mlops_lib import atomic, config, events, intervals
from mlops_lib.display import notebook
from mlops_lib.errors import SearchError, UsageError
from mlops_lib.events import Observer
from mlops_lib.records import SearchResult
from mlops_lib.reporting.figures import search_figure
from mlops_lib.runner import protocol

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure

    from mlops_lib.runner.journal import Journal

JUDGED_SHARE = 0.2
"""Share of the examples that is judged on if no validation data is given."""
EPOCHS = 10
"""Epochs of a Keras model that was never fitted."""
BATCH = 32


@dataclass(frozen=True, kw_only=True, eq=False)
class Improvement:
    """The outcome of improving a model.

    It delegates everything that a model can do (`predict`, `evaluate`, `save` …) to `model`.
    """

    model: Any
    """The better model, or the caller's own architecture if no better one was found."""
    metric: str
    mode: Literal["max", "min"]
    value: float | None
    """Score on examples that neither trained nor selected it.

    None without such examples.
    """
    interval: tuple[float, float] | None
    """95 % interval of the score, if it is a proportion."""
    examples: int
    before: float | None
    """Score of the caller's model on the validation data."""
    gained: protocol.Gain | None
    """Difference between the two with its uncertainty; None if either is unknown."""
    target: float
    search: SearchResult | None
    """Result of the search; None if the model met the bar without one."""
    seconds: float
    folder: str
    """Folder of the search's state, from which the same call continues."""
    notes: tuple[str, ...] = ()

    @property
    def met(self) -> bool:
        """Whether the bar was met."""
        return self.value is not None and protocol.reaches(self.value, self.target, self.mode)

    @property
    def trials(self) -> pandas.DataFrame:
        """One row for each trial; trial 0 is the original model. Needs pandas."""
        return frame(self.search)

    def plot(self) -> Figure:
        """Plot all scores with the best so far, and the winner's curve beside trial 0's."""
        figure: Figure = search_figure(self.search, target=self.target)
        return figure

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self.model, name)

    def _repr_html_(self) -> str:
        from mlops_lib.tuning.improvement_html import improvement_html

        return improvement_html(self)

    def __repr__(self) -> str:
        reached = "not measured" if self.value is None else f"{self.value:.4g}"
        trials = 0 if self.search is None else sum(one.number > 0 for one in self.search.trials)
        return (
            f"<{type(self.model).__name__}: {self.metric} {reached}, bar {self.target:g}, {trials}"
            " trials>"
        )


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
    kind = _kind(model)
    x, y, copied = _arrays(x, y)
    if validation_data is not None:
        pair = (
            validation_data
            if isinstance(validation_data, (tuple, list))
            else (validation_data, None)
        )
        *validation_data, more = _arrays(*pair[:2])
        copied = list(dict.fromkeys([*copied, *more]))
    task = _Task(kind, x, y, validation_data, metric=metric, target=target, seed=seed)
    place = _place(folder, task, model, seed=seed, epochs=epochs)
    began = time.monotonic()
    with _observed(observer, model, task, trials) as observe:
        improved, before, found, notes = _IMPROVED[kind](
            model,
            task,
            place,
            _Journal(observe),
            trials=trials,
            minutes=minutes,
            seed=seed,
            epochs=epochs,
            in_place=in_place,
        )
    value, count = task.measured(
        improved, changed=found is not None and found.winner > 0, folder=place
    )
    gained = None
    if value is not None and before is not None and found is not None and found.winner:
        tried = [{"number": one.number, "curve": one.curve} for one in found.trials]
        gained = protocol.gain(
            value,
            before,
            metric=task.metric,
            mode=task.mode,
            examples=count,
            trials=tried,
            is_chosen=False,
        )
    return Improvement(
        model=improved,
        metric=task.metric,
        mode=task.mode,
        value=value,
        examples=count,
        before=before,
        gained=gained,
        target=target,
        interval=_interval(value, count) if protocol.is_proportion(task.metric) else None,
        search=found,
        folder=str(place),
        seconds=round(time.monotonic() - began, 3),
        notes=(*copied, *notes),
    )


def frame(search: SearchResult | None) -> pandas.DataFrame:
    """Return the trials of a search as a table: one row each, in order.

    Args:
        search: the search; None for an empty table.

    Returns:
        A data frame whose index is the trial's number. `score` is on the selection examples,
        `seconds` the training time, `curve` the score after each epoch.

    Raises:
        UsageError: pandas is not installed.

    Example:
        >>> from mlops_lib.records import SearchResult, Trial
        >>> trials = (Trial(number=0, score=0.71), Trial(number=1, edits=("max_depth 8",), score=0.86))
        >>> search = SearchResult(
        ...     metric="accuracy", selection="split", fit=1, trials=trials, winner=1
        ... )
        >>> frame(search)[["changed", "score", "winner"]]
                   changed  score  winner
        trial
        0                    0.71   False
        1      max_depth 8   0.86    True
    """
    try:
        import pandas
    except ImportError:
        raise UsageError(
            "pandas is not installed", where="trials", remedy="pip install 'mlops_lib[notebook]'"
        ) from None
    if search is None:
        search = SearchResult(metric="", selection="disjoint", fit=1)
    rows = [
        {
            "changed": "; ".join(t.edits),
            "score": t.score,
            "epochs": t.epochs,
            "seconds": t.seconds,
            "parameters": t.parameters,
            "state": t.state,
            "parent": t.parent,
            "winner": t.number == search.winner,
            "message": t.message,
            "curve": list(t.curve),
        }
        for t in search.trials
    ]
    columns = (
        "changed",
        "score",
        "epochs",
        "seconds",
        "parameters",
        "state",
        "parent",
        "winner",
        "message",
        "curve",
    )
    index = pandas.Index([t.number for t in search.trials], name="trial")
    return pandas.DataFrame(rows, columns=list(columns), index=index)


def _kind(model: Any) -> str:
    if hasattr(model, "compile") and hasattr(model, "fit"):
        if getattr(model, "optimizer", None) is None:
            raise UsageError(
                "the model is not compiled", where="improve", remedy="Call its compile() first."
            )
        return "keras"
    if hasattr(model, "fit") and hasattr(model, "get_params") and hasattr(model, "predict"):
        return "sklearn"
    raise UsageError(
        f"{type(model).__name__} cannot be improved",
        where="improve",
        remedy="Give a compiled Keras model or a scikit-learn estimator.",
    )


def _arrays(x: Any, y: Any) -> tuple[Any, Any, list[str]]:
    """Return examples and targets as arrays, with notes; batches are read into memory.

    Raises:
        UsageError: the batches never end, can be read only once, or are too large.
    """
    if y is not None or hasattr(x, "shape") or isinstance(x, (list, tuple, dict)):
        return x, y, []
    from mlops_lib.runner.search.examples import RefusedError, in_memory, length, read_once

    remedy = "Give x and y as arrays, or a finite pipeline of batches of examples and targets."
    if read_once(x):
        raise UsageError("the data can be read only once", where="improve", remedy=remedy)
    try:
        x, y, weights = in_memory(x)
    except (RefusedError, TypeError, ValueError) as error:
        raise UsageError(
            f"the data cannot be read: {error}", where="improve", remedy=remedy
        ) from None
    if y is not None and length(x) != len(y):
        raise UsageError(
            "the data does not come in batches", where="improve", remedy="Call its batch(32) first."
        )
    notes = ["the data pipeline was read into memory: what it does at random is frozen"]
    return x, y, notes if weights is None else [*notes, "the sample weights are left out"]


class _Task:
    """The data, split into its parts, and the objective on it.

    Raises:
        UsageError: there are no targets, or too few examples.
    """

    def __init__(
        self, kind: str, x: Any, y: Any, validation: Any, *, metric: str, target: float, seed: int
    ) -> None:
        import numpy

        if y is None or not hasattr(x, "__len__"):
            raise UsageError(
                "there are no targets beside the examples",
                where="improve",
                remedy="Give x and y as arrays.",
            )
        self.kind = kind
        self.target = target
        self.is_apart = validation is not None
        self.is_classes = _are_classes(y)
        self.metric = metric or ("accuracy" if self.is_classes else "r2")
        self.mode: Literal["max", "min"] = (
            "max" if protocol.higher_is_better(self.metric) else "min"
        )
        if validation is not None:
            self.x, self.y, (self.judged_x, self.judged_y) = x, y, validation
            return
        order = numpy.random.default_rng(seed).permutation(len(y))
        edge = int(len(y) * JUDGED_SHARE)
        if edge < 10:
            raise UsageError(
                f"{len(y)} examples are too few",
                where="improve",
                remedy="Give validation_data as well.",
            )
        self.judged_x = _rows(x, order[:edge])
        self.judged_y = _rows(y, order[:edge])
        self.x = _rows(x, order[edge:])
        self.y = _rows(y, order[edge:])

    def measured(self, model: Any, *, changed: bool, folder: Path) -> tuple[float | None, int]:
        """Measure the model on examples that neither trained nor selected it.

        Return their number too.
        """
        x, y = self.apart(folder)
        if not self.is_apart and not changed:
            return None, 0  # the caller's own model may have seen all of them
        return self.score(model, x, y), len(y)

    def apart(self, folder: Path) -> tuple[Any, Any]:
        """Return the judged examples that this folder's search does not select on."""
        from mlops_lib.runner.metrics import example_hashes

        x = self.judged_x
        y = self.judged_y
        chosen = _selected_hashes(folder)
        if self.kind != "keras" or not self.is_apart or not chosen:
            return x, y
        apart = [
            i for i, one in enumerate(example_hashes.hashes(x) or []) if one.hex() not in chosen
        ]
        return (_rows(x, apart), _rows(y, apart)) if apart else (x, y)

    def score(self, model: Any, x: Any, y: Any) -> float:
        """Return the metric of a model on examples."""
        if self.kind == "sklearn":
            from sklearn.metrics import get_scorer

            from mlops_lib.runner.search.sklearn import SCORERS

            name = SCORERS.get(self.metric, self.metric)
            return (-1.0 if name.startswith("neg_") else 1.0) * float(get_scorer(name)(model, x, y))
        from mlops_lib.runner.search import scores

        compute = scores.from_predictions(self.metric)
        if compute is not None:
            return compute(y, model.predict(x, verbose=0))
        logs = {
            f"val_{name}": value
            for name, value in model.evaluate(x, y, verbose=0, return_dict=True).items()
        }
        found = scores.in_logs(self.metric, logs)
        if found is None:
            known = ", ".join(name[4:] for name in logs)
            raise UsageError(
                f"the model does not measure {self.metric!r}",
                where="metric",
                remedy=f"It measures {known}.",
            )
        return float(logs[found])


def _are_classes(y: Any) -> bool:
    """Return whether targets are classes: integers, words or one-hot columns."""
    import numpy

    values = numpy.asarray(y)
    if values.ndim > 1 and values.shape[-1] > 1:
        return bool(numpy.isin(values, (0, 1)).all() and (values.sum(axis=-1) == 1).all())
    values = values.ravel()
    if values.dtype.kind in "OUSb":
        return True
    return bool((values == values.round()).all()) and len(numpy.unique(values)) <= max(
        2, min(1000, len(values) // 5)
    )


def _rows(values: Any, wanted: Any) -> Any:
    from mlops_lib.runner.search.examples import rows

    if hasattr(values, "iloc"):
        return values.iloc[list(wanted)]
    is_plain = isinstance(values, list) and not hasattr(values[0], "shape")
    return [values[i] for i in wanted] if is_plain else rows(values, wanted)


def _place(folder: str | Path, task: _Task, model: Any, *, seed: int, epochs: int | None) -> Path:
    """Return the search's folder; equal model, data and seed give the same one."""
    if folder:
        place = Path(folder).expanduser().absolute()
    else:
        from mlops_lib.runner.metrics import example_hashes

        parts = [
            repr(_identity(model)),
            task.metric,
            task.mode,
            str(seed),
            str(epochs),
            str(task.is_apart),
        ]
        for data in (task.x, task.y, task.judged_x, task.judged_y):
            found = example_hashes.hashes(data)
            parts.append(
                hashlib.sha256(b"".join(found) if found else repr(data).encode()).hexdigest()
            )
        name = hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).hexdigest()[:16]
        place = config.resolve(None).home / "improve" / name
    place.mkdir(parents=True, exist_ok=True)
    return place


def _identity(model: Any) -> list[Any]:
    """Return the configuration and weights that distinguish one model from another."""
    if hasattr(model, "get_weights"):
        weights = hashlib.sha256(
            b"".join(value.tobytes() for value in model.get_weights())
        ).hexdigest()
        layers = [(type(one).__name__, one.name) for one in getattr(model, "layers", [])]
        return [type(model).__name__, layers, str(model.optimizer.get_config()), weights]
    return [
        type(model).__name__,
        sorted((name, repr(value)) for name, value in model.get_params().items()),
    ]


class _Journal:
    """The part of the runner's journal that a search needs.

    It forwards events to an observer.
    """

    def __init__(self, observe: Observer) -> None:
        self._observe = observe

    def write(self, event: str, **keys: Any) -> None:
        self._observe({"event": event, **keys})

    def progress(self, phase: str | None = None, **keys: Any) -> None:
        self._observe({"event": protocol.EVENT_PROGRESS, "phase": phase, **keys})

    def warn(self, message: str) -> None:
        self._observe(events.warning(message))


@contextmanager
def _observed(given: Observer | None, model: Any, task: _Task, trials: int) -> Iterator[Observer]:
    if given is not None:
        yield given
        return
    view = notebook.view()
    view(
        {
            "event": protocol.EVENT_IMPROVE,
            "model": type(model).__name__,
            "metric": task.metric,
            "mode": task.mode,
            "target": task.target,
            "trials": trials,
        }
    )
    try:
        yield view
    finally:
        view.close()


_Outcome = tuple[Any, float | None, SearchResult | None, list[str]]
"""The model, the score of the caller's, the search's result, and notes."""


def _improve_keras(
    model: Any,
    task: _Task,
    place: Path,
    journal: _Journal,
    *,
    trials: int,
    minutes: float,
    seed: int,
    epochs: int | None,
    in_place: bool,
) -> _Outcome:
    from mlops_lib.runner.metrics import example_hashes
    from mlops_lib.runner.search.examples import RefusedError, choose
    from mlops_lib.runner.search.keras.search import improve as search
    from mlops_lib.runner.search.request import FitCall, SearchRequest

    try:
        import keras_tuner  # noqa: F401 - what the search needs beside Keras
    except ImportError:
        raise UsageError(
            "KerasTuner is not installed", where="improve", remedy="pip install keras-tuner"
        ) from None
    notes: list[str] = []
    asked = dict(model._compile_config.config)
    mine = model if in_place else _copy(model, asked, notes)
    history = _ensure_fitted(mine, task, place, seed=seed, epochs=epochs)
    before = task.score(mine, task.judged_x, task.judged_y) if task.is_apart else None
    if before is not None and protocol.reaches(before, task.target, task.mode):
        return mine, before, None, [*notes, "the model meets the bar as it is"]
    arguments = {
        "x": task.x,
        "y": task.y,
        "epochs": len(history.epoch) or 1,
        "batch_size": _batch_size(history, task),
    }
    if task.is_apart:
        arguments["validation_data"] = (task.judged_x, task.judged_y)
    judged = example_hashes.examples(task.judged_x)
    request = SearchRequest(
        fit=1,
        directory=str(place),
        metric=task.metric,
        mode=task.mode,
        target=task.target,
        trials=trials,
        minutes=minutes,
        judged_digest=judged.digest if judged is not None else "",
        judged_value=before,
        seed=seed,
    )
    call = FitCall(arguments, asked, history, None)
    try:
        atomic.write_json(
            place / protocol.SELECTED, sorted(one.hex() for one in choose(call, request).hashes)
        )
        if before is not None:
            before = task.score(
                mine, *task.apart(place)
            )  # what it is compared with is measured on these
        search(mine, call, request, journal)
    except RefusedError as error:
        raise SearchError(
            str(error), where="improve", remedy="Give other data, or validation_data."
        ) from None
    except KeyboardInterrupt:
        notes.append("interrupted: this is the best so far; the same call goes on")
    found = SearchResult.from_json(atomic.read_json(place / protocol.RESULT))
    if found.stopped == "refused":
        raise SearchError(
            "; ".join(found.notes), where="improve", remedy="Give other data, or validation_data."
        )
    return mine, before, found, [*notes, *found.notes]


def _copy(model: Any, asked: Mapping[str, Any], notes: list[str]) -> Any:
    """Return a copy of the model, or the model itself if it cannot be rebuilt."""
    import keras

    try:
        mine = keras.models.clone_model(model)
        mine.set_weights(model.get_weights())
    except (ValueError, TypeError, NotImplementedError, AttributeError) as error:
        notes.append(
            "your own model was changed, because it cannot be copied:"
            f" {str(error).splitlines()[0][:200]}"
        )
        return model
    optimizer = type(model.optimizer).from_config(model.optimizer.get_config())
    mine.compile(**{**asked, "optimizer": optimizer})
    if hasattr(model, "history"):
        mine.history = model.history
    return mine


def _ensure_fitted(model: Any, task: _Task, place: Path, *, seed: int, epochs: int | None) -> Any:
    """Return the History of the model's fit.

    Fit it first, or restore that fit, if necessary.
    """
    import keras
    import numpy

    history = getattr(model, "history", None)
    if history is not None and getattr(history, "epoch", None):
        return history
    kept = place / "own.npz"
    count = epochs or EPOCHS
    if kept.is_file():
        if not model.built:
            model.predict(_rows(task.x, range(1)), verbose=0)
        with numpy.load(kept, allow_pickle=False) as stored:
            model.set_weights([stored[f"arr_{i}"] for i in range(len(stored.files))])
        history = keras.callbacks.History()
        history.set_model(model)
        history.epoch, history.history = list(range(count)), atomic.read_json(place / "own.json")
        return history
    keras.utils.set_random_seed(seed)
    history = model.fit(task.x, task.y, epochs=count, batch_size=BATCH, verbose=0)
    atomic.write_json(
        place / "own.json", {k: [float(v) for v in vs] for k, vs in history.history.items()}
    )
    partial = place / ".own.npz"
    numpy.savez(partial, *model.get_weights())
    partial.replace(kept)
    return history


def _batch_size(history: Any, task: _Task) -> int:
    """Return the batch size of the model's fit, derived from Keras' number of steps."""
    steps = (getattr(history, "params", None) or {}).get("steps")
    if not steps:
        return BATCH
    size = -(-len(task.y) // int(steps))
    return int(next((n for n in (8, 16, 32, 64, 128, 256, 512, 1024) if n >= size), size))


def _improve_sklearn(
    model: Any,
    task: _Task,
    place: Path,
    journal: _Journal,
    *,
    trials: int,
    minutes: float,
    seed: int,
    epochs: int | None,
    in_place: bool,
) -> _Outcome:
    from sklearn.exceptions import NotFittedError
    from sklearn.utils.validation import check_is_fitted

    from mlops_lib.runner.search.sklearn import SCORERS, Search

    if task.metric not in SCORERS:
        raise UsageError(
            f"{task.metric!r} is no metric the search knows",
            where="metric",
            remedy=f"Give one of {', '.join(SCORERS)}.",
        )
    mine = model if in_place else copy.deepcopy(model)
    try:
        check_is_fitted(mine)
    except NotFittedError:
        mine.fit(task.x, task.y)
    before = task.score(mine, task.judged_x, task.judged_y) if task.is_apart else None
    if before is not None and protocol.reaches(before, task.target, task.mode):
        return mine, before, None, ["the model meets the bar as it is"]
    request = {
        "fit": 1,
        "metric": task.metric,
        "mode": task.mode,
        "target": task.target,
        "trials": trials,
        "minutes": minutes,
    }
    fit = SimpleNamespace(estimator=mine, x=task.x, y=task.y, number=1)
    found = SearchResult.from_json(
        Search(fit, request, cast("Journal", journal), folder=str(place), seed=seed).run()
    )
    notes = (
        ["interrupted: this is the best so far; the same call goes on"]
        if found.stopped == "interrupted"
        else []
    )
    return mine, before, found, [*notes, *found.notes]


_IMPROVED: Mapping[str, Callable[..., _Outcome]] = {
    "keras": _improve_keras,
    "sklearn": _improve_sklearn,
}


def _selected_hashes(place: Path) -> set[str]:
    """Return the hashes of the examples that the search selected on."""
    try:
        return set(atomic.read_json(place / protocol.SELECTED))
    except (OSError, ValueError, TypeError):
        return set()


def _interval(value: float | None, examples: int) -> tuple[float, float] | None:
    return None if value is None or not examples else intervals.wilson(value, examples)
