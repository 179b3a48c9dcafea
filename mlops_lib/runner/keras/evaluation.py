"""Record Keras' own measurements: `evaluate`, `predict`, and `fit`'s validation."""

import inspect
import re
import sys
from typing import Any, Callable, Dict, FrozenSet, List, Optional

from mlops_lib.runner import protocol
from mlops_lib.runner.context import Context
from mlops_lib.runner.keras.examples import Source, of_validation
from mlops_lib.runner.metrics import example_hashes, predictions, recipes, targets
from mlops_lib.runner.metrics.evaluations import NONE, Measured, Repeat
from mlops_lib.runner.metrics.recipes import Examples, Recipe
from mlops_lib.runner.script.arguments import bind


def evaluate(run: Context, model: Any, original: Callable[..., Any], args: Any, kwargs: Any) -> Any:
    """Run the script's own `evaluate` and record it."""
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
    return sys.modules["tf_keras.src.engine.training"].flatten_metrics_in_order(
        logs, model.metrics_names
    )


def _record(run: Context, model: Any, call: Dict[str, Any], logs: Dict[str, Any]) -> None:
    metric = main_metric(logs)
    if metric is None:
        return
    x = call["x"]
    y = call["y"]
    read = bounded(x, call.get("steps"))
    source = Source(
        x, y, call.get("sample_weight"), batch_size=call["batch_size"], steps=call.get("steps")
    )
    run.evaluations.add(
        metric=named(metric, logs),
        value=float(logs[metric]),
        source="keras.evaluate",
        fit=run.fit_of(model),
        x=x,
        examples=_examples(x),
        count=count(model),
        task=task(logs),
        baseline=baseline(read, y, metric),
        model=model,
        everything=_plain_names(logs),
        repeat=_repeat(source, metric),
        xy=source.arrays(),
        data="what evaluate was given",
        recipe=_recipe(source, metric),
    )


def watch_metric(run: Context, metric_class: Any) -> None:
    """Record the results of accuracy objects in a training loop of the script.

    The last result of each object counts.
    """
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


def _record_metric(
    run: Context, records: Dict[int, Dict[str, Any]], metric: Any, value: float
) -> None:
    record = records.get(id(metric))
    if record is not None and record in run.evaluations.records:
        record.update(value=value, examples=int(metric.count) or None, all={"accuracy": value})
        run.evaluations.records.remove(record)
        run.evaluations.records.append(record)
        return
    run.evaluations.add(
        metric="accuracy",
        value=value,
        source="keras.metrics",
        fit=None,
        count=int(metric.count) or None,
        held_out=False if "train" in str(metric.name) else None,
        task="classification",
    )
    records[id(metric)] = run.evaluations.records[-1]


def _add_training_metric(run: Context, model: Any, fit: int, logs: Dict[str, Any]) -> None:
    metric = main_metric(logs)
    if metric is None:
        return
    run.evaluations.add(
        metric=named(metric, logs),
        value=float(logs[metric]),
        source="fit.training",
        fit=fit,
        held_out=False,
        task=task(logs),
        model=model,
        everything=_plain_names(logs),
        data=f"training examples of fit {fit}",
    )


def add_fit_metrics(
    run: Context,
    model: Any,
    fit: int,
    call: Dict[str, Any],
    logs: Dict[str, Any],
    validated: Optional[int],
    *,
    left_out: FrozenSet[bytes] = NONE,
    names: Optional[List[bytes]] = None,
) -> None:
    """Record a fit's own metrics on its training and validation examples.

    Args:
        run: the execution.
        model: the fitted model.
        fit: the fit's number.
        call: its arguments by name.
        logs: the last epoch's metrics.
        validated: the number of examples of the last validation, None if it is not known.
        left_out: validation examples that were not measured, because a search had selected on them.
        names: the hashes of those that were measured, if they are known.
    """
    training = {name: value for name, value in logs.items() if name[:4] != "val_"}
    validation = {name[4:]: value for name, value in logs.items() if name[:4] == "val_"}
    _add_training_metric(run, model, fit, training)
    metric = main_metric(validation)
    if metric is None:
        return
    source = of_validation(call)
    rest = None if source is None else source.without(left_out)
    x, y = (None, None) if rest is None else (bounded(rest.x, rest.steps), rest.y)
    examples = _examples(x) if names is None else example_hashes.Examples(names)
    run.evaluations.add(
        metric=named(metric, validation),
        value=float(validation[metric]),
        source="fit.validation",
        fit=fit,
        x=x,
        examples=examples,
        count=validated,
        held_out=True,
        task=task(validation),
        model=model,
        baseline=baseline(x, y, metric) if x is not None else None,
        everything=_plain_names(validation),
        repeat=None if rest is None else _repeat(rest, metric),
        xy=None if rest is None else rest.arrays(),
        data=f"validation data of fit {fit}",
        left_out=len(left_out),
        recipe=None if rest is None else _recipe(rest, metric),
    )


def _plain_names(logs: Dict[str, Any]) -> Dict[str, float]:
    return {
        protocol.metric_name(name): float(value) for name, value in logs.items() if is_number(value)
    }


def _examples(x: Any) -> Optional[example_hashes.Examples]:
    return example_hashes.examples(x) if hasattr(x, "__len__") and not _is_dataset(x) else None


def _is_dataset(x: Any) -> bool:
    return hasattr(x, "cardinality") or (hasattr(x, "__getitem__") and hasattr(x, "on_epoch_end"))


def count(model: Any) -> Optional[int]:
    """Return the number of examples of the last evaluation, or None.

    Keras' loss tracker weighs each batch by its size, so its count is the number of examples.
    """
    number = getattr(getattr(model, "_loss_tracker", None), "count", None)
    return int(float(number)) or None if number is not None else None


def is_number(value: Any) -> bool:
    """Return whether a value can be converted to one number."""
    try:
        float(value)
    except (TypeError, ValueError):
        return False
    return True


def main_metric(logs: Dict[str, Any]) -> Optional[str]:
    """Return the metric that a bar is most likely about, or None."""
    names = [name for name in logs if is_number(logs[name]) and name not in ("lr", "learning_rate")]
    accuracies = [
        name for name in names if name.endswith(("accuracy", "acc")) and not _TOP_K.search(name)
    ]
    for name in accuracies:
        if protocol.metric_name(name) == "accuracy":
            return name
    others = [name for name in names if not name.endswith("loss")]
    return next(iter(accuracies or others or names), None)


_TOP_K = re.compile(r"top[-_ ]?(k|\d)", re.IGNORECASE)
"""An accuracy that counts a hit among several guesses is another measure."""


def named(metric: str, logs: Dict[str, Any]) -> str:
    """Return a metric's usual name.

    The only accuracy of a model with several outputs is its accuracy.
    """
    alike = [
        name for name in logs if name.endswith(("_accuracy", "_acc")) and not _TOP_K.search(name)
    ]
    return "accuracy" if alike == [metric] else protocol.metric_name(metric)


def task(logs: Dict[str, Any]) -> str:
    """Return the kind of problem that has metrics of these names."""
    names = " ".join(logs).lower()
    if "acc" in names or "auc" in names:
        return "classification"
    regression = ("mae", "mse", "mean_squared", "mean_absolute", "r2")
    return "regression" if any(word in names for word in regression) else "unknown"


def bounded(x: Any, steps: Any) -> Any:
    """Return the input, cut to `steps` batches if it may be endless."""
    if (
        steps is None
        or not (hasattr(x, "cardinality") and hasattr(x, "take"))
        or int(x.cardinality()) >= 0
    ):
        return x
    return x.take(int(steps))


def _repeat(source: Source, metric: str) -> Optional[Repeat]:
    """Return a function that measures again, or None if the data has no end."""
    if source.x is None or not source.ends:
        return None

    def repeat(model: Any, without: FrozenSet[bytes]) -> Measured:
        rest = source.without(without).in_memory()
        reading = rest.evaluate(model)
        logs = reading.logs
        y = reading.targets
        constant = baseline(None, y, metric) if y is not None else None
        request = None if rest is source else rest.arrays()
        is_same = bool(without) or source.is_same_again(reading.names)
        value = float(logs[metric])
        return Measured(
            value, reading.names, _plain_names(logs), constant, request, rest.weight, is_same
        )

    return repeat


def _recipe(source: Source, metric: str) -> Any:
    """Return, as plain data, how to compute the number again.

    None if its examples cannot be read again.
    """
    if source.x is None or not source.ends:
        return None
    size = int(source.batch_size) if isinstance(source.batch_size, int) else None
    return Recipe(recipes.EVALUATE, metric, batch_size=size), Examples(
        source.x, source.y, source.weight
    )


def baseline(x: Any, y: Any, metric: str) -> Any:
    """Return the score of a model that ignores its input, or None.

    None for a pipeline: its targets are read when it is measured.
    """
    if not protocol.metric_name(metric).endswith(("accuracy", "_acc")):
        return targets.constant_baseline(y, metric)
    if y is not None:
        return targets.majority(y)
    classes = getattr(x, "classes", None)  # what flow_from_directory gives
    return None if classes is None else targets.majority(classes)


def remember_prediction(
    run: Context, model: Any, original: Any, args: Any, kwargs: Any, result: Any
) -> None:
    """Record the output of the script's `predict`, for metrics computed from it."""
    import numpy

    if not isinstance(result, numpy.ndarray):
        return
    call = bind(original, model, args, kwargs)
    x = bounded(call.get("x"), call.get("steps"))
    if x is None or inspect.isgenerator(x):
        return
    predictions.remember(model=model, method="predict", x=x, output=result, fit=run.fit_of(model))
