"""What Keras measures: `evaluate`, `predict`, and the validation of `fit`."""

import inspect
import re
import sys
from typing import Any, Callable, Dict, Optional

from mlops_lib.runner import digest, predictions, protocol, targets
from mlops_lib.runner.calls import bind
from mlops_lib.runner.context import Context
from mlops_lib.runner.metrics import recipes
from mlops_lib.runner.metrics.recipes import Examples, Recipe


def evaluate(run: Context, model: Any, original: Callable[..., Any], args: Any, kwargs: Any) -> Any:
    """The script's own `evaluate`, remembered."""
    call = bind(original, model, args, kwargs)
    wants_dict = call["return_dict"]
    run.journal.progress("evaluate")
    run.nested += 1
    try:
        logs = original(model, **{**call, "return_dict": True})
    finally:
        run.nested -= 1
        run.journal.progress("script")
    with run.journal.guard("keras.evaluate"):
        _record(run, model, call, logs)
    if wants_dict:
        return logs
    if hasattr(model, "_flatten_metrics_in_order"):
        return model._flatten_metrics_in_order(logs)
    return sys.modules["tf_keras.src.engine.training"].flatten_metrics_in_order(logs, model.metrics_names)


def _record(run: Context, model: Any, call: Dict[str, Any], logs: Dict[str, Any]) -> None:
    metric = main_metric(logs)
    if metric is None:
        return
    x, y = call["x"], call["y"]
    read = bounded(x, call.get("steps"))
    more = {name: call[name] for name in ("sample_weight", "steps") if call.get(name) is not None}
    run.evaluations.add(
        metric=named(metric, logs), value=float(logs[metric]), source="keras.evaluate", fit=run.fit_of(model), x=x,
        examples=_examples(x), count=count(model), task=task(logs), baseline=baseline(read, y, metric), model=model,
        everything={protocol.metric_name(n): float(v) for n, v in logs.items() if is_number(v)},
        repeat=_repeat(x, y, call["batch_size"], metric, **more), asked=(read, y),
        recipe=_recipe(read, y, call["batch_size"], metric, weight=call.get("sample_weight")),
    )  # fmt: skip


def watch_metric(run: Context, metric_class: Any) -> None:
    """Note what an accuracy object shows when a training loop of the script's own asks it; the last answer of each counts."""
    result = metric_class.result
    records: Dict[int, Dict[str, Any]] = {}

    def result_(self: Any) -> Any:
        value = result(self)
        if (
            not run.nested
            and protocol.metric_name(str(self.name)).endswith(("accuracy", "acc"))
            and hasattr(value, "numpy")
        ):
            with run.journal.guard("keras.metrics"):
                _record_metric(run, records, self, float(value.numpy()))
        return value

    metric_class.result = result_


def _record_metric(run: Context, records: Dict[int, Dict[str, Any]], metric: Any, value: float) -> None:
    known = records.get(id(metric))
    if known is not None and known in run.evaluations.records:
        known.update(value=value, examples=int(metric.count) or None, all={"accuracy": value})
        run.evaluations.records.remove(known)
        run.evaluations.records.append(known)
        return
    run.evaluations.add(
        metric="accuracy", value=value, source="keras.metrics", fit=None, count=int(metric.count) or None,
        held_out=False if "train" in str(metric.name) else None, task="classification",
    )  # fmt: skip
    records[id(metric)] = run.evaluations.records[-1]


def add_fit_metrics(
    run: Context, model: Any, fit: int, call: Dict[str, Any], logs: Dict[str, Any], validated: Optional[int]
) -> None:
    """What a fit measured by itself: on its training and on its validation examples.

    Args:
        run: the execution.
        model: the fitted model.
        fit: the fit's number.
        call: its arguments by name.
        logs: the last epoch's metrics.
        validated: how many examples the last validation saw, None where that is not known.
    """
    training = {name: value for name, value in logs.items() if name[:4] != "val_"}
    validation = {name[4:]: value for name, value in logs.items() if name[:4] == "val_"}
    for source, found in (("fit.training", training), ("fit.validation", validation)):
        metric = main_metric(found)
        if metric is None:
            continue
        held = source == "fit.validation"
        x, y = validation_data(call) if held else (None, None)
        read = bounded(x, call.get("validation_steps"))
        run.evaluations.add(
            metric=named(metric, found), value=float(found[metric]), source=source, fit=fit, x=x,
            examples=_examples(x), count=validated if held else None, held_out=held, task=task(found), model=model,
            baseline=baseline(read, y, metric) if x is not None else None,
            everything={protocol.metric_name(n): float(v) for n, v in found.items() if is_number(v)},
            repeat=_repeat(read, y, call.get("validation_batch_size") or call.get("batch_size"), metric),
            asked=(read, y) if x is not None else None,
            recipe=_recipe(read, y, call.get("validation_batch_size") or call.get("batch_size"), metric),
        )  # fmt: skip


def validation_data(call: Dict[str, Any]) -> Any:
    """The validation input and target of a `fit` with these arguments; (None, None) where there are none to be had."""
    given = call.get("validation_data")
    if isinstance(given, (tuple, list)):
        return (given[0], given[1]) if len(given) == 2 else (None, None)
    if given is not None:
        return given, None
    x: Any = call.get("x")
    y: Any = call.get("y")
    share = call.get("validation_split") or 0.0
    if not share or not (hasattr(x, "shape") and hasattr(y, "shape")):
        return None, None
    first = first_validation_row(x, share)
    return x[first:], y[first:]


def first_validation_row(x: Any, share: float) -> int:
    """Where Keras cuts an array for `validation_split` (keras/src/trainers/data_adapters/array_slicing.py)."""
    return int(len(x) * (1.0 - share))


def _examples(x: Any) -> Optional[digest.Examples]:
    return digest.examples(x) if hasattr(x, "__len__") and not _is_dataset(x) else None


def _is_dataset(x: Any) -> bool:
    return hasattr(x, "cardinality") or (hasattr(x, "__getitem__") and hasattr(x, "on_epoch_end"))


def count(model: Any) -> Optional[int]:
    """How many examples the evaluation that has just ended saw: Keras weighs each batch's loss by its size."""
    counted = getattr(getattr(model, "_loss_tracker", None), "count", None)
    return int(float(counted)) or None if counted is not None else None


def is_number(value: Any) -> bool:
    """Whether it can be taken as one number."""
    try:
        float(value)
    except (TypeError, ValueError):
        return False
    return True


def main_metric(found: Dict[str, Any]) -> Optional[str]:
    """Of several metrics the one that a bar is most likely about."""
    names = [name for name in found if is_number(found[name]) and name not in ("lr", "learning_rate")]
    accuracies = [name for name in names if name.endswith(("accuracy", "acc")) and not _TOP_K.search(name)]
    for name in accuracies:
        if protocol.metric_name(name) == "accuracy":
            return name
    others = [name for name in names if not name.endswith("loss")]
    return next(iter(accuracies or others or names), None)


_TOP_K = re.compile(r"top[-_ ]?(k|\d)", re.IGNORECASE)
"""An accuracy that counts a hit among several guesses is another measure."""


def named(metric: str, found: Dict[str, Any]) -> str:
    """A metric by its usual name; the only accuracy of a model with several outputs is its accuracy."""
    alike = [name for name in found if name.endswith(("_accuracy", "_acc")) and not _TOP_K.search(name)]
    return "accuracy" if alike == [metric] else protocol.metric_name(metric)


def task(found: Dict[str, Any]) -> str:
    """What kind of problem has metrics of these names."""
    names = " ".join(found).lower()
    if "acc" in names or "auc" in names:
        return "classification"
    regression = ("mae", "mse", "mean_squared", "mean_absolute", "r2")
    return "regression" if any(word in names for word in regression) else "unknown"


def bounded(x: Any, steps: Any) -> Any:
    """The input itself; of a `tf.data` pipeline that may never end, the batches that were asked for."""
    if steps is None or not (hasattr(x, "cardinality") and hasattr(x, "take")) or int(x.cardinality()) >= 0:
        return x
    return x.take(int(steps))


def _repeat(x: Any, y: Any, batch_size: Any, metric: str, **more: Any) -> Optional[Callable[[Any], float]]:
    """The means to measure again; None where the input is gone once it was read."""
    if x is None or inspect.isgenerator(x):
        return None

    def repeat(model: Any) -> float:
        logs = model.evaluate(x, y, batch_size=batch_size, verbose=0, return_dict=True, **more)
        return float(logs[metric])

    return repeat


def _recipe(x: Any, y: Any, batch_size: Any, metric: str, *, weight: Any = None) -> Any:
    """How the number is made, as plain data; None where the input is gone once it was read."""
    if x is None or inspect.isgenerator(x):
        return None
    size = int(batch_size) if isinstance(batch_size, int) else None
    return Recipe(recipes.EVALUATE, metric, batch_size=size), Examples(x, y, weight)


def baseline(x: Any, y: Any, metric: str) -> Any:
    """What a model that looks at no input reaches on these targets, or a function that finds out."""
    if not protocol.metric_name(metric).endswith(("accuracy", "_acc")):
        return targets.constant_baseline(y, metric)
    if y is not None:
        return targets.majority(y)
    classes = getattr(x, "classes", None)  # what flow_from_directory gives
    if classes is not None:
        return targets.majority(classes)
    return (lambda: _majority_of_dataset(x)) if _is_finite(x) else None


def _is_finite(x: Any) -> bool:
    return hasattr(x, "cardinality") and hasattr(x, "unbatch") and int(x.cardinality()) > 0


def _majority_of_dataset(x: Any) -> Any:
    """The baseline of a finite `tf.data` pipeline, by one look at all of it."""
    import numpy

    batches = [numpy.asarray(batch[1]) for batch in x if isinstance(batch, tuple) and len(batch) > 1]
    return targets.majority(numpy.concatenate(batches)) if batches and batches[0].ndim else None


def remember_prediction(run: Context, model: Any, original: Any, args: Any, kwargs: Any, result: Any) -> None:
    """Note what the script's `predict` gave, for metrics that are computed from it."""
    import numpy

    if not isinstance(result, numpy.ndarray):
        return
    call = bind(original, model, args, kwargs)
    x = bounded(call.get("x"), call.get("steps"))
    if x is None or inspect.isgenerator(x):
        return
    predictions.remember(model=model, method="predict", x=x, output=result, fit=run.fit_of(model))
