"""The search around a Keras model of the caller's."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops_lib import atomic
from mlops_lib.errors import SearchError, UsageError
from mlops_lib.records import SearchResult
from mlops_lib.runner import protocol
from mlops_lib.tuning.in_memory.progress import ObserverJournal
from mlops_lib.tuning.in_memory.search_options import Outcome, SearchOptions
from mlops_lib.tuning.in_memory.task import Task, pick

if TYPE_CHECKING:
    from mlops_lib.runner.search.request import FitCall, SearchRequest

EPOCHS = 10
"""Epochs of a Keras model that was never fitted."""
BATCH = 32


REMEDY = "Give other data, or validation_data."


def improve_keras(
    model: Any, task: Task, place: Path, journal: ObserverJournal, options: SearchOptions
) -> Outcome:
    """Search around a Keras model, from the training that it had or gets first.

    Raises:
        UsageError: KerasTuner is not installed.
        SearchError: the search refuses the model or its data.
    """
    _require_tuner()
    from mlops_lib.runner.search.examples import RefusedError, choose
    from mlops_lib.runner.search.keras.search import improve as search

    notes: list[str] = []
    compiled = dict(model._compile_config.config)
    mine = model if options.in_place else _copy(model, compiled, notes)
    history = _ensure_fitted(mine, task, place, seed=options.seed, epochs=options.epochs)
    before = task.score_of(mine)
    if before is not None and protocol.reaches(before, task.target, task.mode):
        return Outcome(mine, before, None, [*notes, "the model meets the bar as it is"])
    call, request = _request(task, place, history, compiled, options, before=before)
    try:
        selected = sorted(example.hex() for example in choose(call, request).hashes)
        atomic.write_json(place / protocol.SELECTED, selected)
        if before is not None:
            # What the winner is compared with is measured on the same examples.
            before = task.score(mine, *task.apart(place))
        search(mine, call, request, journal)
    except RefusedError as error:
        raise SearchError(str(error), where="improve", remedy=REMEDY) from None
    except KeyboardInterrupt:
        notes.append("interrupted: this is the best so far; the same call goes on")
    result = SearchResult.from_json(atomic.read_json(place / protocol.RESULT))
    if result.stopped == "refused":
        raise SearchError("; ".join(result.notes), where="improve", remedy=REMEDY)
    return Outcome(mine, before, result, [*notes, *result.notes])


def _require_tuner() -> None:
    """Check that the packages that the search needs beside Keras are installed.

    Raises:
        UsageError: one is missing.
    """
    try:
        import keras_tuner  # noqa: F401
    except ImportError:
        raise UsageError(
            "KerasTuner is not installed", where="improve", remedy="pip install keras-tuner"
        ) from None


def _request(
    task: Task,
    place: Path,
    history: Any,
    compiled: dict[str, Any],
    options: SearchOptions,
    *,
    before: float | None,
) -> tuple[FitCall, SearchRequest]:
    """Return the fit that the search repeats, and the search request."""
    from mlops_lib.runner.metrics import example_hashes
    from mlops_lib.runner.search.request import FitCall, SearchRequest

    arguments = {
        "x": task.x,
        "y": task.y,
        "epochs": len(history.epoch) or 1,
        "batch_size": _batch_size(history, task),
    }
    if task.is_apart:
        arguments["validation_data"] = (task.judged_x, task.judged_y)
    judged_examples = example_hashes.examples(task.judged_x)
    request = SearchRequest(
        fit=1,
        directory=str(place),
        metric=task.metric,
        mode=task.mode,
        target=task.target,
        trials=options.trials,
        minutes=options.minutes,
        judged_digest=judged_examples.digest if judged_examples is not None else "",
        judged_value=before,
        seed=options.seed,
    )
    return FitCall(arguments, compiled, history, None), request


def _copy(model: Any, compiled: Mapping[str, Any], notes: list[str]) -> Any:
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
    mine.compile(**{**compiled, "optimizer": optimizer})
    if hasattr(model, "history"):
        mine.history = model.history
    return mine


def _ensure_fitted(model: Any, task: Task, place: Path, *, seed: int, epochs: int | None) -> Any:
    """Return the History of the model's fit.

    Fit it first, or restore that fit, if necessary.
    """
    import keras
    import numpy

    history = getattr(model, "history", None)
    if history is not None and getattr(history, "epoch", None):
        return history
    stored_weights = place / "own.npz"
    count = epochs or EPOCHS
    if stored_weights.is_file():
        if not model.built:
            model.predict(pick(task.x, range(1)), verbose=0)
        with numpy.load(stored_weights, allow_pickle=False) as stored:
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
    # Renamed when complete: a killed process must leave no half of the weights.
    partial = place / ".own.npz"
    numpy.savez(partial, *model.get_weights())
    partial.replace(stored_weights)
    return history


def _batch_size(history: Any, task: Task) -> int:
    """Return the batch size of the model's fit, derived from Keras' number of steps."""
    steps = (getattr(history, "params", None) or {}).get("steps")
    if not steps:
        return BATCH
    size = -(-len(task.y) // int(steps))
    return int(next((n for n in (8, 16, 32, 64, 128, 256, 512, 1024) if n >= size), size))
